"""MCAP out, as rosbag2 lays it out: chunks with a checksum and a message index, and a summary at the end.

Format: https://mcap.dev/spec, version 0. Not with rosbags' writer: what that has not filled a chunk with stays in the
process, its chunks have no checksum, and its caller waits for the disk (figures: docs/recording.md).
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alpamayo_ros.bags.disk import Disk

MAGIC = b"\x89MCAP0\r\n"
CHUNK_BYTES = 2**20

HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(9, 16)

PREFIX = struct.Struct("<BQ")  # of every record: opcode, length of what follows
MESSAGE_FIELDS = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_FIELDS = struct.Struct("<QQQI")  # first and last log time, size, CRC-32 of the uncompressed records
FOOTER_FIELDS = struct.Struct("<QQI")  # summary start, summary offset start, CRC-32 of the summary
_CHUNK_EXTRA = CHUNK_FIELDS.size + 4 + 8  # its compression, empty, and the size of the records


def record(op: int, content: bytes) -> bytes:
    """A record with its opcode and length."""
    return PREFIX.pack(op, len(content)) + content


def string(text: str | bytes) -> bytes:
    """A text or bytes with their length."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<I", len(data)) + data


class _Chunk:
    """Records that reach the disk together, and where its messages are."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.size = 0
        self.first_ns, self.last_ns = 2**64 - 1, 0
        self.index: dict[int, list[int]] = {}  # by channel: log time, offset, log time, offset, ...

    def add(self, *parts: bytes) -> None:
        self.records += parts
        self.size += sum(map(len, parts))

    def add_message(self, channel: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        self.index.setdefault(channel, []).extend((log_ns, self.size))
        self.first_ns, self.last_ns = min(log_ns, self.first_ns), max(log_ns, self.last_ns)
        prefix = PREFIX.pack(MESSAGE, MESSAGE_FIELDS.size + len(data))
        self.add(prefix + MESSAGE_FIELDS.pack(channel, 0, log_ns, publish_ns), data)

    def parts(self, indexes: Sequence[bytes]) -> list[bytes]:
        """The chunk record and the index records after it."""
        crc = 0
        for part in self.records:
            crc = zlib.crc32(part, crc)
        prefix = PREFIX.pack(CHUNK, _CHUNK_EXTRA + self.size)
        fields = CHUNK_FIELDS.pack(self.first_ns, self.last_ns, self.size, crc) + string("") + struct.pack("<Q", self.size)
        return [prefix + fields, *self.records, *indexes]


class Contents(NamedTuple):
    """What the whole chunks of a file hold."""

    messages: dict[int, int]  # by channel
    first_ns: int  # 0 without messages
    last_ns: int


class McapFile:
    """A new MCAP file of profile "ros2". All methods raise OSError when the disk refuses."""

    def __init__(self, path: Path, library: str) -> None:
        self._disk = Disk(path)
        header = MAGIC + record(HEADER, string("ros2") + string(library))
        self._data_start = len(header)
        self._disk.append(lambda: [header], len(header))
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._chunk = _Chunk()
        self._chunk_indexes: list[bytes] = []  # packed, as they are written: a long recording has many

    @property
    def waited_s(self) -> float:
        """How long messages waited for a disk that was slower than they came."""
        return self._disk.waited_s

    def add_schema(self, name: str, encoding: str, definition: str) -> int:
        """Id of a new message definition."""
        fields = struct.pack("<H", len(self._schemas) + 1) + string(name) + string(encoding) + string(definition)
        self._schemas.append(record(SCHEMA, fields))
        self._chunk.add(self._schemas[-1])
        return len(self._schemas)

    def add_channel(self, schema: int, topic: str, metadata: Mapping[str, str]) -> int:
        """Id of a new topic of CDR messages."""
        fields = struct.pack("<HH", len(self._channels) + 1, schema) + string(topic) + string("cdr") + _texts(metadata)
        self._channels.append(record(CHANNEL, fields))
        self._chunk.add(self._channels[-1])
        return len(self._channels)

    def add_message(self, channel: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Append one message; it is kept, not copied."""
        self._chunk.add_message(channel, log_ns, publish_ns, data)
        if self._chunk.size >= CHUNK_BYTES:
            self._seal()

    def flush(self) -> None:
        """Send all messages to the disk; does not wait for it."""
        if self._chunk.index:
            self._seal()
            self._disk.sync()

    def settle(self) -> OSError | None:
        """Send all messages to the disk and wait: afterwards there are `contents()`, and the reason why not all are there."""
        failure = None
        try:
            if self._chunk.index:
                self._seal()
        except OSError as error:
            failure = error
        failure = self._disk.settle() or failure
        while self._chunk_indexes and _described(self._chunk_indexes[-1]).end > self._disk.size:
            self._chunk_indexes.pop()
        return failure

    def contents(self) -> Contents:
        """What is in the file, of a settled one."""
        messages: Counter[int] = Counter()
        chunks = [_described(entry) for entry in self._chunk_indexes]
        for chunk in chunks:
            messages.update(chunk.messages)
        first_ns, last_ns = min((c.first_ns for c in chunks), default=0), max((c.last_ns for c in chunks), default=0)
        return Contents(dict(messages), first_ns, last_ns)

    def drop_last_chunk(self) -> bool:
        """Make room on a full disk; False when there is nothing to drop."""
        if not self._chunk_indexes:
            return False
        self._disk.truncate(_described(self._chunk_indexes.pop()).start)
        return True

    def finish(self, name: str, metadata: Mapping[str, str]) -> None:
        """Write a metadata record and the summary after the last whole chunk of a settled file."""
        data_end = _described(self._chunk_indexes[-1]).end if self._chunk_indexes else self._data_start
        self._disk.truncate(data_end)
        about = record(METADATA, string(name) + _texts(metadata))
        summary_start = data_end + len(about) + len(_DATA_END)
        metadata_index = record(METADATA_INDEX, struct.pack("<QQ", data_end, len(about)) + string(name))
        self._disk.write(about + _DATA_END + self._summary(summary_start, metadata_index) + MAGIC)

    def close(self) -> None:
        """Close a settled file."""
        self._disk.close()

    def _seal(self) -> None:
        chunk, self._chunk = self._chunk, _Chunk()
        start = self._disk.size
        length = PREFIX.size + _CHUNK_EXTRA + chunk.size
        indexes, offsets, end = [], b"", start + length
        for channel, entries in chunk.index.items():
            fields = struct.pack("<HI", channel, 8 * len(entries)) + struct.pack(f"<{len(entries)}Q", *entries)
            indexes.append(record(MESSAGE_INDEX, fields))
            offsets += struct.pack("<HQ", channel, end)
            end += len(indexes[-1])
        self._disk.append(lambda: chunk.parts(indexes), end - start)
        fields = struct.pack("<QQQQ", chunk.first_ns, chunk.last_ns, start, length) + string(offsets)
        fields += struct.pack("<Q", end - start - length) + string("") + struct.pack("<QQ", chunk.size, chunk.size)
        self._chunk_indexes.append(fields)

    def _summary(self, start: int, metadata_index: bytes) -> bytes:
        """Everything from DataEnd to the closing magic."""
        groups = {
            SCHEMA: b"".join(self._schemas),
            CHANNEL: b"".join(self._channels),
            CHUNK_INDEX: b"".join(record(CHUNK_INDEX, entry) for entry in self._chunk_indexes),
            METADATA_INDEX: metadata_index,
            STATISTICS: record(STATISTICS, self._statistics()),
        }
        summary, offsets = b"", b""
        for op, group in groups.items():
            if group:
                offsets += record(SUMMARY_OFFSET, struct.pack("<BQQ", op, start + len(summary), len(group)))
            summary += group
        footer = FOOTER_FIELDS.pack(start, start + len(summary), 0)
        checked = summary + offsets + PREFIX.pack(FOOTER, len(footer)) + footer[:-4]
        return checked + struct.pack("<I", zlib.crc32(checked))

    def _statistics(self) -> bytes:
        held = self.contents()
        counts = b"".join(struct.pack("<HQ", i, held.messages.get(i, 0)) for i in range(1, len(self._channels) + 1))
        sizes = (sum(held.messages.values()), len(self._schemas), len(self._channels), 0, 1, len(self._chunk_indexes))
        return struct.pack("<QHIIIIQQ", *sizes, held.first_ns, held.last_ns) + string(counts)


_DATA_END = record(DATA_END, struct.pack("<I", 0))


class _Described(NamedTuple):
    first_ns: int
    last_ns: int
    start: int  # of the chunk in the file
    end: int  # of its indexes
    messages: dict[int, int]  # by channel


def _described(entry: bytes) -> _Described:
    """A chunk from its index; an index record of n messages is 15 + 16 n bytes long."""
    first_ns, last_ns, start, length, size = struct.unpack_from("<QQQQI", entry)
    offsets = list(struct.iter_unpack("<HQ", entry[36 : 36 + size]))
    end = start + length + int.from_bytes(entry[36 + size : 44 + size], "little")
    ends = [*(offset for _, offset in offsets[1:]), end]
    counts = {channel: (stop - offset - 15) // 16 for (channel, offset), stop in zip(offsets, ends, strict=True)}
    return _Described(first_ns, last_ns, start, end, counts)


def _texts(texts: Mapping[str, str]) -> bytes:
    return string(b"".join(string(key) + string(value) for key, value in texts.items()))
