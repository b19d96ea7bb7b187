from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from alpamayo_ros.bags import Record, bag_topics, deserialize, read_bag
from alpamayo_ros.cameras import base_from_optical, camera_from_info, nominal_camera
from alpamayo_ros.geometry import rotation_from_quaternion, rotation_z, transform, yaw_of
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.simulation.bag import NOISE_SIGMA, MadeBag, make_bag
from alpamayo_ros.simulation.render import render
from alpamayo_ros.simulation.scene import scene_at, static_scene
from alpamayo_ros.simulation.world import ego_at, make_world
from alpamayo_ros.types import InvalidInput

DURATION_S = 2.0


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
    return path, make_bag(path, RIG, DURATION_S, seed=3)


@pytest.fixture(scope="module")
def records(made: tuple[Path, MadeBag]) -> list[Record]:
    return list(read_bag(made[0]))


def messages(records: list[Record], topic: str) -> list[Any]:
    return [deserialize(record.cdr, record.type_name) for record in records if record.topic == topic]


def stamp_ns(msg: Any) -> int:
    return int(msg.header.stamp.sec) * 1_000_000_000 + int(msg.header.stamp.nanosec)


def digest(records: list[Record]) -> str:
    return hashlib.sha256(b"".join(f"{r.topic} {r.log_ns} ".encode() + r.cdr for r in records)).hexdigest()


def test_every_camera_and_the_odometry_come_at_the_rates_of_the_rig(made: tuple[Path, MadeBag], records: list[Record]) -> None:
    path, summary = made
    counts = {name: info.count for name, info in bag_topics(path).items()}
    expected = {"/tf_static": 1, RIG.odometry.topic: 200}
    expected |= {topic: 20 for camera in RIG.cameras.values() for topic in (camera.topic, camera.info_topic)}
    assert counts == expected == Counter(record.topic for record in records)
    assert summary.messages == len(records) == sum(expected.values())
    assert summary.duration_s == DURATION_S
    assert summary.bytes == sum(file.stat().st_size for file in path.iterdir()) > sum(len(r.cdr) for r in records)


def test_the_same_arguments_give_the_same_messages_and_another_seed_others(tmp_path: Path, records: list[Record]) -> None:
    make_bag(tmp_path / "again", RIG, DURATION_S, seed=3)
    make_bag(tmp_path / "other", RIG, DURATION_S, seed=4)
    assert digest(list(read_bag(tmp_path / "again"))) == digest(records)
    other = list(read_bag(tmp_path / "other"))
    assert digest(other) != digest(records)
    topic = RIG.cameras["front_wide"].topic
    assert messages(other, topic)[0].data.tobytes() != messages(records, topic)[0].data.tobytes()


def test_the_cameras_expose_together_and_each_message_is_logged_after_its_stamp(records: list[Record]) -> None:
    stamps = {camera.topic: [stamp_ns(m) for m in messages(records, camera.topic)] for camera in RIG.cameras.values()}
    first = stamps[RIG.cameras[RIG.anchor].topic]
    assert all(own == first for own in stamps.values())
    assert set(np.diff(first)) == {100_000_000}
    assert first[0] > 1_600_000_000 * 1_000_000_000
    for record in records:
        if record.topic != "/tf_static":
            delay_ns = record.log_ns - stamp_ns(deserialize(record.cdr, record.type_name))
            assert 0 < delay_ns < 50_000_000


def test_camera_info_is_the_nominal_camera_with_the_stamp_of_its_frame(records: list[Record]) -> None:
    for camera in RIG.cameras.values():
        frames, infos = messages(records, camera.topic), messages(records, camera.info_topic)
        assert [stamp_ns(m) for m in infos] == [stamp_ns(m) for m in frames]
        assert {m.header.frame_id for m in (*frames, *infos)} == {camera.frame_id}
        seen, nominal = camera_from_info(infos[0]), nominal_camera(camera)
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


def test_a_frame_shows_the_world_at_its_stamp_from_its_mount_with_the_noise_of_a_sensor(records: list[Record]) -> None:
    world = make_world(3, DURATION_S)
    static = static_scene(world)
    for role, k in (("front_wide", 0), ("rear_left", 13)):
        camera = RIG.cameras[role]
        msg = messages(records, camera.topic)[k]
        seen = cv2.imdecode(msg.data, cv2.IMREAD_COLOR_RGB)
        assert (msg.format, seen.shape) == ("jpeg", (90, 160, 3))
        ego = ego_at(world, np.array([0.1 * k]))
        pose = transform(rotation_z(float(ego.yaw_rad[0])), ego.xyz[0]) @ base_from_optical(camera.mount)
        ideal = render(scene_at(static, world, 0.1 * k), nominal_camera(camera), pose)
        # JPEG halves the colours' resolution: the median, not the mean, is free of what it does along edges.
        error = np.abs(seen.astype(float) - ideal)
        assert 0.3 * NOISE_SIGMA < np.median(error) < NOISE_SIGMA
        assert abs((seen.astype(float) - ideal).mean()) < 1.0  # noise does not brighten
        wrong_time = render(scene_at(static, world, 1.9), nominal_camera(camera), pose)
        assert (np.abs(seen.astype(float) - wrong_time) > 40).sum() > (error > 40).sum()


def test_stamp_offset_rate_and_raw_transport_of_the_rig_are_obeyed(tmp_path: Path, records: list[Record]) -> None:
    rig = tiny_rig(stamp_offset_ms=30.0, rate_hz=5.0, transport="raw")
    make_bag(tmp_path / "bag", rig, DURATION_S, seed=3)
    camera = rig.cameras["rear_tele"]
    raw = messages(list(read_bag(tmp_path / "bag", topics=[camera.topic])), camera.topic)
    assert bag_topics(tmp_path / "bag")[camera.topic].type_name == "sensor_msgs/msg/Image"
    exposures = [stamp_ns(m) for m in messages(records, camera.topic)]
    assert [stamp_ns(m) + 30_000_000 for m in raw] == exposures[::2]
    assert (raw[0].encoding, raw[0].height, raw[0].width, raw[0].step) == ("rgb8", 90, 160, 480)
    encoded = cv2.imdecode(messages(records, camera.topic)[0].data, cv2.IMREAD_COLOR_RGB)
    # JPEG drops most of the noise's colour: over 9 x 9 pixels it is the same picture.
    smooth_raw, smooth_encoded = (cv2.blur(pixels.reshape(90, 160, 3), (9, 9)).astype(int) for pixels in (raw[0].data, encoded))
    assert np.abs(smooth_raw - smooth_encoded).mean() < 1.5


def test_what_cannot_be_made_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    wide = RIG.cameras["rear_tele"].mount.model_copy(update={"hfov_deg": 190.0})
    for rig, out, duration_s, seed, expected in (
        (RIG, "there", 1.0, 0, "does not exist yet"),
        (RIG, "new", 0.0, 0, "duration"),
        (RIG, "new", 1.0, -1, "seed"),
        (tiny_rig(mount=wide), "new", 1.0, 0, "pinhole cannot have"),
    ):
        with pytest.raises(InvalidInput, match=expected):
            make_bag(tmp_path / out, rig, duration_s, seed)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
