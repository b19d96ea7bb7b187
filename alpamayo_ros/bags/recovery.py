"""A recording that was cut off or damaged becomes a whole bag of everything in it that is whole."""

from __future__ import annotations

import re
import shutil
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import yaml
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from alpamayo_ros.bags.messages import typestore
from alpamayo_ros.bags.reading import MAX_MESSAGE_BYTES
from alpamayo_ros.bags.rows import rows
from alpamayo_ros.bags.scanning import Damage, Found, Topic, scan
from alpamayo_ros.bags.whole import whole_bag
from alpamayo_ros.bags.writing import BagWriter, Definition
from alpamayo_ros.types import InvalidInput

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor, ZstdError, ZstdFile
else:
    from backports.zstd import ZstdDecompressor, ZstdError, ZstdFile

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # of a compressed message; CDR begins with a zero


@dataclass(frozen=True)
class Recovered:
    """What was got out of a recording."""

    messages: int
    topics: dict[str, int]  # messages by topic
    first_ns: int  # log times
    last_ns: int
    lost: str  # "nothing", or in words what is known to be
    lost_messages: int  # as far as they can be counted
    lost_bytes: int  # of the recording's files, that are no whole message
    problems: tuple[str, ...]  # everything that was wrong with the recording
    files: tuple[str, ...]  # that were written


def recover(bag: Path, out: Path, overwrite: bool = False) -> Recovered:
    """Copy every whole message of a bag folder, .mcap or .db3 file into the new bag `out`; `bag` stays as it is.

    `out` is there when it is whole, and not before; with `overwrite` it then replaces an older bag. A bag without damage is
    copied as well. Split files become one, compressed ones plain. In memory is one chunk of the recording at a time. Raises
    InvalidInput: no such recording, `out` exists or one of both lies within the other, or nothing in it can be recovered;
    OSError when the disk refuses.
    """
    files = _recorded_files(bag)
    size = sum(file.stat().st_size for file in files)
    if out.resolve().is_relative_to(bag.resolve()) or bag.resolve().is_relative_to(out.resolve()):
        raise InvalidInput(f"{out}: want a folder outside of {bag}, and one that does not hold it")
    damage = Damage()
    with whole_bag(out, overwrite) as part, tempfile.TemporaryDirectory(dir=part.parent) as scratch:
        messages = chain.from_iterable(_messages(file, Path(scratch), damage) for file in files)
        first = next(messages, None)
        if first is None:
            why = "; ".join(damage.problems) or "it holds no message"
            raise InvalidInput(f"{bag}: no message can be recovered from {size} bytes in {len(files)} files: {why}")
        counts, span = _copy(chain((first,), messages), part, damage)
    _compare(counts, bag, damage)
    written = sorted(str(file) for file in out.iterdir())
    topics = dict(sorted(counts.items()))
    return Recovered(
        messages=sum(counts.values()),
        topics=topics,
        first_ns=span[0],
        last_ns=span[1],
        lost=damage.summary(size),
        lost_messages=damage.lost_messages,
        lost_bytes=damage.lost_bytes,
        problems=tuple(damage.problems),
        files=tuple(written),
    )


def _recorded_files(bag: Path) -> list[Path]:
    """The storage files of a recording in the order in which they were written. Raises InvalidInput."""
    want = "want a folder with .mcap or .db3 files, or one of them"
    if not bag.exists():
        raise InvalidInput(f"{bag}: no such recording; {want}")
    names = re.compile(r".*(\.mcap|\.db3)(\.zstd)?")
    if bag.is_file():
        files = [bag] if names.fullmatch(bag.name) else []
    else:
        # rosbag2 compresses a file when it begins the next: a killed recording may have both forms of the last but one.
        both = [file for file in bag.iterdir() if file.is_file() and names.fullmatch(file.name)]
        files = [file for file in both if not (file.suffix == ".zstd" and file.with_suffix("") in both)]
    if not files:
        held = ", ".join(sorted(file.name for file in bag.iterdir())) if bag.is_dir() else f"{bag.stat().st_size} bytes"
        raise InvalidInput(f"{bag}: not a recording, it holds {held or 'nothing'}; {want}")
    return sorted(files, key=lambda file: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)])


def _messages(file: Path, scratch: Path, damage: Damage) -> Iterator[Found]:
    if file.suffix == ".zstd":
        file = _decompressed(file, scratch, damage)
    if not file.stat().st_size:
        damage.add(f"{file.name}: is empty")
        return
    yield from scan(file, damage) if file.suffix == ".mcap" else rows(file, scratch, damage)


def _decompressed(file: Path, scratch: Path, damage: Damage) -> Path:
    """As much of a compressed file as can be read."""
    plain = scratch / file.stem
    with ZstdFile(file, "rb") as packed, plain.open("wb") as target:
        try:
            shutil.copyfileobj(packed, target)
        except (ZstdError, EOFError) as error:
            damage.add(f"{file.name}: cannot be decompressed to its end: {error}")
    return plain


def _copy(messages: Iterable[Found], out: Path, damage: Damage) -> tuple[Counter[str], tuple[int, int]]:
    """Messages by topic, first and last log time of what was written."""
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    types: dict[str, tuple[str, Definition]] = {}
    first_ns, last_ns = 2**63, 0
    with BagWriter(out) as writer:
        for topic, log_ns, publish_ns, cdr in messages:
            if topic.name not in writer:
                types[topic.name] = topic.type_name, topic.definition
                writer.add_topic(topic.name, topic.type_name, topic.offers, _with_hash(topic))
            plain = _plain(cdr)
            if plain is None or types[topic.name] != (topic.type_name, topic.definition):
                refused[topic.name] += 1
                continue
            writer.write(topic.name, topic.type_name, log_ns, plain, publish_ns)
            counts[topic.name] += 1
            first_ns, last_ns = min(first_ns, log_ns), max(last_ns, log_ns)
    for name, count in refused.items():
        why = "are of another type than its first, or compressed and damaged"
        damage.add(f"{name}: {count} messages {why}", lost_messages=count)
    return counts, (first_ns, last_ns)


def _plain(cdr: bytes) -> bytes | None:
    """A message that may be compressed; None for one that cannot be decompressed, or only to something far too large."""
    if not cdr.startswith(_ZSTD_MAGIC):
        return cdr
    inflater = ZstdDecompressor()
    try:
        plain = inflater.decompress(cdr, MAX_MESSAGE_BYTES)
        return plain if inflater.eof else None
    except (ZstdError, EOFError, MemoryError):
        return None


def _with_hash(topic: Topic) -> Definition:
    """The recorded definition, or where an old recording has none, ours; with its hash where that can be told."""
    definition = topic.definition
    ours = typestore()
    if not definition.text and topic.type_name in ours.fielddefs:
        text, _ = ours.generate_msgdef(topic.type_name, ros_version=2)
        definition = Definition(text, "ros2msg", definition.type_hash or ours.hash_rihs01(topic.type_name))
    if definition.type_hash or definition.encoding != "ros2msg":
        return definition
    return definition._replace(type_hash=_hash(topic.type_name, definition.text))


@cache
def _hash(type_name: str, text: str) -> str:
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(get_types_from_msg(text, type_name))
        return store.hash_rihs01(type_name)
    except (TypesysError, LookupError, struct.error, ValueError):
        return ""


def _compare(counts: Counter[str], bag: Path, damage: Damage) -> None:
    """Note a topic of which metadata.yaml, where there is one, has more messages."""
    file = bag / "metadata.yaml"
    if not file.is_file():
        if bag.is_dir():
            damage.add("metadata.yaml: is missing: the recording was not closed")
        return
    try:
        about = yaml.safe_load(file.read_text())["rosbag2_bagfile_information"]["topics_with_message_count"]
        promised = {topic["topic_metadata"]["name"]: int(topic["message_count"]) for topic in about}
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        damage.add(f"metadata.yaml: cannot be read: {' '.join(str(error).split())}")
        return
    for name, count in promised.items():
        if counts[name] < count:
            damage.add(f"{name}: {counts[name]} messages of the {count} that metadata.yaml has")
    # The files may have said so themselves: the larger number has the smaller one in it.
    damage.lost_messages = max(damage.lost_messages, sum(max(count - counts[name], 0) for name, count in promised.items()))
    damage.uncounted = False
