"""The planner node on model bundles, each in a process of its own over DDS: the shipped one, and one that knows nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from model.nano import BUNDLE, SHIPPED
from nodes.planner_harness import SPEED_MPS, driving

from alpamayo_ros.bundle.identity import bundle_hash

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
