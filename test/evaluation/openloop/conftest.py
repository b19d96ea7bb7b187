"""A rig and a profile that are small enough to evaluate whole bags in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from evaluation.openloop.made import SECONDS
from evaluation.small_vehicle import small_rig_of, write_small_profile

from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.data.bag import make_bag


@pytest.fixture(scope="session")
def small_rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, Path]:
    """The shipped rig with small cameras, and its file."""
    rig = small_rig_of(160, 96)
    path = tmp_path_factory.mktemp("rig") / "small.yaml"
    path.write_text(yaml.safe_dump(rig.model_dump(mode="json")))
    return rig, path


@pytest.fixture(scope="session")
def small_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All seven cameras, a window of 200 ms."""
    return write_small_profile(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory, small_rig: tuple[Rig, Path]) -> Path:
    """A drive of the town; nobody changes it."""
    path = tmp_path_factory.mktemp("bags") / "drive"
    make_bag(path, small_rig[0], duration_s=SECONDS, seed=2)
    return path
