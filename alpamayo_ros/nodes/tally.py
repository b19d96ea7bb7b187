"""What was planned and what became of it since activation, for diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.safety.contract import Output, State

DROVE = frozenset({"nominal", "degraded", "stopping", "stopped"})
"""States that somebody drove in."""


@dataclass
class Tally:
    """The threads that publish add, the executor's thread reads a `copy`."""

    published: int = 0  # plans
    refused: int = 0  # cycles without a plan
    holds: int = 0
    stops: int = 0
    last_refusal: str = ""
    last_plan_s: float = float("-inf")  # steady clock
    state: State = "init"
    engaged: bool = False
    has_driven: bool = False
    reasons: tuple[str, ...] = ()  # of the newest output
    rejected: Counter[str] = field(default_factory=Counter)  # by check
    last_findings: tuple[str, ...] = ()  # of the newest plan with any
    breaches: int = 0  # what the gate stopped
    last_breach: str = ""
    withheld: int = 0  # trajectories too old by the time they were to go out
    sync_error_ms: Mapping[str, float] = field(default_factory=dict)  # by role: the largest of the newest observation
    stage_ms: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_cycle(self, cycle: Cycle, output: Output) -> None:
        """Count one cycle and what was made of it."""
        with self._lock:
            if output.source == "model":
                self.published += 1
                self.last_plan_s = time.monotonic()
            else:
                self.refused += 1
                self.last_refusal = "; ".join(output.reasons)
            self.rejected.update(finding.check for finding in output.findings if finding.rejects)
            if output.findings:
                self.last_findings = tuple(map(str, output.findings))
            if cycle.observation:
                self.sync_error_ms = {role: max(ms, key=abs) for role, ms in cycle.observation.sync_error_ms.items()}
            for stage, ms in cycle.stage_ms.items():
                self.stage_ms.setdefault(stage, deque(maxlen=1000)).append(ms)

    def add_output(self, output: Output) -> None:
        """Count what was said."""
        with self._lock:
            self.state, self.engaged, self.reasons = output.state, output.engaged, output.reasons
            self.has_driven |= output.state in DROVE
            self.holds += output.source == "hold"
            self.stops += output.source == "stop"

    def add_breach(self, why: str) -> None:
        """Count what the gate stopped."""
        with self._lock:
            self.breaches += 1
            self.last_breach = why

    def add_withheld(self) -> None:
        """Count a trajectory that grew too old."""
        with self._lock:
            self.withheld += 1

    def copy(self) -> Tally:
        """As of now: iterating over a deque that another thread appends to is an error."""
        with self._lock:
            stages = {stage: ms.copy() for stage, ms in self.stage_ms.items()}
            return replace(self, stage_ms=stages, rejected=self.rejected.copy(), _lock=threading.Lock())
