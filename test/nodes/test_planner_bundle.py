"""The planner node on model bundles, each in a process of its own over DDS: the shipped one, and one that knows nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model.nano import BUNDLE, SHIPPED
from nodes.planner_harness import SPEED_MPS, driving, planner

from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.pipeline.decode import stamp_ns

pytestmark = [pytest.mark.ros, pytest.mark.patient]


WIDE = """
limits:
  lat_jerk_mps3: {reject: 1000.0}
  lon_jerk_mps3: {reject: 1000.0}
  accel_mps2: {reject: 9.0}
  decel_mps2: {reject: 9.0}
  steering_rate_rps: {reject: 100.0}
  yaw_accel_rps2: {reject: 100.0}
  side_shift_near_m: {reject: 100.0}
  side_shift_far_m: {reject: 100.0}
  ahead_shift_near_m: {reject: 100.0}
"""
"""What an untrained network may do, so that one sees it."""


def test_the_node_runs_a_bundle_and_says_that_its_weights_are_untrained(tmp_path: Path) -> None:
    bundle = BUNDLE
    limits = tmp_path / "wide.yaml"
    limits.write_text(WIDE)
    # Without words: those of random weights hardly ever end.
    with driving(tmp_path, bundle=str(bundle), limits=limits, deadline_ms=60_000.0, samples=2, reasoning="none") as (
        vehicle,
        _,
    ):
        plan = vehicle.drive_until_plan()
        status = vehicle.status_at(vehicle.t0_ns)
        assert vehicle.wait(lambda: any(trace.plan_id == plan.plan_id for trace in vehicle.plans.reasoning))
        trace = next(trace for trace in vehicle.plans.reasoning if trace.plan_id == plan.plan_id)
        assert (status.weights, status.bundle, status.bundle_hash) == ("untrained", "ar1_untrained", bundle_hash(bundle))
    assert len(plan.points) == 64
    assert plan.points[0].pose.position.x == pytest.approx(SPEED_MPS * 0.1, abs=0.1), (
        "v0 is the history's, whatever the weights"
    )
    assert trace.complete


def test_the_shipped_network_thinks_before_it_drives_and_its_plans_pass_the_checks(tmp_path: Path) -> None:
    with driving(tmp_path, bundle=str(SHIPPED), deadline_ms=60_000.0) as (vehicle, _):
        plan = vehicle.drive_until_plan()
        status = vehicle.status_at(vehicle.t0_ns)
        assert vehicle.wait(lambda: any(trace.plan_id == plan.plan_id for trace in vehicle.plans.reasoning))
        trace = next(trace for trace in vehicle.plans.reasoning if trace.plan_id == plan.plan_id)
        assert (status.weights, status.bundle, status.bundle_hash) == ("trained", "ar1_nano", bundle_hash(SHIPPED))
    assert len(plan.points) == 64
    assert trace.complete
    assert len(trace.text.split()) > 3


def test_an_engine_that_refuses_to_open_is_replaced_where_that_was_asked_for_and_everybody_is_told(tmp_path: Path) -> None:
    """Nobody looked how near eight bits come to this bundle: that engine refuses."""
    named = f"{SHIPPED}@graphed-fp8"
    with driving(tmp_path, bundle=named, fallback="graphed", deadline_ms=60_000.0) as (vehicle, _):
        vehicle.drive_until_plan()
        status = vehicle.status_at(vehicle.t0_ns)
        assert (status.bundle, status.engine, status.fallback) == ("ar1_nano", "graphed", True)
        said = vehicle.diagnostic("engine", "runs in place of what was named")
        assert "nobody has held FP8 against the exact engine" in said


def test_what_cannot_be_replaced_is_refused(tmp_path: Path) -> None:
    for bundle, fallback, because in (
        (f"{SHIPPED}@graphed-fp8", "none", "nobody has held FP8 against the exact engine"),
        ("kinematic", "graphed", "no folder that another engine could run"),
    ):
        folder = tmp_path / fallback
        folder.mkdir()
        with planner(folder, bundle=bundle, fallback=fallback) as (vehicle, process):
            assert process.wait(60) != 0
            assert because in vehicle.log.read_text()


def test_a_provisional_plan_comes_first_and_is_refined_under_the_same_t0(tmp_path: Path) -> None:
    # The two may differ by more than one plan from the next is allowed to: that is not what is shown here.
    limits = tmp_path / "wide.yaml"
    limits.write_text(WIDE)
    named = f"{SHIPPED}@graphed"
    with driving(tmp_path, bundle=named, provisional=True, quick_samples=2, limits=limits, deadline_ms=60_000.0) as (
        vehicle,
        _,
    ):
        vehicle.drive_until_plan()
        t0 = vehicle.t0_ns

        def both() -> list[Any]:
            return [each for each in vehicle.plans.trajectory if stamp_ns(each.header.stamp) == t0]

        assert vehicle.wait(lambda: len(both()) == 2)
        first, second = both()
        assert (first.provisional, second.provisional) == (True, False)
        assert first.plan_id < second.plan_id
        told = [(status.plan_id, status.valid) for status in vehicle.statuses_at(t0) if status.valid]
        assert told == [(first.plan_id, True), (second.plan_id, True)]
        assert vehicle.wait(lambda: any(trace.plan_id == second.plan_id for trace in vehicle.plans.reasoning))
        trace = next(trace for trace in vehicle.plans.reasoning if trace.plan_id == second.plan_id)
        assert len(trace.text.split()) > 3
