"""Whatever happens, in whatever order: what must hold of everything that the supervisor lets out, and of its state."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from safety.supervised import BAD, HARSH, MS, SHADOWED, TIMING, Drive

from alpamayo_ros.safety.contract import STANDSTILL_MPS, EpochCause, Finding, Mode, Output
from alpamayo_ros.types import Plan

SLACK_MS = 20  # a tick and a pose, each every 10 ms
ON_THE_WAY = ("nominal", "degraded", "stopping", "stopped")


class Sequences(RuleBasedStateMachine):
    """A drive to which anything happens, and what an outsider knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.drive = Drive()
        self.seen = 0  # outputs of ticks
        self.forget()
        self.latched = False
        self.was = "init"
        self.unsure_since_ns = self.drive.steady_ns  # a trajectory is due from then on

    def forget(self) -> None:
        """All of an epoch."""
        self.published: list[Output] = []  # plans
        self.newest_t0_ns = 0
        self.newest_stop_ns = 0
        self.nominal_since_ns = self.passed_ns = self.drive.steady_ns
        self.in_a_row = 0  # t0 of plans that nothing rejected
        self.counted_t0_ns = 0  # the last of them
        self.nothing_to_hold = False  # engaged again after a stop, and no plan since

    @initialize(
        mode=st.sampled_from(["shadow", "active"]),
        cause=st.sampled_from(["start", "clock", "pause"]),
        begins=st.sampled_from(["new", "slow", "driving", "engaged", "stopping", "stopped"]),
    )
    def start(self, mode: Mode, cause: EpochCause, begins: str) -> None:
        """Anywhere, so that sequences need not find their way there."""
        mode = "active" if begins in ("engaged", "stopped") else mode
        self.drive = Drive(mode, cause=cause)
        if begins == "new":
            return
        self.time_goes_on(100)
        self.a_plan_comes((), 0.0, 700 if begins == "slow" else 50, 0)
        if begins in ("engaged", "stopped"):
            self.engage("")
        if begins == "stopped":
            self.drive.speed_mps = 0.0
        if begins in ("stopping", "stopped"):
            self.time_goes_on(600)

    # What happens

    @rule(ms=st.sampled_from([10, 10, 50, 100, 100, 200, 300, 600]))
    def time_goes_on(self, ms: int) -> None:
        for _ in range(ms // 10):
            self.drive.go(10)
            self.look_at_ticks()
            self.look_at_state()

    @rule(
        findings=st.sampled_from([(), (), (), (HARSH,), (SHADOWED,), (BAD,), (HARSH, BAD)]),
        curvature_1pm=st.sampled_from([0.0, 0.0, 0.0, 0.03]),
        lag_ms=st.sampled_from([50, 50, 50, 10, 150, 700, 1001, -100, -101]),
        behind=st.sampled_from([0, 0, 0, 0, 1, -1]),
        provisional=st.booleans(),
    )
    def a_plan_comes(
        self, findings: tuple[Finding, ...], curvature_1pm: float, lag_ms: int, behind: int, provisional: bool = False
    ) -> None:
        drive = self.drive
        before, t0_ns = drive.state, drive.ros_ns - lag_ms * MS
        epoch = drive.epoch - behind
        output = drive.plan(*findings, lag_ms=lag_ms, epoch=epoch, curvature_1pm=curvature_1pm, provisional=provisional)
        assert output.stamp_ns == t0_ns
        is_rejected = any(finding.rejects for finding in output.findings)
        self.in_a_row = 0 if is_rejected else self.in_a_row + (t0_ns != self.counted_t0_ns)
        self.counted_t0_ns = 0 if is_rejected else t0_ns
        if output.valid:
            assert before not in ("stopping", "stopped") or self.in_a_row >= TIMING.recover_plans
            assert BAD not in findings
            assert behind == 0
            assert -100 <= lag_ms <= 1000
            assert output.plan is not None
            self.look_at_plan(output, output.plan, t0_ns)
        self.look_at(output)

    @rule()
    def a_provisional_plan_is_refined(self) -> None:
        self.time_goes_on(100)
        self.a_plan_comes((), 0.0, 50, 0, provisional=True)
        self.look_at_state()  # the first may begin a stop, from which the second counts
        self.a_plan_comes((), 0.0, 50, 0)

    @rule(count=st.integers(1, 4), lag_ms=st.sampled_from([50, 50, 700]), curvature_1pm=st.sampled_from([0.0, 0.0, 0.03]))
    def plans_come(self, count: int, lag_ms: int, curvature_1pm: float) -> None:
        for _ in range(count):
            self.time_goes_on(100)
            self.a_plan_comes((), curvature_1pm, lag_ms, 0)

    @rule()
    def a_cycle_makes_no_plan(self) -> None:
        output = self.drive.refuse()
        assert not output.valid
        self.look_at(output)

    @rule(flows=st.booleans())
    def odometry(self, flows: bool) -> None:
        self.drive.odometry = flows

    @rule(stands=st.booleans())
    def the_clock(self, stands: bool) -> None:
        self.drive.clock_stopped = stands

    @rule(speed_mps=st.sampled_from([0.0, 0.05, 4.0, 8.0, 8.1, 20.0, -1.0, 1e6]))
    def speed(self, speed_mps: float) -> None:
        self.drive.speed_mps = speed_mps

    @rule(cause=st.sampled_from(["clock", "odometry", "pause"]), ros_ms=st.sampled_from([0, -5000, 5000]))
    def an_epoch_begins(self, cause: EpochCause, ros_ms: int) -> None:
        self.drive.jump(cause, ros_ms)
        self.forget()
        self.latched &= cause != "pause"
        self.drive.tick()
        assert cause != "pause" or (self.drive.state == "init" and not self.drive.supervisor.engaged)
        self.look_at_ticks()

    @rule(obstacle=st.sampled_from(["", "", "", "the driver acts"]))
    def engage(self, obstacle: str) -> None:
        drive = self.drive
        before = drive.supervisor.engaged
        why_not = drive.supervisor.engage(drive.now(), (obstacle,) if obstacle else ())
        if why_not:
            assert drive.supervisor.engaged <= before
            return
        assert drive.mode == "active"
        assert not obstacle
        assert drive.state == "nominal"
        self.nothing_to_hold |= self.latched
        self.latched = False
        self.nominal_since_ns = drive.steady_ns

    @rule()
    def disengage(self) -> None:
        self.drive.supervisor.disengage("driver override", self.drive.now())
        assert not self.drive.supervisor.engaged
        self.latched = False

    @rule()
    def all_gets_well(self) -> None:
        """There is a way back from everything: two plans that do not fit, then three that do, and one more."""
        drive = self.drive
        drive.odometry, drive.clock_stopped, drive.speed_mps = True, False, 8.0
        for _ in range(6):
            self.time_goes_on(100)
            self.a_plan_comes((), 0.0, 50, 0)
        assert drive.state == ("stopped" if self.latched else "nominal")

    # What must hold

    def look_at_ticks(self) -> None:
        for output in self.drive.said[self.seen :]:
            if output.source == "hold":
                self.look_at_hold(output)
            elif output.source == "stop":
                self.look_at_stop(output)
            else:
                assert not output.valid, "a tick gives out no plan"
            self.look_at(output)
        self.seen = len(self.drive.said)

    def look_at(self, output: Output) -> None:
        drive = self.drive
        assert output.epoch == drive.epoch
        assert output.engaged == drive.supervisor.engaged
        assert output.state == drive.state
        assert output.valid == (output.source is not None) == (output.ego is not None)
        assert output.valid or output.plan is None
        if output.trajectory is not None:
            assert output.state in ON_THE_WAY
            assert not drive.clock_stopped
            assert drive.pose is None or drive.steady_ns - drive.pose_steady_ns <= TIMING.odometry_silence_ns
            assert all(np.isfinite(values).all() for values in vars(output.trajectory).values())
            self.unsure_since_ns = drive.steady_ns
        if output.state == "nominal":
            assert all(reason.startswith("disengaged") for reason in output.reasons)
        else:
            assert output.reasons
        self.latched |= output.state == "stopped"

    def look_at_plan(self, output: Output, plan: Plan, t0_ns: int) -> None:
        assert output.source == "model"
        assert output.trajectory is plan.trajectory
        last = self.published[-1].plan if self.published else None
        refines = last is not None and last.provisional and not plan.provisional
        assert plan.t0_ns == t0_ns
        assert t0_ns > self.newest_t0_ns or (refines and t0_ns == self.newest_t0_ns)
        assert not any(finding.rejects for finding in output.findings)
        assert not self.latched
        self.newest_t0_ns = t0_ns
        self.passed_ns = self.drive.steady_ns
        self.published.append(output)
        self.nothing_to_hold = False
        self.nominal_since_ns = self.drive.steady_ns

    def look_at_hold(self, output: Output) -> None:
        assert output.trajectory is not None
        newest = self.published[-1]
        assert newest.trajectory is not None
        assert (output.stamp_ns, output.plan, output.ego) == (newest.stamp_ns, newest.plan, newest.ego)
        rest = len(output.trajectory.t_s)
        for name, values in vars(output.trajectory).items():
            assert np.array_equal(values, getattr(newest.trajectory, name)[-rest:])
        age_ns = self.drive.ros_ns - output.stamp_ns
        assert age_ns <= TIMING.max_age_ns
        assert self.drive.steady_ns - self.passed_ns <= TIMING.stop_after_ns
        assert output.trajectory.t_s[0] > age_ns / 1e9
        assert output.state == "degraded"

    def look_at_stop(self, output: Output) -> None:
        pose = self.drive.pose
        assert pose is not None
        assert output.trajectory is not None
        assert output.ego is pose
        assert output.stamp_ns == pose.stamp_ns > self.newest_stop_ns
        first_mps = output.trajectory.speed_mps[0] - 0.1 * output.trajectory.accel_mps2[0]
        assert abs(first_mps - pose.speed_mps) < 1e-9
        assert abs(output.trajectory.speed_mps[-1]) < 1e-9
        assert output.state in ("stopping", "stopped")
        assert output.plan is None or output.plan in [one.plan for one in self.published]
        self.newest_stop_ns = output.stamp_ns

    @invariant()
    def look_at_state(self) -> None:
        drive = self.drive
        if drive.state == "stopping" and self.was in ("nominal", "degraded"):
            self.in_a_row = 0
        self.was = drive.state
        assert drive.mode == "active" or not drive.supervisor.engaged
        assert not self.latched or (drive.state in ("stopped", "silent") and drive.supervisor.engaged)
        if drive.state == "nominal":
            limit_ns = TIMING.stop_after_ns if self.nothing_to_hold else TIMING.hold_after_ns
            assert drive.steady_ns - self.nominal_since_ns <= limit_ns + SLACK_MS * MS
        elif drive.state not in ON_THE_WAY:
            self.unsure_since_ns = drive.steady_ns
        waits = self.latched and not self.newest_stop_ns  # a jump of time while it stood
        if not waits:
            gap_ms = (drive.steady_ns - self.unsure_since_ns) / MS
            assert gap_ms <= (TIMING.stop_after_ns + TIMING.repeat_ns) / MS + SLACK_MS, "no trajectory"

    @invariant()
    def rests_when_it_should(self) -> None:
        drive = self.drive
        if drive.supervisor.engaged and drive.state == "stopping" and drive.pose is not None:
            assert abs(drive.pose.speed_mps) >= STANDSTILL_MPS


TestSequences = Sequences.TestCase
TestSequences.settings = settings(stateful_step_count=40)
