"""Plans that TensorRT builds here answer as the reference does."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from model.nano import BUNDLE, observation

from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.engine.tensorrt.build import build_plans
from alpamayo_ros.types import Request

pytestmark = pytest.mark.gpu


def test_built_plans_answer_as_the_reference_does(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed here")
    folder = shutil.copytree(BUNDLE, tmp_path / "bundle")
    build_plans(folder)
    request = Request(steps=1, max_tokens=12)
    with closing(EagerEngine(folder)) as reference, closing(open_engine(f"{folder}@tensorrt")) as fast:
        expected, found = reference.infer(observation(), request), fast.infer(observation(), request)
    assert (found.texts, found.complete) == (expected.texts, expected.complete)
    np.testing.assert_allclose(found.actions, expected.actions, rtol=0, atol=1e-3)
