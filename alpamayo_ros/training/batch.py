"""Examples side by side, and one pass of the network over them with their answers in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from alpamayo_ros.model.language import Context, causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images, Scene
from alpamayo_ros.training.encoding import Encoded
from alpamayo_ros.types import HORIZON, InvalidInput

THIRDS = 3
"""Left, middle and right of a picture."""


class Shown(NamedTuple):
    """What is in the thirds of pictures, and where the road goes."""

    kinds: Tensor  # (B, pictures, THIRDS, KINDS) 0 or 1
    nearest_m: Tensor  # (B, pictures, THIRDS)
    course_rad: Tensor  # (B, COURSE_M) at the newest picture


class Batch(NamedTuple):
    """B examples, padded behind their ends to L tokens."""

    images: Images  # of all examples, one after another
    features: Tensor | None  # (n, T, D) what a frozen vision tower makes of the images; None: it is to look at them
    token_ids: Tensor  # (B, L) long
    positions: Tensor  # (3, B, L) long
    prompt_lengths: Tensor  # (B,)
    lengths: Tensor  # (B,)
    starts: Tensor  # (B,) place of <|traj_future_start|>
    actions: Tensor  # (B, 64, 2) float32
    shown: Shown | None = None  # on the newest picture of every camera, where somebody knows

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._replace(
            images=self.images._replace(patches=self.images.patches.to(device)),
            features=None if self.features is None else self.features.to(device),
            shown=None if self.shown is None else Shown(*(tensor.to(device) for tensor in self.shown)),
            **{name: getattr(self, name).to(device) for name in TENSORS},
        )


TENSORS = ("token_ids", "positions", "prompt_lengths", "lengths", "starts", "actions")


class Pass(NamedTuple):
    """What the backbone makes of a batch."""

    hidden: Tensor  # (B, L, D)
    k: Tensor  # (layers, B, G, L, E)
    v: Tensor
    scene: Scene


class _Kept:
    """Keys and values of one pass, with their gradients. A layer that computes them again hands the same ones over."""

    def __init__(self) -> None:
        self.k: list[Tensor] = []
        self.v: list[Tensor] = []

    def extend(self, layer: int, k_BGLE: Tensor, v_BGLE: Tensor) -> tuple[Tensor, Tensor]:
        if layer == len(self.k):
            self.k.append(k_BGLE)
            self.v.append(v_BGLE)
        return k_BGLE, v_BGLE


def batch_of(examples: Sequence[Encoded], future_start: int, features: Tensor | None = None) -> Batch:
    """Examples as one batch; `future_start` is the id of <|traj_future_start|>.

    Raises InvalidInput for images of different cameras, times or sizes.
    """
    first = examples[0].images
    for example in examples:
        if example.images[1:] != first[1:]:
            raise InvalidInput(f"images of {example.images[1:]} in a batch of {first[1:]}")
    ids = pad_sequence([example.token_ids for example in examples], batch_first=True)
    positions = pad_sequence([example.positions.T for example in examples], batch_first=True).permute(2, 0, 1)
    return Batch(
        images=first._replace(patches=torch.cat([example.images.patches for example in examples])),
        features=features,
        token_ids=ids,
        positions=positions,
        prompt_lengths=torch.tensor([example.prompt_length for example in examples]),
        lengths=torch.tensor([len(example.token_ids) for example in examples]),
        starts=torch.tensor([example.token_ids.tolist().index(future_start) for example in examples]),
        actions=torch.stack([example.actions for example in examples]),
    )


def before_actions(batch: Batch) -> Batch:
    """The same up to <|traj_future_start|>: all that the expert sees, a third less of tokens."""
    ends = batch.starts + 1
    most = int(ends.max())
    return batch._replace(token_ids=batch.token_ids[:, :most], positions=batch.positions[..., :most], lengths=ends)


def read(model: Alpamayo, batch: Batch) -> Pass:
    """One causal pass over prompts and answers. Raises InvalidInput for features where the tower has deepstack ones, too."""
    if batch.features is not None and model.config.vision.deepstack_visual_indexes:
        raise InvalidInput("features of a vision tower with deepstack: its pictures are needed")
    scene = model.see(batch.images) if batch.features is None else model.scene(batch.features, (), batch.images)
    kept = _Kept()
    length = batch.token_ids.shape[1]
    keep = torch.arange(length, device=batch.lengths.device) < batch.lengths[:, None]
    hidden = model.read(batch.token_ids, batch.positions, kept, causal_mask(keep, length), scene)
    return Pass(hidden, torch.stack(kept.k), torch.stack(kept.v), scene)


def velocity(model: Alpamayo, read: Pass, batch: Batch, actions: Tensor, t: Tensor) -> Tensor:
    """The expert's velocity (n B, 64, 2) at actions (n B, 64, 2) and t (n B,), n draws of the batch one after another.

    It sees the prompt and the words up to <|traj_future_start|>, detached: what it learns does not reach the backbone
    (knowledge insulation, paper section 5.1), and all of its own tokens see each other, as when it is sampled.
    """
    draws = len(actions) // len(batch.actions)
    ends = batch.starts + 1
    most = int(ends.max())
    context = Context(*(x[:, :, :, :most].detach().repeat(1, draws, 1, 1, 1) for x in (read.k, read.v)))
    columns = torch.arange(most + HORIZON, device=ends.device)
    mask = ((columns < ends[:, None]) | (columns >= most))[:, None, None].repeat(draws, 1, 1, 1)
    at = batch.positions[0].gather(1, batch.starts[:, None]) + 1 + torch.arange(HORIZON, device=ends.device)
    return model.velocity(actions, t, at.repeat(draws, 1).expand(3, -1, -1), context, mask)
