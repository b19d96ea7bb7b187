"""A text that goes on looks at every slot that was written, and at no other, also where it comes to one slot more than before.

Slots are looked at in multiples of 64: behind a prompt of 50 tokens words begin in slot 64, where a first multiple is full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from engine.fast.test_writing import tiny
from engine.tensorrt.test_network import TorchSession
from torch import Tensor

from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.fast.prompt import Prompt, Word, width_of
from alpamayo_ros.engine.graphed import network as graphed
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.engine.tensorrt import network as parted
from alpamayo_ros.engine.tensorrt.network import PartsNetwork
from alpamayo_ros.engine.tensorrt.parts import parts
from alpamayo_ros.model.language import causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images, Scene

LENGTH = 50
IDS = torch.randint(200, (LENGTH + 80,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model() -> Alpamayo:
    return tiny(torch.float32)


def in_parts(model: Alpamayo) -> PartsNetwork:
    made = parts(model, Images(torch.empty(2, 0), (4, 4), (1, 1), (0, 1)))
    return PartsNetwork({part.name: TorchSession(part) for part in made}, model.config, torch.device("cpu"))


@pytest.fixture(params=["graphed", "parts"])
def network(request: pytest.FixtureRequest, model: Alpamayo) -> Network:
    return GraphedNetwork(model, 64, 64, 1) if request.param == "graphed" else in_parts(model)


def prompt(model: Alpamayo) -> Prompt:
    """Words alone; parts want a scene, which nobody looks at."""
    row = torch.zeros(1, model.config.text.hidden_size)
    seen = Scene(row, (row,) * len(model.config.vision.deepstack_visual_indexes))
    return Prompt(IDS[:LENGTH], torch.arange(LENGTH).expand(3, -1), torch.zeros(LENGTH, dtype=torch.bool), seen)


def expected(model: Alpamayo) -> Tensor:
    """Logits after the prompt and after each word behind it, all read at once."""
    n = len(IDS)
    mask = causal_mask(torch.ones(1, n, dtype=torch.bool), n)
    hidden = model.read(IDS[None], torch.arange(n).expand(3, 1, -1), model.cache(1, n), mask)
    return model.logits(hidden[0, LENGTH - 1 :])


def written(model: Alpamayo, network: Network, sizes: Sequence[int], first: int, unseen: int = 0) -> Tensor:
    """The same by passes of so many words, in slots one behind the other from the first on, the last `unseen` not looked at."""
    logits = [network.begin(prompt(model), [], 16, 256)[:1].clone()]
    words = [
        Word(int(token), LENGTH + n, first + n, range(first, first + max(0, n - unseen)))
        for n, token in enumerate(IDS[LENGTH:])
    ]
    for start, end in pairwise(accumulate(sizes, initial=0)):
        logits.append(network.go_on(words[start:end], width_of(end - start)).clone())
    return torch.cat(logits)


def assert_as_in_one_piece(model: Alpamayo, found: Tensor) -> None:
    """But for bins of trajectories, which are never among words."""
    first = model.config.traj_token_start
    word = torch.ones(found.shape[1], dtype=torch.bool)
    word[first : first + model.config.traj_vocab_size] = False
    torch.testing.assert_close(found[:, word], expected(model)[: len(found), word], atol=1e-4, rtol=1e-4)


ONE_BY_ONE, IN_BLOCKS = [1] * 70, [15, 1, 16, 16, 13, 3, 16]


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [ONE_BY_ONE, IN_BLOCKS], ids=["one by one", "in blocks"])
def test_words_behind_a_prompt_are_read_as_in_one_piece(model: Alpamayo, network: Network, sizes: list[int]) -> None:
    assert prompt(model).first_slot == graphed.REACH == parted.REACH == 64
    assert_as_in_one_piece(model, written(model, network, sizes, 64))


@torch.inference_mode()
def test_what_lies_in_other_slots_is_not_looked_at(model: Alpamayo, network: Network) -> None:
    """Other words were written there before: between prompt and text, and behind it."""
    network.begin(prompt(model), [], 16, 256)
    network.go_on([Word(7, LENGTH, slot, ()) for slot in range(64, 128)], 64)
    assert_as_in_one_piece(model, written(model, network, [1, 16, 1], 67))


@torch.inference_mode()
@pytest.mark.parametrize("words", [1, 63, 64, 65])
def test_actions_look_at_the_last_word_too(model: Alpamayo, words: int) -> None:
    """Two networks that have nothing in common here say the same."""
    noise = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(0))
    both = (GraphedNetwork(model, 64, 64, 1), in_parts(model))
    for network in both:
        written(model, network, [16] * 5, 64)
    one, other = (network.denoise(noise, [(LENGTH + words, range(64, 64 + words))] * 2, 1) for network in both)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    fewer = both[1].denoise(noise, [(LENGTH + words, range(64, 63 + words))] * 2, 1)
    assert not torch.allclose(one, fewer, atol=3e-5, rtol=0), "without the last word it is found"


@torch.inference_mode()
def test_a_slot_that_is_not_looked_at_is_found(model: Alpamayo, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a word does not see the one before it; passes do not reach the last slot."""
    with pytest.raises(AssertionError):
        assert_as_in_one_piece(model, written(model, network, ONE_BY_ONE, 64, unseen=1))
    behind = {graphed: 1, parted: 0}  # slots in which recording a pass of one word leaves it
    for module, name in ((graphed, "_reached"), (parted, "reached")):
        monkeypatch.setattr(module, name, partial(_short, getattr(module, name), 1 + behind[module]))
    with pytest.raises((AssertionError, IndexError)):
        assert_as_in_one_piece(model, written(model, network, ONE_BY_ONE, 64))


def _short(reached: Callable[[int], int], by: int, slots: int) -> int:
    return reached(slots - by)
