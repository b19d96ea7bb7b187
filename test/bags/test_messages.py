"""What ROS wrote is read without ROS, and what is no message is refused."""

from __future__ import annotations

import pytest
from alpamayo_ros.msg import PlanStatus, ShadowDifference
from nodes import ros_harness  # noqa: F401 - first: it imports what the generated messages need, without the warnings
from rclpy.serialization import serialize_message

from alpamayo_ros.bags import deserialize, serialize
from alpamayo_ros.types import InvalidInput

STATUS = "alpamayo_ros/msg/PlanStatus"


@pytest.mark.parametrize("letters", range(9))
def test_a_status_without_cameras_is_read_wherever_its_lists_begin(letters: int) -> None:
    status = PlanStatus(bundle="x" * letters, stages=["observe"], stage_ms=[1.5], pixels_crc32=0xDEADBEEF)
    said = deserialize(serialize_message(status), STATUS)
    assert (said.bundle, said.stages, said.stage_ms.tolist()) == ("x" * letters, ["observe"], [1.5])
    assert said.pixels_crc32 == 0xDEADBEEF


@pytest.mark.parametrize("letters", range(9))
def test_several_empty_lists_are_read(letters: int) -> None:
    difference = ShadowDifference()
    difference.header.frame_id = "x" * letters
    said = deserialize(serialize_message(difference), "alpamayo_ros/msg/ShadowDifference")
    assert (said.header.frame_id, len(said.after_s), len(said.speed_mps)) == ("x" * letters, 0, 0)


def test_what_goes_on_behind_a_message_is_refused() -> None:
    whole = serialize_message(PlanStatus(bundle="ar1_nano"))
    with pytest.raises(InvalidInput, match=r"300 bytes are not a .*PlanStatus: it ends after \d+"):
        deserialize(whole.ljust(300, b"\0"), STATUS)


@pytest.mark.parametrize("kind", [b"\0\2\0\0", b"\0\7\0\0", b"", b"\0"])
def test_another_encoding_is_refused(kind: bytes) -> None:
    whole = serialize_message(PlanStatus(bundle="ar1_nano"))
    with pytest.raises(InvalidInput, match="bytes are not a alpamayo_ros/msg/PlanStatus"):
        deserialize(kind + (whole[4:] if len(kind) == 4 else b""), STATUS)


def test_what_is_written_here_is_read_here() -> None:
    status = PlanStatus(bundle="ar1_nano", camera_roles=["front_wide"], camera_dropped=[7])
    said = deserialize(serialize_message(status), STATUS)
    assert deserialize(serialize(said, STATUS), STATUS).camera_dropped.tolist() == [7]
