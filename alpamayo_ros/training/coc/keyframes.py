"""Which moments of a drive are worth a label: the keyframes of the paper's table 3.

A reactive keyframe lies half a second before the ego acts, or when its cause appears, as the scenario says; a proactive one is
a range in which the ego looks ahead. What happens in the scene is an input, as events; where nobody knows it, every change of
the meta-actions is a keyframe.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from alpamayo_ros.training.coc.schema import ProactiveScenario, ReactiveScenario, Scenario
from alpamayo_ros.types import HORIZON, STEP_S, LateralAction, LongitudinalAction, MetaAction

BEFORE_S = 0.5  # the keyframe is so long before the ego acts
HISTORY_S = 2.0
FUTURE_S = HORIZON * STEP_S
REACTS_S = FUTURE_S  # what the ego does later than that is for something else
MIN_DURATION_S = 1.0  # of meta-actions on both sides of a change that counts: 10 frames (autolabeler)

EventKind = Literal[
    "slower_lead_seen",
    "stopping_lead_seen",
    "light_stops",  # turns yellow or red
    "stop_sign_seen",
    "light_green",  # turns green
    "stop_sign_obeyed",  # the ego stood long enough, nobody has priority
    "changes_lane",  # the ego begins to move off-centre
    "vru_seen",  # one that the ego yields to
    "contender_signals",  # somebody who cuts in
    "contender_moves",  # off-centre
    "bump_seen",
    "obstacle_seen",  # one that the ego nudges around
    "construction_seen",
    "risk_seen",  # somebody drives dangerously
    "enters_curve",
    "exits_curve",
    "change_blocked",  # there is a reason to change lanes, and somebody in the way
    "change_ready",
    "nudge_blocked",
    "nudge_ready",
    "enters_intersection",  # the front bumper crosses its stop line or crosswalk
    "exits_intersection",
    "vru_waits",  # shows intent, but the ego has the right of way, or is yielded to
    "vru_gone",  # out of sight
]


@dataclass(frozen=True)
class Event:
    """Something that happened in the scene."""

    kind: EventKind
    t_s: float  # since the start of the drive


@dataclass(frozen=True)
class Keyframe:
    """A moment to be labelled, or a range of them."""

    scenario: Scenario | None  # None: only the motion is known
    t_s: float  # since the start of the drive
    until_s: float  # the same for a reactive one
    begins: LongitudinalAction | LateralAction | None = None  # the meta-action before which it lies, where only that is known

    @property
    def kind(self) -> str:
        """What it is balanced by: its scenario, else what the ego begins to do."""
        return str(self.scenario or self.begins)


@dataclass(frozen=True)
class _Reactive:
    scenario: ReactiveScenario
    causes: tuple[EventKind, ...]
    reactions: tuple[str, ...]  # any of these meta-actions
    waits: bool = False  # the later of reaction and cause; otherwise half a second before the reaction, whatever the cause
    from_standing: bool = False


_SLOWER = ("gentle_decelerate", "strong_decelerate")
_FASTER = ("gentle_accelerate", "strong_accelerate")
_STEERS = ("steer_left", "steer_right", "sharp_steer_left", "sharp_steer_right")

_REACTIVE = (
    _Reactive("slow_for_lead", ("slower_lead_seen",), _SLOWER),
    _Reactive("stop_for_lead", ("stopping_lead_seen",), _SLOWER),
    _Reactive("stop_at_control", ("light_stops", "stop_sign_seen"), _SLOWER, waits=True),
    _Reactive("resume_at_control", ("light_green", "stop_sign_obeyed"), _FASTER, waits=True, from_standing=True),
    _Reactive("yield_to_vru", ("vru_seen",), (*_SLOWER, *_STEERS)),
    _Reactive("speed_bump", ("bump_seen",), _SLOWER),
    _Reactive("nudge", ("obstacle_seen",), _STEERS),
    _Reactive("bypass_construction", ("construction_seen",), (*_SLOWER, *_STEERS)),
    _Reactive("risky_driving", ("risk_seen",), (*_SLOWER, *_STEERS)),
)
"""Those of the eleven in which a cause is followed by a meta-action; lane change and cut-in are told by their events alone."""

_PROACTIVE: tuple[tuple[ProactiveScenario, EventKind, EventKind], ...] = (
    ("curvy_road", "enters_curve", "exits_curve"),
    ("lane_change_preparation", "change_blocked", "change_ready"),
    ("nudge_preparation", "nudge_blocked", "nudge_ready"),
    ("passing_intersection", "enters_intersection", "exits_intersection"),
    ("no_yield_to_vru", "vru_waits", "vru_gone"),
)


def keyframes(actions: Sequence[MetaAction], events: Iterable[Event], duration_s: float) -> tuple[Keyframe, ...]:
    """Keyframes of a drive whose events are known, in the order of time (table 3).

    `actions` are the meta-actions of the whole drive. A cause is answered by the first fitting meta-action that begins within
    6.4 s of it, or, where the later of the two counts, still goes on; without one it makes no keyframe. Keyframes without
    2 s of history or 6.4 s of future are left out, ranges are cut to where they have both.
    """
    told = sorted(events, key=lambda event: (event.t_s, event.kind))
    found = {*_reactions(actions, told), *_lane_changes(told), *_cut_ins(told), *_ranges(actions, told)}
    return _within(found, duration_s)


def transitions(actions: Sequence[MetaAction], duration_s: float) -> tuple[Keyframe, ...]:
    """Half a second before every change of a meta-action, where both last 1 s or longer: all that motion alone can tell."""
    axes = [[action for action in actions if action.axis == axis] for axis in ("longitudinal", "lateral")]
    pairs = [pair for ones in axes for pair in pairwise(ones)]
    begun = {after for before, after in pairs if min(_lasts_s(before), _lasts_s(after)) >= MIN_DURATION_S}
    moments = (replace(_moment(None, action.start_s - BEFORE_S), begins=action.action) for action in begun)
    return _within(moments, duration_s)


def _lasts_s(action: MetaAction) -> float:
    return action.end_s - action.start_s + 1e-9


def moments_s(keyframe: Keyframe, step_s: float) -> tuple[float, ...]:
    """Times to label in a keyframe's range, every `step_s` from its start; one where it is a moment."""
    steps = int((keyframe.until_s - keyframe.t_s) / step_s + 1e-6)
    return tuple(keyframe.t_s + step_s * k for k in range(steps + 1))


def balanced(found: Iterable[tuple[str, Keyframe]], most_each: int) -> tuple[tuple[str, Keyframe], ...]:
    """At most so many keyframes of each kind, out of pairs (clip, keyframe), in the order of clips and times.

    Which ones is drawn by a hash of clip, kind and time: the same for any order of the pairs, and more clips take the place of
    few.
    """
    ranked = defaultdict(list)
    for pair in set(found):
        ranked[pair[1].kind].append((_rank(*pair), pair))
    kept = [pair for ones in ranked.values() for _, pair in sorted(ones, key=lambda one: one[0])[:most_each]]
    return tuple(sorted(kept, key=lambda pair: (pair[0], pair[1].t_s, pair[1].kind)))


def _rank(clip: str, keyframe: Keyframe) -> bytes:
    return hashlib.sha256(f"{clip} {keyframe.kind} {keyframe.t_s:.3f}".encode()).digest()


def _moment(scenario: Scenario | None, t_s: float) -> Keyframe:
    return Keyframe(scenario, t_s, t_s)


def _reactions(actions: Sequence[MetaAction], events: Sequence[Event]) -> Iterator[Keyframe]:
    for rule in _REACTIVE:
        for cause in events:
            action = _answer(actions, rule, cause.t_s) if cause.kind in rule.causes else None
            if action is not None:
                acts_s = action.start_s - BEFORE_S
                yield _moment(rule.scenario, max(acts_s, cause.t_s) if rule.waits else acts_s)


def _answer(actions: Sequence[MetaAction], rule: _Reactive, cause_s: float) -> MetaAction | None:
    """The meta-action with which the ego answers a cause."""
    standing_until_s = {action.end_s for action in actions if action.action == "stop"}
    for action in actions:
        late = action.end_s if rule.waits else action.start_s + BEFORE_S
        if not (cause_s < late and action.start_s <= cause_s + REACTS_S and action.action in rule.reactions):
            continue
        if not rule.from_standing or action.start_s in standing_until_s:
            return action
    return None


def _lane_changes(events: Sequence[Event]) -> Iterator[Keyframe]:
    return (_moment("lane_change", event.t_s - BEFORE_S) for event in events if event.kind == "changes_lane")


def _cut_ins(events: Sequence[Event]) -> Iterator[Keyframe]:
    """When the contender signals or moves, whichever is first: what follows within 6.4 s belongs to the same cut-in."""
    last_s = -REACTS_S
    for event in events:
        if event.kind in ("contender_signals", "contender_moves"):
            if event.t_s - last_s > REACTS_S:
                yield _moment("cut_in", event.t_s)
            last_s = event.t_s


def _ranges(actions: Sequence[MetaAction], events: Sequence[Event]) -> Iterator[Keyframe]:
    for scenario, begins, ends in _PROACTIVE:
        for first in events:
            last = next((event for event in events if event.kind == ends and event.t_s > first.t_s), None)
            if first.kind == begins and last is not None:
                start_s = _slows_s(actions, first.t_s) if scenario == "curvy_road" else first.t_s
                yield Keyframe(scenario, start_s, last.t_s)


def _slows_s(actions: Sequence[MetaAction], enters_s: float) -> float:
    """Half a second before the ego slows down for a curve that it enters then, or that time, whichever is earlier."""
    near = [a.start_s for a in actions if a.action in _SLOWER and enters_s - REACTS_S <= a.start_s and a.end_s > enters_s]
    return min([enters_s, *(start_s - BEFORE_S for start_s in near)])


def _within(found: Iterable[Keyframe], duration_s: float) -> tuple[Keyframe, ...]:
    """Keyframes that have a history and a future, in the order of time."""
    last_s = duration_s - FUTURE_S
    cut = [replace(k, t_s=max(k.t_s, HISTORY_S), until_s=min(k.until_s, last_s)) if k.until_s > k.t_s else k for k in found]
    kept = [k for k in cut if HISTORY_S - 1e-6 <= k.t_s <= k.until_s + 1e-9 and k.until_s <= last_s + 1e-6]
    return tuple(sorted(kept, key=lambda k: (k.t_s, k.kind)))
