"""Visual tokens left out without training, after SparseVILA (arXiv 2510.17777).

Before reading, whatever will be asked: each image keeps the tokens that the vision tower itself attends to. Before writing,
for what is asked: of the keys and values of the visual tokens only those stay that the words after the images attend to.
Kept tokens keep their positions. With everything kept, nothing changes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.model import language, vision
from alpamayo_ros.model.language import Cache, Context, causal_mask, rotary
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images, Scene, Vision, turned


class Reading(NamedTuple):
    """A prompt as it is read."""

    token_ids: Tensor  # (L,)
    positions: Tensor  # (3, L)
    scene: Scene


def see(tower: Vision, images: Images) -> tuple[Scene, Tensor]:
    """The scene of single images, and the salience (n, T) of their tokens.

    Salience is the attention that a token's patches receive in the last layer, in the mean over heads and queries.
    """
    patches = images.patches.to(tower.pos_embed.weight.device)
    hidden = tower.hidden(patches, images.grid)
    last, rope = tower.blocks[-1], tower.rotary(images.grid, patches.device)
    assert isinstance(last, vision.Layer)
    queries, keys, _ = last.attn.queries_keys_values(last.norm1(hidden[-2]), rope)
    received = [_attention(q, k, None).mean(dim=(0, 1)) for q, k in zip(queries, keys, strict=True)]  # image by image: P x P
    salience = torch.stack(received).unflatten(1, (-1, tower.config.spatial_merge_size**2)).mean(dim=-1)
    tokens, deepstack = tower.tokens(hidden)
    return Scene(tokens.flatten(0, 1), tuple(feature.flatten(0, 1) for feature in deepstack)), salience


def pruned(reading: Reading, salience: Tensor, keep: float, image_token_id: int) -> Reading:
    """The prompt with this fraction of the placeholders of each image, the most salient; salience (n, T) in prompt order."""
    kept = most(salience, keep).flatten()
    rows = torch.ones_like(reading.token_ids, dtype=torch.bool)
    rows[reading.token_ids == image_token_id] = kept.to(rows.device)
    scene = Scene(reading.scene.tokens[kept], tuple(feature[kept] for feature in reading.scene.deepstack))
    return Reading(reading.token_ids[rows], reading.positions[:, rows], scene)


def most(score: Tensor, keep: float) -> Tensor:
    """True (..., N) for the fraction of the N with the highest score, at least one; of equals the first."""
    count = max(1, round(keep * score.shape[-1]))
    order = score.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros_like(score, dtype=torch.bool).scatter(-1, order, True)  # noqa: FBT003


def retrieved(model: Alpamayo, reading: Reading, cache: Cache, keep: float) -> Cache:
    """What is left to attend to of a prompt's cache of one row: all words, and this fraction of the visual tokens.

    The cache itself stays whole, for another question. The words after the images are read once more to see where they look.
    """
    if keep == 1.0:
        return cache
    visual = (reading.token_ids == model.config.image_token_id).to(cache.k.device)
    columns = torch.ones(cache.k.shape[3], dtype=torch.bool, device=cache.k.device)  # what is not written yet included
    columns[: len(visual)][visual] = most(relevance(model, reading, cache)[visual], keep)
    return Cache(cache.k[:, :, :, columns], cache.v[:, :, :, columns], int(columns[: cache.length].sum()))


def relevance(model: Alpamayo, reading: Reading, cache: Cache) -> Tensor:
    """Attention (L,) that each token of a read prompt gets from the words after the images, mean over layers and heads."""
    decoder, length = model.vlm.model.language_model, len(reading.token_ids)
    start = int((reading.token_ids == model.config.image_token_id).nonzero().max()) + 1
    before = Context(cache.k[:, :, :, :start], cache.v[:, :, :, :start])
    mask = causal_mask(torch.ones(1, length, dtype=torch.bool, device=model.device), length - start)
    rope = rotary(reading.positions[:, None, start:].to(model.device), decoder.config)
    x_BLD = decoder.embed_tokens(reading.token_ids[None, start:].to(model.device))
    total = torch.zeros(length, device=model.device)
    for i, layer in enumerate(decoder.layers):
        assert isinstance(layer, language.Layer)
        own = layer.self_attn
        q = own.q_norm(own.q_proj(layer.input_layernorm(x_BLD)).unflatten(-1, (-1, own.head_dim))).transpose(1, 2)
        keys = cache.k[i, :, :, :length].repeat_interleave(q.shape[1] // cache.k.shape[2], dim=1)
        total += _attention(turned(q, *rope), keys, mask).mean(dim=(0, 1, 2))
        x_BLD = layer(x_BLD, rope, before, i, mask)
    return total / len(decoder.layers)


def _attention(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """(..., queries, keys) float32: how much each query attends to each key."""
    scores = (q @ k.mT).float() / q.shape[-1] ** 0.5
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(dim=-1)
