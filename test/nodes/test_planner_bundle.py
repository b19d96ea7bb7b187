"""The planner node on a model bundle: the shipped small one, in its own process, over real DDS."""

from __future__ import annotations

from pathlib import Path

import pytest
from nodes.planner_harness import SPEED_MPS, driving

from alpamayo_ros.profile import shared_files

pytestmark = pytest.mark.ros


def test_the_node_runs_a_bundle_and_says_that_its_weights_are_untrained(tmp_path: Path) -> None:
    bundle = shared_files() / "models" / "ar1_nano"
    with driving(tmp_path, bundle=str(bundle), samples=2, greedy=False, share_reasoning=True) as (vehicle, _):
        plan = vehicle.drive_until_plan()
        status = vehicle.status_at(vehicle.t0_ns)
        assert vehicle.wait(lambda: any(trace.plan_id == plan.plan_id for trace in vehicle.plans.reasoning))
        trace = next(trace for trace in vehicle.plans.reasoning if trace.plan_id == plan.plan_id)
        assert (status.weights, status.bundle) == ("untrained", "ar1_nano")
    assert len(plan.points) == 64
    assert plan.points[0].pose.position.x == pytest.approx(SPEED_MPS * 0.1, abs=0.1), (
        "v0 is the history's, whatever the weights"
    )
    assert trace.complete
    assert trace.tokens > 0
