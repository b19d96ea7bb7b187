"""Every example of an epoch comes once, on one rank, in an order that is always the same and can be entered anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of
from hypothesis import given
from hypothesis import strategies as st
from training.dataset.made import assert_equal

from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.data import dataset as scenes
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.training.dataset import reading
from alpamayo_ros.training.dataset.reading import (
    TOGETHER,
    DataSet,
    Shard,
    examples,
    ids,
    open_dataset,
    order,
    read_examples,
    verify,
)
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

COUNTS = st.lists(st.integers(0, 9), max_size=20)
NUMBERS = st.integers(0, 2**40)


@given(COUNTS, NUMBERS, NUMBERS, st.integers(1, 6))
def test_ranks_share_an_epoch_without_overlap_or_loss(counts: list[int], seed: int, epoch: int, world_size: int) -> None:
    of_ranks = [
        [tuple(place) for group in order(counts, seed, epoch, rank, world_size) for place in group.tolist()]
        for rank in range(world_size)
    ]
    wanted = [(shard, place) for shard, count in enumerate(counts) for place in range(count)]
    assert sorted(place for of_rank in of_ranks for place in of_rank) == wanted
    sizes = [len(of_rank) for of_rank in of_ranks]
    assert max(sizes) - min(sizes) <= 1


@given(COUNTS, NUMBERS, st.integers(1, 3))
def test_no_group_needs_more_than_a_few_shards_and_no_shard_comes_back(counts: list[int], seed: int, world_size: int) -> None:
    for rank in range(world_size):
        needed = [set(group[:, 0].tolist()) for group in order(counts, seed, 0, rank, world_size)]
        assert all(len(shards) <= TOGETHER for shards in needed)
        assert sum(map(len, needed)) == len(set().union(*needed))


def test_the_order_is_another_in_every_epoch_and_for_every_seed_and_mixes_shards() -> None:
    counts = [20] * 12
    drawn = [np.concatenate(order(counts, seed, epoch)).tolist() for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]
    first = [shard for shard, _ in drawn[0][: 20 * TOGETHER]]
    assert len(set(first)) == TOGETHER
    assert sum(one != other for one, other in pairwise(first)) > len(first) / 2


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 1), (0, 0)])
def test_a_rank_that_there_is_not_is_refused(rank: int, world_size: int) -> None:
    with pytest.raises(InvalidInput, match=f"want 0 <= rank < world size, got {rank} of {world_size}"):
        order([3], 0, 0, rank, world_size)


# ---------------------------------------------------------------------------------------------------- of the driving world


SMALL = {"image_height": 16, "image_width": 24}
RECIPE = Recipe(
    "validation",
    small_rig_of(160, 96),
    read_profile("ar1_nano").model_copy(update=SMALL),
    ("free_road", "curve"),
    duration_s=9.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a scene each, more than are mixed."""
    out = tmp_path_factory.mktemp("data") / "set"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scenes, "SCENES_PER_SHARD", 1)
        make_dataset(out, RECIPE, 10)
    return out


@pytest.fixture
def data(folder: Path) -> DataSet:
    return open_dataset(folder)


def names(found: Iterator[Example]) -> list[tuple[str, int]]:
    return [(one.clip, one.observation.stamp_ns) for one in found]


def test_an_epoch_has_every_example_once(data: DataSet) -> None:
    found = names(examples(data, "validation", seed=3, epoch=1))
    assert sorted(found) == sorted(ids(data))
    assert len(set(found)) == len(found) == sum(shard.examples for shard in data.shards) >= 10
    assert data.profile == RECIPE.profile


def test_an_epoch_can_be_entered_anywhere(data: DataSet) -> None:
    whole = list(examples(data, "validation", seed=3, epoch=1, rank=1, world_size=2))
    for start in range(len(whole) + 1):
        rest = list(examples(data, "validation", seed=3, epoch=1, rank=1, world_size=2, start=start))
        assert [one.observation.stamp_ns for one in rest] == [one.observation.stamp_ns for one in whole[start:]]
    assert_equal(next(examples(data, "validation", seed=3, epoch=1, rank=1, world_size=2, start=2)), whole[2])


def test_no_more_shards_are_read_than_are_needed(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def noted(shard: Shard, data: DataSet) -> Iterator[Example]:
        read.append(shard.path)
        return read_examples(shard, data)

    monkeypatch.setattr(reading, "read_examples", noted)
    found = examples(data, "validation", seed=0, epoch=0)
    next(found)
    assert len(read) == TOGETHER < len(data.shards)
    list(found)
    assert sorted(read) == sorted(shard.path for shard in data.shards)


def test_a_split_that_is_not_there_is_refused(data: DataSet) -> None:
    count = sum(shard.examples for shard in data.shards)
    with pytest.raises(
        InvalidInput, match=f"no example of split train; there are 0 of train, {count} of validation, 0 of test"
    ):
        next(examples(data, "train", seed=0, epoch=0))


def test_folders_of_one_profile_are_one_data_set(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    index = json.loads((folder / "index.json").read_text())
    index["recipe"]["split"] = "test"
    for shard in index["shards"]:
        shutil.copy(folder / shard["file"], tmp_path / "other")
    (tmp_path / "other" / "index.json").write_text(json.dumps(index))
    data = open_dataset(folder, tmp_path / "other")
    assert len(data.shards) == 2 * len(open_dataset(folder).shards)
    for split in ("validation", "test"):
        assert names(examples(data, split, seed=0, epoch=0)) == names(examples(data, "validation", seed=0, epoch=0))
    index["recipe"]["profile"]["history_steps"] = 5
    (tmp_path / "other" / "index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidInput, match=r"was made for profile name='ar1_nano'.* history_steps=21 .* history_steps=5 "):
        open_dataset(folder, tmp_path / "other")
    with pytest.raises(InvalidInput, match="want one folder or more"):
        open_dataset()


def test_a_damaged_shard_is_named(data: DataSet, tmp_path: Path) -> None:
    verify(data)
    first, second, *_ = data.shards
    changed = bytearray(first.path.read_bytes())
    changed[-2000] ^= 1
    (tmp_path / first.path.name).write_bytes(changed)
    moved, gone = replace(first, path=tmp_path / first.path.name), replace(second, path=tmp_path / "no.tar")
    spoiled = replace(data, shards=(moved, second, gone))
    with pytest.raises(InvalidInput) as refused:
        verify(spoiled)
    text = str(refused.value)
    assert f"{tmp_path / first.path.name}: sha256 is " in text
    assert f"the index says {first.sha256}" in text
    assert f"{tmp_path / 'no.tar'}: no such file" in text
    assert str(second.path) not in text


def test_an_index_that_counts_otherwise_is_refused(data: DataSet) -> None:
    other = replace(data, shards=tuple(replace(shard, examples=shard.examples + 1) for shard in data.shards))
    with pytest.raises(InvalidInput, match=r"shard-0000\d.tar: \d examples, the index says \d"):
        list(examples(other, "validation", seed=0, epoch=0))


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ('{"version": 4, "recipe": {}}', "was not finished"),
        ('{"version": 99}', "want version 4, got 99"),
        ('{"version": 4, "figures": {}, "recipe": {"profile": {}}}', "not a profile"),
    ],
)
def test_a_folder_that_is_no_whole_data_set_is_refused(index: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"index.json: no such file"):
        open_dataset(tmp_path)
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(InvalidInput, match=says):
        open_dataset(tmp_path)
