"""Swapped traces contradict what is driven, and an experiment on them runs from data to figures and picture."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from model.nano import BUNDLE as NANO
from training.lessons import debug_codec, debug_model, examples, scene, schooled

from alpamayo_ros.bundle.folder import WEIGHTS_FILE, WEIGHTS_KEY
from alpamayo_ros.engine.weights import save_weights
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.sample import sample
from alpamayo_ros.profile import read_rig
from alpamayo_ros.reasoning import consistent
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.experiments import swapped as experiment
from alpamayo_ros.training.experiments.held_out import evenly, expert_ways, measured
from alpamayo_ros.training.experiments.swapped import RECIPE, changes, swap_and_reinforce, swapped
from alpamayo_ros.training.export import copy_layout
from alpamayo_ros.training.rollouts import question_of, roll_out
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import Lesson, Shelf, shelve
from alpamayo_ros.training.sizes import SIZES, begin_bundle
from alpamayo_ros.types import InvalidInput, Request

pytestmark = pytest.mark.thorough

TELLING = Request(samples=2, greedy=False, temperature=1.0, top_p=1.0, max_tokens=64)


@cache
def scenes() -> list[SceneSamples]:
    """Two, for every motion to be contradicted by somebody's words."""
    return [scene(), scene_samples(SceneId("free_road", 1), read_rig("seven_camera"), debug_codec().profile, 14.0)]


@cache
def shelf() -> Shelf:
    return shelve(scenes(), debug_model().vlm.model.visual, debug_codec())


def text_of(lesson: Lesson) -> str:
    assert lesson.example.reasoning is not None
    return lesson.example.reasoning.text


def agrees(lesson: Lesson) -> bool:
    assert lesson.example.reasoning is not None
    return consistent(lesson.example.reasoning.decision, lesson.example.meta_actions).agrees is True


def test_a_share_of_the_traces_is_another_s_that_contradicts_the_motion() -> None:
    damaged = swapped(shelf(), debug_codec(), 0.3, seed=1).lessons
    other = [new is not old for new, old in zip(damaged, shelf().lessons, strict=True)]
    assert sum(other) == round(0.3 * len(damaged)) > 1
    for is_other, new, old in zip(other, damaged, shelf().lessons, strict=True):
        if is_other:
            assert not agrees(new)
            assert text_of(new) in map(text_of, shelf().lessons)
            assert text_of(new) in debug_codec().tokenizer.decode(new.encoded.token_ids[new.encoded.prompt_length :].tolist())
            assert new.example.future is old.example.future
            assert torch.equal(new.encoded.actions, old.encoded.actions)
            assert new.encoded.token_ids[-130:].equal(old.encoded.token_ids[-130:]), "what is driven stays"


def test_the_seed_decides_what_is_swapped() -> None:
    def texts(seed: int) -> list[str]:
        return [*map(text_of, swapped(shelf(), debug_codec(), 0.5, seed).lessons)]

    assert texts(1) == texts(1) != texts(2)


def test_nothing_to_swap_is_refused() -> None:
    alone = replace(shelf(), lessons=tuple(lesson for lesson in shelf().lessons if agrees(lesson))[:1])
    with pytest.raises(InvalidInput, match="contradicts"):
        swapped(alone, debug_codec(), 1.0, seed=0)
    with pytest.raises(InvalidInput, match="share"):
        swapped(shelf(), debug_codec(), 1.1, seed=0)


def test_the_expert_s_way_behind_greedy_words_is_the_runtime_s() -> None:
    request = Request(max_tokens=64, seed=5)
    observation = examples()[0].observation
    prompt = encode(observation, debug_codec().profile, debug_codec().tokenizer, debug_codec().config, "reason")
    said = sample(schooled(), debug_codec().tokenizer, prompt, request)
    question = question_of(examples()[0], debug_codec())
    (way,) = expert_ways(schooled(), question, roll_out(schooled(), question, request, debug_codec().tokenizer), seed=5)
    accel, curvature = debug_codec().config.action_space.physical(said.actions[0].astype(np.float64))
    np.testing.assert_allclose(way.accel_mps2, accel, atol=1e-4)
    np.testing.assert_allclose(way.curvature_1pm, curvature, atol=1e-5)


def test_what_is_measured_are_shares_and_distances_the_same_every_time() -> None:
    found = measured(schooled(), shelf(), [0, 1, 2], TELLING, debug_codec())
    assert found == measured(schooled(), shelf(), [0, 1, 2], TELLING, debug_codec())
    assert found.rollouts == 6
    assert 0 < found.complete <= 1
    for share in (found.consistent_tokens, found.consistent_expert, found.reasoning):
        assert 0 <= share <= 1
    assert found.ade_tokens_m > 0 < found.ade_expert_m


def test_a_network_that_answers_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="none of 2 rollouts is complete"):
        measured(debug_model(), shelf(), [0], replace(TELLING, max_tokens=1), debug_codec())


def test_held_out_windows_are_from_the_whole_of_a_shelf() -> None:
    places = evenly(shelf(), 3)
    assert places[0] == 0
    assert places[-1] == len(shelf().lessons) - 1
    assert evenly(shelf(), 10**6) == [*range(len(shelf().lessons))]


def test_changes_are_relative() -> None:
    names = ("consistent_tokens", "consistent_expert", "ade_tokens_m", "ade_expert_m")
    found = changes({"before": dict.fromkeys(names, 0.5), "after": dict.fromkeys(names, 0.6)})
    assert found == dict.fromkeys(names, 0.2)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, object]]:
    """The whole experiment at a size that runs in seconds."""
    monkeypatch.setattr(experiment, "SIZE", SIZES["debug"])
    tower = tmp_path / "tower"
    begin_bundle(tmp_path / "layout", NANO, SIZES["debug"])
    copy_layout(tmp_path / "layout", tower)
    save_weights(debug_model(), tower / WEIGHTS_FILE, {WEIGHTS_KEY: "trained"})
    few = Optimisation(steps=2, batch=2, learning_rate=1e-3)
    drawn = replace(TELLING, samples=4)
    recipe = replace(
        RECIPE,
        inject=few,
        sft=Optimisation(steps=50, batch=1, learning_rate=1e-2),
        expert=few,
        draws=2,
        reinforcement=replace(RECIPE.reinforcement, optimisation=few, pool=2, drawing=drawn),
        tasks=4,
        windows=4,
        drawing=drawn,
    )
    return lambda: swap_and_reinforce((scenes, scenes), tower, NANO, tmp_path / "out", [7], recipe)


def test_the_experiment_leaves_figures_and_a_picture_and_does_nothing_twice(
    tmp_path: Path, quick: Callable[[], dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    told = quick()
    found = json.loads((tmp_path / "out" / "swapped.json").read_text())
    assert capsys.readouterr().err.count("collision, off_road, progress are left out for 4 of 4 examples") == 1
    assert found["without_surroundings"] == 4
    (of_seed,) = found["seeds"]
    assert found["changes"] == told["changes"] == [changes(of_seed)]
    assert of_seed["seed"] == 7
    assert found["consistency_of_traces"]["train"] - of_seed["consistency_of_damaged"] == pytest.approx(0.3, abs=0.1)
    assert set(of_seed["cpu_s"]) == {
        "sft",
        "reinforce",
        *(f"{what} {when}" for what in ("expert", "measure") for when in ("before", "after")),
    }
    assert len(of_seed["reinforce"]["reward"]) == 2
    assert (tmp_path / "out" / "swapped.png").read_bytes().startswith(b"\x89PNG")
    assert quick() == told
    assert json.loads((tmp_path / "out" / "swapped.json").read_text())["seeds"] == found["seeds"]
