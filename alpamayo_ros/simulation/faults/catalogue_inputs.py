"""Rows of cameras and odometry: F01 to F30."""

from __future__ import annotations

import struct

import numpy as np

from alpamayo_ros.simulation.faults import disturbances as d
from alpamayo_ros.simulation.faults.acts import Act, clock_steps, echoed, loops, stands, stopped_clock, teleported
from alpamayo_ros.simulation.faults.judging import Expect
from alpamayo_ros.simulation.faults.rows import GOES_SILENT, KEEPS, LATCHES, STAYS_SAFE, STOPS, WAITS, Case, Fault, Level
from alpamayo_ros.simulation.faults.sending import image_cdr, jpeg, noise, pictures
from alpamayo_ros.simulation.faults.vehicle import Passing

IMAGE = "sensor_msgs/msg/Image"
LONG_S = 3.0
"""A window of 2 s shows that a camera is frozen or covered only when most of it is."""

RESTARTS = Expect(says=frozenset({"warmup", "silent", "stopping"}))


def _passing(passing: Passing) -> Act:
    return Act(passes=passing)


def _bomb(size: int) -> bytes:
    """A small JPEG whose header claims `size` x `size` pixels."""
    data = pictures()[0]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", size, size) + data[at + 4 :]


def _spoilt(place: slice, value: float) -> Act:
    return _passing(d.doubles(place, lambda _: value))


def _strange(case: Case) -> Act:
    """A node that publishes another type where a camera publishes."""
    return echoed([case.role], IMAGE, lambda sent: (sent,))


def _grey(value: int) -> bytes:
    return jpeg(np.full((48, 64, 3), value, np.uint8))


CAMERAS = (
    Fault(
        "F01",
        "one required camera silent",
        {
            "one": Level(lambda c: _passing(d.dropped([c.role])), STOPS),
            "anchor": Level(lambda c: _passing(d.dropped([c.rig.anchor])), STOPS),
        },
        ("cruise", "inference"),
    ),
    Fault("F02", "all cameras silent", {"all": Level(lambda c: _passing(d.dropped(c.roles)), STOPS)}, ("cruise", "inference")),
    Fault(
        "F03",
        "a camera never appears",
        {"one": Level(lambda c: _passing(d.dropped([c.role])), WAITS, 2.0)},
        ("start",),
    ),
    Fault(
        "F04",
        "half the camera rate",
        {
            "one": Level(lambda c: _passing(d.every_other([c.role])), STOPS),
            "all": Level(lambda c: _passing(d.every_other(c.roles)), STAYS_SAFE),
        },
    ),
    Fault(
        "F05",
        "frozen picture",
        {
            "one": Level(lambda c: _passing(d.frozen([c.role])), STOPS, LONG_S),
            "all": Level(lambda c: _passing(d.frozen(c.roles)), STOPS, LONG_S),
        },
    ),
    Fault(
        "F06",
        "covered or dazzled lens",
        {
            "black": Level(lambda c: _passing(d.pictured([c.role], _grey(0))), STOPS, LONG_S),
            "white": Level(lambda c: _passing(d.pictured([c.role], _grey(255))), STOPS, LONG_S),
        },
    ),
    Fault(
        "F07",
        "late frames",
        {
            "60 ms": Level(lambda c: _passing(d.delayed([c.role], 60.0)), STAYS_SAFE),
            "one 300 ms": Level(lambda c: _passing(d.delayed([c.role], 300.0)), STOPS),
            "all 300 ms": Level(lambda c: _passing(d.delayed(c.roles, 300.0)), STAYS_SAFE),
            "all 1500 ms": Level(lambda c: _passing(d.delayed(c.roles, 1500.0)), STOPS, 2.0),
        },
    ),
    Fault(
        "F08",
        "frames out of order",
        {
            "40 ms": Level(lambda c: _passing(d.jittered(c.roles, 40.0, c.rng)), STAYS_SAFE),
            "250 ms": Level(lambda c: _passing(d.jittered(c.roles, 250.0, c.rng)), STAYS_SAFE),
        },
    ),
    Fault(
        "F09",
        "duplicate stamp",
        {
            "same picture": Level(lambda c: _passing(d.doubled(c.roles)), KEEPS),
            "another picture": Level(lambda c: _passing(d.doubled(c.roles, image_cdr(pictures()[0]))), KEEPS),
        },
    ),
    Fault(
        "F10",
        "stamp zero or in the future",
        {
            "zero": Level(lambda c: _passing(d.stamped_zero([c.role])), STOPS),
            "1 s ahead": Level(lambda c: _passing(d.restamped([c.role], 1000.0)), STOPS),
            "all 1 s ahead": Level(lambda c: _passing(d.restamped(c.roles, 1000.0)), STOPS),
        },
    ),
    Fault(
        "F11",
        "bag loop, time goes back",
        {
            "2 s": Level(lambda _: loops(2.0), RESTARTS),
            "20 s": Level(lambda _: loops(20.0), RESTARTS),
        },
        ("cruise", "inference"),
        clock="simulated",
    ),
    Fault(
        "F12",
        "time jumps ahead or stands still",
        {
            "5 s ahead": Level(lambda _: clock_steps(5.0), RESTARTS),
            "stands 3 s": Level(lambda _: stopped_clock(), GOES_SILENT, 3.5),
        },
        ("cruise", "inference"),
        clock="simulated",
    ),
    Fault(
        "F13",
        "cameras out of step",
        {
            "30 ms": Level(lambda c: _passing(d.restamped([c.role], -30.0)), KEEPS),
            # At 10 Hz some frame is within 50 ms of any instant, and so within tolerance: it may go on.
            "150 ms": Level(lambda c: _passing(d.restamped([c.role], -150.0)), STAYS_SAFE),
        },
    ),
    Fault(
        "F14",
        "wrong resolution",
        {"128x96": Level(lambda c: _passing(d.pictured([c.role], jpeg(noise(1, 128, 96)))), STOPS)},
    ),
    Fault(
        "F15",
        "wrong encoding",
        {
            "bayer": Level(lambda c: _passing(d.pictured([c.role], pictures()[0], "bayer_rggb8; jpeg compressed")), STOPS),
            "says png": Level(lambda c: _passing(d.pictured([c.role], pictures()[0], "png")), STAYS_SAFE),
        },
    ),
    Fault(
        "F16",
        "corrupt picture",
        {
            "truncated": Level(lambda c: _passing(d.pictured([c.role], pictures()[0][:400])), STOPS),
            "empty": Level(lambda c: _passing(d.pictured([c.role], b"")), STOPS),
            "garbage": Level(lambda c: _passing(d.pictured([c.role], c.rng.bytes(5000))), STOPS),
            "cut message": Level(lambda c: _passing(d.truncated([c.role], 0.5)), STOPS),
        },
    ),
    Fault(
        "F17",
        "oversized or bomb picture",
        {
            "20000x20000": Level(lambda c: _passing(d.pictured([c.role], _bomb(20_000))), STOPS),
            "65500x65500": Level(lambda c: _passing(d.pictured([c.role], _bomb(65_500))), STOPS),
            "10 MB": Level(lambda c: _passing(d.pictured([c.role], pictures()[0] + bytes(10_000_000))), STOPS),
        },
    ),
    Fault(
        "F18",
        "cameras swapped",
        {"left and right": Level(lambda _: _passing(d.swapped("front_left", "front_right")), KEEPS)},
    ),
    Fault("F19", "wrong message type beside the right one", {"raw": Level(_strange, KEEPS)}),
)

POSES = (
    Fault(
        "F21",
        "odometry not finite",
        {
            "position": Level(lambda _: _spoilt(d.POSITION, np.nan), GOES_SILENT),
            "speed": Level(lambda _: _spoilt(d.SPEED, np.inf), GOES_SILENT),
        },
    ),
    Fault(
        "F22",
        "quaternion not of unit length",
        {
            "by 0.5 %": Level(lambda _: _passing(d.doubles(d.QUATERNION, lambda q: 1.005 * q)), KEEPS),
            "zero": Level(lambda _: _spoilt(d.QUATERNION, 0.0), GOES_SILENT),
        },
    ),
    Fault(
        "F23",
        "gap in odometry",
        {
            "100 ms": Level(lambda _: _passing(d.dropped(["odometry"])), STAYS_SAFE, 0.1),
            "400 ms": Level(lambda _: _passing(d.dropped(["odometry"])), STAYS_SAFE, 0.4),
        },
    ),
    Fault(
        "F24",
        "odometry silent",
        {"1.2 s": Level(lambda _: _passing(d.dropped(["odometry"])), GOES_SILENT)},
        ("cruise", "inference"),
    ),
    Fault(
        "F25",
        "odometry teleports",
        {
            "5 m": Level(lambda _: teleported(5.0, 0.0), STOPS),
            "0.5 rad": Level(lambda _: teleported(0.0, 0.5), STOPS),
        },
        ("cruise", "inference"),
    ),
    Fault(
        "F26",
        "pose and speed contradict each other",
        {
            "pose frozen": Level(lambda _: _passing(d.held(d.POSE)), STAYS_SAFE),
            "speed zero": Level(lambda _: _spoilt(d.SPEED, 0.0), LATCHES),
        },
    ),
    Fault("F27", "wrong frame of odometry", {"map": Level(lambda _: _passing(d.framed(b"odom", b"maps")), GOES_SILENT)}),
    Fault(
        "F28",
        "odometry slow and jittering",
        {
            "25 Hz": Level(lambda _: _passing(d.every_other(["odometry"])), KEEPS),
            "10 Hz": Level(lambda _: _passing(d.every_other(["odometry"], 5)), KEEPS),
            "30 ms jitter": Level(lambda c: _passing(d.jittered(["odometry"], 30.0, c.rng)), KEEPS),
        },
    ),
    Fault("F29", "standing start in the window", {"5 s": Level(lambda _: stands(), KEEPS, 5.0)}),
    Fault("F30", "no static transforms", {"none": Level(lambda _: Act(), KEEPS)}),
)
