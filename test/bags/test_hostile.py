"""Bags that were made to hurt: what inflates without end, leads out of its folder or hides code is refused in clear words."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path

import lz4.frame  # type: ignore[import-untyped]
import pytest
import yaml

from alpamayo_ros.bags import BagWriter, bag_topics, mcap, message, read_bag, reading
from alpamayo_ros.types import InvalidInput

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TYPE = "std_msgs/msg/String"
ZEROS = bytes(2**20)
PACKERS = {"zstd": lambda data: zstd.compress(data, 19), "lz4": lz4.frame.compress}


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A whole bag with one message."""
    with BagWriter(tmp_path / "bag") as writer:
        writer.write("/words", TYPE, 5, message(TYPE)(data="hello"))
    return tmp_path / "bag"


def stored(bag: Path) -> Path:
    (path,) = bag.glob("*.mcap")
    return path


def repacked(bag: Path, compression: str, packed: bytes, claims: int) -> None:
    """Put other bytes into the bag's first chunk, and its summary away: the file is read from its beginning."""
    data = stored(bag).read_bytes()
    at = len(mcap.MAGIC)
    while data[at] != mcap.CHUNK:
        at += mcap.PREFIX.size + struct.unpack_from("<BQ", data, at)[1]
    times = data[at + mcap.PREFIX.size :][:16]
    fields = times + struct.pack("<QI", claims, 0) + mcap.string(compression) + struct.pack("<Q", len(packed)) + packed
    end = mcap.record(mcap.DATA_END, bytes(4)) + mcap.record(mcap.FOOTER, mcap.FOOTER_FIELDS.pack(0, 0, 0)) + mcap.MAGIC
    stored(bag).write_bytes(data[:at] + mcap.record(mcap.CHUNK, fields) + end)


@pytest.mark.parametrize("compression", PACKERS)
@pytest.mark.parametrize(("claims", "says"), [(1000, "expected 1000 bytes, got 1001"), (2**31, "a chunk of 2147483648 bytes")])
def test_a_chunk_that_inflates_to_more_than_it_says_is_refused_at_that_size(
    bag: Path, compression: str, claims: int, says: str
) -> None:
    repacked(bag, compression, PACKERS[compression](ZEROS * 200), claims)
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=says):
        list(read_bag(stored(bag)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * len(ZEROS)


def described(bag: Path) -> dict[str, dict[str, object]]:
    loaded: dict[str, dict[str, object]] = yaml.safe_load((bag / "metadata.yaml").read_text())
    return loaded


def test_a_compressed_message_that_inflates_without_end_is_refused_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_MESSAGE_BYTES", 2**20)
    for size, fits in ((2**20 - 100, True), (2**20 + 100, False)):
        with BagWriter(tmp_path / str(size)) as writer:
            writer.write("/words", TYPE, 5, zstd.compress(bytes(size)))
        about = described(tmp_path / str(size))
        about["rosbag2_bagfile_information"] |= {"compression_format": "zstd", "compression_mode": "message"}
        (tmp_path / str(size) / "metadata.yaml").write_text(yaml.safe_dump(about))
        if fits:
            assert [record.cdr for record in read_bag(tmp_path / str(size))] == [bytes(size)]
        else:
            with pytest.raises(InvalidInput, match="cut short or larger than 1048576 bytes"):
                list(read_bag(tmp_path / str(size)))


@pytest.mark.parametrize("name", ["../other.mcap", "/etc/other.mcap", "a/../../other.mcap"])
def test_a_bag_cannot_name_a_file_outside_of_its_folder(bag: Path, name: str) -> None:
    stored(bag).rename(bag.parent / "other.mcap")
    about = described(bag)
    about["rosbag2_bagfile_information"]["relative_file_paths"] = [name]
    (bag / "metadata.yaml").write_text(yaml.safe_dump(about))
    with pytest.raises(InvalidInput, match="files are missing"):
        bag_topics(bag)


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system ['touch {0}']", "!!python/object/new:os.system ['touch {0}']"]
)
def test_a_python_object_in_a_bags_description_is_refused_and_never_made(bag: Path, text: str) -> None:
    made = bag.parent / "made"
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: " + text.format(made))
    with pytest.raises(InvalidInput, match=r"metadata\.yaml"):
        bag_topics(bag)
    assert not made.exists()


def test_a_topic_is_a_name_and_never_a_path(bag: Path) -> None:
    """Records carry the name; whoever writes files by topic must make a file name of it."""
    with BagWriter(bag.parent / "named") as writer:
        writer.write("/../../etc/passwd", TYPE, 5, message(TYPE)(data="x"))
    assert [record.topic for record in read_bag(bag.parent / "named")] == ["/../../etc/passwd"]
