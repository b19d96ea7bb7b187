"""`alpamayo view`: what it shows, for how long, and what it says when there is nothing to show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from evaluation.viewing.conftest import PLANNER, SECONDS, Recorded

from alpamayo_ros.bags import BagWriter, read_bag
from alpamayo_ros.evaluation.viewing.view import Shown, view_bag
from alpamayo_ros.pipeline.cycle import run_cycle
from alpamayo_ros.types import InvalidInput

NOWHERE = Path("/nowhere")


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


def test_seconds_are_counted_by_stamps_whatever_clock_the_log_had(shown: Shown, tmp_path: Path) -> None:
    """A bag that was recorded during a replay is logged on the wall clock."""
    with BagWriter(tmp_path / "bag") as writer:
        for record in read_bag(shown.bag):
            writer.write(record.topic, record.type_name, record.log_ns + 10**15, record.cdr)
    late = shown._replace(bag=tmp_path / "bag", start_s=0.2, duration_s=0.5)
    assert view_bag(late, tmp_path / "view.rrd")["scenes"] == 5


def test_what_is_not_shown_is_not_planned(shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[int] = []

    def noted(buffers: Any, t0_ns: int, *others: Any) -> Any:
        planned.append(t0_ns)
        return run_cycle(buffers, t0_ns, *others)

    monkeypatch.setattr("alpamayo_ros.evaluation.replay.run_cycle", noted)
    figures = view_bag(shown._replace(start_s=1.5), tmp_path / "view.rrd")
    assert figures["scenes"] == len(planned) == 5
    assert figures["plans"] == 5, "the window was full before"


def test_a_planner_is_found_by_its_name_without_a_slash(recorded: Recorded, shown: Shown, tmp_path: Path) -> None:
    bare = shown._replace(bag=recorded.bag, bundle=None, planner="alpamayo_planner")
    assert view_bag(bare, tmp_path / "view.rrd")["plans"] > 0


def test_a_file_that_is_there_is_replaced_only_when_asked_to(shown: Shown, tmp_path: Path) -> None:
    out = tmp_path / "view.MP4"
    out.write_text("a film of somebody")
    with pytest.raises(InvalidInput, match=r"view\.MP4 exists: .*--overwrite"):
        view_bag(shown._replace(bag=NOWHERE), out)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InvalidInput, match=r"folder\.mp4 is a folder"):
        view_bag(shown._replace(bag=NOWHERE), tmp_path / "folder.mp4", overwrite=True)
    assert out.read_text() == "a film of somebody"
    figures = view_bag(shown._replace(duration_s=0.3), out, overwrite=True)
    assert out.stat().st_size == figures["bytes"] > 1000


def test_a_place_that_cannot_be_written_is_known_before_the_bag_is_opened(shown: Shown, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name too long"):
        view_bag(shown._replace(bag=NOWHERE), tmp_path / f"{'v' * 250}.mp4")


@pytest.mark.parametrize(
    ("span", "named"),
    [({"start_s": -1.0}, "--start-s"), ({"start_s": math.nan}, "--start-s")]
    + [({"duration_s": seconds}, "--duration-s") for seconds in (math.nan, -1.0, 0.0)],
)
def test_a_span_that_is_none_is_refused_before_the_bag_is_opened(
    shown: Shown, tmp_path: Path, span: dict[str, float], named: str
) -> None:
    with pytest.raises(InvalidInput, match=named):
        view_bag(shown._replace(bag=NOWHERE)._replace(**span), tmp_path / "view.mp4")


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
