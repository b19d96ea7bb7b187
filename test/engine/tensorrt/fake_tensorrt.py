"""What plans.py uses of TensorRT, over ONNX Runtime on the CPU: same names, same return codes, memory by its address.

A "plan" is a checksum, the limits of its inputs, and the ONNX file with its weights. `Fake` is the module; what it refuses and
on which streams it ran is in its fields.
"""

from __future__ import annotations

import ctypes
import json
import zlib
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError

DataType = Enum("DataType", ["FLOAT", "HALF", "BF16", "INT64", "INT32", "BOOL", "FP8"])
Mode = Enum("Mode", ["INPUT", "OUTPUT"])
Flag = IntEnum("Flag", ["TF32", "FP16"])
KINDS = {
    "tensor(float)": (DataType.FLOAT, ctypes.c_float),
    "tensor(int64)": (DataType.INT64, ctypes.c_int64),
    "tensor(bool)": (DataType.BOOL, ctypes.c_bool),
}
Shape = tuple[int, ...]


class Fake:
    """Stands where the module `tensorrt` stands. `refuses`: names of calls that say no."""

    __version__ = "11.4.0.106"
    DataType, TensorIOMode, BuilderFlag = DataType, Mode, Flag
    MemoryPoolType = SimpleNamespace(WORKSPACE=0)
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    def __init__(self, *refuses: str) -> None:
        self.refuses, self.streams, self.configs = set(refuses), [], []
        self.dtypes: dict[str, DataType] = {}  # of tensors that are said to be of another kind than they are

    def Logger(self) -> None:
        return None

    def Builder(self, logger: None) -> Builder:
        return Builder(self)

    def OnnxParser(self, network: SimpleNamespace, logger: None) -> Parser:
        return Parser(network)

    def Runtime(self, logger: None) -> SimpleNamespace:
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def _engine(self, plan: bytes) -> Engine | None:
        is_whole = len(plan) > 4 and int.from_bytes(plan[:4], "little") == zlib.crc32(plan[4:])
        return Engine(self, plan[4:]) if is_whole and "deserialize_cuda_engine" not in self.refuses else None


class Parser:
    def __init__(self, network: SimpleNamespace) -> None:
        self._network, self._errors = network, ["none"]

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> str:
        return self._errors[index]

    def parse_from_file(self, path: str) -> bool:
        """As the real one, looks for external data beside the file."""
        try:
            self._network.model = onnx.load(path)
        except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
            self._errors = [str(error), "nothing was parsed"]
            return False
        return True


class Builder:
    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def create_network(self, flags: int) -> SimpleNamespace:
        assert flags == 1 << Fake.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return SimpleNamespace(model=None)

    def create_optimization_profile(self) -> SimpleNamespace:
        limits: dict[str, list[Shape]] = {}
        return SimpleNamespace(limits=limits, set_shape=lambda name, *shapes: limits.update({name: [*shapes]}))

    def create_builder_config(self) -> Config:
        self._fake.configs.append(Config(self._fake))
        return self._fake.configs[-1]

    def build_serialized_network(self, network: SimpleNamespace, config: Config) -> bytes | None:
        taken = {value.name for value in network.model.graph.input}
        if "build_serialized_network" in self._fake.refuses or taken != config.limits.keys():
            return None
        header = json.dumps(config.limits).encode()
        told = len(header).to_bytes(4, "little") + header + network.model.SerializeToString()
        return zlib.crc32(told).to_bytes(4, "little") + told


class Config:
    def __init__(self, fake: Fake) -> None:
        self._fake, self.limits, self.flags = fake, {}, {Flag.TF32}

    def clear_flag(self, flag: Flag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        assert size > 0

    def add_optimization_profile(self, profile: SimpleNamespace) -> int:
        self.limits = profile.limits
        in_order = all(a <= b <= c for sizes in self.limits.values() for a, b, c in zip(*sizes, strict=True))
        return 0 if in_order else -1


class Engine:
    def __init__(self, fake: Fake, told: bytes) -> None:
        length = int.from_bytes(told[:4], "little")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        self.fake, self.limits = fake, json.loads(told[4 : 4 + length])
        self.session = onnxruntime.InferenceSession(told[4 + length :], options, providers=["CPUExecutionProvider"])
        self.inputs = {entry.name: entry for entry in self.session.get_inputs()}
        self.tensors = self.inputs | {entry.name: entry for entry in self.session.get_outputs()}
        self.num_io_tensors = len(self.tensors)

    def create_execution_context(self) -> Context | None:
        return None if "create_execution_context" in self.fake.refuses else Context(self)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self.inputs else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.fake.dtypes.get(name, KINDS[self.tensors[name].type][0])

    def get_tensor_shape(self, name: str) -> Shape:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return [tuple(shape) for shape in self.limits[name]]


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._fake = engine, engine.fake
        self._shapes: dict[str, Shape] = {}
        self._places: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        least, _, most = self._engine.limits[name]
        fits = len(shape) == len(least) and all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))
        self._shapes |= {name: shape} if fits else {}
        return fits

    def infer_shapes(self) -> list[str]:
        if "infer_shapes" in self._fake.refuses:
            return [*self._engine.inputs][:1]
        if "shapes" in self._fake.refuses:
            raise RuntimeError("3 and 4 along axis 1")
        blank = {name: np.zeros(self._shapes[name], KINDS[entry.type][1]) for name, entry in self._engine.inputs.items()}
        try:
            self._shapes |= {name: value.shape for name, value in self._run(blank).items()}
        except Exception as error:  # one of a dozen that ONNX Runtime has
            raise RuntimeError(str(error)) from error
        return []

    def get_tensor_shape(self, name: str) -> Shape:
        return self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._places[name] = address
        return name not in self._fake.refuses

    def execute_async_v3(self, stream: int) -> bool:
        if "execute_async_v3" in self._fake.refuses:
            return False
        self._fake.streams.append(stream)
        for name, value in self._run({name: self._memory(name) for name in self._engine.inputs}).items():
            self._memory(name)[...] = value
        return True

    def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        names = [entry.name for entry in self._engine.session.get_outputs()]
        return dict(zip(names, self._engine.session.run(names, given), strict=True))

    def _memory(self, name: str) -> Any:
        shape, kind = self._shapes[name], KINDS[self._engine.tensors[name].type][1]
        return np.ctypeslib.as_array((kind * int(np.prod(shape))).from_address(self._places[name])).reshape(shape)
