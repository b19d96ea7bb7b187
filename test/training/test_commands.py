"""`alpamayo train` and `alpamayo label`, as somebody would type them; `train debug` is typed in test_stages.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from evaluation.small_vehicle import small_rig_of
from model.nano import BUNDLE as NANO
from typed import typed

from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.simulation.data.shards import read_scenes
from alpamayo_ros.training.coc.keyframes import Keyframe
from alpamayo_ros.training.coc.schema import read_records
from alpamayo_ros.training.commands import evened, kinds, scenes_in
from alpamayo_ros.training.seeing import shots_of
from alpamayo_ros.types import LateralAction

ALPAMAYO = Path(sys.executable).with_name("alpamayo")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("train", "expert", "--blind"), "a control is trained blind from the beginning"),
        (("train", "debug", "--blind", "--begin", NANO), "train debug --blind without --begin"),
        (("train", "micro", "--begin", NANO, "--data", "/nowhere"), "size micro has no stages for a trained bundle"),
        (
            ("train", "debug", "--begin", NANO.parents[2] / "models" / "ar1_nano"),
            "its widths and depths are not those of size debug",
        ),
        (("train", "debug", "--begin", NANO), "has no weights to be trained again"),
        (("train", "debug", "--base", "/nowhere"), "/nowhere/profile.yaml: no such file"),
        (("train", "debug", "--data", "/nowhere"), "/nowhere"),
        (("label", "a_bag"), "bags are labelled by a teacher"),
        (("label", "a_bag", "--teacher", "http://127.0.0.1:9/v1", "--model", "m", "--key-from", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("label", "--family", "nothing"), "nothing"),
        (("label", "--reviewed", "/nowhere"), "want --reviewed FILE --review DIR, and no bags"),
        (("label", "a_bag", "--reviewed", "/nowhere", "--review", "/nowhere"), "and no bags"),
        (("label", "--reviewed", "/nowhere", "--review", "/nowhere"), "/nowhere/review.jsonl: no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: tuple[str, ...],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = () if "--base" in arguments or arguments[0] == "label" else ("--base", NANO)
    said = typed(monkeypatch, capsys, *arguments, "--out", tmp_path / "out", *base)
    assert said.status == 2
    assert why in said.err.splitlines()[-1]


@pytest.mark.thorough
def test_the_world_labels_its_own_scenes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time in this process."""
    out = tmp_path / "labels.jsonl"
    words = ("label", "--out", str(out), "--family", "red_light")
    done = subprocess.run([ALPAMAYO, *words], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["samples"] == len(read_records(out).records) == figures["passed"] > 10
    again = json.loads(typed(monkeypatch, capsys, *words).out.splitlines()[-1])
    assert again["already_there"] == figures["samples"] == len(read_records(out).records)


def test_of_usual_keyframes_no_more_are_asked_about_than_of_the_kind_in_the_middle() -> None:
    counts: dict[LateralAction, int] = {"sharp_steer_left": 1, "steer_left": 3, "go_straight": 9}
    found = [("drive", Keyframe(None, n, n, action)) for action, count in counts.items() for n in range(count)]
    assert kinds(found) == counts
    assert kinds(evened(found)) == {"sharp_steer_left": 1, "steer_left": 3, "go_straight": 3}
    assert evened([]) == ()


def test_a_size_that_is_to_learn_something_wants_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = typed(monkeypatch, capsys, "train", "nano", "--out", tmp_path / "out", "--base", NANO)
    assert said.status != 0
    assert "name one or more with --data" in said.err
    assert not (tmp_path / "out" / "see").exists()


@pytest.mark.thorough
def test_drives_without_samples_are_passed_over(tmp_path: Path) -> None:
    """Half of these drives are too short for a window, and so for a picture; those that stray have what was intended."""
    profile = read_profile(str(NANO / "profile.yaml")).model_copy(update={"image_height": 32, "image_width": 48})
    recipe = Recipe("train", small_rig_of(160, 96), profile, ("free_road",), duration_s=8.0, straying=0.5)
    make_dataset(tmp_path / "data", recipe, samples=1)
    all_of_them = [scene for shard in (tmp_path / "data").glob("*.tar") for scene in read_scenes(shard)]
    learned_from = list(scenes_in([tmp_path / "data"]))
    assert 0 < len(learned_from) < len(all_of_them) == 16
    assert all(taken.scene.windows for taken in learned_from)
    assert len(shots_of(learned_from).pictures) > 0
