"""A handful of rows through a real planner, a real monitor and real DDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nodes.ros_harness  # noqa: F401 - rclpy's imports warn
import pytest

from alpamayo_ros.simulation.faults import campaign
from alpamayo_ros.simulation.faults.campaign import read_lines, run_campaign
from alpamayo_ros.simulation.faults.catalogue import Run, runs

CHOSEN = (
    "F51/engine killed/kill -9/cruise/0",
    "F25/odometry teleports/5 m/cruise/0",
    "F09/duplicate stamp/same picture/cruise/0",
    "F24/odometry silent/1.2 s/cruise/0",
    "F51/planner ended/SIGKILL/cruise/0",
    "F48/invalid parameter/unknown/start/0",
)


@pytest.mark.thorough
@pytest.mark.ros
def test_a_handful_of_rows_through_the_real_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_all: dict[str, Run] = {run.key: run for run in runs("ci", 1)}
    monkeypatch.setattr(campaign, "runs", lambda *_: [of_all[key] for key in CHOSEN])
    figures = run_campaign(tmp_path, "ci")
    lines = {line["key"]: line for line in read_lines(tmp_path / "runs-1-of-1.jsonl")}
    assert set(lines) == set(CHOSEN)
    assert figures["injected"] == len(CHOSEN)
    # Ages and the order of arrival are a matter of the machine, and the campaign's to measure; the rest must hold on any.
    assert not [said for line in lines.values() for said in line["breaches"] if said.startswith(("I1:", "I5:", "I6:"))]
    assert figures["unsafe"] == sum(line["unsafe"] for line in lines.values())
    killed, teleported, doubled, silent, ended, refused = (lines[key] for key in CHOSEN)
    assert_said(killed, "stopping", "stop")
    assert_said(teleported, "stopping", "stop")
    assert_said(silent, "silent")
    assert killed["stop_ms"] > 0.0
    assert "stop" not in doubled["sources"] or doubled["late_ms"] > 50.0
    assert ended["as_expected"], ended["complaints"]
    assert refused["as_expected"], refused["complaints"]
    assert "unknown parameter 'max_plan_hertz'" in refused["said"]


def assert_said(line: dict[str, Any], state: str, source: str = "") -> None:
    """What must be so on however slow a machine; how fast it was is the campaign's to measure."""
    assert state in line["states"], line
    assert not source or source in line["sources"], line
    assert line["recovery_s"] is not None, line
