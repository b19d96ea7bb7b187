"""An observation holds the nearest frames within tolerance and poses at exact times, of one epoch, or it is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline.vehicle import MS, PROFILE, SECOND, TWO_CAMERAS, Clock, T, buffers, drive, offer, offer_poses, pose, rig

from alpamayo_ros import geometry
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.observe import history_of, next_t0, observe
from alpamayo_ros.types import CameraFrame, EgoPose, Navigation, Observation, SignalSample, StaleInput

FRONT, REAR = "front_wide", "rear_tele"
MAX_WAIT_NS = 100 * MS


# ------------------------------------------------------------------------------------------------------------------- observe


@pytest.mark.parametrize(("rate_hz", "odometry_hz"), [(2, 10), (2, 100), (5, 10), (10, 100), (10, 10), (30, 200), (60, 1000)])
def test_any_declared_rate_is_healthy(rate_hz: float, odometry_hz: float) -> None:
    """Nothing assumes a rate: the same code is exact at 2 Hz cameras with 10 Hz odometry and at 60 Hz with 1000 Hz."""
    filled = buffers(of=rig(rate_hz, odometry_hz))
    t0_ns = drive(filled, 4.0)
    assert next_t0(filled, 0, 0, MAX_WAIT_NS, 1000) == t0_ns
    seen = observe(filled, t0_ns)
    for role in (FRONT, REAR):
        wanted = [t0_ns + offset for offset in TWO_CAMERAS.offsets_ns]
        tolerance_ns = filled.rig.cameras[role].tolerance_ns
        got = [frame.stamp_ns for frame in seen.frames[role]]
        assert all(abs(a - b) <= tolerance_ns for a, b in zip(got, wanted, strict=True))
        assert seen.sync_error_ms[role] == tuple((a - b) / MS for a, b in zip(got, wanted, strict=True))
        assert filled.frames.counts[role].missing == filled.frames.counts[role].dropped == 0
    assert np.allclose(seen.history.xyz[:, 0], 10.0 * np.arange(-20, 1) * 0.1, atol=1e-4)
    assert seen.odometry_extrapolated_ms <= 50


def test_seven_cameras_at_two_hertz_plan_for_every_frame() -> None:
    """A whole drive in message time: 2 Hz cameras with a phase of their own, 10 Hz odometry with jitter."""
    clock = Clock()
    filled = buffers(PROFILE, rig(2, 10), clock_ns=clock)
    random = np.random.default_rng(0)
    poses = [(n * 100 + random.uniform(-30, 30), "") for n in range(1, 100)]
    frames = [(n * 500 + 100 + 20 * i, role) for n in range(19) for i, role in enumerate(filled.roles)]
    planned, refused, last = [], [], 0
    for ms, role in sorted(poses + frames):
        clock.now_ns = T + round(ms * MS)
        if role:
            offer(filled, role, ms)
        else:
            filled.poses.offer(pose(clock.now_ns))
        t0_ns = next_t0(filled, last, clock.now_ns, 200 * MS, 10)
        if t0_ns is not None:
            last = t0_ns
            seen = observed(filled, t0_ns)
            if isinstance(seen, str):
                refused.append(seen)
            else:  # an observation that is kept keeps its slots of the ring
                planned.append(float(seen.history.xyz[0, 0]))
    assert len(refused) == 4  # the window is not full before t0 = 2 s
    assert all(f"t0-{500 * (n + 1)} ms" in text for n, text in enumerate(refused))
    assert planned == pytest.approx([-20.0] * 15, abs=1e-4)


def test_the_nearest_frame_is_taken_and_the_older_one_of_two() -> None:
    filled = buffers()
    drive(filled)
    filled.frames.clear(filled.epoch)
    for n in range(26):
        offer(filled, FRONT, 100 * n)
        offer(filled, REAR, 100 * n + 50)
    seen = observe(filled, T + 2400 * MS)
    assert seen.sync_error_ms[FRONT] == (0.0,) * 5
    assert seen.sync_error_ms[REAR] == (-50.0,) * 5


def test_the_anchors_frame_is_t0_itself() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    with pytest.raises(StaleInput, match=r"^front_wide: newest frame 1 ms before t0, limit 0$"):
        observe(filled, t0_ns + MS)
    with pytest.raises(StaleInput, match=r"^front_wide: nearest frame 1 ms after t0, limit 0$"):
        observe(filled, t0_ns - MS)


def test_a_refusal_names_every_problem_with_its_numbers() -> None:
    filled = buffers(PROFILE)
    offer_poses(filled, 0, 2400)
    for n in range(26):
        for role in filled.roles:
            silent = role == "front_tele" and n > 23  # newest 180 ms before t0
            lost = role == "rear_left" and n in (4, 5, 6)
            if role != "front_left" and not silent and not lost:
                offer(filled, role, 100 * n - (20 if role == "front_tele" else 0))
    with pytest.raises(StaleInput) as refusal:
        observe(filled, T + 2500 * MS)
    assert str(refusal.value).split("; ") == [
        "front_left: no frames",
        "rear_left: nearest frame 200 ms before t0-2000 ms, limit 55",
        "front_tele: newest frame 220 ms before t0, limit 55",
        "odometry: newest pose 100 ms before the instant asked for, limit 50 (t0+0.0 s)",
    ]


def test_no_frame_stands_for_two_instants() -> None:
    close = TWO_CAMERAS.model_copy(update={"frame_offsets_ms": (-100, 0)})
    filled = buffers(close)
    offer_poses(filled, 0, 2500)
    offer(filled, FRONT, 2400)
    offer(filled, FRONT, 2500)
    offer(filled, REAR, 2450)
    with pytest.raises(StaleInput, match="rear_tele: one frame is the nearest to two instants, the earlier t0-100 ms"):
        observe(filled, T + 2500 * MS)


def test_optional_cameras_are_seen_when_they_are_whole() -> None:
    optional = TWO_CAMERAS.model_copy(update={"cameras": {FRONT: "required", REAR: "optional", "rear_left": "optional"}})
    rig_without = rig().model_copy(update={"cameras": {role: rig().cameras[role] for role in (FRONT, REAR)}})
    filled = buffers(optional, rig_without)
    t0_ns = drive(filled)
    assert set(observe(filled, t0_ns).frames) == {FRONT, REAR}
    assert next_t0(filled, 0, 0, MAX_WAIT_NS, 10) == t0_ns
    offer(filled, FRONT, 2600)
    offer_poses(filled, 2510, 2600)
    assert set(observe(filled, T + 2600 * MS).frames) == {FRONT}
    assert next_t0(filled, 0, 0, MAX_WAIT_NS, 10) == T + 2600 * MS  # and nobody waits for them


# ------------------------------------------------------------------------------------------------------------------- history


def turning(ns: int, radius_m: float = 25.0, speed_mps: float = 8.0) -> EgoPose:
    """A left turn on a slope, somewhere far from the origin."""
    t = (ns - T) / SECOND
    yaw = 2.0 + speed_mps / radius_m * t
    place = np.array([1e4 + radius_m * math.sin(yaw), -2e4 - radius_m * math.cos(yaw), 50 + 0.5 * t])
    rotation = geometry.rotation_from_rpy(0.02, -0.05, yaw)
    velocity = rotation.T @ np.array([speed_mps * math.cos(yaw), speed_mps * math.sin(yaw), 0.5])
    return EgoPose(ns, place, rotation, velocity, np.array([0, 0, speed_mps / radius_m]))


def test_the_history_is_in_the_frame_of_t0_at_exact_times() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    filled.poses.clear()
    random = np.random.default_rng(1)
    for ms in range(0, 2600, 20):
        filled.poses.offer(turning(T + ms * MS + int(random.integers(-8 * MS, 8 * MS))))
    seen = observe(filled, t0_ns)
    ego_t0_from_odom = geometry.inverse(geometry.transform(turning(t0_ns).odom_from_ego, turning(t0_ns).position))
    for k in range(21):
        truth = turning(t0_ns - k * 100 * MS)
        want = ego_t0_from_odom @ geometry.transform(truth.odom_from_ego, truth.position)
        # Interpolated between poses up to 36 ms apart: micrometres; float32 of 16 m: a micrometre.
        assert np.allclose(seen.history.xyz[20 - k], want[:3, 3], atol=1e-4)
        assert np.allclose(seen.history.rot[20 - k], want[:3, :3], atol=1e-5)
    assert np.array_equal(seen.history.xyz[-1], np.zeros(3))
    assert np.allclose(seen.ego_t0.position, turning(t0_ns).position, atol=1e-4)
    assert seen.history.xyz.dtype == np.float32


def test_a_pose_that_ends_before_t0_is_extrapolated_and_marked() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    filled.poses.clear()
    offer_poses(filled, 0, 2460)
    seen = observe(filled, t0_ns)
    assert seen.odometry_extrapolated_ms == 40.0
    assert np.allclose(seen.history.xyz[0], [-20, 0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("speed_said", "speed_driven", "fine"),
    [(10, 10, True), (10, 8.6, True), (10, 8.4, False), (10, 0, False), (0, 5, False), (0, 0.4, True), (1.1, 0, False)],
)
def test_poses_that_contradict_their_twists_are_refused(speed_said: float, speed_driven: float, fine: bool) -> None:
    filled = buffers()
    t0_ns = drive(filled)
    filled.poses.clear()
    for ms in range(0, 2501, 10):
        filled.poses.offer(pose(T + ms * MS, speed_said, x_m=speed_driven * ms / 1e3))
    if fine:
        assert observe(filled, t0_ns).speed_mps == speed_said
        return
    with pytest.raises(StaleInput, match=f"imply {speed_driven:.2f} m/s, twists say {speed_said:.2f} m/s, limit"):
        observe(filled, t0_ns)


def test_reversing_is_no_contradiction() -> None:
    filled = buffers()
    t0_ns = drive(filled, speed_mps=-3.0)
    assert observe(filled, t0_ns).speed_mps == -3.0


# -------------------------------------------------------------------------------------------------- navigation and signals


def test_navigation_counts_until_it_expires() -> None:
    filled = buffers(TWO_CAMERAS.model_copy(update={"navigation": "text"}))
    t0_ns = drive(filled)
    assert observe(filled, t0_ns).navigation is None
    filled.navigation = Navigation("turn_left", 30.0, "", t0_ns + 1)
    assert observe(filled, t0_ns).navigation == filled.navigation
    filled.navigation = Navigation("turn_left", 30.0, "", t0_ns)
    assert observe(filled, t0_ns).navigation is None


def declaring(*signals: str) -> Buffers:
    return buffers(TWO_CAMERAS.model_copy(update={"ego_signals": signals}))


def offer_signals(to: Buffers, t0_ns: int, first_ms: int = -2050, last_ms: int = 0, step_ms: int = 50) -> None:
    """Signals that are linear in time, so that interpolation is exact; the indicator is switched on 1 s before t0."""
    for ms in range(first_ms, last_ms + 1, step_ms):
        to.signals.offer(SignalSample(t0_ns + ms * MS, ms / 1e4, "off" if ms < -1000 else "left", -ms / 1e3))


def test_declared_signals_are_those_of_the_instants_of_the_history() -> None:
    filled = declaring("turn_indicator", "speed", "acceleration", "steering_angle")
    t0_ns = drive(filled)
    filled.poses.clear()
    for ms in range(0, 2501, 10):  # braking from 15 m/s
        t = ms / 1e3
        filled.poses.offer(pose(T + ms * MS, 15 - 4 * t, x_m=15 * t - 2 * t**2))
    offer_signals(filled, t0_ns, first_ms=-2030, last_ms=20)
    signals = observe(filled, t0_ns).signals
    assert signals is not None
    before_t0_s = np.arange(-20, 1) / 10
    np.testing.assert_allclose(signals.speed_mps, 5 - 4 * before_t0_s, atol=1e-5)
    np.testing.assert_allclose(signals.acceleration_mps2, -before_t0_s, atol=1e-6)
    np.testing.assert_allclose(signals.steering_angle_rad, before_t0_s / 10, atol=1e-7)
    assert signals.turn_indicator == ("off",) * 11 + ("left",) * 10, "the measurements of -1030 and -980 ms are either side"


def test_signals_that_no_model_takes_are_in_no_observation() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    offer_signals(filled, t0_ns)
    assert observe(filled, t0_ns).signals is None


def test_speed_alone_needs_no_messages() -> None:
    filled = declaring("speed")
    signals = observe(filled, drive(filled, speed_mps=-3.0)).signals
    assert signals is not None
    assert signals.speed_mps is not None
    assert signals.speed_mps.tolist() == [-3.0] * 21
    assert (signals.acceleration_mps2, signals.steering_angle_rad, signals.turn_indicator) == (None, None, None)


@pytest.mark.parametrize("signal", ["acceleration", "steering_angle", "turn_indicator"])
@pytest.mark.parametrize(
    ("offered", "says"),
    [
        ({"first_ms": 1}, r"ego signals: no measurement yet \(t0-2.0 s\)"),
        ({"first_ms": -1990}, r"ego signals: oldest measurement 10 ms after the instant asked for \(t0-2.0 s\)"),
        ({"last_ms": -510}, r"ego signals: newest measurement 550 ms before the instant asked for, limit 500 \(t0\+0.0 s\)"),
        ({"step_ms": 501}, r"ego signals: a gap of 501 ms, limit 500 \(t0-2.0 s\)"),
    ],
)
def test_without_a_declared_signal_there_is_no_observation(signal: str, offered: dict[str, int], says: str) -> None:
    filled = declaring(signal, "speed")
    t0_ns = drive(filled)
    offer_signals(filled, t0_ns, **offered)
    with pytest.raises(StaleInput, match=f"^{says}$"):
        observe(filled, t0_ns)


# -------------------------------------------------------------------------------------------------------------- whatever comes


def observed(from_: Buffers, t0_ns: int) -> Observation | str:
    """An observation, or why not."""
    try:
        return observe(from_, t0_ns)
    except StaleInput as refusal:
        return str(refusal)


def by_hand(ready: Sequence[CameraFrame], instants: Sequence[int], tolerance_ns: int, last_exact: bool) -> list[int] | None:
    """The nearest stamps, by looking at all of them; None where they do not do."""
    found = []
    for instant in instants:
        if not ready:
            return None
        found.append(min((abs(frame.stamp_ns - instant), frame.stamp_ns) for frame in ready)[1])
    limits = [tolerance_ns] * (len(instants) - 1) + [0 if last_exact else tolerance_ns]
    fits = all(abs(a - b) <= limit for a, b, limit in zip(found, instants, limits, strict=True))
    return found if fits and len(set(found)) == len(found) else None


@st.composite
def camera_stamps(draw: st.DrawFn) -> list[float]:
    """3 s of a 10 Hz camera: a phase, jitter, losses, disorder, ms."""
    phase, jitter = draw(st.floats(0, 99)), draw(st.sampled_from([0.0, 5.0, 40.0]))
    kept = draw(st.lists(st.sampled_from([True, True, True, True, True, True, True, False]), min_size=30, max_size=30))
    shifts = draw(st.lists(st.floats(-1, 1), min_size=30, max_size=30))
    stamps = [phase + 100 * n + jitter * shifts[n] for n in range(30) if kept[n]]
    if draw(st.booleans()) and len(stamps) > 3:
        at = draw(st.integers(0, len(stamps) - 2))
        stamps[at], stamps[at + 1] = stamps[at + 1], stamps[at]
    return stamps


@given(camera_stamps(), camera_stamps(), st.booleans())
def test_never_a_frame_outside_its_tolerance_and_never_a_mix_of_epochs(
    front: list[float], rear: list[float], twice: bool
) -> None:
    filled = buffers()
    if twice:  # everything below once before, in an epoch that ended
        drive(filled, 3.0)
        filled.new_epoch("test")
    offer_poses(filled, -100, 3300)
    for role, stamps in ((FRONT, front), (REAR, rear)):
        for ms in stamps:
            offer(filled, role, ms)
    seen_some = 0
    for anchor in filled.frames.ready(FRONT):
        t0_ns = anchor.stamp_ns
        instants = [t0_ns + offset for offset in TWO_CAMERAS.offsets_ns]
        want = {
            role: by_hand(filled.frames.ready(role), instants, filled.rig.cameras[role].tolerance_ns, role == FRONT)
            for role in (FRONT, REAR)
        }
        in_time = t0_ns - 2 * SECOND >= T - 100 * MS
        seen = observed(filled, t0_ns)
        if isinstance(seen, str):
            assert None in want.values() or not in_time
            assert all((f"{role}: " in seen) == (stamps is None) for role, stamps in want.items())
            continue
        seen_some += 1
        for role, frames in seen.frames.items():
            assert [frame.stamp_ns for frame in frames] == want[role]
            assert {frame.epoch for frame in frames} == {filled.epoch} == {seen.epoch}
    if len(front) == len(rear) == 30 and front == sorted(front) and rear == sorted(rear):
        assert seen_some or max(map(abs, np.diff(front) - 100)) > 10 or max(map(abs, np.diff(rear) - 100)) > 10


@given(st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=60), st.randoms(use_true_random=False))
def test_an_observation_does_not_depend_on_the_order_of_arrival(messages: list[tuple[int, bool]], random: object) -> None:
    full = [(FRONT, 100.0 * n) for n in range(26)] + [(REAR, 100.0 * n + 7) for n in range(26)]
    extra = [(FRONT if front else REAR, 100.0 * n + (0 if front else 7)) for n, front in messages]  # duplicates
    shuffled = full + extra
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    seen = []
    for arrival in (full, shuffled):
        filled = buffers()
        offer_poses(filled, 0, 2500)
        for role, ms in arrival:
            offer(filled, role, ms)
        seen.append(observe(filled, T + 2500 * MS))
    assert seen[0].sync_error_ms == seen[1].sync_error_ms
    assert seen[0].pixels_crc32 == seen[1].pixels_crc32


ANGLES, METRES = st.floats(-4.0, 4.0), st.floats(-1e4, 1e4)


@given(st.lists(st.tuples(METRES, METRES, ANGLES), min_size=2, max_size=21))
def test_a_history_says_where_the_poses_were_seen_from_the_last_one(places: list[tuple[float, float, float]]) -> None:
    poses = [
        replace(pose(T + i * 100 * MS, yaw_rad=yaw), position=np.array([x, y, 0.3 * i])) for i, (x, y, yaw) in enumerate(places)
    ]
    history, t0 = history_of(poses), poses[-1]
    assert history.t0_ns == t0.stamp_ns
    for xyz, rot, was in zip(history.xyz, history.rot, poses, strict=True):
        np.testing.assert_allclose(t0.odom_from_ego @ xyz + t0.position, was.position, atol=5e-3)
        np.testing.assert_allclose(t0.odom_from_ego @ rot, was.odom_from_ego, atol=1e-6)
