"""Rollouts: as likely when they are written as when they are read, drawn by the seed, driven by the actions written in them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from training.lessons import debug_codec, debug_model, examples, schooled

from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.sample import sample
from alpamayo_ros.training.batch import batch_of, read
from alpamayo_ros.training.encoding import with_answer
from alpamayo_ros.training.rollouts import Group, log_probs_of, question_of, roll_out, roll_out_all
from alpamayo_ros.types import InvalidInput, Navigation, Request

pytestmark = pytest.mark.thorough

CONFIG = debug_codec().config
START, BINS = CONFIG.token_ids["future_start"], range(CONFIG.traj_token_start, CONFIG.traj_token_start + 1000)
DRAWN = Request(samples=6, greedy=False, temperature=1.0, top_p=1.0, seed=3, max_tokens=64)


def rolled(request: Request = DRAWN, which: int = 0) -> Group:
    return roll_out(schooled(), question_of(examples()[which], debug_codec()), request, debug_codec().tokenizer)


def ids_of(group: Group) -> list[list[int]]:
    return [ids[written].tolist() for ids, written in zip(group.token_ids, group.written, strict=True)]


def read_alone(ids: list[int]) -> Tensor:
    """Log-probabilities of a rollout in one pass over prompt and answer, of no other code than training on data uses."""
    question = question_of(examples()[0], debug_codec()).encoded
    whole = batch_of([with_answer(question, [*ids, START])], START)
    hidden = read(schooled(), whole).hidden[0, question.prompt_length - 1 : -2]
    logits, place = schooled().logits(hidden), torch.arange(CONFIG.vocab_size) - CONFIG.traj_token_start
    asked = ids.index(START) if START in ids else len(ids)
    logits[: asked + 1, (place >= 0) & (place < CONFIG.traj_vocab_size)] = -torch.inf
    logits[asked + 1 :, (place < 0) | (place >= 1000)] = -torch.inf
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def test_a_rollout_is_words_and_then_an_action_for_every_bin_or_it_is_incomplete() -> None:
    group = rolled()
    assert any(rollout.is_complete for rollout in group.rollouts)
    for ids, rollout in zip(ids_of(group), group.rollouts, strict=True):
        assert rollout.is_complete == (START in ids)
        words = ids[: ids.index(START)] if rollout.is_complete else ids
        assert len(words) < DRAWN.max_tokens + (not rollout.is_complete)
        assert not set(words) & set(range(BINS.start, BINS.start + CONFIG.traj_vocab_size))
        assert (rollout.trajectory is None) == (not rollout.is_complete)
        if rollout.is_complete:
            assert len(ids) - len(words) - 1 == CONFIG.future_tokens
            assert set(ids[len(words) + 1 :]) <= set(BINS)


def test_too_many_words_are_incomplete() -> None:
    group = rolled(replace(DRAWN, max_tokens=3))
    assert [len(ids) for ids in ids_of(group)] == [3] * DRAWN.samples
    assert not any(rollout.is_complete for rollout in group.rollouts)


@torch.no_grad()
def test_log_probs_are_those_of_reading_what_was_written() -> None:
    group = rolled()
    again = log_probs_of(schooled(), question_of(examples()[0], debug_codec()), group.token_ids)
    torch.testing.assert_close(again[group.written], group.log_probs[group.written], rtol=0, atol=1e-4)
    for row, ids in enumerate(ids_of(group)):
        torch.testing.assert_close(group.log_probs[row, group.written[row]], read_alone(ids), rtol=0, atol=1e-4)


def test_the_seed_decides_what_is_drawn() -> None:
    assert ids_of(rolled()) == ids_of(rolled())
    assert ids_of(rolled()) != ids_of(rolled(replace(DRAWN, seed=4)))


def test_greedy_rollouts_are_what_the_runtime_says_and_drives() -> None:
    for which in (0, 1):
        observation = examples()[which].observation
        request = Request(max_tokens=64, trajectory="tokens")
        prompt = encode(observation, debug_codec().profile, debug_codec().tokenizer, CONFIG, "reason")
        said = sample(schooled(), debug_codec().tokenizer, prompt, request)
        for rollout in rolled(replace(request, samples=2), which).rollouts:
            assert (rollout.text, rollout.is_complete) == (said.texts[0], said.complete[0])
            assert rollout.is_complete, "a network that asks for no trajectory tests half of it"
            assert rollout.trajectory is not None
            accel, curvature = CONFIG.action_space.physical(said.actions[0].astype(np.float64))
            np.testing.assert_allclose(rollout.trajectory.accel_mps2, accel)
            np.testing.assert_allclose(rollout.trajectory.curvature_1pm, curvature)


def test_a_colder_temperature_is_likelier() -> None:
    def likely(temperature: float) -> float:
        group = rolled(replace(DRAWN, temperature=temperature))
        return float(group.log_probs[group.written].mean())

    assert likely(0.3) > likely(1.0) > likely(3.0)


@torch.no_grad()
def test_features_of_a_frozen_vision_tower_are_images_seen_before() -> None:
    plain = question_of(examples()[0], debug_codec())
    tower = schooled().vlm.model.visual
    seen = plain._replace(features=tower(plain.encoded.images.patches, plain.encoded.images.grid)[0])
    groups = [roll_out(schooled(), question, DRAWN, debug_codec().tokenizer) for question in (plain, seen)]
    assert ids_of(groups[0]) == ids_of(groups[1])
    ids = groups[0].token_ids
    torch.testing.assert_close(*(log_probs_of(schooled(), question, ids) for question in (plain, seen)))


def test_the_gradient_reaches_prompt_and_images() -> None:
    model = debug_model()
    group = rolled(replace(DRAWN, max_tokens=3))
    log_probs_of(model, question_of(examples()[0], debug_codec()), group.token_ids)[group.written].sum().backward()
    reached = {name.split(".layers")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("views.") for name in reached)
    assert any(name.startswith("vlm.model.visual.") for name in reached)
    assert not any(name.startswith("expert") for name in reached)


def test_an_example_without_words_asks_nothing() -> None:
    with pytest.raises(InvalidInput, match="not labelled"):
        question_of(replace(examples()[0], reasoning=None), debug_codec())


def test_questions_side_by_side_are_answered_as_each_alone() -> None:
    """Their prompts are of different lengths: one has a route."""
    plain = examples()[0]
    led = replace(plain, observation=replace(plain.observation, navigation=Navigation("turn_left", 40.0, "", 2**62)))
    unled = replace(plain, observation=replace(plain.observation, navigation=None))
    asked = [question_of(example, debug_codec()) for example in (led, unled, led)]
    assert asked[0].encoded.prompt_length != asked[1].encoded.prompt_length
    together = roll_out_all(schooled(), asked, DRAWN, [3, 4, 5], debug_codec().tokenizer)
    for question, seed, group in zip(asked, (3, 4, 5), together, strict=True):
        alone = roll_out(schooled(), question, replace(DRAWN, seed=seed), debug_codec().tokenizer)
        assert ids_of(group) == ids_of(alone)
        assert group.token_ids.shape == alone.token_ids.shape, "as wide as its own longest"
        torch.testing.assert_close(group.log_probs[group.written], alone.log_probs[alone.written], rtol=0, atol=1e-4)
    assert ids_of(together[0]) != ids_of(together[2])
