"""Poses at exact instants, jumps of time and place, signals, and frames on the vehicle."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline.vehicle import MS, SECOND, T, pose
from scipy.interpolate import CubicSpline

from alpamayo_ros import geometry
from alpamayo_ros.pipeline.poses import Offered, PoseBuffer, SignalBuffer, Transforms, signals_at
from alpamayo_ros.types import EgoPose, InvalidInput, SignalSample, StaleInput, TurnIndicator

HISTORY = 21


def filled(*poses: EgoPose) -> PoseBuffer:
    buffer = PoseBuffer(HISTORY)
    for each in poses:
        buffer.offer(each)
    return buffer


def stamps(buffer: PoseBuffer) -> list[int]:
    return [each.stamp_ns - T for each in buffer.poses()]


# ------------------------------------------------------------------------------------------------------------- exact motions


def on_circle(ns: int, radius_m: float = 20.0, speed_mps: float = 10.0) -> EgoPose:
    """A left turn of constant radius and speed."""
    yaw = speed_mps / radius_m * (ns - T) / SECOND
    place = radius_m * np.array([math.sin(yaw), 1 - math.cos(yaw), 0])
    return EgoPose(ns, place, geometry.rotation_z(yaw), np.array([speed_mps, 0, 0]), np.array([0, 0, speed_mps / radius_m]))


def test_a_measured_pose_is_returned_as_it_is() -> None:
    buffer = filled(*(on_circle(T + n * 10 * MS) for n in range(10)))
    found, extrapolated_ms = buffer.at(T + 40 * MS)
    assert found is buffer.poses()[4]
    assert extrapolated_ms == 0.0


@pytest.mark.parametrize("period_ms", [10, 27, 100, 190])
def test_a_turn_is_interpolated_along_its_arc(period_ms: int) -> None:
    buffer = filled(*(on_circle(T + n * period_ms * MS) for n in range(8)))
    asked = T + 3 * period_ms * MS + period_ms * MS * 2 // 5
    found, extrapolated_ms = buffer.at(asked)
    truth = on_circle(asked)
    # Cubic Hermite: error below h^4/384 of the fourth derivative v^4/r^3, rounded up; a straight line errs by v^2 h^2/8r.
    bound_m = 1.1 * (period_ms / 1e3) ** 4 / 384 * 10.0**4 / 20.0**3
    assert np.linalg.norm(found.position - truth.position) <= bound_m + 1e-12
    assert np.allclose(found.odom_from_ego, truth.odom_from_ego, atol=1e-9)
    assert np.allclose(found.velocity_mps, truth.velocity_mps)
    assert extrapolated_ms == 0.0


def test_steady_acceleration_is_interpolated_exactly() -> None:
    def braking(ns: int) -> EgoPose:
        t = (ns - T) / SECOND
        return EgoPose(ns, np.array([15 * t - 2 * t**2, 0, 0]), np.eye(3), np.array([15 - 4 * t, 0, 0]), np.zeros(3))

    found, _ = filled(*(braking(T + n * 100 * MS) for n in range(5))).at(T + 237 * MS)
    assert np.allclose(found.position, braking(T + 237 * MS).position, atol=1e-12)
    assert found.speed_mps == pytest.approx(15 - 4 * 0.237, abs=1e-12)


@pytest.mark.parametrize("ahead_ms", [1, 25, 50])
def test_the_newest_pose_is_extrapolated_along_its_arc_and_marked(ahead_ms: int) -> None:
    buffer = filled(*(on_circle(T + n * 10 * MS) for n in range(10)))
    newest = T + 90 * MS
    found, extrapolated_ms = buffer.at(newest + ahead_ms * MS)
    truth = on_circle(newest + ahead_ms * MS)
    assert extrapolated_ms == ahead_ms
    # The chord along the mean heading is longer than the arc's by (wt)^2/24: 13 um of half a metre here.
    assert np.linalg.norm(found.position - truth.position) < 2e-5
    assert np.allclose(found.odom_from_ego, truth.odom_from_ego, atol=1e-12)


@pytest.mark.parametrize(
    ("asked_ns", "says"),
    [
        (T + 91 * MS + 50 * MS, "newest pose 51 ms before the instant asked for, limit 50"),
        (T - 30 * MS, "oldest pose 30 ms after the instant asked for"),
    ],
)
def test_nothing_is_made_up_outside_of_what_was_measured(asked_ns: int, says: str) -> None:
    with pytest.raises(StaleInput, match=says):
        filled(*(on_circle(T + n * 10 * MS) for n in range(10))).at(asked_ns)


def test_nothing_is_made_up_in_a_gap() -> None:
    buffer = filled(on_circle(T), on_circle(T + 100 * MS), on_circle(T + 310 * MS), on_circle(T + 410 * MS))
    assert buffer.at(T + 50 * MS)[1] == 0.0
    assert buffer.at(T + 310 * MS)[0] is buffer.poses()[2]
    with pytest.raises(StaleInput, match="a gap of 210 ms, limit 200"):
        buffer.at(T + 200 * MS)


def test_an_empty_buffer_says_so() -> None:
    with pytest.raises(StaleInput, match="odometry: no pose yet"):
        PoseBuffer(HISTORY).at(T)
    assert PoseBuffer(HISTORY).newest() is None
    assert PoseBuffer(HISTORY).rate_hz() == 0.0


# ------------------------------------------------------------------------------------------------------------------ recorded

KITTI = (Path(__file__).parents[2] / "../shared/data/ego_poses/kitti00_groundtruth.txt").resolve()
EGO_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera: x right, y down, z forward


@cache
def drive() -> tuple[CubicSpline, list[np.ndarray]]:
    """The recorded drive: position over time through all its poses, and the rotations at its times."""
    rows = np.loadtxt(KITTI)
    position = CubicSpline(rows[:, 0], rows[:, 1:4] @ EGO_FROM_CAMERA.T)
    turned = [EGO_FROM_CAMERA @ geometry.rotation_from_quaternion(q) @ EGO_FROM_CAMERA.T for q in rows[:, 4:8]]
    return position, turned


def truth_at(seconds: float) -> EgoPose:
    position, turned = drive()
    at = min(int(np.searchsorted(position.x, seconds, "right")) - 1, len(turned) - 2)
    share = (seconds - position.x[at]) / (position.x[at + 1] - position.x[at])
    rotation = geometry.slerp(turned[at], turned[at + 1], share)
    velocity = rotation.T @ position(seconds, 1)
    return EgoPose(T + round(seconds * SECOND), position(seconds), rotation, velocity, np.zeros(3))


@pytest.mark.shared
@pytest.mark.parametrize(("rate_hz", "limit_cm"), [(10, 2.0), (37, 0.5), (50, 0.5), (100, 0.5)])
def test_poses_of_a_recorded_drive_are_exact_at_any_rate(
    rate_hz: float, limit_cm: float, capsys: pytest.CaptureFixture[str]
) -> None:
    if not KITTI.is_file():
        pytest.skip(f"no {KITTI}")
    random = np.random.default_rng(rate_hz)
    errors_m, straight_m = [], []
    for start_s in np.linspace(1, 460, 20):
        seconds = np.arange(start_s, start_s + 6, 1 / rate_hz)
        seconds = np.unique(seconds + random.uniform(-0.03, 0.03, len(seconds)))  # jittered, with true stamps
        poses = [truth_at(s) for s in seconds]
        buffer = filled(*poses)
        kept = buffer.poses()
        for asked_s in random.uniform(seconds[-1] - 3.5, seconds[-1], 60):
            asked_ns = T + round(asked_s * SECOND)
            if kept[0].stamp_ns <= asked_ns <= kept[-1].stamp_ns:
                exact = drive()[0]((asked_ns - T) / SECOND)
                errors_m.append(np.linalg.norm(buffer.at(asked_ns)[0].position - exact))
                known = np.array([p.stamp_ns for p in kept], float)
                line = [np.interp(asked_ns, known, [p.position[i] for p in kept]) for i in range(3)]
                straight_m.append(np.linalg.norm(line - exact))
    assert len(errors_m) > 1000
    p99_cm, straight_p99_cm = 100 * np.percentile(errors_m, 99), 100 * np.percentile(straight_m, 99)
    with capsys.disabled():
        print(
            f"\n{rate_hz:3d} Hz ± 30 ms: p99 {p99_cm:.3f} cm, max {100 * max(errors_m):.3f} cm "
            f"(straight lines: p99 {straight_p99_cm:.3f} cm)"
        )
    assert p99_cm <= limit_cm
    assert p99_cm < straight_p99_cm


# --------------------------------------------------------------------------------------------------------- order and jumps


def test_poses_out_of_order_take_their_place() -> None:
    buffer = PoseBuffer(HISTORY)
    outcomes = [buffer.offer(pose(T + ms * MS)) for ms in (0, 10, 40, 20, 30, 20, 50)]
    assert outcomes == ["kept", "kept", "kept", "late", "late", "duplicate", "kept"]
    assert stamps(buffer) == [0, 10 * MS, 20 * MS, 30 * MS, 40 * MS, 50 * MS]


def test_the_first_of_two_poses_of_one_stamp_wins() -> None:
    buffer = filled(pose(T, 5.0))
    assert buffer.offer(pose(T, 6.0)) == "duplicate"
    assert buffer.poses()[0].speed_mps == 5.0


@pytest.mark.parametrize(
    ("ahead_ms", "outcome"), [(-101, "jump"), (-100, "late"), (1000, "kept"), (1001, "jump"), (-86_400_000, "jump")]
)
def test_a_clock_that_jumps_is_told_from_disorder(ahead_ms: int, outcome: Offered) -> None:
    buffer = filled(*(pose(T + n * 10 * MS, 0.0) for n in range(21) if n != 10))
    before = stamps(buffer)
    assert buffer.offer(pose(T + 200 * MS + ahead_ms * MS, 0.0)) == outcome
    assert (stamps(buffer) == before) == (outcome == "jump")


@pytest.mark.parametrize(
    ("x_m", "yaw_rad", "outcome"),
    [
        (10 * 0.01 + 0.49, 0.0, "kept"),
        (10 * 0.01 + 0.51, 0.0, "jump"),  # dx > v dt + 0.5 m
        (-0.51 - 10 * 0.01, 0.0, "jump"),
        (0.1, 0.29, "kept"),
        (0.1, 0.31, "jump"),  # dyaw > 0.3 rad
        (0.1, -0.31, "jump"),
    ],
)
def test_a_vehicle_that_teleports_is_told_from_motion(x_m: float, yaw_rad: float, outcome: Offered) -> None:
    buffer = filled(pose(T, 10.0, x_m=0.0))
    assert buffer.offer(pose(T + 10 * MS, 10.0, x_m=x_m, yaw_rad=yaw_rad)) == outcome


def test_a_fast_turn_seen_rarely_is_no_teleport() -> None:
    buffer = filled(pose(T, 5.0, yaw_rate_rps=1.0))
    assert buffer.offer(pose(T + 500 * MS, 5.0, yaw_rate_rps=1.0, yaw_rad=0.5)) == "kept"


def test_memory_is_bounded_in_time_and_in_number() -> None:
    buffer = filled(*(pose(T + n * 10 * MS) for n in range(1000)))
    kept = stamps(buffer)
    assert kept[-1] - kept[0] == (HISTORY - 1) * 100 * MS + 2 * SECOND
    assert buffer.rate_hz() == pytest.approx(100)
    crowd = filled(*(pose(T + n * MS // 10, 0.0) for n in range(6000)))
    assert len(crowd.poses()) == 4000  # 4 s at the highest rate a rig can declare


@settings(max_examples=50)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=40))
def test_any_order_gives_increasing_stamps(order: list[int]) -> None:
    buffer = PoseBuffer(HISTORY)
    outcomes = [buffer.offer(pose(T + ms * MS)) for ms in order]
    assert stamps(buffer) == sorted({ms * MS for ms in order})
    assert outcomes.count("duplicate") == len(order) - len(set(order))


# ------------------------------------------------------------------------------------------------------- signals, transforms


def signal(ms: int, steering: float = 0.0, indicator: TurnIndicator = "off", acceleration: float = 0.0) -> SignalSample:
    return SignalSample(T + ms * MS, steering, indicator, acceleration)


def test_steering_and_acceleration_are_interpolated_and_the_indicator_keeps_its_last_value() -> None:
    buffer = SignalBuffer(HISTORY)
    for sample in (signal(0, 0.0, "off", 1.0), signal(400, -0.2, "hazard", 5.0), signal(100, 0.4, "left", -1.0)):
        buffer.offer(sample)
    for asked, want in (
        (0, signal(0, 0.0, "off", 1.0)),
        (25, signal(25, 0.1, "off", 0.5)),
        (99, signal(99, 0.396, "off", -0.98)),
        (100, signal(100, 0.4, "left", -1.0)),
        (250, signal(250, 0.1, "left", 2.0)),
        (900, signal(900, -0.2, "hazard", 5.0)),  # the newest holds for 500 ms
    ):
        found = buffer.at(T + asked * MS)
        assert (found.stamp_ns, found.turn_indicator) == (want.stamp_ns, want.turn_indicator)
        assert found.steering_angle_rad == pytest.approx(want.steering_angle_rad, abs=1e-12)
        assert found.acceleration_mps2 == pytest.approx(want.acceleration_mps2, abs=1e-12)


@pytest.mark.parametrize(
    ("known_ms", "asked_ms", "says"),
    [
        ([], 0, "ego signals: no measurement yet"),
        ([40], 0, "ego signals: oldest measurement 40 ms after the instant asked for"),
        ([0], 501, "ego signals: newest measurement 501 ms before the instant asked for, limit 500"),
        ([0, 501], 100, "ego signals: a gap of 501 ms, limit 500"),
    ],
)
def test_no_signal_is_made_up(known_ms: list[int], asked_ms: int, says: str) -> None:
    with pytest.raises(StaleInput, match=f"^{says}$"):
        signals_at([signal(ms) for ms in known_ms], T + asked_ms * MS)


def test_signals_are_kept_in_order_once_and_for_a_bounded_time() -> None:
    buffer = SignalBuffer(HISTORY)
    for ms in (5000, 0, 1001, 1000, 999, 5100, 5000, 3000):
        buffer.offer(signal(ms, steering=ms / 1e4))
    assert [(s.stamp_ns - T) // MS for s in buffer.samples()] == [3000, 5000, 5100]  # 4 s before the newest: 1100
    buffer.offer(signal(5000, steering=1.0))
    assert buffer.at(T + 5000 * MS).steering_angle_rad == 0.5, "the first of a stamp is kept"
    for n in range(5000):
        buffer.offer(SignalSample(T + 5100 * MS + n, 0.0, "off", 0.0))
    assert len(buffer.samples()) == 4000
    buffer.clear()
    assert buffer.samples() == ()


def random_motion(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return geometry.transform(geometry.rotation_from_rpy(*random.uniform(-1, 1, 3)), random.uniform(-2, 2, 3))


def test_transforms_chain_in_every_direction() -> None:
    base_from_mast, mast_from_imu, base_from_camera = (random_motion(i) for i in range(3))
    tree = Transforms()
    tree.offer("mast", "imu", mast_from_imu)
    tree.offer("base_link", "camera", base_from_camera)
    tree.offer("base_link", "mast", base_from_mast)
    expected = {
        ("base_link", "imu"): base_from_mast @ mast_from_imu,
        ("imu", "base_link"): geometry.inverse(base_from_mast @ mast_from_imu),
        ("camera", "imu"): geometry.inverse(base_from_camera) @ base_from_mast @ mast_from_imu,
        ("imu", "imu"): np.eye(4),
    }
    for (target, source), want in expected.items():
        found = tree.lookup(target, source)
        assert found is not None
        assert np.allclose(found, want, atol=1e-12)
    assert tree.lookup("base_link", "gps") is None
    tree.offer("map", "gps", random_motion(4))
    assert tree.lookup("base_link", "gps") is None


def test_a_newer_transform_replaces_the_older_one() -> None:
    tree = Transforms()
    tree.offer("base_link", "imu", random_motion(1))
    tree.offer("mast", "imu", random_motion(2))
    assert tree.lookup("base_link", "imu") is None
    tree.offer("base_link", "imu", random_motion(3))
    assert np.allclose(tree.lookup("base_link", "imu"), random_motion(3))


def test_a_cycle_of_transforms_ends() -> None:
    tree = Transforms()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.offer(parent, child, random_motion(ord(child)))
    assert tree.lookup("a", "elsewhere") is None
    assert tree.lookup("a", "c") is not None


def test_the_number_of_frames_is_bounded() -> None:
    tree = Transforms()
    for n in range(Transforms.MAX_FRAMES):
        tree.offer("base_link", f"frame_{n}", np.eye(4))
    tree.offer("base_link", "frame_0", np.eye(4))
    with pytest.raises(InvalidInput, match="one more than 1000 frames"):
        tree.offer("base_link", "another", np.eye(4))
