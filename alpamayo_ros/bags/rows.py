"""What is whole in a damaged rosbag2 database: SQLite files that were cut off, or left behind in the middle of a write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw

from alpamayo_ros.bags.scanning import Damage, Found, Topic, offers_of
from alpamayo_ros.bags.writing import Definition

SQLITE_MAGIC = b"SQLite format 3\0"

_SIDE_FILES = ("-wal", "-journal")  # what SQLite had not put into the .db3 yet
_DEFINITIONS = "SELECT topic_type, encoded_message_definition, encoding, type_description_hash FROM message_definitions"
# A damaged row may claim a gigabyte and find it by going round the pages of the file: none is longer than what is left of it.
_MESSAGES = "SELECT id, topic_id, timestamp, CASE WHEN length(data) <= ? THEN data END FROM messages WHERE id >= ? ORDER BY id"
_FIRST_ROW, _LAST_ROW = 0, 2**62
_HEADER_BYTES = 100
_ROW_BYTES = 8  # no row is shorter: a file cannot have had more of them
_UNREADABLE = (apsw.Error, UnicodeDecodeError)  # what SQLite says of a damaged name need not be UTF-8
_PATIENCE = 1000  # rows that cannot be read, one after the other, before more than one at a time is skipped


def rows(path: Path, scratch: Path, damage: Damage) -> Iterator[Found]:
    """Yield the messages of a .db3 file by row, noting in `damage` what cannot be read.

    SQLite completes or takes back what a killed writer left in side files, in a copy in the folder `scratch`.
    """
    _note_size(path, damage)
    sides = [side for suffix in _SIDE_FILES if (side := path.with_name(path.name + suffix)).is_file()]
    if sides:
        for file in (path, *sides):
            shutil.copyfile(file, scratch / file.name)
        damage.add(f"{path.name}: was not closed: {', '.join(side.name for side in sides)} is there")
    try:
        database = _opened(scratch / path.name if sides else path, immutable=not sides)
        try:
            topics = _topics(database)
            yield from _messages(path, database, topics, damage)
        finally:
            database.close()
    except _UNREADABLE as error:
        damage.add(f"{path.name}: cannot be read as a rosbag2 database: {error}")
        damage.uncounted = True


def _note_size(path: Path, damage: Damage) -> None:
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not header.startswith(SQLITE_MAGIC):
        damage.add(f"{path.name}: begins with {header[:16]!r}, an SQLite file with {SQLITE_MAGIC!r}")
        return
    if len(header) < _HEADER_BYTES:
        damage.add(f"{path.name}: has {len(header)} bytes, want {_HEADER_BYTES} of an SQLite file's header and more")
        return
    page = int.from_bytes(header[16:18], "big")
    page = 65_536 if page == 1 else page
    want, size = page * int.from_bytes(header[28:32], "big"), path.stat().st_size
    if size < want:
        damage.add(f"{path.name}: cut off at {size} of {want} bytes")


def _opened(path: Path, immutable: bool) -> apsw.Connection:
    if immutable:
        uri = f"{path.resolve().as_uri()}?immutable=1"
        database = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    else:
        database = apsw.Connection(str(path))
    database.execute("PRAGMA writable_schema=ON")  # otherwise SQLite opens no file that is shorter than it says
    return database


def _topics(database: apsw.Connection) -> dict[int, Topic]:
    """Raises apsw.Error."""
    definitions: dict[str, Definition] = {}
    if _columns(database, "message_definitions"):
        definitions = {kind: Definition(*rest) for kind, *rest in database.execute(_DEFINITIONS)}
    qos = "offered_qos_profiles" if "offered_qos_profiles" in _columns(database, "topics") else "''"
    found = database.execute(f"SELECT id, name, type, {qos} FROM topics WHERE serialization_format = 'cdr'")  # noqa: S608
    return {
        number: Topic(name, kind, definitions.get(kind, Definition("", "", "")), offers_of(offered))
        for number, name, kind, offered in found
    }


def _messages(path: Path, database: apsw.Connection, topics: dict[int, Topic], damage: Damage) -> Iterator[Found]:
    row, misses, step, size = _FIRST_ROW, 0, 1, path.stat().st_size
    left = size
    gaps: list[str] = []  # why rows could not be read, one per run of them
    last = seen = useless = 0
    while row < _LAST_ROW:
        try:
            for found, topic, log_ns, data in database.execute(_MESSAGES, (left, row)):
                if found < row:
                    raise apsw.CorruptError(f"row {found} follows row {row - 1}")
                if isinstance(data, bytes) and len(data) > left:
                    raise apsw.CorruptError(f"row {found} brings more bytes than the file has")
                last, seen, row, misses, step = found, seen + 1, found + 1, 0, 1
                if topic in topics and isinstance(data, bytes) and isinstance(log_ns, int) and log_ns >= 0:
                    left -= len(data)
                    yield Found(topics[topic], log_ns, log_ns, data)
                else:
                    useless += 1
            break
        except _UNREADABLE as error:
            if not misses:
                gaps.append(f"after row {last}: {error}")
            row, misses = row + step, misses + 1
            step = step if misses < _PATIENCE else 2 * step
    if gaps:
        ended = row < _LAST_ROW and step == 1  # the end was found, not only no row any more
        _note_gaps(path.name, gaps, seen, row - 1 if ended else last, size // _ROW_BYTES, damage)
        if not ended:
            damage.add(f"{path.name}: nothing after row {last} can be read")
            damage.uncounted = True
    if useless:
        damage.add(f"{path.name}: {useless} rows are no CDR messages of a topic that the file names", lost_messages=useless)


def _note_gaps(name: str, gaps: list[str], seen: int, last: int, most: int, damage: Damage) -> None:
    """Note rows that cannot be read, of which rosbag2 numbers the first 1, up to row `last`; a file has `most` of them."""
    missing = last - seen
    if not 0 <= missing <= most:  # a damaged row has another number than it had
        damage.uncounted = True
        damage.add(f"{name}: {len(gaps)} runs of rows cannot be read, the first {gaps[0]}")
    elif missing:
        damage.add(f"{name}: {missing} of the rows 1 to {last} cannot be read, the first {gaps[0]}", lost_messages=missing)


def _columns(database: apsw.Connection, table: str) -> set[str]:
    return {column[1] for column in database.execute(f"PRAGMA table_info({table})")}
