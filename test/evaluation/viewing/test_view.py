"""`alpamayo view`: what it shows, for how long, and what it says when there is nothing to show."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation.viewing.conftest import PLANNER, SECONDS, Recorded

from alpamayo_ros.evaluation.viewing.view import Shown, view_bag
from alpamayo_ros.types import InvalidInput


def test_a_bag_is_planned_offline_and_shown_for_the_span_asked_for(shown: Shown, tmp_path: Path) -> None:
    figures = view_bag(shown._replace(start_s=0.2, duration_s=0.5), tmp_path / "new" / "view.rrd")
    [file] = figures["files"]
    assert Path(file).stat().st_size == figures["bytes"] > 0
    assert (figures["scenes"], figures["plans"], figures["duration_s"]) == (5, 4, 0.4), "planned from 0.3 s on"
    assert figures["messages_refused"] == 0
    assert figures["nominal_cameras"] == []


def test_a_recording_is_shown_with_its_own_plans(recorded: Recorded, shown: Shown, tmp_path: Path) -> None:
    figures = view_bag(shown._replace(bag=recorded.bag, bundle=None), tmp_path / "view.rrd")
    plans = sum(cycle.plan is not None for cycle in recorded.cycles)
    assert (figures["scenes"], figures["plans"]) == (round(SECONDS * 10), plans)


@pytest.mark.parametrize("name", ["view.mkv", "view"])
def test_another_kind_of_file_is_refused(shown: Shown, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"\.rrd, \.mp4, \.gif"):
        view_bag(shown, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_bag_without_plans_says_what_it_holds_and_how_to_go_on(shown: Shown, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--bundle") as refused:
        view_bag(shown._replace(bundle=None), tmp_path / "view.rrd")
    assert f"want {PLANNER}/trajectory" in str(refused.value)
    assert all(camera.topic in str(refused.value) for camera in shown.rig.cameras.values())
    assert list(tmp_path.iterdir()) == [], "no half file stays"


def test_a_span_in_which_nothing_was_planned_is_refused(shown: Shown, recorded: Recorded, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"2\.\d s long, got 99"):
        view_bag(shown._replace(start_s=99.0), tmp_path / "view.mp4")
    with pytest.raises(InvalidInput, match="no instant"):
        view_bag(shown._replace(bag=recorded.bag, bundle=None, start_s=1.95, duration_s=0.01), tmp_path / "view.mp4")
