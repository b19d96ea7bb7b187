"""The users' first question: which topic is which camera, and what is wrong with them.

`facts` gathers, from a bag or live; `diagnose` is a pure function of the facts; `report` and the contact sheet show it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.drawing import contact_sheet
from alpamayo_ros.evaluation.doctor import checks
from alpamayo_ros.evaluation.doctor.checks import Examined
from alpamayo_ros.evaluation.doctor.facts import I64, Facts, TopicFacts, facts_of_bag
from alpamayo_ros.evaluation.doctor.roles import Guess, View, guess_roles, view_of
from alpamayo_ros.evaluation.doctor.timing import Timing, skew_of, timing_of
from alpamayo_ros.profile import Rig, RigCamera, read_rig
from alpamayo_ros.types import ROLES, role_index

REFERENCE_RIG = "seven_camera"
"""Whose mounts the cameras are compared with when no rig is given: the views of the released models."""

REPORT_WIDTH = 160


@dataclass(frozen=True)
class Diagnosis:
    """What a vehicle's topics are and what is wrong with them."""

    source: str
    roles: Mapping[str, str]  # role -> topic, in index order
    reasons: Mapping[str, str]  # role -> why that topic
    problems: tuple[str, ...]
    rows: tuple[Examined, ...]  # image topics: those with a role by index, then the others
    odometry: Mapping[str, Timing]  # by topic


def examine_bag(path: Path, rig: Rig | None) -> Diagnosis:
    """Diagnose a bag, against a rig where one is given. Raises InvalidInput for what is not a readable bag."""
    return diagnose(facts_of_bag(path, rig), rig)


def diagnose(facts: Facts, rig: Rig | None) -> Diagnosis:
    """Roles, problems and figures of what was received, against a rig where one is given."""
    reference = rig or read_rig(REFERENCE_RIG)
    views = {camera.topic: view_of(camera) for camera in facts.cameras}
    guesses = guess_roles(facts.cameras, views, reference, _declared_roles(rig))
    odometry = {o.topic: timing_of(o.stamps_ns, o.log_ns) for o in facts.odometry}
    rows = _examine(facts, views, guesses, reference, rig, odometry)
    return Diagnosis(
        source=facts.source,
        roles={role: guess.topic for role, guess in guesses.items()},
        reasons={role: guess.reason for role, guess in guesses.items()},
        problems=tuple(_problems(facts, rows, guesses, reference, rig, odometry)),
        rows=rows,
        odometry=odometry,
    )


def report(diagnosis: Diagnosis) -> str:
    """The diagnosis as text: roles, a table of cameras, one of odometry, the problems numbered."""
    console = Console(file=io.StringIO(), width=REPORT_WIDTH, markup=False, highlight=False, color_system=None)
    cameras = Table("role", title=diagnosis.source)
    cameras.add_column("topic", overflow="fold")
    for name in ("Hz", "jitter ms", "lost", "skew ms", "clock ms", "sees deg", "looks deg", "image", "MB/s"):
        cameras.add_column(name, no_wrap=True)
    for row in diagnosis.rows:
        cameras.add_row(*_camera_cells(row))
    console.print(cameras)
    motion = Table("odometry", "Hz", "jitter ms", "lost", "messages")
    for topic, timing in diagnosis.odometry.items():
        motion.add_row(topic, _number(timing.rate_hz), _number(timing.jitter_ms), str(timing.missing), str(timing.count))
    console.print(motion)
    for role, topic in diagnosis.roles.items():
        console.print(f"{role}: {topic}: {diagnosis.reasons[role]}", soft_wrap=True)
    console.print(f"\n{len(diagnosis.problems)} problems")
    for number, problem in enumerate(diagnosis.problems, 1):
        console.print(f"{number}. {problem}", soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def write_contact_sheet(diagnosis: Diagnosis, out: Path) -> Path:
    """Write `contact_sheet.png` into the folder `out`: an early image of each topic with its role and figures."""
    blank = np.full((270, 480, 3), 40, np.uint8)
    images = {row.topic: blank if row.facts.picture is None else row.facts.picture for row in diagnosis.rows}
    labels = {row.topic: _label(row) for row in diagnosis.rows}
    sheet = contact_sheet(images or {"": blank}, labels or {"": f"{diagnosis.source}: no image topic"})
    out.mkdir(parents=True, exist_ok=True)
    path = out / "contact_sheet.png"
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")
    return path


def _examine(
    facts: Facts,
    views: Mapping[str, View],
    guesses: Mapping[str, Guess],
    reference: Rig,
    rig: Rig | None,
    odometry: Mapping[str, Timing],
) -> tuple[Examined, ...]:
    role_of = {guess.topic: role for role, guess in guesses.items()}
    by_topic = {camera.topic: camera for camera in rig.cameras.values()} if rig else {}
    exposures = {c.topic: _exposures(c, by_topic.get(c.topic)) for c in facts.cameras}
    timings = {c.topic: timing_of(exposures[c.topic], c.log_ns) for c in facts.cameras}
    typical_ms = _typical([t.clock_ms for t in (*timings.values(), *odometry.values())])
    usual_hz = _typical([timings[topic].rate_hz for topic in role_of])
    anchor = guesses.get(reference.anchor)
    anchors = exposures[anchor.topic] if anchor else np.empty(0, np.int64)

    def examine(camera: TopicFacts) -> Examined:
        declared, timing = by_topic.get(camera.topic), timings[camera.topic]
        tolerance_ns = declared.tolerance_ns if declared else 0.5e9 / usual_hz + 5e6
        return Examined(
            facts=camera,
            role=role_of.get(camera.topic),
            declared=declared,
            view=views[camera.topic],
            timing=timing,
            offset_ms=timing.clock_ms - typical_ms,
            skew=skew_of(exposures[camera.topic], anchors, tolerance_ns),
        )

    rows = [examine(camera) for camera in facts.cameras]
    return tuple(sorted(rows, key=lambda row: (role_index(row.role) if row.role else len(ROLES), row.topic)))


def _problems(
    facts: Facts,
    rows: tuple[Examined, ...],
    guesses: Mapping[str, Guess],
    reference: Rig,
    rig: Rig | None,
    odometry: Mapping[str, Timing],
) -> Iterator[str]:
    declared = _declared_roles(rig)
    cameras = [row for row in rows if row.role or row.declared]
    usual_hz = _typical([row.timing.rate_hz for row in cameras])
    yield from facts.refused
    yield from checks.transform_problems(facts)
    if rig:
        yield from checks.topic_problems(facts, rig, guesses)
    yield from checks.role_problems(cameras, guesses, reference, declared)
    for row in cameras:
        role = row.role or declared[row.topic]
        yield from checks.image_problems(row)
        yield from checks.calibration_problems(row, reference.cameras[role].mount, role, facts.placed_frames)
        yield from checks.place_problems(row)
        yield from checks.timing_problems(row.topic, row.timing, row.declared.rate_hz if row.declared else None, usual_hz)
        yield from checks.skew_problems(row, reference.anchor, usual_hz)
    wanted = rig.odometry if rig else None
    yield from checks.odometry_topic_problems(facts, wanted)
    for o in facts.odometry:
        if wanted is None or o.topic == wanted.topic:
            yield from checks.odometry_problems(o, odometry[o.topic], facts, wanted)
    clocks = {row.topic: row.timing.clock_ms for row in cameras} | {
        topic: timing.clock_ms for topic, timing in odometry.items()
    }
    yield from checks.clock_problems(clocks, _typical(list(clocks.values())))


def _declared_roles(rig: Rig | None) -> dict[str, str]:
    """Topic -> role, as a rig file says."""
    return {camera.topic: role for role, camera in rig.cameras.items()} if rig else {}


def _exposures(camera: TopicFacts, declared: RigCamera | None) -> I64:
    """Stamps (N,) with the rig's stamp offset, 0 where unset."""
    offset_ns = round(declared.stamp_offset_ms * 1e6) if declared else 0
    return np.where(camera.stamps_ns > 0, camera.stamps_ns + offset_ns, 0)


def _typical(values: list[float]) -> float:
    """Median of those that are numbers, NaN when there is none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _camera_cells(row: Examined) -> list[str]:
    facts, timing = row.facts, row.timing
    spanned_s = (facts.log_ns[-1] - facts.log_ns[0]) / 1e9
    return [
        row.role or "-",
        row.topic,
        _number(timing.rate_hz),
        _number(timing.jitter_ms),
        f"{timing.missing} of {timing.count + timing.missing}",
        _number(row.skew.median_ms),
        _number(row.offset_ms),
        _number(row.view.hfov_deg, 0),
        _number(row.view.yaw_deg, 0),
        f"{facts.width}x{facts.height} {facts.encoding}" if facts.encoding else "unreadable",
        _number(facts.size_bytes / 1e6 / spanned_s) if spanned_s > 0 else "?",
    ]


def _label(row: Examined) -> str:
    role = f"{role_index(row.role)} {row.role}" if row.role else "no role"
    figures = (
        f"{_number(row.timing.rate_hz)} Hz, sees {_number(row.view.hfov_deg, 0)} deg, looks {_number(row.view.yaw_deg, 0)} deg"
    )
    return f"{role}\n{row.topic}\n{figures}" + (f"\n{row.facts.refused}" if row.facts.picture is None else "")


def _number(value: float | None, digits: int = 1) -> str:
    return "?" if value is None or math.isnan(value) else f"{value:.{digits}f}"
