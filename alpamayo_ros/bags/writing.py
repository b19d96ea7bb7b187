"""rosbag2 out: MCAP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from rosbags.typesys import TypesysError, get_types_from_msg
from rosbags.typesys.store import Typestore

from alpamayo_ros.bags.mcap import Contents, McapFile
from alpamayo_ros.bags.messages import known, serialize, typestore
from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Self

UNLIMITED_NS = 2**63 - 1
"""RMW_DURATION_INFINITE."""


class Offer(NamedTuple):
    """The QoS that a publisher offers, in the words of rosbag2; "unknown" is one of them."""

    reliability: str = "reliable"
    durability: str = "volatile"
    history: str = "keep_last"
    depth: int = 10
    deadline_ns: int = UNLIMITED_NS
    lifespan_ns: int = UNLIMITED_NS
    liveliness: str = "automatic"
    liveliness_lease_ns: int = UNLIMITED_NS

    def described(self) -> dict[str, Any]:
        """As metadata version 9 writes it."""
        return {
            "history": self.history,
            "depth": self.depth,
            "reliability": self.reliability,
            "durability": self.durability,
            "deadline": _time(self.deadline_ns),
            "lifespan": _time(self.lifespan_ns),
            "liveliness": self.liveliness,
            "liveliness_lease_duration": _time(self.liveliness_lease_ns),
            "avoid_ros_namespace_conventions": False,
        }


class Definition(NamedTuple):
    """What a reader without our message packages needs to decode a type."""

    text: str  # the .msg and those of all nested types
    encoding: str  # "ros2msg" or "ros2idl"; empty where nobody has the text
    type_hash: str  # RIHS01 hash, empty where unknown


class _Topic(NamedTuple):
    channel: int
    name: str
    type_name: str
    type_hash: str
    offers: tuple[Offer, ...]


class BagWriter:
    """A new MCAP bag (rosbag2 metadata version 9): `with BagWriter(path) as bag: bag.write(...)`.

    The index is written at the end whatever happens inside the `with`: what was recorded before an error stays readable.
    What was flushed outlives the process; `recover` makes it a bag again. All methods raise OSError when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(parents=True)
            self._file = McapFile(path / f"{path.name}.mcap", "alpamayo_ros")
        except OSError as error:
            raise InvalidInput(f"{path}: want a folder that can be made and does not exist yet: {error}") from error
        self.path = path
        self.messages = 0
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[tuple[str, Definition], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    @property
    def waited_s(self) -> float:
        """How long `write` waited for a disk that was slower than what came, s."""
        return self._file.waited_s

    def add_topic(
        self, topic: str, type_name: str, offers: Sequence[Offer] | None = None, definition: Definition | None = None
    ) -> None:
        """Say how a new topic is offered (else: reliable, /tf_static latched) and defined (else: as `define`d or known).

        Raises InvalidInput for a type that is unknown and not defined here.
        """
        if offers is None:
            # A subscriber that comes late must still get the transforms: rosbag2 replays with the offered QoS.
            offers = [Offer(durability="transient_local", depth=1) if topic == "/tf_static" else Offer()]
        definition = definition or _known_definition(type_name)
        key = (type_name, definition)
        if key not in self._schemas:
            self._schemas[key] = self._file.add_schema(type_name, definition.encoding, definition.text)
        metadata = {"offered_qos_profiles": _yaml([offer.described() for offer in offers]) if offers else ""}
        metadata["topic_type_hash"] = definition.type_hash
        channel = self._file.add_channel(self._schemas[key], topic, metadata)
        self._topics[topic] = _Topic(channel, topic, type_name, definition.type_hash, tuple(offers))

    def write(self, topic: str, type_name: str, log_ns: int, message_or_cdr: Any, publish_ns: int | None = None) -> None:
        """Append one message, or its CDR bytes. Raises InvalidInput: unknown or changed type, wrong fields, log_ns < 0."""
        if not 0 <= log_ns < 2**63:
            raise InvalidInput(f"{topic}: log time {log_ns} ns is not in [0, 2^63)")
        is_cdr = isinstance(message_or_cdr, (bytes, bytearray, memoryview))
        cdr = bytes(message_or_cdr) if is_cdr else serialize(message_or_cdr, type_name)
        if topic not in self._topics:
            self.add_topic(topic, type_name)
        held = self._topics[topic]
        if held.type_name != type_name:
            raise InvalidInput(f"{topic}: {type_name} on a topic of {held.type_name}")
        self._file.add_message(held.channel, log_ns, log_ns if publish_ns is None else publish_ns, cdr)
        self.messages += 1

    def flush(self) -> None:
        """Start to bring everything to disk; what is there survives a killed process, and a power cut soon after."""
        self._file.flush()

    def close(self) -> None:
        """Write the index. On a full disk the newest messages make room for it, and the OSError is raised afterwards."""
        failure = self._file.settle()
        try:
            while refusal := self._finish():
                failure = refusal
                if not self._file.drop_last_chunk():
                    break
        finally:
            self._file.close()
        if failure:
            raise failure

    def _finish(self) -> OSError | None:
        held = self._file.contents()
        self.messages = sum(held.messages.values())
        about = self._metadata(held)
        try:
            self._file.finish("rosbag2", {"serialized_metadata": _yaml(about)})
            with whole_file(self.path / "metadata.yaml") as file:
                file.write(_yaml({"rosbag2_bagfile_information": about}).encode())
        except OSError as error:
            return error
        return None

    def _metadata(self, held: Contents) -> dict[str, Any]:
        name = f"{self.path.name}.mcap"
        span: dict[str, Any] = {
            "starting_time": {"nanoseconds_since_epoch": held.first_ns},
            "duration": {"nanoseconds": held.last_ns - held.first_ns},
            "message_count": self.messages,
        }
        return {
            "version": 9,
            "storage_identifier": "mcap",
            "relative_file_paths": [name],
            **span,
            "topics_with_message_count": [_described(topic, held.messages) for topic in self._topics.values()],
            "compression_format": "",
            "compression_mode": "",
            "files": [{"path": name, **span}],
            "custom_data": None,
            "ros_distro": "kilted",
        }


def define(type_name: str, read: Callable[[str], str]) -> None:
    """Make a type known, and those it is made of: `read("package/msg/Name")` is the text of a .msg file.

    For types that are neither of ROS 2 Kilted nor ours. Raises InvalidInput for a text that is no message definition.
    """
    store = typestore()
    found: dict[str, Any] = {}
    open_names = {type_name} - store.fielddefs.keys()
    while open_names:
        name = open_names.pop()
        found |= _parsed(name, read(name))
        open_names = {n for d in found.values() for n in _nested(d)} - found.keys() - store.fielddefs.keys()
    store.register(found)


def _parsed(name: str, text: str) -> dict[str, Any]:
    try:
        return get_types_from_msg(text, name)
    except TypesysError as error:
        raise InvalidInput(f"{name}: not a message definition: {error}") from error


def _nested(definition: Any) -> set[str]:
    """The message types among the fields of one."""
    names, open_types = set(), [field_type for _, field_type in definition[1]]
    while open_types:
        kind, content = open_types.pop()
        if kind.name == "NAME":
            names.add(content)
        elif kind.name in ("ARRAY", "SEQUENCE"):
            open_types.append(content[0])
    return names


def _known_definition(type_name: str) -> Definition:
    store: Typestore = known(type_name)
    return Definition(store.generate_msgdef(type_name, ros_version=2)[0], "ros2msg", store.hash_rihs01(type_name))


def _described(topic: _Topic, counts: dict[int, int]) -> dict[str, Any]:
    metadata = {
        "name": topic.name,
        "type": topic.type_name,
        "serialization_format": "cdr",
        "offered_qos_profiles": [offer.described() for offer in topic.offers],
        "type_description_hash": topic.type_hash,
    }
    return {"topic_metadata": metadata, "message_count": counts.get(topic.channel, 0)}


def _time(duration_ns: int) -> dict[str, int]:
    return {"sec": duration_ns // 10**9, "nsec": duration_ns % 10**9}


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_NoAliases, sort_keys=False, width=1000)


class _NoAliases(yaml.SafeDumper):
    """Anchors are YAML, but not for every reader of bags."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True
