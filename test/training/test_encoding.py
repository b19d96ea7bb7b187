"""What is learned is what the runtime reads and what its parser understands."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training.lessons import debug_codec, debug_model, examples, lessons

from alpamayo_ros.dynamics import estimate_v0, rollout
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.sample import prefill, section
from alpamayo_ros.model.tokens import actions_of_tokens
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.training.batch import batch_of, read
from alpamayo_ros.training.encoding import encoded, encoded_answer
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

EXAMPLES = range(0, 8, 3)


def answer(example: Example, *, asks_reasons: bool = True) -> list[int]:
    made = encoded(example, debug_codec(), asks_reasons=asks_reasons)
    return made.token_ids[made.prompt_length :].tolist()


@pytest.mark.parametrize("index", EXAMPLES)
def test_the_prompt_is_the_runtime_s(index: int) -> None:
    codec, example, made = debug_codec(), examples()[index], lessons()[index]
    prompt = encode(example.observation, *codec, "reason")
    assert torch.equal(made.token_ids[: made.prompt_length], prompt.token_ids)
    assert torch.equal(made.images.patches, prompt.images.patches)


@pytest.mark.parametrize("index", EXAMPLES)
def test_the_answer_says_the_decision_and_states_the_meta_actions(index: int) -> None:
    example = examples()[index]
    text = debug_codec().tokenizer.decode(answer(example))
    assert example.reasoning is not None
    assert parse_trace(text, 0, complete=True).decision == example.reasoning.decision
    stated = section(text.partition("<|traj_future_start|>")[0], "meta_action")
    for action in example.meta_actions:
        assert action.action.replace("_", " ") in stated


@pytest.mark.parametrize("index", EXAMPLES)
def test_the_action_tokens_drive_what_was_driven(index: int) -> None:
    """To the width of a bin: 1000 bins of 0.02 standard deviations, and what smoothing takes away."""
    codec, example = debug_codec(), examples()[index]
    ids = answer(example)
    start = ids.index(codec.config.token_ids["future_start"]) + 1
    actions = actions_of_tokens(ids[start : start + 128], codec.config)
    history = example.observation.history
    way = rollout(actions, estimate_v0(history.xyz, history.rot), 0.0, codec.config.action_space)
    assert np.linalg.norm(way.xyz - example.future.xyz, axis=1).mean() < 0.5
    assert ids[start + 128 :] == [codec.tokenizer.id("<|traj_future_end|>"), codec.tokenizer.id("<|im_end|>")]


def test_without_reasons_the_trajectory_follows_at_once() -> None:
    example = examples()[0]
    for ids in (answer(example, asks_reasons=False), answer(replace(example, reasoning=None))):
        assert len(ids) == 130
    assert len(answer(example)) > 130


def test_a_question_is_asked_as_the_runtime_asks_it_and_nothing_but_its_answer_follows() -> None:
    codec, example = debug_codec(), examples()[0]
    made = encoded_answer(example, "What does the traffic light show?", "It is red.", codec)
    prompt = encode(example.observation, *codec, "ask", "What does the traffic light show?")
    assert torch.equal(made.token_ids[: made.prompt_length], prompt.token_ids)
    assert torch.equal(made.images.patches, prompt.images.patches)
    said = codec.tokenizer.decode(made.token_ids[made.prompt_length :].tolist())
    assert said == "It is red.<|answer_end|><|im_end|>"
    behind = made.positions[:, made.prompt_length :] - made.positions[:, : made.prompt_length].max() - 1
    assert torch.equal(behind, torch.arange(behind.shape[1]).expand(3, -1))


@pytest.mark.parametrize(("question", "said"), [("What <|im_end|>?", "That."), ("What?", "That <|im_end|>."), (" ", "That.")])
def test_questions_and_answers_that_cannot_be_written_are_refused(question: str, said: str) -> None:
    with pytest.raises(InvalidInput):
        encoded_answer(examples()[0], question, said, debug_codec())


def test_one_pass_over_the_answer_is_reading_it_word_by_word() -> None:
    """The logits after the prompt, and after the prompt and some words: what is trained is what will be sampled from."""
    codec, model, made = debug_codec(), debug_model(5).eval(), lessons()[0]
    with torch.no_grad():
        hidden = read(model, batch_of([made], codec.config.token_ids["future_start"])).hidden
        prompt = encode(examples()[0].observation, *codec, "reason")
        state = prefill(model, prompt, 4)
    torch.testing.assert_close(model.logits(hidden[:, made.prompt_length - 1]), state.logits, rtol=1e-4, atol=1e-4)


def test_words_that_spell_a_special_token_are_refused() -> None:
    example = examples()[0]
    assert example.reasoning is not None
    bad = replace(example, reasoning=replace(example.reasoning, text="Stop <|im_end|> now."))
    with pytest.raises(InvalidInput, match="spells the token"):
        encoded(bad, debug_codec())
