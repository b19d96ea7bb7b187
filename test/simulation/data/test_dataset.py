"""Shards are the same bytes from the same seeds, whoever made them and however often they were interrupted."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.data import dataset
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.data.shards import read_scenes, read_shard, write_shard
from alpamayo_ros.simulation.suites import HELD_OUT, SPLITS, SceneId
from alpamayo_ros.types import InvalidInput

SMALL = {"image_height": 16, "image_width": 24}
FAMILIES = ("free_road", "curve")
RECIPE = Recipe(
    "validation", small_rig_of(160, 96), read_profile("ar1_nano").model_copy(update=SMALL), FAMILIES, duration_s=9.0
)
SAMPLES = 3
"""Two scenes with a t0 at 2.0 and one at 2.5 s have more."""

FIRST = SPLITS["validation"][0]


@pytest.fixture(scope="module")
def scene() -> SceneSamples:
    return scene_samples(SceneId("free_road", FIRST), RECIPE.rig, RECIPE.profile, RECIPE.duration_s)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Two shards of a scene each."""
    out = tmp_path_factory.mktemp("data") / "set"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dataset, "SCENES_PER_SHARD", 1)
        return out, make_dataset(out, RECIPE, SAMPLES)


@pytest.fixture(autouse=True)
def _one_scene_per_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SCENES_PER_SHARD", 1)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


# -------------------------------------------------------------------------------------------------------------------- shards


def test_a_scene_is_read_as_it_was_written(scene: SceneSamples, tmp_path: Path) -> None:
    written = write_shard(tmp_path / "one.tar", [scene])
    (read,) = read_shard(tmp_path / "one.tar")
    assert [each.id for each in written] == [scene.scene.id] == [each.id for each in read_scenes(tmp_path / "one.tar")]
    np.testing.assert_array_equal(read.pictures, scene.pictures)
    np.testing.assert_array_equal(read.scene.track.xy_m, scene.scene.track.xy_m)
    assert read.scene.windows == scene.scene.windows
    assert len(read.samples) == len(scene.samples) > 0
    for one, other in zip(read.samples, scene.samples, strict=True):
        np.testing.assert_array_equal(one.history.xyz, other.history.xyz)
        np.testing.assert_array_equal(one.label.trajectory.xyz, other.label.trajectory.xyz)
        assert one.signals.turn_indicator == other.signals.turn_indicator
        assert (one.frames, one.navigation, one.label.text) == (other.frames, other.navigation, other.label.text)


def test_anybody_can_open_a_shard(scene: SceneSamples, tmp_path: Path) -> None:
    """As WebDataset wants it: members of one scene follow each other and have its name up to the first dot."""
    write_shard(tmp_path / "one.tar", [scene])
    with tarfile.open(tmp_path / "one.tar") as tar:
        members = tar.getmembers()
        about = json.load(tar.extractfile(members[0]))  # type: ignore[arg-type]
    name = f"free_road-{FIRST:06d}"
    pictures = [f"{name}.{ms:06d}.png" for ms in scene.scene.instants_ms]
    assert [m.name for m in members] == [f"{name}.json", *pictures, f"{name}.sights.npz"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert about["windows"][0]["text"] == scene.samples[0].label.text
    assert about["windows"][0]["decision"]["longitudinal"] == scene.samples[0].label.decision.longitudinal


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def _without(suffix: str) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        with tarfile.open(path) as tar:
            kept = [(m, tar.extractfile(m)) for m in tar.getmembers() if not m.name.endswith(suffix)]
            with tarfile.open(path.with_name("new.tar"), "w") as new:
                for member, file in kept:
                    new.addfile(member, file)
        path.with_name("new.tar").replace(path)

    return rewrite


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_cut, "unexpected end of data|not a shard of scenes"),
        (_without(".000500.png"), r"want free_road-1000000.000500.png next, got free_road-1000000.001000.png"),
        (_without("0.png"), "want free_road-1000000.000000.png next, got free_road-1000000.sights.npz"),
        (_without(".npz"), "want free_road-1000000.sights.npz next, got the end"),
        (_without(".json"), "free_road-1000000.000000.png: not JSON"),
        (lambda path: path.write_text("notes"), "not a shard of scenes"),
        (lambda path: path.unlink(), "not a shard of scenes: .*No such file"),
    ],
)
def test_what_is_not_a_whole_shard_is_refused(
    scene: SceneSamples, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    write_shard(tmp_path / "one.tar", [scene])
    spoil(tmp_path / "one.tar")
    with pytest.raises(InvalidInput, match=says):
        list(read_shard(tmp_path / "one.tar"))


# ------------------------------------------------------------------------------------------------------------------- dataset


def test_a_data_set_has_its_families_in_turn_and_says_what_is_in_it(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    out, said = finished
    index = json.loads((out / "index.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["index.json", "shard-00000.tar", "shard-00001.tar"]
    assert [list(shard["scenes"]) for shard in index["shards"]] == [[f"free_road {FIRST}"], [f"curve {FIRST}"]]
    samples = [sample for shard in index["shards"] for each in read_shard(out / shard["file"]) for sample in each.samples]
    assert said["samples"] == len(samples) == sum(shard["samples"] for shard in index["shards"]) >= SAMPLES
    assert said["bytes"] == sum(path.stat().st_size for path in out.glob("*.tar"))
    for axis in ("longitudinal", "lateral"):
        names = [str(getattr(sample.label.decision, axis)) for sample in samples]
        assert said[axis] == pytest.approx({name: names.count(name) / len(names) for name in sorted(set(names))})
    assert 0 <= said["shuffled"] <= said["consistency"] <= 1
    assert {name: value for name, value in said.items() if name not in ("seconds", "files")} == index["figures"]


@pytest.mark.thorough
def test_two_workers_make_the_same_bytes_as_one(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """They start without what this process changed: their shards are cut here, by the parent."""
    make_dataset(tmp_path / "set", RECIPE, SAMPLES, workers=2)
    assert contents(tmp_path / "set") == contents(finished[0])


def test_what_was_cut_off_goes_on_with_the_shards_that_are_missing(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[SceneId] = []

    def noted(scene_id: SceneId, *arguments: Any) -> SceneSamples:
        made.append(scene_id)
        if len(made) == 2:
            raise KeyboardInterrupt
        return scene_samples(scene_id, *arguments)

    monkeypatch.setattr(dataset, "scene_samples", noted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "set", RECIPE, SAMPLES)
    assert (tmp_path / "set" / "shard-00001.tar.part").exists() or len(contents(tmp_path / "set")) == 2
    make_dataset(tmp_path / "set", RECIPE, SAMPLES)
    assert [scene_id.family for scene_id in made] == ["free_road", "curve", "curve"]
    assert contents(tmp_path / "set") == contents(finished[0])


def test_another_recipe_or_a_folder_of_something_else_is_refused(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is of another recipe, families differ"):
        make_dataset(finished[0], replace(RECIPE, families=("curve",)), SAMPLES)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"is not empty and has no index.json"):
        make_dataset(tmp_path, RECIPE, SAMPLES)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_wrong_splits_families_and_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="unknown split 'tset', want one of train, validation, test"):
        replace(RECIPE, split="tset")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"families for split train: want any of .*, got \['lane_ends'\]"):
        replace(RECIPE, split="train", families=("lane_ends",))
    for rate_hz in (1.0, 5.0, 7.0):
        with pytest.raises(InvalidInput, match=f"plan_hz {rate_hz:g}"):
            replace(RECIPE, plan_hz=rate_hz)
    with pytest.raises(InvalidInput, match="want straying 0 and plan_hz 2, got 0 and 10"):
        replace(RECIPE, plan_hz=10.0, pairs=2)
    assert set(HELD_OUT) <= set(replace(RECIPE, split="test", families=tuple(HELD_OUT)).families)
    for samples, workers in ((0, 1), (1, 0)):
        with pytest.raises(InvalidInput, match="want 1 sample and 1 worker or more"):
            make_dataset(tmp_path / "set", RECIPE, samples, workers)


@pytest.mark.thorough
def test_pairs_of_scenes_are_a_data_set_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SCENES_PER_SHARD", 1)
    recipe = replace(RECIPE, split="train", families=("red_light",), duration_s=None, pairs=2)
    made = make_dataset(tmp_path / "pairs", recipe, 3)
    taken = [scene for path in sorted((tmp_path / "pairs").glob("*.tar")) for scene in read_shard(path)]
    assert made["samples"] == len(taken) >= 4
    one, other = taken[:2]
    assert (one.scene.world.partition("-")[0], other.scene.world.partition("-")[0]) == ("red", "green")
    assert one.scene.windows[0].step == other.scene.windows[0].step
    assert one.samples[0].history.xyz.tobytes() == other.samples[0].history.xyz.tobytes()
    assert one.scene.windows[0].decision != other.scene.windows[0].decision
    assert all(window.is_balanced for scene in taken for window in scene.scene.windows)
    with pytest.raises(InvalidInput, match=r"pairs are driven by the expert: want straying 0 and plan_hz 2, got 0\.5"):
        replace(recipe, straying=0.5)
