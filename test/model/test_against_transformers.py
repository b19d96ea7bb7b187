"""Vision, language model and network against transformers' Qwen3-VL, with random weights of a shape of their own.

Three deepstack features, four query heads to a key-value head, images that are not square, and a batch of two rows with
different numbers of images, the shorter one padded on the left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from model.released import small_json
from torch import Tensor

from alpamayo_ros.bundle.config import parse_config
from alpamayo_ros.model.language import causal_mask, rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Block, Images

IMAGE, START, END, PAD = 590, 591, 592, 0
GRID = (4, 6)  # patches: 2 x 3 tokens
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}  # float32, logits of size 1


class Pair(NamedTuple):
    ours: Alpamayo
    theirs: Any  # Qwen3VLForConditionalGeneration


class Batch(NamedTuple):
    ids: Tensor  # (2, L)
    keep: Tensor  # (2, L) bool
    images: Images


def stored_json() -> dict[str, Any]:
    stored = small_json("1.5")
    backbone = stored["vlm_config"]
    backbone |= {"image_token_id": IMAGE, "vision_start_token_id": START, "vision_end_token_id": END, "video_token_id": 593}
    text, vision = backbone["text_config"], backbone["vision_config"]
    text |= {"num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": stored["vocab_size"], "dtype": "float32"}
    text |= {"bos_token_id": 1, "eos_token_id": 2}  # of Qwen's own vocabulary they would lie beyond this one
    vision |= {"depth": 4, "deepstack_visual_indexes": [0, 2, 3]}
    return stored


def shaken(model: torch.nn.Module) -> None:
    """Random weights at a scale that keeps logits near 1; norms and biases too, which their own initialisation leaves flat."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = parameter.data * (parameter.ndim == 1) + noise * (0.1 if parameter.ndim == 1 else 0.15)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration  # seconds

    torch.set_num_threads(1)
    stored = stored_json()
    with torch.inference_mode():
        theirs = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**stored["vlm_config"])).eval()
        shaken(theirs)
        ours = Alpamayo(parse_config(stored, stored["vlm_config"], "random")).eval()
        ours.vlm.load_state_dict(theirs.state_dict())  # strict: the same names and shapes
        yield Pair(ours, theirs)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two rows with 3 images and 1, the same number of words before and after, padding on the left of the second."""
    generator = torch.Generator().manual_seed(1)
    image = [START, *[IMAGE] * 6, END]
    rows = [[11, 12, *image, 13, *image, *image, 14, 15, 16], [21, *image, 22, 23]]
    length = max(map(len, rows))
    ids = torch.tensor([[PAD] * (length - len(row)) + row for row in rows])
    keep = torch.tensor([[False] * (length - len(row)) + [True] * len(row) for row in rows])
    patches = torch.rand(4, GRID[0] * GRID[1], 1536, generator=generator) * 2 - 1
    return Batch(ids, keep, Images(patches, GRID, (0, 1, 2, 0), (0, 0, 0, 1)))


def positions(batch: Batch) -> Tensor:
    """(3, 2, L) as transformers counts them; what stands on padding means nothing and is left at its place."""
    found = torch.zeros(3, *batch.ids.shape, dtype=torch.long)
    for row, (ids, keep) in enumerate(zip(batch.ids, batch.keep, strict=True)):
        count = int((ids == IMAGE).sum()) // 6
        found[:, row, keep] = rope_positions(ids[keep], [Block((1, 2, 3), None, None)] * count, IMAGE)
    return found


def their_inputs(batch: Batch) -> dict[str, Tensor]:
    return {
        "input_ids": batch.ids,
        "attention_mask": batch.keep.long(),
        "mm_token_type_ids": (batch.ids == IMAGE).int(),  # without it positions would silently be those of plain text
        "image_grid_thw": torch.tensor([[1, *GRID]] * 4),
    }


def their_logits(pair: Pair, batch: Batch) -> Tensor:
    return pair.theirs(**their_inputs(batch), pixel_values=batch.images.patches.flatten(0, 1)).logits


def our_logits(pair: Pair, batch: Batch) -> Tensor:
    length = batch.ids.shape[1]
    cache, mask = pair.ours.cache(2, length), causal_mask(batch.keep, length)
    return pair.ours.logits(pair.ours.read(batch.ids, positions(batch), cache, mask, pair.ours.see(batch.images)))


def test_tokens_and_deepstack_features_are_theirs(pair: Pair, batch: Batch) -> None:
    scene = pair.ours.see(batch.images)
    theirs = pair.theirs.model.visual(batch.images.patches.flatten(0, 1), torch.tensor([[1, *GRID]] * 4))
    torch.testing.assert_close(scene.tokens, theirs.pooler_output, **TOLERANCE)
    assert len(scene.deepstack) == 3
    for ours, feature in zip(scene.deepstack, theirs.deepstack_features, strict=True):
        torch.testing.assert_close(ours, feature, **TOLERANCE)


def test_positions_are_theirs(pair: Pair, batch: Batch) -> None:
    theirs, _ = pair.theirs.model.get_rope_index(**their_inputs(batch))
    assert torch.equal(positions(batch)[:, batch.keep], theirs[:, batch.keep])


def test_logits_of_a_padded_batch_are_theirs(pair: Pair, batch: Batch) -> None:
    theirs = their_logits(pair, batch)[batch.keep]
    assert 0.5 < theirs.std() < 5
    torch.testing.assert_close(our_logits(pair, batch)[batch.keep], theirs, **TOLERANCE)


@pytest.mark.parametrize(
    "weight",
    [
        "model.visual.deepstack_merger_list.2.linear_fc2.weight",
        "model.visual.blocks.1.norm2.bias",
        "model.visual.pos_embed.weight",
        "model.language_model.layers.3.self_attn.k_norm.weight",
        "lm_head.weight",
    ],
)
def test_the_comparison_can_fail(pair: Pair, batch: Batch, weight: str) -> None:
    """One number of one weight, a thousandth off."""
    number = pair.ours.vlm.get_parameter(weight).view(-1)[7:8]
    kept = number.clone()
    number += 1e-3
    difference = (our_logits(pair, batch) - their_logits(pair, batch))[batch.keep].abs().max()
    number.copy_(kept)
    assert difference > TOLERANCE["atol"]


def test_decoding_from_the_cache_equals_reading_it_all(pair: Pair, batch: Batch) -> None:
    """Words after the images, read one by one from the cache, against transformers reading the whole batch at once."""
    ours, (ids, keep, images) = pair.ours, batch
    length, start = ids.shape[1], ids.shape[1] - 2  # both rows end with two words
    cache, where = ours.cache(2, length), positions(batch)
    ours.read(ids[:, :start], where[:, :, :start], cache, causal_mask(keep[:, :start], start), ours.see(images))
    logits = []
    for at in range(start, length):
        cache.length = at
        mask = causal_mask(keep[:, : at + 1], 1)
        logits.append(ours.logits(ours.read(ids[:, at : at + 1], where[:, :, at : at + 1], cache, mask)))
    torch.testing.assert_close(torch.cat(logits, dim=1), their_logits(pair, batch)[:, start:], **TOLERANCE)
