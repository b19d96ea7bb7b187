"""The network against what the public reference computed with a tiny checkpoint in the released layout."""

from collections.abc import Iterator

import pytest
import torch
from model.reference import needs_vectors, tensors, tiny_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from alpamayo_ros.model import flow
from alpamayo_ros.model.language import Cache, causal_mask, rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Block, Images
from alpamayo_ros.types import HORIZON

pytestmark = needs_vectors

BLOCKS = [Block((1, 2, 3), None, None)] * 4
PROMPT = 277


@pytest.fixture(scope="module")
def model() -> Iterator[Alpamayo]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield tiny_model()


def images(pixels: Tensor) -> Images:
    return Images(pixels.view(-1, 24, 1536), (4, 6), (), ())


def read_prompt(model: Alpamayo) -> tuple[Tensor, Cache, Tensor]:
    """Hidden states, cache and positions of the recorded prompt."""
    stored = tensors("model/prefill.npz")
    ids = stored["fused_ids"]
    positions = rope_positions(ids[0], BLOCKS, model.config.image_token_id)[:, None]
    cache = model.cache(1, 400)
    mask = causal_mask(torch.ones(1, PROMPT, dtype=torch.bool), PROMPT)
    hidden = model.read(ids, positions, cache, mask, model.see(images(stored["pixel_values"])))
    cache.length = PROMPT
    return hidden, cache, positions


def test_vision_is_the_reference(model: Alpamayo) -> None:
    stored = tensors("model/prefill.npz")
    scene = model.see(images(stored["pixel_values"]))
    torch.testing.assert_close(scene.tokens, stored["image_embeds"], rtol=0, atol=1e-5)
    torch.testing.assert_close(scene.deepstack[0], stored["deepstack_0"], rtol=0, atol=1e-5)


def test_prefill_is_the_reference(model: Alpamayo) -> None:
    stored = tensors("model/prefill.npz")
    hidden, cache, positions = read_prompt(model)
    logits = model.logits(hidden)
    assert torch.equal(positions, stored["position_ids"])
    assert torch.equal(logits.argmax(-1), stored["prefill_logits_argmax"])
    torch.testing.assert_close(logits[:, -4:], stored["prefill_logits_last4"], rtol=0, atol=1e-5)
    for layer in range(2):
        torch.testing.assert_close(cache.k[layer, :, :, :PROMPT], stored[f"prefill_k{layer}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(cache.v[layer, :, :, :PROMPT], stored[f"prefill_v{layer}"], rtol=0, atol=1e-5)


def read_words(model: Alpamayo) -> tuple[Cache, dict[str, Tensor]]:
    """The recorded words, read one by one after the prompt."""
    stored = tensors("model/rollout_greedy.npz")
    _, cache, positions = read_prompt(model)
    for index, token in enumerate(stored["sequences_raw"][0, PROMPT : int(stored["kv_len"])]):
        model.read(token.view(1, 1), (positions.max() + 1 + index).expand(3, 1, 1), cache, None)
        cache.length += 1
    return cache, stored


def test_words_read_one_by_one_leave_the_reference_s_keys_and_values(model: Alpamayo) -> None:
    cache, stored = read_words(model)
    for layer in range(2):
        torch.testing.assert_close(cache.context().k[layer], stored[f"kv_k{layer}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(cache.context().v[layer], stored[f"kv_v{layer}"], rtol=0, atol=1e-5)


def test_every_velocity_of_the_flow_is_the_reference(model: Alpamayo) -> None:
    """Each Euler step from the recorded point: Fourier features to 100 Hz would multiply an earlier step's error."""
    cache, stored = read_words(model)
    steps, mask = stored["action_steps"], stored["expert_attention_mask"] == 0
    for n in range(10):
        velocity = model.velocity(steps[:, n], stored["t"][n : n + 1], stored["expert_position_ids"], cache.context(), mask)
        torch.testing.assert_close(velocity * 0.1, steps[:, n + 1] - steps[:, n], rtol=0, atol=1e-5)


def test_the_whole_flow_is_the_reference_and_a_wrong_mask_is_not(model: Alpamayo) -> None:
    cache, stored = read_words(model)
    positions = stored["expert_position_ids"]

    def actions(mask: Tensor) -> Tensor:
        def velocity(x: Tensor, t: float) -> Tensor:
            return model.velocity(x, torch.tensor([t]), positions, cache.context(), mask)

        return flow.euler(velocity, stored["x0"], 10)[-1]

    everything = torch.ones(1, 1, 1, int(stored["kv_len"]) + HORIZON, dtype=torch.bool)
    torch.testing.assert_close(actions(everything), stored["action_steps"][:, -1], rtol=0, atol=1e-4)
    causal = causal_mask(everything[:, 0, 0], HORIZON)
    assert (actions(causal) - stored["action_steps"][:, -1]).abs().max() > 1e-2


def teacher_forced(model: Alpamayo) -> tuple[Tensor, Cache, Tensor, dict[str, Tensor]]:
    """Hidden states of the recorded training batch: left-padded rows with images, reasoning and action tokens."""
    stored = tensors("model/sft.npz")
    ids, keep = stored["fused_ids"], stored["attention_mask"].bool()
    rows, length = ids.shape
    positions = torch.ones(3, rows, length, dtype=torch.long)
    for row in range(rows):
        positions[:, row, keep[row]] = rope_positions(ids[row, keep[row]], BLOCKS, model.config.image_token_id)
    cache = model.cache(rows, length)
    hidden = model.read(ids, positions, cache, causal_mask(keep, length), model.see(images(stored["pixel_values"])))
    cache.length = length
    return hidden, cache, positions, stored


def test_the_loss_of_stage_1_is_the_reference_s(model: Alpamayo) -> None:
    hidden, _, _, stored = teacher_forced(model)
    logits, ids, labelled = model.logits(hidden)[:, :-1], stored["fused_ids"][:, 1:], stored["labels_mask"][:, 1:]
    first, config = model.config.traj_token_start, model.config
    ends = torch.tensor([config.token_ids["future_start"], config.token_ids["future_end"]])
    trajectory = ((ids >= first) & (ids < first + config.traj_vocab_size)) | torch.isin(ids, ends)
    parts = [cross_entropy(logits[where], ids[where]) for where in (labelled & trajectory, labelled & ~trajectory)]
    torch.testing.assert_close(logits[:, -7:], stored["stage1_logits_last8"][:, :-1], rtol=0, atol=1e-5)
    assert sum(parts).item() == pytest.approx(stored["stage1_loss"].item(), rel=1e-4)


@pytest.mark.parametrize(("name", "causal"), [("bidirectional_expert", False), ("as_run_sdpa_causal_expert", True)])
def test_the_loss_of_stage_2_is_the_reference_s(model: Alpamayo, name: str, causal: bool) -> None:
    _, cache, positions, stored = teacher_forced(model)
    start = stored["fused_ids"][-1].tolist().index(model.config.token_ids["future_start"]) + 1
    cache.length = start
    keep = torch.cat([stored["attention_mask"][:, :start].bool(), torch.ones(2, HORIZON, dtype=torch.bool)], dim=1)
    mask = causal_mask(keep, HORIZON) if causal else keep[:, None, None]
    action, noise, t = stored["stage2_action"].squeeze(1), stored["stage2_noise"], stored["stage2_t"]
    own = positions[:, :, start - 1 : start] + 1 + torch.arange(HORIZON)
    predicted = model.velocity(flow.noisy(action, noise, t), t, own, cache.context(), mask)
    torch.testing.assert_close(predicted, stored[f"stage2_pred_{name}"], rtol=0, atol=1e-4)
    loss = flow.loss(predicted, action, noise).item()
    assert loss == pytest.approx(stored[f"stage2_loss_{name}"].item(), rel=1e-4)
