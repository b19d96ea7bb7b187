"""Pruning: what is kept is what is attended to, kept tokens stay where they were, and keeping everything changes nothing."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from model.released import small_config
from torch import Tensor

from alpamayo_ros.model.language import Cache, Context, causal_mask, rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.sample import State, chooser, write
from alpamayo_ros.model.views import pruning
from alpamayo_ros.model.views.pruning import Reading, most, pruned, relevance, retrieved
from alpamayo_ros.model.vision import Block, Images
from alpamayo_ros.types import Request

IMAGE, START = 599, 7  # ids of <|image_pad|> and <|vision_start|>
GRID, TOKENS, COUNT = (4, 6), 6, 4
BLOCKS = [Block((1, 2, 3), camera, 0) for camera in range(COUNT)]
WORDS = 5  # before the images; twice as many after
LENGTH = WORDS + COUNT * (TOKENS + 1) + 2 * WORDS


@pytest.fixture(scope="module")
def model() -> Iterator[Alpamayo]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        yield Alpamayo(replace(small_config("1.5"), image_token_id=IMAGE)).eval()


def images(seed: int = 0) -> Images:
    patches = torch.rand(COUNT, GRID[0] * GRID[1], 1536, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return Images(patches, GRID, tuple(range(COUNT)), (0,) * COUNT)


def seen(model: Alpamayo, seed: int = 0) -> tuple[Reading, Tensor]:
    """A prompt of words, images and words, as it is read, and the salience of its visual tokens."""
    ids = [*range(10, 10 + WORDS), *([START] + [IMAGE] * TOKENS) * COUNT, *range(20, 20 + 2 * WORDS)]
    token_ids = torch.tensor(ids)
    scene, salience = pruning.see(model.vlm.model.visual, images(seed))
    return Reading(token_ids, rope_positions(token_ids, BLOCKS, IMAGE), scene), salience


def read(model: Alpamayo, reading: Reading, room: int = 0) -> State:
    length = len(reading.token_ids)
    cache = model.cache(1, length + room)
    mask = causal_mask(torch.ones(1, length, dtype=torch.bool), length)
    hidden = model.read(reading.token_ids[None], reading.positions[:, None], cache, mask, reading.scene)
    cache.length = length
    return State(cache, length, (reading.scene, None), model.logits(hidden[:, -1]), int(reading.positions.max()) + 1)


def next_logits(model: Alpamayo, cache: Cache, position: int, mask: Tensor | None = None) -> Tensor:
    return model.logits(model.read(torch.tensor([[40]]), torch.full((3, 1, 1), position), cache, mask))


# ------------------------------------------------------------------------------------------------------------------- prefill


def test_the_scene_is_the_unpruned_models(model: Alpamayo) -> None:
    reading, _ = seen(model)
    scene = model.see(images())
    assert torch.equal(reading.scene.tokens, scene.tokens)
    assert torch.equal(reading.scene.deepstack[0], scene.deepstack[0])


def test_salience_is_the_attention_received_in_the_last_layer(model: Alpamayo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention applied to the identity is the attention itself: (image, head, query, key)."""
    calls = []
    plain = F.scaled_dot_product_attention

    def recorded(q: Tensor, k: Tensor, v: Tensor, attn_mask: None, enable_gqa: bool) -> Tensor:
        assert (attn_mask, enable_gqa) == (None, False)
        calls.append(plain(q, k, torch.eye(k.shape[2]).expand(*k.shape[:3], -1)))
        return plain(q, k, v)

    _, salience = seen(model)
    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    model.see(images())
    received = calls[-1].mean(dim=(1, 2)).view(COUNT, TOKENS, 4).mean(dim=-1)
    torch.testing.assert_close(salience, received, rtol=0, atol=1e-6)
    assert (salience - calls[0].mean(dim=(1, 2)).view(COUNT, TOKENS, 4).mean(dim=-1)).abs().max() > 1e-4


def test_the_highest_scores_stay_and_of_equals_the_first() -> None:
    score = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.5, 0.5, 0.5, 0.5]])
    assert most(score, 0.5).tolist() == [[False, True, False, True], [True, True, False, False]]
    assert most(score, 0.01).sum(dim=1).tolist() == [1, 1]
    assert most(score, 1.0).all()


@pytest.mark.parametrize(("keep", "tokens"), [(0.25, 2), (0.5, 3), (0.75, 4), (1.0, 6)])
def test_every_image_keeps_its_fraction_where_it_was(model: Alpamayo, keep: float, tokens: int) -> None:
    reading, salience = seen(model)
    short = pruned(reading, salience, keep, IMAGE)
    assert len(short.token_ids) == LENGTH - COUNT * (TOKENS - tokens)
    assert (short.token_ids == IMAGE).sum() == len(short.scene.tokens) == len(short.scene.deepstack[0]) == COUNT * tokens
    kept = most(salience, keep)
    assert kept.sum(dim=1).tolist() == [tokens] * COUNT
    is_image = reading.token_ids == IMAGE
    assert torch.equal(short.positions[:, short.token_ids == IMAGE], reading.positions[:, is_image][:, kept.flatten()])
    assert torch.equal(short.positions[:, short.token_ids != IMAGE], reading.positions[:, ~is_image])
    assert torch.equal(short.scene.tokens, reading.scene.tokens[kept.flatten()])


def test_keeping_everything_changes_no_bit(model: Alpamayo) -> None:
    reading, salience = seen(model)
    full, same = read(model, reading, room=1), read(model, pruned(reading, salience, 1.0, IMAGE), room=1)
    assert torch.equal(same.logits, full.logits)
    kept = retrieved(model, reading, full.cache, 1.0)
    assert torch.equal(next_logits(model, kept, full.position), next_logits(model, full.cache, full.position))
    half = read(model, pruned(reading, salience, 0.5, IMAGE), room=1)
    assert (half.logits - full.logits).abs().max() > 1e-3


# -------------------------------------------------------------------------------------------------------------------- decode


def test_relevance_is_the_attention_of_the_words_after_the_images(model: Alpamayo, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = F.scaled_dot_product_attention

    def recorded(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor, enable_gqa: bool) -> Tensor:
        eye = torch.eye(k.shape[2]).expand(*k.shape[:3], -1)
        calls.append(plain(q, k, eye, attn_mask=attn_mask, enable_gqa=enable_gqa))
        return plain(q, k, v, attn_mask=attn_mask, enable_gqa=enable_gqa)

    reading, _ = seen(model)
    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", recorded)
        state = read(model, reading)
    looked = torch.stack(calls)[:, 0, :, -2 * WORDS :].mean(dim=(0, 1, 2))
    torch.testing.assert_close(relevance(model, reading, state.cache), looked, rtol=0, atol=1e-6)


def test_what_was_not_retrieved_is_as_good_as_masked_and_the_cache_stays_whole(model: Alpamayo) -> None:
    reading, _ = seen(model)
    state = read(model, reading, room=2)
    before = state.cache.k.clone()
    kept = retrieved(model, reading, state.cache, 0.25)
    assert kept.length == LENGTH - COUNT * TOKENS * 3 // 4
    assert kept.k.shape[3] == kept.length + 2
    assert torch.equal(state.cache.k, before)
    columns = torch.ones(1, LENGTH + 1, dtype=torch.bool)
    is_image = reading.token_ids == IMAGE
    columns[0, :LENGTH][is_image] = most(relevance(model, reading, state.cache)[is_image], 0.25)
    masked = next_logits(model, state.cache, state.position, causal_mask(columns, 1))
    torch.testing.assert_close(next_logits(model, kept, state.position), masked, rtol=0, atol=1e-5)
    assert (masked - next_logits(model, state.cache, state.position)).abs().max() > 1e-4


def test_losing_the_least_relevant_hurts_the_words_less_than_losing_the_most_relevant(model: Alpamayo) -> None:
    """Over many images the words after them, read again with half of the visual tokens, change less."""

    def change(reading: Reading, state: State, score: Tensor) -> float:
        is_image = reading.token_ids == IMAGE
        columns = torch.ones(1, LENGTH, dtype=torch.bool)
        columns[0, is_image] = most(score[is_image], 0.5)
        start = LENGTH - 2 * WORDS
        before = Context(state.cache.k[:, :, :, :start], state.cache.v[:, :, :, :start])
        ids, positions = reading.token_ids[None, start:], reading.positions[:, None, start:]
        full, fewer = (
            model.read(ids, positions, before, causal_mask(keep, 2 * WORDS)) for keep in (torch.ones_like(columns), columns)
        )
        return float((full - fewer).norm())

    changes = []
    for seed in range(20):
        reading, _ = seen(model, seed)
        state = read(model, reading)
        score = relevance(model, reading, state.cache)
        changes.append((change(reading, state, score), change(reading, state, -score)))
    less = sum(kept < lost for kept, lost in changes)
    assert less >= 18, f"in {less} of 20: {changes}"


def test_a_seed_decides_what_a_pruned_model_writes(model: Alpamayo) -> None:
    def written(seed: int, prefill_keep: float, decode_keep: float) -> list[int]:
        reading, salience = seen(model)
        reading = pruned(reading, salience, prefill_keep, IMAGE)
        state = read(model, reading, room=8)
        cache = retrieved(model, reading, state.cache, decode_keep)
        generator = torch.Generator().manual_seed(seed)
        choose = chooser(Request(greedy=False, seed=seed), 1, 8, generator)
        return write(model, state._replace(cache=cache, length=cache.length), 1, choose, {0}, 8).tokens[0].tolist()

    assert written(1, 0.5, 0.5) == written(1, 0.5, 0.5)
    assert written(2, 0.5, 0.5) != written(1, 0.5, 0.5)
