"""A shard gives back what was written, to the bit, and says which file and member is not what it should be."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from training.dataset.made import START_NS, assert_equal, example

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset import adding
from alpamayo_ros.training.dataset.shards import read_part, write_part
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

APART_NS = 100_000_000
"""Windows that far apart share two of their three frames."""


@pytest.fixture
def made(profile: InputProfile) -> list[Example]:
    return [example(profile, START_NS + k * APART_NS, curvature_1pm=0.01 * k) for k in range(3)]


def test_examples_are_read_as_they_were_written(made: list[Example], profile: InputProfile, tmp_path: Path) -> None:
    unguided = replace(made[2].observation, navigation=None, signals=None)
    bare = replace(made[2], reasoning=None, questions=(), observation=unguided)
    write_part(tmp_path / "drive-000.tar", [*made[:2], bare])
    read = list(read_part(tmp_path / "drive-000.tar", profile))
    for one, other in zip(read, [*made[:2], bare], strict=True):
        assert_equal(one, other)


def test_a_frame_that_many_examples_see_is_stored_once(made: list[Example], profile: InputProfile, tmp_path: Path) -> None:
    path = tmp_path / "drive-000.tar"
    write_part(path, made)
    with tarfile.open(path) as tar:
        names = tar.getnames()
    instants = {START_NS + k * APART_NS for k in range(-2, 3)}
    assert names[0] == "drive-000.json"
    assert sorted(names[1:]) == sorted(f"drive-000.0.{ns}.{role}.png" for ns in instants for role in profile.cameras)
    first, second, _ = read_part(path, profile)
    assert first.observation.frames["front_wide"][1] is second.observation.frames["front_wide"][0]


def test_the_longest_names_fit_into_a_tar_file(made: list[Example], profile: InputProfile, tmp_path: Path) -> None:
    seen = made[0].observation
    frames = {role: tuple(replace(frame, epoch=9999) for frame in of_role) for role, of_role in seen.frames.items()}
    late = replace(made[0], observation=replace(seen, epoch=9999, frames=frames))
    path = tmp_path / f"{'x' * adding._MAX_NAME}-9999.tar"
    write_part(path, [late])
    assert_equal(next(read_part(path, profile)), late)


def test_the_same_examples_are_the_same_bytes(made: list[Example], tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_part(tmp_path / folder / "drive-000.tar", made)
    assert (tmp_path / "one/drive-000.tar").read_bytes() == (tmp_path / "other/drive-000.tar").read_bytes()


def _rewritten(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """The same shard with members changed, or left out."""
    with tarfile.open(path) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(path.with_name("new.tar"), "w") as tar:
        for member, content in members:
            if (changed := change(member.name, content)) is not None:
                member.size = len(changed)
                path.with_name("member").write_bytes(changed)
                with path.with_name("member").open("rb") as file:
                    tar.addfile(member, file)
    path.with_name("new.tar").replace(path)


LAST = f"drive-000.0.{START_NS + 2 * APART_NS}.rear_tele.png"
SMALLER = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def _without_speed(content: bytes) -> bytes:
    about = json.loads(content)
    del about["examples"][1]["example"]["future"]["speed_mps"]
    return json.dumps(about).encode()


@pytest.mark.parametrize(
    ("member", "content", "says"),
    [
        (LAST, lambda _: b"no picture", f"{LAST}: want a picture"),
        (LAST, lambda _: SMALLER, rf"{LAST}: want a picture \(48, 80, 3\), got \(8, 8, 3\)"),
        (LAST, lambda _: None, f"want {LAST} next, got the end"),
        ("drive-000.json", lambda _: None, "want drive-000.json first, got drive-000.0"),
        ("drive-000.json", lambda _: b"{", "drive-000.json: not JSON"),
        ("drive-000.json", _without_speed, r"examples\[1\].example.future lacks speed_mps"),
        ("drive-000.json", lambda c: c.replace(b"0.1,-7.3", b"NaN,-7.3"), "position: 1 of 3 numbers are not finite"),
    ],
)
def test_what_is_not_a_whole_shard_is_refused_by_name(
    member: str, content: Callable[[bytes], bytes | None], says: str, made: list[Example], profile: InputProfile, tmp_path: Path
) -> None:
    path = tmp_path / "drive-000.tar"
    write_part(path, made)
    _rewritten(path, lambda name, held: content(held) if name == member else held)
    with pytest.raises(InvalidInput, match=says) as refused:
        list(read_part(path, profile))
    assert str(path) in str(refused.value)


def test_a_shard_that_was_cut_short_is_refused(made: list[Example], profile: InputProfile, tmp_path: Path) -> None:
    path = tmp_path / "drive-000.tar"
    write_part(path, made)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(InvalidInput, match=f"{path}"):
        list(read_part(path, profile))
