"""Many runs, one line each in a file: resumable, in shards whose files merge.

A planner serves many runs; one that is not nominal again, or has ended, is replaced.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from alpamayo_ros.simulation.faults.catalogue import Run, Subset, runs
from alpamayo_ros.simulation.faults.domains import in_domain, own_domain
from alpamayo_ros.simulation.faults.rows import Fault
from alpamayo_ros.simulation.faults.running import drive, refuse
from alpamayo_ros.simulation.faults.station import Clock, Station, station
from alpamayo_ros.simulation.faults.tables import figures, markdown, noteworthy
from alpamayo_ros.types import EngineFailure, InvalidInput

LATE_MS, REPEATS = 50.0, 2
"""A vehicle that is later than this, on a machine that has too much to do, is a fault of its own: the run is repeated."""

SETTLES_S = 11.0
"""An engine that lived shorter failed quickly, and after five such it is given up: what ends engines waits so long."""


def run_campaign(
    out: Path, subset: Subset, shard: tuple[int, int] = (1, 1), resume: bool = False, seeds: int = 1
) -> dict[str, Any]:
    """Run a shard's share and write `out`/runs-I-of-N.jsonl, figures.json and faults.md; returns the figures.

    `shard`: the i-th of n, from 1. With `resume` runs that are in the file already are not run again; without it a file that
    is there is refused. Raises InvalidInput.
    """
    place, of = shard
    if not 1 <= place <= of or seeds < 1:
        raise InvalidInput(f"want a shard 1/n to n/n and 1 seed or more, got {place}/{of} and {seeds}")
    lines = out / f"runs-{place}-of-{of}.jsonl"
    if lines.exists() and not resume:
        raise InvalidInput(f"{lines} is there already: --resume goes on with it, another --out starts anew")
    out.mkdir(parents=True, exist_ok=True)
    done = read_lines(lines)
    pending = [run for run in runs(subset, seeds)[place - 1 :: of] if run.key not in {line["key"] for line in done}]
    console = Console(stderr=True)
    with ends_on_sigterm(), lines.open("a") as file:
        for count, line in enumerate(_lines(pending, out / "logs"), 1):
            file.write(json.dumps(line) + "\n")
            file.flush()
            said = "ok" if line["as_expected"] and not line["unsafe"] else "; ".join([*line["complaints"], *line["breaches"]])
            console.print(f"{count}/{len(pending)} {line['key']}: {said}", markup=False, highlight=False, soft_wrap=True)
    return merge([lines], out)


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: with everything it started."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def merge(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Files of shards -> the figures of all, also as `out`/figures.json and faults.md. Raises InvalidInput for no runs.

    What is not to be overlooked is said on stderr, the worst last: a log of the end alone tells what was unsafe.
    """
    lines = list({line["key"]: line for path in paths for line in read_lines(path)}.values())
    if not lines:
        raise InvalidInput(f"no runs in {', '.join(map(str, paths))}")
    found = figures(lines)
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "faults.md").write_text(markdown(lines))
    console = Console(stderr=True)
    for sentence in noteworthy(lines):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    return found


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a campaign's file; the one that an interruption cut is dropped. None yet: empty."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def _lines(pending: Sequence[Run], logs: Path) -> Iterator[Mapping[str, Any]]:
    """Run everything, grouped by what it needs."""
    of_kind: dict[str, list[Run]] = {}
    for run in pending:
        of_kind.setdefault(run.kind, []).append(run)
    for run in of_kind.pop("refused", []):
        with TemporaryDirectory(prefix="alpamayo_faults_") as folder:
            yield _timed(time.monotonic(), refuse(run, Path(folder)))
    for clock, of_clock in of_kind.items():
        with ExitStack() as opened:
            opened.enter_context(in_domain(opened.enter_context(own_domain())))
            inputs = Path(opened.enter_context(TemporaryDirectory(prefix="alpamayo_faults_")))
            ready = opened.enter_context(station(inputs, _clock(clock)))
            yield from _driven(ready, of_clock, logs)


def _driven(ready: Station, pending: list[Run], logs: Path) -> Iterator[Mapping[str, Any]]:
    has_planner, settled_s = False, 0.0
    while pending:
        run = _next(pending, settled_s)
        began_s = time.monotonic()
        fault = run.row
        assert isinstance(fault, Fault)
        if fault.ends_engine and began_s < settled_s:
            ready.watch(lambda: False, settled_s - began_s)
        if not has_planner and run.phase != "start":
            ready.start_planner()
        line = _tried(ready, run)
        if fault.ends_engine:
            settled_s = time.monotonic() + SETTLES_S
        has_planner = bool(line.pop("has_planner"))
        if not line["as_expected"]:
            logs.mkdir(parents=True, exist_ok=True)
            (logs / f"{run.key.replace('/', '_').replace(' ', '_')}.log").write_bytes(ready.log.read_bytes()[-100_000:])
        yield _timed(began_s, line)


def _tried(ready: Station, run: Run) -> dict[str, Any]:
    """A run; again where the vehicle itself was late, for then it is no run. What was unsafe stays."""
    for repeated in range(REPEATS + 1):
        line = _with_some_planner(ready, run) | {"repeated": repeated}
        line["has_planner"] = "not nominal" not in str(line["complaints"]) and ready.exit_status is None
        if line["late_ms"] <= LATE_MS or line["unsafe"]:
            break
        if not line["has_planner"] and run.phase != "start":
            ready.start_planner()
    return line


def _with_some_planner(ready: Station, run: Run) -> dict[str, Any]:
    """A run, once more with another planner when the first one does not get ready at all."""
    try:
        return drive(ready, run)
    except EngineFailure:
        ready.restore()
        ready.start_planner()
        return drive(ready, run)


def _next(pending: list[Run], settled_s: float) -> Run:
    """The next run; those that end an engine give way to others until the engine has lived a while."""
    may = [run for run in pending if not getattr(run.row, "ends_engine", False)] if time.monotonic() < settled_s else pending
    run = (may or pending)[0]
    pending.remove(run)
    return run


def _clock(kind: str) -> Clock:
    return "simulated" if kind == "simulated" else "system"


def _timed(began_s: float, line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "seconds": round(time.monotonic() - began_s, 2)}
