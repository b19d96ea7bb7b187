"""What diagnostics make of what they are told."""

from __future__ import annotations

import mmap
import os
from collections import Counter

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own
import pytest
from engine.processes import gone

from alpamayo_ros.nodes import resources
from alpamayo_ros.nodes.health import supervisor_diagnostic
from alpamayo_ros.nodes.messages import ERROR, OK, WARN
from alpamayo_ros.nodes.resources import Resources, held
from alpamayo_ros.nodes.tally import Tally


@pytest.mark.parametrize(
    ("tally", "level"),
    [
        (Tally(), OK),
        (Tally(state="warmup"), OK),
        (Tally(state="nominal", has_driven=True), OK),
        (Tally(state="degraded", has_driven=True), WARN),
        (Tally(state="stopping", has_driven=True), ERROR),
        (Tally(state="stopped", has_driven=True), ERROR),
        (Tally(state="silent"), WARN),
        (Tally(state="silent", has_driven=True), ERROR),
        (Tally(state="nominal", has_driven=True, breaches=1, last_breach="I4: a stamp"), ERROR),
    ],
    ids=lambda value: value.state if isinstance(value, Tally) else "",
)
def test_the_supervisor_is_as_well_as_its_state(tally: Tally, level: bytes) -> None:
    assert supervisor_diagnostic(tally).level == level


def test_the_supervisor_says_what_was_rejected_and_why() -> None:
    tally = Tally(state="degraded", reasons=("V7 too much",), rejected=Counter(V7=3, V1=1), last_findings=("V7 too much",))
    said = supervisor_diagnostic(tally)
    assert said.message == "degraded; V7 too much"
    assert (said.values["rejected"], said.values["last_findings"]) == ("V1 1, V7 3", "V7 too much")


def test_what_this_process_holds_is_what_the_kernel_says() -> None:
    before = held(os.getpid())
    assert before is not None
    ballast = mmap.mmap(-1, 64_000_000)  # pages of its own: a heap that has been larger has room for it
    ballast.write(b"x" * len(ballast))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
    after = held(os.getpid())
    assert after is not None
    assert after.rss_mb - before.rss_mb > 0.8 * len(ballast) / 1e6
    assert after.fds == before.fds + 5
    assert after.threads >= 1
    for descriptor in opened:
        os.close(descriptor)


def test_a_process_that_is_gone_holds_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert gone(pid)
    assert held(pid) is None


class Growing:
    """Time and memory that go on at a rate, a look a second."""

    def __init__(self, mb_per_h: float) -> None:
        self.seconds, self.mb_per_h = 0.0, mb_per_h

    def monotonic(self) -> float:
        return self.seconds

    def held(self, _: int) -> resources.Held:
        self.seconds += 1.0
        return resources.Held(100.0 + self.mb_per_h * self.seconds / 3600, 20, 10)


@pytest.mark.parametrize(("mb_per_h", "level"), [(0.0, OK), (90.0, OK), (110.0, WARN)])
def test_memory_that_grows_is_told_once_there_is_enough_of_it(
    mb_per_h: float, level: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing, watched = Growing(mb_per_h), Resources()
    monkeypatch.setattr(resources, "held", growing.held)
    monkeypatch.setattr(resources, "time", growing)
    for _ in range(500):
        early = watched.diagnose(1, None)
    for _ in range(200):
        late = watched.diagnose(1, None)
    assert (early.level, early.values["rss_slope_mb_per_h"], early.values["engine_rss_mb"]) == (OK, "none", "none")
    assert late.level == level
    assert float(late.values["rss_slope_mb_per_h"]) == pytest.approx(mb_per_h, abs=0.1)


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [("_most_fds", 24, "20 file descriptors of 24 open"), ("_most_mb", 120.0, "hold 100 MB of 120")],
)
def test_the_limits_of_the_machine_come_near(limit: str, most: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Resources()
    monkeypatch.setattr(resources, "held", Growing(0.0).held)
    assert watched.diagnose(1, None).level == OK
    monkeypatch.setattr(watched, limit, most)
    diagnostic = watched.diagnose(1, None)
    assert diagnostic.level == WARN
    assert said in diagnostic.message
