"""An hour or more of driving without a fault: what leaks, what comes late, what stops for nothing.

Memory may grow while caches fill: the first tenth of the time is left out of the slopes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.evaluation.processes import CpuMeter
from alpamayo_ros.simulation.faults.domains import in_domain, own_domain
from alpamayo_ros.simulation.faults.judging import Said
from alpamayo_ros.simulation.faults.station import Station, station
from alpamayo_ros.types import EngineFailure

SAMPLE_S = 10.0
BLOCK_S = 60.0
T_95 = 2.0
"""Of Student's distribution, two-sided 95 %, for some thirty blocks or more."""

BUDGET_SHARE = 0.005
"""Share of plans that may come late: the rest of 99.5 %, the share of nominal statuses that is asked for."""

LATE_S = 0.2
"""A plan is late when the one before it came longer ago: two periods of the cameras, and a hold begins."""

LARGEST_SLOPE_MB_PER_H = 10.0


@dataclass(frozen=True)
class Sample:
    """What a process holds at one moment."""

    at_s: float  # since the soak began
    process: str
    rss_mb: float
    fds: int
    threads: int


@dataclass
class Course:
    """What was said so far; counts, so that an hour of it needs no memory."""

    states: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    late: int = 0
    longest_gap_s: float = 0.0
    last_plan_s: float | None = None

    def add(self, said: Sequence[Said]) -> None:
        """Count statuses in the order in which they came."""
        for one in said:
            self.states[one.state] += 1
            self.sources[one.source] += 1
            if one.source != "model":
                continue
            if self.last_plan_s is not None:
                gap_s = one.at_s - self.last_plan_s
                self.late += gap_s > LATE_S
                self.longest_gap_s = max(self.longest_gap_s, gap_s)
            self.last_plan_s = one.at_s


def run_soak(out: Path, minutes: float) -> dict[str, Any]:
    """Drive for so long with planner, engine and monitor in their processes; samples go to `out`/soak.jsonl as they are taken.

    Raises EngineFailure when the planner does not get ready, or a process ends before the time is over.
    """
    out.mkdir(parents=True, exist_ok=True)
    with own_domain() as domain, in_domain(domain), station(out, "system") as driven:
        driven.start_planner()
        driven.get_ready()
        driven.forget()
        return _soak(driven, out, minutes * 60.0)


def _soak(driven: Station, out: Path, seconds: float) -> dict[str, Any]:
    pids = {"planner": driven.planner_pid, "engine": driven.engines()[0], "monitor": driven.monitor_pid}
    meter, course, samples, began_s = CpuMeter(pids), Course(), [], time.monotonic()
    with (out / "soak.jsonl").open("w") as lines:
        while (at_s := time.monotonic() - began_s) < seconds:
            driven.watch(lambda: False, min(SAMPLE_S, seconds - at_s))
            course.add(driven.said())
            driven.forget()
            taken = [sampled(time.monotonic() - began_s, process, pid) for process, pid in pids.items()]
            lines.write("".join(json.dumps(vars(sample)) + "\n" for sample in taken))
            lines.flush()
            samples += taken
    restarted = driven.engines() != [pids["engine"]]
    return figures(course, samples, seconds) | {
        "engine_restarted": restarted,
        "breaches": len(driven.breaches()),
        "cores": {name: round(cores, 3) for name, cores in meter.cores().items()},
    }


def sampled(at_s: float, process: str, pid: int) -> Sample:
    """What /proc says of a process now. Raises EngineFailure when it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except FileNotFoundError as error:
        raise EngineFailure(f"the {process}'s process has gone after {at_s:.0f} s") from error
    if "VmRSS" not in status:
        raise EngineFailure(f"the {process}'s process has ended after {at_s:.0f} s")
    fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Sample(round(at_s, 1), process, int(status["VmRSS"].split()[0]) / 1024, fds, int(status["Threads"]))


def figures(course: Course, samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    """What a soak showed, and whether it is within what is asked of it."""
    said, plans = sum(course.states.values()), course.sources["model"]
    processes = {name: _of_process([one for one in samples if one.process == name], seconds) for name in _names(samples)}
    made: dict[str, Any] = {
        "minutes": round(seconds / 60.0, 1),
        "statuses": said,
        "plans": plans,
        "nominal_share": round(course.states["nominal"] / max(said, 1), 5),
        "states": dict(course.states),
        "holds": course.sources["hold"],
        "stops": course.sources["stop"],
        "late_plans": course.late,
        "late_share": round(course.late / max(plans, 1), 5),
        "late_budget_share": BUDGET_SHARE,
        "longest_gap_s": round(course.longest_gap_s, 3),
        "processes": processes,
    }
    return made | {"missed": list(_missed(made, processes))}


def _names(samples: Sequence[Sample]) -> list[str]:
    return list(dict.fromkeys(sample.process for sample in samples))


def _of_process(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    settled = [sample for sample in samples if sample.at_s >= seconds / 10]
    slope, upper = slope_mb_per_h(
        np.array([sample.at_s for sample in settled]), np.array([sample.rss_mb for sample in settled]), BLOCK_S
    )
    return {
        "rss_mb_first": round(samples[0].rss_mb, 2),
        "rss_mb_last": round(samples[-1].rss_mb, 2),
        "rss_slope_mb_per_h": None if np.isnan(slope) else round(slope, 3),
        "rss_slope_upper_mb_per_h": None if np.isnan(upper) else round(upper, 3),
        "fds_first": settled[0].fds,
        "fds_last": settled[-1].fds,
        "threads_last": settled[-1].threads,
    }


def slope_mb_per_h(at_s: NDArray[Any], rss_mb: NDArray[Any], block_s: float) -> tuple[float, float]:
    """Least-squares slope through the means of blocks, and its upper 95 % bound; NaN with fewer than three blocks.

    Neighbouring samples say the same twice; means of blocks less so.
    """
    block = (at_s // block_s).astype(int)
    t_h = np.array([at_s[block == one].mean() for one in np.unique(block)]) / 3600.0
    mb = np.array([rss_mb[block == one].mean() for one in np.unique(block)])
    if len(t_h) < 3:
        return float("nan"), float("nan")
    centred = t_h - t_h.mean()
    slope = float(centred @ mb / (centred @ centred))
    left = mb - mb.mean() - slope * centred
    error = float(np.sqrt(left @ left / (len(t_h) - 2) / (centred @ centred)))
    return slope, slope + T_95 * error


def _missed(made: Mapping[str, Any], processes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is asked for and was not so."""
    missed = []
    if made["nominal_share"] < 1 - BUDGET_SHARE:
        missed.append(f"nominal {made['nominal_share']:.2%} of the statuses, want {1 - BUDGET_SHARE:.1%}")
    if made["late_share"] > BUDGET_SHARE:
        missed.append(f"{made['late_share']:.2%} of the plans late, budget {BUDGET_SHARE:.1%}")
    if made["stops"]:
        missed.append(f"{made['stops']} stops for nothing")
    for name, process in processes.items():
        upper = process["rss_slope_upper_mb_per_h"]
        if upper is None:
            missed.append(f"{name}: too short to say how memory grows")
        elif upper >= LARGEST_SLOPE_MB_PER_H:
            missed.append(f"{name}: memory grows by up to {upper:.1f} MB/h")
        if process["fds_last"] > process["fds_first"]:
            missed.append(f"{name}: {process['fds_first']} file descriptors became {process['fds_last']}")
    return missed
