"""A plan ages by the clock of the stamps, and belongs to one epoch."""

from __future__ import annotations

import pytest
from safety.plans import plan, way

from alpamayo_ros.safety.checks import age_findings
from alpamayo_ros.safety.contract import Now, timing

SECOND = 1_000_000_000
TIMING = timing(100_000_000, 10_000_000, 10.0)  # warn 0.5 s, at most 1 s


def now(ros_ns: int, epoch: int = 0) -> Now:
    return Now(ros_ns, 0, epoch, "start", None)


@pytest.mark.parametrize(
    ("age_ns", "level"),
    [
        (0, None), (500_000_000, None), (500_000_001, "warn"), (SECOND, "warn"), (SECOND + 1, "reject"),
        (-100_000_000, None), (-100_000_001, "reject"),
    ],
)  # fmt: skip
def test_a_plan_ages(age_ns: int, level: str | None) -> None:
    found = age_findings(plan(way(), 7 * SECOND), now(7 * SECOND + age_ns), TIMING)
    assert [(each.check, each.level) for each in found] == ([("V2", level)] if level else [])
    assert all(each.value == pytest.approx(abs(age_ns) / SECOND) and each.unit == "s" for each in found)


@pytest.mark.parametrize(("of_plan", "of_now"), [(0, 1), (2, 0)])
def test_a_plan_of_another_epoch_has_no_age(of_plan: int, of_now: int) -> None:
    (found,) = age_findings(plan(way(), epoch=of_plan), now(0, of_now), TIMING)
    assert (found.name, found.value, found.rejects) == ("epochs apart", abs(of_plan - of_now), True)
