"""What holds for every data set: marks are where calibration and odometry of the bag say, stamps and motion are the data's,
the doctor finds nothing and a plan can be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from evaluation.conversion import drive, made

from alpamayo_ros.evaluation.conversion.convert import Kind, convert
from alpamayo_ros.evaluation.doctor.diagnosis import examine_bag
from alpamayo_ros.evaluation.replay import replay_bag
from alpamayo_ros.pipeline.decode import stamp_ns
from alpamayo_ros.profile import read_rig, shared_files


@dataclass(frozen=True)
class Set:
    """A data set and what its bag must hold."""

    kind: Kind
    make: Callable[[Path], Path]
    scene: str
    eye: Callable[[str], drive.Eye]
    middle_s: float  # when the discs stand before the cameras
    origin: np.ndarray  # of the made world in the odometry frame
    start_ns: int  # of the made time 0
    stamps_ns: Callable[[str], np.ndarray]  # of a role's images in the bag
    cameras: tuple[str, ...]
    odometry_hz: float
    rig: str
    roles: tuple[str, ...]  # that the profile of the plan asks for
    offsets_ms: tuple[int, ...]


KITTI_NS = int(np.datetime64("2011-09-26T13:02:25.964389445", "ns").astype(np.int64))
SETS = {
    "physical-ai-av": Set(
        "physical-ai-av", made.physical_ai_av, made.AV_CLIP, made.av_eye, made.AV_SECONDS / 2, np.zeros(3),
        1_700_000_000_000_000_000, lambda role: 1_700_000_000_000_000_000 + made.av_stamps_us(role)[::3] * 1000,
        tuple(made.AV_NAMES), 100.0, "hyperion8", tuple(made.AV_NAMES), (-2000, -1500, -1000, -500, 0),
    ),
    "nuscenes": Set(
        "nuscenes", made.nuscenes, "scene-0061", made.nu_eye, made.NU_SECONDS / 2, made.NU_WORLD,
        made.NU_START_US * 1000, lambda role: (made.NU_START_US + made.nu_times_us(made.NU_NAMES[role])) * 1000,
        tuple(made.NU_NAMES), 20.0, "nuscenes", tuple(made.NU_NAMES), (-2000, -1500, -1000, -500, 0),
    ),
    "kitti": Set(
        "kitti", made.kitti, made.KITTI_DRIVE, lambda _: made.kitti_eye(), made.KITTI_FRAMES / 20,
        -made.KITTI_BASE_FROM_IMU[:3, 3] @ drive.ego(0.0)[:3, :3].T, KITTI_NS,
        lambda _: KITTI_NS + 4_000_000 + 100_000_000 * np.arange(made.KITTI_FRAMES),
        ("front_wide",), 10.0, "kitti", ("front_wide",), (-300, -200, -100, 0),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(SETS))
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Set, drive.Bag]:
    made_set = SETS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    source = made_set.make(folder / "source")
    return made_set, drive.Bag(convert(made_set.kind, source, made_set.scene, folder / "bag"))


def test_marks_are_where_calibration_transforms_and_odometry_put_them(converted: tuple[Set, drive.Bag]) -> None:
    made_set, bag = converted
    assert bag.result.cameras == made_set.cameras
    for role in bag.result.cameras:
        eye = made_set.eye(role)
        disc = eye.disc(made_set.middle_s) + made_set.origin
        errors = drive.misplacements_px(bag, role, disc)
        assert len(errors) >= 3, role
        assert errors.max() < 0.3, (role, errors)


@pytest.mark.parametrize("how", list(drive.WRONG))
def test_the_marks_would_show_a_wrong_pose(converted: tuple[Set, drive.Bag], how: str) -> None:
    made_set, bag = converted
    disc = made_set.eye("front_wide").disc(made_set.middle_s) + made_set.origin
    assert drive.misplacements_px(bag, "front_wide", disc, drive.WRONG[how]).min() > 3.0


def test_the_odometry_is_the_motion(converted: tuple[Set, drive.Bag]) -> None:
    made_set, bag = converted
    for pose in bag.poses:
        t_s = (pose.stamp_ns - made_set.start_ns) / 1e9
        truth = drive.ego(t_s)
        np.testing.assert_allclose(pose.position, truth[:3, 3] + made_set.origin, atol=2e-6)
        np.testing.assert_allclose(pose.odom_from_ego, truth[:3, :3], atol=1e-9)
        # A parabola through 0.2 s of an arc: its slope is off by v (w dt)^2 / 6.
        np.testing.assert_allclose(pose.velocity_mps, truth[:3, :3].T @ drive.velocity(t_s), atol=3e-3)
        np.testing.assert_allclose(pose.angular_rps, drive.turn_rate(), atol=1e-6)


def test_stamps_are_exact_and_messages_lie_in_their_order(converted: tuple[Set, drive.Bag]) -> None:
    made_set, bag = converted
    for role, camera in bag.rig.cameras.items():
        expected = made_set.stamps_ns(role).tolist()
        assert bag.stamps_ns(role) == expected == [stamp_ns(info.header.stamp) for info in bag.infos(role)]
        assert {msg.header.frame_id for msg in (*bag.images(role), *bag.infos(role))} == {camera.frame_id}
    assert len(bag.log_ns) == bag.result.messages
    assert bag.result.bytes == sum(file.stat().st_size for file in bag.path.iterdir())
    assert bag.log_ns == sorted(bag.log_ns)
    assert bag.result.duration_s == pytest.approx((bag.log_ns[-1] - bag.log_ns[0]) / 1e9)


def test_image_files_are_copied_and_films_become_jpeg(converted: tuple[Set, drive.Bag]) -> None:
    made_set, bag = converted
    files = {path.read_bytes() for path in bag.path.with_name("source").rglob("*") if path.suffix in (".jpg", ".png")}
    for role in bag.result.cameras:
        images = bag.images(role)
        assert {image.format for image in images} == {"png" if made_set.kind == "kitti" else "jpeg"}
        assert not files or {image.data.tobytes() for image in images} <= files


def test_the_rig_file_is_the_shipped_rig_at_the_sizes_and_rates_of_the_clip(converted: tuple[Set, drive.Bag]) -> None:
    made_set, bag = converted
    rig, shipped = bag.rig, read_rig(made_set.rig)
    assert rig.odometry.rate_hz == pytest.approx(made_set.odometry_hz)
    for role, camera in rig.cameras.items():
        eye = made_set.eye(role)
        own = {"width": eye.width, "height": eye.height, "rate_hz": camera.rate_hz}
        assert camera == shipped.cameras[role].model_copy(update=own)
        assert camera.rate_hz == pytest.approx(12.0 if made_set.kind == "nuscenes" else 10.0, rel=1e-3)


def test_the_doctor_finds_nothing(converted: tuple[Set, drive.Bag]) -> None:
    _, bag = converted
    diagnosis = examine_bag(bag.path, bag.rig)
    assert diagnosis.problems == ()
    assert tuple(diagnosis.roles) == bag.result.cameras


def test_a_plan_can_be_made(converted: tuple[Set, drive.Bag], tmp_path: Path) -> None:
    made_set, bag = converted
    profile = yaml.safe_load((shared_files() / "config/profiles/seven_camera.yaml").read_text())
    profile |= {"cameras": dict.fromkeys(made_set.roles, "required"), "frame_offsets_ms": list(made_set.offsets_ms)}
    profile |= {"name": "made", "image_height": 64, "image_width": 112}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile))
    replayed = replay_bag(bag.path, bag.rig, "kinematic", str(tmp_path / "profile.yaml"))
    assert len(replayed.plans) >= 10
    # The kinematic baseline keeps speed and turn: on this road it is right.
    plan = next(plan for plan in replayed.plans if plan.t0_ns - made_set.start_ns > 2.5e9)
    assert plan.trajectory.xyz[10, 0] == pytest.approx(drive.SPEED_MPS * 1.1, rel=0.02)
