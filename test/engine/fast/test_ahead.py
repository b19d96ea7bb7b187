"""Prompts that are read while images are coming are the prompts that are read at once."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine.contract_checks import check_hints_never_matter
from engine.test_eager import released_bundle, seen_by

from alpamayo_ros.engine.fast import prompt as reading
from alpamayo_ros.engine.fast.ahead import Arrivals
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.passes import LanguagePass
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import CameraFrame, EgoHistory, Observation, Request

AT_ONCE = Request(reasoning="none", steps=1)
STEP_NS = 100_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released_bundle(tmp_path_factory.mktemp("r1") / "bundle", "r1")


def drive(folder: Path, count: int) -> list[Observation]:
    """Observations 0.1 s apart that share their frames."""
    profile, first, rng = read_profile(str(folder / "profile.yaml")), seen_by(folder), np.random.default_rng(1)
    frames: dict[tuple[str, int], CameraFrame] = {}

    def at(number: int) -> Observation:
        t0_ns = first.stamp_ns + number * STEP_NS
        seen = {
            role: tuple(
                frames.setdefault(
                    (role, t0_ns + offset),
                    CameraFrame(role, t0_ns + offset, 0, rng.integers(0, 256, profile.image_shape, np.uint8)),
                )
                for offset in profile.offsets_ns
            )
            for role in profile.cameras
        }
        history, ego = first.history, replace(first.ego_t0, stamp_ns=t0_ns)
        return replace(first, stamp_ns=t0_ns, frames=seen, history=EgoHistory(t0_ns, history.xyz, history.rot), ego_t0=ego)

    return [at(number) for number in range(count)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens of a prompt each pass had."""
    counts: list[int] = []
    call = LanguagePass.__call__

    def counting(self: LanguagePass, prompt: object, words: object) -> object:
        counts.append(0 if prompt is None else len(prompt.token_ids))  # type: ignore[attr-defined]
        return call(self, prompt, words)  # type: ignore[arg-type]

    monkeypatch.setattr(LanguagePass, "__call__", counting)
    return counts


def test_only_the_end_of_a_prompt_is_left_when_its_frames_came_camera_by_camera(folder: Path, read: list[int]) -> None:
    first, then = drive(folder, 2)
    with closing(GraphedEngine(folder)) as alone:
        expected = alone.infer(then, AT_ONCE)
    whole = sum(read)
    with closing(GraphedEngine(folder)) as engine:
        for frame in (frame for frames in first.frames.values() for frame in frames):
            engine.add_frame(frame)
        engine.infer(first, AT_ONCE)
        read.clear()
        for role in then.frames:
            engine.add_frame(then.frames[role][-1])
        ahead = sum(read)
        read.clear()
        answer = engine.infer(then, AT_ONCE)
        assert len(read) == 1, "the part behind the images"
        assert ahead + sum(read) == whole
        assert sum(read) < whole / 2
    assert answer.actions.tobytes() == expected.actions.tobytes()


def test_a_wrong_guess_is_read_again(folder: Path) -> None:
    first, then, last = drive(folder, 3)
    with closing(GraphedEngine(folder)) as alone:
        expected = alone.infer(then, AT_ONCE)
    with closing(GraphedEngine(folder)) as engine:
        for seen in (first, then, last):
            for frame in (frame for frames in seen.frames.values() for frame in frames):
                engine.add_frame(frame)
        engine.infer(first, AT_ONCE)
        for role in last.frames:
            engine.add_frame(last.frames[role][-1])  # and then it is asked about the one before
        assert engine.infer(then, AT_ONCE).actions.tobytes() == expected.actions.tobytes()


def test_a_prompt_of_other_frames_is_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: parts known by their cameras alone are taken for those of other frames."""
    monkeypatch.setattr(reading, "key_of", lambda frame: frame.role)
    first, then = drive(folder, 2)
    with closing(GraphedEngine(folder)) as alone, closing(GraphedEngine(folder)) as engine:
        expected = alone.infer(then, AT_ONCE)
        engine.infer(first, AT_ONCE)
        assert engine.infer(then, AT_ONCE).actions.tobytes() != expected.actions.tobytes()


def test_hints_never_matter(folder: Path) -> None:
    seen = drive(folder, 2)
    check_hints_never_matter(lambda: GraphedEngine(folder), seen, examples=6)


def test_windows_are_expected_in_the_prompt_s_order_as_far_as_they_are_complete(folder: Path) -> None:
    profile = read_profile(str(folder / "profile.yaml"))
    first, then = drive(folder, 2)
    roles = list(profile.cameras)
    arrivals = Arrivals(profile)
    assert arrivals.expected(roles) == []
    for frame in (frame for frames in first.frames.values() for frame in frames):
        arrivals.take(frame)
    assert [window.frames for window in arrivals.expected(roles)] == [first.frames[role] for role in roles]
    arrivals.take(then.frames[roles[1]][-1])
    assert arrivals.expected(roles) == [], "the first camera's frame of that time is not there yet"
    arrivals.take(then.frames[roles[0]][-1])
    assert [window.role for window in arrivals.expected(roles)] == roles[:2]
    arrivals.take(replace(then.frames[roles[0]][-1], epoch=1))
    assert arrivals.expected(roles) == []
