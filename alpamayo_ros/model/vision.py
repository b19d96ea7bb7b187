"""Qwen3-VL's vision transformer: patches of equal-size images to one token per 2x2 patches, with deepstack features.

Shapes: n images, P patches of one image, D width, H heads, E size of a head. Patches come merge block by merge block (the
four patches of a token are neighbours), as Qwen's image processor orders them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.bundle.config import Config, FlexConfig, TriplaneConfig, VisionConfig
from alpamayo_ros.model.attention import attend
from alpamayo_ros.types import InvalidInput

Rope = tuple[Tensor, Tensor]  # cos and sin (P, E)

ROPE_THETA = 10_000.0  # of Qwen3-VL's vision tower; not in its config
NORM_EPS = 1e-6


class Images(NamedTuple):
    """Images of one size, ready for the vision tower: of one observation, or of several that have the same images.

    Several observations come one after another in `patches`; `cameras` and `steps` name the images of each.
    """

    patches: Tensor  # (n, P, 3 * temporal * patch * patch) float32, normalised
    grid: tuple[int, int]  # patches along height and width
    cameras: tuple[int, ...]  # role index of each image
    steps: tuple[int, ...]  # place of each image among its camera's frames, 0 is the oldest

    @property
    def observations(self) -> int:
        """Number of observations. Raises InvalidInput where patches and names do not fit each other."""
        names = list(zip(self.cameras, self.steps, strict=True))
        if not names or len(set(names)) < len(names) or len(self.patches) % len(names):
            raise InvalidInput(f"{len(self.patches)} images cannot be observations of (camera, step) {names}")
        return len(self.patches) // len(names)


class Block(NamedTuple):
    """One run of image placeholders in the prompt, between <|vision_start|> and <|vision_end|>."""

    grid: tuple[int, int, int]  # (t, h, w) in tokens: their product placeholders, and their M-RoPE positions
    camera: int | None  # role index; None when the tokens belong to no single image
    step: int | None


class Scene(NamedTuple):
    """What takes the place of the image placeholders, in prompt order."""

    tokens: Tensor  # (n, D)
    deepstack: tuple[Tensor, ...]  # each (n, D): added to the hidden states after language layers 0, 1, ...


def image_blocks(images: Images, config: Config) -> list[Block]:
    """The placeholders that an observation's scene fills: a block per image; with Flex one; with triplanes one per step."""
    if isinstance(config.views, FlexConfig):
        return [Block((1, 1, config.views.scene_tokens), None, None)]
    if isinstance(config.views, TriplaneConfig):
        return [Block((1, 1, config.views.tokens), None, step) for step in sorted(set(images.steps))]
    h, w = (patches // config.vision.spatial_merge_size for patches in images.grid)
    return [Block((1, h, w), *name) for name in zip(images.cameras, images.steps, strict=True)]


class Attention(nn.Module):
    """Full attention among the patches of one image, or whatever else is in a row."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.num_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def queries_keys_values(self, x_nPD: Tensor, rope: Rope | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned where there are positions, and values, each (n, H, P, E)."""
        q, k, v = self.qkv(x_nPD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (q, k, v) if rope is None else (turned(q, *rope), turned(k, *rope), v)

    def forward(self, x_nPD: Tensor, rope: Rope | None, asking: int | None = None) -> Tensor:
        q, k, v = self.queries_keys_values(x_nPD, rope)
        return self.proj(attend(q[:, :, :asking], k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.linear_fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear_fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))


class Layer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=NORM_EPS)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=NORM_EPS)
        self.attn = Attention(config)
        self.mlp = FeedForward(config)

    def forward(self, x_nPD: Tensor, rope: Rope | None, asking: int | None = None) -> Tensor:
        """`asking`: only the first so many are wanted; the others are looked at, and go no further."""
        x_nPD = x_nPD[:, :asking] + self.attn(self.norm1(x_nPD), rope, asking)
        return x_nPD + self.mlp(self.norm2(x_nPD))


class Merger(nn.Module):
    """One token from the patches of a merge block; the deepstack mergers normalise after joining them."""

    def __init__(self, config: VisionConfig, *, joins_first: bool) -> None:
        super().__init__()
        joined = config.hidden_size * config.spatial_merge_size**2
        self.joins_first, self.joined = joins_first, joined
        self.norm = nn.LayerNorm(joined if joins_first else config.hidden_size, eps=NORM_EPS)
        self.linear_fc1 = nn.Linear(joined, joined)
        self.linear_fc2 = nn.Linear(joined, config.out_hidden_size)

    def forward(self, x_nPD: Tensor) -> Tensor:
        n = x_nPD.shape[0]  # not len(): an exporter would take it for a constant
        x = self.norm(x_nPD.reshape(n, -1, self.joined)) if self.joins_first else self.norm(x_nPD).reshape(n, -1, self.joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class PatchEmbed(nn.Module):
    """A convolution whose stride is its kernel, applied to patches that are cut out already."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        kernel = (config.temporal_patch_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.hidden_size, kernel, kernel)

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


class Vision(nn.Module):
    """Patches (n, P, 3*T*p*p) to tokens (n, P/4, D) and their deepstack features, batched over the images."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Embedding(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.merger = Merger(config, joins_first=False)
        self.deepstack_merger_list = nn.ModuleList(Merger(config, joins_first=True) for _ in config.deepstack_visual_indexes)

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.tokens(self.hidden(patches, grid))

    def hidden(self, patches: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """Hidden states (n, P, D) before the first layer and after each."""
        states = [self.patch_embed(patches) + self.learned_positions(grid)]
        rope = self.rotary(grid, patches.device)
        for layer in self.blocks:
            states.append(layer(states[-1], rope))
        return states

    def tokens(self, hidden: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens and deepstack features of hidden states."""
        taps = [hidden[i + 1] for i in self.config.deepstack_visual_indexes]
        deepstack = [merge(tap) for tap, merge in zip(taps, self.deepstack_merger_list, strict=True)]
        return self.merger(hidden[-1]), tuple(deepstack)

    def learned_positions(self, grid: tuple[int, int]) -> Tensor:
        """(P, D): the square table of learned positions, interpolated bilinearly to the grid, corners on corners."""
        side = round(self.config.num_position_embeddings**0.5)
        table_SSD = self.pos_embed.weight.unflatten(0, (side, side))
        rows, columns = (_interpolation(n, side, table_SSD.device).to(table_SSD.dtype) for n in grid)
        return self._by_merge_block(torch.einsum("hs,wt,std->hwd", rows, columns, table_SSD))

    def rotary(self, grid: tuple[int, int], device: torch.device) -> Rope:
        """cos and sin (P, E): half of the frequencies turn with the row, half with the column."""
        size = self.config.hidden_size // self.config.num_heads // 2
        frequencies = ROPE_THETA ** -(torch.arange(0, size, 2, device=device, dtype=torch.float32) / size)
        row, column = torch.meshgrid(*(torch.arange(n, device=device) for n in grid), indexing="ij")
        angles = (self._by_merge_block(torch.stack([row, column], -1))[..., None] * frequencies).flatten(1)
        return angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def _by_merge_block(self, x_hwD: Tensor) -> Tensor:
        m = self.config.spatial_merge_size
        h, w, d = x_hwD.shape
        return x_hwD.reshape(h // m, m, w // m, m, d).transpose(1, 2).reshape(h * w, d)


def _interpolation(n: int, side: int, device: torch.device) -> Tensor:
    """(n, side) weights of linear interpolation of `side` values at n points, the ends on the ends."""
    at = torch.linspace(0, side - 1, n, device=device)
    return (1 - (at[:, None] - torch.arange(side, device=device)).abs()).clamp(min=0)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding in float32: the halves of the last dimension are the two axes of each rotation."""
    first, second = x.float().chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)
