"""The reference engine: bundles as shipped, and bundles in the released layouts with small random networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
import yaml
from engine.contract_checks import check_hints_never_matter
from engine.test_weights import write_shards
from model.nano import BUNDLE, SHIPPED, T0_NS, nano_profile, observation
from model.released import Generation, small_json
from model.vocabulary import START, trajectory_ids, write_vocabulary

from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.contract import AnswersQuestions
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.engine.weights import draw_weights, stored_constants
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import CameraFrame, EgoHistory, EngineFailure, InvalidInput, Navigation, Observation, Request


@pytest.fixture(scope="module")
def nano() -> Iterator[EagerEngine]:
    with closing(EagerEngine(BUNDLE)) as engine:
        yield engine


def test_hints_never_matter() -> None:
    later = observation(2)
    frames = {role: tuple(replace(frame, epoch=1) for frame in frames) for role, frames in later.frames.items()}
    seen = [observation(0), observation(1), replace(later, epoch=1, frames=frames)]
    check_hints_never_matter(lambda: EagerEngine(BUNDLE), seen, examples=4)


def test_a_child_process_answers_as_this_one_does(nano: EagerEngine) -> None:
    profile = nano_profile()
    ring = FrameRing(profile.image_shape, 64)
    with closing(ring), EngineClient(str(BUNDLE), profile, ring, 20_000.0) as client:
        seen = observation()
        written = {role: tuple(in_ring(ring, frame) for frame in frames) for role, frames in seen.frames.items()}
        theirs = client.infer(replace(seen, frames=written), Request(samples=2))
        assert (client.weights, client.space) == ("untrained", read_config(BUNDLE).action_space)
    ours = nano.infer(seen, Request(samples=2))
    assert theirs.texts == ours.texts
    assert theirs.actions.tobytes() == ours.actions.tobytes()


def in_ring(ring: FrameRing, frame: CameraFrame) -> CameraFrame:
    written = ring.write(frame.role, frame.stamp_ns, frame.epoch, lambda pixels: np.copyto(pixels, frame.image))
    assert written is not None
    return written


def test_what_it_is_asked_changes_the_answer_and_nothing_else_does(nano: EagerEngine) -> None:
    turn = Navigation("turn_left", 40.0, "", T0_NS)
    outputs = [nano.infer(observation(navigation=turn), Request(reasoning="none")) for _ in range(2)]
    assert np.array_equal(outputs[0].actions, outputs[1].actions)
    others = [
        (observation(navigation=replace(turn, maneuver="turn_right")), Request(reasoning="none")),
        (observation(seed=1, navigation=turn), Request(reasoning="none")),
        (observation(speed_mps=3.0, navigation=turn), Request(reasoning="none")),
        (observation(navigation=turn), Request(reasoning="none", steps=5)),
        (observation(navigation=turn), Request(reasoning="none", seed=1)),
        (observation(navigation=turn), Request(reasoning="none", guidance=3.0)),
    ]
    for seen, request in others:
        assert not np.array_equal(nano.infer(seen, request).actions, outputs[0].actions), request


def test_it_answers_questions(nano: EagerEngine) -> None:
    assert isinstance(nano, AnswersQuestions)
    assert isinstance(nano.ask(observation(), "Is the light red?", Request(max_tokens=4)), str)
    with pytest.raises(InvalidInput, match=r"question 'a<\|im_end\|>b'"):
        nano.ask(observation(), "a<|im_end|>b", Request())
    assert not isinstance(open_engine("kinematic"), AnswersQuestions)


@pytest.mark.parametrize("asked", ["infer", "ask"])
def test_a_device_without_memory_left_is_an_engine_failure(
    nano: EagerEngine, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("2 GiB wanted")

    for name in ("sample", "answer"):
        monkeypatch.setattr(f"alpamayo_ros.engine.eager.{name}", exhausted)
    with pytest.raises(EngineFailure, match=r"out of memory for .*: 2 GiB wanted"):
        nano.infer(observation(), Request()) if asked == "infer" else nano.ask(observation(), "Why?", Request())


# ---------------------------------------------------------------------------------------------------------- released layouts


def released_bundle(folder: Path, generation: Generation, dtype: str = "float32") -> Path:
    """A bundle as `alpamayo fetch` leaves it, but for the size of its network, its vocabulary of bytes and its pins."""
    name = {"r1": "alpamayo_r1_10b", "1.5": "alpamayo_1_5_10b"}[generation]
    copytree(SHIPPED.parent / name, folder)
    (folder / "source.yaml").unlink()
    profile = yaml.safe_load((folder / "profile.yaml").read_text())
    images = len(profile["cameras"]) * len(profile["frame_offsets_ms"])
    (folder / "profile.yaml").write_text(
        yaml.safe_dump(profile | {"image_height": 64, "image_width": 96, "scene_tokens": 6 * images})
    )
    write_vocabulary(folder)
    stored = small_json(generation)
    backbone = stored.pop("vlm_config")
    backbone["image_token_id"], backbone["text_config"]["eos_token_id"] = START - 2, 258
    stored |= {"traj_token_start_idx": START, "vocab_size": START + 500 + 28, "min_pixels": 1024, "max_pixels": 65536}
    stored |= {"traj_token_ids": trajectory_ids(START + 500), "model_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(stored))
    (folder / "backbone.json").write_text(json.dumps(backbone))
    with torch.device("meta"):
        model = Alpamayo(read_config(folder))
    draw_weights(model, 3, "cpu", torch.float32)
    constants = stored_constants(model.config) if generation == "r1" else {}
    write_shards(folder, {**model.state_dict(), **{key: value.float() for key, value in constants.items()}})
    return folder


def seen_by(folder: Path, *without: str) -> Observation:
    """Noise before the cameras of a bundle's profile."""
    profile, rng = read_profile(str(folder / "profile.yaml")), np.random.default_rng(0)
    frames = {
        role: tuple(
            CameraFrame(role, T0_NS + offset, 0, rng.integers(0, 256, profile.image_shape, np.uint8))
            for offset in profile.offsets_ns
        )
        for role in profile.cameras
        if role not in without
    }
    full = observation()
    n = profile.history_steps
    return replace(full, frames=frames, history=EgoHistory(T0_NS, full.history.xyz[-n:], full.history.rot[-n:]))


@pytest.mark.parametrize("generation", ["r1", "1.5"])
def test_a_bundle_in_the_released_layout_runs_end_to_end(tmp_path: Path, generation: Generation) -> None:
    folder = released_bundle(tmp_path / "bundle", generation)
    with closing(open_engine(str(folder))) as engine:
        at_once = engine.infer(seen_by(folder), Request(samples=3, reasoning="none"))
        reasoned = engine.infer(seen_by(folder), Request(max_tokens=8))
    assert at_once.complete == (True,)
    assert np.isfinite(at_once.actions).all()
    assert reasoned.tokens[0] <= 8


def test_a_camera_that_the_profile_requires_is_not_left_out_and_an_optional_one_is(tmp_path: Path) -> None:
    r1, newer = released_bundle(tmp_path / "r1", "r1"), released_bundle(tmp_path / "newer", "1.5")
    with (
        closing(open_engine(str(r1))) as engine,
        pytest.raises(InvalidInput, match="front_tele: profile alpamayo_r1_10b wants 4"),
    ):
        engine.infer(seen_by(r1, "front_tele"), Request(reasoning="none"))
    with closing(open_engine(str(newer))) as engine:
        every = engine.infer(seen_by(newer), Request(reasoning="none"))
        fewer = engine.infer(seen_by(newer, "front_tele", "rear_tele"), Request(reasoning="none"))
    assert not np.array_equal(every.actions, fewer.actions)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"vocab_size": 5000}, r"config.json says 5000 tokens, .*tokenizer.json has 798"),
        ({"model_type": "llama"}, r"model_type 'llama', want one of alpamayo_r1"),
        ({"min_pixels": 8192}, r"images of 64x96, config.json wants multiples of 32 and 8192 to 65536 pixels"),
        ({"tokens_per_history_traj": 63}, r"profile alpamayo_r1_10b has 16 poses, config.json tokens for 21"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_both_sides(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    folder = released_bundle(tmp_path / "bundle", "r1")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | changed))
    with pytest.raises(InvalidInput, match=said):
        open_engine(str(folder))
