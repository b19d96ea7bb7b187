"""The network in parts with named tensors in and out: what an engine that is built beforehand is made of.

    vision    patches of images -> tokens, deepstack
    views     tokens of all images -> the scene's (Flex)
    prefill   a prompt and the scene -> logits after it, keys and values
    verify    words behind keys and values -> logits after each, their keys and values
    expert    noisy actions behind keys and values -> velocity

Keys and values go in and come out: who holds them, and which of them count, is the caller's business.
Shapes: n images, L tokens of a prompt, M words, S keys before them, B samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model.language import causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.vision import Images
from alpamayo_ros.types import HORIZON, InvalidInput

Sizes = dict[str, int]
"""What a size of a tensor is called -> how large it is."""

OTHERWISE = "build with the other --opset, or open @graphed"
"""What is left to whoever has a part of which nothing can be built."""


class Part(NamedTuple):
    """A module with the names and sizes of what goes in and comes out."""

    name: str
    module: nn.Module
    inputs: Mapping[str, tuple[str | int, ...]]  # names of sizes, or sizes that never change
    outputs: tuple[str, ...]


class _Before:
    """Keys and values that are there already, and those of new tokens."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        self._keys, self._values = keys, values  # (layers, B or 1, G, S, E)
        self._new: list[tuple[Tensor, Tensor]] = []

    def extend(self, layer: int, k_BGLE: Tensor, v_BGLE: Tensor, /) -> tuple[Tensor, Tensor]:
        self._new.append((k_BGLE, v_BGLE))
        if self._keys is None or self._values is None:
            return k_BGLE, v_BGLE
        batch = k_BGLE.shape[0]
        before = (x[layer].expand(batch, -1, -1, -1) for x in (self._keys, self._values))
        return tuple(torch.cat(both, dim=2) for both in zip(before, (k_BGLE, v_BGLE), strict=True))  # type: ignore[return-value]

    def new(self) -> tuple[Tensor, Tensor]:
        """Of the new tokens, (layers, B, G, L, E)."""
        keys, values = zip(*self._new, strict=True)
        return torch.stack(keys), torch.stack(values)


class VisionPart(nn.Module):
    """Images of one grid."""

    def __init__(self, model: Alpamayo, grid: tuple[int, int]) -> None:
        super().__init__()
        self.visual, self.grid = model.vlm.model.visual, grid

    def forward(self, patches: Tensor) -> tuple[Tensor, ...]:
        tokens, deepstack = self.visual(patches, self.grid)
        return tokens, *deepstack


class ViewsPart(nn.Module):
    """Flex, for the cameras and steps that a profile has."""

    def __init__(self, views: Flex, images: Images) -> None:
        super().__init__()
        self.views, self.images = views, images

    def forward(self, tokens: Tensor) -> Tensor:
        scene: Tensor = self.views(tokens, self.images)
        return scene[0]


class PrefillPart(nn.Module):
    """A prompt whose placeholders are filled by rows of the scene."""

    def __init__(self, model: Alpamayo) -> None:
        super().__init__()
        self.language, self.head = model.vlm.model.language_model, model.vlm.lm_head

    def forward(
        self, token_ids: Tensor, positions: Tensor, scene_rows: Tensor, is_image: Tensor, scene: Tensor, *deepstack: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        def placed(features: Tensor, otherwise: Tensor) -> Tensor:
            return torch.where(is_image[..., None], features[scene_rows].to(otherwise.dtype), otherwise)

        x = self.language.embed_tokens(token_ids)
        added = [placed(features, torch.zeros_like(x)) for features in deepstack]
        memory = _Before()
        mask = causal_mask(torch.ones_like(token_ids, dtype=torch.bool), token_ids.shape[1])
        hidden = self.language(placed(scene, x), positions, memory, mask, added)
        return self.head(hidden[:, -1]).float(), *memory.new()


class VerifyPart(nn.Module):
    """Words behind what was read; with one word, the step of a plain decoder."""

    def __init__(self, model: Alpamayo) -> None:
        super().__init__()
        self.language, self.head = model.vlm.model.language_model, model.vlm.lm_head

    def forward(
        self, token_ids: Tensor, positions: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        memory = _Before(keys, values)
        hidden = self.language(self.language.embed_tokens(token_ids), positions, memory, mask)
        return self.head(hidden[0]).float(), *memory.new()


class ExpertPart(nn.Module):
    """One step of the flow."""

    def __init__(self, model: Alpamayo) -> None:
        super().__init__()
        self.expert, self.action_in, self.action_out = model.expert, model.action_in_proj, model.action_out_proj

    def forward(self, actions: Tensor, t: Tensor, positions: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        hidden = self.expert(self.action_in(actions, t), positions, _Before(keys, values), mask)
        velocity: Tensor = self.action_out(hidden)
        return velocity.float()


def part_names(config: Config) -> list[str]:
    """What the parts of a network of this configuration are called."""
    return ["vision", *(["views"] if config.views is not None else []), "prefill", "verify", "expert"]


def parts(model: Alpamayo, images: Images) -> list[Part]:
    """All parts of a network, for images named and sized like these. Raises InvalidInput for triplanes."""
    text, vision = model.config.text, model.config.vision
    width, depth = text.hidden_size, len(vision.deepstack_visual_indexes)
    store = (text.num_hidden_layers, 1, text.num_key_value_heads, "before", text.head_dim)
    deepstack = tuple(f"deepstack_{i}" for i in range(depth))
    patch = 3 * vision.temporal_patch_size * vision.patch_size**2
    cells = images.grid[0] * images.grid[1]
    made = [Part("vision", VisionPart(model, images.grid), {"patches": ("images", cells, patch)}, ("tokens", *deepstack))]
    if isinstance(model.views, Flex):
        tokens = cells // vision.spatial_merge_size**2
        shown = images._replace(patches=torch.empty(len(images.cameras), 0))
        taken = {"tokens": (len(images.cameras), tokens, vision.out_hidden_size)}
        made.append(Part("views", ViewsPart(model.views, shown), taken, ("scene",)))
    elif model.views is not None:
        raise InvalidInput(f"no parts of a network with {type(model.views).__name__}: open @graphed")
    read = {"token_ids": (1, "prompt"), "positions": (3, 1, "prompt"), "scene_rows": (1, "prompt"), "is_image": (1, "prompt")}
    seen = dict.fromkeys(("scene", *deepstack), ("scene", width))
    new = ("logits", "new_keys", "new_values")
    words = {"token_ids": (1, "words"), "positions": (3, 1, "words"), "keys": store, "values": store}
    made.append(Part("prefill", PrefillPart(model), read | seen, new))
    made.append(Part("verify", VerifyPart(model), words | {"mask": (1, 1, "words", "before+words")}, new))
    moved = {"actions": ("samples", HORIZON, 2), "t": ("samples",), "positions": (3, "samples", HORIZON)}
    moved |= {"keys": store, "values": store, "mask": ("samples", 1, HORIZON, f"before+{HORIZON}")}
    made.append(Part("expert", ExpertPart(model), moved, ("velocity",)))
    return made


def examples(part: Part, sizes: Sizes, dtype: torch.dtype, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of a part at some sizes, drawn at random; masks are True."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _drawn(name, shape_of(shape, sizes), sizes, dtype, generator) for name, shape in part.inputs.items()}


def shape_of(shape: Sequence[str | int], sizes: Sizes) -> tuple[int, ...]:
    """A shape in numbers."""
    return tuple(size if isinstance(size, int) else sum(_number(term, sizes) for term in size.split("+")) for size in shape)


def _number(term: str, sizes: Sizes) -> int:
    return int(term) if term.isdigit() else sizes[term]


def _drawn(name: str, shape: tuple[int, ...], sizes: Sizes, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    if name == "is_image":
        return torch.arange(shape[1])[None] < shape[1] // 2
    if name == "mask":
        return torch.ones(shape, dtype=torch.bool)
    if name == "positions":
        return torch.arange(shape[-1]).expand(shape).contiguous()
    if name in ("token_ids", "scene_rows"):
        return torch.randint(sizes["scene"] if name == "scene_rows" else 100, shape, generator=generator)
    if name in ("t", "actions"):
        return torch.rand(shape, generator=generator)
    return torch.randn(shape, generator=generator).to(torch.float32 if name == "patches" else dtype)
