"""What is whole in a damaged MCAP file: read from its first byte on, without its index.

Nothing but checksums and the lengths that records state about themselves is trusted. Where a record cannot be one, reading
goes on at the next bytes that are a chunk. One chunk at a time is in memory.
"""

from __future__ import annotations

import re
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]
from rosbags.interfaces import Qos
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.metadata import parse_qos

from alpamayo_ros.bags import mcap
from alpamayo_ros.bags.writing import Definition, Offer

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdDecompressor, ZstdError

MAX_CHUNK_BYTES = 2**30
"""A chunk that claims to be larger is taken for damaged."""

_WINDOW = 2**20
_DOUBTFUL_ZEROS = 64
_FOOTER = mcap.PREFIX.size + mcap.FOOTER_FIELDS.size + len(mcap.MAGIC)

# A chunk record below 4 GiB: its opcode and length, times, size and checksum, then the name of its compression.
_LOOKS_LIKE_CHUNK = re.compile(rb"\x06(?=.{4}\0\0\0\0.{28}(?:\0\0\0\0|\x04\0\0\0zstd|\x03\0\0\0lz4))", re.DOTALL)
_CHUNK_HEAD = mcap.PREFIX.size + mcap.CHUNK_FIELDS.size + 4 + 4 + 8  # with the longest of these names

_UNPACKABLE = (ZstdError, RuntimeError, EOFError, MemoryError)
_TORN = (struct.error, IndexError, UnicodeDecodeError)


class Topic(NamedTuple):
    """What a recording says about the messages of a topic."""

    name: str
    type_name: str
    definition: Definition
    offers: tuple[Offer, ...]


class Found(NamedTuple):
    """A message that is whole."""

    topic: Topic
    log_ns: int
    publish_ns: int
    cdr: bytes


@dataclass
class Damage:
    """What is wrong with a recording, in words, and how much of it is lost."""

    problems: list[str] = field(default_factory=list)
    lost_bytes: int = 0  # of the files, that are no whole message
    lost_messages: int = 0  # as far as they can be counted
    uncounted: bool = False  # whether more messages may be lost than can be counted

    def add(self, problem: str, lost_bytes: int = 0, lost_messages: int = 0) -> None:
        """Note one problem."""
        self.problems.append(problem)
        self.lost_bytes += lost_bytes
        self.lost_messages += lost_messages

    def summary(self, size: int) -> str:
        """How much of a recording of `size` bytes is lost."""
        if not self.problems:
            return "nothing"
        lost = []
        if self.lost_messages:
            lost.append(f"{'at least ' if self.uncounted else ''}{self.lost_messages} messages")
        elif self.uncounted:
            lost.append("messages that cannot be counted")
        if self.lost_bytes:
            lost.append(f"{self.lost_bytes} of {size} bytes are no whole message")
        return ", ".join(lost) or "nothing that the files hold"


def offers_of(text: str) -> tuple[Offer, ...]:
    """Offered QoS as any version of rosbag2 writes it; none where it cannot be read."""
    try:
        return tuple(_offer(qos) for qos in parse_qos(text))
    except (ReaderError, KeyError, TypeError, ValueError, AttributeError):
        return ()


def _offer(qos: Qos) -> Offer:
    words = (qos.reliability.name.lower(), qos.durability.name.lower(), qos.history.name.lower())
    deadline, lifespan, lease = (t.sec * 10**9 + t.nsec for t in (qos.deadline, qos.lifespan, qos.liveliness_lease_duration))
    return Offer(*words, qos.depth, deadline, lifespan, qos.liveliness.name.lower(), lease)


class _Fields:
    """Reads the fields of a record one after the other. All raise one of _TORN where the record ends too early."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)

    def take(self, size: int) -> memoryview:
        if size > len(self.data):
            raise IndexError(f"{size} bytes wanted, {len(self.data)} left")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        return str(self.take(self.number(4)), "utf-8")

    def texts(self) -> dict[str, str]:
        inner = _Fields(self.take(self.number(4)))
        texts = {}
        while inner.data:
            key = inner.text()
            texts[key] = inner.text()
        return texts


class _Channels:
    """The topics of a file, by channel id."""

    def __init__(self) -> None:
        self._schemas: dict[int, tuple[str, str, str]] = {}  # name, encoding, text
        self.topics: dict[int, Topic] = {}

    def take(self, op: int, data: memoryview) -> None:
        """Learn from a schema or channel record. Raises one of _TORN."""
        fields = _Fields(data)
        number = fields.number(2)
        if op == mcap.SCHEMA:
            self._schemas[number] = fields.text(), fields.text(), fields.text()
            return
        type_name, encoding, text = self._schemas.get(fields.number(2), ("", "", ""))
        name, message_encoding, metadata = fields.text(), fields.text(), fields.texts()
        if type_name and message_encoding == "cdr":
            definition = Definition(text, encoding, metadata.get("topic_type_hash", ""))
            self.topics[number] = Topic(name, type_name, definition, offers_of(metadata.get("offered_qos_profiles", "")))


def scan(path: Path, damage: Damage) -> Iterator[Found]:
    """Yield the whole messages of an MCAP file in the order in which they lie in it; note in `damage` what is not whole."""
    with path.open("rb") as file:
        yield from _Scan(path.name, file, path.stat().st_size, damage).messages()


class _Scan:
    def __init__(self, name: str, file: BinaryIO, size: int, damage: Damage) -> None:
        self._name = name
        self._file = file
        self._size = size
        self._damage = damage
        self._channels = _Channels()
        self._unknown: dict[int, int] = {}  # messages by channel of which no record tells the topic
        self._span_ns: tuple[int, int] | None = None  # first and last log time of the messages before this place
        self._hole: int | None = None  # index of the problem that lies between the last message and this place

    def messages(self) -> Iterator[Found]:
        promised = self._summary()
        at: int | None = len(mcap.MAGIC)
        if (start := self._at(0, len(mcap.MAGIC))) != mcap.MAGIC:
            self._damage.add(f"{self._name}: begins with {start!r}, an MCAP file with {mcap.MAGIC!r}")
            at = self._next_chunk(0)
        trusted = at or 0  # before it nothing is looked for any more
        found = 0
        while at is not None and at < self._size:
            op, length = self._prefix(at)
            if op == mcap.DATA_END and length == 4:
                break
            content = at + mcap.PREFIX.size
            if self._is_record(op, content, length):
                at = content + length
                trusted = at if op in (mcap.CHUNK, mcap.MESSAGE_INDEX) else trusted
                messages = self._record(op, content, length)
            else:
                following = self._next_chunk(trusted)
                messages = self._torn(trusted, at, following)
                at = following
            for message in messages:
                found += 1
                self._pass(message.log_ns)
                yield message
        if promised is None:
            self._damage.add(f"{self._name}: has no index at its end: it was cut off, or never closed")
        elif promised != found:
            lost = max(promised - found, 0)
            self._damage.add(f"{self._name}: {found} messages of the {promised} that its index has", lost_messages=lost)
        for channel, count in self._unknown.items():
            self._damage.add(f"{self._name}: {count} messages of channel {channel}, whose topic is lost")

    def _add_hole(self, problem: str, lost_bytes: int) -> None:
        self._hole = len(self._damage.problems)
        self._damage.add(f"{self._name}: {problem}", lost_bytes)

    def _pass(self, log_ns: int) -> None:
        """Say of damage before a message for how long nothing came."""
        first, last = self._span_ns or (log_ns, log_ns)
        if self._hole is not None and log_ns > last:
            since = f"{(log_ns - last) / 1e9:.1f} s without a message from {(last - first) / 1e9:+.1f} s"
            self._damage.problems[self._hole] += f": {since}"
        self._hole, self._span_ns = None, (first, max(last, log_ns))

    def _record(self, op: int, content: int, length: int) -> Iterator[Found]:
        if op == mcap.CHUNK:
            yield from self._chunk(content, length)
        elif op in (mcap.SCHEMA, mcap.CHANNEL, mcap.MESSAGE):
            prefix = mcap.PREFIX.pack(op, length)
            yield from self._records(prefix + self._at(content, length), f"at byte {content}")

    def _chunk(self, content: int, length: int) -> Iterator[Found]:
        where = f"chunk at byte {content}"
        head = _chunk_head(self._at(content, _CHUNK_HEAD))
        if head is None or head.size > MAX_CHUNK_BYTES or head.packed_size > MAX_CHUNK_BYTES:
            self._add_hole(f"{where} claims to be larger than {MAX_CHUNK_BYTES} bytes", length)
            return
        try:
            records = _unpack(head, self._at(content + head.offset, head.packed_size))
        except _UNPACKABLE as error:
            self._add_hole(f"{where} cannot be decompressed: {error}", length)
            return
        if len(records) != head.size:
            self._add_hole(f"{where} has {len(records)} bytes of {head.size}", length)
        elif head.crc and zlib.crc32(records) != head.crc:
            self._add_hole(f"{where}: CRC-32 is {zlib.crc32(records):08x}, want {head.crc:08x}", length)
        else:
            yield from self._records(records, where)

    def _torn(self, start: int, at: int, following: int | None) -> Iterator[Found]:
        """What is no whole record: damaged, or cut off by the end of the file, where messages of a chunk may still be whole."""
        op, length = self._prefix(at)
        content = at + mcap.PREFIX.size
        head = _chunk_head(self._at(content, _CHUNK_HEAD)) if op == mcap.CHUNK and following is None else None
        if head is None or length != head.offset + head.packed_size:
            end = self._size if following is None else following
            self._add_hole(f"bytes {start} to {end} are no whole records", end - start)
            return
        try:
            records = _unpack(head, self._at(content + head.offset, MAX_CHUNK_BYTES))
        except _UNPACKABLE:
            records = b""
        records = records[: _whole_records(records)]
        unused = self._size - content - head.offset - len(records)
        used = f"{len(records)} of its {head.size} bytes are whole records, used without their checksum"
        self._damage.add(f"{self._name}: the last chunk, at byte {content}, is cut off: {used}", max(unused, 0))
        yield from self._records(records, f"chunk at byte {content}")

    def _records(self, records: bytes, where: str) -> Iterator[Found]:
        used = 0
        for op, content in _split(records):
            used += mcap.PREFIX.size + len(content)
            if op == mcap.MESSAGE and len(content) >= mcap.MESSAGE_FIELDS.size:
                yield from self._message(content)
            elif op in (mcap.SCHEMA, mcap.CHANNEL):
                self._learn(op, content, where)
        if used != len(records):
            lost = len(records) - used
            self._damage.add(f"{self._name}: {where}: its last {lost} bytes are no record", lost)

    def _learn(self, op: int, content: memoryview, where: str) -> None:
        try:
            self._channels.take(op, content)
        except _TORN as error:
            self._damage.add(f"{self._name}: {where}: a damaged description of a topic: {error}", len(content))

    def _message(self, content: memoryview) -> Iterator[Found]:
        channel, _, log_ns, publish_ns = mcap.MESSAGE_FIELDS.unpack_from(content)
        topic = self._channels.topics.get(channel)
        if topic is None:
            self._unknown[channel] = self._unknown.get(channel, 0) + 1
        elif log_ns >= 2**63:
            self._damage.add(f"{self._name}: {topic.name}: log time {log_ns} ns is not in [0, 2^63)", len(content))
        else:
            yield Found(topic, log_ns, publish_ns, bytes(content[mcap.MESSAGE_FIELDS.size :]))

    def _summary(self) -> int | None:
        """The number of messages that the end of a whole file promises; None where there is no such end.

        A whole file names its topics there once more, for chunks that use those of a chunk that is lost.
        """
        footer = self._at(max(self._size - _FOOTER, 0), _FOOTER)
        if len(footer) != _FOOTER or not footer.endswith(mcap.MAGIC) or footer[0] != mcap.FOOTER:
            return None
        start, _, crc = mcap.FOOTER_FIELDS.unpack_from(footer, mcap.PREFIX.size)
        size = self._size - len(mcap.MAGIC) - 4 - start
        summary = self._at(start, size) if 0 < size <= MAX_CHUNK_BYTES else b""
        if crc and zlib.crc32(summary) != crc:
            return None
        promised = None
        for op, content in _split(summary):
            if op in (mcap.SCHEMA, mcap.CHANNEL):
                self._learn(op, content, "summary")
            elif op == mcap.STATISTICS and len(content) >= 8:
                promised = int.from_bytes(content[:8], "little")
        return promised

    def _is_record(self, op: int, content: int, length: int) -> bool:
        """Whether the file holds all of a record, and its length agrees with what is in it, as far as that is known."""
        if not mcap.HEADER <= op < mcap.DATA_END or op == mcap.FOOTER or content + length > self._size:
            return False
        if op == mcap.CHUNK:
            head = _chunk_head(self._at(content, _CHUNK_HEAD))
            return head is not None and length == head.offset + head.packed_size
        if op == mcap.MESSAGE_INDEX:
            return length == 6 + int.from_bytes(self._at(content + 2, 4), "little")
        return length <= MAX_CHUNK_BYTES or op == mcap.ATTACHMENT

    def _next_chunk(self, start: int) -> int | None:
        """Where the next bytes from `start` on are a chunk record."""
        while start < self._size:
            window = self._at(start, _WINDOW + _CHUNK_HEAD)
            for match in _LOOKS_LIKE_CHUNK.finditer(window):
                at = start + match.start()
                op, length = self._prefix(at)
                if self._is_record(op, at + mcap.PREFIX.size, length):
                    return at
            start += _WINDOW
        return None

    def _prefix(self, at: int) -> tuple[int, int]:
        prefix = self._at(at, mcap.PREFIX.size).ljust(mcap.PREFIX.size, b"\0")
        return prefix[0], int.from_bytes(prefix[1:], "little")

    def _at(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


class _Head(NamedTuple):
    size: int  # of the records
    crc: int
    compression: str
    packed_size: int  # of the records as they are in the file
    offset: int  # of these in the chunk record


def _chunk_head(data: bytes) -> _Head | None:
    fields = _Fields(data)
    try:
        _, _, size, crc = mcap.CHUNK_FIELDS.unpack(fields.take(mcap.CHUNK_FIELDS.size))
        compression = fields.text()
        head = _Head(size, crc, compression, fields.number(8), mcap.CHUNK_FIELDS.size + 4 + len(compression) + 8)
    except _TORN:
        return None
    return head if compression in _UNPACKERS else None


_UNPACKERS: dict[str, Callable[[bytes, int], bytes]] = {
    "": lambda data, size: data[:size],
    "zstd": lambda data, size: ZstdDecompressor().decompress(data, size),
    "lz4": lambda data, size: bytes(LZ4FrameDecompressor().decompress(data, size)),
}


def _unpack(head: _Head, data: bytes) -> bytes:
    """The records of a chunk, as many as its data hold and never more than it says. Raises what the decompressors raise."""
    return _UNPACKERS[head.compression](data, head.size)


def _split(records: bytes) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of the whole records at the beginning of these bytes."""
    rest = memoryview(records)
    while len(rest) >= mcap.PREFIX.size:
        op, length = mcap.PREFIX.unpack_from(rest)
        content = rest[mcap.PREFIX.size :][:length]
        if op == 0 or len(content) != length:  # no record has opcode 0: it is what a power cut leaves of bytes never written
            break
        yield op, content
        rest = rest[mcap.PREFIX.size + length :]


def _whole_records(records: bytes) -> int:
    """Length of the whole records at the beginning of these bytes, which nothing vouches for.

    A power cut may leave zeros where bytes never reached the disk: a last record that zeros follow, or that ends in many, is
    not believed.
    """
    ends = [0]
    for _, content in _split(records):
        ends.append(ends[-1] + mcap.PREFIX.size + len(content))
    doubtful = records[ends[-1] :].startswith(b"\0") or records[: ends[-1]].endswith(bytes(_DOUBTFUL_ZEROS))
    return ends[-2] if doubtful and len(ends) > 1 else ends[-1]
