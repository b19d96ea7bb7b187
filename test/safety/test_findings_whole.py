"""A finding says everything about what it found: its check, what was measured, the limit and where that comes from."""

from dataclasses import replace

from safety.plans import ego, plan, way

from alpamayo_ros.safety.checks import age_findings
from alpamayo_ros.safety.contract import Finding, Now, timing

TIMING = timing(100_000_000, 10_000_000, 10.0)
NOW = Now(ros_ns=10_000_000_000, steady_ns=0, epoch=3, epoch_cause="start", pose=ego())
SOURCE = "ours, in periods of the rig"


def test_a_plan_of_another_epoch_says_how_many_are_between() -> None:
    of_another = plan(way(), NOW.ros_ns, epoch=1)
    assert age_findings(of_another, NOW, TIMING) == (Finding("V2", "epochs apart", "reject", 2.0, 0.0, "epochs", SOURCE),)
    assert age_findings(of_another, replace(NOW, epoch=0), TIMING)[0].value == 1.0


def test_a_plan_of_the_future_says_how_far_it_is_ahead() -> None:
    ahead = plan(way(), NOW.ros_ns + 150_000_000, epoch=3)
    assert age_findings(ahead, NOW, TIMING) == (Finding("V2", "t0 in the future", "reject", 0.15, 0.1, "s", SOURCE),)


def test_an_old_plan_says_its_age() -> None:
    old = plan(way(), NOW.ros_ns - 600_000_000, epoch=3)
    assert age_findings(old, NOW, TIMING) == (Finding("V2", "age", "warn", 0.6, 0.5, "s", SOURCE),)
