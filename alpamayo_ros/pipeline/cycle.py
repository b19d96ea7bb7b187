"""One cycle from buffers to a plan or to the reason why not: the same on the vehicle, on a bag and in simulation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.safety.limits import LIMITS, Limits
from alpamayo_ros.types import EngineFailure, InvalidInput, Observation, Plan, Request, StaleInput


@dataclass(frozen=True)
class Cycle:
    """What became of one t0: a plan and what is wrong with it, or the reason why there is none.

    A rejected plan stays here for whoever scores or shows it; whether it is published is the supervisor's business.
    """

    t0_ns: int
    epoch: int
    observation: Observation | None
    plan: Plan | None
    refused: str = ""  # empty exactly when there is a plan
    findings: tuple[Finding, ...] = ()  # of the plan: every check that needs no other plan and no clock
    stage_ms: Mapping[str, float] = field(default_factory=dict, compare=False)  # steady clock

    @property
    def rejected(self) -> str:
        """Why the plan must not be published, "" when nothing forbids it."""
        return "; ".join(str(finding) for finding in self.findings if finding.rejects)


def run_cycle(
    buffers: Buffers, t0_ns: int, engine: Engine, request: Request, space: ActionSpace, limits: Limits = LIMITS
) -> Cycle:
    """Observe at t0, plan and check. What inputs or engine refuse ends the cycle with the reason, never with an old plan."""
    seen = look(buffers, t0_ns)
    return seen if seen.observation is None else think(seen, seen.observation, engine, request, space, limits)


def look(buffers: Buffers, t0_ns: int) -> Cycle:
    """The beginning of a cycle: what was observed at t0, with no plan yet, or why nothing was."""
    epoch = buffers.epoch
    started = time.perf_counter()
    try:
        observation = observe(buffers, t0_ns)
    except (StaleInput, InvalidInput) as error:  # InvalidInput: no observation can hold it, such as poses that overflow
        return Cycle(t0_ns, epoch, None, None, str(error), stage_ms={"observe": _ms_since(started)})
    return Cycle(t0_ns, epoch, observation, None, "not planned yet", stage_ms={"observe": _ms_since(started)})


def think(
    seen: Cycle, observation: Observation, engine: Engine, request: Request, space: ActionSpace, limits: Limits = LIMITS
) -> Cycle:
    """What becomes of a cycle that has looked. Its total is that of all its stages, those that it had before among them."""
    before_ms, started = sum(seen.stage_ms.values()), time.perf_counter()
    try:
        planned = plan(observation, engine, request, space)
    except (EngineFailure, InvalidInput) as error:
        stages = {**seen.stage_ms, "total": before_ms + _ms_since(started)}
        return replace(seen, refused=str(error), stage_ms=stages)
    checked = time.perf_counter()
    found = findings(planned, observation.ego_t0, limits, space)
    after = {"check": _ms_since(checked), "total": before_ms + _ms_since(started)}
    return replace(seen, plan=planned, refused="", findings=found, stage_ms={**seen.stage_ms, **planned.stage_ms, **after})


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
