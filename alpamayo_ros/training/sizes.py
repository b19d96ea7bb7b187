"""Networks of our own, from one that a test trains in seconds to the one that is shipped.

All have the tokens, the profile and the config of `ar1_nano`; only widths and depths differ.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.engine.weights import draw_weights, load_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.profile import read_profile
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Size:
    """What makes a network large or small."""

    vision: tuple[int, int]  # width, layers
    views: int  # layers of Flex
    language: tuple[int, int, int]  # width, width inside, layers
    expert: tuple[int, int]  # width, width inside; as many layers as the language model
    scene_tokens: int


SizeName = Literal["debug", "micro", "nano"]

SIZES: Mapping[SizeName, Size] = {
    "debug": Size(vision=(32, 1), views=1, language=(64, 128, 2), expert=(32, 64), scene_tokens=8),
    "micro": Size(vision=(64, 2), views=1, language=(128, 256, 3), expert=(64, 192), scene_tokens=32),
    "nano": Size(vision=(128, 2), views=1, language=(192, 512, 3), expert=(192, 384), scene_tokens=48),
}
"""debug learns nothing, but runs in seconds; micro is for experiments of minutes; nano is `ar1_nano`."""

HEAD = 32  # width of a head, of everything

SLOWEST = 0.02
"""The other end of the frequencies, from 1 on, at which the expert is told an action. The released 1 to 100 say where it lies
within one standard deviation and not in which: a small network spends its first thousand updates on finding out."""

WAVES_PER_AXIS = 2.0 ** torch.arange(-2.0, 7.5, 0.5)
"""From a quarter to 128 periods along all bins of a number."""


def begin_bundle(folder: Path, base: Path, size: Size) -> None:
    """Write a bundle without weights: profile, config and tokenizer of another one, `ar1_nano`, at a size.

    Raises InvalidInput where there is something.
    """
    if folder.exists():
        raise InvalidInput(f"{folder} is there already: choose another folder")
    folder.mkdir(parents=True)
    profile = yaml.safe_load((base / "profile.yaml").read_text()) | {"scene_tokens": size.scene_tokens}
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile, sort_keys=False))
    (folder / "config.json").write_text(json.dumps(resized(read_json(base / "config.json"), size), indent=2) + "\n")
    shutil.copy(base / "tokenizer.json", folder)


def resized(stored: Mapping[str, Any], size: Size) -> dict[str, Any]:
    """config.json with the widths and depths of a size."""
    width, inside, layers = size.language
    vision_width, vision_layers = size.vision
    expert_width, expert_inside = size.expert
    backbone = stored["vlm_config"]
    heads = width // HEAD
    key_value_heads = next(n for n in (3, 2, 1) if heads % n == 0)
    text = {"hidden_size": width, "intermediate_size": inside, "num_hidden_layers": layers, "num_attention_heads": heads}
    vision = {"depth": vision_layers, "hidden_size": vision_width, "intermediate_size": 4 * vision_width}
    vision |= {"num_heads": vision_width // HEAD, "out_hidden_size": width}
    expert = {"hidden_size": expert_width, "intermediate_size": expert_inside}
    return dict(stored) | {
        "action_in_proj_cfg": stored["action_in_proj_cfg"] | {"hidden_size": expert_width, "max_freq": SLOWEST},
        "expert_cfg": expert | {"num_attention_heads": max(key_value_heads, expert_width // HEAD)},
        "views": stored["views"] | {"scene_tokens": size.scene_tokens, "layers": size.views, "heads": heads},
        "vlm_config": backbone
        | {
            "text_config": backbone["text_config"] | text | {"num_key_value_heads": key_value_heads},
            "vision_config": backbone["vision_config"] | vision,
        },
    }


def check_size(base: Path, name: SizeName) -> None:
    """Raise InvalidInput for a bundle whose network has another size."""
    stored = read_json(base / "config.json")
    if stored != resized(stored, SIZES[name]):
        raise InvalidInput(f"{base / 'config.json'}: its widths and depths are not those of size {name}")


def open_codec(folder: Path) -> Codec:
    """What a bundle's examples are encoded with, also of one whose expert is still to be trained. Raises InvalidInput."""
    config = read_config(folder)
    return Codec(read_profile(str(folder / "profile.yaml")), read_tokenizer(folder, config), config)


def new_model(codec: Codec, seed: int) -> Alpamayo:
    """A network with drawn weights, in float32, in which tokens of neighbouring bins begin alike (`ordered_bins`)."""
    model = _without_weights(codec)
    draw_weights(model, seed, "cpu", torch.float32)
    ordered_bins(model, seed)
    return model


@torch.no_grad()
def ordered_bins(model: Alpamayo, seed: int) -> None:
    """Give the tokens of a bin's numbers embeddings and logits that vary smoothly along the bins, as wide as they were.

    Drawn one by one, a thousand bins are a thousand words that each have to be learned by themselves, most of them from a
    handful of examples. Mixtures of waves (as of NeRF's positions, arXiv 2003.08934) say where on the axis a number lies.
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    first = config.traj_token_start
    for bins in (config.future_bins.num_bins, config.history_bins.num_bins):
        phases = torch.pi * torch.linspace(-1.0, 1.0, bins)[:, None] * WAVES_PER_AXIS
        waves = torch.cat([phases.sin(), phases.cos()], dim=1)
        for weight in (model.vlm.model.language_model.embed_tokens.weight, model.vlm.lm_head.weight):
            mixed = waves @ torch.randn(waves.shape[1], weight.shape[1], generator=generator)
            weight[first : first + bins] = mixed / mixed.std() * weight[first : first + bins].std()
        first += bins


def trained_model(codec: Codec, folder: Path) -> Alpamayo:
    """The network of a bundle's weights, in float32. Raises InvalidInput."""
    model = _without_weights(codec)
    load_weights(model, folder, "cpu", torch.float32)
    return model


def _without_weights(codec: Codec) -> Alpamayo:
    with torch.device("meta"):
        return Alpamayo(codec.config)
