"""Attention of grouped heads: by torch's own kernel, and by plain products where a CPU is to differentiate it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q_BHLE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, H, L, E): what L tokens find among S, where a mask (bool, broadcast to (B, 1, L, S)) lets them look.

    On a CPU the kernel's backward pass takes half as long again as that of the products (docs/log.md); what comes out differs
    by rounding.
    """
    if q_BHLE.requires_grad and not q_BHLE.is_cuda:
        return by_products(q_BHLE, k_BGSE, v_BGSE, mask)
    grouped = q_BHLE.shape[1] != k_BGSE.shape[1]  # exporters want it said only where it is so
    return F.scaled_dot_product_attention(q_BHLE, k_BGSE, v_BGSE, attn_mask=mask, enable_gqa=grouped)


def by_products(q_BHLE: Tensor, k_BGSE: Tensor, v_BGSE: Tensor, mask: Tensor | None) -> Tensor:
    """The same, by its definition. The heads of a group are rows of one product."""
    batch, heads, length, size = q_BHLE.shape
    groups = k_BGSE.shape[1]
    grouped = (q_BHLE * size**-0.5).unflatten(1, (groups, -1)).flatten(2, 3).flatten(0, 1)
    scores = torch.bmm(grouped, k_BGSE.flatten(0, 1).transpose(1, 2)).view(batch, groups, heads // groups, length, -1)
    if mask is not None:
        hidden = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
        scores = scores + hidden.unsqueeze(2)
    found = torch.bmm(scores.softmax(dim=-1).view(batch * groups, -1, scores.shape[-1]), v_BGSE.flatten(0, 1))
    return found.view(batch, heads, length, -1)
