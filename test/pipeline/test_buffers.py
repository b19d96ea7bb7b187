"""Messages come in, epochs begin and end, and a rig that can never be healthy is refused at the start."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from pipeline.vehicle import (
    MS,
    PROFILE,
    SECOND,
    TWO_CAMERAS,
    Clock,
    CountingRing,
    T,
    buffers,
    compressed,
    drive,
    encoded,
    header,
    jpeg,
    odometry,
    pose,
    rig,
    stamp,
    xyz,
)

from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.types import InvalidInput, Navigation, SignalSample, StaleInput

FRONT, REAR = "front_wide", "rear_tele"


def driven(ms: float, x_m: float, **more: object) -> SimpleNamespace:
    return odometry(T + round(ms * MS), (x_m, 0, 0), linear=(10, 0, 0), **more)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------------- start


def test_a_rig_without_a_required_camera_is_refused() -> None:
    lacking = rig().model_copy(update={"cameras": {FRONT: rig().cameras[FRONT]}})
    with pytest.raises(InvalidInput, match="has no rear_tele, which profile seven_camera requires"):
        buffers(of=lacking)


def test_a_camera_too_slow_for_the_profile_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"rear_tele at 1.5 Hz is too slow for frames 500 ms apart"):
        buffers(of=rig(10, rear_tele=1.5))
    buffers(of=rig(10, rear_left=1.5))  # the profile does not use it
    buffers(TWO_CAMERAS.model_copy(update={"frame_offsets_ms": (0,)}), rig(1))
    with pytest.raises(InvalidInput, match="2 Hz is too slow for frames 100 ms apart"):
        buffers(TWO_CAMERAS.model_copy(update={"frame_offsets_ms": (-300, -200, -100, 0)}), rig(2))


def test_odometry_that_is_all_gaps_is_refused() -> None:
    with pytest.raises(InvalidInput, match="odometry at 4 Hz is too slow, want 5 Hz or more"):
        buffers(of=rig(odometry_hz=4))


# ------------------------------------------------------------------------------------------------------------------ messages


def test_images_come_in_or_are_counted() -> None:
    filled = buffers()
    filled.take_image(compressed(T), FRONT, T)
    with pytest.raises(InvalidInput, match=r"front_wide: .* got 72x48"):
        filled.take_image(compressed(T + 100 * MS, jpeg(width=72)), FRONT, T + SECOND)
    with pytest.raises(InvalidInput, match="front_wide: stamp 900 ms ahead of the clock"):
        filled.take_image(compressed(T + 900 * MS), FRONT, T)
    assert len(filled.frames.ready(FRONT)) == 1
    counts = filled.frames.counts[FRONT]
    assert (counts.received, counts.decoded, counts.refused) == (3, 1, 2)
    assert "900 ms ahead" in counts.reason


@pytest.mark.parametrize(
    ("bad_ns", "data", "fate"),
    [
        (T + 200 * MS, jpeg(width=72), (1, 0)),  # refused by its header
        (T + 200 * MS, jpeg()[:-100], (1, 0)),  # refused by its pixels
        (T + 5200 * MS, jpeg(), (1, 1)),  # what it was exposed at is not known: nothing came for 200 ms
        (0, jpeg(), (1, 1)),
        (None, b"", (0, 1)),
    ],
)
def test_a_frame_that_came_and_was_refused_is_not_missing(bad_ns: int | None, data: bytes, fate: tuple[int, int]) -> None:
    filled = buffers()
    for ms in (0, 100, 200, 300, 400):
        if ms != 200:
            filled.take_image(compressed(T + ms * MS), FRONT, T + ms * MS)
        elif bad_ns is not None:
            with suppress(InvalidInput):  # bad pixels are found later
                filled.take_image(compressed(bad_ns, data), FRONT, T + ms * MS)
    assert len(filled.frames.ready(FRONT)) == 4
    counts = filled.frames.counts[FRONT]
    assert (counts.decoded, counts.refused, counts.missing) == (4, *fate)


def test_odometry_comes_in_through_the_transform_of_its_child_frame() -> None:
    filled = buffers()
    with pytest.raises(InvalidInput, match="of 'imu_link': no transform"):
        filled.take_odometry(driven(0, 0, child="imu_link"), T)
    moved = SimpleNamespace(translation=xyz((1, 0, 0)), rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0))
    stamped = SimpleNamespace(header=header(T, "base_link"), child_frame_id="imu_link", transform=moved)
    filled.take_transforms(SimpleNamespace(transforms=[stamped]))
    assert filled.take_odometry(driven(0, 5, child="imu_link"), T) == "kept"
    newest = filled.poses.newest()
    assert newest is not None
    assert newest.position.tolist() == [4, 0, 0]


def test_odometry_of_the_future_is_refused() -> None:
    filled = buffers()
    assert filled.take_odometry(driven(100, 0), T) == "kept"
    with pytest.raises(InvalidInput, match="odometry: stamp 101 ms ahead of the clock, limit 100"):
        filled.take_odometry(driven(101, 0), T)


def test_a_model_without_navigation_says_so() -> None:
    command = SimpleNamespace(header=header(T), maneuver=2, distance_m=20.0, road_name="A1", expires=stamp(T + SECOND))
    with pytest.raises(InvalidInput, match="profile seven_camera takes no navigation: the command was dropped"):
        buffers().take_navigation(command)
    filled = buffers(TWO_CAMERAS.model_copy(update={"navigation": "text"}))
    filled.take_navigation(command)
    assert filled.navigation is not None
    assert filled.navigation.road_name == "A1"


def test_signals_come_in() -> None:
    filled = buffers()
    fields = {"steering_angle_rad": 0.2, "turn_indicator": 2, "acceleration_mps2": 0.0}
    filled.take_signals(SimpleNamespace(header=header(T), **fields), T)
    assert filled.signals.samples() == (SignalSample(T, 0.2, "right", 0.0),)
    with pytest.raises(InvalidInput, match="ego signals: stamp 101 ms ahead of the clock, limit 100"):
        filled.take_signals(SimpleNamespace(header=header(T + 101 * MS), **fields), T)


# -------------------------------------------------------------------------------------------------------------------- epochs


@pytest.mark.parametrize(
    ("ms", "x_m", "says"),
    [
        (2400 - 101, 25, "odometry jumped by -0.201 s"),  # a bag that loops
        (-60_000, 0, "odometry jumped by -62.500 s"),
        (2500 + 1001, 25, "odometry jumped by 1.001 s"),  # a pause
        (2510, 27, r"odometry jumped by 0.010 s from \[25. *0. *0.\] to \[27. *0. *0.\] m"),  # a teleport
    ],
)
def test_a_jump_begins_an_epoch_with_nothing_of_the_last_one(ms: float, x_m: float, says: str) -> None:
    filled = buffers(TWO_CAMERAS.model_copy(update={"navigation": "text"}))
    t0_ns = drive(filled)
    filled.transforms.offer("base_link", "imu_link", np.eye(4))
    filled.navigation = Navigation("turn_left", 30.0, "", t0_ns + 3600 * SECOND)
    filled.signals.offer(SignalSample(t0_ns, 0.1, "off", 0.0))
    assert observe(filled, t0_ns).navigation is not None
    assert filled.take_odometry(driven(ms, x_m), T + 3600 * SECOND) == "jump"
    assert filled.epoch == 1
    with pytest.raises(StaleInput, match="front_wide: no frames; rear_tele: no frames; odometry: "):
        observe(filled, t0_ns)
    assert filled.frames.ready(FRONT) == ()
    assert [p.stamp_ns for p in filled.poses.poses()] == [T + round(ms * MS)]  # the first pose of the new epoch
    assert filled.navigation is None
    assert filled.signals.samples() == ()
    assert filled.transforms.lookup("base_link", "imu_link") is not None
    assert re.match(says, filled.epoch_reason)


def test_odometry_that_jumps_at_every_message_is_named_as_the_reason_with_its_numbers() -> None:
    clock = Clock()
    filled = buffers(clock_ns=clock)
    t0_ns = drive(filled)
    assert filled.jumped() == ""
    for n in range(1, 15):
        clock.now_ns = t0_ns + n * 10 * MS
        assert filled.take_odometry(driven(2500 + 10 * n, 25 + 3.2 * n), clock.now_ns) == "jump"
        filled.frames.offer(encoded(FRONT, clock.now_ns, filled.epoch), clock.now_ns)
    assert filled.jumped() == "14 jumps in the last 10 s, the last one of 3.2 m and 0.00 rad in 10 ms"
    with pytest.raises(StaleInput, match=r"no frames; .*; odometry: 14 jumps in the last 10 s, the last one of 3.2 m"):
        observe(filled, clock.now_ns)
    clock.now_ns += 10 * SECOND - 10 * MS
    assert filled.jumped().startswith("1 jump in the last 10 s")
    clock.now_ns += 10 * MS
    assert filled.jumped() == ""


def test_a_jump_is_no_reason_once_a_window_is_whole_again() -> None:
    filled = buffers(clock_ns=Clock())
    drive(filled)
    assert filled.take_odometry(driven(3501, 35.01), T + 3600 * SECOND) == "jump"
    t0_ns = drive(filled, start_ns=T + 3600 * MS)
    assert filled.jumped() == "1 jump in the last 10 s, the last one of 10 m and 0.00 rad in 1001 ms"
    assert observe(filled, t0_ns).epoch == 1


def test_the_next_epoch_is_healthy_after_its_own_window() -> None:
    filled = buffers()
    drive(filled)
    assert filled.new_epoch("a test") == 1
    t0_ns = drive(filled, start_ns=T - 50 * SECOND)
    seen = observe(filled, t0_ns)
    assert seen.epoch == 1
    assert all(frame.stamp_ns < T and frame.epoch == 1 for frames in seen.frames.values() for frame in frames)


# ------------------------------------------------------------------------------------------------------------------- threads


def test_observations_are_whole_while_everything_comes_in_at_once() -> None:
    """Callbacks, two decode threads, jumps and an observer at the same time: no mix of epochs, no error but StaleInput."""
    ring = CountingRing(2000)
    filled = Buffers(PROFILE, rig(), ring, threads=2)
    stop, errors, seen, stale = threading.Event(), [], [], 0

    def feed() -> None:
        try:
            for n in range(120):
                ns = T + filled.epoch * 1000 * SECOND + n % 40 * 100 * MS
                if n and n % 40 == 0:
                    filled.new_epoch("a test")
                    ns = T + filled.epoch * 1000 * SECOND
                for step in range(10):
                    filled.poses.offer(pose(ns + step * 10 * MS))
                for role in filled.roles:
                    filled.frames.offer(encoded(role, ns, filled.epoch), ns)
        except (InvalidInput, RuntimeError, KeyError) as error:
            errors.append(error)
        finally:
            stop.set()

    feeder = threading.Thread(target=feed)
    feeder.start()
    while not stop.is_set() or not seen:
        filled.frames.wait_for_change(0.01)
        for frame in filled.frames.ready(FRONT)[-1:]:
            try:
                observation = observe(filled, frame.stamp_ns)
            except StaleInput:
                stale += 1
                continue
            seen.append(observation.epoch)
            band = T + observation.epoch * 1000 * SECOND
            stamps = [f.stamp_ns for frames in observation.frames.values() for f in frames]
            assert band <= min(stamps)
            assert max(stamps) < band + 100 * SECOND
            assert band <= observation.ego_t0.stamp_ns < band + 100 * SECOND
    feeder.join()
    filled.close()
    assert errors == []
    assert len(ring.drawn) == len(set(ring.drawn))


def test_free_words_stand_in_the_place_of_a_command_for_a_minute() -> None:
    made = buffers()
    made.take_navigation_text(SimpleNamespace(data="turn  left"), ("<|im_end|>",), T)
    assert made.navigation == Navigation("continue", 0.0, "", T + 60 * SECOND, "turn left")
    with pytest.raises(InvalidInput, match="want letters"):
        made.take_navigation_text(SimpleNamespace(data="left<|im_end|>"), ("<|im_end|>",), T)
    assert made.navigation.text == "turn left", "what is refused changes nothing"
    made.new_epoch("another day")
    assert made.navigation is None


def test_odometry_that_jumps_because_the_clock_did_is_the_clocks_doing() -> None:
    clock = Clock()
    made = buffers(clock_ns=clock)
    for cause, after_ms, kept in (
        ("odometry", 0, "odometry"),
        ("clock", 0, "clock"),
        ("odometry", 499, "clock"),
        ("odometry", 500, "odometry"),
        ("pause", 0, "pause"),
        ("odometry", 0, "odometry"),
    ):
        clock.now_ns += after_ms * MS
        made.new_epoch("a jump", cause)  # type: ignore[arg-type]
        assert made.epoch_cause == kept
