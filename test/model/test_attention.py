"""Attention by plain products is torch's own, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from alpamayo_ros.model import attention
from alpamayo_ros.model.attention import attend, by_products

LENGTH, OTHERS, SIZE = 5, 9, 8


def drawn(heads: int, groups: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(heads)
    shapes = ((2, heads, LENGTH, SIZE), (2, groups, OTHERS, SIZE), (2, groups, OTHERS, SIZE))
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


MASKS = {
    "everything": None,
    "causal": torch.ones(LENGTH, OTHERS, dtype=torch.bool).tril(OTHERS - LENGTH)[None, None],
    "a row each": (torch.arange(OTHERS) < torch.tensor([4, 9])[:, None])[:, None, None],
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=list(MASKS))
@pytest.mark.parametrize(("heads", "groups"), [(6, 3), (4, 4), (4, 1)])
def test_values_and_gradients_are_those_of_torch(heads: int, groups: int, mask: Tensor | None) -> None:
    q, k, v = drawn(heads, groups)
    ours, theirs = by_products(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_products_are_for_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(attention, "by_products", lambda *parts: (asked.append(True), by_products(*parts))[1])
    q, k, v = drawn(4, 2)
    attend(q, k, v)
    with torch.no_grad():
        attend(*(part.detach() for part in (q, k, v)))
    assert asked == [True]


def test_another_scale_would_be_found() -> None:
    q, k, v = drawn(4, 2)
    assert not torch.allclose(by_products(2 * q, k, v, None), by_products(q, k, v, None), atol=1e-3)
