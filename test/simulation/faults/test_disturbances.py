"""What becomes of a message on its way out; each is told by reading the bytes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.bags import deserialize
from alpamayo_ros.geometry import yaw_of
from alpamayo_ros.pipeline.decode import camera_frame, ego_pose, stamp_ns
from alpamayo_ros.simulation.faults import disturbances as d
from alpamayo_ros.simulation.faults.sending import COMPRESSED, ODOMETRY, Sent, image_cdr, odometry_cdr, pictures, stamped
from alpamayo_ros.simulation.faults.station import small_rig
from alpamayo_ros.simulation.faults.vehicle import MS, Motion, Passing
from alpamayo_ros.types import InvalidInput

RIG = small_rig()
ROLE, OTHER = "front_left", "rear_tele"
T0_NS = 1_700_000_000_123_456_789


def sent(role: str = ROLE, picture: int = 0, stamp: int = T0_NS) -> Sent:
    return Sent(1000, role, f"/{role}", stamp, stamped(image_cdr(pictures()[picture], "optical"), stamp))


def odometry(along_m: float = 3.0) -> Sent:
    motion = Motion(along_m=along_m)
    return Sent(1000, "odometry", "/odometry", T0_NS, odometry_cdr(motion.pose(T0_NS), RIG))


def through(passing: Passing, *messages: Sent) -> list[Sent]:
    return [out for message in messages for out in passing(message)]


def image(message: Sent) -> Any:
    return deserialize(message.cdr, COMPRESSED)


def read_odometry(message: Sent) -> Any:
    return deserialize(message.cdr, ODOMETRY)


def test_stamping_changes_the_stamp_and_nothing_else() -> None:
    as_made, again = image(sent(stamp=0)), image(sent(stamp=T0_NS))
    assert stamp_ns(again.header.stamp) == T0_NS
    assert again.header.frame_id == as_made.header.frame_id == "optical"
    assert again.format == "jpeg"
    assert bytes(again.data) == pictures()[0] == bytes(as_made.data)


def test_pictures_of_a_window_all_differ() -> None:
    assert len(set(pictures())) == len(pictures()) == 32


def test_odometry_is_what_the_planner_reads() -> None:
    pose = ego_pose(read_odometry(odometry()), RIG)
    assert pose.stamp_ns == T0_NS
    assert pose.speed_mps == 8.0
    np.testing.assert_allclose(pose.position, Motion(along_m=3.0).pose(T0_NS).position)


@pytest.mark.parametrize("passing", [d.dropped([ROLE]), d.delayed([ROLE], 300.0), d.stamped_zero([ROLE]), d.frozen([ROLE])])
def test_other_sources_pass_untouched(passing: Passing) -> None:
    assert through(passing, sent(OTHER, 1), sent(OTHER, 2)) == [sent(OTHER, 1), sent(OTHER, 2)]


def test_dropped_is_gone_and_a_share_is_a_share() -> None:
    assert through(d.dropped([ROLE]), sent()) == []
    kept = through(d.dropped([ROLE], 0.3, np.random.default_rng(0)), *[sent()] * 1000)
    assert 650 < len(kept) < 750


def test_every_other_counts_for_each_source_alone() -> None:
    out = through(d.every_other([ROLE, OTHER]), sent(ROLE), sent(OTHER), sent(ROLE), sent(OTHER), sent(ROLE))
    assert [message.source for message in out] == [ROLE, OTHER, ROLE]


def test_delay_leaves_the_stamp() -> None:
    (late,) = through(d.delayed([ROLE], 300.0), sent())
    assert (late.due_ns, late.stamp_ns, late.cdr) == (1000 + 300 * MS, T0_NS, sent().cdr)


def test_jitter_lets_messages_overtake() -> None:
    out = through(d.jittered([ROLE], 250.0, np.random.default_rng(1)), *(sent(stamp=T0_NS + k) for k in range(20)))
    assert all(1000 <= message.due_ns <= 1000 + 250 * MS for message in out)
    order = [message.due_ns for message in out]
    assert order != sorted(order)


def test_a_duplicate_has_the_stamp_of_the_first() -> None:
    first, second = through(d.doubled([ROLE], image_cdr(pictures()[7])), sent())
    assert first == sent()
    assert stamp_ns(image(second).header.stamp) == T0_NS
    assert bytes(image(second).data) == pictures()[7]


def test_wrong_stamps() -> None:
    (zero,) = through(d.stamped_zero([ROLE]), sent())
    assert (image(zero).header.stamp.sec, image(zero).header.stamp.nanosec) == (0, 0)
    (ahead,) = through(d.restamped([ROLE], 1000.0), sent())
    assert stamp_ns(image(ahead).header.stamp) == T0_NS + 1000 * MS


def test_a_frozen_picture_has_new_stamps() -> None:
    out = through(d.frozen([ROLE]), sent(picture=1), sent(picture=2, stamp=T0_NS + 100 * MS))
    assert [bytes(image(message).data) for message in out] == [pictures()[1]] * 2
    assert [stamp_ns(image(message).header.stamp) for message in out] == [T0_NS, T0_NS + 100 * MS]


def test_swapped_cameras_have_each_others_pictures() -> None:
    out = through(d.swapped(ROLE, OTHER), sent(ROLE, 1), sent(OTHER, 2), sent(ROLE, 3))
    assert [bytes(image(message).data) for message in out[1:]] == [pictures()[1], pictures()[2]]


def test_spoilt_pictures_are_refused_by_what_reads_them() -> None:
    (empty,) = through(d.pictured([ROLE], b""), sent())
    with pytest.raises(InvalidInput):
        camera_frame(image(empty), ROLE, RIG.cameras[ROLE], epoch=0)
    (cut,) = through(d.truncated([ROLE], 0.5), sent())
    assert len(cut.cdr) == round(0.5 * len(sent().cdr))


@pytest.mark.parametrize(
    ("place", "read"),
    [
        (d.POSITION, lambda m: [m.pose.pose.position.x, m.pose.pose.position.y, m.pose.pose.position.z]),
        (d.QUATERNION, lambda m: [getattr(m.pose.pose.orientation, axis) for axis in "xyzw"]),
        (d.SPEED, lambda m: [m.twist.twist.linear.x]),
    ],
)
def test_numbers_of_odometry_are_where_they_are_said_to_be(place: slice, read: Any) -> None:
    (spoilt,) = through(d.doubles(place, lambda numbers: numbers + 7.0), odometry())
    good, bad = read_odometry(odometry()), read_odometry(spoilt)
    np.testing.assert_allclose(np.array(read(bad)), np.array(read(good)) + 7.0)
    assert untouched(bad, place) == untouched(good, place)


def untouched(message: Any, place: slice) -> Sequence[float]:
    """All numbers of odometry but those of a place."""
    pose, twist = message.pose.pose, message.twist.twist
    xyz, turn = [pose.position.x, pose.position.y, pose.position.z], [getattr(pose.orientation, axis) for axis in "xyzw"]
    linear = [twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z]
    numbers = [*xyz, *turn, *message.pose.covariance.tolist(), *linear, *message.twist.covariance.tolist()]
    return [number for at, number in enumerate(numbers) if at not in range(*place.indices(85))]


def test_a_held_pose_stays_while_the_rest_goes_on() -> None:
    first, second = through(d.held(d.POSE), odometry(3.0), odometry(4.0))
    assert read_odometry(second).pose.pose == read_odometry(first).pose.pose
    assert read_odometry(odometry(4.0)).pose.pose != read_odometry(first).pose.pose


def test_a_frame_by_another_name_is_refused() -> None:
    (other,) = through(d.framed(b"odom", b"maps"), odometry())
    assert read_odometry(other).header.frame_id == "maps"
    with pytest.raises(InvalidInput, match="maps"):
        ego_pose(read_odometry(other), RIG)


def test_a_teleport_moves_and_turns_the_vehicle_and_what_it_drives_then() -> None:
    motion = Motion(along_m=100.0)
    before = motion.pose(T0_NS)
    motion.teleport(5.0, 0.5)
    there = motion.pose(T0_NS)
    np.testing.assert_allclose(there.position - before.position, [5.0, 5.0, 0.0], atol=1e-9)
    assert yaw_of(there.odom_from_ego) - yaw_of(before.odom_from_ego) == pytest.approx(0.5)
    motion.step(0.01)
    ahead = there.odom_from_ego.T @ (motion.pose(T0_NS).position - there.position)
    np.testing.assert_allclose(ahead, [0.08, 0.0, 0.0], atol=1e-4)
