"""A t0 is the newest anchor frame that nothing is worth waiting for, at the cameras' rate or at the highest allowed."""

from __future__ import annotations

import numpy as np
import pytest
from pipeline.vehicle import MS, SECOND, TWO_CAMERAS, Clock, T, buffers, drive, offer, offer_poses, pose, rig

from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.observe import next_t0, observe
from alpamayo_ros.types import StaleInput

FRONT, REAR = "front_wide", "rear_tele"
MAX_WAIT_NS = 100 * MS


def following(to: Buffers, after_ns: int = 0, now_ms: float = 0, max_plan_hz: float = 10.0) -> float | None:
    """The next t0 in ms after T."""
    t0_ns = next_t0(to, after_ns, T + round(now_ms * MS), MAX_WAIT_NS, max_plan_hz)
    return None if t0_ns is None else (t0_ns - T) / MS


def test_t0_waits_for_a_camera_until_it_comes() -> None:
    clock = Clock()
    filled = buffers(clock_ns=clock)
    t0_ns = drive(filled)
    clock.now_ns = T + 2610 * MS
    offer(filled, FRONT, 2600)
    offer_poses(filled, 2510, 2600)
    assert following(filled, t0_ns, 2620) is None
    offer(filled, REAR, 2603)
    assert following(filled, t0_ns, 2620) == 2600


def test_t0_waits_for_a_silent_camera_no_longer_than_allowed() -> None:
    clock = Clock()
    filled = buffers(clock_ns=clock)
    t0_ns = drive(filled)
    clock.now_ns = T + 2610 * MS  # the frame is ready 10 ms after its exposure
    offer(filled, FRONT, 2600)
    offer_poses(filled, 2510, 2600)
    assert following(filled, t0_ns, 2709) is None
    assert following(filled, t0_ns, 2710) == 2600
    with pytest.raises(StaleInput, match="rear_tele: newest frame 100 ms before t0, limit 55"):
        observe(filled, T + 2600 * MS)


def test_t0_waits_for_odometry() -> None:
    filled = buffers(clock_ns=Clock())
    t0_ns = drive(filled)
    offer(filled, FRONT, 2600)
    offer(filled, REAR, 2600)
    offer_poses(filled, 2510, 2540)
    assert following(filled, t0_ns) is None
    offer_poses(filled, 2550, 2550)
    assert following(filled, t0_ns) == 2600
    assert following(buffers(clock_ns=Clock())) is None


def test_nobody_waits_for_a_frame_that_cannot_come() -> None:
    filled = buffers(clock_ns=Clock())
    offer_poses(filled, 0, 2500)
    for n in range(26):
        offer(filled, FRONT, 100 * n)
        if n != 15:
            offer(filled, REAR, 100 * n)
    assert following(filled) == 2500
    with pytest.raises(StaleInput, match="rear_tele: nearest frame 100 ms before t0-1000 ms, limit 55"):
        observe(filled, T + 2500 * MS)


def test_a_plan_takes_the_newest_anchor_frame_and_never_an_old_one() -> None:
    filled = buffers()
    t0_ns = drive(filled, 3.0)
    assert next_t0(filled, 0, 0, MAX_WAIT_NS, 10) == t0_ns
    assert next_t0(filled, t0_ns - 100 * MS, 0, MAX_WAIT_NS, 10) == t0_ns
    assert next_t0(filled, t0_ns, 0, MAX_WAIT_NS, 1000) is None
    assert next_t0(filled, t0_ns + SECOND, 0, MAX_WAIT_NS, 1000) is None


@pytest.mark.parametrize(
    ("camera_hz", "max_plan_hz", "plans_hz"), [(10, 10, 10), (10, 100, 10), (10, 5, 5), (30, 10, 10), (2, 10, 2)]
)
def test_plans_come_at_the_cameras_rate_or_at_the_highest_allowed(
    camera_hz: float, max_plan_hz: float, plans_hz: float
) -> None:
    """Jitter does not halve the rate: a frame 97 ms after the last one is planned for at 10 Hz."""
    alone = TWO_CAMERAS.model_copy(update={"cameras": {FRONT: "required"}})
    clock = Clock()
    filled = buffers(alone, rig(camera_hz), clock_ns=clock)
    random = np.random.default_rng(2)
    last, count = 0, 0
    offer_poses(filled, 0, 10)
    for n in range(round(10 * camera_hz)):
        ms = 20 + 1e3 / camera_hz * n + random.uniform(-4, 4)
        clock.now_ns = T + round(ms * MS)
        filled.poses.offer(pose(clock.now_ns))
        offer(filled, FRONT, ms)
        t0_ns = next_t0(filled, last, clock.now_ns + SECOND, MAX_WAIT_NS, max_plan_hz)
        if t0_ns is not None:
            last, count = t0_ns, count + 1
    assert count == pytest.approx(10 * plans_hz, abs=1)
