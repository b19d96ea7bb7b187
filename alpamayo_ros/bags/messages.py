"""Message types and their bytes, without ROS: those of ROS 2 Kilted and of alpamayo_ros/msg."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

# What a parser trips over in damaged bytes: sizes that lie, fields of another type or out of range.
_UNSERIALIZABLE = (SerdeError, struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError)
# Behind a message. rmw_fastrtps records as many bytes as it reckoned, four too many for an empty list of 8-byte numbers that
# begins where none may stand; rosbags' own `deserialize_cdr` refuses them.
_SLACK_BYTES = 64


@cache
def typestore() -> Typestore:
    """Kilted's types and ours."""
    store = get_typestore(Stores.ROS2_KILTED)
    for path in sorted((shared_files() / "msg").glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"alpamayo_ros/msg/{path.stem}"))
    return store


def known(type_name: str) -> Typestore:
    """The types, when this one is among them. Raises InvalidInput."""
    store = typestore()
    if type_name not in store.fielddefs:
        raise InvalidInput(f"unknown message type {type_name!r}: want one of ROS 2 Kilted's or of alpamayo_ros/msg")
    return store


def message(type_name: str) -> type[Any]:
    """The dataclass of a message type; every field is an argument, arrays of numbers are numpy. Raises InvalidInput."""
    return known(type_name).types[type_name]


def type_hash(type_name: str) -> str:
    """The RIHS01 hash of our definition of a type (REP-2011). Raises InvalidInput for a type we do not have."""
    return known(type_name).hash_rihs01(type_name)


def deserialize(cdr: bytes | memoryview, type_name: str) -> Any:
    """CDR bytes -> message; its number arrays are read-only views of `cdr`. Raises InvalidInput."""
    store = known(type_name)
    definition = store.get_msgdef(type_name)
    try:
        read = {b"\0\0": definition.deserialize_cdr_be, b"\0\1": definition.deserialize_cdr_le}[bytes(cdr[:2])]
        said, ends = read(cdr[4:], 0, definition.cls, store)
    except _UNSERIALIZABLE as error:
        raise InvalidInput(f"{len(cdr)} bytes are not a {type_name}: {error}") from error
    if 4 + ends + _SLACK_BYTES < len(cdr):
        raise InvalidInput(f"{len(cdr)} bytes are not a {type_name}: it ends after {4 + ends}")
    return said


def serialize(msg: Any, type_name: str) -> bytes:
    """Message -> little-endian CDR bytes. Raises InvalidInput for fields of a wrong type or out of range."""
    store = known(type_name)
    try:
        return bytes(store.serialize_cdr(msg, type_name, little_endian=True))
    except _UNSERIALIZABLE as error:
        raise InvalidInput(f"{type(msg).__name__} cannot be written as {type_name}: {error}") from error
