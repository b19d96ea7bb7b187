"""The users' first question: which topic is which camera, and what is wrong with them.

Facts come from a bag here and from live topics elsewhere (`facts.Collector`); `diagnose` is a pure function of them. A problem
is a sentence with numbers and a remedy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.drawing import contact_sheet
from alpamayo_ros.evaluation.facts import COMPRESSED, ODOMETRY, RAW, Facts, I64, OdometryFacts, TopicFacts, facts_of_bag
from alpamayo_ros.evaluation.roles import Guess, View, guess_roles, role_by_name, turn_deg, view_of
from alpamayo_ros.geometry import UNIT_NORM_TOLERANCE
from alpamayo_ros.profile import Rig, RigCamera, read_rig
from alpamayo_ros.types import U8, role_index

REFERENCE_RIG = "seven_camera"
"""Whose mounts roles are compared with when no rig is given: the views the released models were trained with."""

RATE_TOLERANCE = 0.2
GAP_PERIODS = 1.5
MAX_LOSS = 0.01
MAX_JITTER_PERIODS = 0.15
MAX_OFFSET_MS = 50.0
MAX_CLOCK_MS = 1000.0
MAX_YAW_DEG = 15.0
MAX_FOV_DEG = 10.0
MIN_ODOMETRY_HZ = 10.0
"""The ego history is sampled at 10 Hz."""

SPEED_WINDOW_NS = 500_000_000
"""Poses this far apart are compared with the twist: over shorter times the noise of positions is a speed of its own."""


@dataclass(frozen=True)
class Timing:
    """What the stamps of a topic say."""

    count: int
    rate_hz: float  # from the median interval; NaN below two different stamps
    jitter_ms: float  # standard deviation of the intervals that are not gaps
    missing: int  # messages that fit into gaps longer than 1.5 periods
    duplicates: int
    out_of_order: int
    unset: int  # stamps of zero
    clock_ms: float  # median of log time minus stamp; NaN without stamps


@dataclass(frozen=True)
class Row:
    """One image topic in the report."""

    topic: str
    role: str  # "-" when it is none of the rig's
    kind: str  # "Image" or "CompressedImage"
    size: str  # "1920x1080"
    view: View
    timing: Timing
    offset_ms: float  # of its clock from the median topic
    skew_ms: float  # median distance of its nearest frame from the anchor's, NaN when unknown
    mb_per_s: float
    qos: str


@dataclass(frozen=True)
class Diagnosis:
    """What a vehicle's topics are and what is wrong with them."""

    source: str
    roles: Mapping[str, str]  # role -> topic, in index order
    reasons: Mapping[str, str]  # role -> why that topic
    problems: tuple[str, ...]
    rows: tuple[Row, ...]
    odometry: Mapping[str, Timing]  # by topic
    pictures: Mapping[str, U8]  # topic -> small RGB image


def examine_bag(path: Path, rig: Rig | None) -> Diagnosis:
    """Diagnose a bag, against a rig where one is given. Raises InvalidInput for what is not a readable bag."""
    return diagnose(facts_of_bag(path, rig), rig)


def diagnose(facts: Facts, rig: Rig | None) -> Diagnosis:
    """Roles, problems and figures of what was received, against a rig where one is given."""
    reference = rig or read_rig(REFERENCE_RIG)
    declared = {camera.topic: role for role, camera in rig.cameras.items()} if rig else {}
    views = {camera.topic: view_of(camera) for camera in facts.cameras}
    guesses = guess_roles(facts.cameras, views, reference, declared)
    rows = _rows(facts, views, guesses, reference, declared)
    odometry = {o.topic: timing_of(o.stamps_ns, o.log_ns) for o in facts.odometry}
    problems = [*facts.refused, *_transform_problems(facts), *_role_problems(facts, views, guesses, reference, declared, rig)]
    by_topic = {camera.topic: camera for camera in facts.cameras}
    for row in rows:
        if row.role != "-" or row.topic in declared:
            camera = by_topic[row.topic]
            role = declared.get(row.topic, row.role)
            problems += [*row.view.problems, *_camera_problems(camera, row, rig.cameras.get(role) if rig else None, facts)]
            problems += _timing_problems(row, rows, rig.cameras.get(role) if rig else None)
    problems += [*_odometry_problems(facts, odometry, rig), *_clock_problems(rows, odometry)]
    return Diagnosis(
        source=facts.source,
        roles={role: guess.topic for role, guess in guesses.items()},
        reasons={role: guess.reason for role, guess in guesses.items()},
        problems=tuple(problems),
        rows=rows,
        odometry=odometry,
        pictures={c.topic: c.picture for c in facts.cameras if c.picture is not None},
    )


def timing_of(stamps_ns: I64, log_ns: I64) -> Timing:
    """Rate, jitter, gaps and clock of messages (N,) in order of arrival."""
    is_set = stamps_ns > 0
    stamps = stamps_ns[is_set]
    unique = np.unique(stamps)
    intervals = np.diff(unique)
    period = float(np.median(intervals)) if len(intervals) else float("nan")
    gaps = intervals[intervals > GAP_PERIODS * period]
    return Timing(
        count=len(stamps_ns),
        rate_hz=1e9 / period,
        jitter_ms=float(np.std(intervals[intervals <= GAP_PERIODS * period]) / 1e6) if len(intervals) else float("nan"),
        missing=int(np.round(gaps / period - 1).sum()),
        duplicates=len(stamps) - len(unique),
        out_of_order=int(np.count_nonzero(np.diff(stamps) < 0)),
        unset=int(np.count_nonzero(~is_set)),
        clock_ms=float(np.median(log_ns[is_set] - stamps) / 1e6) if len(stamps) else float("nan"),
    )
