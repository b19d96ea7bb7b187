"""The reference path end to end, on the small model as shipped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model.nano import nano_model, nano_tokenizer, prompt
from torch import Tensor

from alpamayo_ros.model import sample as sampling
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.sample import answer, chosen, probabilities, sample
from alpamayo_ros.model.tokens import Tokenizer
from alpamayo_ros.profile import Pruning
from alpamayo_ros.types import EngineFailure, ModelOutput, Navigation, Request

TURN = Navigation("turn_left", 40.0, "Main St", expires_ns=10_000_000_000)


@pytest.fixture(scope="module")
def model() -> Alpamayo:
    return nano_model()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return nano_tokenizer()


@pytest.fixture
def ended_by_force(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    """Untrained weights seldom end their words: end those of row i with <|traj_future_start|> after 5 + i tokens."""
    chooser = sampling.chooser

    def forcing(request: Request, rows: int, limit: int, generator: torch.Generator) -> sampling.Choose:
        choose = chooser(request, rows, limit, generator)
        start = torch.tensor(tokenizer.id("<|traj_future_start|>"))

        def forced(logits: torch.Tensor, index: int) -> torch.Tensor:
            reads_words = logits.shape[-1] > 2000
            ends = torch.arange(rows) + 4 == index
            return torch.where(ends, start, choose(logits, index)) if reads_words else choose(logits, index)

        return forced

    monkeypatch.setattr(sampling, "chooser", forcing)


def same(one: ModelOutput, other: ModelOutput) -> bool:
    return one.texts == other.texts and np.array_equal(one.actions, other.actions)


@pytest.mark.usefixtures("ended_by_force")
def test_vision_and_prefill_run_once_for_six_samples(model: Alpamayo, tokenizer: Tokenizer) -> None:
    looked, read = [], []
    hooks = [
        model.vlm.model.visual.merger.register_forward_hook(lambda *_: looked.append(1)),
        model.vlm.model.language_model.layers[0].register_forward_hook(lambda _, args, __: read.append(args[0].shape[:2])),
    ]
    words = prompt()
    output = sample(model, tokenizer, words, Request(samples=6, greedy=False))
    for hook in hooks:
        hook.remove()
    assert len(looked) == 1
    assert read[0] == (1, len(words.token_ids))
    assert all(shape == (6, 1) for shape in read[1:])
    assert len(output.texts) == len(output.actions) == 6
    assert len(set(output.tokens)) > 1, "rows end at their own length"


@pytest.mark.usefixtures("ended_by_force")
def test_guidance_reads_another_prompt_about_the_images_that_were_seen(model: Alpamayo, tokenizer: Tokenizer) -> None:
    looked = []
    hook = model.vlm.model.visual.merger.register_forward_hook(lambda *_: looked.append(1))
    sample(model, tokenizer, prompt(navigation=TURN), Request(guidance=2.0))
    hook.remove()
    assert len(looked) == 1


@pytest.mark.usefixtures("ended_by_force")
def test_a_seed_decides_everything_drawn(model: Alpamayo, tokenizer: Tokenizer) -> None:
    request = Request(samples=3, greedy=False, seed=7)
    assert same(sample(model, tokenizer, prompt(), request), sample(model, tokenizer, prompt(), request))
    other = sample(model, tokenizer, prompt(), Request(samples=3, greedy=False, seed=8))
    assert not same(sample(model, tokenizer, prompt(), request), other)


@pytest.mark.usefixtures("ended_by_force")
def test_greedy_words_do_not_depend_on_the_seed_but_noise_does(model: Alpamayo, tokenizer: Tokenizer) -> None:
    one, other = (sample(model, tokenizer, prompt(), Request(samples=2, seed=seed)) for seed in (1, 2))
    assert one.texts == other.texts
    assert len(one.texts) == 1, "greedy samples share their words"
    assert not np.array_equal(one.actions, other.actions)
    assert not np.array_equal(one.actions[0], one.actions[1])


@pytest.mark.usefixtures("ended_by_force")
def test_shared_reasoning_gives_one_text_for_all_samples(model: Alpamayo, tokenizer: Tokenizer) -> None:
    output = sample(model, tokenizer, prompt(), Request(samples=4, greedy=False, share_reasoning=True))
    assert len(output.texts) == 1
    assert len(output.actions) == 4


def test_a_nearly_cold_temperature_is_greedy(model: Alpamayo, tokenizer: Tokenizer) -> None:
    greedy = sample(model, tokenizer, prompt(), Request(max_tokens=12))
    cold = sample(model, tokenizer, prompt(), Request(greedy=False, temperature=1e-6, max_tokens=12))
    assert greedy.texts == cold.texts


def test_words_without_an_end_are_incomplete_and_no_trajectory(
    model: Alpamayo, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tokenizer.id("<|traj_future_start|>")

    def never(logits: torch.Tensor, _: int) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([start]), -torch.inf).argmax(-1)

    monkeypatch.setattr(sampling, "chooser", lambda *_: never)
    output = sample(model, tokenizer, prompt(), Request(max_tokens=6))
    assert output.complete == (False,)
    assert not output.actions.any()


def test_no_reasoning_writes_nothing(model: Alpamayo, tokenizer: Tokenizer) -> None:
    output = sample(model, tokenizer, prompt("act"), Request(samples=2, reasoning="none"))
    assert output.texts == ("",)
    assert output.tokens == (0,)
    assert output.complete == (True,)
    assert output.actions.any()


@pytest.mark.usefixtures("ended_by_force")
def test_action_tokens_are_written_in_their_range(model: Alpamayo, tokenizer: Tokenizer) -> None:
    output = sample(model, tokenizer, prompt(), Request(trajectory="tokens"))
    width = 20.0 / (model.config.future_bins.num_bins - 1)
    steps = (output.actions + 10.0) / width
    np.testing.assert_allclose(steps, steps.round(), atol=1e-3)
    assert np.abs(output.actions).max() <= 10.0


@pytest.mark.thorough
@pytest.mark.usefixtures("ended_by_force")
@pytest.mark.parametrize("share", [False, True])
def test_drawn_action_tokens_are_drawn_for_every_sample(model: Alpamayo, tokenizer: Tokenizer, share: bool) -> None:
    request = Request(samples=3, greedy=False, share_reasoning=share, trajectory="tokens", seed=5)
    output = sample(model, tokenizer, prompt(), request)
    assert len(output.texts) == (1 if share else 3)
    assert len({actions.tobytes() for actions in output.actions}) == 3
    assert same(output, sample(model, tokenizer, prompt(), request))
    at_once = sample(model, tokenizer, prompt("act"), Request(samples=2, greedy=False, trajectory="tokens"))
    assert not np.array_equal(at_once.actions[0], at_once.actions[1])
    greedy = sample(model, tokenizer, prompt("act"), Request(samples=2, trajectory="tokens"))
    assert np.array_equal(greedy.actions[0], greedy.actions[1])


def test_only_rows_that_ended_flow(model: Alpamayo, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows the second never ends; the flow runs for two, and the others are as if it had not been there."""
    start = tokenizer.id("<|traj_future_start|>")

    def two_of_three(logits: Tensor, index: int) -> Tensor:
        return torch.tensor([start if index == 2 else 40, 41, start if index == 4 else 42])

    monkeypatch.setattr(sampling, "chooser", lambda *_: two_of_three)
    flowed = []
    hook = model.expert.register_forward_hook(lambda _, args, __: flowed.append(len(args[0])))
    output = sample(model, tokenizer, prompt(), Request(samples=3, greedy=False, max_tokens=6, steps=4))
    hook.remove()
    assert output.complete == (True, False, True)
    assert flowed == [2] * 4
    assert [bool(actions.any()) for actions in output.actions] == [True, False, True]
    assert output.tokens == (3, 6, 5)


def test_steps_are_the_config_s_unless_asked_for(model: Alpamayo, tokenizer: Tokenizer) -> None:
    own, same_number, fewer = (
        sample(model, tokenizer, prompt("act"), Request(reasoning="none", steps=steps)).actions for steps in (0, 10, 3)
    )
    assert model.config.flow_steps == 10
    assert np.array_equal(own, same_number)
    assert not np.array_equal(own, fewer)


def test_an_answer_that_the_limit_cuts_says_so(model: Alpamayo, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prompt("ask", question="Is the light red?")
    ids = [*tokenizer.encode("Yes"), model.config.eos_token_id]
    monkeypatch.setattr(sampling, "chooser", lambda *_: lambda logits, index: torch.tensor([ids[index]]))
    assert answer(model, tokenizer, asked, Request(max_tokens=20)) == "Yes"
    cut = answer(model, tokenizer, asked, Request(max_tokens=len(ids) - 1))
    assert cut == f"Yes [cut after {len(ids) - 1} tokens]"


@pytest.mark.usefixtures("ended_by_force")
def test_guidance_of_weight_1_is_none_and_without_a_route_nothing_guides(model: Alpamayo, tokenizer: Tokenizer) -> None:
    routed = prompt(navigation=TURN)
    plain = sample(model, tokenizer, routed, Request())
    np.testing.assert_allclose(sample(model, tokenizer, routed, Request(guidance=1.0)).actions, plain.actions, atol=1e-5)
    assert np.abs(sample(model, tokenizer, routed, Request(guidance=3.0)).actions - plain.actions).max() > 1e-4
    assert same(sample(model, tokenizer, prompt(), Request(guidance=3.0)), sample(model, tokenizer, prompt(), Request()))


def test_an_answer_is_text(model: Alpamayo, tokenizer: Tokenizer) -> None:
    asked = prompt("ask", question="Is the light red?")
    reply = answer(model, tokenizer, asked, Request(max_tokens=8))
    assert isinstance(reply, str)
    assert reply == answer(model, tokenizer, asked, Request(max_tokens=8))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("draws", [False, True])
def test_logits_that_are_no_numbers_are_refused(wrong: float, draws: bool) -> None:
    logits = torch.zeros(2, 9)
    uniform = torch.full((2, 1), 0.5) if draws else None
    chosen(logits, uniform, Request())
    logits[1, 3] = wrong
    with pytest.raises(EngineFailure, match="logits are not finite"):
        chosen(logits, uniform, Request())


def test_nucleus_sampling_keeps_the_fewest_tokens_that_reach_top_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert probabilities(logits, 1.0, 0.8).gt(0).tolist() == [[True, True, False, False]]
    assert probabilities(logits, 1.0, 0.81).gt(0).tolist() == [[True, True, True, False]]
    torch.testing.assert_close(probabilities(logits, 1.0, 0.8), torch.tensor([[0.625, 0.375, 0.0, 0.0]]))
    torch.testing.assert_close(probabilities(logits, 1.0, 1.0), logits.exp())
    torch.testing.assert_close(probabilities(logits, 0.5, 1.0), (2 * logits).softmax(-1))


def test_drawn_tokens_have_the_distribution_of_their_probabilities() -> None:
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)).expand(20_000, -1)
    request = Request(greedy=False, temperature=0.8, top_p=0.9)
    choose = sampling.chooser(request, 20_000, 1, torch.Generator().manual_seed(1))
    share = choose(logits, 0).bincount(minlength=6) / 20_000
    torch.testing.assert_close(share, probabilities(logits[:1], 0.8, 0.9)[0], rtol=0, atol=0.015)


def test_a_number_that_rounds_up_to_one_still_draws_a_likely_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in some 2^24 draws; a token beyond the vocabulary, or a barred one, would follow."""
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(shape))
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    logits[:, 40:] = -torch.inf
    token = sampling.chooser(Request(greedy=False), 8, 1, torch.Generator())(logits, 0)
    assert (probabilities(logits, 0.6, 0.98).gather(-1, token[:, None]) > 0).all()


def test_the_reference_keeps_the_same_tokens() -> None:
    """Which tokens the public code's temperature and top-p left, at every step of three sampled rows."""
    with np.load(Path(__file__).parent / "vectors" / "sampled_rollout.npz") as stored:
        logits = torch.from_numpy(stored["step_logits"]).flatten(0, 1)
        kept = torch.from_numpy(stored["kept_after_top_p"]).flatten(0, 1)
        words = torch.from_numpy(stored["allowed_ids"])
    drawn = kept.sum(-1) > 1  # the other steps were forced
    only_words = torch.full_like(logits, -torch.inf).scatter(
        -1, words.expand(len(logits), -1), logits.gather(-1, words.expand(len(logits), -1))
    )
    assert drawn.sum() > 20
    assert torch.equal(probabilities(only_words[drawn], 0.6, 0.98).gt(0), kept[drawn])
    assert not torch.equal(probabilities(only_words[drawn], 0.6, 0.97).gt(0), kept[drawn])


def test_a_prompt_with_fewer_visual_tokens_is_read_shorter_and_written_after(model: Alpamayo, tokenizer: Tokenizer) -> None:
    whole, half = prompt(), prompt()._replace(pruning=Pruning(prefill_keep=1.0, decode_keep=0.5))
    states = [sampling.prefill(model, words, 1) for words in (whole, half)]
    assert states[0].length - states[1].length == 32, "half of 64 scene tokens"
    assert states[0].position == states[1].position
    assert torch.equal(states[0].logits, states[1].logits), "the prompt itself was read whole"
    actions = [sample(model, tokenizer, words, Request(max_tokens=64)).actions for words in (whole, half)]
    assert not np.array_equal(*actions)
