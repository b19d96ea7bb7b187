"""A short bag of small cameras, the same bag with a planner's topics recorded into it, and what was planned for it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of, write_small_profile
from nodes import ros_harness  # noqa: F401 - first: it imports what the generated messages need, without the warnings
from rclpy.serialization import serialize_message

from alpamayo_ros.bags import BagWriter, read_bag
from alpamayo_ros.evaluation.replay import Replay
from alpamayo_ros.evaluation.viewing.view import Shown
from alpamayo_ros.nodes import messages
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import Consistency, CriticalComponent, Decision, Plan, ReasoningTrace

SECONDS = 2.0
PLANNER = "/alpamayo_planner"
TRACE = ReasoningTrace(
    "Keep distance since a car is stopping ahead.",
    Decision("lead_obstacle_following", "in_lane_nudge", "left"),
    (CriticalComponent("critical_object", "car", (("place", "ahead"),)),),
    9,
    complete=True,
)


class Recorded(NamedTuple):
    """A bag with inputs and outputs, and what was planned."""

    bag: Path
    cycles: list[Cycle]


@pytest.fixture(scope="session")
def rig() -> Rig:
    """The shipped rig with small cameras."""
    return small_rig_of(160, 90)


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All seven cameras, a window of 200 ms."""
    path = write_small_profile(tmp_path_factory.mktemp("profile"))
    return str(path)


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> Path:
    path = tmp_path_factory.mktemp("bags") / "bag"
    make_bag(path, rig, duration_s=SECONDS, seed=1)
    return path


@pytest.fixture(scope="session")
def recorded(bag: Path, rig: Rig, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """What the node would have published for every cycle, between the messages of the bag."""
    with closing(Replay(bag, rig, "kinematic", profile)) as replay:
        cycles = [told(cycle) for cycle in replay.cycles()]
    out = tmp_path_factory.mktemp("recorded") / "bag"
    with BagWriter(out) as writer:
        said = [record for number, cycle in enumerate(cycles) for record in outputs(cycle, number, rig)]
        everything = [(r.log_ns, r.topic, r.type_name, r.cdr) for r in read_bag(bag)] + said
        for log_ns, topic, type_name, cdr in sorted(everything, key=lambda record: record[0]):
            writer.write(topic, type_name, log_ns, cdr)
    return Recorded(out, cycles)


def told(cycle: Cycle) -> Cycle:
    """The cycle as if a model had thought about it and drawn a second sample; without its frames, which fill a ring."""
    if cycle.plan is None or cycle.observation is None:
        return replace(cycle, observation=None)
    plan, observation = cycle.plan, replace(cycle.observation, frames={}, sync_error_ms={})
    other = replace(plan.trajectory, xyz=plan.trajectory.xyz + 0.5)
    disagrees = Consistency(agrees=False, why_not="it accelerates")
    drawn = replace(plan, candidates=(other, plan.trajectory), chosen=1, scores=(0.25, 0.75))
    return replace(cycle, observation=observation, plan=replace(drawn, reasoning=TRACE, consistent=disagrees))


def outputs(cycle: Cycle, number: int, rig: Rig) -> list[tuple[int, str, str, bytes]]:
    """(log time, topic, type, bytes) of everything the planner says about a cycle."""
    plan = cycle.plan
    status = messages.CycleStatus(
        cycle.t0_ns,
        cycle.epoch,
        "warmup" if plan is None else "nominal",
        "made_up",
        "none",
        plan_id=0 if plan is None else number,
        source=None if plan is None else plan.source,
        valid=plan is not None,
        reasons=() if plan is not None else ("odometry: no pose at t-0.3 s",),
        age_ms=80.0,
        cameras=dict.fromkeys(rig.cameras, messages.CameraStatus(0.0, 0.0, 0)),
        stage_ms={"total": 40.0},
    )
    said: dict[str, Any] = {"status": messages.status_message(status, rig)}
    if plan is not None and cycle.observation is not None:
        ego = cycle.observation.ego_t0
        said["trajectory"] = messages.trajectory_message(plan, number, ego, rig)
        said["reasoning"] = messages.reasoning_message(plan, number, rig, 30.0)
        said["candidates"] = messages.candidates_message(plan, number, ego, rig)
    return [
        (
            cycle.t0_ns + 80_000_000,
            f"{PLANNER}/{name}",
            f"alpamayo_ros/msg/{type(message).__name__}",
            serialize_message(message),
        )
        for name, message in said.items()
    ]


@pytest.fixture
def shown(bag: Path, rig: Rig, profile: str) -> Shown:
    """The whole bag, planned offline."""
    return Shown(bag, rig, "kinematic", profile, PLANNER, 0.0, None)


def same_plan(one: Plan, other: Plan) -> bool:
    """Whether two plans say the same, to what messages can hold."""
    words = (one.reasoning, one.consistent, one.t0_ns, one.epoch, one.source, one.chosen)
    told_alike = words == (other.reasoning, other.consistent, other.t0_ns, other.epoch, other.source, other.chosen)
    paths = zip((one.trajectory, *one.candidates), (other.trajectory, *other.candidates), strict=True)
    return told_alike and all(
        np.array_equal(a.xyz, b.xyz)
        and np.array_equal(a.speed_mps, b.speed_mps)
        and np.allclose(a.yaw_rad, b.yaw_rad, atol=1e-12)
        for a, b in paths
    )
