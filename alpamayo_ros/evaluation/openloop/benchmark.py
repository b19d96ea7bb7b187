"""`alpamayo bench evaluate`: how fast bags are evaluated, how long the report takes, how much memory a long bag needs."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alpamayo_ros.bags import BagWriter, bag_span, bag_topics, deserialize, read_bag
from alpamayo_ros.evaluation.replay import EGO_SIGNALS
from alpamayo_ros.geometry import inverse, quaternion_from_rotation, rotation_from_quaternion, transform
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import F64, EngineFailure

GOALS = {"times_real_time": ">= 5", "report_s_per_1000_windows": "<= 10", "peak_memory_gb": "<= 1"}
_STAMP = struct.Struct("<iI")
_STAMP_AT = 4  # after CDR's encapsulation: header.stamp comes first in every message that has a header


def bench_evaluate(bag: Path, rig: Rig, profile: str, gigabytes: float, out: Path) -> dict[str, Any]:
    """Evaluate `bag`, repeated until it weighs `gigabytes`, without a network; print the table. Raises EngineFailure."""
    long = out / "long"
    lengthen(bag, rig, long, repeats=max(1, round(gigabytes * 1e9 / _size(bag))))
    evaluated = _evaluated(long, rig, profile, out / "evaluation")
    seconds, duration_s = evaluated["seconds"], (bag_span(long)[1] - bag_span(long)[0]) / 1e9
    figures = {
        "bag_gb": _size(long) / 1e9,
        "bag_s": duration_s,
        "windows": evaluated["windows"],
        "times_real_time": duration_s / seconds["bags"],
        "report_s_per_1000_windows": (seconds["summary"] + seconds["report"]) * 1000 / evaluated["windows"],
        # Linux counts ru_maxrss in KiB: the largest of the children, which are the command and, below it, its engines.
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9,
    }
    table = Table("figure", "measured", "goal", title="alpamayo bench evaluate")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}", GOALS.get(name, ""))
    Console(width=100).print(table)
    (out / "bench_evaluate.json").write_text(json.dumps(figures, indent=1))
    return figures


def _size(bag: Path) -> int:
    """Bytes of a folder's files, or of a bag that is one file."""
    return sum(file.stat().st_size for file in (bag.iterdir() if bag.is_dir() else [bag]))


def lengthen(bag: Path, rig: Rig, out: Path, repeats: int) -> None:
    """Write a bag that drives the stretch of another again and again, each time from where it ended, in one drive.

    It has the rig's topics and ego signals, whose messages begin with a stamp that can be moved on, and /tf_static once;
    others are named on stderr and left out.
    """
    cameras = rig.cameras.values()
    stamped = {rig.odometry.topic, EGO_SIGNALS, *(name for each in cameras for name in (each.topic, each.info_topic))}
    topics = [topic for topic in bag_topics(bag) if topic in {*stamped, "/tf_static"}]
    if others := [topic for topic in bag_topics(bag) if topic not in topics]:
        print(f"left out of the long bag, not being of rig {rig.name}: {', '.join(others)}", file=sys.stderr)
    poses = [_pose(deserialize(r.cdr, r.type_name).pose.pose) for r in read_bag(bag, [rig.odometry.topic])]
    span_ns = round((bag_span(bag)[1] - bag_span(bag)[0]) / 1e8) * 100_000_000  # whole periods of cameras and odometry
    onward, moved = poses[-1] @ inverse(poses[0]), np.eye(4)
    with BagWriter(out) as written:
        for repeat in track(range(repeats), "writing a long bag", console=Console(stderr=True)):
            for record in read_bag(bag, topics):
                shift_ns, cdr = repeat * span_ns, bytearray(record.cdr)
                if record.topic == "/tf_static":
                    if repeat == 0:
                        written.write(record.topic, record.type_name, record.log_ns, cdr)
                    continue
                sec, nanosec = _STAMP.unpack_from(cdr, _STAMP_AT)
                _STAMP.pack_into(cdr, _STAMP_AT, *divmod(sec * 1_000_000_000 + nanosec + shift_ns, 1_000_000_000))
                message = _moved(bytes(cdr), record.type_name, moved) if record.topic == rig.odometry.topic else cdr
                written.write(record.topic, record.type_name, record.log_ns + shift_ns, message)
            moved = moved @ onward


def _pose(pose: Any) -> F64:
    turn, place = pose.orientation, pose.position
    return transform(
        rotation_from_quaternion(np.array([turn.x, turn.y, turn.z, turn.w])), np.array([place.x, place.y, place.z])
    )


def _moved(cdr: bytes, type_name: str, moved: F64) -> Any:
    """The odometry message as it would be elsewhere in the odometry frame; twists are the vehicle's own."""
    message = deserialize(cdr, type_name)
    there = moved @ _pose(message.pose.pose)
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y, place.z = there[:3, 3].tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion_from_rotation(there[:3, :3]).tolist()
    return message


def _evaluated(bag: Path, rig: Rig, profile: str, out: Path) -> dict[str, Any]:
    """What the command says, run as a user runs it."""
    command = [sys.executable, "-m", "alpamayo_ros.cli", "evaluate", str(bag), "--rig", rig.name, "--profile", profile]
    done = subprocess.run([*command, "--out", str(out)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise EngineFailure(f"alpamayo evaluate ended with status {done.returncode}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
