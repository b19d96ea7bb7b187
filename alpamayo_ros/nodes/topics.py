"""What a topic is made of: its message class by name, and the QoS to publish or subscribe with."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

from alpamayo_ros.bags import TopicInfo
from alpamayo_ros.types import InvalidInput

DEPTH = 100
"""Queue of small messages: more than arrive while a node is busy. A latched topic of a bag may hold many publishers' last."""

_SENSOR_TYPES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2")


def message_class(type_name: str) -> Any:
    """The generated class of "package/msg/Name". Raises InvalidInput where that package is not installed."""
    match = re.fullmatch(r"([a-z][a-z0-9_]*)/msg/([A-Z][A-Za-z0-9]*)", type_name)
    if not match:
        raise InvalidInput(f"message type: want package/msg/Name, got {type_name!r}")
    try:
        return getattr(importlib.import_module(f"{match[1]}.msg"), match[2])
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"message type {type_name} is not installed: {error}") from error


def recorded_qos(topic: TopicInfo) -> QoSProfile:
    """QoS to publish a bag's topic with: as recorded, and never less than any of its publishers offered.

    Where the bag does not say: /tf_static latched, images as sensors (REP-2003), the rest reliable.
    """
    if not topic.qos:
        if topic.type_name in _SENSOR_TYPES:
            return qos_profile_sensor_data
        return _qos(reliable=True, latched=topic.name == "/tf_static", depth=DEPTH)
    profiles = topic.qos.split("; ")
    depth = max(int(number) for number in ["10", *re.findall(r"keep_last\((\d+)\)", topic.qos)])
    latched = any("transient_local" in profile for profile in profiles)
    return _qos(not all("best_effort" in profile for profile in profiles), latched, max(depth, DEPTH) if latched else depth)


def matching_qos(offered: Sequence[QoSProfile]) -> QoSProfile:
    """QoS that receives from all of these publishers, and everything they keep for late subscribers."""
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return _qos(reliable, latched, DEPTH)


def _qos(reliable: bool, latched: bool, depth: int) -> QoSProfile:
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
