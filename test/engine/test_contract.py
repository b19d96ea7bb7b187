"""The law of the engine contract, for every engine there is; and that the check of the law can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from engine.contract_checks import check_hints_never_matter
from engine.observations import PROFILE, SECOND, observation
from engine.own_engines import CacheWithoutEpoch, CacheWithoutStamp, FeatureCache

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.types import Observation, Request


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(PROFILE.image_shape, 64)
    yield ring
    ring.close()


@pytest.fixture
def observations(ring: FrameRing) -> list[Observation]:
    """Two windows that share frames, and the first one's stamps again after a clock jump, with other pixels."""
    return [
        observation(10 * SECOND, 0, ring, curvature_1pm=0.0),
        observation(10 * SECOND + SECOND // 2, 0, ring),
        observation(10 * SECOND, 1, ring),
    ]


@pytest.mark.parametrize("engine", [KinematicEngine, FeatureCache])
def test_hints_never_matter_in_process(engine: type[Engine], observations: list[Observation]) -> None:
    check_hints_never_matter(engine, observations)


@pytest.mark.parametrize("bundle", ["kinematic", "engine.own_engines:FeatureCache"])
def test_hints_never_matter_in_a_child_process(bundle: str, observations: list[Observation], ring: FrameRing) -> None:
    check_hints_never_matter(lambda: EngineClient(bundle, PROFILE, ring, 10_000.0), observations, examples=8)


@pytest.mark.parametrize("broken", [CacheWithoutStamp, CacheWithoutEpoch])
def test_the_check_finds_an_engine_whose_hints_matter(broken: type[Engine], observations: list[Observation]) -> None:
    with pytest.raises(AssertionError):
        check_hints_never_matter(broken, observations)


def test_hints_do_reach_the_engine_in_its_process(observations: list[Observation], ring: FrameRing) -> None:
    with EngineClient("engine.own_engines:CacheWithoutStamp", PROFILE, ring, 10_000.0) as client:
        misled = observations[0].frames["front_wide"][0]
        client.add_frame(misled)
        (text,) = client.infer(observations[1], Request()).texts
    features = json.loads(text[: text.index("]") + 1])
    assert features[:5] == [misled.crc32] * 5  # the broken engine took the hinted picture for all five of this camera
