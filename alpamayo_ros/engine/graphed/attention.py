"""Attention over keys and values that lie in slots, in any order: positions are in the keys, and a mask says which slots count.

Shapes: L or M new tokens, C slots, H heads, G key-value heads, R = H / G, E size of a head, S samples, A actions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right


def causal(q_LHE: Tensor, keys_GCE: Tensor, values_GCE: Tensor) -> Tensor:
    """(L, H, E): the last L of C slots in order, each looking at itself and everything before."""
    length, total = len(q_LHE), keys_GCE.shape[1]
    q, k, v = q_LHE.transpose(0, 1)[None], keys_GCE[None], values_GCE[None]
    if length == total:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    else:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(length, total), enable_gqa=True)
    return y[0].transpose(0, 1)


def masked(q_MHE: Tensor, keys_GCE: Tensor, values_GCE: Tensor, mask_MC: Tensor) -> Tensor:
    """(M, H, E): few tokens, each looking at the slots of its own mask. The heads of a group are rows of one product."""
    weights = _scores(_grouped(q_MHE, len(keys_GCE)), keys_GCE).unflatten(1, (-1, len(q_MHE)))
    weights = weights.masked_fill(~mask_MC, -torch.inf).softmax(dim=-1).to(values_GCE.dtype)
    return _ungrouped(weights.flatten(1, 2) @ values_GCE, len(q_MHE))


def shared(
    q_SAHE: Tensor, own_keys_SAGE: Tensor, own_values_SAGE: Tensor, keys_GCE: Tensor, values_GCE: Tensor, mask_SC: Tensor
) -> Tensor:
    """(S, A, H, E): the actions of each sample look at each other, and at the slots that the sample's mask names.

    What all samples look at is there once. The softmax goes over both parts without joining them (Milakov and Gimelshein,
    arXiv 1805.02867).
    """
    samples, actions = q_SAHE.shape[:2]
    groups = len(keys_GCE)
    q_GRSAE = q_SAHE.unflatten(2, (groups, -1)).permute(2, 3, 0, 1, 4)
    common = _scores(q_GRSAE.flatten(1, 3), keys_GCE).unflatten(1, (-1, samples, actions))
    common = common.masked_fill(~mask_SC[:, None], -torch.inf)
    own_keys, own_values = (x.permute(2, 0, 1, 3).flatten(0, 1) for x in (own_keys_SAGE, own_values_SAGE))  # (G S, A, E)
    q_own = q_GRSAE.transpose(1, 2).flatten(0, 1).flatten(1, 2)  # (G S, R A, E)
    own = _scores(q_own, own_keys).unflatten(0, (groups, samples)).unflatten(2, (-1, actions)).transpose(1, 2)
    largest = torch.maximum(common.amax(-1, keepdim=True), own.amax(-1, keepdim=True))
    common, own = (common - largest).exp(), (own - largest).exp()
    whole = common.sum(-1, keepdim=True) + own.sum(-1, keepdim=True)
    y = (common.flatten(1, 3).to(values_GCE.dtype) @ values_GCE).view(*q_GRSAE.shape).float()
    found = own.transpose(1, 2).flatten(2, 3).flatten(0, 1).to(values_GCE.dtype) @ own_values
    y = y + found.unflatten(0, (groups, samples)).unflatten(2, (-1, actions)).transpose(1, 2)
    return (y / whole).to(values_GCE.dtype).permute(2, 3, 0, 1, 4).flatten(2, 3)


def joined(
    q_SAHE: Tensor, own_keys_SAGE: Tensor, own_values_SAGE: Tensor, keys_GCE: Tensor, values_GCE: Tensor, mask_SC: Tensor
) -> Tensor:
    """The same as `shared`, with keys and values of both parts copied side by side for each sample: quicker on a CPU."""
    samples, actions = q_SAHE.shape[:2]
    parts = ((keys_GCE, own_keys_SAGE), (values_GCE, own_values_SAGE))
    k, v = (torch.cat([common.expand(samples, -1, -1, -1), own.transpose(1, 2)], dim=2) for common, own in parts)
    mask = torch.cat([mask_SC, mask_SC.new_ones(samples, actions)], dim=1)[:, None, None]
    return F.scaled_dot_product_attention(q_SAHE.transpose(1, 2), k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def _grouped(q_MHE: Tensor, groups: int) -> Tensor:
    """(G, R M, E): heads that share keys as rows."""
    return q_MHE.unflatten(1, (groups, -1)).permute(1, 2, 0, 3).flatten(1, 2)


def _ungrouped(y: Tensor, tokens: int) -> Tensor:
    """(G, R M, E) back to (M, H, E)."""
    return y.unflatten(1, (-1, tokens)).permute(2, 0, 1, 3).flatten(1, 2)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """(N, rows, columns) float32 of queries (N, rows, E) and keys (N, columns, E), scaled."""
    scale = q.shape[-1] ** -0.5
    if q.is_cuda and q.dtype != torch.float32:
        return torch.bmm(q, k.transpose(1, 2), out_dtype=torch.float32) * scale  # rounded scores would not be the reference's
    return (q @ k.transpose(1, 2)).float() * scale
