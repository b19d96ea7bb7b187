"""A part of the network in ONNX Runtime, as `PartsNetwork` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.engine.tensorrt.export import open_session


class OnnxSession:
    """One part's file, on the CPU."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = self._session.run(None, {name: value.numpy() for name, value in given.items() if name in self._inputs})
        return {name: torch.from_numpy(value) for name, value in zip(self._outputs, made, strict=True)}
