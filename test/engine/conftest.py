"""Fixtures of the engine tests: a ring, and clients of an engine that does what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine.observations import PROFILE
from engine.processes import PATIENT_MS, PUPPET, SHORT_MS

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.ring import FrameRing


@pytest.fixture(autouse=True)
def _own_engines_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.fixture
def small_ring() -> Iterator[FrameRing]:
    ring = FrameRing(PROFILE.image_shape, 24)
    yield ring
    ring.close()


@pytest.fixture
def puppet(small_ring: FrameRing) -> Iterator[EngineClient]:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS) as client:
        yield client


@pytest.fixture
def hasty(small_ring: FrameRing) -> Iterator[EngineClient]:
    with EngineClient(PUPPET, PROFILE, small_ring, SHORT_MS) as client:
        yield client
