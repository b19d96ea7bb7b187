"""Judging a run from what was said in it: by cases whose answer is plain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alpamayo_ros.simulation.faults.judging import Course, Expect, Said, judge

SOURCE = {"nominal": "model", "degraded": "hold", "stopping": "stop"}


def course(*states: str, began_s: float = 0.25, lifted_s: float = 0.65) -> Course:
    """A status every 0.1 s from 0.0 s on."""
    said = [Said(0.1 * k, state, SOURCE.get(state, "none"), state in SOURCE) for k, state in enumerate(states)]
    return Course(began_s, lifted_s, tuple(said))


STOPPED = course("nominal", "nominal", "nominal", "degraded", "stopping", "stopping", "stopping", "stopping", *["nominal"] * 3)
UNTOUCHED = course(*["nominal"] * 11)


def test_a_stop_and_its_recovery_are_measured_from_the_fault_and_its_lifting() -> None:
    verdict = judge(STOPPED, Expect(says=frozenset({"stopping"}), stop_due=True), stop_within_ms=600.0)
    assert verdict.as_expected
    assert verdict.detection_ms == pytest.approx(50.0)
    assert verdict.stop_ms == pytest.approx(150.0)
    assert verdict.recovery_s == pytest.approx(0.15)
    assert verdict.sources == {"hold": 1, "stop": 4, "model": 3}


def test_a_fault_that_nobody_noticed_was_not_detected() -> None:
    verdict = judge(UNTOUCHED, Expect(keeps=True), 600.0)
    assert verdict.as_expected
    assert (verdict.detection_ms, verdict.stop_ms, verdict.recovery_s) == (None, None, None)


@pytest.mark.parametrize(
    ("seen", "expect", "complaint"),
    [
        (STOPPED, Expect(keeps=True), "is to keep working, said stopping"),
        (UNTOUCHED, Expect(says=frozenset({"silent"})), "never said silent, only nominal"),
        (UNTOUCHED, Expect(nothing=True), "is to publish nothing, published 4"),
        (UNTOUCHED, Expect(stop_due=True), "a stop was due, none came"),
        (STOPPED, Expect(recovers_s=0.1), "nominal again after 0.15 s, limit 0.1"),
        (replace(STOPPED, said=STOPPED.said[:-1]), Expect(), "not nominal again, last nominal"),
        (replace(STOPPED, said=STOPPED.said[:6]), Expect(), "not nominal again, last stopping"),
        (Course(0.0, 1.0, ()), Expect(), "not nominal again, last nothing"),
    ],
)
def test_what_is_not_as_expected_is_said(seen: Course, expect: Expect, complaint: str) -> None:
    assert complaint in judge(seen, expect, 600.0).complaints


def test_a_stop_that_comes_late_is_complained_about() -> None:
    assert judge(STOPPED, Expect(stop_due=True), 149.0).complaints == ("stop after 150 ms, limit 149",)


def test_a_planner_that_ends_need_not_recover() -> None:
    assert judge(course("nominal"), Expect(ends=True), 600.0).as_expected


def test_recovery_counts_from_the_last_time_it_was_not_nominal() -> None:
    relapse = course("nominal", "nominal", "stopping", "nominal", "stopping", *["nominal"] * 4, began_s=0.15, lifted_s=0.25)
    assert judge(relapse, Expect(), 600.0).recovery_s == pytest.approx(0.25)


def test_what_was_said_before_the_fault_does_not_count() -> None:
    before = course("silent", "stopping", "nominal", *["nominal"] * 8)
    assert judge(before, Expect(keeps=True), 600.0).as_expected
