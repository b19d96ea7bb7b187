"""The shipped nano, and a bundle that is given: every engine is built, held against the reference, and timed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.engine.benchmark import bench_engine
from alpamayo_ros.engine.graphed.eight import ASKED, Parity, apart_m, hold
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.engine.tensorrt.build import build_plans
from alpamayo_ros.evaluation.replay import observations
from alpamayo_ros.profile import read_profile, read_rig
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import Observation

pytestmark = pytest.mark.gpu

OUT = Path("out/gpu")


@pytest.fixture(scope="module")
def windows(built: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Observation]:
    """Of a drive of the driving world."""
    rig, bag = read_rig("seven_camera"), tmp_path_factory.mktemp("drive") / "bag"
    make_bag(bag, rig, duration_s=10.0, seed=0)
    return list(observations(bag, rig, read_profile(str(built / "profile.yaml")), 0.5))


def near_the_reference(folder: Path, engine: str, windows: Sequence[Observation]) -> Parity:
    """How near an engine is to `eager`, in the figures of FP8's gate."""
    space = open_bundle(folder)[1].action_space
    same, apart = [], []
    with closing(open_engine(f"{folder}@eager")) as reference, closing(open_engine(f"{folder}@{engine}")) as fast:
        for seen in windows:
            (words, plain), (expected, expected_plain) = (
                [one.infer(seen, asked) for asked in ASKED] for one in (fast, reference)
            )
            same.append((words.texts, words.complete) == (expected.texts, expected.complete))
            apart.append(apart_m(seen, plain, expected_plain, space))
    assert same, "no window, nothing compared"
    return Parity("", "", len(same), float(np.mean(same)), float(np.mean(apart)), float(np.quantile(apart, 0.95)))


def test_graphed_answers_as_the_reference_does(built: Path, windows: list[Observation]) -> None:
    """In float32 to rounding; narrower numbers round otherwise in every pass, and are given what FP8 is given."""
    found = near_the_reference(built, "graphed", windows)
    assert not found.too_far
    if open_bundle(built)[1].dtype == "float32":
        assert found.same_words == 1.0
        assert found.apart_p95_m < 0.01


def test_fp8_passes_its_gate_and_opens(built: Path, windows: list[Observation]) -> None:
    assert not hold(built, windows).too_far
    assert not near_the_reference(built, "graphed-fp8", windows).too_far


def test_built_plans_answer_as_the_reference_does(built: Path, windows: list[Observation]) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed here")
    build_plans(built)
    assert not near_the_reference(built, "tensorrt", windows).too_far


def test_all_of_them_are_timed(built: Path) -> None:
    """Last, with the plans that were built. Figures are written, not judged by the clock."""
    figures = bench_engine(built, OUT / built.name)["pace"]
    assert (figures["runs"], figures["warm_up"]) == (200, 20)
    assert figures["in_fp8"]
    assert (figures["in_plans"] is not None) == any(built.glob("engines/*/manifest.json")), figures["no_plans"]
