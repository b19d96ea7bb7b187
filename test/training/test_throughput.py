"""Throughput is counted: more tokens are more work, and what is told follows from what was timed."""

import json

import pytest
from model.nano import BUNDLE as NANO

from alpamayo_ros.training.throughput import TIMED, bench_training

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("bench")
    told = bench_training("debug", NANO, out, updates=2)
    assert json.loads((out / "training.json").read_text())["stages"] == told["stages"]
    return {row["stage"]: row for row in told["stages"]}


def test_every_stage_that_reads_a_prompt_is_measured(found: dict[str, dict[str, float]]) -> None:
    assert tuple(found) == TIMED
    for row in found.values():
        assert row["samples_per_s"] > 0
        assert row["tokens_per_s"] == pytest.approx(row["samples_per_s"] * row["tokens"])
        assert row["gflop_per_s"] == pytest.approx(row["samples_per_s"] * row["gflop_per_sample"])
        assert row["mfu"] is None, "the peak of a CPU is not known"


def test_more_tokens_and_more_gradients_are_more_work(found: dict[str, dict[str, float]]) -> None:
    """The expert's stage reads the backbone without its gradients."""
    assert found["sft"]["gflop_per_sample"] > found["inject"]["gflop_per_sample"], "words are tokens, too"
    assert found["expert"]["gflop_per_sample"] < found["sft"]["gflop_per_sample"]
