"""What is published when a machine stalls between a judgement and its publication, in time that goes on by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own
import pytest
from nodes.test_clocks import NodeOf, Time
from pipeline.vehicle import TWO_CAMERAS, buffers, drive, odometry
from rclpy.serialization import deserialize_message

from alpamayo_ros import msg
from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.nodes import clocks, outputs, supervising
from alpamayo_ros.nodes.messages import CycleStatus
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.nodes.supervising import Supervising
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.types import Request

MS = 1_000_000
SPEED_MPS = 10.0
LAG_MS = 50  # from t0 until its plan is there
ABOUT = CycleStatus(0, 0, "init", "kinematic", "none")


class Node(NodeOf):
    """Its log is nobody's."""

    def get_logger(self) -> Any:
        return SimpleNamespace(**dict.fromkeys(("warning", "error"), lambda *_, **__: None))


class Planner:
    """A supervisor, the inputs of a vehicle that goes straight ahead, and what goes out. It is its own `Outputs`."""

    def __init__(self, machine: Time) -> None:
        self.machine = machine
        self.buffers = buffers(TWO_CAMERAS, clock_ns=machine.monotonic_ns)
        self.t0_ns = drive(self.buffers, speed_mps=SPEED_MPS)
        self.start_ns = machine.system_ns = self.t0_ns
        self.out: list[tuple[msg.PlanStatus, msg.UnicycleTrajectory | None]] = []
        self.autoware_out: list[str] = []
        self.stall: Callable[[], None] = lambda: None  # once, while messages are made
        self.autoware_stall: Callable[[], None] = lambda: None
        self.supervising = Supervising(Node(machine), PlannerParams(), LIMITS, self.buffers, self, ABOUT, 0)  # type: ignore[arg-type]
        self.goes(LAG_MS)

    def goes(self, ms: int) -> None:
        """Time goes on, and odometry comes every 10 ms."""
        for _ in range(ms // 10):
            self.machine.passes(10 * MS)
            now_ns = self.machine.system_ns
            ahead_m = SPEED_MPS * (2.5 + (now_ns - self.start_ns) / 1e9)
            self.buffers.take_odometry(odometry(now_ns, (ahead_m, 0, 0), linear=(SPEED_MPS, 0, 0)), now_ns)

    def plans(self) -> None:
        cycle = run_cycle(self.buffers, self.t0_ns, KinematicEngine(), Request(), RELEASED)
        assert cycle.plan is not None, cycle.refused
        self.supervising.take(cycle, ABOUT)

    def refuses(self) -> None:
        self.supervising.take(Cycle(self.machine.system_ns, self.buffers.epoch, None, None, "no frames"), ABOUT)

    def publish(self, _: bool, wire: dict[str, bytes]) -> None:
        assert next(iter(wire)) == "~/status", "it comes first"
        trajectory = wire.get("~/trajectory")
        read = deserialize_message(trajectory, msg.UnicycleTrajectory) if trajectory else None
        self.out.append((deserialize_message(wire["~/status"], msg.PlanStatus), read))

    def autoware_messages(self, output: Any) -> dict[str, Any]:
        self.autoware_stall()
        return {"~/output/trajectory": msg.PlanStatus(bundle=output.source)}

    def publish_for_autoware(self, _: bool, said: dict[str, bytes]) -> None:
        self.autoware_out += [deserialize_message(cdr, msg.PlanStatus).bundle for cdr in said.values()]

    @property
    def trajectories(self) -> list[str]:
        names = {getattr(msg.UnicycleTrajectory, f"SOURCE_{name.upper()}"): name for name in ("model", "hold", "stop")}
        return [names[trajectory.source] for _, trajectory in self.out if trajectory is not None]


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    machine = Time()
    monkeypatch.setattr(clocks, "time", machine)
    planner = Planner(machine)
    made = outputs.on_the_wire

    def stalling(said: dict[str, Any]) -> dict[str, bytes]:
        if "~/trajectory" in said:
            stall, planner.stall = planner.stall, lambda: None
            stall()
        return made(said)

    monkeypatch.setattr(supervising, "on_the_wire", stalling)
    return planner


def withheld(planner: Planner, why: str) -> None:
    """The first status that is out says that, and nothing but that, of a trajectory that is not."""
    status, trajectory = planner.out[0]
    assert trajectory is None
    assert (status.valid, status.source, status.plan_id) == (False, msg.PlanStatus.SOURCE_NONE, 0)
    assert status.reasons[0] == f"not published: {why}"
    assert planner.supervising.tally.withheld == 1
    assert planner.supervising.tally.breaches == 0, "a slow machine is no bug"


def test_without_a_stall_a_plan_goes_out(planner: Planner) -> None:
    planner.plans()
    assert planner.trajectories == planner.autoware_out == ["model"]
    assert (planner.supervising.tally.published, planner.supervising.tally.withheld) == (1, 0)


def test_a_plan_that_grew_too_old_while_its_messages_were_made_does_not(planner: Planner) -> None:
    planner.stall = lambda: planner.goes(960)
    planner.plans()
    withheld(planner, "I3: a model is 1010 ms old, limit 1000 ms")
    assert planner.trajectories == planner.autoware_out == ["stop"], "at once, and no hold"
    assert planner.supervising.tally.published == 0


def test_a_stop_from_a_pose_that_is_too_old_does_not_and_the_next_one_does(planner: Planner) -> None:
    planner.plans()
    planner.goes(600)
    planner.stall = lambda: planner.machine.passes(300 * MS)
    planner.out.clear()
    planner.refuses()
    planner.out.pop(0)  # of the cycle
    withheld(planner, "I3: a stop is 300 ms old, limit 100 ms")
    assert planner.autoware_out == ["model"]
    planner.goes(10)
    planner.refuses()
    assert planner.trajectories == ["stop"]


def test_what_was_judged_before_an_epoch_does_not_go_out_into_it(planner: Planner) -> None:
    planner.stall = lambda: (planner.buffers.new_epoch("odometry jumped", "odometry"), None)[1]
    planner.plans()
    withheld(planner, "I9: a model of epoch 0, and epoch 1 has begun")


def test_a_step_of_the_clock_while_messages_are_made_is_an_epoch_before_they_go_out(planner: Planner) -> None:
    def steps() -> None:
        planner.machine.system_ns -= 500 * MS

    planner.stall = steps
    planner.plans()
    withheld(planner, "I9: a model of epoch 0, and epoch 1 has begun")


def test_what_grew_too_old_while_autowares_messages_were_made_is_not_theirs(planner: Planner) -> None:
    planner.autoware_stall = lambda: planner.goes(960)
    planner.plans()
    assert planner.trajectories[0] == "model"
    assert "model" not in planner.autoware_out
