"""Learning by heart: what is counted, and from where. The experiment itself takes minutes: `alpamayo experiment overfit`."""

import json
from pathlib import Path

import pytest
from training.lessons import scene

from alpamayo_ros.training.experiments.overfit import Asked, losses, memory, with_windows
from alpamayo_ros.types import InvalidInput


def test_a_trace_is_remembered_letter_by_letter_or_not_at_all() -> None:
    found = memory([Asked("a", "Stop.", "Stop.", 0.1), Asked("b", "Stop.", "Stop", 0.3), Asked("c", "Go.", "", float("nan"))])
    assert found.samples == 3
    assert found.exact == pytest.approx(1 / 3)
    assert (found.ade_1_m, found.worst_ade_1_m) == pytest.approx((0.2, 0.3))
    assert found.without_plan == 1


def test_a_few_windows_of_a_drive_are_those_windows() -> None:
    few = with_windows(scene(), 2)
    assert few.scene.windows == (scene().scene.windows[0], scene().scene.windows[-1])
    assert len(few.samples) == 2
    with pytest.raises(InvalidInput, match="want 99 windows"):
        with_windows(scene(), 99)


def test_a_run_s_losses_are_those_that_it_has(tmp_path: Path) -> None:
    lines = [{"step": i, "words": 2.0 - i, "trajectory": 0.0, "flow": 0.0, "loss": 2.0 - i} for i in range(2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert losses(tmp_path) == {"words": [2.0, 1.0]}
