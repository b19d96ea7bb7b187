"""Parts that run in ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from alpamayo_ros.engine.tensorrt.export import open_session
from alpamayo_ros.types import EngineFailure


class OnnxSession:
    """One part's file. Raises EngineFailure for one that ONNX Runtime does not take."""

    def __init__(self, path: Path) -> None:
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile

        self._path, self._refusals = path, (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile)
        try:
            self._session = open_session(path)
        except self._refusals as error:
            raise EngineFailure(f"{path}: {error}") from error
        self._inputs = {entry.name for entry in self._session.get_inputs()}
        self._outputs = [entry.name for entry in self._session.get_outputs()]

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Session`."""
        fed = {name: value.numpy() for name, value in given.items() if name in self._inputs}
        try:
            made = self._session.run(None, fed)
        except self._refusals as error:
            raise EngineFailure(f"{self._path}: {error}") from error
        return {name: torch.from_numpy(value) for name, value in zip(self._outputs, made, strict=True)}
