"""A bag through the planner, offline: the node's own decode, buffers, observe and plan, in the order of the recording.

Deterministic: frames are decoded inline, waiting is measured on the recording's clock, and every anchor frame whose turn
came is planned for, however long that takes. The same bag and bundle give the same plans, to the byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
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
from alpamayo_ros.pipeline.buffers import Buffers, ring_slots
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.observe import next_t0
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import InvalidInput, Plan, Request

MAX_WAIT_NS = 100_000_000
OFFLINE_DEADLINE_MS = 60_000.0
DEFAULT = Request()


@dataclass(frozen=True)
class ReplayResult:
    """What a replay produced."""

    plans: tuple[Plan, ...]
    reasons: Counter[str]  # why cycles ended without a plan, and what messages were refused for
    rejected: int  # cycles without a plan
    weights: str
    sha256: str  # of all plans; stage times are not part of it

    @property
    def consistency(self) -> tuple[float | None, float | None]:
        """See `metrics.consistency_share`."""
        return consistency_share(self.plans)


def replay_bag(bag: Path, rig: Rig, bundle: str, profile: str) -> ReplayResult:
    """Plan for every anchor frame of a bag. Raises InvalidInput for a bag that does not fit the rig."""
    reasons: Counter[str] = Counter()
    plans: list[Plan] = []
    rejected = 0
    with closing(Replay(bag, rig, bundle, profile)) as replay:
        for cycle in replay.cycles():
            if cycle.plan is None:
                rejected += 1
                reasons[cycle.refused] += 1
            else:
                plans.append(cycle.plan)
        reasons.update(replay.refused)
        weights = replay.engine.weights
    return ReplayResult(tuple(plans), reasons, rejected, weights, digest(plans))


class Replay:
    """One pass over a bag. `cycles` yields what became of each anchor frame, in order."""

    def __init__(self, bag: Path, rig: Rig, bundle: str, profile: str, request: Request = DEFAULT) -> None:
        self._bag = bag
        self.request = request  # but for its seed, which is a function of t0
        self._rig = rig
        self._now_ns = 0  # time of the recording
        self.refused: Counter[str] = Counter()  # messages that were refused, by reason
        chosen = bundle_profile(bundle, profile)
        self._roles = {rig.cameras[role].topic: role for role in chosen.cameras if role in rig.cameras}
        self._topics = self._read_topics()
        self._ring = FrameRing(chosen.image_shape, ring_slots(chosen, rig))
        self.engine = EngineClient(bundle, chosen, self._ring, OFFLINE_DEADLINE_MS)
        self.buffers = Buffers(
            chosen, rig, self._ring, threads=0, on_frame=self.engine.add_frame, clock_ns=lambda: self._now_ns
        )

    def cycles(self, only_t0_ns: int | None = None) -> Iterator[Cycle]:
        """What became of each anchor frame; with `only_t0_ns`, of the first one at or after it and no other."""
        last_t0_ns = 0
        count = sum(bag_topics(self._bag)[topic].count for topic in self._topics)
        records = read_bag(self._bag, self._topics)
        for record in track(records, "replaying", total=count, console=Console(stderr=True), transient=True):
            epoch, self._now_ns = self.buffers.epoch, record.log_ns
            self._take(record)
            if self.buffers.epoch != epoch:
                self.engine.reset(self.buffers.epoch)
                last_t0_ns = 0
            t0_ns = next_t0(self.buffers, last_t0_ns, self._now_ns, MAX_WAIT_NS, max_plan_hz=1e3)
            if t0_ns is not None:
                last_t0_ns = t0_ns
                request = replace(self.request, seed=seed_of(t0_ns))
                if only_t0_ns is None or t0_ns >= only_t0_ns:
                    yield run_cycle(self.buffers, t0_ns, self.engine, request, self.engine.space)
                    if only_t0_ns is not None:
                        return

    def close(self) -> None:
        """Free the engine, the buffers and the shared memory."""
        self.engine.close()
        self.buffers.close()
        self._ring.close()

    def _read_topics(self) -> list[str]:
        """Topics of the bag that the planner listens to. Raises InvalidInput when required ones are missing."""
        recorded = bag_topics(self._bag)
        wanted = [*self._roles, self._rig.odometry.topic]
        if missing := [topic for topic in wanted if topic not in recorded]:
            raise InvalidInput(f"{self._bag} has no {', '.join(missing)}, which rig {self._rig.name} declares")
        return wanted + [topic for topic in ("/tf_static",) if topic in recorded]

    def _take(self, record: Record) -> None:
        message = deserialize(record.cdr, record.type_name)
        try:
            self._buffer(record, message)
        except InvalidInput as error:
            self.refused[f"{record.topic}: {error}"] += 1

    def _buffer(self, record: Record, message: Any) -> None:
        if record.topic in self._roles:
            self.buffers.take_image(message, self._roles[record.topic], record.log_ns)
        elif record.topic == self._rig.odometry.topic:
            self.buffers.take_odometry(message, record.log_ns)
        else:
            self.buffers.take_transforms(message)


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
