"""The demo's figures: plans, holds, stops and rejections told apart, and a bundle whose plans are all rejected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="the demo hears ROS topics")

import yaml
from alpamayo_ros.msg import CheckResult, PlanStatus, UnicycleTrajectory
from evaluation.small_vehicle import small_rig_of
from nodes import ros_harness  # noqa: F401 - a DDS domain of its own, before anything of ROS starts

from alpamayo_ros.bags import BagWriter, bag_topics, read_bag
from alpamayo_ros.evaluation.demo import run_demo, sorted_out
from alpamayo_ros.simulation.data.bag import make_bag

REJECTED = "evaluation.openloop.contenders:Wild"

STAGES = ["observe", "infer", "rollout", "reasoning", "check", "total"]
V7 = CheckResult(check="V7", name="lateral acceleration", level=CheckResult.LEVEL_REJECT)


def planned(*findings: CheckResult, valid: bool) -> PlanStatus:
    return PlanStatus(stages=STAGES, stage_ms=[1.0] * len(STAGES), findings=findings, valid=valid)


def said(statuses: list[Any], sources: tuple[int, ...] = ()) -> Any:
    trajectories = [UnicycleTrajectory(source=source) for source in sources]
    return sorted_out(SimpleNamespace(status=statuses, trajectory=trajectories))  # type: ignore[arg-type]


def test_trajectories_are_told_apart_by_who_made_them() -> None:
    found = said([], (0, 1, 2, 1, 0, 0))
    assert (len(found.plans), len(found.holds), len(found.stops)) == (3, 2, 1)


def test_cycles_are_planned_rejected_waiting_or_refused_and_what_comes_between_them_is_no_cycle() -> None:
    waiting, late = (PlanStatus(stages=["observe"], stage_ms=[1.0], reasons=[word]) for word in ("filling", "a gap"))
    published, rejected = planned(valid=True), planned(V7, valid=False)
    hold = PlanStatus(valid=True, source=UnicycleTrajectory.SOURCE_HOLD)
    found = said([waiting, published, hold, rejected, late, PlanStatus(state=PlanStatus.STATE_SILENT)])
    assert found.planned == [published, rejected]
    assert (found.rejected, found.waiting, found.refused) == ([rejected], [waiting], [late])


def test_a_check_that_warns_or_only_watches_rejects_nothing() -> None:
    warn, watch = CheckResult(check="V6", level=CheckResult.LEVEL_WARN), CheckResult(check="V15", level=1, shadow=True)
    accepted_for_later = planned(warn, watch, valid=False)
    found = said([planned(valid=True), accepted_for_later])
    assert found.rejected == []
    assert found.refused == [accepted_for_later], "such as the first good plan after a stop"


def test_where_every_plan_is_rejected_there_is_still_something_to_show() -> None:
    found = said([PlanStatus(stages=["observe"], stage_ms=[1.0]), planned(V7, valid=False), planned(V7, valid=False)])
    assert (len(found.plans), len(found.rejected), len(found.waiting)) == (0, 2, 1)


@pytest.fixture(scope="module")
def vehicle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bag of small cameras, and its rig. It has no topic that a planner does not hear: a replay would wait 10 s for it."""
    folder = tmp_path_factory.mktemp("vehicle")
    rig = small_rig_of(160, 96)
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig.model_dump(mode="json")))
    make_bag(folder / "whole", rig, duration_s=4.0, seed=0)
    heard = [*(camera.topic for camera in rig.cameras.values()), rig.odometry.topic, "/tf_static"]
    with BagWriter(folder / "bag") as writer:
        for record in read_bag(folder / "whole", heard):
            writer.write(record.topic, record.type_name, record.log_ns, record.cdr)
    return folder / "bag", str(folder / "rig.yaml")


@pytest.mark.thorough
@pytest.mark.ros
@pytest.mark.patient
def test_the_demo_of_a_planner_nobody_engaged_shows_its_plans(vehicle: tuple[Path, str], tmp_path: Path) -> None:
    figures = run_demo(vehicle[0], tmp_path, vehicle[1], "kinematic")
    assert figures["engaged"] is False
    assert figures["plans"] > 0
    assert figures["points"] == [64]
    assert figures["offline_equal"]
    assert (tmp_path / "plan.jpg").stat().st_size > 0
    assert bag_topics(tmp_path / "recording")["/alpamayo_planner/shadow/trajectory"].count >= figures["plans"]


@pytest.mark.thorough
@pytest.mark.ros
@pytest.mark.patient
def test_a_bundle_whose_plans_are_all_rejected_is_no_failure(
    vehicle: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the node finds an engine of ours
    figures = run_demo(vehicle[0], tmp_path, vehicle[1], REJECTED)
    assert figures["plans"] == 0
    assert figures["rejected"] > 0
    assert max(figures["rejected_by"].values()) <= figures["rejected"]
    assert "V6 acceleration" in figures["rejected_by"]
    assert figures["offline_equal"], "offline it fails the same checks"
    assert (tmp_path / "plan.jpg").stat().st_size > 0
    shown = capsys.readouterr().out
    assert f"all {figures['rejected']} plans were rejected by the checks" in shown
    assert "rejected by V6 acceleration" in shown
