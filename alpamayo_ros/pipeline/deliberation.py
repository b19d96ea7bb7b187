"""When to reason, and what is driven by meanwhile: plans without words are cheap, words are most of a cycle.

Off by default: every cycle does what the request says. On demand, a cycle reasons where the rule below gives a reason to, and
else goes by a plan without words. A provisional plan is such a plan, published at once; the one that reasons refines it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle, look, think
from alpamayo_ros.pipeline.planner import spread_m
from alpamayo_ros.safety.limits import LIMITS, Limits
from alpamayo_ros.types import InvalidInput, Navigation, Observation, Request


@dataclass(frozen=True)
class Deliberation:
    """How much is thought in a cycle, and when."""

    on_demand: bool = False  # reason where the rule says so; else always
    provisional: bool = False  # publish a plan without words first
    every: int = 5  # on demand: of so many cycles in a row one reasons at least
    samples: int = 4  # of a plan without words
    spread_m: float = 1.0  # on demand: samples of it that lie farther apart than this are a reason

    def __post_init__(self) -> None:
        if self.every < 1 or not 1 <= self.samples <= 64 or not self.spread_m > 0:
            raise InvalidInput(f"want every >= 1, samples 1..64, spread_m > 0, got {self}")
        if self.on_demand and self.samples < 2:
            raise InvalidInput(f"one sample cannot disagree with itself: want samples >= 2 on demand, got {self.samples}")

    def brief(self, request: Request) -> Request:
        """The request of a plan without words."""
        return replace(request, reasoning="none", samples=self.samples)

    def thinks_briefly(self, request: Request) -> bool:
        """Whether a plan without words is ever asked for beside the request's own."""
        return request.reasoning != "none" and (self.on_demand or self.provisional)


ALWAYS = Deliberation()


class Deliberating:
    """The cycles of one drive: remembers when it reasoned last, and on which route."""

    def __init__(self, deliberation: Deliberation = ALWAYS) -> None:
        self._asked = deliberation
        self._without = 0  # cycles since one reasoned
        self._epoch = -1
        self._route: tuple[str, str, str] | None = None

    def cycles(
        self,
        buffers: Buffers,
        t0_ns: int,
        engine: Engine,
        request: Request,
        space: ActionSpace,
        limits: Limits = LIMITS,
        doubt: str = "",
    ) -> Iterator[Cycle]:
        """What becomes of a t0: one cycle, or a provisional one and the one that refines it.

        `doubt`: why somebody else wants it to reason, such as the supervisor. A provisional plan that must not be published is
        not handed over.
        """
        seen = look(buffers, t0_ns)
        observation, asked = seen.observation, self._asked
        if observation is None:
            yield seen
            return
        why = self._why(observation, doubt) if asked.on_demand else "always"
        if request.reasoning == "none" or (why and not asked.provisional):
            yield self._remembered(think(seen, observation, engine, request, space, limits))
            return
        quick = think(seen, observation, engine, asked.brief(request), space, limits)
        why = why or self._why_after(quick)
        if not why:
            self._without += 1
            yield quick
            return
        if asked.provisional and quick.plan is not None and not quick.rejected:
            yield replace(quick, plan=replace(quick.plan, provisional=True))
        spent = {**seen.stage_ms, "provisional": quick.stage_ms["total"] - seen.stage_ms["observe"]}
        yield self._remembered(think(replace(seen, stage_ms=spent), observation, engine, request, space, limits))

    def _why(self, observation: Observation, doubt: str) -> str:
        """Why a cycle has to reason, before anything was planned; empty: nothing says so."""
        if doubt:
            return doubt
        if observation.epoch != self._epoch:
            return "nothing was reasoned in this epoch yet"
        if _route_of(observation.navigation) != self._route:
            return "another route than when it reasoned last"
        waited = self._without + 1
        return f"{waited} cycles since it reasoned" if waited >= self._asked.every else ""

    def _why_after(self, quick: Cycle) -> str:
        """Why a plan without words is not enough; empty: it is."""
        if quick.plan is None or quick.rejected:
            return f"without words: {quick.refused or quick.rejected}"
        apart_m, limit_m = spread_m(quick.plan.candidates), self._asked.spread_m
        return f"samples {apart_m:.2f} m apart, limit {limit_m:.2f}" if apart_m > limit_m else ""

    def _remembered(self, cycle: Cycle) -> Cycle:
        if cycle.plan is not None and cycle.observation is not None:
            self._without, self._epoch = 0, cycle.epoch
            self._route = _route_of(cycle.observation.navigation)
        return cycle


def _route_of(navigation: Navigation | None) -> tuple[str, str, str] | None:
    """What of a route a driver would notice: the way to the next maneuver grows shorter in every cycle."""
    return None if navigation is None else (navigation.maneuver, navigation.road_name, navigation.text)
