"""One bag to its evaluation: every window planned by every contender, beside what was then driven."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np

from alpamayo_ros.bags import Record, bag_span
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_engine, bundle_folder, bundle_name
from alpamayo_ros.evaluation.metrics import HORIZONS_S, plan_deviation_m, points_to
from alpamayo_ros.evaluation.openloop.provenance import bag_sha256, profiles
from alpamayo_ros.evaluation.openloop.results import BLANKED, CLIP_S, KINEMATIC, BagEvaluation, Coverage, Setup, Window
from alpamayo_ros.evaluation.openloop.summary import grouped
from alpamayo_ros.evaluation.openloop.truth import NOTHING, TIMES_S, Waiting
from alpamayo_ros.evaluation.replay import BagPass, rejecting, some
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.pipeline.planner import plan, seed_of
from alpamayo_ros.profile import InputProfile, Rig, read_rig
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.types import EgoPose, EngineFailure, InvalidInput, Observation, Plan, Request, StaleInput

MAX_BACKWARD_SHARE = 0.01
"""Of a topic's messages: where more are stamped over 100 ms before the one before them, the recording is not in order. A
recording of a loop goes back once per turn."""

_LEFT_BEHIND = {
    "duplicate": "a frame that is there, once more",
    "conflicting": "the stamp of a frame that is there, with another picture",
    "late": "older than the window on arrival",
    "dropped": "left behind by the window, the ring or the epoch",
}
"""What else than a refusal becomes of camera messages, by their name in pipeline.window.Counts."""


def evaluate_bag(bag: Path, setup: Setup, progress: Callable[[float], None] = lambda _share: None) -> BagEvaluation:
    """Evaluate a bag in one pass; `progress` gets the share 0..1 of it that was read.

    Raises InvalidInput: bundles of different profiles or of one name, a bag that is damaged, not in order, does not fit the
    rig or gives no window at all. EngineFailure when an engine dies.
    """
    profile, judged = shared_profile(setup), contenders(setup)
    check_rate(setup.rate_hz)
    first_ns, last_ns = bag_span(bag)
    rig = read_rig(setup.rig)
    evaluator = _Evaluator(bag, setup, rig)
    images, stopped = len(profile.cameras) * len(profile.offsets_ns), Event()
    with ThreadPoolExecutor(1, "sha256") as hashing, ExitStack() as ended:
        ended.callback(stopped.set)
        bundles = list(dict.fromkeys(contender.bundle for contender in judged))
        one_pass = BagPass(bag, rig, profile, bundles, evaluator.refuse, evaluator.take_pose, spare_slots=images)
        with closing(one_pass):
            sha256 = hashing.submit(bag_sha256, bag, stopped)
            engines = dict(zip(bundles, one_pass.engines, strict=True))
            asked = [_Asked(contender, engines[contender.bundle]) for contender in judged]
            records = _told(one_pass.records(), sum(one_pass.counts.values()), progress)
            for t0_ns in one_pass.instants(records, setup.rate_hz):
                evaluator.take_instant(t0_ns, one_pass, asked)
            windows, coverage = evaluator.end(one_pass)
            weights = {contender.name: engine.weights for contender, engine in asked}
        duration_s = (last_ns - first_ns) / 1e9
        return BagEvaluation(str(bag), sha256.result(), evaluator.start_ns, duration_s, weights, windows, coverage)


def check_rate(rate_hz: float) -> None:
    """Raise InvalidInput unless it is a number of windows per second."""
    if not 0 < rate_hz < math.inf:
        raise InvalidInput(f"rate_hz: want more than 0 windows per second, got {rate_hz}")


def shared_profile(setup: Setup) -> InputProfile:
    """The profile of all bundles of a setup. Raises InvalidInput for none, and for two: they cannot see the same."""
    if not setup.bundles:
        raise InvalidInput("bundles: want one or more, got none")
    first, *others = profiles(setup).items()
    for bundle, profile in others:
        if profile != first[1]:
            mine, its = first[1].model_dump(), profile.model_dump()
            differ = ", ".join(f"{key} {mine[key]} and {its[key]}" for key in mine if mine[key] != its[key])
            raise InvalidInput(
                f"{first[0]} has the profile {first[1].name}, {bundle} has {profile.name}; contenders of one evaluation see "
                f"the same observation, these differ in {differ}"
            )
    return first[1]


class Contender(NamedTuple):
    """A planner that is judged."""

    name: str
    bundle: str  # folder, or engine without one
    is_blind: bool  # gets black pictures


def contenders(setup: Setup) -> tuple[Contender, ...]:
    """Bundles in the order of the setup, the first of them blindfolded if it can see, the baseline.

    A bundle by two engines is called by both: NAME@ENGINE. Raises InvalidInput for equal names.
    """
    plain = [bundle_name(bundle) for bundle in setup.bundles]
    names = [
        f"{name}@{bundle_engine(bundle)}" if plain.count(name) > 1 and bundle_folder(bundle) else name
        for name, bundle in zip(plain, setup.bundles, strict=True)
    ]
    bundles = [Contender(name, bundle, is_blind=False) for name, bundle in zip(names, setup.bundles, strict=True)]
    blind = [first._replace(name=first.name + BLANKED, is_blind=True) for first in bundles[:1] if first.bundle != KINEMATIC]
    baseline = [Contender(KINEMATIC, KINEMATIC, is_blind=False)] if KINEMATIC not in setup.bundles else []
    found = (*bundles, *blind, *baseline)
    for one, other in combinations(found, 2):
        if one.name == other.name:
            raise InvalidInput(f"bundles {one.bundle} and {other.bundle}: both would be called {one.name}")
    return found


class _Asked(NamedTuple):
    contender: Contender
    engine: EngineClient


def blanked(observation: Observation) -> Observation:
    """The same observation with black images, in an epoch of its own: an engine may know the frames of this one already."""
    epoch = -1 - observation.epoch
    shape = next(iter(observation.frames.values()))[0].image.shape
    black = np.zeros(shape, np.uint8)
    frames = {
        role: tuple(replace(frame, epoch=epoch, image=black, slot=None) for frame in of_role)
        for role, of_role in observation.frames.items()
    }
    return replace(observation, epoch=epoch, frames=frames)


class _Evaluator:
    """What is known of a bag so far."""

    def __init__(self, bag: Path, setup: Setup, rig: Rig) -> None:
        self._bag = bag
        self._roles = {camera.topic: role for role, camera in rig.cameras.items()}
        self._setup = setup
        self.start_ns = 0  # t0 of the first instant: a stamp, as the recorder may have another clock
        self._waiting = Waiting()
        self._windows: list[Window] = []  # with their future
        self._before: Window | None = None
        self._t0s: set[int] = set()
        self._anchors = 0
        self._frames_refused: Counter[str] = Counter()
        self._messages_refused: Counter[str] = Counter()
        self._not_observed: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._cameras: Counter[str] = Counter()

    def refuse(self, topic: str, reason: str) -> None:
        """A message that was refused."""
        role = self._roles.get(topic)
        refused = self._messages_refused if role is None else self._frames_refused
        source = topic if role is None else role
        refused[self._grouped(reason.removeprefix(f"{source}: "), f"{source}: ")] += 1

    def take_pose(self, pose: EgoPose, epoch: int) -> None:
        """An ego pose, which windows may have waited for."""
        self._windows += self._waiting.take(pose, epoch)

    def take_instant(self, t0_ns: int, one_pass: BagPass, asked: Sequence[_Asked]) -> None:
        """A window, or the reason why there is none. Raises EngineFailure when an engine died."""
        if not self._anchors:
            self.start_ns = t0_ns
        self._anchors += 1
        if t0_ns in self._t0s:
            self._not_observed["the recording repeats itself: this t0 has a window"] += 1
            return
        started = time.perf_counter()
        try:
            observation = observe(one_pass.buffers, t0_ns)
        except (StaleInput, InvalidInput) as error:
            self._not_observed[self._grouped(str(error))] += 1
            return
        observe_ms = (time.perf_counter() - started) * 1e3
        self._t0s.add(t0_ns)
        self._cameras.update(observation.frames.keys())
        self._before = self._window(observation, asked, observe_ms)
        self._waiting.add(self._before)

    def end(self, one_pass: BagPass) -> tuple[tuple[Window, ...], Coverage]:
        """The bag is read. Raises InvalidInput when it was not in order, or without a window."""
        windows = sorted(self._windows + self._waiting.end(), key=lambda window: window.t0_ns)
        coverage = self._coverage(one_pass, windows)
        for topic, backward in one_pass.backward.items():
            if backward > max(1, MAX_BACKWARD_SHARE * one_pass.counts[topic]):
                raise InvalidInput(
                    f"{self._bag}: not in order: {backward} of {one_pass.counts[topic]} messages on {topic} are stamped more "
                    "than 100 ms before the message before them; want records in the order of their stamps"
                )
        if not windows:
            raise InvalidInput(f"{self._bag}: not one window; {_whole_story(coverage)}")
        return tuple(windows), coverage

    def _window(self, observation: Observation, asked: Sequence[_Asked], observe_ms: float) -> Window:
        t0_ns, before = observation.stamp_ns, self._before
        request = replace(self._setup.request, seed=seed_of(t0_ns))
        answers = {one.contender.name: _answer(observation, *one, request, observe_ms) for one in asked}
        plans = {name: answer for name, answer in answers.items() if isinstance(answer, Plan)}
        spaces = {one.contender.name: one.engine.space for one in asked}
        failed = {n: rejecting(findings(found, observation.ego_t0, LIMITS, spaces[n])) for n, found in plans.items()}
        rejected = {name: checks for name, checks in failed.items() if checks}
        refused = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
        deviations: dict[str, float | None] = {
            name: plan_deviation_m(before.plans[name], before.ego_t0, found, observation.ego_t0)
            if before is not None and name in before.plans
            else None
            for name, found in plans.items()
        }
        clip = f"{self._bag.resolve().name}/{int((t0_ns - self.start_ns) / 1e9 // CLIP_S)}"
        sync_error_ms = max(abs(error) for errors in observation.sync_error_ms.values() for error in errors)
        known = observation.history, observation.ego_t0, NOTHING, sync_error_ms
        return Window(t0_ns, clip, *known, plans, refused, deviations, rejected)

    def _coverage(self, one_pass: BagPass, windows: list[Window]) -> Coverage:
        frames_refused = dict(self._frames_refused)
        for role, counts in one_pass.buffers.frames.counts.items():
            fates = vars(counts)
            frames_refused |= {f"{role}: {text}": fates[name] for name, text in _LEFT_BEHIND.items() if fates[name]}
        known = [TIMES_S[: len(window.driven.xyz)] for window in windows]
        future_to_s = {f"{h:g}": sum(points_to(times, h) is not None for times in known) for h in HORIZONS_S}
        return Coverage(
            messages=dict(one_pass.counts),
            frames_refused=frames_refused,
            messages_refused=dict(self._messages_refused),
            anchors=self._anchors,
            not_observed=dict(self._not_observed),
            future_to_s=future_to_s,
            examples=self._examples,
            cameras={role: self._cameras[role] for role in one_pass.buffers.roles},
        )

    def _grouped(self, reason: str, source: str = "") -> str:
        group = source + grouped(reason)
        self._examples.setdefault(group, source + reason)
        return group


def _answer(
    observation: Observation, contender: Contender, engine: EngineClient, request: Request, observe_ms: float
) -> Plan | str:
    """One contender's plan, with all stages, or why its engine gives none. Raises EngineFailure when the engine died."""
    restarts = engine.restarts
    seen = blanked(observation) if contender.is_blind else observation
    started = time.perf_counter()
    try:
        found = plan(seen, engine, request, engine.space)
    except (EngineFailure, InvalidInput) as error:
        if not engine.alive or engine.restarts != restarts:
            raise EngineFailure(f"{contender.name} at {seen.stamp_ns} ns: {error}") from error
        return str(error)
    total_ms = observe_ms + (time.perf_counter() - started) * 1e3
    stage_ms = {"observe": observe_ms, **found.stage_ms, "total": total_ms}
    return replace(found, epoch=observation.epoch, stage_ms=stage_ms)


def _told(records: Iterator[Record], total: int, progress: Callable[[float], None]) -> Iterator[Record]:
    """The records, while telling of every thousandth part of them."""
    for number, record in enumerate(records, 1):
        yield record
        if number * 1000 // total > (number - 1) * 1000 // total:
            progress(number / total)


def _whole_story(coverage: Coverage) -> str:
    """Why there is no window, in words and counts."""
    reasons = {**coverage.not_observed, **coverage.frames_refused, **coverage.messages_refused}
    told = some([f"{count} x {coverage.examples.get(reason, reason)}" for reason, count in reasons.items()], "; ")
    read = some([f"{count} on {topic}" for topic, count in coverage.messages.items()])
    return f"{coverage.anchors} instants were asked for: {told or 'nothing was refused'}; messages read: {read}"
