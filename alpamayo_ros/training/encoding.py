"""An example as the network learns it: the prompt of the runtime, what should be written after it, and the actions.

After the prompt come the words, the meta-actions where the profile states them, `<|traj_future_start|>`, 128 action tokens,
`<|traj_future_end|>` and `<|im_end|>`. Everything behind the prompt is learned. Source: NVlabs/alpamayo-recipes' order
[image, traj_history, prompt, cot, traj_future] with labels [cot, traj_future], and [image, question, answer] with [answer].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.dynamics import actions_from_trajectory
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.model.language import rope_positions
from alpamayo_ros.model.prompt import Mode, Piece, joined, observed_images, prompt_ids
from alpamayo_ros.model.tokens import Tokenizer, action_tokens
from alpamayo_ros.model.vision import Images, image_blocks
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset.sequences import meta_action_words
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import F32, Trajectory


class Codec(NamedTuple):
    """What turns values into the ids of a model."""

    profile: InputProfile
    tokenizer: Tokenizer
    config: Config


class Encoded(NamedTuple):
    """One example, ready for a batch."""

    images: Images
    token_ids: Tensor  # (L,) long: prompt and answer
    positions: Tensor  # (3, L) long, M-RoPE
    prompt_length: int
    actions: Tensor  # (64, 2) float32, normalised: what the flow ends at


def encoded(example: Example, codec: Codec, *, asks_reasons: bool = True, seen: Images | None = None) -> Encoded:
    """Ids, images and actions of an example; without reasoning, or where none is asked for, of a trajectory at once.

    `seen` are its images where they are known already. Raises InvalidInput as `encode` does, for words that spell special
    tokens, and for futures that are not finite.
    """
    _, tokenizer, config = codec
    reasons = example.reasoning if asks_reasons else None
    asked = _asked(example, codec, "act" if reasons is None else "reason", seen=seen)
    written = [] if reasons is None else _reasons(reasons, example, codec)
    ends = [tokenizer.id("<|traj_future_end|>"), tokenizer.id("<|im_end|>")]
    return with_answer(asked, joined([*written, action_tokens(asked.actions.numpy(), config), ends], tokenizer))


def encoded_answer(example: Example, question: str, answer: str, codec: Codec) -> Encoded:
    """Ids and images of a question about an example as the runtime asks it; its answer alone stands behind the prompt.

    There is no <|traj_future_start|>: nothing is driven. Raises InvalidInput as `encoded` does, and for an empty question.
    """
    tokenizer = codec.tokenizer
    ends = [tokenizer.id("<|answer_end|>"), tokenizer.id("<|im_end|>")]
    return with_answer(_asked(example, codec, "ask", question), joined([answer, ends], tokenizer))


def _asked(example: Example, codec: Codec, mode: Mode, question: str = "", seen: Images | None = None) -> Encoded:
    """The prompt, with nothing behind it."""
    profile, tokenizer, config = codec
    images = observed_images(example.observation, profile, config) if seen is None else seen
    blocks = image_blocks(images, config)
    ids = prompt_ids(example.observation, blocks, profile, tokenizer, config, mode, question)
    actions = torch.from_numpy(true_actions(example, config))
    return Encoded(images, ids, rope_positions(ids, blocks, config.image_token_id), len(ids), actions)


def _reasons(reasons: Reasoning, example: Example, codec: Codec) -> list[Piece]:
    """What is written before the trajectory."""
    profile, tokenizer, _ = codec
    written: list[Piece] = [reasons.text, [tokenizer.id("<|cot_end|>")]]
    if profile.meta_actions:
        words = meta_action_words(example.meta_actions)
        written += [[tokenizer.id("<|meta_action_start|>")], words, [tokenizer.id("<|meta_action_end|>")]]
    return [*written, [tokenizer.id("<|traj_future_start|>")]]


def with_answer(asked: Encoded, answer: Sequence[int]) -> Encoded:
    """A prompt and ids behind it; they stand one after the other on all axes."""
    following = int(asked.positions[:, : asked.prompt_length].max()) + 1 + torch.arange(len(answer))
    return asked._replace(
        token_ids=torch.cat([asked.token_ids[: asked.prompt_length], torch.tensor(answer)]),
        positions=torch.cat([asked.positions[:, : asked.prompt_length], following.expand(3, -1)], dim=1),
    )


def true_actions(example: Example, config: Config) -> F32:
    """Normalised actions (64, 2) whose rollout, from the speed that the history tells, follows what was driven.

    Raises InvalidInput for numbers that are not finite.
    """
    history = example.observation.history
    actions = actions_from_trajectory(history.xyz, history.rot, *poses(example.future), space=config.action_space)
    return np.asarray(actions, np.float32)


def poses(way: Trajectory) -> tuple[F32, F32]:
    """Places (n, 3) m and rotations (n, 3, 3) of a trajectory, as `actions_from_trajectory` takes them."""
    rot = np.stack([rotation_z(yaw) for yaw in way.yaw_rad.tolist()])
    return way.xyz.astype(np.float32), rot.astype(np.float32)
