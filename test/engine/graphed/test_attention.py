"""Attention over slots is attention over what the mask names, whichever way it is computed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from alpamayo_ros.engine.graphed.attention import causal, joined, masked, shared

HEADS, GROUPS, SIZE, SLOTS = 6, 2, 8, 40

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(q_HLE: Tensor, k_GSE: Tensor, v_GSE: Tensor, mask_LS: Tensor) -> Tensor:
    """Written out."""
    k, v = (x.repeat_interleave(HEADS // len(k_GSE), dim=0) for x in (k_GSE, v_GSE))
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
@pytest.mark.parametrize("samples", [1, 3, 6])
@pytest.mark.parametrize(("groups", "actions", "slots"), [(1, 7, 40), (2, 64, 5), (3, 1, 130), (6, 64, 64)])
def test_actions_of_a_sample_look_at_each_other_and_at_its_own_words(
    attend: Attend, samples: int, groups: int, actions: int, slots: int
) -> None:
    q, own, common, mask = asked(samples, groups, actions, slots)
    found = attend(q, *own, *common, mask)
    torch.testing.assert_close(found, written_out(q, own, common, mask))


@pytest.mark.parametrize("attend", [shared, joined])
@pytest.mark.parametrize("large", [0, 1], ids=["own", "common"])
def test_scores_that_are_large_on_one_side_do_not_overflow(attend: Attend, large: int) -> None:
    """A softmax over two parts has to know the largest of both."""
    q, own, common, mask = asked(3, 2, 7, 40)
    ((own, common)[large])[0].mul_(200)
    found = attend(q, *own, *common, mask)
    torch.testing.assert_close(found, written_out(q, own, common, mask), atol=1e-4, rtol=0)  # of scores in the hundreds


@pytest.mark.parametrize("attend", [shared, joined])
def test_what_is_looked_at_matters(attend: Attend) -> None:
    """The comparison can fail: another mask, another sample's own keys, own values in another order."""
    q, own, common, mask = asked(3, 2, 7, 40)
    expected = written_out(q, own, common, mask)
    wrong = [
        attend(q, *own, *common, ~mask),
        attend(q, own[0].roll(1, dims=0), own[1], *common, mask),
        attend(q, own[0], own[1].roll(1, dims=1), *common, mask),
        attend(q, *own, common[0].roll(1, dims=0), common[1], mask),
    ]
    assert not any(torch.allclose(each, expected, atol=1e-2) for each in wrong)


def asked(samples: int, groups: int, actions: int, slots: int) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """Queries; keys and values of the actions, and of the slots; and which slots a sample looks at, one of them at none."""
    q = drawn(samples, actions, HEADS, SIZE)
    own = [drawn(samples, actions, groups, SIZE, seed=seed) for seed in (1, 2)]
    common = [drawn(groups, slots, SIZE, seed=seed) for seed in (3, 4)]
    mask = drawn(samples, slots, seed=5) > 0
    mask[2:3] = False
    return q, own, common, mask


def written_out(q_SAHE: Tensor, own: list[Tensor], common: list[Tensor], mask_SC: Tensor) -> Tensor:
    """(S, A, H, E), sample by sample."""
    rows = []
    for q, own_k, own_v, mask in zip(q_SAHE, *own, mask_SC, strict=True):
        k, v = (torch.cat([c, o.transpose(0, 1)], dim=1) for c, o in zip(common, (own_k, own_v), strict=True))
        seen = torch.cat([mask, torch.ones(len(q), dtype=torch.bool)]).expand(len(q), -1)
        rows.append(plain(q.transpose(0, 1), k, v, seen).transpose(0, 1))
    return torch.stack(rows)
