"""One run: drive until nominal, inject, watch, lift, wait for the recovery, judge."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpamayo_ros.nodes.client import executable, node_environment
from alpamayo_ros.simulation.faults.acts import Act
from alpamayo_ros.simulation.faults.catalogue import Run
from alpamayo_ros.simulation.faults.domains import in_domain, own_domain
from alpamayo_ros.simulation.faults.judging import Course, Verdict, is_nominal, judge
from alpamayo_ros.simulation.faults.rows import Case, Fault, Refusal
from alpamayo_ros.simulation.faults.station import STOP_AFTER_MS, Station, is_running, write_inputs
from alpamayo_ros.simulation.faults.vehicle import CAMERA_LAG_NS, CAMERA_NS, MS, unchanged

PATIENCE_S = 8.0
"""From the lifting; a planner that is not nominal by then does not become so."""

SETTLED_S = 0.25
"""After the recovery, for what comes late."""

ENDED_S = 5.0
REFUSED_S = 30.0


def drive(station: Station, run: Run) -> dict[str, Any]:
    """A run through a station -> its line of the campaign's file. Raises EngineFailure when there is no nominal planner."""
    fault = run.row
    assert isinstance(fault, Fault)
    level = fault.levels[run.level]
    act = level.act(Case(station.rig, run.rng))
    act.prepare(station)
    if run.phase == "start":
        station.vehicle.passes = act.passes
    else:
        station.get_ready()
    station.forget()
    orphans = station.engines()
    course = _course(station, run, act)
    verdict = judge(course, level.expect, STOP_AFTER_MS + 100.0)
    complaints = list(verdict.complaints)
    if level.expect.ends:
        complaints += _not_ended(station, course, orphans)
    line = {**told(run, verdict, complaints), **shares(course), "late_ms": round(station.vehicle.late_ms, 1)}
    return line | _breaches(station) | ({"last_words": station.last_words()} if complaints else {})


def _course(station: Station, run: Run, act: Act) -> Course:
    """Inject, watch, lift, and watch until it is nominal again."""
    fault = run.row
    assert isinstance(fault, Fault)
    level = fault.levels[run.level]
    station.vehicle.late_ms = 0.0
    if run.phase != "start":
        station.watch(lambda: False, 3 * CAMERA_NS / 1e9)
        time.sleep(_until(run) / 1e9)
    began_s = time.monotonic()
    station.vehicle.passes = act.passes
    try:
        act.begin(station)
        if run.phase == "start":
            station.start_planner()
            station.watch(lambda: bool(station.said()), REFUSED_S)
        station.watch(lambda: level.expect.ends and station.exit_status is not None, level.seconds)
    finally:
        lifted_s = time.monotonic()
        station.vehicle.passes = unchanged
        act.end(station)
    if level.expect.ends:
        station.watch(lambda: station.exit_status is not None, ENDED_S)
        station.watch(lambda: False, 2 * SETTLED_S)
    else:
        if level.expect.latches:
            _engage_again(station, lifted_s)
        station.watch(lambda: _is_over(station, lifted_s), PATIENCE_S)
    station.restore()
    return Course(began_s, lifted_s, tuple(station.said()))


def _engage_again(station: Station, lifted_s: float) -> None:
    """As somebody would: until the planner agrees, which it does after some good plans."""
    while station.engage() and time.monotonic() < lifted_s + PATIENCE_S:
        station.watch(lambda: False, SETTLED_S)


def _until(run: Run) -> int:
    """ns until the fault begins: anywhere in a camera period, or when the planner has the last picture of a t0."""
    random_ns = int(run.rng.integers(CAMERA_NS))
    if run.phase != "inference":
        return random_ns
    wanted_ns = CAMERA_LAG_NS + 7 * MS + random_ns // 25  # 0..4 ms after the last picture left
    return (wanted_ns - time.monotonic_ns()) % CAMERA_NS


def _is_over(station: Station, lifted_s: float) -> bool:
    now_s = time.monotonic()
    after = [said for said in station.said() if said.at_s > lifted_s]
    return now_s > lifted_s + SETTLED_S and is_nominal(after)


def _not_ended(station: Station, course: Course, engines: list[int]) -> list[str]:
    """What is wrong with how a planner ended."""
    found = [] if station.exit_status is not None else ["the planner's process did not end"]
    if left := [pid for pid in engines if is_running(pid)]:
        found.append(f"engine processes left behind: {len(left)}")
    if course.said and course.said[-1].at_s > course.lifted_s + 2.0:
        found.append(f"said something {course.said[-1].at_s - course.lifted_s:.1f} s after its end")
    return found


def _breaches(station: Station) -> dict[str, Any]:
    """What the monitor found since the run before: nothing is lost between two."""
    found = station.breaches()
    unsafe = [breach for breach in found if breach["unsafe"]]
    said = list(dict.fromkeys(f"{breach['invariant']}: {breach['text']}" for breach in [*unsafe, *found]))
    return {"unsafe": len(unsafe), "breaches": said[:5]}


def shares(course: Course) -> dict[str, float]:
    """How long each state lasted since the fault began, s: from the status that says it until the next one."""
    lasted: dict[str, float] = {}
    for now, then in zip(course.since, course.since[1:], strict=False):
        lasted[now.state] = lasted.get(now.state, 0.0) + then.at_s - now.at_s
    return {f"{state}_s": round(seconds, 3) for state, seconds in lasted.items()}


def told(run: Run, verdict: Verdict, complaints: list[str]) -> dict[str, Any]:
    """A line of the campaign's file."""
    return {
        "key": run.key,
        "id": run.row.id,
        "name": run.row.name,
        "level": run.level,
        "phase": run.phase,
        "seed": run.seed,
        "as_expected": not complaints,
        "complaints": complaints,
        "detection_ms": None if run.phase == "start" else verdict.detection_ms and round(verdict.detection_ms, 1),
        "stop_ms": verdict.stop_ms and round(verdict.stop_ms, 1),
        "stop_due": bool(isinstance(run.row, Fault) and run.row.levels[run.level].expect.stop_due),
        "recovery_s": None if verdict.recovery_s is None else round(verdict.recovery_s, 3),
        "sources": verdict.sources,
        "states": verdict.states,
    }


def refuse(run: Run, folder: Path) -> dict[str, Any]:
    """Start a planner that must refuse, in a domain of its own -> its line of the campaign's file."""
    assert isinstance(run.row, Refusal)
    folder.mkdir(parents=True, exist_ok=True)
    with own_domain() as domain, in_domain(domain):
        status, words, seconds = refused(run.row.levels[run.level](folder), folder)
    complaints = [] if status == 1 and words else [f"exit status {status}, want 1 and a reason; last words: {words[:200]!r}"]
    verdict = Verdict(tuple(complaints), 1e3 * seconds, None, None, {}, {})
    return told(run, verdict, complaints) | {"unsafe": 0, "breaches": [], "said": words[:300]}


def refused(parameters: Mapping[str, object], folder: Path) -> tuple[int | None, str, float]:
    """Exit status, last line on stderr and the time it took of a planner with these parameters; status None: still there."""
    from alpamayo_ros.simulation.faults.station import small_rig

    given = {**write_inputs(folder, small_rig()), **parameters}
    arguments = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    began_s = time.monotonic()
    command = [str(executable("planner_node")), "--ros-args", *arguments]
    with subprocess.Popen(
        command, env=node_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as node:
        try:
            _, words = node.communicate(timeout=REFUSED_S)
        except subprocess.TimeoutExpired:
            node.kill()
            return None, "", time.monotonic() - began_s
    return node.returncode, (words.strip().splitlines() or [""])[-1], time.monotonic() - began_s
