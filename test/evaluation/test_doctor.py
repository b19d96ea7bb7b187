"""The doctor on small bags, each with one thing wrong: the thing is named, with numbers, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import assume, given
from hypothesis import strategies as st

from alpamayo_ros.bags import BagWriter, message
from alpamayo_ros.cameras import base_from_optical, nominal_camera
from alpamayo_ros.evaluation.doctor.diagnosis import Diagnosis, diagnose, examine_bag, report, write_contact_sheet
from alpamayo_ros.evaluation.doctor.facts import facts_of_bag
from alpamayo_ros.evaluation.doctor.roles import cheapest_assignment, role_by_name, turn_deg
from alpamayo_ros.evaluation.doctor.timing import skew_of, timing_of
from alpamayo_ros.geometry import quaternion_from_rotation
from alpamayo_ros.profile import Mount, Rig, RigCamera, read_rig
from alpamayo_ros.types import ROLES, InvalidInput

cv2.setNumThreads(1)

START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
SPEED_MPS = 10.0
JPEG = simplejpeg.encode_jpeg(np.full((36, 64, 3), (200, 40, 40), np.uint8), 90)
SURROUND = (Path(__file__).parents[2] / "../shared/data/images/surround_6cam").resolve()


@dataclass(frozen=True)
class Camera:
    """A camera of a test vehicle and what is wrong with it."""

    rig: RigCamera  # where it publishes, how fast, and where it sits
    jpeg: bytes = JPEG
    k: tuple[float, ...] = ()  # of its camera_info; empty is the mount's field of view
    model: str = "plumb_bob"
    has_info: bool = True
    pose: np.ndarray | None = None  # base_from_optical; None is the mount's
    clock_ms: int = 0  # its stamps are this much too old
    lost: tuple[int, ...] = ()  # frames that were not recorded
    stamps_ms: tuple[int, ...] = ()  # of its frames, instead of its rate


def small_rig() -> Rig:
    """The shipped rig with cameras of 64x36 pixels and odometry at 50 Hz."""
    rig = read_rig("seven_camera")
    cameras = {role: camera.model_copy(update={"width": 64, "height": 36}) for role, camera in rig.cameras.items()}
    return rig.model_copy(update={"cameras": cameras, "odometry": rig.odometry.model_copy(update={"rate_hz": 50})})


RIG = small_rig()


def cameras_of(rig: Rig = RIG) -> dict[str, Camera]:
    return {role: Camera(camera) for role, camera in rig.cameras.items()}


def changed(camera: Camera, **fields: Any) -> Camera:
    """The camera with other fields of its RigCamera."""
    return replace(camera, rig=camera.rig.model_copy(update=fields))


def header(stamp_ns: int, frame_id: str) -> Any:
    return message("std_msgs/msg/Header")(message("builtin_interfaces/msg/Time")(stamp_ns // 10**9, stamp_ns % 10**9), frame_id)


def image(camera: Camera, stamp_ns: int) -> tuple[str, Any]:
    head = header(stamp_ns, camera.rig.frame_id)
    if camera.rig.transport == "compressed":
        name = "sensor_msgs/msg/CompressedImage"
        return name, message(name)(head, "jpeg", np.frombuffer(camera.jpeg, np.uint8))
    name, (height, width) = "sensor_msgs/msg/Image", (camera.rig.height, camera.rig.width)
    pixels = np.full(height * width * 3, 90, np.uint8)
    return name, message(name)(head, height, width, "rgb8", 0, width * 3, pixels)


def info(camera: Camera, stamp_ns: int) -> Any:
    nominal = nominal_camera(camera.rig)
    k = camera.k or (nominal.fx, 0, nominal.cx, 0, nominal.fy, nominal.cy, 0, 0, 1)
    roi = message("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, do_rectify=False)
    return message("sensor_msgs/msg/CameraInfo")(
        header(stamp_ns, camera.rig.frame_id),
        camera.rig.height,
        camera.rig.width,
        camera.model,
        np.zeros(5),
        np.array(k, np.float64),
        np.eye(3).reshape(-1),
        np.zeros(12),
        0,
        0,
        roi,
    )


def odometry(stamp_ns: int, x_m: float, twist_mps: float, w: float = 1.0, frame: str = "odom", child: str = "base_link") -> Any:
    vector, point = message("geometry_msgs/msg/Vector3"), message("geometry_msgs/msg/Point")
    pose = message("geometry_msgs/msg/Pose")(point(x_m, 0.0, 0.0), message("geometry_msgs/msg/Quaternion")(0.0, 0.0, 0.0, w))
    twist = message("geometry_msgs/msg/Twist")(vector(twist_mps, 0.0, 0.0), vector(0.0, 0.0, 0.0))
    return message("nav_msgs/msg/Odometry")(
        header(stamp_ns, frame),
        child,
        message("geometry_msgs/msg/PoseWithCovariance")(pose, np.zeros(36)),
        message("geometry_msgs/msg/TwistWithCovariance")(twist, np.zeros(36)),
    )


def steady(duration_s: float = 2.0, rate_hz: float = 50.0, **changes: Any) -> list[Any]:
    """Odometry at a constant speed, with other fields where asked for."""
    times = [i / rate_hz for i in range(round(duration_s * rate_hz))]
    return [odometry(START_NS + round(t * 1e9), **{"x_m": SPEED_MPS * t, "twist_mps": SPEED_MPS, **changes}) for t in times]


def transforms(cameras: Iterable[Camera], base: str = "base_link") -> Any:
    vector, quaternion = message("geometry_msgs/msg/Vector3"), message("geometry_msgs/msg/Quaternion")
    stamped = []
    for camera in cameras:
        pose = base_from_optical(camera.rig.mount) if camera.pose is None else camera.pose
        placed = message("geometry_msgs/msg/Transform")(
            vector(*map(float, pose[:3, 3])), quaternion(*map(float, quaternion_from_rotation(pose[:3, :3])))
        )
        stamped.append(message("geometry_msgs/msg/TransformStamped")(header(START_NS, base), camera.rig.frame_id, placed))
    return message("tf2_msgs/msg/TFMessage")(stamped)


def record(
    path: Path,
    cameras: dict[str, Camera],
    motion: list[Any] | None = None,
    tf: Any | None = None,
    odometry_topic: str = RIG.odometry.topic,
    duration_s: float = 2.0,
) -> Path:
    """Write a bag of the cameras, the odometry messages, and the cameras' transforms unless others are given."""
    with BagWriter(path) as bag:
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START_NS, transforms(cameras.values()) if tf is None else tf)
        for camera in cameras.values():
            rig = camera.rig
            times = camera.stamps_ms or [round(1e3 * i / rig.rate_hz) for i in range(round(duration_s * rig.rate_hz))]
            log_ns = START_NS
            for taken_ms in (t for i, t in enumerate(times) if i not in camera.lost):
                taken_ns = START_NS + taken_ms * MS
                log_ns = max(log_ns + MS, taken_ns + 25 * MS)
                stamp_ns = taken_ns - camera.clock_ms * MS - round(rig.stamp_offset_ms * MS)
                type_name, picture = image(camera, stamp_ns)
                bag.write(rig.topic, type_name, log_ns, picture)
                if camera.has_info:
                    bag.write(rig.info_topic, "sensor_msgs/msg/CameraInfo", log_ns, info(camera, stamp_ns))
        for msg in steady(duration_s) if motion is None else motion:
            stamp_ns = msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec
            bag.write(odometry_topic, "nav_msgs/msg/Odometry", max(stamp_ns, START_NS) + 2 * MS, msg)
    return path


def only_problem(diagnosis: Diagnosis, *words: str) -> None:
    """There is exactly one problem and it holds all these words."""
    assert len(diagnosis.problems) == 1, "\n".join(diagnosis.problems)
    for word in words:
        assert word in diagnosis.problems[0]


def some_problem(diagnosis: Diagnosis, *words: str) -> None:
    """One of the problems holds all these words."""
    found = [problem for problem in diagnosis.problems if all(word in problem for word in words)]
    assert found, f"{words} in none of:\n" + "\n".join(diagnosis.problems)


def with_camera(role: str, camera: Camera) -> dict[str, Camera]:
    return cameras_of() | {role: camera}


# ---- a healthy vehicle


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("healthy") / "bag", cameras_of())


@pytest.mark.parametrize("rig", [RIG, None], ids=["rig", "no rig"])
def test_seven_correct_cameras_are_found_and_nothing_is_wrong(healthy: Path, rig: Rig | None) -> None:
    diagnosis = examine_bag(healthy, rig)
    assert diagnosis.problems == ()
    assert diagnosis.roles == {role: RIG.cameras[role].topic for role in ROLES}
    assert tuple(diagnosis.roles) == ROLES
    json.dumps({"roles": diagnosis.roles, "problems": list(diagnosis.problems)})


def test_the_figures_of_a_healthy_camera_are_its_rig_s(healthy: Path) -> None:
    row = next(row for row in examine_bag(healthy, RIG).rows if row.role == "rear_right")
    assert row.timing.rate_hz == pytest.approx(10.0)
    assert (row.timing.count, row.timing.missing, row.timing.duplicates) == (20, 0, 0)
    assert row.timing.clock_ms == pytest.approx(25.0)
    assert row.view.yaw_deg == pytest.approx(-150.0)
    assert row.view.hfov_deg == pytest.approx(70.0)
    assert row.skew.median_ms == 0.0
    assert (row.facts.width, row.facts.height, row.facts.encoding) == (64, 36, "jpeg")


def test_the_report_names_every_role_topic_and_figure(healthy: Path) -> None:
    text = report(examine_bag(healthy, RIG))
    for role, camera in RIG.cameras.items():
        assert role in text
        assert f"{role}: {camera.topic}: looks" in text
        assert text.count(camera.topic) == 2  # whole, in the table too
    assert "0 problems" in text
    assert "\x1b" not in text


def test_the_contact_sheet_shows_every_topic(healthy: Path, tmp_path: Path) -> None:
    path = write_contact_sheet(examine_bag(healthy, RIG), tmp_path / "out")
    sheet = cv2.imread(str(path))
    reddish = np.count_nonzero((np.abs(sheet.astype(int) - (40, 40, 200)) < 30).all(axis=2))  # BGR on disk
    assert reddish == pytest.approx(7 * 480 * 270, rel=0.02)


# ---- which topic is which camera


def test_names_are_ignored_where_calibration_says_otherwise(tmp_path: Path) -> None:
    cameras = {
        role: changed(camera, topic=f"/video{i}/image/compressed", info_topic=f"/video{i}/camera_info")
        for i, (role, camera) in enumerate(cameras_of().items())
    }
    diagnosis = examine_bag(record(tmp_path / "bag", cameras), None)
    assert diagnosis.roles == {role: f"/video{i}/image/compressed" for i, role in enumerate(ROLES)}
    assert diagnosis.problems == ()
    assert diagnosis.reasons["front_left"] == "looks 60 deg (nominal 60), sees 120 deg (nominal 120)"


@pytest.mark.parametrize("rig", [RIG, None], ids=["rig", "no rig"])
def test_swapped_left_and_right_are_named(tmp_path: Path, rig: Rig | None) -> None:
    cameras = cameras_of()
    left, right = cameras["front_left"], cameras["front_right"]
    cameras["front_left"] = changed(left, mount=right.rig.mount)
    cameras["front_right"] = changed(right, mount=left.rig.mount)
    diagnosis = examine_bag(record(tmp_path / "bag", cameras), rig)
    assert diagnosis.roles["front_left"] == right.rig.topic
    assert diagnosis.roles["front_right"] == left.rig.topic
    assert len(diagnosis.problems) == 2
    says = "the rig says" if rig else "its name says"
    some_problem(diagnosis, right.rig.topic, says, "front_right", "looks 60 deg as front_left does")
    some_problem(diagnosis, left.rig.topic, says, "front_left", "looks -60 deg as front_right does")


def test_without_transforms_names_decide(tmp_path: Path) -> None:
    names = dict(zip(ROLES, ("cross_left", "CAM_FRONT", "crossRight", "RearLeft", "back", "cam_rr", "front_tele"), strict=True))
    cameras = {
        role: changed(camera, topic=f"/{names[role]}/image_raw/compressed", info_topic=f"/{names[role]}/camera_info")
        for role, camera in cameras_of().items()
    }
    diagnosis = examine_bag(record(tmp_path / "bag", cameras, tf=transforms([])), None)
    assert diagnosis.roles == {role: f"/{name}/image_raw/compressed" for role, name in names.items()}
    assert set(diagnosis.reasons.values()) == {"by its name, no transform to check it"}
    only_problem(diagnosis, "/tf_static", "no transform")


def test_raw_and_compressed_topics_of_one_camera_count_once(tmp_path: Path) -> None:
    cameras = cameras_of()
    for role in ("front_wide", "front_tele"):
        rig = cameras[role].rig
        cameras[f"{role} raw"] = changed(cameras[role], topic=rig.topic.removesuffix("/compressed"), transport="raw")
    diagnosis = examine_bag(record(tmp_path / "bag", cameras), None)
    assert diagnosis.roles == {role: RIG.cameras[role].topic for role in ROLES}
    assert [row.topic for row in diagnosis.rows if row.role is None] == [
        "/sensing/camera/front_tele/image",
        "/sensing/camera/front_wide/image",
    ]


def test_a_camera_that_is_missing_is_said(healthy: Path, tmp_path: Path) -> None:
    cameras = cameras_of()
    del cameras["rear_tele"]
    bag = record(tmp_path / "bag", cameras)
    only_problem(examine_bag(bag, None), "no camera was found for rear_tele")
    diagnosis = examine_bag(bag, RIG)
    assert "rear_tele" not in diagnosis.roles
    some_problem(diagnosis, "rear_tele: topic /sensing/camera/rear_tele/image/compressed is missing", "no other topic")


def test_a_missing_topic_s_likely_replacement_is_suggested(tmp_path: Path) -> None:
    renamed = changed(cameras_of()["rear_left"], topic="/cam7/image/compressed", info_topic="/cam7/camera_info")
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("rear_left", renamed)), RIG)
    some_problem(diagnosis, "rear_left: topic", "is missing; /cam7/image/compressed looks like it")
    assert diagnosis.roles["rear_left"] == "/cam7/image/compressed"


@pytest.mark.parametrize(
    ("topic", "role"),
    [
        ("/sensor/camera_cross_left_120fov", "front_left"),
        ("/CAM_FRONT_RIGHT/image_rect_compressed", "front_right"),
        ("/camera/FrontWide/image_raw", "front_wide"),
        ("/CAM_BACK", "rear_tele"),
        ("/CAM_BACK_LEFT", "rear_left"),
        ("/cameras/front_tele_30fov/image", "front_tele"),
        ("/narrow/image", "front_tele"),
        ("/cam_rl/image_raw/compressed", "rear_left"),
        ("/usb_cam/image_raw", None),
        ("/left_right/image", None),
    ],
)
def test_roles_are_read_from_the_words_of_a_topic(topic: str, role: str | None) -> None:
    assert role_by_name(topic) == role


@given(
    cost=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, float("inf")]), min_size=4, max_size=4), min_size=1, max_size=4)
)
def test_the_assignment_is_the_best_of_all(cost: list[list[float]]) -> None:
    def price(columns: tuple[int | None, ...]) -> float:
        return sum(100.0 if column is None else row[column] for row, column in zip(cost, columns, strict=True))

    columns = cheapest_assignment(np.array(cost))
    used = [column for column in columns if column is not None]
    assert len(used) == len(set(used))
    choices = permutations([0, 1, 2, 3, None, None, None, None], len(cost))
    assert price(columns) == min(price(choice) for choice in choices)


@pytest.mark.parametrize(
    ("a", "b", "turn"), [(170.0, -170.0, 20.0), (-180.0, 180.0, 0.0), (10.0, -20.0, 30.0), (0.0, 180.0, 180.0)]
)
def test_headings_are_compared_around_the_circle(a: float, b: float, turn: float) -> None:
    assert turn_deg(a, b) == pytest.approx(turn)


# ---- calibration


def test_a_camera_turned_too_far_is_said_with_its_angle(tmp_path: Path) -> None:
    mount = RIG.cameras["rear_left"].mount.model_copy(update={"yaw_deg": 130.0})
    turned = changed(cameras_of()["rear_left"], mount=mount)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("rear_left", turned)), RIG)
    only_problem(diagnosis, "rear_left", "looks 130 deg, 20 deg off", "at 150 deg")


def test_a_lens_too_narrow_is_said_with_its_field_of_view(tmp_path: Path) -> None:
    mount = RIG.cameras["front_left"].mount.model_copy(update={"hfov_deg": 90.0})
    narrow = changed(cameras_of()["front_left"], mount=mount)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_left", narrow)), RIG)
    only_problem(diagnosis, "sees 90 deg, front_left is to see 120 deg")


def test_a_camera_placed_far_from_its_mount_is_said_with_both_places(tmp_path: Path) -> None:
    """Its extrinsics are in another unit, or of another camera."""
    camera = cameras_of()["rear_left"]
    moved = base_from_optical(camera.rig.mount)
    moved[:3, 3] += (0.0, 2.5, 0.0)
    bag = record(tmp_path / "bag", with_camera("rear_left", replace(camera, pose=moved)))
    x, y, z = camera.rig.mount.xyz_m
    only_problem(examine_bag(bag, RIG), f"({x:.2f}, {y + 2.5:.2f}, {z:.2f}) m, 2.5 m", f"mount at ({x:.2f}, {y:.2f}, {z:.2f})")
    assert not examine_bag(bag, None).problems, "without a rig nobody says where cameras sit"


def test_an_unusable_camera_info_is_said_and_the_role_still_found(tmp_path: Path) -> None:
    odd = replace(cameras_of()["front_tele"], model="thin_prism")
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_tele", odd)), RIG)
    only_problem(diagnosis, RIG.cameras["front_tele"].topic, "'thin_prism'")
    assert diagnosis.roles["front_tele"] == RIG.cameras["front_tele"].topic


def test_a_camera_without_camera_info_is_said(tmp_path: Path) -> None:
    diagnosis = examine_bag(
        record(tmp_path / "bag", with_camera("rear_left", replace(cameras_of()["rear_left"], has_info=False))), None
    )
    only_problem(diagnosis, RIG.cameras["rear_left"].topic, "no camera_info")


def test_a_frame_without_transform_is_said(tmp_path: Path) -> None:
    cameras = cameras_of()
    placed = [camera for role, camera in cameras.items() if role != "front_right"]
    diagnosis = examine_bag(record(tmp_path / "bag", cameras, tf=transforms(placed)), RIG)
    only_problem(diagnosis, "'front_right_optical_frame' is not in /tf_static")
    assert diagnosis.reasons["front_right"] == "declared in the rig, no transform to check it"


def test_a_frame_that_is_not_optical_is_said(tmp_path: Path) -> None:
    upright = np.eye(4)  # x forward, y left, z up: a camera_link
    upright[:3, 3] = RIG.cameras["front_wide"].mount.xyz_m
    link = replace(cameras_of()["front_wide"], pose=upright)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_wide", link)), RIG)
    only_problem(diagnosis, "'front_wide_optical_frame' is not an optical frame", "points up")
    assert diagnosis.roles["front_wide"] == RIG.cameras["front_wide"].topic


def test_another_base_frame_is_said(tmp_path: Path) -> None:
    cameras = cameras_of()
    bag = record(tmp_path / "bag", cameras, tf=transforms(cameras.values(), base="vehicle"))
    some_problem(examine_bag(bag, RIG), "/tf_static does not connect 'base_link'", "vehicle")


@pytest.mark.parametrize("offer", ["best_effort transient_local keep_last(1)", "reliable volatile keep_last(10)"])
def test_transforms_that_late_subscribers_never_get_are_said(healthy: Path, offer: str) -> None:
    facts = facts_of_bag(healthy, RIG)
    assert "transient_local" in facts.static_qos
    only_problem(diagnose(replace(facts, static_qos=offer), RIG), "/tf_static is offered as", offer)


# ---- images


def test_a_raw_topic_where_compressed_is_declared_is_said(tmp_path: Path) -> None:
    raw = changed(cameras_of()["rear_right"], transport="raw")
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("rear_right", raw)), RIG)
    only_problem(diagnosis, "is a sensor_msgs/msg/Image, the rig declares sensor_msgs/msg/CompressedImage", "`transport: raw`")


def test_a_size_the_rig_does_not_declare_is_said(tmp_path: Path) -> None:
    larger = simplejpeg.encode_jpeg(np.zeros((72, 128, 3), np.uint8), 90)
    camera = replace(changed(cameras_of()["front_wide"], width=128, height=72), jpeg=larger)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_wide", camera)), RIG)
    only_problem(diagnosis, "images are 128x72, the rig declares 64x36")


def test_a_camera_info_of_another_size_is_said(tmp_path: Path) -> None:
    larger = simplejpeg.encode_jpeg(np.zeros((72, 128, 3), np.uint8), 90)
    camera = replace(cameras_of()["front_wide"], jpeg=larger)
    some_problem(examine_bag(record(tmp_path / "bag", with_camera("front_wide", camera)), None), "camera_info describes 64x36")


def test_images_that_cannot_be_decoded_are_said_and_shown_as_blank(tmp_path: Path) -> None:
    camera = replace(cameras_of()["front_wide"], jpeg=JPEG[: len(JPEG) // 2])
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_wide", camera)), RIG)
    only_problem(diagnosis, RIG.cameras["front_wide"].topic, "images cannot be used")
    assert write_contact_sheet(diagnosis, tmp_path).is_file()


def test_a_jpeg_that_declares_a_gigantic_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    place = JPEG.index(b"\xff\xc0") + 5
    bomb = JPEG[:place] + (32000).to_bytes(2, "big") * 2 + JPEG[place + 4 :]
    camera = replace(cameras_of()["front_wide"], jpeg=bomb)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_wide", camera)), None)
    only_problem(diagnosis, "32000x32000")


# ---- rates, stamps, clocks


def test_a_slow_camera_is_said_with_both_rates(tmp_path: Path) -> None:
    slow = changed(cameras_of()["rear_tele"], rate_hz=2.0)
    bag = record(tmp_path / "bag", with_camera("rear_tele", slow))
    only_problem(examine_bag(bag, RIG), "rear_tele", "2.0 Hz, the rig declares 10.0 Hz")
    only_problem(examine_bag(bag, None), "rear_tele", "2.0 Hz, the others have 10.0 Hz")


def test_lost_frames_are_counted(tmp_path: Path) -> None:
    lossy = replace(cameras_of()["front_left"], lost=(7, 8, 15))
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("front_left", lossy)), RIG)
    some_problem(diagnosis, "front_left", "3 of 20 messages are missing (15.0 %)")
    some_problem(diagnosis, "no frame within 55 ms for 3 of 20 frames of front_wide")
    assert len(diagnosis.problems) == 2


@pytest.mark.parametrize(("clock_ms", "side"), [(120, "behind"), (-120, "ahead of")])
def test_a_clock_that_differs_from_the_others_is_said_with_its_side(tmp_path: Path, clock_ms: int, side: str) -> None:
    late = replace(cameras_of()["rear_left"], clock_ms=clock_ms)
    diagnosis = examine_bag(record(tmp_path / "bag", with_camera("rear_left", late)), RIG)
    some_problem(
        diagnosis, "rear_left", f"its clock is 120 ms {side} the other topics'", f"add {clock_ms:+d} to `stamp_offset_ms`"
    )


def test_a_declared_stamp_offset_is_no_clock_problem(tmp_path: Path) -> None:
    rig = small_rig()
    camera = rig.cameras["rear_left"].model_copy(update={"stamp_offset_ms": 120.0})
    rig = rig.model_copy(update={"cameras": rig.cameras | {"rear_left": camera}})
    assert examine_bag(record(tmp_path / "bag", cameras_of(rig)), rig).problems == ()


def test_stamps_of_another_epoch_than_the_recorder_s_clock_are_said(tmp_path: Path) -> None:
    cameras = {role: replace(camera, clock_ms=5000) for role, camera in cameras_of().items()}
    bag = record(tmp_path / "bag", cameras, motion=[])
    some_problem(examine_bag(bag, None), "stamps are 5.0 s before the recorder's clock")


def test_zero_duplicate_and_backward_stamps_are_counted(tmp_path: Path) -> None:
    times = (*range(0, 1500, 100), 1400, 1300, *range(1500, 2000, 100))
    camera = replace(cameras_of()["rear_left"], stamps_ms=times)
    diagnosis = examine_bag(record(tmp_path / "a", with_camera("rear_left", camera)), RIG)
    some_problem(diagnosis, "2 of 22 stamps are used twice")
    some_problem(diagnosis, "1 of 22 stamps go backwards")
    unset = replace(cameras_of()["rear_left"], clock_ms=START_NS // MS, stamps_ms=(0, 0))
    some_problem(examine_bag(record(tmp_path / "b", with_camera("rear_left", unset)), RIG), "2 of 2 stamps are zero")


def test_jittering_stamps_are_said(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    times = tuple(int(t) for t in 100 * np.arange(20) + random.integers(-24, 25, 20) + 24)
    camera = replace(cameras_of()["rear_left"], stamps_ms=times)
    some_problem(examine_bag(record(tmp_path / "bag", with_camera("rear_left", camera)), RIG), "rear_left", "jitter")


@given(
    count=st.integers(3, 60),
    period_ms=st.integers(5, 500),
    lost=st.sets(st.integers(1, 58), max_size=10),
    clock_ms=st.integers(0, 10_000),
)
def test_timing_counts_exactly_what_was_lost(count: int, period_ms: int, lost: set[int], clock_ms: int) -> None:
    kept = np.array([i for i in range(count) if i not in lost or i in (0, count - 1)])
    assume(np.mean(np.diff(kept) == 1) > 0.5)  # the median interval must still be the period
    stamps = START_NS + kept * period_ms * MS
    timing = timing_of(stamps, stamps + clock_ms * MS)
    assert timing.rate_hz == pytest.approx(1e3 / period_ms)
    assert timing.missing == count - len(kept)
    assert timing.jitter_ms == pytest.approx(0.0, abs=1e-9)
    assert timing.clock_ms == pytest.approx(clock_ms)


def test_skew_is_the_distance_to_the_nearest_frame_while_the_camera_runs() -> None:
    anchors = START_NS + np.arange(10) * 100 * MS
    late_start = anchors[4:] + 30 * MS
    skew = skew_of(late_start, anchors, 20.0 * MS)
    assert skew.median_ms == pytest.approx(30.0)
    assert (skew.anchors, skew.late) == (5, 5)
    assert (skew_of(late_start, anchors, 35.0 * MS).anchors, skew_of(late_start, anchors, 35.0 * MS).late) == (6, 0)
    assert np.isnan(skew_of(np.empty(0, np.int64), anchors, 1.0).median_ms)


# ---- odometry


def test_odometry_that_holds_nan_is_counted(tmp_path: Path) -> None:
    motion = steady()
    motion[50] = odometry(START_NS + 1000 * MS, float("nan"), SPEED_MPS)
    motion[51] = odometry(START_NS + 1020 * MS, 10.2, float("inf"))
    only_problem(examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG), "2 of 100 messages hold NaN")


def test_quaternions_that_are_no_rotation_are_counted(tmp_path: Path) -> None:
    motion = steady(w=0.0)[:3] + steady()[3:]
    only_problem(examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG), "3 of 100 quaternions", "norm 0.000")


def test_a_twist_in_kilometres_per_hour_is_noticed(tmp_path: Path) -> None:
    motion = steady(twist_mps=3.6 * SPEED_MPS)
    only_problem(
        examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG), "poses move at 10.0 m/s, the twist says 36.0 m/s"
    )


def test_noisy_positions_are_not_a_wrong_speed(tmp_path: Path) -> None:
    motion = steady()
    for msg, noise_m in zip(motion, np.random.default_rng(5).normal(0.0, 0.02, 100), strict=True):
        msg.pose.pose.position.x += noise_m
    assert examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG).problems == ()


def test_a_pose_that_jumps_is_said_with_its_distance(tmp_path: Path) -> None:
    motion = steady()
    for msg in motion[50:]:
        msg.pose.pose.position.x += 4.0
    only_problem(examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG), "the pose jumps 1 times, by 4.20 m")


def test_odometry_of_a_frame_nobody_knows_is_said(tmp_path: Path) -> None:
    motion = steady(frame="map", child="gnss")
    diagnosis = examine_bag(record(tmp_path / "bag", cameras_of(), motion), RIG)
    some_problem(diagnosis, "poses in frame 'map', the rig declares 'odom'")
    some_problem(diagnosis, "of 'gnss', which /tf_static does not connect to 'base_link'")
    assert len(diagnosis.problems) == 2


def test_missing_slow_and_misplaced_odometry_is_said(tmp_path: Path) -> None:
    none = record(tmp_path / "a", cameras_of(), motion=[])
    only_problem(examine_bag(none, None), "no nav_msgs/msg/Odometry topic")
    only_problem(examine_bag(none, RIG), f"topic {RIG.odometry.topic} is missing")
    elsewhere = record(tmp_path / "b", cameras_of(), odometry_topic="/odom")
    only_problem(examine_bag(elsewhere, RIG), "is missing; /odom is nav_msgs/msg/Odometry")
    assert examine_bag(elsewhere, None).problems == ()
    slow = record(tmp_path / "c", cameras_of(), motion=steady(rate_hz=5.0))
    some_problem(examine_bag(slow, None), "5.0 Hz: the ego history needs 10 Hz")


# ---- bags that are hardly one


def test_a_bag_without_cameras_still_gets_a_report_and_a_sheet(tmp_path: Path) -> None:
    diagnosis = examine_bag(record(tmp_path / "bag", {}), None)
    assert diagnosis.roles == {}
    some_problem(diagnosis, "no camera was found for front_left")
    assert "no camera was found" in report(diagnosis)
    assert write_contact_sheet(diagnosis, tmp_path).is_file()


def test_a_broken_message_is_counted_and_the_rest_is_used(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    with BagWriter(path) as bag:
        type_name, picture = image(cameras_of()["front_wide"], START_NS)
        bag.write("/front/image/compressed", type_name, START_NS, picture)
        bag.write("/front/image/compressed", type_name, START_NS + 1, b"\0\1\0\0\xff\xff\xff\xff")
    diagnosis = examine_bag(path, None)
    some_problem(diagnosis, "/front/image/compressed: 1 messages cannot be read")
    assert diagnosis.rows[0].timing.count == 1


def test_what_is_not_a_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such bag"):
        examine_bag(tmp_path / "nothing", None)


# ---- real cameras


@pytest.mark.shared
@pytest.mark.skipif(not SURROUND.is_dir(), reason=f"the recorded surround set is not at {SURROUND}")
@pytest.mark.parametrize("named", [True, False], ids=["names", "numbers"])
def test_roles_of_a_real_surround_set_are_found_from_its_calibration(tmp_path: Path, named: bool) -> None:
    calibration = json.loads((SURROUND / "calibration.json").read_text())
    counterparts = {
        "CAM_FRONT_LEFT": "front_left",
        "CAM_FRONT": "front_wide",
        "CAM_FRONT_RIGHT": "front_right",
        "CAM_BACK_LEFT": "rear_left",
        "CAM_BACK": "rear_tele",
        "CAM_BACK_RIGHT": "rear_right",
    }
    cameras, topics = {}, {}
    for number, (name, role) in enumerate(counterparts.items()):
        topic = f"/{name if named else f'video{number}'}"
        topics[role] = f"{topic}/image_rect/compressed"
        cameras[name] = Camera(
            RigCamera(
                topic=topics[role],
                info_topic=f"{topic}/camera_info",
                transport="compressed",
                width=1600,
                height=900,
                rate_hz=12.0,
                stamp_offset_ms=0.0,
                frame_id=name,
                mount=Mount(xyz_m=(0.0, 0.0, 0.0), yaw_deg=0.0, pitch_deg=0.0, hfov_deg=90.0),
            ),
            jpeg=(SURROUND / f"{name}.jpg").read_bytes(),
            k=tuple(np.array(calibration[name]["cam2img"]).reshape(-1)),
            pose=np.array(calibration[name]["cam2ego"]),
        )
    diagnosis = examine_bag(record(tmp_path / "bag", cameras, duration_s=0.5), None)
    assert diagnosis.roles == topics
    some_problem(diagnosis, "no camera was found for front_tele")
    some_problem(diagnosis, topics["front_wide"], "sees 65 deg, front_wide is to see 120 deg")
    some_problem(diagnosis, topics["rear_left"], "looks 109 deg, 41 deg off rear_left")
    assert write_contact_sheet(diagnosis, tmp_path).stat().st_size > 100_000
