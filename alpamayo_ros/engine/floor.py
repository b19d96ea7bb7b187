"""The least time that a network needs on a device: its weights are read once and its products are made, nothing else.

Attention, keys and values, norms and copies are left out, so that a fraction of the floor is never told too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from alpamayo_ros.engine.stopwatch import Stopwatch
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.types import HORIZON


class Rates(NamedTuple):
    """What a device was measured to do."""

    bytes_per_ms: float
    flop_per_ms: float


class Weights(NamedTuple):
    """Numbers and bytes of a network's parts."""

    image_flop: float  # of the vision tower's blocks, for one image
    layers: int
    expert: int
    word_bytes: int  # the language layers and the head
    expert_bytes: int


class Work(NamedTuple):
    """What one answer asks for."""

    images: int  # that nobody looked at before
    tokens: int  # of the prompt, that nobody read before
    passes: float  # behind the prompt
    samples: int
    steps: int


def weights_of(model: Alpamayo, patches: int) -> Weights:
    """Of a network that sees images of so many patches."""
    blocks = sum(p.numel() for p in model.vlm.model.visual.blocks.parameters())
    layers, head = list(model.vlm.model.language_model.layers.parameters()), list(model.vlm.lm_head.parameters())
    expert = list(model.expert.parameters())
    return Weights(
        2.0 * blocks * patches,
        sum(p.numel() for p in layers),
        sum(p.numel() for p in expert),
        sum(p.nbytes for p in (*layers, *head)),
        sum(p.nbytes for p in expert),
    )


def stage_floors_ms(weights: Weights, rates: Rates, work: Work) -> dict[str, float]:
    """By stage of the fast engine's network; a stage that memory or products may limit has the larger of both."""
    word = weights.word_bytes / rates.bytes_per_ms
    step = max(weights.expert_bytes / rates.bytes_per_ms, 2.0 * weights.expert * HORIZON * work.samples / rates.flop_per_ms)
    return {
        "look": work.images * weights.image_flop / rates.flop_per_ms,
        "begin": max(word, 2.0 * weights.layers * work.tokens / rates.flop_per_ms),
        "go_on": work.passes * word,
        "denoise": work.steps * step,
    }


def fractions(floors_ms: Mapping[str, float], measured_ms: Mapping[str, float]) -> dict[str, float]:
    """Floor / measured, of stages that had something to do."""
    return {name: round(floor / measured_ms[name], 3) for name, floor in floors_ms.items() if floor and measured_ms[name]}


def fractions_of_floor(
    model: Alpamayo, measured: Mapping[str, Mapping[str, float]], bytes_per_ms: float, steps: int
) -> dict[str, float]:
    """Least time to measured median of what memory limits in the reference: a token reads the weights of the language layers
    and the head once, each step of the flow those of the expert."""
    weights = weights_of(model, 0)
    floors = {"token": weights.word_bytes / bytes_per_ms, "flow": steps * weights.expert_bytes / bytes_per_ms}
    return {stage: floor / measured[stage]["p50_ms"] for stage, floor in floors.items()}


def rates_of(where: torch.device, dtype: torch.dtype) -> Rates:
    """What a device does at its best."""
    return Rates(bandwidth(where), products(where, dtype))


def bandwidth(where: torch.device, size: int = 2**30) -> float:
    """Bytes per ms that a copy within the device's memory reads and writes."""
    source = torch.zeros(size, dtype=torch.uint8, device=where)
    target, watch = torch.empty_like(source), Stopwatch(where)
    for _ in range(10):
        watch.time("copy", lambda: target.copy_(source))
    return 2 * size / float(np.median(watch.ms["copy"]))


def products(where: torch.device, dtype: torch.dtype, side: int = 8192) -> float:
    """Floating-point operations per ms in a product of two large square matrices."""
    matrix, watch = torch.zeros(side, side, dtype=dtype, device=where), Stopwatch(where)
    for _ in range(10):
        watch.time("product", lambda: matrix @ matrix)
    return 2.0 * side**3 / float(np.median(watch.ms["product"]))
