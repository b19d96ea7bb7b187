"""A rig, a profile and a bag that are small enough to make a data set of in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation.small_vehicle import small_rig_of, write_small_profile

from alpamayo_ros.profile import InputProfile, Rig, read_profile
from alpamayo_ros.simulation.data.bag import make_bag

SECONDS = 7.8
"""Windows reach 6.4 s ahead: those of the first 1.4 s have a whole future."""


@pytest.fixture(scope="session")
def rig() -> Rig:
    return small_rig_of(160, 96)


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> InputProfile:
    """All seven cameras, a window of 200 ms, four poses."""
    return read_profile(str(write_small_profile(tmp_path_factory.mktemp("profile"))))


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> Path:
    """A drive of the town; nobody changes it."""
    path = tmp_path_factory.mktemp("bags") / "drive"
    make_bag(path, rig, duration_s=SECONDS, seed=2)
    return path
