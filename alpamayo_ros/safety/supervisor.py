"""The last word on every output: a state machine over accepted plans, time and odometry.

It is told of every cycle (`take_plan`, `take_refusal`) and asked every few milliseconds what else is to be said (`tick`). A
cycle gives out a trajectory only for its own accepted plan; holds, stops and silence come from `tick` alone. It has no clock,
no thread and no ROS. One thread at a time: the caller locks, and makes `now` under the same lock.

`TRANSITIONS` says which state follows which, and why. What is behind it:

* A plan is accepted when no finding rejects it: those given (V1, V3-V13, V15-V18), V2 and V14. Findings in shadow decide
  nothing. Its t0 is newer than that of every plan of the epoch that was accepted before (I4), or that of a
  provisional one, which it refines. A warning makes it "degraded".
* Without an accepted plan for `hold_after_ns`, at once when one was rejected, the points still ahead of the last one are held.
* No accepted plan for `stop_after_ns`, a hold older than `max_age_ns` or shorter than a second, and two plans in a row that
  V14 rejects begin a stop. V14 then compares with nothing, so that a third plan like those two can pass.
* A stop follows the path of the last accepted plan, if that is of this epoch and no older than `max_age_ns` when the stop is
  first published, else the measured curvature. It keeps that path. Every `repeat_ns` it is made again from a newer pose: from
  the measured speed, and with the acceleration of what was published last. Its stamp is the pose's.
* `recover_plans` accepted in a row lead out of a stop, the last of them is published. A rejected one, or none for
  `stop_after_ns`, and they are counted anew. A vehicle that is engaged and came to rest stays "stopped" until `engage`.
* "silent" comes on top: when its reason has gone, the state is the one that it would have been. Nothing is accepted in it.
* An epoch forgets everything. When time jumped, nothing is published until a plan of the new time is accepted, not even a
  stop. The vehicle stays engaged, for nobody sits ready to take it over because of a clock; when that takes longer than
  `stop_after_ns` the state is "silent", and the next plan that is accepted ends it. When the pose jumped, a stop begins at
  constant measured curvature. A pause disengages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from alpamayo_ros.safety.checks import age_findings, shift_findings
from alpamayo_ros.safety.contract import STANDSTILL_MPS, Finding, Mode, Now, Output, State, Timing
from alpamayo_ros.safety.epoch import Accepted, Epoch, Published, blindness
from alpamayo_ros.safety.hold import hold
from alpamayo_ros.safety.limits import LIMITS, Limits
from alpamayo_ros.safety.stop import StopSettings, odom_path, stop
from alpamayo_ros.types import EgoPose, InvalidInput, Plan

Phase = Literal["init", "warmup", "nominal", "degraded", "stopping", "stopped"]
"""The state but for silence, which comes on top."""

DRIVING = ("nominal", "degraded")

SHIFTS = 2
"""Plans in a row that V14 rejects, and the plan before them is not believed any more."""

STOP_SETTINGS = StopSettings()

_PAUSED = "the node was paused, or just started"
_TOO_LATE = "none for the limit of a stop, a hold too old or too short, or two V14 rejections in a row"
_BLIND = "odometry is silent or ahead of the clock, simulated time stands still, or no stop can be made from this speed"
_SEES = "odometry and clock can be trusted again"

TRANSITIONS: Mapping[tuple[State, State], str] = MappingProxyType(
    {
        ("init", "warmup"): "a first pose or cycle came",
        ("init", "nominal"): "a first cycle came, and its plan was accepted",
        ("init", "degraded"): "a first cycle came, and its plan was accepted with a warning",
        ("warmup", "nominal"): "a plan was accepted",
        ("warmup", "degraded"): "a plan was accepted with a warning",
        ("nominal", "degraded"): "a warning, a cycle without an accepted plan, or a hold",
        ("degraded", "nominal"): "a plan was accepted without a warning",
        ("nominal", "stopping"): _TOO_LATE + ", or the pose jumped",
        ("degraded", "stopping"): _TOO_LATE + ", or the pose jumped",
        ("nominal", "warmup"): "time jumped",
        ("degraded", "warmup"): "time jumped",
        ("stopping", "warmup"): "time jumped",
        ("stopping", "nominal"): "enough plans were accepted in a row",
        ("stopping", "degraded"): "enough plans were accepted in a row, the last one with a warning",
        ("stopping", "stopped"): "at rest, and engaged",
        ("nominal", "stopped"): _TOO_LATE + ", at rest, and engaged",
        ("degraded", "stopped"): _TOO_LATE + ", at rest, and engaged",
        ("stopped", "nominal"): "engage",
        ("stopped", "stopping"): "disengage",
        **{(state, "silent"): _BLIND for state in ("warmup", "nominal", "degraded", "stopping", "stopped")},
        ("init", "silent"): _BLIND,
        ("silent", "warmup"): _SEES + " and it was not driving, or time jumped",
        ("silent", "stopping"): _SEES + " and it was driving",
        ("silent", "stopped"): _SEES + " and it was at rest",
        ("silent", "nominal"): "simulated time goes on, or a plan was accepted after a jump of time",
        ("silent", "degraded"): "simulated time goes on, or a plan was accepted with a warning after a jump of time",
        **{(state, "init"): _PAUSED for state in ("warmup", "nominal", "degraded", "stopping", "stopped", "silent")},
    }
)
"""Every change of the state, as seen from one call to the next, and what brings it about."""


class Supervisor:
    """See the module."""

    def __init__(self, mode: Mode, timing: Timing, limits: Limits = LIMITS, settings: StopSettings = STOP_SETTINGS) -> None:
        self.engaged = False
        self._mode, self._timing, self._limits, self._settings = mode, timing, limits, settings
        self._phase: Phase = "init"
        self._why: tuple[str, ...] = ("nothing was seen yet",)  # not nominal
        self._blind = ""  # why nothing is trusted
        self._at_rest = False  # by the newest pose
        self._overdue = ""  # why an engaged vehicle is left without a trajectory after a jump of time
        self._news: tuple[str, ...] = ()  # to be told by the next tick
        self._told: tuple[State, bool] = ("init", False)
        self._memory = Epoch(-1, 0)

    @property
    def state(self) -> State:
        """As of the last call."""
        return "silent" if self._silence else self._phase

    def take_plan(
        self, plan: Plan, ego_t0: EgoPose, findings: tuple[Finding, ...], warnings: tuple[str, ...], now: Now
    ) -> Output:
        """What becomes of a plan with the findings of its stateless checks; `warnings`: what else is not as it should be."""
        self._advance(now, has_cycle=True)
        found = (*findings, *age_findings(plan, now, self._timing), *self._shift(plan, ego_t0))
        refusals = (*self._refusals(plan), *(str(finding) for finding in found if finding.rejects))
        notes = (*(str(finding) for finding in found if finding.warns), *warnings)
        if refusals:
            self._reject(plan.t0_ns, found, refusals)
            return self._tell(Output(self.state, self.engaged, plan.t0_ns, now.epoch, findings=found, reasons=refusals + notes))
        memory = self._memory
        memory.good += plan.t0_ns != memory.newest_t0_ns or not memory.good  # a refined plan is no second one
        memory.newest_t0_ns, memory.is_provisional = plan.t0_ns, plan.provisional
        memory.good_ns, memory.waits_since_ns = now.steady_ns, None
        memory.compared = Accepted(plan, ego_t0)
        if not plan.provisional:  # what refines it may yet be rejected
            memory.shifts = 0
        self._overdue = ""
        if not self._may_drive():
            reasons = (f"{memory.good} of {self._timing.recover_plans} plans accepted in a row", *self._why, *notes)
            return self._tell(Output(self.state, self.engaged, plan.t0_ns, now.epoch, findings=found, reasons=reasons))
        memory.accepted, memory.accepted_ns = Accepted(plan, ego_t0), now.steady_ns
        memory.holds_now, memory.held_ns = False, None
        self._go("degraded" if notes else "nominal", *notes)
        return self._tell(
            Output(self.state, self.engaged, plan.t0_ns, now.epoch, "model", plan.trajectory, ego_t0, plan, found, notes)
        )

    def take_refusal(self, t0_ns: int, reasons: tuple[str, ...], now: Now) -> Output:
        """What becomes of a cycle that made no plan, and why it made none."""
        self._advance(now, has_cycle=True)
        if self._phase in DRIVING and not self._blind:
            self._go("degraded", *reasons)
        silence = (self._silence,) if self._silence else ()
        return self._tell(Output(self.state, self.engaged, t0_ns, now.epoch, reasons=silence + reasons))

    def tick(self, now: Now) -> Output | None:
        """What is to be said besides the cycles: a hold, a stop or another state. To be asked far oftener than `repeat_ns`."""
        self._advance(now)
        output = None if self._blind else self._held(now) or self._stopping(now)
        if output is None and (self._news or self._told != (self.state, self.engaged)):
            reasons = self._news + self._reasons
            output = self._tell(Output(self.state, self.engaged, now.ros_ns, now.epoch, reasons=reasons))
        self._news = ()
        return output

    def engage(self, now: Now, obstacles: tuple[str, ...] = ()) -> str:
        """Let the vehicle drive by what is published, also again after a stop. "" when it does, else all that forbids it.

        `obstacles`: what the caller knows to forbid it.
        """
        self._advance(now)
        why_not = "; ".join((*obstacles, *self._against_engaging()))
        if not why_not:
            self.engaged = True
            if self._phase == "stopped":
                self._memory.accepted, self._memory.accepted_ns = None, now.steady_ns
                self._go("nominal")
        return why_not

    def disengage(self, reason: str, now: Now) -> None:
        """At once, from any state, whoever wants it."""
        self._advance(now)
        self.engaged, self._overdue = False, ""
        self._news = (f"disengaged: {reason}",)
        if self._phase == "stopped":
            self._go("stopping", *self._news)

    # What time alone changes

    def _advance(self, now: Now, *, has_cycle: bool = False) -> None:
        """Everything that is so because it is now."""
        self._at_rest = _stands(now.pose)
        if now.epoch != self._memory.number:
            self._begin_epoch(now)
        if self._phase == "init" and (has_cycle or now.pose is not None):
            self._go("warmup", "no plan was accepted yet")
        memory, timing = self._memory, self._timing
        self._blind = "" if self._phase == "init" else blindness(now, memory.began_ns, timing)
        if now.clock_stopped:
            return
        if self._blind:
            if self._phase in DRIVING:
                self._begin_stop(self._blind)
            memory.start_again()
        if memory.good and now.steady_ns - memory.good_ns > timing.stop_after_ns:
            memory.start_again()
        self._overdue = self._waits_too_long(now)
        if self._phase in DRIVING and (late := self._late(now)):
            self._begin_stop(late, *self._why)
        self._latch()

    def _begin_epoch(self, now: Now) -> None:
        before, self._memory = self._memory, Epoch(now.epoch, now.steady_ns)
        if before.number < 0 or now.epoch_cause in ("start", "pause"):
            self.engaged = False
            self._go("init", "nothing was seen yet")
        elif now.epoch_cause == "clock":
            self._memory.waits_since_ns = now.steady_ns
            if self._phase not in ("init", "stopped"):
                self._go("warmup", f"time jumped, epoch {now.epoch}: no plan of it was accepted yet")
        else:
            self._memory.waits_since_ns = before.waits_since_ns
            if self._phase in DRIVING:
                self._begin_stop(f"odometry jumped, epoch {now.epoch}")

    def _waits_too_long(self, now: Now) -> str:
        since_ns, limit_ns = self._memory.waits_since_ns, self._timing.stop_after_ns
        if since_ns is None or not self.engaged or now.steady_ns - since_ns <= limit_ns:
            return ""
        return f"no plan accepted for {_ms(now.steady_ns - since_ns)} since time jumped, limit {_ms(limit_ns)}"

    def _late(self, now: Now) -> str:
        """Why the last accepted plan must not be followed any longer."""
        memory, timing = self._memory, self._timing
        waited_ns = now.steady_ns - memory.accepted_ns
        if waited_ns > timing.stop_after_ns:
            return f"no plan accepted for {_ms(waited_ns)}, limit {_ms(timing.stop_after_ns)}"
        if memory.accepted is not None and (age_ns := now.ros_ns - memory.accepted.plan.t0_ns) > timing.max_age_ns:
            return f"the last accepted plan is {_ms(age_ns)} old, limit {_ms(timing.max_age_ns)}"
        return ""

    # Plans

    def _shift(self, plan: Plan, ego_t0: EgoPose) -> tuple[Finding, ...]:
        before = self._memory.compared
        if before is None or plan.epoch != self._memory.number:
            return ()
        return shift_findings(plan, ego_t0, before.plan, before.ego, self._limits)

    def _refusals(self, plan: Plan) -> tuple[str, ...]:
        """What forbids any plan, or this one because of those before it."""
        forbids = [text for text in (self._blind, self._memory.no_stop) if text]
        behind_ns = self._memory.newest_t0_ns - plan.t0_ns
        refines = behind_ns == 0 and self._memory.is_provisional and not plan.provisional
        if plan.epoch == self._memory.number and behind_ns >= 0 and not refines:
            forbids.append(f"I4: t0 {_ms(behind_ns)} before that of the last plan that passed, want a newer one")
        return tuple(forbids)

    def _reject(self, t0_ns: int, found: tuple[Finding, ...], reasons: tuple[str, ...]) -> None:
        memory = self._memory
        memory.good = 0  # also of a plan that came while time stood still: plans are in a row, or they are not
        if self._blind:
            return
        if not any(each.check == "V14" and each.rejects for each in found):
            memory.shifts = 0
        elif t0_ns != memory.shifted_t0_ns:  # two plans of one t0 are one observation
            memory.shifts, memory.shifted_t0_ns = memory.shifts + 1, t0_ns
        if self._phase in DRIVING:
            memory.holds_now = True
            self._go("degraded", *reasons)
        if memory.shifts == SHIFTS:
            memory.start_again()
            if self._phase in DRIVING:
                self._begin_stop(f"{SHIFTS} plans in a row rejected by V14", *reasons)

    def _may_drive(self) -> bool:
        """Whether a plan that passed is published."""
        if self._phase == "stopping":
            return self._memory.good >= self._timing.recover_plans
        return self._phase != "stopped"

    def _against_engaging(self) -> tuple[str, ...]:
        good, wanted = self._memory.good, self._timing.recover_plans
        why = []
        if self._mode != "active":
            why.append(f"mode is {self._mode}, want active")
        if self.state == "stopped" and good < wanted:
            why.append(f"stopped: {good} of {wanted} plans accepted in a row")
        elif self.state not in ("nominal", "stopped"):
            why.append(f"state is {self.state}, want nominal")
            why += [self._silence] if self._silence else self._why
        return tuple(why)

    # Trajectories that no cycle gave

    def _held(self, now: Now) -> Output | None:
        memory, timing = self._memory, self._timing
        if self._phase not in DRIVING or memory.accepted is None:
            return None
        waited_ns = now.steady_ns - memory.accepted_ns
        is_due = memory.held_ns is None or now.steady_ns - memory.held_ns >= timing.repeat_ns
        if not is_due or not (memory.holds_now or waited_ns > timing.hold_after_ns):
            return None
        plan, ego = memory.accepted.plan, memory.accepted.ego
        age_ns = now.ros_ns - plan.t0_ns
        rest = hold(plan.trajectory, age_ns / 1e9)
        if rest is None:
            self._begin_stop(f"of the last accepted plan, {_ms(age_ns)} old, too few points are ahead to be held", *self._why)
            return None
        memory.held_ns = now.steady_ns
        self._go("degraded", *self._why)
        reasons = (f"held: no plan accepted for {_ms(waited_ns)}", *self._why)
        return self._tell(Output(self.state, self.engaged, plan.t0_ns, now.epoch, "hold", rest, ego, plan, reasons=reasons))

    def _begin_stop(self, *why: str) -> None:
        memory = self._memory
        memory.start_again()
        memory.holds_now, memory.held_ns = False, None
        memory.chooses_path, memory.brakes_hard = True, False
        memory.next_stop_stamp_ns = memory.stop_stamp_ns + 1
        self._go("stopping", *why)
        self._latch()

    def _latch(self) -> None:
        if self._phase == "stopping" and self.engaged and self._at_rest and not self._blind:
            self._go("stopped", "at rest after a stop: waits for engage", *self._why)

    def _stopping(self, now: Now) -> Output | None:
        memory, pose = self._memory, now.pose
        if self._phase not in ("stopping", "stopped") or memory.waits_since_ns is not None:
            return None
        if pose is None or pose.stamp_ns < memory.next_stop_stamp_ns:
            return None
        self._choose_path(now)
        memory.brakes_hard |= pose.speed_mps >= self._settings.comfort_below_mps
        settings = replace(self._settings, comfort_below_mps=0.0) if memory.brakes_hard else self._settings
        accel_mps2 = memory.published.accel_mps2(pose.stamp_ns) if memory.published else 0.0
        try:
            trajectory = stop(pose, memory.path, accel_mps2, settings)
        except InvalidInput as error:
            memory.no_stop, memory.next_stop_stamp_ns = str(error), pose.stamp_ns + 1
            return None
        memory.no_stop, memory.chooses_path = "", False
        memory.stop_stamp_ns = pose.stamp_ns
        memory.next_stop_stamp_ns = pose.stamp_ns + self._timing.repeat_ns
        followed = memory.followed.plan if memory.followed else None
        return self._tell(
            Output(self.state, self.engaged, pose.stamp_ns, now.epoch, "stop", trajectory, pose, followed, reasons=self._why)
        )

    def _choose_path(self, now: Now) -> None:
        memory, last = self._memory, self._memory.accepted
        if not memory.chooses_path:
            return
        is_fresh = last is not None and now.ros_ns - last.plan.t0_ns <= self._timing.max_age_ns
        memory.followed = last if is_fresh else None
        memory.path = odom_path(last.plan.trajectory, last.ego) if last is not None and is_fresh else None

    # Telling

    @property
    def _silence(self) -> str:
        return self._blind or self._memory.no_stop or self._overdue

    @property
    def _reasons(self) -> tuple[str, ...]:
        """Why the state is what it is, where nothing new brought it about."""
        if self._silence:
            return (self._silence,)
        return self._why or (("the last accepted plan is held",) if self._phase == "degraded" else ())

    def _go(self, phase: Phase, *why: str) -> None:
        self._phase, self._why = phase, tuple(dict.fromkeys(why))

    def _tell(self, output: Output) -> Output:
        self._told = output.state, output.engaged
        if output.trajectory is not None:
            self._memory.published = Published(output.stamp_ns, output.trajectory)
        return output


def _stands(pose: EgoPose | None) -> bool:
    return pose is not None and abs(pose.speed_mps) < STANDSTILL_MPS


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.0f} ms"
