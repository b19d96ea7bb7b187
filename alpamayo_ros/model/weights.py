"""Weights: from safetensors files into a model built on the meta device, and back. Strict both ways, and never pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from alpamayo_ros.bundles import INDEX_FILE, WEIGHTS_FILE, read_index
from alpamayo_ros.model.config import Config
from alpamayo_ros.model.expert import frequencies
from alpamayo_ros.types import InvalidInput

FLOATS = {"F64", "F32", "F16", "BF16"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
NAMED = 3  # of each kind of problem
BFLOAT16_ROUNDING = 2.0**-8
INIT_STD = 0.02  # of Qwen3-VL's config

File = Any  # an open safetensors file; the library has no public type for it


class Problems:
    """Everything wrong with a folder's weights, told at once."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, kind: str, what: str) -> None:
        self._found.setdefault(kind, []).append(what)

    def __str__(self) -> str:
        return "; ".join(
            f"{len(all_)} {kind}: {', '.join(all_[:NAMED])}{', …' if len(all_) > NAMED else ''}" for kind, all_ in self._found.items()
        )
