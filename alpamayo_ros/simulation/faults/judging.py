"""What a planner said around a fault -> whether that is what the catalogue's row expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

RECOVERED_S = 3.0
"""After every recoverable fault the state is nominal again so soon."""

STEADY = 3
"""So many nominal statuses in a row are nominal again."""

WORKING = frozenset({"nominal", "degraded"})


@dataclass(frozen=True)
class Said:
    """One status of the planner."""

    at_s: float  # when it came, steady clock
    state: str
    source: str  # model, hold, stop, none
    valid: bool
    engaged: bool = True
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expect:
    """What a row asks for. Whatever the row: no breach of the invariants."""

    keeps: bool = False  # keeps working: nominal or degraded, and no stop
    says: frozenset[str] = frozenset()  # one of these states while the fault acts
    nothing: bool = False  # no trajectory while the fault acts
    ends: bool = False  # the process ends by itself or was killed, and nothing comes from it any more
    latches: bool = False  # it stays stopped until somebody engages it, after the lifting
    recovers_s: float = RECOVERED_S  # from the lifting to nominal again
    stop_due: bool = False  # a stop, so long after the fault as the node's limit says


@dataclass(frozen=True)
class Course:
    """What happened in one run; times on the steady clock, s."""

    began_s: float
    lifted_s: float
    said: tuple[Said, ...]  # from before the fault until after the recovery

    @property
    def meanwhile(self) -> tuple[Said, ...]:
        """Said while the fault acted."""
        return tuple(said for said in self.said if self.began_s <= said.at_s <= self.lifted_s)

    @property
    def since(self) -> tuple[Said, ...]:
        """Said since the fault began."""
        return tuple(said for said in self.said if said.at_s >= self.began_s)


@dataclass(frozen=True)
class Verdict:
    """How a run went."""

    complaints: tuple[str, ...]  # why not as expected
    detection_ms: float | None  # fault -> the first status that says something is wrong
    stop_ms: float | None  # fault -> the first stop
    recovery_s: float | None  # lifting -> nominal again for good; None: never, or it never left nominal
    sources: dict[str, int]  # what was published since the fault began
    states: dict[str, int]

    @property
    def as_expected(self) -> bool:
        """Whether nobody complains."""
        return not self.complaints


def judge(course: Course, expect: Expect, stop_within_ms: float) -> Verdict:
    """See the module. `stop_within_ms`: the node's limit without a plan, and 100 ms."""
    since = course.since
    detection_s = next((said.at_s for said in since if said.state != "nominal" or said.reasons), None)
    stop_s = next((said.at_s for said in since if said.source == "stop"), None)
    stop_ms = None if stop_s is None else 1e3 * (stop_s - course.began_s)
    recovery_s = recovery(course)
    afterwards = [*_afterwards(course, expect, recovery_s), *_stop(expect, stop_ms, stop_within_ms)]
    return Verdict(
        complaints=(*_while_it_acts(course, expect), *afterwards),
        detection_ms=None if detection_s is None else 1e3 * (detection_s - course.began_s),
        stop_ms=stop_ms,
        recovery_s=recovery_s,
        sources=dict(Counter(said.source for said in since if said.valid)),
        states=dict(Counter(said.state for said in since)),
    )


def is_nominal(said: Sequence[Said]) -> bool:
    """Whether the newest statuses are nominal."""
    return len(said) >= STEADY and all(one.state == "nominal" for one in said[-STEADY:])


def recovery(course: Course) -> float | None:
    """Seconds from the lifting to the first nominal status of those that last; None: never, or it never left nominal."""
    since = course.since
    if not is_nominal(since) or all(said.state == "nominal" for said in since):
        return None
    first = next(at for at in range(len(since), 0, -1) if since[at - 1].state != "nominal")
    return max(0.0, since[first].at_s - course.lifted_s)


def _while_it_acts(course: Course, expect: Expect) -> list[str]:
    found, meanwhile = [], course.meanwhile
    states = {said.state for said in meanwhile}
    if expect.keeps and (other := {said.state for said in course.since} - WORKING):
        found.append(f"is to keep working, said {', '.join(sorted(other))}")
    if expect.keeps and any(said.source == "stop" for said in course.since):
        found.append("is to keep working, published a stop")
    if expect.says and not expect.says & states:
        found.append(f"never said {' or '.join(sorted(expect.says))}, only {', '.join(sorted(states)) or 'nothing'}")
    if expect.nothing and (valid := sum(said.valid for said in meanwhile)):
        found.append(f"is to publish nothing, published {valid}")
    return found


def _afterwards(course: Course, expect: Expect, recovery_s: float | None) -> list[str]:
    if expect.ends:
        return []
    if not is_nominal(course.since):
        return [f"not nominal again, last {course.said[-1].state if course.said else 'nothing'}"]
    if recovery_s is not None and recovery_s > expect.recovers_s:
        return [f"nominal again after {recovery_s:.2f} s, limit {expect.recovers_s:g}"]
    return []


def _stop(expect: Expect, stop_ms: float | None, within_ms: float) -> list[str]:
    if not expect.stop_due:
        return []
    if stop_ms is None:
        return ["a stop was due, none came"]
    return [f"stop after {stop_ms:.0f} ms, limit {within_ms:.0f}"] if stop_ms > within_ms else []
