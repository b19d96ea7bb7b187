"""A made evaluation of two bags, the first of which was recorded: there are pictures of its two windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from evaluation.openloop.made import made_evaluation
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.data.bag import make_bag

RECORDED_S = 3.0  # made windows begin 2 s after a bag's start, two a second


@pytest.fixture(scope="session")
def small_rig() -> Rig:
    """The shipped rig with small cameras."""
    return small_rig_of(320, 192)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, small_rig: Rig) -> Path:
    """What the cameras saw at the two windows of the first bag."""
    path = tmp_path_factory.mktemp("recorded") / "bag"
    make_bag(path, small_rig, duration_s=RECORDED_S, seed=0)
    return path


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory, small_rig: Rig) -> Evaluation:
    """bag_0 has two windows, bag_1 thirty."""
    rig = tmp_path_factory.mktemp("rig") / "small.yaml"
    rig.write_text(yaml.safe_dump(small_rig.model_dump(mode="json")))
    made = made_evaluation(bags=2, windows=30)
    first = replace(made.bags[0], windows=made.bags[0].windows[:2])
    return replace(made, setup=replace(made.setup, rig=str(rig)), bags=(first, made.bags[1]))
