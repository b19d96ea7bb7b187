"""Suites name scenes; what is trained on is never tested on."""

from itertools import pairwise

import pytest

from alpamayo_ros.simulation.families import FAMILIES
from alpamayo_ros.simulation.suites import HELD_OUT, SPLITS, SUITES, TRAINED, SceneId, split_of, suite
from alpamayo_ros.types import InvalidInput


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_the_same_every_time_and_has_no_scene_twice(name: str) -> None:
    assert suite(name) == suite(name)
    assert len(set(suite(name))) == len(suite(name)) > 0
    assert {scene.family for scene in suite(name)} <= set(FAMILIES)


@pytest.mark.parametrize("name", SUITES)
def test_every_seed_of_a_suite_is_of_its_split(name: str) -> None:
    split = {"train": "train", "validation": "validation"}.get(name, "test")
    assert {split_of(scene.seed) for scene in suite(name)} == {split}


def test_splits_have_no_seed_in_common() -> None:
    ranges = sorted((seeds.start, seeds.stop) for seeds in SPLITS.values())
    assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges))
    assert split_of(0) == "train"
    with pytest.raises(InvalidInput, match="belongs to no split"):
        split_of(10**9)


def test_held_out_families_are_tested_and_never_trained_on() -> None:
    assert set(FAMILIES) > HELD_OUT
    assert set(TRAINED) == set(FAMILIES) - HELD_OUT
    for name in ("train", "validation"):
        assert not {scene.family for scene in suite(name)} & HELD_OUT
    assert {scene.family for scene in suite("held_out")} == HELD_OUT
    assert {scene.family for scene in suite("test")} == set(FAMILIES)


def test_sizes() -> None:
    assert len(suite("smoke")) == len(FAMILIES)
    assert len(suite("test")) >= 200
    assert len(suite("train")) >= 10_000
    assert suite("smoke")[0] == SceneId("free_road", SPLITS["test"].start)


def test_an_unknown_suite_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInput, match="unknown suite 'moon', want one of demo, smoke, test"):
        suite("moon")
