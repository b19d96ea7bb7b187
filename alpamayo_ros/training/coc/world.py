"""Labels from the driving world, which knows what the expert saw and what it decided for.

A cause of the expert becomes a component with the time at which it was last in sight; what the sentence names beside its
causes (the intersection of a light, the crosswalk of a pedestrian) is added where the world has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import TICK_NS, start_ns, tick_of
from alpamayo_ros.simulation.data.samples import words_rng
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.label import SURPRISE_LIMIT_M, Label, any_label, driven
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.coc.evidence import HISTORY_S, citations, fits
from alpamayo_ros.training.coc.keyframes import Keyframe, keyframes
from alpamayo_ros.training.coc.schema import Chain, Choice, Component, Record, Scenario, Source, Unlabelled
from alpamayo_ros.training.coc.world_events import events
from alpamayo_ros.training.dataset.world import clip_of
from alpamayo_ros.types import STEP_S, MetaAction

SOURCE = Source(name="world", version="1")
_PERIOD_S = 0.5  # of the expert's plans: a label lies within half of it of its keyframe
_HISTORY_TICKS = round(HISTORY_S / STEP_S)

COMPONENTS: dict[CauseKind, dict[str, str]] = {
    "lead": {"category": "critical_object", "type": "vehicle", "position": "in_path"},
    "slow_lead": {"category": "critical_object", "type": "vehicle", "position": "in_path", "motion": "slow"},
    "stopped_lead": {"category": "critical_object", "type": "vehicle", "position": "in_path", "motion": "stopped"},
    "braking_lead": {"category": "critical_object", "type": "vehicle", "position": "in_path", "motion": "slowing"},
    "cut_in": {"category": "critical_object", "type": "vehicle", "motion": "cutting_in"},
    "crossing_vehicle": {"category": "critical_object", "type": "vehicle", "motion": "crossing"},
    "oncoming_vehicle": {"category": "critical_object", "type": "vehicle", "position": "oncoming"},
    "vehicle_alongside": {"category": "critical_object", "type": "vehicle"},
    "pedestrian": {"category": "critical_object", "type": "pedestrian"},
    "child": {"category": "critical_object", "type": "pedestrian"},
    "cyclist": {"category": "critical_object", "type": "cyclist"},
    "red_light": {"category": "traffic_light", "colour": "red"},
    "yellow_light": {"category": "traffic_light", "colour": "yellow"},
    "green_light": {"category": "traffic_light", "colour": "green"},
    "stop_sign": {"category": "yield_stop_control", "kind": "stop"},
    "yield_sign": {"category": "yield_stop_control", "kind": "yield"},
    "curve": {"category": "road_event", "kind": "curve"},
    "advisory_sign": {"category": "road_event", "kind": "curve"},
    "parked_car": {"category": "critical_object", "type": "vehicle", "motion": "stopped"},
    "broken_down_car": {"category": "critical_object", "type": "vehicle", "motion": "stopped"},
    "truck": {"category": "critical_object", "type": "vehicle", "motion": "stopped"},
    "cones": {"category": "odd_constraint", "kind": "construction"},
    "barrier": {"category": "odd_constraint", "kind": "construction"},
    "lane_ends": {"category": "lane", "state": "closed"},
    "on_ramp": {"category": "routing_intent", "target": "merge"},
    "exit": {"category": "routing_intent", "target": "exit"},
    "turn": {"category": "road_event", "kind": "junction"},
    "lane_wanted": {"category": "routing_intent", "target": "lane"},
    "free_lane": {"category": "lane", "state": "clear"},
    "kerb": {"category": "routing_intent", "target": "destination"},
    "clear_road": {"category": "lane", "state": "clear"},
}
"""What the expert's causes are in the paper's table 2; side, uncertainty and time come from the world."""

_INTERSECTION = {"category": "road_event", "kind": "junction", "description": "the intersection"}
_CROSSWALK = {"category": "road_event", "kind": "crosswalk", "description": "the crosswalk"}
_TAKEN_LANE = {"category": "lane", "state": "occupied", "description": "the lane that is taken"}

_PLACES: dict[CauseKind, dict[str, str]] = {
    "vehicle_alongside": _TAKEN_LANE,
    **dict.fromkeys(
        ("red_light", "yellow_light", "green_light", "stop_sign", "yield_sign", "turn", "crossing_vehicle"), _INTERSECTION
    ),
}
"""What is there with a cause and may be named beside it."""

_COMPONENT: TypeAdapter[Component] = TypeAdapter(Component)


@dataclass(frozen=True)
class WorldMoment:
    """A labelled t0 of an expert's drive."""

    clip: str
    t0_ns: int
    label: Label
    in_sight: tuple[frozenset[str], ...]  # names of what could be seen, every 0.1 s of the history, t0 last
    scenario: Scenario | None

    @property
    def meta_actions(self) -> tuple[MetaAction, ...]:
        """Driven from t0 on."""
        return self.label.meta_actions


def world_moments(scene: SceneId) -> Iterator[WorldMoment | Unlabelled]:
    """Let the expert drive a scene: every t0, or why it has no label. Raises InvalidInput for an unknown scene."""
    episode = run_episode(make_scenario(scene.family, scene.seed), ExpertPolicy())
    if ended := episode.failure or (episode.incident and episode.incident.kind):
        yield Unlabelled("incident", f"{scene.family} {scene.seed} ended with {ended}")
        return
    labels = []
    for planned in episode.planned:
        found = any_label(episode, planned, words_rng(episode.scenario, planned))
        where = f"{scene.family} {scene.seed} at {planned.t0_s:.1f} s"
        if found is None:
            yield Unlabelled("no_history_or_future", f"{where} of {episode.snapshots[-1].t_s:.1f} s")
        elif found.surprise_m > SURPRISE_LIMIT_M:
            yield Unlabelled("surprise", f"{where}: {found.surprise_m:.1f} m off what was intended, limit {SURPRISE_LIMIT_M} m")
        else:
            labels.append(found)
    yield from moments_of(episode, labels)


def moments_of(episode: Episode, labels: Sequence[Label]) -> tuple[WorldMoment, ...]:
    """Labels of an expert's drive with what was in sight and which scenario it was."""
    scenario, frames = episode.scenario, world_keyframes(episode)
    seen = [visible(scenario, snapshot) for snapshot in episode.snapshots]
    return tuple(
        WorldMoment(
            clip=clip_of(SceneId(scenario.family, scenario.seed)),
            t0_ns=start_ns(scenario) + tick_of(one.t0_s) * TICK_NS,
            label=one,
            in_sight=tuple(seen[tick_of(one.t0_s) - _HISTORY_TICKS : tick_of(one.t0_s) + 1]),
            scenario=scenario_at(frames, one.t0_s),
        )
        for one in labels
    )


def world_keyframes(episode: Episode) -> tuple[Keyframe, ...]:
    """Keyframes of a drive whose every event is known."""
    way = driven([snapshot.ego for snapshot in episode.snapshots])
    actions = meta_actions(way, episode.snapshots[0].ego.speed_mps)
    return keyframes(actions, events(episode), episode.snapshots[-1].t_s)


def scenario_at(frames: Sequence[Keyframe], t0_s: float) -> Scenario | None:
    """The scenario of the nearest keyframe within half a planning period; else of a range that t0 is in."""
    moments = [frame for frame in frames if frame.t_s == frame.until_s and abs(frame.t_s - t0_s) <= _PERIOD_S / 2 + 1e-6]
    ranges = [frame for frame in frames if frame.t_s <= t0_s <= frame.until_s]
    nearest = min(moments, key=lambda frame: abs(frame.t_s - t0_s), default=None) or next(iter(ranges), None)
    return nearest.scenario if nearest else None


def world_record(moment: WorldMoment) -> Record:
    """The label of a moment of the world."""
    why = moment.label
    choice = Choice(longitudinal=why.decision.longitudinal, lateral=why.decision.lateral, direction=why.decision.direction)
    chain = Chain(choice=choice, components=_told(moment), trace=why.text)
    return Record(clip=moment.clip, t0_ns=moment.t0_ns, scenario=moment.scenario, chain=chain, labeler=SOURCE)


def _told(moment: WorldMoment) -> tuple[Component, ...]:
    """The deciding cause, and of the other causes and their places those that the sentence names."""
    cited = citations(moment.label.text)
    first, *others = (_component(cause, moment) for cause in moment.label.causes)
    places = [place for cause in moment.label.causes for place in _places(cause, moment)]
    told = [first]
    for component in (*others, *places):
        left = [one for one in cited if not any(fits(one, known) for known in told)]
        if any(fits(one, component) for one in left):
            told.append(component)
    return tuple(told)


def _component(cause: Cause, moment: WorldMoment) -> Component:
    seen_s = _last_seen_s(cause.things, moment)
    fields: dict[str, Any] = {**COMPONENTS[cause.kind], "seen_s": seen_s, "description": _described(cause)}
    if fields["category"] == "critical_object":
        fields["uncertainty"] = "low" if seen_s == 0 else "high"
        fields.setdefault("position", cause.side or "in_path")
    elif cause.side is not None and fields["category"] in ("road_event", "lane", "routing_intent", "odd_constraint"):
        fields["side"] = cause.side
    return _COMPONENT.validate_python(fields)


def _described(cause: Cause) -> str:
    side = f" on the {cause.side}" if cause.side else ""
    away = f", {cause.distance_m:.0f} m ahead" if cause.distance_m >= 1 else ""
    return f"{cause.kind.replace('_', ' ')}{side}{away}"


def _places(cause: Cause, moment: WorldMoment) -> Iterator[Component]:
    seen_s = _last_seen_s(cause.things, moment)
    if cause.kind in _PLACES:
        yield _COMPONENT.validate_python({**_PLACES[cause.kind], "seen_s": seen_s})
    if any(thing.startswith("crosswalk") for thing in cause.things):
        yield _COMPONENT.validate_python({**_CROSSWALK, "seen_s": seen_s})


def _last_seen_s(things: Sequence[str], moment: WorldMoment) -> float:
    """When all of a cause's things had last been in sight, s after t0."""
    last = {name: tick for tick, names in enumerate(moment.in_sight) for name in names}
    return STEP_S * (min(last[thing] for thing in things) - _HISTORY_TICKS)
