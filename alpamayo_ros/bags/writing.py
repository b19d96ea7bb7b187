"""rosbag2 out: MCAP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from alpamayo_ros.bags.messages import known, serialize
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Self

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
        connection = self._writer.add_connection(topic, type_name, typestore=known(type_name), offered_qos_profiles=[qos])
        self._connections[topic] = connection
        return connection
