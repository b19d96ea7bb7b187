"""rosbag2 in and out without ROS: MCAP and sqlite3 are read, MCAP is written. The only importer of rosbags."""

from __future__ import annotations

import heapq
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer, WriterError
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

if TYPE_CHECKING:
    from rosbags.rosbag2.reader import ReaderProtocol
    from typing_extensions import Self

STORAGE_SUFFIXES = (".mcap", ".db3")

# rosbags parses bytes it has not checked: these are what its parsers, zstd, lz4 and SQLite trip over in a damaged file.
_UNREADABLE = (
    ReaderError,
    ZstdError,
    apsw.Error,
    struct.error,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)
# The same for one message: sizes that lie, fields of another type or out of range.
_UNSERIALIZABLE = (SerdeError, struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError)

_UNLIMITED = QosTime(9223372036, 854775807)  # RMW_DURATION_INFINITE
_VOLATILE = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _UNLIMITED,
    _UNLIMITED,
    QosLiveliness.AUTOMATIC,
    _UNLIMITED,
    avoid_ros_namespace_conventions=False,
)
_LATCHED = _VOLATILE._replace(depth=1, durability=QosDurability.TRANSIENT_LOCAL)


class Record(NamedTuple):
    """One message as it was recorded."""

    topic: str
    type_name: str  # "sensor_msgs/msg/CompressedImage"
    log_ns: int  # when the recorder received it, not the message's stamp
    cdr: bytes


@dataclass(frozen=True)
class TopicInfo:
    """What a bag holds of one topic."""

    name: str
    type_name: str
    count: int
    type_hash: str  # RIHS01 hash of the recorded definition, empty where the bag does not say
    qos: str  # offered QoS, "reliable transient_local keep_last(1)"; one per different publisher; empty where unknown


@cache
def _typestore() -> Typestore:
    store = get_typestore(Stores.ROS2_KILTED)
    for path in sorted((shared_files() / "msg").glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"alpamayo_ros/msg/{path.stem}"))
    return store


def _known(type_name: str) -> Typestore:
    store = _typestore()
    if type_name not in store.fielddefs:
        raise InvalidInput(f"unknown message type {type_name!r}: want one of ROS 2 Kilted's or of alpamayo_ros/msg")
    return store


def message(type_name: str) -> type[Any]:
    """The dataclass of a message type; every field is an argument, arrays of numbers are numpy. Raises InvalidInput."""
    return _known(type_name).types[type_name]


def type_hash(type_name: str) -> str:
    """The RIHS01 hash of our definition of a type (REP-2011). Raises InvalidInput for a type we do not have."""
    return _known(type_name).hash_rihs01(type_name)


def deserialize(cdr: bytes | memoryview, type_name: str) -> Any:
    """CDR bytes -> message; its number arrays are read-only views of `cdr`. Raises InvalidInput."""
    store = _known(type_name)
    try:
        return store.deserialize_cdr(cdr, type_name)
    except _UNSERIALIZABLE as error:
        raise InvalidInput(f"{len(cdr)} bytes are not a {type_name}: {error}") from error


def serialize(msg: Any, type_name: str) -> bytes:
    """Message -> little-endian CDR bytes. Raises InvalidInput for fields of a wrong type or out of range."""
    store = _known(type_name)
    try:
        return bytes(store.serialize_cdr(msg, type_name, little_endian=True))
    except _UNSERIALIZABLE as error:
        raise InvalidInput(f"{type(msg).__name__} cannot be written as {type_name}: {error}") from error


def bag_topics(path: Path) -> dict[str, TopicInfo]:
    """What a bag holds, by topic name, from its index alone. Raises InvalidInput for what is not a readable bag."""
    with _opened(path) as reader:
        topics = {name: list(info.connections) for name, info in sorted(reader.topics.items())}
        return {name: _topic_info(path, name, connections) for name, connections in topics.items()}


def bag_span(path: Path) -> tuple[int, int]:
    """First and last log time of a bag, ns. Raises InvalidInput for what is not a readable bag or holds no message."""
    with _opened(path) as reader:
        if not reader.message_count:
            raise InvalidInput(f"{path}: the bag holds no message")
        return reader.start_time, reader.end_time - 1


def read_bag(
    path: Path, topics: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
) -> Iterator[Record]:
    """Records of a rosbag2 folder, .mcap or .db3 file in log-time order, start_ns <= log_ns < stop_ns.

    Types we do not know are yielded like all others: their `cdr` cannot be deserialized here. Raises InvalidInput, while
    iterating: no such bag, not a bag, damaged, a topic that is not in it, a type recorded with another definition than ours.
    """
    with _opened(path) as reader:
        connections = [c for c in reader.connections if topics is None or c.topic in topics]
        if missing := sorted(set(topics or ()) - {c.topic for c in connections}):
            held = ", ".join(sorted({c.topic for c in reader.connections})) or "nothing"
            raise InvalidInput(f"{path}: no topic {', '.join(missing)} in the bag; it holds {held}")
        for connection in connections:
            _check_definition(path, connection)
        found: Counter[str] = Counter()
        parts = [part.messages(connections, start_ns, stop_ns) for part in _parts(reader)]
        for connection, log_ns, cdr in heapq.merge(*parts, key=lambda item: item[1]):
            found[connection.topic] += 1
            yield Record(connection.topic, connection.msgtype, log_ns, cdr)
        if start_ns is None and stop_ns is None:
            _check_counts(path, connections, found)


class BagWriter:
    """A new MCAP bag (rosbag2 metadata version 9): `with BagWriter(path) as bag: bag.write(...)`.

    The index is written at the end whatever happens inside the `with`: what was recorded before an error stays readable.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except (WriterError, OSError) as error:
            raise InvalidInput(f"{path}: want a folder that can be made and does not exist yet: {error}") from error
        self.path = path
        self.messages = 0
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.close()

    def write(self, topic: str, type_name: str, log_ns: int, message_or_cdr: Any) -> None:
        """Append one message, or its CDR bytes. Raises InvalidInput: unknown or changed type, wrong fields, log_ns < 0."""
        if not 0 <= log_ns < 2**63:
            raise InvalidInput(f"{topic}: log time {log_ns} ns is not in [0, 2^63)")
        connection = self._connections.get(topic) or self._connect(topic, type_name)
        if connection.msgtype != type_name:
            raise InvalidInput(f"{topic}: {type_name} on a topic of {connection.msgtype}")
        is_cdr = isinstance(message_or_cdr, (bytes, bytearray, memoryview))
        self._writer.write(connection, log_ns, message_or_cdr if is_cdr else serialize(message_or_cdr, type_name))
        self.messages += 1

    def _connect(self, topic: str, type_name: str) -> Connection:
        # A subscriber that comes late must still get the transforms: rosbag2 replays with the offered QoS.
        qos = _LATCHED if topic == "/tf_static" else _VOLATILE
        connection = self._writer.add_connection(topic, type_name, typestore=_known(type_name), offered_qos_profiles=[qos])
        self._connections[topic] = connection
        return connection


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    files = _bag_files(path)
    try:
        with Reader(path) as reader:
            yield reader
    except InvalidInput:
        raise
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        names = ", ".join(map(str, files))
        raise InvalidInput(f"{names}: want a complete rosbag2 recording, this one is damaged or cut short: {reason}") from error


def _bag_files(path: Path) -> list[Path]:
    want = "want a rosbag2 folder (metadata.yaml beside .mcap or .db3 files) or one .mcap or .db3 file"
    if not path.exists():
        raise InvalidInput(f"{path}: no such bag; {want}")
    if path.is_file() and path.suffix not in STORAGE_SUFFIXES:
        raise InvalidInput(f"{path}: not a bag; {want}")
    if path.is_file():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith((*STORAGE_SUFFIXES, ".zstd")))
    if not (path / "metadata.yaml").is_file():
        cut = f"; {files[0].name} is there: was the recording cut short?" if files else ""
        raise InvalidInput(f"{path}: not a bag, it has no metadata.yaml{cut}; {want}")
    return files or [path / "metadata.yaml"]


def _parts(reader: Reader) -> list[ReaderProtocol]:
    """One reader per file: rosbags reads the files of a split bag one after the other, though they may overlap in time."""
    storage = reader.storage
    if not isinstance(storage, DirectoryReader):
        return [storage]
    parts: list[ReaderProtocol] = []
    for file in storage.storages:
        part = copy(storage)
        part.storages = [file]
        parts.append(part)
    return parts


def _check_definition(path: Path, connection: Connection) -> None:
    if not connection.digest or connection.msgtype not in _typestore().fielddefs:
        return
    ours = type_hash(connection.msgtype)
    if connection.digest != ours:
        raise InvalidInput(
            f"{path}: {connection.topic} was recorded with another definition of {connection.msgtype}: "
            f"want {ours}, got {connection.digest}"
        )


def _check_counts(path: Path, connections: list[Connection], found: Counter[str]) -> None:
    promised: Counter[str] = Counter()
    for connection in connections:
        promised[connection.topic] += connection.msgcount
    if wrong := [f"{name} {found[name]} of {n}" for name, n in promised.items() if found[name] != n]:
        raise InvalidInput(f"{path}: the bag's index promises more or fewer messages than there are: {', '.join(wrong)}")


def _topic_info(path: Path, name: str, connections: list[Connection]) -> TopicInfo:
    types = sorted({c.msgtype for c in connections})
    if len(types) != 1:
        raise InvalidInput(f"{path}: {name} holds messages of several types: {', '.join(types)}")
    count = sum(c.msgcount for c in connections)
    qos = sorted({_qos_text(q) for c in connections for q in _offered(c)})
    return TopicInfo(name, types[0], count, connections[0].digest, "; ".join(qos))


def _offered(connection: Connection) -> list[Qos]:
    return connection.ext.offered_qos_profiles if isinstance(connection.ext, ConnectionExtRosbag2) else []


def _qos_text(qos: Qos) -> str:
    history = f"keep_last({qos.depth})" if qos.history == QosHistory.KEEP_LAST else qos.history.name.lower()
    return f"{qos.reliability.name.lower()} {qos.durability.name.lower()} {history}"
