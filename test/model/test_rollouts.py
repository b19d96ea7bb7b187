"""Whole rollouts against the public reference: recorded words are forced, everything else is computed.

`vectors/` was made by running NVlabs/alpamayo (sampled_rollout) and NVlabs/alpamayo1.5 (the others) on CPU with the tiny
checkpoint; numbers only.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from model.reference import VECTORS, needs_vectors, tiny_config, tiny_model
from torch import Tensor

from alpamayo_ros import dynamics
from alpamayo_ros.model import sample as sampling
from alpamayo_ros.model.flow import euler, guided
from alpamayo_ros.model.language import causal_mask, rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt, without_route
from alpamayo_ros.model.sample import Choose, State, Written
from alpamayo_ros.model.tokens import Tokenizer, read_tokenizer
from alpamayo_ros.model.vision import Block, Images
from alpamayo_ros.types import HORIZON, Request

pytestmark = needs_vectors


@pytest.fixture(scope="module")
def model() -> Iterator[Alpamayo]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield tiny_model()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return read_tokenizer(VECTORS / "model" / "tokenizer", tiny_config())


def recorded(name: str) -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "vectors" / name) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def prompt_of(ids: Tensor, pixels: Tensor, count: int) -> Prompt:
    images = Images(pixels.view(count, 24, 1536), (4, 6), tuple(range(count)), (0,) * count)
    return Prompt(ids, images, [Block((1, 2, 3), None, None)] * count)


def forced(words: Tensor) -> Choose:
    return lambda _, index: words[:, index]


def read_and_write(model: Alpamayo, stored: dict[str, Tensor], prompt: Prompt) -> tuple[State, Written]:
    """Prefill, then the recorded words."""
    words = stored["sequences_raw"][:, int(stored["prompt_len"]) : int(stored["kv_len"])]
    state = sampling.prefill(model, prompt, words.shape[1])
    ends = {model.config.token_ids["future_start"]}
    return state, sampling.write(model, state, len(words), forced(words), ends, words.shape[1])


def check_flow(velocity: object, stored: dict[str, Tensor], steps: Tensor, velocities: Tensor) -> None:
    """Every velocity at its recorded point, and the whole path from the noise."""
    for n, t in enumerate(stored["t"][:-1].tolist()):
        torch.testing.assert_close(velocity(steps[:, n], t), velocities[:, n], rtol=0, atol=2e-5)
    path = euler(velocity, stored["x0"], len(stored["t"]) - 1)
    torch.testing.assert_close(path[-1], steps[:, -1], rtol=0, atol=1e-4)


def check_trajectories(actions: Tensor, stored: dict[str, Tensor], name: str, model: Alpamayo) -> None:
    """Rolled out by `dynamics`, the actions are the reference's points."""
    history = stored["hist_xyz"][0, 0].numpy(), stored["hist_rot"][0, 0].numpy()
    v0_mps = dynamics.estimate_v0(*history, model.config.action_space)
    for action, xyz in zip(actions.numpy(), stored[name].flatten(0, 2).numpy(), strict=True):
        ours = dynamics.rollout(action, v0_mps, float(history[0][-1, 2]), model.config.action_space)
        np.testing.assert_allclose(ours.xyz, xyz, rtol=0, atol=2e-3)


def sampled(model: Alpamayo) -> tuple[State, Written, dict[str, Tensor]]:
    """Alpamayo-R1: three samples, each with words of its own length."""
    stored = recorded("sampled_rollout.npz")
    return *read_and_write(model, stored, prompt_of(stored["fused_ids"][0], stored["pixel_values"], 4)), stored


def test_rows_of_different_length_leave_the_reference_s_keys_and_values(model: Alpamayo) -> None:
    state, written, stored = sampled(model)
    assert [state.length + length for length in written.lengths] == stored["offset"].tolist()
    columns = slice(state.length, int(stored["kv_len"]))
    for layer in range(2):
        torch.testing.assert_close(written.cache.k[layer, :, :, columns], stored[f"generated_k{layer}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(written.cache.v[layer, :, :, columns], stored[f"generated_v{layer}"], rtol=0, atol=1e-5)


def test_each_row_flows_after_its_own_words(model: Alpamayo) -> None:
    state, written, stored = sampled(model)
    seen = sampling.conditioning(written, state)
    assert torch.equal(seen.positions, stored["expert_position_ids"])
    assert torch.equal(seen.mask.expand(-1, -1, HORIZON, -1), stored["expert_attention_mask"] == 0)
    check_flow(sampling._velocity(model, seen), stored, stored["action_steps"], stored["velocity"])
    check_trajectories(stored["action_steps"][:, -1], stored, "pred_xyz", model)


def test_a_row_that_sees_another_row_s_length_is_not_the_reference(model: Alpamayo) -> None:
    state, written, stored = sampled(model)
    seen = sampling.conditioning(written, state)
    swapped = sampling._velocity(model, seen._replace(mask=seen.mask.flip(0)))
    with pytest.raises(AssertionError, match="not close"):
        check_flow(swapped, stored, stored["action_steps"], stored["velocity"])


@pytest.mark.parametrize(("weight", "name"), [(1.5, "w1p5"), (3.0, "w3p0")])
def test_guidance_towards_navigation(model: Alpamayo, tokenizer: Tokenizer, weight: float, name: str) -> None:
    stored = recorded("nav_guidance.npz")
    prompt = prompt_of(stored["fused_ids"][0], stored["pixel_values"], 4)
    plain = without_route(prompt, tokenizer)
    assert torch.equal(plain.token_ids, stored["unguided_ids"][0])
    state, written = read_and_write(model, stored, prompt)
    seen, unguided = sampling.conditioning(written, state), sampling._reread(model, plain, written, state)
    assert torch.equal(unguided.positions, stored["unguided_position_ids"])
    velocities = {"guided": sampling._velocity(model, seen), "unguided": sampling._velocity(model, unguided)}
    steps = stored[f"action_steps_{name}"]
    for which, velocity in velocities.items():
        for n, t in enumerate(stored["t"][:-1].tolist()):
            recorded_velocity = stored[f"velocity_{which}_{name}"][:, n]
            torch.testing.assert_close(velocity(steps[:, n], t), recorded_velocity, rtol=0, atol=2e-5)
    path = euler(guided(velocities["guided"], velocities["unguided"], weight), stored["x0"], 10)
    torch.testing.assert_close(path[-1], steps[:, -1], rtol=0, atol=1e-4)


def test_a_left_padded_batch_of_prompts(model: Alpamayo) -> None:
    """Alpamayo-1.5: three prompts of different length; padding is on the left and nobody looks at it."""
    stored = recorded("left_padded_15.npz")
    ids, keep = stored["fused_ids"], stored["attention_mask"].bool()
    rows, length = ids.shape
    positions = torch.ones(3, rows, length, dtype=torch.long)
    for row in range(rows):
        blocks = [Block((1, 2, 3), None, None)] * (int((ids[row] == model.config.image_token_id).sum()) // 6)
        positions[:, row, keep[row]] = rope_positions(ids[row, keep[row]], blocks, model.config.image_token_id)
    assert torch.equal(positions[:, keep], stored["position_ids"][:, keep])
    cache = model.cache(rows, int(stored["kv_len"]))
    scene = model.see(Images(stored["pixel_values"].view(-1, 24, 1536), (4, 6), (), ()))
    hidden = model.read(ids, positions, cache, causal_mask(keep, length), scene)
    cache.length = length
    torch.testing.assert_close(model.logits(hidden[:, -1]), stored["prefill_logits_last"], rtol=0, atol=1e-5)
    after = positions.amax(dim=(0, 2)) + 1
    for index, words in enumerate(stored["sequences_raw"][:, length : int(stored["kv_len"])].T):
        keep = torch.cat([keep, keep.new_ones(rows, 1)], dim=1)
        model.read(words[:, None], (after + index).expand(3, -1)[..., None], cache, causal_mask(keep, 1))
        cache.length += 1
    sees = (keep & (torch.arange(cache.length) < stored["offset"][:, None]))[:, None, None]
    mask = torch.cat([sees, sees.new_ones(rows, 1, 1, HORIZON)], dim=-1)
    own = ((after + stored["offset"] - length)[:, None] + torch.arange(HORIZON)).expand(3, -1, -1)
    assert torch.equal(own, stored["expert_position_ids"])
    assert torch.equal(mask.expand(-1, -1, HORIZON, -1), stored["expert_attention_mask"] == 0)
    velocity = sampling._velocity(model, sampling.Conditioning(cache.context(), own, mask))
    check_flow(velocity, stored, stored["action_steps"], stored["velocity"])


def test_a_trajectory_at_once_without_reasoning(model: Alpamayo) -> None:
    stored = {key.removeprefix("traj_"): value for key, value in recorded("vqa_15.npz").items()}
    state = sampling.prefill(model, prompt_of(stored["fused_ids"][0], stored["pixel_values"], 4), room=1)
    nothing = Written(state.cache, torch.empty(1, 0, dtype=torch.long), (0,), (model.config.token_ids["future_start"],))
    seen = sampling.conditioning(nothing, state)
    assert torch.equal(seen.positions.expand(-1, 2, -1), stored["expert_position_ids"])
    check_flow(sampling._velocity(model, seen), stored, stored["action_steps"], stored["velocity"])
    check_trajectories(stored["action_steps"][:, -1], stored, "pred_xyz", model)


@pytest.mark.parametrize("row", [0, 1])
def test_greedy_answers_are_the_reference_s_token_for_token(model: Alpamayo, row: int) -> None:
    """Alpamayo-1.5, two questions of different length about four images each; nothing is barred and nothing forced."""
    stored = {key.removeprefix("vqa_"): value for key, value in recorded("vqa_15.npz").items()}
    ids, keep = stored["input_ids"][row], stored["attention_mask"][row].bool()
    count = int((ids == model.config.image_token_id).sum()) // 6
    before = sum(int((other == model.config.image_token_id).sum()) for other in stored["input_ids"][:row]) * 4
    pixels = stored["pixel_values"][before : before + count * 24]
    state = sampling.prefill(model, prompt_of(ids[keep], pixels, count), 24)
    greedy = sampling.chooser(Request(), 1, 24, torch.Generator())
    written = sampling.write(model, state, 1, greedy, {model.config.eos_token_id}, 24)
    length = written.lengths[0]
    assert written.tokens[0, :length].tolist() == stored["natural_ids"][row, :length].tolist()
    assert length == 24 or written.ended == (model.config.eos_token_id,)
