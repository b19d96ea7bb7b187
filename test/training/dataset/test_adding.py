"""A data set of drives grows by what is new, goes on where it was cut off, and says what it left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation.conversion import made as published
from hypothesis import given
from hypothesis import strategies as st
from training.dataset.made import assert_equal

from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.suites import SPLITS
from alpamayo_ros.training.dataset import adding
from alpamayo_ros.training.dataset.adding import AvDrive, BagDrive, Recipe, add_drives, av_drives, split_of_clip
from alpamayo_ros.training.dataset.reading import examples, ids, open_dataset, read_examples, verify
from alpamayo_ros.training.dataset.recordings import bag_examples
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

pytestmark = pytest.mark.thorough

RATE_HZ = 4.0


@pytest.fixture
def recipe(profile: InputProfile) -> Recipe:
    return Recipe(profile, RATE_HZ)


@pytest.fixture
def drive(bag: Path, rig: Rig) -> BagDrive:
    return BagDrive(bag, rig)


@pytest.fixture
def other(bag: Path, rig: Rig, tmp_path: Path) -> BagDrive:
    """The same recording by another name."""
    return BagDrive(Path(shutil.copytree(bag, tmp_path / "other drive")), rig)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Clips whose bags were read."""
    noted: list[str] = []

    def noting(clip: str, *arguments: Any) -> Iterator[Example]:
        noted.append(clip)
        return bag_examples(clip, *arguments)

    monkeypatch.setattr(adding, "bag_examples", noting)
    return noted


def test_a_drive_is_read_back_as_it_was_observed(drive: BagDrive, recipe: Recipe, tmp_path: Path) -> None:
    said = add_drives(tmp_path / "set", recipe, [drive])
    skipped = Skipped()
    wanted = list(bag_examples("drive", drive.bag, drive.rig, recipe.profile, RATE_HZ, skipped))
    data = open_dataset(tmp_path / "set")
    verify(data)
    read = [one for shard in data.shards for one in read_examples(shard, data)]
    for one, two in zip(read, wanted, strict=True):
        assert_equal(one, two)
    assert data.profile == recipe.profile
    assert [*ids(data)] == [("drive", one.observation.stamp_ns) for one in wanted]
    assert said["examples"] == len(wanted) == said["by_split"][split_of_clip("drive")] > 0
    assert said["skipped"] == dict(skipped.counts)
    assert said["bytes"] == sum(path.stat().st_size for path in (tmp_path / "set").glob("*.tar"))
    in_order = sorted(examples(data, split_of_clip("drive"), seed=0, epoch=0), key=lambda one: one.observation.stamp_ns)
    assert_equal(in_order[-1], wanted[-1])


def test_a_new_drive_adds_its_shards_and_touches_no_other(
    drive: BagDrive, other: BagDrive, recipe: Recipe, tmp_path: Path, read: list[str]
) -> None:
    out = tmp_path / "set"
    one = add_drives(out, recipe, [drive])
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("drive*")}
    both = add_drives(out, recipe, [drive, other])
    assert read == ["drive", "other-drive"]
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("drive*")} == before
    assert (both["clips"], both["examples"]) == (2, 2 * one["examples"])
    assert {clip for clip, _ in ids(open_dataset(out))} == {"drive", "other-drive"}
    assert add_drives(out, recipe, [other])["examples"] == both["examples"]


def test_what_was_cut_off_goes_on_with_the_drives_that_are_missing(
    drive: BagDrive, other: BagDrive, recipe: Recipe, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write_part = tmp_path / "set", adding.write_part

    def cut_off(path: Path, examples: list[Example]) -> None:
        if path.name.startswith("other"):
            path.write_bytes(b"half a shard")
            raise KeyboardInterrupt
        write_part(path, examples)

    monkeypatch.setattr(adding, "write_part", cut_off)
    with pytest.raises(KeyboardInterrupt):
        add_drives(out, recipe, [drive, other])
    with pytest.raises(InvalidInput, match="was not finished"):
        open_dataset(out)
    monkeypatch.setattr(adding, "write_part", write_part)
    add_drives(out, recipe, [drive, other])
    assert read == ["drive", "other-drive", "other-drive"]
    add_drives(tmp_path / "at once", recipe, [drive, other], workers=2)
    for path in (tmp_path / "at once").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_broken_drive_is_named_and_tried_again(drive: BagDrive, other: BagDrive, recipe: Recipe, tmp_path: Path) -> None:
    (file,) = other.bag.glob("*.mcap")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said = add_drives(tmp_path / "set", recipe, [other, drive])
    assert said["clips"] == 1
    assert [*said["broken"]] == ["other-drive"]
    assert "damaged or cut short" in said["broken"]["other-drive"]
    file.write_bytes(whole)
    assert (said := add_drives(tmp_path / "set", recipe, [other]))["broken"] == {}
    assert said["clips"] == 2


def test_a_data_set_without_an_example_is_refused_with_the_reasons(drive: BagDrive, recipe: Recipe, tmp_path: Path) -> None:
    slow = replace(recipe, profile=recipe.profile.model_copy(update={"frame_offsets_ms": (-6000, -3000, 0)}))
    with pytest.raises(InvalidInput, match=r"not one example; .*\d+ x future: known for # of # points"):
        add_drives(tmp_path / "set", slow, [drive])
    gone = replace(drive, bag=tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"not one example; nowhere: .*no such bag"):
        add_drives(tmp_path / "gone", recipe, [gone])
    with pytest.raises(InvalidInput, match="not one example; no drives were given"):
        add_drives(tmp_path / "none", recipe, [])


def test_two_drives_of_one_name_are_refused(drive: BagDrive, other: BagDrive, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="drive given twice"):
        add_drives(tmp_path / "set", recipe, [drive, drive])
    add_drives(tmp_path / "set", recipe, [drive])
    changed = replace(drive, rig=drive.rig.model_copy(update={"name": "changed"}))
    assert "has another drive of this name" in add_drives(tmp_path / "set", recipe, [changed])["broken"]["drive"]


def test_another_recipe_or_a_folder_of_something_else_is_refused(drive: BagDrive, recipe: Recipe, tmp_path: Path) -> None:
    add_drives(tmp_path / "set", recipe, [drive])
    with pytest.raises(InvalidInput, match="is of another recipe, rate_hz differ"):
        add_drives(tmp_path / "set", replace(recipe, rate_hz=1.0), [drive])
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "index.json").write_text(json.dumps({"version": 1, "recipe": {}}))
    with pytest.raises(InvalidInput, match="want recorded drives, version 1, got another kind, version 1"):
        add_drives(tmp_path / "world", recipe, [drive])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"is not empty and has no index\.json"):
        add_drives(tmp_path / "notes", recipe, [drive])


@pytest.mark.parametrize(("name", "says"), [("index", "none can be called index"), ("x" * 51, "has 51 characters, limit 50")])
def test_names_that_no_file_can_have_are_refused(name: str, says: str, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        add_drives(tmp_path / "set", recipe, [AvDrive(tmp_path, name)])


@given(st.lists(st.text(max_size=40), min_size=1))
def test_a_clip_is_always_in_the_same_split(clips: list[str]) -> None:
    assert [split_of_clip(clip) for clip in clips] == [split_of_clip(clip) for clip in clips]
    assert {split_of_clip(clip) for clip in clips} <= set(SPLITS)


def test_splits_have_their_shares() -> None:
    """The shares of 20,000 names are within four standard deviations, sqrt(0.05 x 0.95 / 20,000) each."""
    drawn = [split_of_clip(f"clip {k}") for k in range(20_000)]
    for split, share in adding.HELD_BACK.items():
        assert drawn.count(split) / len(drawn) == pytest.approx(share, abs=4 * 0.00154)
    assert split_of_clip("rosbag2_2026_01_02-10_00_00") == "train", "what was trained on may never become a test"


def test_a_clip_of_physical_ai_av_is_taken(tmp_path: Path, profile: InputProfile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its egomotion is the truth: the vehicle goes around a circle."""
    monkeypatch.setattr(published, "AV_SECONDS", 7.4)
    source = published.physical_ai_av(tmp_path / "av", ("front_wide",))
    front = profile.model_copy(update={"cameras": {"front_wide": "required"}})
    said = add_drives(tmp_path / "set", Recipe(front, RATE_HZ), av_drives(source))
    assert said["clips"] == 1
    assert said["examples"] >= 2
    data = open_dataset(tmp_path / "set")
    example = next(read_examples(data.shards[0], data))
    assert example.clip == published.AV_CLIP
    yaw = published.YAW_RATE_RPS * example.future.t_s
    assert example.future.yaw_rad == pytest.approx(yaw, abs=2e-3)  # the vehicle leans a little
    assert example.future.speed_mps == pytest.approx(8.0, abs=0.05)
    missing = add_drives(tmp_path / "set", Recipe(front, RATE_HZ), av_drives(source, ["nobody"]))["broken"]
    assert "no scene 'nobody'" in missing["nobody"]
