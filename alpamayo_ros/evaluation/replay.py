"""A bag through the planner, offline: the node's own decode, buffers, observe and plan, in the order of the recording.

Deterministic: frames are decoded in this thread, waiting is measured on the recording's clock, and every anchor frame whose
turn came is planned for, however long that takes. The same bag and bundle give the same plans, to the byte.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags import Record, bag_topics, deserialize, read_bag
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_profile
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.evaluation.metrics import consistency_share
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Buffers, ring_slots
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.observe import next_t0, observe
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.pipeline.poses import BACKWARD_JUMP_NS
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.types import U8, CameraFrame, EgoPose, InvalidInput, Navigation, Observation, Plan, Request, StaleInput

MAX_WAIT_NS = 100_000_000
OFFLINE_DEADLINE_MS = 60_000.0
NAMED = 8  # of a list, in a message
DEFAULT = Request()
IMAGE_TYPES = {"compressed": "sensor_msgs/msg/CompressedImage", "raw": "sensor_msgs/msg/Image"}
NAVIGATION, EGO_SIGNALS = "/alpamayo_planner/navigation", "/alpamayo_planner/ego_signals"
"""What a recording of the planner node's inputs calls them: ~/navigation and ~/ego_signals of its default name."""


@dataclass(frozen=True)
class ReplayResult:
    """What a replay produced."""

    plans: tuple[Plan, ...]  # with those that the checks reject
    reasons: Counter[str]  # why cycles ended without a plan, and what messages were refused for
    without_plan: int  # cycles
    rejected_plans: int  # of `plans`: what the checks do not let be published
    rejected_by: Counter[str]  # check -> plans that it rejects
    weights: str
    sha256: str  # of all plans; stage times are not part of it

    @property
    def rejected(self) -> int:
        """Cycles that give nothing to drive by."""
        return self.without_plan + self.rejected_plans

    @property
    def consistency(self) -> tuple[float | None, float | None]:
        """See `metrics.consistency_share`."""
        return consistency_share(self.plans)


def replay_bag(bag: Path, rig: Rig, bundle: str, profile: str) -> ReplayResult:
    """Plan for every anchor frame of a bag. Raises InvalidInput for a bag that does not fit the rig."""
    reasons: Counter[str] = Counter()
    plans: list[Plan] = []
    without_plan = rejected_plans = 0
    rejected_by: Counter[str] = Counter()
    with closing(Replay(bag, rig, bundle, profile)) as replay:
        for cycle in replay.cycles():
            if cycle.plan is None:
                without_plan += 1
                reasons[cycle.refused] += 1
            else:
                plans.append(cycle.plan)
                rejected_plans += bool(cycle.rejected)
                rejected_by.update(rejecting(cycle.findings))
        reasons.update(replay.refused)
        weights = replay.engine.weights
    return ReplayResult(tuple(plans), reasons, without_plan, rejected_plans, rejected_by, weights, digest(plans))


def rejecting(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The checks that forbid a plan, by number and name: "V7 lateral acceleration"."""
    return tuple(f"{finding.check} {finding.name}" for finding in findings if finding.rejects)


class BagPass:
    """One pass over a bag: its messages into the node's own buffers, in the order of the recording, with engines beside them.

    `on_pose` hears of every ego pose that the buffers kept, with its epoch; `on_refused` of every refused message's topic and
    the reason, for pixels when they are first asked for. Raises InvalidInput for a bag that does not fit the rig, for
    bundles that cannot be opened, and for a navigation command that the profile does not take.
    """

    def __init__(
        self,
        bag: Path,
        rig: Rig,
        profile: InputProfile,
        bundles: Sequence[str],
        on_refused: Callable[[str, str], object],
        on_pose: Callable[[EgoPose, int], object] = lambda _pose, _epoch: None,
        navigation: Navigation | None = None,  # in place of recorded commands
        spare_slots: int = 0,  # of the frame ring, for frames that engines are asked about and that were never recorded
    ) -> None:
        if navigation is not None and profile.navigation == "none":
            raise InvalidInput(f"profile {profile.name} takes no navigation")
        self._bag = bag
        self._rig = rig
        self._on_refused, self._on_pose = on_refused, on_pose
        self._now_ns = 0  # time of the recording
        self._stamps: dict[str, int] = {}  # of the last message, by topic
        self.backward: Counter[str] = Counter()  # by topic, messages stamped over 100 ms before the one before them
        self.roles = {rig.cameras[role].topic: role for role in profile.cameras if role in rig.cameras}
        self.counts = _counts(bag, rig, profile, commands=navigation is None)
        with ExitStack() as opened:
            ring = FrameRing(profile.image_shape, ring_slots(profile, rig) + spare_slots)
            opened.callback(ring.close)
            self.engines = [
                opened.enter_context(EngineClient(bundle, profile, ring, OFFLINE_DEADLINE_MS)) for bundle in bundles
            ]
            self.buffers = Buffers(
                profile,
                rig,
                _TellingRing(ring, lambda role, reason: on_refused(rig.cameras[role].topic, reason)),
                threads=0,
                on_frame=self._tell_engines,
                clock_ns=lambda: self._now_ns,
            )
            opened.callback(self.buffers.close)
            self.close = opened.pop_all().close
        self.buffers.navigation = navigation

    def _tell_engines(self, frame: CameraFrame) -> None:
        for engine in self.engines:
            engine.add_frame(frame)

    def records(self) -> Iterator[Record]:
        """What the planner listens to, of the bag. Raises InvalidInput for a bag that is damaged."""
        return read_bag(self._bag, [topic for topic, count in self.counts.items() if count])

    def instants(self, records: Iterable[Record], max_plan_hz: float) -> Iterator[int]:
        """Each t0 whose turn came, ns, while the buffers are as they were then."""
        last_t0_ns = 0
        for record in records:
            epoch = self.buffers.epoch
            self.take(record)
            if self.buffers.epoch != epoch:
                for engine in self.engines:
                    engine.reset(self.buffers.epoch)
                last_t0_ns = 0
            t0_ns = next_t0(self.buffers, last_t0_ns, self._now_ns, MAX_WAIT_NS, max_plan_hz)
            if t0_ns is not None:
                last_t0_ns = t0_ns
                yield t0_ns

    def take(self, record: Record) -> None:
        """One message into the buffers; what is wrong with it is told."""
        self._now_ns = record.log_ns
        try:
            message = deserialize(record.cdr, record.type_name)
            self._buffer(record, message)
        except InvalidInput as error:
            self._on_refused(record.topic, str(error))

    def _buffer(self, record: Record, message: Any) -> None:
        topic = record.topic
        if topic in self.roles:
            self.buffers.take_image(message, self.roles[topic], record.log_ns)
            self._note_order(topic, message)
        elif topic == self._rig.odometry.topic:
            if self.buffers.take_odometry(message, record.log_ns) == "duplicate":
                raise InvalidInput("odometry: the stamp of a pose that is there")
            self._note_order(topic, message)
            pose, _ = self.buffers.poses.at(decode.stamp_ns(message.header.stamp))
            self._on_pose(pose, self.buffers.epoch)
        elif topic == NAVIGATION:
            self.buffers.take_navigation(message)
        elif topic == EGO_SIGNALS:
            self.buffers.take_signals(message, record.log_ns)
        else:
            self.buffers.take_transforms(message)

    def _note_order(self, topic: str, message: Any) -> None:
        stamp_ns = decode.stamp_ns(message.header.stamp)
        if stamp_ns < self._stamps.get(topic, stamp_ns) - BACKWARD_JUMP_NS:
            self.backward[topic] += 1
        self._stamps[topic] = stamp_ns


def observations(bag: Path, rig: Rig, profile: InputProfile, every_s: float) -> Iterator[Observation]:
    """What a planner would see of a bag, so many seconds apart, with pictures of their own; what it could not see is left out.

    Raises InvalidInput as BagPass does.
    """
    if not 0 < every_s < math.inf:
        raise InvalidInput(f"want a time between windows above 0 s, got {every_s}")
    one_pass = BagPass(bag, rig, profile, [], lambda _topic, _reason: None)
    with closing(one_pass):
        for t0_ns in one_pass.instants(one_pass.records(), 1.0 / every_s):
            with suppress(StaleInput, InvalidInput):
                seen = observe(one_pass.buffers, t0_ns)
                yield replace(seen, frames={role: tuple(map(_kept, frames)) for role, frames in seen.frames.items()})


def _kept(frame: CameraFrame) -> CameraFrame:
    """With a picture that nobody writes over."""
    return replace(frame, image=frame.image.copy(), slot=None)


class _TellingRing:
    """A frame ring that tells of pixels that could not be decoded."""

    def __init__(self, ring: FrameRing, on_refused: Callable[[str, str], object]) -> None:
        self._ring, self._on_refused = ring, on_refused

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        """See FrameRing.write."""
        try:
            return self._ring.write(role, stamp_ns, epoch, fill)
        except InvalidInput as error:
            self._on_refused(role, str(error))
            raise


def _counts(bag: Path, rig: Rig, profile: InputProfile, *, commands: bool) -> dict[str, int]:
    """Messages of every topic that the planner listens to, 0 where the bag lacks one that it can do without.

    Raises InvalidInput for one that it cannot do without, and for one of another type.
    """
    cameras = {role: rig.cameras[role] for role in profile.cameras if role in rig.cameras}
    wanted = {camera.topic: IMAGE_TYPES[camera.transport] for camera in cameras.values()}
    wanted |= {rig.odometry.topic: "nav_msgs/msg/Odometry", "/tf_static": "tf2_msgs/msg/TFMessage"}
    needed = [rig.odometry.topic, *(rig.cameras[role].topic for role in profile.required_roles if role in cameras)]
    if commands and profile.navigation != "none":
        wanted[NAVIGATION] = "alpamayo_ros/msg/NavigationCommand"
    if set(profile.ego_signals) - {"speed"}:
        wanted[EGO_SIGNALS] = "alpamayo_ros/msg/EgoSignals"
        needed.append(EGO_SIGNALS)
    held = bag_topics(bag)
    counts = {topic: held[topic].count if topic in held else 0 for topic in wanted}
    if wrong := [topic for topic in wanted if topic in held and held[topic].type_name != wanted[topic]]:
        pairs = "; ".join(f"{topic} holds {held[topic].type_name}, want {wanted[topic]}" for topic in wrong)
        raise InvalidInput(f"{bag}: {pairs} (rig {rig.name})")
    if missing := [topic for topic in needed if not counts[topic]]:
        lacking = some([f"{topic} ({wanted[topic]})" for topic in missing])
        holds = some([f"{name} ({of.count} {of.type_name})" for name, of in held.items()]) or "nothing"
        raise InvalidInput(
            f"{bag} has no {lacking}, which rig {rig.name} declares and profile {profile.name} requires; it holds {holds}; "
            f"see alpamayo doctor {bag}"
        )
    return counts


def some(things: Sequence[str], between: str = ", ") -> str:
    """The first NAMED of them, and how many more there are."""
    more = [f"{len(things) - NAMED} more"] if len(things) > NAMED else []
    return between.join([*things[:NAMED], *more])


class Replay:
    """A bag through one planner. `cycles` yields what became of each anchor frame, in order."""

    def __init__(
        self,
        bag: Path,
        rig: Rig,
        bundle: str,
        profile: str,
        request: Request = DEFAULT,
        navigation: Navigation | None = None,
    ) -> None:
        self.request = request  # but for its seed, which is a function of t0
        self.refused: Counter[str] = Counter()  # messages that were refused, by reason
        self._pass = BagPass(bag, rig, bundle_profile(bundle, profile), [bundle], self._refuse, navigation=navigation)
        self.buffers, (self.engine,) = self._pass.buffers, self._pass.engines
        self.close = self._pass.close

    def cycles(self, from_t0_ns: int = 0) -> Iterator[Cycle]:
        """What became of each anchor frame at or after an instant; for those before it nothing is planned."""
        total = sum(self._pass.counts.values())
        records = track(self._pass.records(), "replaying", total=total, console=Console(stderr=True), transient=True)
        for t0_ns in self._pass.instants(records, max_plan_hz=1e3):
            request = replace(self.request, seed=seed_of(t0_ns))
            if t0_ns >= from_t0_ns:
                yield run_cycle(self.buffers, t0_ns, self.engine, request, self.engine.space)

    def _refuse(self, topic: str, reason: str) -> None:
        self.refused[f"{topic}: {reason}"] += 1


def digest(plans: list[Plan]) -> str:
    """SHA-256 over everything the plans decided."""
    total = hashlib.sha256()
    for plan in plans:
        decided = (
            plan.t0_ns,
            plan.epoch,
            plan.source,
            plan.chosen,
            plan.scores,
            plan.reasoning,
            plan.meta_actions,
            plan.consistent,
        )
        total.update(repr(decided).encode())
        for trajectory in plan.candidates:
            columns = (trajectory.yaw_rad, trajectory.speed_mps, trajectory.accel_mps2, trajectory.curvature_1pm)
            total.update(np.column_stack([trajectory.t_s, trajectory.xyz, *columns]).tobytes())
    return total.hexdigest()
