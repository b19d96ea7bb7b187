"""The values of the safety core say what they are: a finding in a line, and every limit of time of a rig."""

from __future__ import annotations

from dataclasses import replace

from alpamayo_ros.safety.contract import Finding, Timing, timing

MS, S = 1_000_000, 1_000_000_000


def test_limits_of_time_are_periods_of_the_rig() -> None:
    wanted = Timing(500 * MS, 200 * MS, 500 * MS, S, odometry_silence_ns=200 * MS, repeat_ns=100 * MS, recover_plans=3)
    assert timing(100 * MS, 10 * MS, 10.0) == wanted
    assert timing(100 * MS, 40 * MS, 10.0) == wanted
    assert timing(100 * MS, 50 * MS, 10.0) == replace(wanted, odometry_silence_ns=250 * MS)


def test_plans_come_at_the_rate_of_the_cameras_or_at_their_own_where_that_is_slower() -> None:
    slow = Timing(5 * S, 2 * S, 5 * S, 10 * S, odometry_silence_ns=200 * MS, repeat_ns=100 * MS)
    assert timing(100 * MS, 10 * MS, 1.0) == slow
    assert timing(S, 10 * MS, 10.0) == slow


def test_two_limits_of_time_can_be_set() -> None:
    assert timing(S, 10 * MS, 10.0, 700 * MS, 900 * MS) == replace(
        timing(S, 10 * MS, 10.0), stop_after_ns=700 * MS, max_age_ns=900 * MS
    )


def test_a_finding_is_told_in_a_line() -> None:
    found = Finding("V7", "lateral acceleration", "reject", 6.0, 4.9, "m/s^2", "nuPlan", 1.2)
    assert str(found) == "V7 lateral acceleration: 6 m/s^2 at 1.2 s, reject limit 4.9"
    assert str(replace(found, at_s=None)) == "V7 lateral acceleration: 6 m/s^2, reject limit 4.9"
    assert str(replace(found, at_s=0.0, level="warn", shadow=True)) == (
        "V7 lateral acceleration: 6 m/s^2 at 0.0 s, warn limit 4.9 (shadow)"
    )
