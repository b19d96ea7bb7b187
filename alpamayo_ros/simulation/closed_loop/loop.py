"""The closed loop: the world goes on by 0.1 s at a time, the vehicle by 0.01 s on the newest course that is in effect.

Everything is in simulated time: a policy may think as long as its deadline allows, and `latency_s` says how much later its plan
is followed. The same scenario, policy and settings give the same episode, to the byte.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy, Policy
from alpamayo_ros.simulation.closed_loop.settings import DEFAULTS, LoopSettings
from alpamayo_ros.simulation.episode import Episode, Incident, Planned
from alpamayo_ros.simulation.judging.incidents import Grounds, incident_of
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.simulation.vehicle.bicycle import DRIVE_STEP_S
from alpamayo_ros.simulation.vehicle.tracking import DRIVES, Course, course_of, follow
from alpamayo_ros.simulation.world.world import World
from alpamayo_ros.types import STEP_S, EngineFailure, InvalidInput, TurnIndicator


def run_episode(scenario: Scenario, policy: Policy, settings: LoopSettings = DEFAULTS) -> Episode:
    """Drive a scenario to its end, to an incident, or until the policy fails, which is told in `failure`.

    The expert drives the warm-up, and its plans take effect at once; an incident before `warm_up_s` is the world's defect.
    """
    drive = _Drive(scenario, policy, settings)
    incident, failure = None, ""
    try:
        incident = drive.run()
    except (EngineFailure, InvalidInput) as error:  # InvalidInput: what the policy says cannot be a plan
        failure = f"at {drive.now.t_s:.1f} s: {error}"
    return Episode(
        scenario,
        policy.name,
        tuple(drive.snapshots),
        tuple(drive.egos),
        tuple(drive.planned),
        incident,
        failure,
        warm_up_s=settings.warm_up_s,
        latency_s=settings.latency_s,
    )


class _Drive:
    """One drive under way, and what is on record of it."""

    def __init__(self, scenario: Scenario, policy: Policy, settings: LoopSettings) -> None:
        self._world = World(scenario)
        self._grounds = Grounds(scenario)
        self._policy = policy
        self._settings = settings
        self._expert = policy if isinstance(policy, ExpertPolicy) else ExpertPolicy()
        self._courses = _Courses()
        self._planned_s = settings.warm_up_s  # of the newest plan, or since when the policy drives
        self.snapshots = [self.now]
        self.egos = [self.now.ego]
        self.planned: list[Planned] = []

    @property
    def now(self) -> Snapshot:
        """The newest one."""
        return self._world.now

    def run(self) -> Incident | None:
        """To the end or to an incident. Raises EngineFailure."""
        scenario = self._world.scenario
        self._policy.begin(scenario)
        if self._expert is not self._policy:
            self._expert.begin(scenario)
        for tick in range(round(scenario.duration_s / STEP_S)):
            self._plan(tick)
            before = self.now
            egos = self._courses.driven(before.ego, tick)
            self.egos += egos
            self.snapshots.append(self._world.step(egos[-1]))
            if (incident := incident_of(self._grounds, before, self.now)) is not None:
                return incident
        return None

    def _plan(self, tick: int) -> None:
        """Let everybody see, and plan who drives."""
        warms_up = tick < self._settings.warm_up_ticks
        self._policy.see(self.now)
        if warms_up and self._expert is not self._policy:
            self._expert.see(self.now)
        if warms_up and tick % self._settings.period_ticks == 0:
            self._courses.add(self._expert.plan(), 0.0)
        elif self._settings.plans_at(tick):
            self._courses.add(self._policy_plan(), self._settings.latency_s)

    def _policy_plan(self) -> Planned:
        """Raises EngineFailure when it took too long, or when there was no plan for too long."""
        started_s = time.monotonic()
        planned = self._policy.plan()
        took_s, deadline_s = time.monotonic() - started_s, self._settings.deadline_s
        self.planned.append(planned)
        if took_s > deadline_s:
            raise EngineFailure(f"a plan took {took_s:.1f} s, the deadline is {deadline_s:g}")
        if planned.trajectory is not None:
            self._planned_s = planned.t0_s
        silent_s, limit_s = planned.t0_s - self._planned_s, self._settings.silence_s
        if silent_s > limit_s:
            raise EngineFailure(f"no plan for {silent_s:.1f} s, limit {limit_s:g}; the last reason: {planned.refused}")
        return planned


class _Ahead(NamedTuple):
    """What is followed from some hundredth of a second on."""

    from_drive: int
    course: Course
    indicator: TurnIndicator


class _Courses:
    """The courses so far, each with the step of the vehicle (0.01 s) at which it takes effect."""

    def __init__(self) -> None:
        self._known: list[_Ahead] = []

    def add(self, planned: Planned, latency_s: float) -> None:
        """A new one, unless there is none: then the one before goes on."""
        if planned.trajectory is not None:
            course = course_of(planned.trajectory, planned.ego, planned.t0_s)
            indicator = planned.intention.indicator if planned.intention else "off"
            self._known.append(_Ahead(round((planned.t0_s + latency_s) / DRIVE_STEP_S), course, indicator))

    def driven(self, ego: Ego, tick: int) -> list[Ego]:
        """The vehicle (10 egos) during a tick, on the newest course in effect at each of its steps."""
        egos, now, end = [ego], tick * DRIVES, (tick + 1) * DRIVES
        while now < end:
            ahead = next(known for known in reversed(self._known) if known.from_drive <= now)
            until = min((known.from_drive for known in self._known if known.from_drive > now), default=end)
            shown = replace(egos[-1], indicator=ahead.indicator)
            egos += follow(shown, ahead.course, now * DRIVE_STEP_S)[: min(until, end) - now]
            now = min(until, end)
        return egos[1:]
