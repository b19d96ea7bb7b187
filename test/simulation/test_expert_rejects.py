"""The checks let the world's expert drive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.simulation.expert_rejects import count_expert, count_false_rejects
from alpamayo_ros.types import InvalidInput


def test_every_plan_of_the_expert_is_checked_and_none_is_rejected() -> None:
    tally = count_expert(2)
    assert tally.windows == 72  # two drives of 20 s, two plans per second after a warm-up of 2 s
    assert tally.apart_steps == 5
    assert tally.rejected == 0


def test_both_kinds_of_driving_are_written(tmp_path: Path) -> None:
    t_s = np.arange(0.0, 9.0, 0.1)
    zeros = np.zeros_like(t_s)
    ahead = np.column_stack([t_s, zeros, zeros, 10.0 * t_s, zeros, zeros, zeros, zeros + 1.0])
    np.savetxt(tmp_path / "poses.txt", ahead)
    figures = count_false_rejects(tmp_path / "poses.txt", 1, tmp_path / "out")
    assert figures["within_goal"] is True
    assert figures["goal"] == 0.01
    assert figures["recorded human driving"]["windows"] == 89 - 15 - 64
    assert set(json.loads((tmp_path / "out" / "false_rejects.json").read_text())) == set(figures) - {"goal", "within_goal"}


def test_without_a_recording_only_the_expert_is_counted(tmp_path: Path) -> None:
    figures = count_false_rejects(None, 1, tmp_path)
    assert [name for name in figures if isinstance(figures[name], dict)] == ["the world's expert"]


def test_no_scenes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="want 1 scene or more, got 0"):
        count_false_rejects(None, 0, tmp_path)
