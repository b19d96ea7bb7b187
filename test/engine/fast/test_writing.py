"""Texts with guesses are the texts without, token for token."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from alpamayo_ros.bundle.config import parse_config
from alpamayo_ros.engine.benchmark import TINY
from alpamayo_ros.engine.fast import writing
from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.fast.prompt import Prompt, Word
from alpamayo_ros.engine.fast.writing import Rules, write
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.engine.weights import draw_weights
from alpamayo_ros.model import sample as sampling
from alpamayo_ros.model.language import causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Scene
from alpamayo_ros.types import Request

LIMIT = 12
WORDS = 200
END = 7
NOTHING = slice(WORDS, 498)  # ids of images and actions are never written
GREEDY = Request(max_tokens=LIMIT)


@pytest.fixture(scope="module")
def model() -> Alpamayo:
    return tiny(torch.float32)


def tiny(dtype: torch.dtype) -> Alpamayo:
    with torch.device("meta"):
        made = Alpamayo(parse_config(TINY, TINY["vlm_config"], "tiny"))
    draw_weights(made, 1, "cpu", dtype)
    return made.eval().requires_grad_(requires_grad=False)


def drawing(rows: int, seed: int) -> tuple[Request, Tensor | None]:
    """A request for so many texts, and the numbers that decide their words."""
    request = Request(greedy=False, temperature=0.5, samples=rows, seed=seed, max_tokens=LIMIT)
    return request, sampling.uniforms(request, rows, LIMIT, torch.Generator().manual_seed(seed))


def prompt_of(rng: np.random.Generator, model: Alpamayo) -> Prompt:
    """Words at random."""
    ids = torch.from_numpy(rng.integers(WORDS, size=rng.integers(1, 40)))
    nothing = torch.zeros(0, model.config.text.hidden_size)
    depth = len(model.config.vision.deepstack_visual_indexes)
    return Prompt(
        ids, torch.arange(len(ids)).expand(3, -1), torch.zeros(len(ids), dtype=torch.bool), Scene(nothing, (nothing,) * depth)
    )


def plain(model: Alpamayo, prompt: Prompt, rows: int, request: Request, uniform: Tensor | None) -> list[list[int]]:
    """What the reference writes."""
    length = len(prompt.token_ids)
    cache = model.cache(1, length + LIMIT)
    mask = causal_mask(torch.ones(1, length, dtype=torch.bool), length)
    hidden = model.read(prompt.token_ids[None], prompt.positions[:, None], cache, mask)
    cache.length = length
    state = sampling.State(cache, length, (prompt.scene, None), model.logits(hidden[:, -1]), length)
    choose = lambda logits, index: sampling.chosen(logits, None if uniform is None else uniform[index], request)  # noqa: E731
    written = sampling.write(model, state, rows, choose, {END}, LIMIT, NOTHING)
    return [ids[:n].tolist() for ids, n in zip(written.tokens, written.lengths, strict=True)]


def spoiled(trace: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A trace with a word changed, left out or cut off somewhere, or as it is."""
    at, how = int(rng.integers(len(trace))), rng.integers(4)
    changed = {0: [*trace], 1: [*trace[:at], int(rng.integers(WORDS)), *trace[at + 1 :]], 2: [*trace[:at], *trace[at + 1 :]]}
    return changed.get(int(how), [*trace[:at]])


@pytest.mark.thorough
@torch.inference_mode()
def test_greedy_texts_are_the_same_for_a_thousand_prompts_whatever_is_guessed(
    model: Alpamayo, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, reader, passes = np.random.default_rng(0), GraphedNetwork(model, 64, 64, 1), Counter[str]()
    for name in ("begin", "go_on"):
        monkeypatch.setattr(GraphedNetwork, name, counted(getattr(GraphedNetwork, name), name, passes))
    words = 0
    for _ in range(1000):
        prompt = prompt_of(rng, model)
        expected = plain(model, prompt, 1, GREEDY, None)[0]
        memory = Memory([spoiled(expected, rng) for _ in range(rng.integers(3))])
        for _ in range(rng.integers(3)):
            memory.remember(spoiled(expected, rng))
        [text] = write(reader, prompt, 1, Rules(GREEDY, None, {END}, NOTHING), memory, most=16)
        assert text.tokens == expected
        assert (text.ended == END) == (END in expected)
        words += len(expected)
    assert passes["begin"] == 1000
    assert passes["go_on"] < 0.7 * words, "guesses save passes"


def counted(method: object, name: str, counts: Counter[str]) -> object:
    def call(*args: object, **kwargs: object) -> object:
        counts[name] += 1
        return method(*args, **kwargs)  # type: ignore[operator]

    return call


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 5, 30])
def test_drawn_texts_are_the_same_in_every_row(model: Alpamayo, rows: int) -> None:
    rng, reader = np.random.default_rng(rows), GraphedNetwork(model, 64, 64, 1)
    for seed in range(5):
        prompt, (request, uniform) = prompt_of(rng, model), drawing(rows, seed)
        expected = plain(model, prompt, rows, request, uniform)
        memory = Memory([spoiled(trace, rng) for trace in expected[:3]])
        texts = write(reader, prompt, rows, Rules(request, uniform, {END}, NOTHING), memory, most=16)
        assert [text.tokens for text in texts] == expected


class Wavering:
    """A network whose mind depends on the size of a pass, as in coarse numbers of two likely words now one wins and now the
    other: of the passes that do not read a text again half prefer another word."""

    def __init__(self, network: GraphedNetwork) -> None:
        self._network, self.again, self.wavered = network, network.again, 0
        self.begin = network.begin

    def go_on(self, words: Sequence[Word], width: int) -> torch.Tensor:
        logits = self._network.go_on(words, width).clone()
        if len(words) != self.again and len(words) % 2:
            logits[:, :WORDS] = logits[:, :WORDS].roll(1, dims=1)
            self.wavered += 1
        return logits


@torch.inference_mode()
@pytest.mark.parametrize(("rows", "prompts"), [(1, 20), (3, 5)])
def test_texts_are_what_the_passes_that_read_them_again_would_write(model: Alpamayo, rows: int, prompts: int) -> None:
    rng, reader = np.random.default_rng(0), Wavering(GraphedNetwork(model, 64, 64, 1))
    for seed in range(prompts):
        prompt, (request, uniform) = prompt_of(rng, model), drawing(rows, seed) if rows > 1 else (GREEDY, None)
        expected = plain(model, prompt, rows, request, uniform)
        memory = Memory([spoiled(expected[0], rng) for _ in range(rng.integers(3))])
        texts = write(cast(Network, reader), prompt, rows, Rules(request, uniform, {END}, NOTHING), memory, most=16)
        assert [text.tokens for text in texts] == expected
        assert [text.ended for text in texts] == [END if tokens[-1] == END else None for tokens in expected]
        slots = [slot for text in texts for slot in text.slots]
        assert slots == list(range(prompt.first_slot, prompt.first_slot + sum(map(len, expected))))
    assert reader.wavered > 20


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 3])
def test_in_bfloat16_drawn_texts_do_not_tell_what_was_guessed(rows: int) -> None:
    """Where rounding decides a word in every few texts."""
    rng, model = np.random.default_rng(5), tiny(torch.bfloat16)
    for seed in range(6):
        prompt, (request, uniform) = prompt_of(rng, model), drawing(rows, seed)
        found, memory = list[list[list[int]]](), Memory()
        for _ in range(2):
            reader, rules = GraphedNetwork(model, 64, 64, 1), Rules(request, uniform, {END}, NOTHING)
            found.append([text.tokens for text in write(reader, prompt, rows, rules, memory, most=16)])
            memory = Memory(found[0])
        assert found[1] == found[0]


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 3])
def test_words_that_are_accepted_unseen_are_found_out(model: Alpamayo, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a verifier that believes every guess, and puts nothing right, writes other words."""
    rng, reader = np.random.default_rng(0), GraphedNetwork(model, 64, 64, 1)
    monkeypatch.setattr(writing.Text, "put_right", lambda *_: False)
    monkeypatch.setattr(
        writing,
        "_judge",
        lambda text, block, after, rules: text.take([*(word.token for word in block[1:]), after[-1]], [], rules.ends),
    )
    prompt, (request, uniform) = prompt_of(rng, model), drawing(rows, 0) if rows > 1 else (GREEDY, None)
    expected = plain(model, prompt, rows, request, uniform)
    memory = Memory()
    memory.remember([expected[0][0], *(token + 1 for token in expected[0][1:])])
    texts = write(reader, prompt, rows, Rules(request, uniform, {END}, NOTHING), memory, most=1)
    assert [text.tokens for text in texts] != expected


@torch.inference_mode()
def test_drawn_words_have_the_distribution_of_the_network(model: Alpamayo) -> None:
    """Of two words, whatever is guessed: chi-square over the likeliest pairs."""
    rng, reader, draws = np.random.default_rng(2), GraphedNetwork(model, 64, 64, 1), 3000
    prompt = prompt_of(rng, model)
    request = Request(greedy=False, temperature=0.25, top_p=0.9, samples=30, max_tokens=2)
    memory = Memory()
    pairs: Counter[tuple[int, ...]] = Counter()
    for seed in range(draws // 30):
        uniform = sampling.uniforms(request, 30, 2, torch.Generator().manual_seed(seed))
        texts = write(reader, prompt, 30, Rules(request, uniform, {END}, NOTHING), memory, most=16)
        pairs.update(tuple(text.tokens) for text in texts)
        memory.remember(texts[0].tokens)
    exact = exact_pairs(model, prompt, request)
    likely = [pair for pair, p in exact.items() if p * draws >= 10]
    observed = [pairs[pair] for pair in likely]
    expected = [exact[pair] * draws for pair in likely]
    observed, expected = [*observed, draws - sum(observed)], [*expected, draws - sum(expected)]
    assert chisquare(observed, expected).pvalue > 1e-3
    assert chisquare([*observed[1:], observed[0]], expected).pvalue < 1e-3, "the test can fail"


def exact_pairs(model: Alpamayo, prompt: Prompt, request: Request) -> dict[tuple[int, ...], float]:
    """Probability of each pair of words."""

    def after(ids: Tensor) -> Tensor:
        n = len(ids)
        mask = causal_mask(torch.ones(1, n, dtype=torch.bool), n)
        logits = model.logits(model.read(ids[None], torch.arange(n).expand(3, 1, -1), model.cache(1, n), mask)[:, -1])
        logits[:, NOTHING] = -torch.inf
        return sampling.probabilities(logits, request.temperature, request.top_p)[0]

    first = after(prompt.token_ids)
    found: dict[tuple[int, ...], float] = {}
    for token in first.nonzero()[:, 0].tolist():
        if token == END:
            found[token,] = float(first[token])
            continue
        second = after(torch.cat([prompt.token_ids, torch.tensor([token])]))
        found |= {(token, other): float(first[token] * second[other]) for other in second.nonzero()[:, 0].tolist()}
    return found


@torch.inference_mode()
def test_keys_and_values_do_not_tell_how_words_were_found(model: Alpamayo) -> None:
    rng, stored = np.random.default_rng(4), list[Tensor]()
    prompt = prompt_of(rng, model)
    expected = plain(model, prompt, 1, GREEDY, None)[0]
    for traces in ([], [expected], [spoiled(expected, rng)]):
        reader, memory = GraphedNetwork(model, 64, 64, 1), Memory(traces)
        [text] = write(reader, prompt, 1, Rules(GREEDY, None, {END}, NOTHING), memory, most=16)
        noise = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
        stored.append(reader.denoise(noise, [(99, text.slots)] * 2, 3))
    assert all(torch.equal(one, other) for one, other in pairwise(stored))
