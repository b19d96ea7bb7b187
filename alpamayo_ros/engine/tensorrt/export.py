"""Parts of a network as ONNX files, each held against torch at sizes that it was not traced with.

Opset 23 keeps attention with grouped heads and RMS normalisation as single nodes (TensorRT from 10.14 on); 18 spells them out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.engine.tensorrt.parts import OTHERWISE, Part, Sizes, examples
from alpamayo_ros.types import EngineFailure

Opset = Literal[18, 23]

TRACED: Sizes = {"images": 2, "prompt": 24, "scene": 12, "before": 24, "words": 5, "samples": 2}
UNTRACED: tuple[Sizes, ...] = (
    {"images": 1, "prompt": 17, "scene": 9, "before": 17, "words": 1, "samples": 1},
    {"images": 5, "prompt": 61, "scene": 40, "before": 61, "words": 16, "samples": 6},
)

TOLERANCE = 1e-4
"""Largest difference from torch in float32, as a part of the largest number where that is above 1."""


class Exported(NamedTuple):
    """A part's file, and how far from torch it was."""

    name: str
    path: Path
    max_error: float


def export(parts: Sequence[Part], folder: Path, dtype: torch.dtype, opset: Opset = 23) -> list[Exported]:
    """Write NAME.onnx for every part. Raises EngineFailure where a file does not compute what torch does."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_checked(part, export_part(part, folder / f"{part.name}.onnx", dtype, opset), dtype) for part in parts]


def export_part(part: Part, path: Path, dtype: torch.dtype, opset: Opset) -> Path:
    """Write one part, and check nothing."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # about torchvision, not needed
    given = examples(part, TRACED, dtype)
    free = {
        name: {axis: torch.export.Dim.AUTO for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in part.inputs.items()
    }
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        torch.onnx.export(
            part.module,
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=list(part.outputs),
            dynamic_shapes=_for_signature(free),
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path


def _for_signature(free: Mapping[str, dict[int, Any]]) -> tuple[Any, ...]:
    """Dynamic shapes by place; what a module takes as *deepstack is one place."""
    named = tuple(shape for name, shape in free.items() if not name.startswith("deepstack"))
    more = tuple(shape for name, shape in free.items() if name.startswith("deepstack"))
    return (*named, more) if more else named


def _checked(part: Part, path: Path, dtype: torch.dtype) -> Exported:
    session = open_session(path)
    error = max(largest_difference(part, session, sizes, dtype) for sizes in UNTRACED)
    if not error <= TOLERANCE:
        raise EngineFailure(f"{path}: differs from torch by {error:.2g}, limit {TOLERANCE:.0e}: {OTHERWISE}")
    return Exported(part.name, path, error)


def open_session(path: Path) -> Any:
    """ONNX Runtime on the CPU, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def largest_difference(part: Part, session: Any, sizes: Sizes, dtype: torch.dtype, seed: int = 1) -> float:
    """Between what ONNX Runtime and torch make of the same inputs, over all outputs; infinite where shapes differ."""
    given = examples(part, sizes, dtype, seed)
    wanted = part.module(*given.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    fed = {entry.name for entry in session.get_inputs()}
    got = session.run(None, {name: value.numpy() for name, value in given.items() if name in fed})
    return max(_difference(one, other) for one, other in zip(got, wanted, strict=True))


def _difference(one: np.ndarray[Any, Any], other: Tensor) -> float:
    if one.shape != tuple(other.shape):
        return float("inf")
    return float(np.abs(one - other.numpy()).max() / max(1.0, float(other.abs().max())))
