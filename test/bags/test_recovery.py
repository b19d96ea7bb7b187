"""What is left of a recording that was cut off or damaged: everything whole, and nothing else."""

from __future__ import annotations

import re
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lz4.frame import compress as lz4_compress
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from alpamayo_ros.bags import BagWriter, Definition, Offer, Record, bag_topics, message, read_bag, recover, serialize
from alpamayo_ros.bags.mcap import CHUNK, FOOTER, MAGIC, MESSAGE, PREFIX, record, string
from alpamayo_ros.types import InvalidInput

if sys.version_info >= (3, 14):
    from compression.zstd import compress as zstd_compress
else:
    from backports.zstd import compress as zstd_compress

STRING = "std_msgs/msg/String"
PAGE = 4096
MESSAGES = 40


def written(index: int) -> Record:
    """Message `index`: its topic, time and content all say which one it is."""
    text = message(STRING)(data=f"{index} " + "x" * (index % 7 * 11))
    return Record(f"/topic{index % 3}", STRING, 1_000 + index, serialize(text, STRING))


def write(path: Path, flush_every: int = 8) -> Path:
    with BagWriter(path) as bag:
        for index in range(MESSAGES):
            bag.write(*written(index), publish_ns=index)
            if index % flush_every == flush_every - 1:
                bag.flush()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The .mcap of a bag of five chunks."""
    return (write(tmp_path_factory.mktemp("whole") / "bag") / "bag.mcap").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def chunk_ends(data: bytes) -> list[int]:
    """Where the chunks of an undamaged file end."""
    at, ends = len(MAGIC), []
    while data[at] != FOOTER:
        op, length = PREFIX.unpack_from(data, at)
        at += PREFIX.size + length
        if op == CHUNK:
            ends.append(at)
    return ends


def message_ends(data: bytes) -> list[int]:
    """Where each message of a file with plain chunks ends, in the order in which they were written."""
    ends, start = [], len(MAGIC)
    for end in chunk_ends(data):
        at = data.index(b"\x06", start)
        at = start
        while data[at] != CHUNK:
            at += PREFIX.size + PREFIX.unpack_from(data, at)[1]
        at += PREFIX.size + 40
        while at < end:
            op, length = PREFIX.unpack_from(data, at)
            at += PREFIX.size + length
            ends += [at] * (op == MESSAGE)
        start = end
    return ends


def salvage(place: Path, data: bytes) -> tuple[list[Record], tuple[str, ...]] | None:
    """What is recovered from these bytes and the problems named; None where the file is refused."""
    shutil.rmtree(place / "out", ignore_errors=True)
    (place / "cut.mcap").write_bytes(data)
    refusal = ""
    try:
        recovered = recover(place / "cut.mcap", place / "out")
    except InvalidInput as error:
        refusal = str(error)
    if refusal:
        assert f"from {len(data)} bytes" in refusal
        assert not (place / "out").exists()
        return None
    assert (place / "cut.mcap").read_bytes() == data
    records = list(read_bag(place / "out"))
    assert recovered.messages == len(records) == sum(recovered.topics.values())
    assert (recovered.first_ns, recovered.last_ns) == (records[0].log_ns, records[-1].log_ns)
    return records, recovered.problems


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_every_message_before_a_cut_is_recovered_and_the_cut_is_said(whole: bytes, place: Path, where: float) -> None:
    cut = int(where * len(whole))
    before = sum(end <= cut for end in message_ends(whole))
    result = salvage(place, whole[:cut])
    if result is None:
        assert before == 0
    else:
        assert result[0] == [written(index) for index in range(before)]
        assert any("cut off" in problem for problem in result[1])


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_costs_one_chunk_at_most_and_no_message_is_wrong(
    whole: bytes, place: Path, where: float, flip: int
) -> None:
    damaged = bytearray(whole)
    at = int(where * len(whole))
    damaged[at] ^= flip
    result = salvage(place, bytes(damaged))
    assert result is not None
    records, problems = result
    assert set(records) <= {written(index) for index in range(MESSAGES)}
    assert len(set(records)) == len(records) >= MESSAGES - 8
    assert len(records) == MESSAGES or problems


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=40)), min_size=1, max_size=6))
def test_any_damage_gives_true_messages_or_a_refusal(whole: bytes, place: Path, wounds: list[tuple[float, bytes]]) -> None:
    damaged = bytearray(whole)
    for where, junk in wounds:
        at = int(where * len(damaged))
        damaged[at : at + len(junk) // 2] = junk
    result = salvage(place, bytes(damaged))
    if result is not None:
        assert set(result[0]) <= {written(index) for index in range(MESSAGES)}


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_of_compressed_chunks_those_with_a_right_checksum_are_used(place: Path, whole: bytes, compression: str) -> None:
    chunks = [compressed(chunk, compression) for chunk in plain_chunks(whole)]
    header = whole[: whole.index(b"\x06", len(MAGIC))]
    result = salvage(place, header + b"".join(chunks))
    assert result is not None
    assert result[0] == [written(index) for index in range(MESSAGES)]
    chunks[2] = chunks[2].replace(chunks[2][9 + 24 : 9 + 28], b"\1\2\3\4", 1)
    result = salvage(place, header + b"".join(chunks))
    assert result is not None
    assert result[0] == [written(index) for index in range(MESSAGES) if not 16 <= index < 24]
    assert any("CRC-32" in problem and "want 04030201" in problem for problem in result[1])


def plain_chunks(data: bytes) -> list[bytes]:
    chunks, start = [], len(MAGIC)
    for end in chunk_ends(data):
        while data[start] != CHUNK:
            start += PREFIX.size + PREFIX.unpack_from(data, start)[1]
        chunks.append(data[start:end])
        start = end
    return chunks


def compressed(chunk: bytes, compression: str) -> bytes:
    packed = {"zstd": zstd_compress, "lz4": lz4_compress}[compression](chunk[9 + 40 :])
    return record(CHUNK, chunk[9 : 9 + 28] + string(compression) + struct.pack("<Q", len(packed)) + packed)


def test_a_whole_bag_is_copied_with_everything_that_it_says_and_nothing_is_lost(tmp_path: Path) -> None:
    offers = [Offer("best_effort", depth=3, deadline_ns=10**9), Offer("reliable", "transient_local", "keep_all", 0)]
    foreign = Definition("int32 a\n", "ros2msg", "RIHS01_" + "0" * 64)
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic("/flag", "std_msgs/msg/Bool", offers)
        bag.add_topic("/thing", "foreign_msgs/msg/Thing", [], foreign)
        for log_ns in range(10):
            bag.write("/flag", "std_msgs/msg/Bool", log_ns, message("std_msgs/msg/Bool")(data=True))
            bag.write("/thing", "foreign_msgs/msg/Thing", log_ns, b"\0\1\0\0" + bytes([log_ns, 0, 0, 0]))
    recovered = recover(tmp_path / "bag", tmp_path / "out")
    assert (recovered.messages, recovered.lost, recovered.lost_bytes, recovered.problems) == (20, "nothing", 0, ())
    assert recovered.topics == {"/flag": 10, "/thing": 10}
    assert bag_topics(tmp_path / "out") == bag_topics(tmp_path / "bag")
    assert bag_topics(tmp_path / "out")["/flag"].qos == "best_effort volatile keep_last(3); reliable transient_local keep_all"
    assert list(read_bag(tmp_path / "out")) == list(read_bag(tmp_path / "bag"))
    assert (tmp_path / "out" / "out.mcap").read_bytes().count(b"int32 a\n") == 2  # in the data, and in the summary


def write_rows(path: Path, count: int = 200) -> Path:
    """A sqlite3 bag as rosbags writes it; every message is `written`, with larger ones among them."""
    store = get_typestore(Stores.ROS2_KILTED)
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connections = {f"/topic{i}": writer.add_connection(f"/topic{i}", STRING, typestore=store) for i in range(3)}
        for index in range(count):
            one = written(index)
            writer.write(connections[one.topic], one.log_ns, one.cdr + bytes(index % 10 * 1_000))
    return path


def padded(index: int) -> Record:
    return written(index)._replace(cdr=written(index).cdr + bytes(index % 10 * 1_000))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_database_that_was_cut_off_gives_the_rows_that_can_be_read(tmp_path: Path, share: float) -> None:
    data = (write_rows(tmp_path / "bag") / "bag.db3").read_bytes()
    cut = tmp_path / "cut.db3"
    cut.write_bytes(data[: int(share * len(data))])
    recovered = recover(cut, tmp_path / "out")
    records = list(read_bag(tmp_path / "out"))
    assert set(records) <= {padded(index) for index in range(200)}
    assert share * 200 * 0.7 < len(records) < 200
    assert any(f"cut off at {cut.stat().st_size} of {len(data)} bytes" in problem for problem in recovered.problems)
    assert recovered.lost_bytes == 0, "what was cut off is no part of the file"
    assert re.fullmatch(r"messages that cannot be counted|at least \d+ messages", recovered.lost)


def test_messages_of_a_database_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "bag") / "bag.db3"
    data = bytearray(rows.read_bytes())
    middle = len(data) // 2 // PAGE * PAGE
    data[middle : middle + 20 * PAGE] = b"\xff" * (20 * PAGE)
    (tmp_path / "torn.db3").write_bytes(data)
    recovered = recover(tmp_path / "torn.db3", tmp_path / "out")
    assert 0 < recovered.messages < 200
    assert recovered.lost == f"{200 - recovered.messages} messages"
    assert any(f"{200 - recovered.messages} of the rows 1 to 200 cannot be read" in one for one in recovered.problems)


def test_of_damage_between_chunks_the_time_without_a_message_is_said(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(40):
            bag.write("/said", STRING, index * 10**8, message(STRING)("x" * 100))
            if index % 10 == 9:
                bag.flush()
    data = bytearray((tmp_path / "bag" / "bag.mcap").read_bytes())
    for message_index in (12, 22):  # of the second and third chunk
        data[message_ends(bytes(data))[message_index] - 1] ^= 0xFF
    (tmp_path / "torn.mcap").write_bytes(data)
    recovered = recover(tmp_path / "torn.mcap", tmp_path / "out")
    assert recovered.messages == 20
    assert recovered.lost.startswith("20 messages, ")
    assert sum(problem.endswith(": 2.1 s without a message from +0.9 s") for problem in recovered.problems) == 1


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError])
def test_what_ends_a_recovery_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException]
) -> None:
    bag = write(tmp_path / "bag")
    written_messages: list[int] = []

    def failing(self: BagWriter, *_: object) -> None:
        written_messages.append(1)
        if len(written_messages) > 5:
            raise ending

    monkeypatch.setattr(BagWriter, "write", failing)
    with pytest.raises(ending):
        recover(bag, tmp_path / "out" / "bag")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_whole_recovery_takes_the_place_of_an_older_bag_and_of_nothing_else(tmp_path: Path) -> None:
    bag, older = write(tmp_path / "bag"), write(tmp_path / "out" / "replaced")
    with pytest.raises(InvalidInput, match="replaced exists: choose another place or pass --overwrite"):
        recover(bag, older)
    (tmp_path / "none.mcap").write_bytes(b"hello" * 100)
    with pytest.raises(InvalidInput, match="no message can be recovered"):
        recover(tmp_path / "none.mcap", older, overwrite=True)
    assert len(list(read_bag(older))) == MESSAGES
    (older / "notes").write_text("of the older bag")
    recovered = recover(bag, older, overwrite=True)
    assert list((tmp_path / "out").iterdir()) == [older]
    assert recovered.files == (str(older / "metadata.yaml"), str(older / "replaced.mcap"))
    assert sorted(str(file) for file in older.iterdir()) == list(recovered.files)
    (older / "metadata.yaml").unlink()
    with pytest.raises(InvalidInput, match=r"not deleted; it has replaced.mcap: `alpamayo recover \S+/replaced OUT` makes"):
        recover(bag, older, overwrite=True)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_damaged_database_gives_rows_or_a_refusal(rows: Path, place: Path, cut: float, where: float, flip: int) -> None:
    data = rows.read_bytes()
    damaged = bytearray(data[: int((0.2 + 0.8 * cut) * len(data))])
    damaged[int(where * len(damaged))] ^= flip
    (place / "bag.db3").write_bytes(damaged)
    shutil.rmtree(place / "out", ignore_errors=True)
    refusal = ""
    try:
        recovered = recover(place / "bag.db3", place / "out")
        assert recovered.messages == len(list(read_bag(place / "out")))
    except InvalidInput as error:
        refusal = str(error)  # a database has no checksums: a definition may be damaged unseen, until it is read
    assert not refusal or "bag.db3: no message can be recovered" in refusal or "was recorded with another definition" in refusal


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "bag", 60) / "bag.db3"


def test_what_sqlite_left_in_a_side_file_is_used_and_the_recording_stays_as_it_is(tmp_path: Path) -> None:
    original = write_rows(tmp_path / "bag")
    with sqlite3.connect(original / "bag.db3", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("UPDATE messages SET timestamp = 5 WHERE id = 1")
        shutil.copytree(original, tmp_path / "killed")  # with the -wal, as a killed recorder leaves it
    database.close()
    before = {file.name: file.read_bytes() for file in (tmp_path / "killed").iterdir()}
    assert "bag.db3-wal" in before
    recovered = recover(tmp_path / "killed", tmp_path / "out")
    assert recovered.messages == 200
    assert next(read_bag(tmp_path / "out")).log_ns == 5
    assert {file.name: file.read_bytes() for file in (tmp_path / "killed").iterdir()} == before


def test_the_files_of_a_split_recording_become_one_bag_in_the_order_of_their_numbers(tmp_path: Path, whole: bytes) -> None:
    split = tmp_path / "split"
    split.mkdir()
    for number in (2, 10, 9):
        (split / f"split_{number}.mcap").write_bytes(whole)
    (split / "split_10.mcap").write_bytes(whole[: len(whole) // 2])
    (split / "split_2.mcap.zstd").write_bytes(zstd_compress((split / "split_2.mcap").read_bytes()))
    (split / "split_2.mcap").unlink()
    recovered = recover(split, tmp_path / "out")
    assert 2 * MESSAGES < recovered.messages < 3 * MESSAGES
    assert recovered.messages == len(list(read_bag(tmp_path / "out")))
    assert any(problem.startswith("split_10.mcap: the last chunk") for problem in recovered.problems)
    assert any(problem.startswith("metadata.yaml: is missing") for problem in recovered.problems)


def test_fewer_messages_than_the_index_and_metadata_promise_are_said(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    data = bytearray((bag / "bag.mcap").read_bytes())
    data[message_ends(bytes(data))[20]] ^= 0xFF
    (bag / "bag.mcap").write_bytes(data)
    problems = recover(bag, tmp_path / "out").problems
    assert "bag.mcap: 32 messages of the 40 that its index has" in problems
    assert "/topic1: 10 messages of the 13 that metadata.yaml has" in problems


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.mcap", b"", "from 0 bytes in 1 files: a.mcap: is empty"),
        ("a.mcap", b"hello" * 100, "from 500 bytes in 1 files: a.mcap: begins with b'hellohel'"),
        ("a.db3", b"hello" * 100, "a.db3: begins with b'hellohellohelloh', an SQLite file with"),
        ("a.db3", b"SQLite format 3\0" + bytes(34), "a.db3: has 50 bytes, want 100 of an SQLite file's header"),
        ("a.bag", b"#ROSBAG V2.0", "not a recording, it holds 12 bytes; want a folder"),
        ("a.mcap.zstd", b"hello", "from 5 bytes in 1 files: a.mcap.zstd: cannot be decompressed"),
    ],
)
def test_what_holds_no_message_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        recover(tmp_path / name, tmp_path / "out")
    assert expected in str(refused.value)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_nothing_is_written_into_the_recording_or_over_anything(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    for out in (bag, bag / "out", tmp_path):
        with pytest.raises(InvalidInput, match="want a folder outside of"):
            recover(bag, out)
    with pytest.raises(InvalidInput, match="nothing: no such recording"):
        recover(tmp_path / "nothing", tmp_path / "out")
    assert sorted(file.name for file in bag.iterdir()) == ["bag.mcap", "metadata.yaml"]


def test_what_a_power_cut_left_as_zeros_is_no_message(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(200):
            bag.write("/said", STRING, index, message(STRING)("x" * 3_000))
    data = (tmp_path / "bag" / "bag.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(data[:301_500] + bytes(100_000))
    recovered = recover(cut, tmp_path / "out")
    assert recovered.lost_bytes > 100_000
    assert recovered.messages > 90
    assert {record.cdr.count(b"x") for record in read_bag(tmp_path / "out")} == {3_000}


def test_a_row_that_claims_more_than_its_file_holds_is_not_read(tmp_path: Path) -> None:
    """SQLite follows a damaged chain of pages round and round until it has the gigabyte that the row claims."""
    rows = write_rows(tmp_path / "bag", 20) / "bag.db3"
    database = apsw.Connection(str(rows))
    database.execute("UPDATE messages SET data = zeroblob(400000000) WHERE id = 7")
    database.close()
    last = (rows.stat().st_size - 399_000_000) // PAGE
    with rows.open("r+b") as file:
        file.truncate(last * PAGE)
        file.seek((last - 1) * PAGE)
        file.write(last.to_bytes(4, "big"))  # the next page of the row is this one
    recovered = recover(rows, tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) < 2_000_000
    assert 0 < recovered.messages < 20


def test_memory_is_bounded_by_a_chunk_whatever_a_damaged_file_claims(tmp_path: Path, whole: bytes) -> None:
    bomb = zstd_compress(bytes(2**27))
    chunk = record(CHUNK, struct.pack("<QQQI", 0, 0, 2**62, 0) + string("zstd") + struct.pack("<Q", len(bomb)) + bomb)
    (tmp_path / "bomb.mcap").write_bytes(whole[: chunk_ends(whole)[0]] + chunk)
    recovered = recover(tmp_path / "bomb.mcap", tmp_path / "out")
    assert recovered.messages == 8
    assert any("claims to be larger than" in problem for problem in recovered.problems)
