from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from simulation.made import busy, episode, scenario, street

from alpamayo_ros.bags import Record, bag_topics, deserialize, read_bag
from alpamayo_ros.cameras import Pinhole, base_from_optical, camera_from_info, nominal_camera
from alpamayo_ros.evaluation.replay import EGO_SIGNALS, NAVIGATION
from alpamayo_ros.geometry import rotation_from_quaternion, rotation_z, transform, yaw_of
from alpamayo_ros.pipeline.decode import ego_signals, navigation
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.simulation.data.bag import MadeBag, make_bag, write_episode
from alpamayo_ros.simulation.data.recording import at
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.road import Piece
from alpamayo_ros.simulation.scenario import Command, Look, Start
from alpamayo_ros.types import F64, U8, InvalidInput, role_index

DURATION_S, SPEED_MPS = 2.0, 8.0
COMMAND = Command("turn_left", 45.0, 50.0, road_name="Main St")
DRIVE = episode(
    replace(
        busy(),
        roads=(street(Piece(30.0, 0.0), Piece(30.0, 0.04), Piece(240.0, 0.0)),),
        start=Start(40.0, SPEED_MPS),
        commands=(COMMAND,),
        look=Look(noise_sigma=2.0),
        duration_s=DURATION_S,
    )
)
"""Into a bend, past one of each."""


def tiny_rig(**camera_fields: Any) -> Rig:
    """The shipped rig with 160x90 cameras; keywords change the rear tele camera."""
    rig = read_rig("seven_camera")
    cameras = {role: camera.model_copy(update={"width": 160, "height": 90}) for role, camera in rig.cameras.items()}
    cameras["rear_tele"] = cameras["rear_tele"].model_copy(update=camera_fields)
    return rig.model_copy(update={"cameras": cameras})


RIG = tiny_rig()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeBag]:
    path = tmp_path_factory.mktemp("made") / "bag"
    return path, write_episode(path, RIG, DRIVE)


@pytest.fixture(scope="module")
def records(made: tuple[Path, MadeBag]) -> list[Record]:
    return list(read_bag(made[0]))


def messages(records: list[Record], topic: str) -> list[Any]:
    return [deserialize(record.cdr, record.type_name) for record in records if record.topic == topic]


def decoded(msg: Any) -> U8:
    return np.asarray(cv2.imdecode(msg.data, cv2.IMREAD_COLOR_RGB), np.uint8)


def stamp_ns(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 1_000_000_000 + int(msg.header.stamp.nanosec)


def digest(records: list[Record]) -> str:
    return hashlib.sha256(b"".join(f"{r.topic} {r.log_ns} ".encode() + r.cdr for r in records)).hexdigest()


def test_every_camera_and_the_odometry_come_at_the_rates_of_the_rig(made: tuple[Path, MadeBag], records: list[Record]) -> None:
    path, summary = made
    counts = {name: info.count for name, info in bag_topics(path).items()}
    expected = {"/tf_static": 1, "/tf": 200, RIG.odometry.topic: 200, EGO_SIGNALS: 100, NAVIGATION: 6}
    expected |= {topic: 20 for camera in RIG.cameras.values() for topic in (camera.topic, camera.info_topic)}
    assert counts == expected == Counter(record.topic for record in records)
    assert summary.messages == len(records) == sum(expected.values())
    assert summary.duration_s == DURATION_S
    assert summary.bytes == sum(file.stat().st_size for file in path.iterdir()) > sum(len(r.cdr) for r in records)


def test_the_same_arguments_give_the_same_messages_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        assert make_bag(tmp_path / name, RIG, 1.0, seed).duration_s == 1.0
    one, again, other = (list(read_bag(tmp_path / name)) for name in ("one", "again", "other"))
    assert digest(one) == digest(again) != digest(other)
    topic = RIG.cameras["front_wide"].topic
    assert messages(one, topic)[0].data.tobytes() != messages(other, topic)[0].data.tobytes()


def test_the_cameras_expose_together_and_each_message_is_logged_after_its_stamp(records: list[Record]) -> None:
    stamps = {camera.topic: [stamp_ns(m) for m in messages(records, camera.topic)] for camera in RIG.cameras.values()}
    first = stamps[RIG.cameras[RIG.anchor].topic]
    assert all(own == first for own in stamps.values())
    assert set(np.diff(first)) == {100_000_000}
    assert first[0] > 1_600_000_000 * 1_000_000_000
    for record in records:
        if not record.topic.startswith("/tf"):
            delay_ns = record.log_ns - stamp_ns(deserialize(record.cdr, record.type_name))
            assert 0 < delay_ns < 50_000_000


def test_camera_info_is_the_nominal_camera_with_the_stamp_of_its_frame(records: list[Record]) -> None:
    for camera in RIG.cameras.values():
        frames, infos = messages(records, camera.topic), messages(records, camera.info_topic)
        assert [stamp_ns(m) for m in infos] == [stamp_ns(m) for m in frames]
        assert {m.header.frame_id for m in (*frames, *infos)} == {camera.frame_id}
        seen, nominal = camera_from_info(infos[0]), nominal_camera(camera)
        assert isinstance(seen, Pinhole)
        assert (seen.width, seen.height, seen.fx, seen.fy, seen.cx, seen.cy) == (
            nominal.width, nominal.height, nominal.fx, nominal.fy, nominal.cx, nominal.cy,
        )  # fmt: skip


def test_static_transforms_hold_the_mount_of_every_camera(made: tuple[Path, MadeBag], records: list[Record]) -> None:
    (tree,) = messages(records, "/tf_static")
    assert records[0].topic == "/tf_static"
    assert bag_topics(made[0])["/tf_static"].qos.startswith("reliable transient_local")
    poses = {}
    for placed in tree.transforms:
        assert placed.header.frame_id == RIG.base_frame
        t, q = placed.transform.translation, placed.transform.rotation
        poses[placed.child_frame_id] = transform(
            rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w])), np.array([t.x, t.y, t.z])
        )
    assert len(poses) == len(RIG.cameras)
    for camera in RIG.cameras.values():
        np.testing.assert_allclose(poses[camera.frame_id], base_from_optical(camera.mount), atol=1e-12)


def test_odometry_moves_as_its_twist_says(records: list[Record]) -> None:
    odometry = messages(records, RIG.odometry.topic)
    assert {(m.header.frame_id, m.child_frame_id) for m in odometry} == {("odom", "base_link")}
    t_s = np.array([stamp_ns(m) - stamp_ns(odometry[0]) for m in odometry]) / 1e9
    np.testing.assert_allclose(np.diff(t_s), 0.01, atol=1e-9)
    xy = np.array([(m.pose.pose.position.x, m.pose.pose.position.y) for m in odometry])
    q = [m.pose.pose.orientation for m in odometry]
    yaw = np.array([yaw_of(rotation_from_quaternion(np.array([o.x, o.y, o.z, o.w]))) for o in q])
    speed = np.array([m.twist.twist.linear.x for m in odometry])
    yaw_rate = np.array([m.twist.twist.angular.z for m in odometry])
    travelled = np.hypot(*np.diff(xy, axis=0).T)
    np.testing.assert_allclose(travelled, (speed[1:] + speed[:-1]) / 2 * 0.01, atol=1e-5)
    np.testing.assert_allclose(np.diff(yaw), (yaw_rate[1:] + yaw_rate[:-1]) / 2 * 0.01, atol=3e-6)
    assert yaw[-1] > 0.05  # it does turn


def rendered(t_s: float, role: str, tick: int) -> F64:
    """What a camera sees at an instant, with the noise of a tick."""
    now = at(DRIVE, t_s)
    odom_from_ego = transform(rotation_z(now.ego.yaw_rad), np.append(now.ego.xy_m, 0.0))
    odom_from_optical = odom_from_ego @ base_from_optical(RIG.cameras[role].mount)
    noise_key = (DRIVE.scenario.seed, role_index(role), 100 * tick)
    return Stage(DRIVE.scenario).picture(now, nominal_camera(RIG.cameras[role]), odom_from_optical, noise_key).astype(float)


@pytest.mark.parametrize(("role", "k"), [("front_wide", 0), ("rear_left", 13)])
def test_a_frame_shows_the_world_at_its_stamp_from_its_mount(records: list[Record], role: str, k: int) -> None:
    msg = messages(records, RIG.cameras[role].topic)[k]
    seen = decoded(msg).astype(float)
    assert (msg.format, seen.shape) == ("jpeg", (90, 160, 3))
    right, wrong = (np.abs(seen - rendered(t_s, role, k)) for t_s in (0.1 * k, 1.9))
    # JPEG halves the colours' resolution: the median, not the mean, is free of what it does along edges.
    assert np.median(right) < 3.0
    assert (wrong > 40).sum() > (right > 40).sum()


def test_stamp_offset_rate_and_raw_transport_of_the_rig_are_obeyed(tmp_path: Path, records: list[Record]) -> None:
    rig = tiny_rig(stamp_offset_ms=30.0, rate_hz=5.0, transport="raw")
    write_episode(tmp_path / "bag", rig, DRIVE)
    camera = rig.cameras["rear_tele"]
    raw = messages(list(read_bag(tmp_path / "bag", topics=[camera.topic])), camera.topic)
    assert bag_topics(tmp_path / "bag")[camera.topic].type_name == "sensor_msgs/msg/Image"
    exposures = [stamp_ns(m) for m in messages(records, camera.topic)]
    assert [stamp_ns(m) + 30_000_000 for m in raw] == exposures[::2]
    assert (raw[0].encoding, raw[0].height, raw[0].width, raw[0].step) == ("rgb8", 90, 160, 480)
    encoded = decoded(messages(records, camera.topic)[0])
    # JPEG drops most of the noise's colour: over 9 x 9 pixels it is the same picture.
    smooth_raw, smooth_encoded = (cv2.blur(pixels.reshape(90, 160, 3), (9, 9)).astype(int) for pixels in (raw[0].data, encoded))
    assert np.abs(smooth_raw - smooth_encoded).mean() < 1.5


def test_a_camera_faster_than_the_world_sees_what_is_between_its_steps(tmp_path: Path) -> None:
    """A parked car is passed: at 30 Hz every frame differs from the one before, though the world has 10 steps a second."""
    quiet = replace(DRIVE, scenario=replace(DRIVE.scenario, look=Look(noise_sigma=0.0), duration_s=0.5))
    rig = tiny_rig(rate_hz=30.0, transport="raw")
    write_episode(tmp_path / "bag", rig, quiet)
    frames = messages(list(read_bag(tmp_path / "bag")), rig.cameras["rear_tele"].topic)
    assert np.diff([stamp_ns(m) for m in frames]).tolist() == pytest.approx([1e9 / 30] * 14, abs=1)
    assert all((one.data != other.data).any() for one, other in pairwise(frames))


def test_a_camera_that_stands_still_has_new_noise_in_every_frame(tmp_path: Path) -> None:
    standing = episode(scenario(start=Start(40.0, 0.0), duration_s=0.3))
    rig = tiny_rig(transport="raw")
    write_episode(tmp_path / "bag", rig, standing)
    topic = rig.cameras["rear_tele"].topic
    frames = [msg.data.astype(float) for msg in messages(list(read_bag(tmp_path / "bag")), topic)]
    for one, other in pairwise(frames):
        assert np.std(one - other) == pytest.approx(np.sqrt(2) * standing.scenario.look.noise_sigma, rel=0.1)


def test_a_drive_that_ended_early_is_recorded_to_its_end(tmp_path: Path) -> None:
    cut = replace(DRIVE, snapshots=DRIVE.snapshots[:8], egos=DRIVE.egos[:71])
    summary = write_episode(tmp_path / "bag", RIG, cut)
    counts = {name: info.count for name, info in bag_topics(tmp_path / "bag").items()}
    assert summary.duration_s == pytest.approx(0.7)
    assert (counts[RIG.odometry.topic], counts[RIG.cameras["front_wide"].topic]) == (70, 7)


def test_tf_is_the_odometry_and_ego_signals_are_the_vehicles(records: list[Record]) -> None:
    odometry, moved = messages(records, RIG.odometry.topic), messages(records, "/tf")
    for pose, tree in zip(odometry, moved, strict=True):
        (stamped,) = tree.transforms
        assert (stamped.header, stamped.child_frame_id) == (pose.header, RIG.base_frame)
        place, there = stamped.transform.translation, pose.pose.pose.position
        assert (place.x, place.y, stamped.transform.rotation) == (there.x, there.y, pose.pose.pose.orientation)
    signals = [ego_signals(msg) for msg in messages(records, EGO_SIGNALS)]
    assert np.diff([s.stamp_ns for s in signals]).tolist() == [20_000_000] * (len(signals) - 1)
    for k in (0, 37, 99):
        assert signals[k].steering_angle_rad == pytest.approx(DRIVE.egos[2 * k].steering_rad, abs=1e-7)
        assert signals[k].turn_indicator == DRIVE.egos[2 * k].indicator
    assert signals[99].steering_angle_rad > 0.02, "it does turn"


def test_navigation_is_said_while_a_command_is_given_and_not_carried_out(records: list[Record]) -> None:
    said = [navigation(msg) for msg in messages(records, NAVIGATION)]
    assert {(s.maneuver, s.road_name) for s in said} == {("turn_left", "Main St")}
    along = [COMMAND.at_m - s.distance_m for s in said]
    np.testing.assert_allclose(np.diff(along), 0.1 * SPEED_MPS, atol=1e-4)
    assert COMMAND.given_from_m <= along[0] < COMMAND.given_from_m + 0.1 * SPEED_MPS
    assert COMMAND.at_m - 0.1 * SPEED_MPS <= along[-1] < COMMAND.at_m


def test_what_cannot_be_made_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    wide = RIG.cameras["rear_tele"].mount.model_copy(update={"hfov_deg": 190.0})
    for rig, out, expected in ((RIG, "there", "does not exist yet"), (tiny_rig(mount=wide), "new", "pinhole cannot have")):
        with pytest.raises(InvalidInput, match=expected):
            write_episode(tmp_path / out, rig, DRIVE)
    for duration_s, seed, family, expected in (
        (0.0, 0, "town", "duration"),
        (1.0, -1, "town", "seed"),
        (1.0, 0, "nowhere", "family 'nowhere'"),
    ):
        with pytest.raises(InvalidInput, match=expected):
            make_bag(tmp_path / "new", RIG, duration_s, seed, family)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
