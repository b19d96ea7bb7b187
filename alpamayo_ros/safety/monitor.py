"""The independent monitor: told what goes into a planner and what comes out of it, it says which invariant was broken.

It shares no rule, limit or formula with the checks, the stop and the supervisor that it watches: what it needs of them is
written here a second time, from the specification. Everything it knows of inputs it has seen itself (monitor_inputs.py).
What it cannot judge: what is in the pictures, the words of a trace, and whether a plan is a good one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from alpamayo_ros.safety.contract import STANDSTILL_MPS, Source, State, Timing
from alpamayo_ros.safety.invariants import STEP_NS, Breach, Invariant, Published, not_finite, wrong_numbers, wrong_order
from alpamayo_ros.safety.monitor_inputs import MAX_FUTURE_NS, OVERTAKEN_NS, At, Inputs, Memory, Odometer
from alpamayo_ros.safety.monitor_rules import Ceilings, beyond_ceilings, is_rest_of, wrong_place

Life = Literal["starts", "active", "inactive", "gone"]
"""starts: another process; gone: none any more. Nothing has to come before active, nothing may after inactive and gone."""

LATE_NS = 100_000_000
"""How much later than its limit something may be seen: the way over the wire, and a busy machine."""

SPEED_CHANGED_MPS = 0.1
"""Two plans at measured speeds this far apart cannot have the same points to the last bit."""

SILENT_PERIODS, SILENT_NS = 50, 5_000_000_000
STOPPING_PERIODS, STOPPING_NS = 100, 10_000_000_000
STATUS_PERIODS, STATUS_NS = 20, 2_000_000_000
"""While every input is healthy: no trajectory at all, stops only, and frames without any status, for longer than this."""

_STRANGER: Mapping[str, str] = {
    "model": "a model's stamp that no frame of the anchor camera has",
    "hold": "a hold whose stamp, points and pose are those of no plan that was published",
    "stop": "a stop's stamp that no odometry has",
}
_PART = {"model": "plan", "hold": "plan", "stop": "stop"}


@dataclass(frozen=True)
class Status:
    """What a status message said."""

    stamp_ns: int
    epoch: int
    plan_id: int
    state: State
    source: Source | None  # None: no trajectory follows
    valid: bool
    engaged: bool


class _Waiting(NamedTuple):
    """A publication whose inputs may still be on their way."""

    published: Published
    now: At
    until_ns: int  # steady time when they would have come
    memory: int  # the number of the oldest memory that it may be of


class Monitor:
    """Told every message in the order in which they were sent; `tick` says what was found since the last one."""

    def __init__(
        self,
        timing: Timing,
        anchor: str,
        camera_periods_ns: Mapping[str, int],
        simulated: bool = False,
        ceilings: Ceilings | None = None,
    ) -> None:
        """`camera_periods_ns`: by role, of the cameras that the planner needs. `simulated`: time comes on /clock."""
        self.inputs = Inputs(anchor, camera_periods_ns, timing.odometry_silence_ns, simulated)
        self.publications: Counter[str] = Counter()  # by source
        self.unjudged = 0  # publications: no odometry tells their place and speed, or their input was lost on its way here
        self.losses = 0
        self._timing = timing
        self._period_ns = timing.hold_after_ns // 2
        self._ceilings = ceilings or Ceilings()
        self._found: list[Breach] = []
        self._waiting: deque[_Waiting] = deque()
        self._statuses: deque[Status] = deque(maxlen=16)  # that no trajectory has followed yet
        self._said: set[str] = set()  # liveness breaches that go on
        self._begin(At(0, 0))

    def _begin(self, now: At) -> None:
        """Know nothing of a planner: at the start, and when its process is gone."""
        self._last: dict[str, Published] = {}  # by part
        self._newest: Published | None = None
        self._plans: deque[Published] = deque(maxlen=64)  # of a model, since the last jump
        self._plans_before: tuple[Published, ...] = ()
        self._judged: tuple[Published, float] | None = None  # the last plan, and the speed measured at its stamp
        self._epoch_at_jump: int | None = None  # of a clock
        self._state: State = "init"
        self._alive = self._driving = False
        self._ended_ns: int | None = None  # steady time of the deactivation
        self._since_ns = now.steady_ns  # of the newest trajectory, or of what reset the wait for one
        self._plan_ns = self._status_ns = self._odometry_sick_ns = now.steady_ns

    def clock(self, now: At) -> None:
        """What time it is: of /clock, or of the system clock."""
        if self.inputs.clock(now):
            self._judge_waiting()
            self._forget_plans()
            self._epoch_at_jump = self._newest.epoch if self._newest else None
            self._driving = False
            self._ended_ns = None if self._ended_ns is None else now.steady_ns
            self._since_ns = self._plan_ns = self._status_ns = self._odometry_sick_ns = now.steady_ns
        for pose in self.inputs.caught_up(now):
            self._pose(pose, now)

    def frame(self, role: str, stamp_ns: int, now: At) -> None:
        """A camera's message came, exposed at the stamp."""
        self.clock(now)
        self.inputs.frame(role, stamp_ns, now)

    def odometry(self, pose: Odometer, now: At) -> None:
        """An odometry message came."""
        self.clock(now)
        self._pose(pose, now)

    def lost(self, now: At) -> None:
        """DDS lost a message of an input on its way here: for a while, stamps that nothing has are not judged."""
        self.clock(now)
        self.inputs.lost(now)
        self.losses += 1

    def life(self, life: Life, now: At) -> None:
        """The planner's process begins or is gone, or it was activated or deactivated."""
        self.clock(now)
        if life in ("starts", "gone"):
            self._judge_waiting()
            self._begin(now)
        self._alive, self._driving = life == "active", False
        self._ended_ns = now.steady_ns if life in ("inactive", "gone") else None
        self._since_ns = self._plan_ns = self._status_ns = now.steady_ns

    def status(self, status: Status, now: At) -> None:
        """A status was published."""
        self.clock(now)
        self._alive, self._status_ns, self._state = self._ended_ns is None, now.steady_ns, status.state
        if status.valid:
            self._statuses.append(status)
            self._say(self._after_the_end("a valid status", now))

    def trajectory(self, published: Published, engaged: bool, now: At, late_ns: int = 0) -> None:
        """A trajectory was published, on the topics of an engaged planner or on the shadow ones. `late_ns`: how much later it
        came here, as its inputs may have, where a busy machine kept this process from all of them."""
        self.clock(now)
        self.publications[published.source] += 1
        self._say(wrong_numbers(published))
        self._say(self._order(published))
        self._say(self._announced(published, engaged))
        self._say(self._epoch_or_age(published, now))
        self._say(self._after_the_end(f"a {published.source}", now))
        if len(published.t_ns) and not not_finite(published):
            until_ns = now.steady_ns + late_ns + OVERTAKEN_NS
            self._waiting.append(_Waiting(published, now, until_ns, self.inputs.number_before(now)))
        self._note(published, now)

    def tick(self, now: At) -> tuple[Breach, ...]:
        """Time goes on: what was found since the last tick. Call it several times a period."""
        self.clock(now)
        while self._waiting and now.steady_ns > self._waiting[0].until_ns:
            self._judge(self._waiting.popleft())
        self._say(self._liveness(now))
        return self._drain()

    def finish(self) -> tuple[Breach, ...]:
        """Nothing more comes: what was found since the last tick, and of what still waited."""
        self._judge_waiting()
        return self._drain()

    def _drain(self) -> tuple[Breach, ...]:
        found, self._found = tuple(self._found), []
        return found

    def _say(self, breaches: Iterator[Breach] | tuple[Breach, ...]) -> None:
        self._found += breaches

    def _judge_waiting(self) -> None:
        """Judge what waits by what was seen until now."""
        while self._waiting:
            self._judge(self._waiting.popleft())

    def _pose(self, pose: Odometer, now: At) -> None:
        if self.inputs.odometry(pose, now):
            self._forget_plans()  # what waits is judged in its time: it may be of this pose, which came here later than there

    def _forget_plans(self) -> None:
        self._plans_before = (*self._plans_before, *self._plans)[-64:]
        self._plans.clear()
        self._judged = None

    def _note(self, published: Published, now: At) -> None:
        self._last[_PART[published.source]] = self._newest = published
        self._since_ns = now.steady_ns
        self._alive = self._ended_ns is None
        if published.source == "model":
            self._plans.append(published)
            self._driving, self._plan_ns = self._alive, now.steady_ns

    # What can be said at once.

    def _order(self, published: Published) -> tuple[Breach, ...]:
        """I4, I9: against the last of its kind, and against the last of any."""
        last = self._last.get(_PART[published.source])
        return wrong_order(published, last) or wrong_order(published, self._newest)

    def _announced(self, published: Published, engaged: bool) -> Iterator[Breach]:
        """I7: a valid status of the same stamp, source, epoch, plan and place came before, for this trajectory alone."""
        p = published
        for status in self._statuses:
            said = (status.stamp_ns, status.source, status.epoch, status.plan_id, status.engaged)
            if said == (p.stamp_ns, p.source, p.epoch, p.plan_id, engaged):
                self._statuses.remove(status)
                return
        last = self._statuses[-1] if self._statuses else None
        yield Breach(
            "I7", f"no valid status before a {p.source} of {p.stamp_ns}, plan {p.plan_id}, epoch {p.epoch}; open: {last}"
        )

    def _epoch_or_age(self, published: Published, now: At) -> Iterator[Breach]:
        """I9: after a jump of the clock the epoch is another one, but for what was under way; that has no age any more."""
        memory, epoch = self.inputs.now, self._epoch_at_jump
        if epoch is None or published.epoch > epoch:
            yield from self._age(published, now)
        elif now.steady_ns - memory.jump_ns > OVERTAKEN_NS:
            yield Breach("I9", f"epoch {published.epoch} as before {memory.why}")

    def _age(self, published: Published, now: At) -> Iterator[Breach]:
        """I3, I5: a plan is not older than its limit, a stop not older than odometry may be; a hold's points are ahead."""
        age_ns = now.ros_ns - published.stamp_ns
        limit_ns = self._timing.odometry_silence_ns if published.source == "stop" else self._timing.max_age_ns
        if not -MAX_FUTURE_NS - LATE_NS <= age_ns <= limit_ns + LATE_NS:
            limit = f"{limit_ns / 1e6:.0f} + {LATE_NS / 1e6:.0f}"
            yield Breach("I3", f"a {published.source} {age_ns / 1e6:.0f} ms old, limit {limit}")
        if published.source == "hold" and len(published.t_ns) and age_ns - published.t_ns[0] > STEP_NS + LATE_NS:
            yield Breach("I5", f"a hold whose first point was {(age_ns - published.t_ns[0]) / 1e6:.0f} ms ago")

    def _after_the_end(self, what: str, now: At) -> Iterator[Breach]:
        """I8: nothing after a deactivation, and nothing of a process that is gone."""
        if self._ended_ns is not None and now.steady_ns - self._ended_ns > OVERTAKEN_NS:
            after_ms = (now.steady_ns - self._ended_ns) / 1e6
            yield Breach("I8", f"{what} {after_ms:.0f} ms after the planner was deactivated or gone")

    # What needs the inputs.

    def _judge(self, waiting: _Waiting) -> None:
        published, now = waiting.published, waiting.now
        known = self.inputs.since(waiting.memory)
        strangers = tuple(self._from_inputs(published, known))
        if strangers and self._may_have_missed(published, now):
            self.unjudged += 1
            return
        self._say(strangers)
        for each in known:
            if measured := each.pose_at(published.stamp_ns):
                self._say(wrong_place(published, measured))
                speeds = (measured, *each.poses_before(published.stamp_ns))  # the planner may have had the newest one later
                self._say(min((tuple(beyond_ceilings(published, one, self._ceilings)) for one in speeds), key=len))
                self._say(self._restamped(published, measured))
                return
        self.unjudged += 1

    def _may_have_missed(self, published: Published, now: At) -> bool:
        """Whether the input of a publication may have been sent, and not have come here."""
        if published.source == "hold":
            return False  # its plan was published: outputs are reliable
        return self.inputs.may_have_missed(now) or self.inputs.is_before_all(published.source == "stop", published.stamp_ns)

    def _from_inputs(self, published: Published, known: Sequence[Memory]) -> Iterator[Breach]:
        """I2, I9: the stamp is of an input that was seen, since the last jump."""
        if published.source == "hold":
            plans = (*self._plans, *self._plans_before) if len(known) > 1 else tuple(self._plans)
            seen, old = is_rest_of(published, plans), is_rest_of(published, self._plans_before)
            stamps: Iterator[int] = (plan.stamp_ns for plan in plans)
        elif published.source == "model":
            seen = any(published.stamp_ns in memory.frames for memory in known)
            old = any(published.stamp_ns in memory.frames for memory in self.inputs.past)
            stamps = (stamp_ns for memory in known for stamp_ns in memory.frames)
        else:
            seen = any(memory.has_pose_of(published.stamp_ns) for memory in known)
            old = any(memory.has_pose_of(published.stamp_ns) for memory in self.inputs.past)
            stamps = (pose.stamp_ns for memory in known for pose in memory.poses)
        if not seen:
            invariant: Invariant = "I9" if old else "I2"
            since = f" since {known[0].why}" if old else ""
            yield Breach(
                invariant, f"{_STRANGER[published.source]}{since}: {published.stamp_ns}, {_nearest(published.stamp_ns, stamps)}"
            )

    def _restamped(self, published: Published, measured: Odometer) -> Iterator[Breach]:
        """I2: the same points again under another t0, while the vehicle went at another speed."""
        if published.source != "model":
            return
        speed = float(measured.velocity_mps[0])
        if self._judged is not None:
            last, last_speed = self._judged
            changed = abs(speed - last_speed)
            if np.array_equal(published.xyz, last.xyz) and last.stamp_ns != published.stamp_ns and changed > SPEED_CHANGED_MPS:
                after_ms = (published.stamp_ns - last.stamp_ns) / 1e6
                yield Breach(
                    "I2", f"the points of {after_ms:.0f} ms before under a new stamp, at a speed {changed:.2f} m/s away"
                )
                return  # compared with where they came from, until others come
        self._judged = published, speed

    # What should have come.

    def _liveness(self, now: At) -> tuple[Breach, ...]:
        """L1 to L4, each said once while it goes on."""
        missing = tuple(self._missing(now))  # always, for it keeps watch over the inputs
        going_on = missing if self._alive else ()
        new = tuple(breach for breach in going_on if breach.invariant not in self._said)
        self._said = {breach.invariant for breach in going_on}
        return new

    def _missing(self, now: At) -> Iterator[Breach]:
        healthy_ns = self.inputs.healthy_ns(now)
        if not self.inputs.odometry_healthy(now):
            self._odometry_sick_ns = now.steady_ns
        silent_ns, planless_ns = now.steady_ns - self._since_ns, now.steady_ns - self._plan_ns
        waited_ns = min(silent_ns, now.steady_ns - self._odometry_sick_ns)
        standing = self._state == "stopped" and self.inputs.speed_mps() <= STANDSTILL_MPS
        limit_ns = self._timing.stop_after_ns + LATE_NS
        if self._driving and waited_ns > limit_ns:
            yield Breach("L1", f"no trajectory for {waited_ns / 1e6:.0f} ms with odometry, limit {limit_ns / 1e6:.0f}")
        limit_ns = max(SILENT_NS, SILENT_PERIODS * self._period_ns)
        if min(silent_ns, healthy_ns) > limit_ns:
            yield Breach("L2", f"no trajectory for {silent_ns / 1e9:.1f} s, all inputs healthy for {healthy_ns / 1e9:.1f} s")
        limit_ns = max(STOPPING_NS, STOPPING_PERIODS * self._period_ns)
        if not standing and silent_ns < LATE_NS + self._timing.stop_after_ns and min(planless_ns, healthy_ns) > limit_ns:
            yield Breach("L3", f"no plan for {planless_ns / 1e9:.1f} s, all inputs healthy for {healthy_ns / 1e9:.1f} s")
        unsaid_ns, limit_ns = now.steady_ns - self._status_ns, max(STATUS_NS, STATUS_PERIODS * self._period_ns)
        if self.inputs.frames_come(now) and unsaid_ns > limit_ns:
            yield Breach("L4", f"no status for {unsaid_ns / 1e9:.1f} s, limit {limit_ns / 1e9:.1f}")


def _nearest(stamp_ns: int, stamps: Iterator[int]) -> str:
    """The last that came before an instant and the first after it: whether one was left out between two that came."""
    away_ms = [(ns - stamp_ns) / 1e6 for ns in stamps]
    before, after = max((ms for ms in away_ms if ms <= 0), default=None), min((ms for ms in away_ms if ms > 0), default=None)
    near = [f"{ms:+.3f} ms" for ms in (before, after) if ms is not None]
    return f"the nearest are {' and '.join(near)} away" if near else "none came"
