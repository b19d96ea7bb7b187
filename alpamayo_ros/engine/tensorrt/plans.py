"""Plans of TensorRT 10.14 or newer: built from a part's ONNX file, opened and run on torch's memory and stream.

Networks are strongly typed, and TF32 is off: what is computed in which precision is what the file says. Every return code is
looked at. Nothing of this was run by TensorRT yet: no machine with its libraries was to be had (docs/engines.md). Tests hold
names and numbers of arguments against the real bindings, and run the rest on a fake of them over ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.bundle.manifest import BUILD_AGAIN, Input
from alpamayo_ros.bundle.manifest import Tensor as Output
from alpamayo_ros.engine.tensorrt.parts import OTHERWISE, Part, shape_of
from alpamayo_ros.types import EngineFailure

if TYPE_CHECKING:
    from types import ModuleType

WORKSPACE_BYTES = 4 << 30
REBUILD = f"{BUILD_AGAIN}, on this machine"
SMALLER = "ask for fewer samples, fewer max_tokens or a shorter route, or open @graphed"


class Limits(NamedTuple):
    """The least, the usual and the largest of a size."""

    least: int
    usual: int
    most: int


def load_tensorrt() -> ModuleType:
    """The bindings. Raises EngineFailure that says what is missing, before anything of them can crash."""
    if not torch.cuda.is_available():
        raise EngineFailure(
            "TensorRT: torch finds no CUDA device here: install NVIDIA's driver and torch with CUDA, or open @graphed"
        )
    try:
        import tensorrt
    except ImportError as error:
        raise EngineFailure(f"TensorRT: {error}; pip install tensorrt, or engine_python: an interpreter that has it") from error
    module: ModuleType = tensorrt
    return module


def build_plan(trt: Any, onnx: Path, part: Part, limits: Mapping[str, Limits]) -> bytes:
    """A plan for this GPU. Raises EngineFailure with what the parser or the builder said.

    The parser looks for external data beside the file, which must stay until the plan is there: the weights are mapped.
    """
    logger = trt.Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        said = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise EngineFailure(f"{onnx}: TensorRT does not parse it: {said}: {OTHERWISE}")
    profile = builder.create_optimization_profile()
    for name, shape in part.inputs.items():
        least, usual, most = (shape_of(shape, {size: limit[i] for size, limit in limits.items()}) for i in range(3))
        profile.set_shape(name, least, usual, most)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if config.add_optimization_profile(profile) < 0:
        raise EngineFailure(f"{onnx}: TensorRT takes no such sizes: {dict(limits)}: open @graphed")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineFailure(f"{onnx}: TensorRT built nothing; its own log on stderr says why: {OTHERWISE}")
    return bytes(plan)


class PlanSession:
    """One part's plan. Raises EngineFailure where it cannot be opened."""

    def __init__(self, trt: Any, plan: bytes, name: str) -> None:
        self._trt, self._name = trt, name
        self._runtime = trt.Runtime(trt.Logger())
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineFailure(f"{name}: TensorRT does not open this plan; its own log on stderr says why: {REBUILD}")
        self._engine = engine
        context = engine.create_execution_context()
        if context is None:
            raise EngineFailure(f"{name}: no memory for an execution context: end what else uses this GPU, or open @graphed")
        self._context = context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self._inputs = [name for name in names if is_input[name]]
        self._outputs = [name for name in names if not is_input[name]]

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `Session`, put on the stream that is the caller's now: what reads on that stream waits for it, nothing else."""
        if missing := [name for name in self._inputs if name not in given]:
            raise EngineFailure(f"{self._name}: this plan takes {', '.join(missing)} too, which nobody gives: {REBUILD}")
        context, held = self._context, {name: given[name].contiguous() for name in self._inputs}
        for name, tensor in held.items():
            self._check_dtype(name, tensor)
            if not context.set_input_shape(name, tuple(tensor.shape)):
                least, _, most = self._limits(name)
                raise EngineFailure(f"{self._name}: {name} {tuple(tensor.shape)}, this plan takes {least} to {most}: {SMALLER}")
            self._place(name, tensor)
        self._infer_shapes()
        device = next(iter(held.values())).device
        made = {
            name: torch.empty(tuple(context.get_tensor_shape(name)), dtype=self._dtype(name), device=device)
            for name in self._outputs
        }
        for name, tensor in made.items():
            self._place(name, tensor)
        if not context.execute_async_v3(torch.cuda.current_stream(device).cuda_stream):
            raise EngineFailure(f"{self._name}: TensorRT did not run; its own log on stderr says why: open @graphed")
        return made

    def described(self) -> tuple[list[Input], list[Output]]:
        """Inputs and outputs as a manifest lists them, named part.tensor."""
        limits = {name: dict(zip(("least", "usual", "most"), self._limits(name), strict=True)) for name in self._inputs}
        inputs = [Input.model_validate(self._described(name) | limits[name]) for name in self._inputs]
        return inputs, [Output.model_validate(self._described(name)) for name in self._outputs]

    def _described(self, name: str) -> dict[str, Any]:
        shape = tuple(self._engine.get_tensor_shape(name))
        return {"name": f"{self._name}.{name}", "dtype": self._spelled(name), "shape": shape}

    def _infer_shapes(self) -> None:
        try:
            unknown = self._context.infer_shapes()
        except RuntimeError as error:  # sizes that are each in order, and do not fit together
            raise EngineFailure(f"{self._name}: these shapes do not fit together: {error}: {REBUILD}") from error
        if unknown:
            raise EngineFailure(f"{self._name}: shapes of {', '.join(unknown)} are not known: {REBUILD}")

    def _place(self, name: str, tensor: Tensor) -> None:
        if not self._context.set_tensor_address(name, tensor.data_ptr()):
            raise EngineFailure(f"{self._name}: {name} is refused where it lies: open @graphed")

    def _check_dtype(self, name: str, tensor: Tensor) -> None:
        if tensor.dtype != self._dtype(name):
            raise EngineFailure(f"{self._name}: {name} is {tensor.dtype}, this plan takes {self._dtype(name)}: {REBUILD}")

    def _dtype(self, name: str) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self._spelled(name))
        return dtype

    def _spelled(self, name: str) -> str:
        trt, kind = self._trt, self._engine.get_tensor_dtype(name)
        spelled = {
            trt.DataType.FLOAT: "float32",
            trt.DataType.HALF: "float16",
            trt.DataType.BF16: "bfloat16",
            trt.DataType.INT64: "int64",
            trt.DataType.INT32: "int32",
            trt.DataType.BOOL: "bool",
        }
        if kind not in spelled:
            raise EngineFailure(f"{self._name}: {name} is {kind}, which nobody here gives or takes: {REBUILD}")
        return spelled[kind]

    def _limits(self, name: str) -> tuple[tuple[int, ...], ...]:
        """The least, usual and largest shape of an input."""
        return tuple(tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))
