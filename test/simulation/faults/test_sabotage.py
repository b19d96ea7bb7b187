"""A broken planner is caught through real DDS and real processes."""

from __future__ import annotations

import json
from pathlib import Path

import nodes.ros_harness  # noqa: F401 - rclpy's imports warn
import pytest

from alpamayo_ros.simulation.faults import sabotage
from alpamayo_ros.simulation.faults.broken import broken_variants
from alpamayo_ros.simulation.faults.sabotage import invariants, run_broken


def test_a_report_names_each_invariant_once_and_is_read_while_it_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    assert invariants(report) == []
    whole = "".join(json.dumps({"invariant": name, "unsafe": True}) + "\n" for name in ("I7", "I1", "I7"))
    report.write_text(whole + '{"invariant": "I9"')
    assert invariants(report) == ["I1", "I7"]


@pytest.mark.thorough
@pytest.mark.ros
def test_a_planner_that_says_nan_is_caught_and_the_good_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {name: one for name, one in broken_variants().items() if name in ("nan", "undead")}
    monkeypatch.setattr(sabotage, "broken_variants", lambda: chosen)
    monkeypatch.setattr(sabotage, "SHOWS_S", 3.0)
    monkeypatch.setattr(sabotage, "TRIES", 10)
    figures = run_broken(tmp_path)
    assert (figures["variants"], figures["caught"], figures["missed"]) == (1, 1, {})
    assert figures["not_run"] == ["undead"]
    assert "I1" not in figures["control"]
