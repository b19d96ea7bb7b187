"""The messages between the parent and the engine's process, readable by any Python with numpy.

A message is one packet: a magic word, the length of a JSON header, the header, then the raw bytes of its arrays. JSON
keeps Python floats and integers exactly. No pickle: it would tie both interpreters to one version and run what it reads.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import (
    U8,
    CameraFrame,
    EgoHistory,
    EgoPose,
    EgoSignals,
    EngineFailure,
    InvalidInput,
    ModelOutput,
    Navigation,
    Observation,
    Request,
    TurnIndicator,
)

MAX_BYTES = 200_000
"""Largest packet: what fits into a socket's default send buffer (212 992) in one piece. 64 samples take 33 kB."""

MAX_TOKENS = 2**32 - 1
"""Of a text: what a uint32 of our messages holds."""

HEARTBEAT_S = 0.05
"""How often the engine's process says that it lives."""

_PREFIX = struct.Struct("<4sI")
_MAGIC = b"ALP1"
_DTYPES = ("<f4", "<f8")
_SIGNALS = ("speed_mps", "acceleration_mps2", "steering_angle_rad")  # the arrays of EgoSignals, in its order

_FIELDS: dict[str, dict[str, type]] = {
    # parent to engine
    "hint": {"slot": int, "role": str, "stamp_ns": int, "epoch": int},
    "infer": {"id": int, "observation": dict, "request": dict},
    "reset": {"epoch": int},
    "close": {},
    # engine to parent
    "ready": {"weights": str},
    "heartbeat": {"busy_ms": int},  # since when the engine works on one message, 0 when it waits
    "output": {"id": int, "texts": list, "tokens": list, "complete": list, "meta_actions": list},
    "failure": {"id": int, "text": str},  # id 0: the engine could not be opened
}


class Message(NamedTuple):
    """One decoded packet."""

    kind: str
    fields: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def encode(kind: str, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """One packet. Arrays are float32 or float64. Raises InvalidInput when it is larger than MAX_BYTES."""
    arrays = arrays or {}
    layout = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    header = json.dumps([kind, fields, layout], default=lambda scalar: scalar.item()).encode()  # numpy scalars
    packet = b"".join([_PREFIX.pack(_MAGIC, len(header)), header, *(array.tobytes() for array in arrays.values())])
    if len(packet) > MAX_BYTES:
        raise InvalidInput(f"{kind}: {len(packet)} bytes do not fit into a packet of {MAX_BYTES}")
    return packet


def decode(packet: bytes) -> Message:
    """The message of one packet. Raises InvalidInput for anything that `encode` does not write."""
    try:
        magic, length = _PREFIX.unpack_from(packet)
        kind, fields, layout = json.loads(packet[_PREFIX.size : _PREFIX.size + length])
        wanted = _FIELDS[kind] if magic == _MAGIC else None
        arrays = _arrays(layout, packet, _PREFIX.size + length)
    except (struct.error, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"{len(packet)} bytes are not a message: {error!r}") from error
    if wanted is None or not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != wanted:
        raise InvalidInput(f"{len(packet)} bytes are not a message: {magic!r} {kind!r} with {fields!r:.200}")
    return Message(kind, fields, arrays)


def _arrays(layout: list[tuple[str, str, list[int]]], packet: bytes, offset: int) -> dict[str, NDArray[Any]]:
    arrays = {}
    for name, dtype, shape in layout:
        if dtype not in _DTYPES or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"array {name}: {dtype}{shape}")
        count = prod(shape)
        # frombuffer refuses a count of 0 and a packet that is too short; the copy is aligned
        arrays[name] = np.frombuffer(packet, dtype, count, offset).reshape(shape).copy() if count else np.empty(shape, dtype)
        offset += arrays[name].nbytes
    if offset != len(packet):
        raise ValueError(f"{len(packet)} bytes where the header describes {offset}")
    return arrays


def hint_packet(frame: CameraFrame) -> bytes:
    """The hint that a frame of the ring may be part of a coming observation."""
    return encode("hint", {"slot": frame.slot, "role": frame.role, "stamp_ns": frame.stamp_ns, "epoch": frame.epoch})


def infer_packet(request_id: int, observation: Observation, request: Request) -> bytes:
    """An observation, its frames as places in the ring, and what to make of it."""
    ego, signals = observation.ego_t0, observation.signals
    values = {
        "stamp_ns": observation.stamp_ns,
        "epoch": observation.epoch,
        "frames": {role: [(frame.slot, frame.stamp_ns) for frame in frames] for role, frames in observation.frames.items()},
        "navigation": asdict(observation.navigation) if observation.navigation else None,
        "turn_indicator": signals.turn_indicator if signals else None,
        "sync_error_ms": dict(observation.sync_error_ms),
        "odometry_extrapolated_ms": observation.odometry_extrapolated_ms,
    }
    arrays: dict[str, NDArray[Any]] = {
        "history_xyz": observation.history.xyz,
        "history_rot": observation.history.rot,
        "position": ego.position,
        "odom_from_ego": ego.odom_from_ego,
        "velocity_mps": ego.velocity_mps,
        "angular_rps": ego.angular_rps,
        **{f"signal_{name}": value for name in _SIGNALS if (value := getattr(signals, name, None)) is not None},
    }
    return encode("infer", {"id": request_id, "observation": values, "request": asdict(request)}, arrays)


def read_infer(message: Message, read: Callable[[int, str, int, int], U8 | None]) -> tuple[Observation, Request]:
    """Observation with private pixels, and request, of an infer message; `read` is `FrameReader.read`.

    Raises EngineFailure when a slot holds another frame by now, InvalidInput when a value refuses its numbers.
    """
    values, arrays = message.fields["observation"], message.arrays
    stamp_ns, epoch = values["stamp_ns"], values["epoch"]
    observation = Observation(
        stamp_ns,
        epoch,
        {
            role: tuple(_private(read, slot, role, frame_ns, epoch) for slot, frame_ns in frames)
            for role, frames in values["frames"].items()
        },
        EgoHistory(stamp_ns, arrays["history_xyz"], arrays["history_rot"]),
        EgoPose(stamp_ns, arrays["position"], arrays["odom_from_ego"], arrays["velocity_mps"], arrays["angular_rps"]),
        Navigation(**values["navigation"]) if values["navigation"] else None,
        _signals(arrays, values["turn_indicator"]),
        {role: tuple(errors) for role, errors in values["sync_error_ms"].items()},
        values["odometry_extrapolated_ms"],
    )
    return observation, Request(**message.fields["request"])


def _signals(arrays: Mapping[str, NDArray[Any]], indicator: list[TurnIndicator] | None) -> EgoSignals | None:
    speed, acceleration, steering = (arrays.get(f"signal_{name}") for name in _SIGNALS)
    if speed is None and acceleration is None and steering is None and indicator is None:
        return None
    return EgoSignals(speed, acceleration, steering, None if indicator is None else tuple(indicator))


def _private(read: Callable[[int, str, int, int], U8 | None], slot: int, role: str, stamp_ns: int, epoch: int) -> CameraFrame:
    image = read(slot, role, stamp_ns, epoch)
    if image is None:
        raise EngineFailure(f"slot {slot} no longer holds the {role} frame at {stamp_ns} ns")
    return CameraFrame(role, stamp_ns, epoch, image)


def output_packet(request_id: int, output: ModelOutput) -> bytes:
    """The answer to an infer message."""
    fields = {name: getattr(output, name) for name in ("texts", "tokens", "complete", "meta_actions")}
    return encode("output", {"id": request_id, **fields}, {"actions": output.actions})


def read_output(message: Message) -> ModelOutput:
    """Output of an output message. Raises InvalidInput when it cannot be one: wrong shape or type, not finite."""
    texts, tokens, complete, stated = (tuple(message.fields[key]) for key in ("texts", "tokens", "complete", "meta_actions"))
    kinds = {str: texts + stated, int: tokens, bool: complete}
    wrong = any(type(value) is not kind for kind, values in kinds.items() for value in values)
    if wrong or not all(0 <= count <= MAX_TOKENS for count in tokens):
        raise InvalidInput(f"texts, token counts, complete: got {texts!r:.200}, {tokens!r:.200}, {complete!r:.200}")
    if "actions" not in message.arrays:
        raise InvalidInput("an output without actions")
    return ModelOutput(message.arrays["actions"], texts, tokens, complete, stated)
