"""rosbag2 in: MCAP and sqlite3, split and compressed."""

from __future__ import annotations

import heapq
import struct
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw
from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.interfaces import Connection, ConnectionExtRosbag2, Qos, QosHistory
from rosbags.rosbag2 import Reader, ReaderError, storage_mcap
from rosbags.rosbag2.reader import DirectoryReader

from alpamayo_ros.bags.messages import type_hash, typestore
from alpamayo_ros.types import InvalidInput

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

if TYPE_CHECKING:
    from rosbags.rosbag2.reader import ReaderProtocol

STORAGE_SUFFIXES = (".mcap", ".db3")

MAX_CHUNK_BYTES = 2**30
"""What a compressed chunk of an MCAP file may inflate to."""

MAX_MESSAGE_BYTES = 2**28
"""What a compressed message may inflate to: five raw pictures of 4096 x 4096 px."""

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


def _chunk(inflate: Callable[[bytes, int], bytes]) -> Callable[[bytes, int], bytes]:
    def bounded(data: bytes, size: int) -> bytes:
        if size > MAX_CHUNK_BYTES:
            raise ReaderError(f"a chunk of {size} bytes, limit {MAX_CHUNK_BYTES}")
        return inflate(data, size + 1)  # a byte more than it says: rosbags refuses another size

    return bounded


# rosbags' own inflate whatever comes before they look at its size: 1 MB may hold 10 GB.
storage_mcap.DECOMPRESSORS["zstd"] = _chunk(lambda data, limit: ZstdDecompressor().decompress(data, limit))
storage_mcap.DECOMPRESSORS["lz4"] = _chunk(lambda data, limit: bytes(LZ4FrameDecompressor().decompress(data, limit)))


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
        packed = reader.storage.metadata.compression_mode == "message"
        for connection, log_ns, cdr in heapq.merge(*parts, key=lambda item: item[1]):
            found[connection.topic] += 1
            yield Record(connection.topic, connection.msgtype, log_ns, _message(cdr) if packed else cdr)
        if start_ns is None and stop_ns is None:
            _check_counts(path, connections, found)


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
        there = any(file.name != "metadata.yaml" for file in files)
        remedy = f"`alpamayo recover {path} OUT` keeps what is whole" if there else "it has no .mcap or .db3 file"
        raise InvalidInput(
            f"{names}: want a complete rosbag2 recording, this one is damaged or cut short: {reason}; {remedy}"
        ) from error


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
        remedy = f": the recording was cut short, `alpamayo recover {path} OUT` keeps what is whole" if files else ""
        raise InvalidInput(f"{path}: not a bag, it has no metadata.yaml{remedy}; {want}")
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
        part.metadata = storage.metadata._replace(compression_mode=None)  # we inflate messages ourselves, to a limit
        parts.append(part)
    return parts


def _message(data: bytes) -> bytes:
    plain = ZstdDecompressor()
    cdr = plain.decompress(data, MAX_MESSAGE_BYTES)
    if not plain.eof:
        raise ReaderError(f"a compressed message of {len(data)} bytes is cut short or larger than {MAX_MESSAGE_BYTES} bytes")
    return cdr


def _check_definition(path: Path, connection: Connection) -> None:
    if not connection.digest or connection.msgtype not in typestore().fielddefs:
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
