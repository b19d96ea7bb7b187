"""Attention over slots is attention over what the mask names, whichever way it is computed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alpamayo_ros.engine.graphed.attention import causal, joined, masked, shared

HEADS, GROUPS, SIZE, SLOTS = 6, 2, 8, 40


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(q_HLE: Tensor, k_GSE: Tensor, v_GSE: Tensor, mask_LS: Tensor) -> Tensor:
    """Written out."""
    k, v = (x.repeat_interleave(HEADS // GROUPS, dim=0) for x in (k_GSE, v_GSE))
    scores = (q_HLE @ k.transpose(1, 2) / SIZE**0.5).masked_fill(~mask_LS, -torch.inf)
    return scores.softmax(dim=-1) @ v


def test_words_look_at_the_slots_of_their_masks() -> None:
    q, k, v = drawn(5, HEADS, SIZE), drawn(GROUPS, SLOTS, SIZE, seed=1), drawn(GROUPS, SLOTS, SIZE, seed=2)
    mask = drawn(5, SLOTS, seed=3) > 0
    torch.testing.assert_close(masked(q, k, v, mask), plain(q.transpose(0, 1), k, v, mask).transpose(0, 1))


@pytest.mark.parametrize("before", [0, 13])
def test_a_part_of_a_prompt_looks_at_itself_and_at_what_stands_before(before: int) -> None:
    total = before + 9
    q, k, v = drawn(9, HEADS, SIZE), drawn(GROUPS, total, SIZE, seed=1), drawn(GROUPS, total, SIZE, seed=2)
    mask = torch.ones(9, total, dtype=torch.bool).tril(before)
    torch.testing.assert_close(causal(q, k, v), plain(q.transpose(0, 1), k, v, mask).transpose(0, 1))


@pytest.mark.parametrize("attend", [shared, joined])
@pytest.mark.parametrize("samples", [1, 3])
def test_actions_of_a_sample_look_at_each_other_and_at_its_own_words(attend: object, samples: int) -> None:
    actions = 7
    q = drawn(samples, actions, HEADS, SIZE)
    own = [drawn(samples, actions, GROUPS, SIZE, seed=seed) for seed in (1, 2)]
    common = [drawn(GROUPS, SLOTS, SIZE, seed=seed) for seed in (3, 4)]
    mask = drawn(samples, SLOTS, seed=5) > 0
    found = attend(q, *own, *common, mask)  # type: ignore[operator]
    for row in range(samples):
        k, v = (torch.cat([c, o[row].transpose(0, 1)], dim=1) for c, o in zip(common, own, strict=True))
        seen = torch.cat([mask[row], torch.ones(actions, dtype=torch.bool)]).expand(actions, -1)
        torch.testing.assert_close(found[row], plain(q[row].transpose(0, 1), k, v, seen).transpose(0, 1))
    other = attend(q, *own, *common, ~mask)  # type: ignore[operator]
    assert not torch.allclose(found, other), "the mask matters"
    assert F.cosine_similarity(found.flatten(), other.flatten(), dim=0) < 0.99
