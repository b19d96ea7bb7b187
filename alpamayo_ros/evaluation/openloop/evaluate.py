"""`alpamayo evaluate`: bags to figures, files, a report and a verdict."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alpamayo_ros.engine.loading import default_deadline_ms
from alpamayo_ros.evaluation.openloop.fan_out import ONE_CPU, PerBag, evaluate_bags
from alpamayo_ros.evaluation.openloop.gate import TIMING_FILE, Measured, Verdict, check_comparable, judge, parse, read_baseline
from alpamayo_ros.evaluation.openloop.golden import compare, golden_plans, read_golden, write_golden
from alpamayo_ros.evaluation.openloop.provenance import of_inputs
from alpamayo_ros.evaluation.openloop.results import KINEMATIC, Evaluation, Setup
from alpamayo_ros.evaluation.openloop.storage import VERSION, TimingFile, evaluation_file, write_file
from alpamayo_ros.evaluation.openloop.summary import METRICS, OF_SIX, Judged, Summary, counted, summarise
from alpamayo_ros.evaluation.openloop.windows import contenders
from alpamayo_ros.evaluation.report.page import write_report
from alpamayo_ros.evaluation.statistics import Estimate

EVALUATION_FILE = "evaluation.json"

SHOWN = (
    "ade_3s",
    "ade_6_4s",
    "fde_6_4s",
    "min_ade_6_6_4s",
    "missed",
    "lateral_6_4s",
    "comfort",
    "feasible",
    "rejected_share",
    "plan_deviation_m",
)
"""Metrics of the printed table; the report and evaluation.json have all."""


@dataclass(frozen=True)
class Asked:
    """What to evaluate, where to, and what to hold it against."""

    bags: tuple[Path, ...]
    setup: Setup
    out: Path
    ray: str | None = None  # None: in this process; "local" or a cluster's address
    per_bag: PerBag = ONE_CPU
    against: Path | None = None  # an evaluation.json
    fail_on: tuple[str, ...] = ()
    golden: Path | None = None
    write_golden: Path | None = None


def evaluate(asked: Asked) -> dict[str, Any]:
    """Evaluate, write evaluation.json, timing.json and the report, print a table and the verdicts; `failed` is the gate's.

    Raises InvalidInput for what cannot be evaluated or compared. What is asked of the gate is read before the bags are.
    """
    conditions = [parse(text) for text in asked.fail_on]
    baseline = read_baseline(asked.against, conditions) if asked.against else None
    check_comparable(conditions, baseline, asked.setup, of_inputs(asked.setup))
    golden = read_golden(asked.golden) if asked.golden else None
    for file in filter(None, (asked.out / EVALUATION_FILE, asked.write_golden)):
        _check_writable(file)
    begun = time.perf_counter()
    evaluation = evaluate_bags(asked.bags, asked.setup, asked.out, asked.ray, asked.per_bag)
    evaluated = time.perf_counter()
    summary = summarise(evaluation, _deadlines_ms(evaluation.setup))
    figures = evaluation_file(evaluation, summary)
    write_file(figures, asked.out / EVALUATION_FILE)
    timing = TimingFile(VERSION, evaluation.measured, {}, summary.timings)
    verdicts = judge(conditions, Measured(figures, timing), baseline)
    summarised = time.perf_counter()
    report = write_report(evaluation, summary, {str(bag): bag for bag in asked.bags}, asked.out, verdicts)
    reported = time.perf_counter()
    seconds = {"bags": evaluated - begun, "summary": summarised - evaluated, "report": reported - summarised}
    write_file(replace(timing, seconds=seconds), asked.out / TIMING_FILE)
    first = summary.first.name
    unequal = compare(golden, golden_plans(evaluation, first, [plan.t0_ns for plan in golden.plans])) if golden else []
    if asked.write_golden:
        write_golden(golden_plans(evaluation, first), asked.write_golden)
    _print(evaluation, summary)
    for line in [*(verdict.text for verdict in verdicts), *(f"FAILED golden plans: {line}" for line in unequal)]:
        print(line)
    files = [asked.out / EVALUATION_FILE, asked.out / TIMING_FILE, *report]
    return _figures(evaluation, summary, verdicts, unequal, seconds, files)


def _check_writable(file: Path) -> None:
    """Make its folder. Raises OSError where that, or a file in it, cannot be written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    TemporaryFile(dir=file.parent).close()


def _deadlines_ms(setup: Setup) -> dict[str, float]:
    """By contender: the node's default for its bundle."""
    return {contender.name: default_deadline_ms(contender.bundle) for contender in contenders(setup)}


def _figures(
    evaluation: Evaluation,
    summary: Summary,
    verdicts: list[Verdict],
    unequal: list[str],
    seconds: dict[str, float],
    files: list[Path],
) -> dict[str, Any]:
    first = summary.first
    return {
        "contender": first.name,
        "weights": first.weights,
        "ade_m": first.mean("ade_6_4s"),
        "fde_m": first.mean("fde_6_4s"),
        "min_ade_6_m": first.mean("min_ade_6_6_4s"),
        "comfort": first.mean("comfort"),
        "consistency": first.consistency.share,
        "consistency_shuffled": first.consistency.shuffled,
        "windows": summary.windows,
        "clips": summary.clips,
        "planned": first.plans,
        "rejected_share": first.mean("rejected_share"),
        "rejected_by": dict(first.rejected),
        "broken": dict(evaluation.broken),
        "failed": any(verdict.failed for verdict in verdicts) or bool(unequal),
        "gate": [verdict.text for verdict in verdicts],
        "golden": unequal,
        "seconds": {name: round(took, 3) for name, took in seconds.items()},
        "sha256": hashlib.sha256(files[0].read_bytes()).hexdigest(),
        "files": [str(path) for path in files],
    }


def _print(evaluation: Evaluation, summary: Summary) -> None:
    """The table: a metric per row, a contender per column, and what was left out."""
    console = Console(width=max(100, 32 + 34 * len(summary.contenders)))
    console.print(_table(summary))
    for contender in summary.contenders:
        if contender.weights == "untrained":
            said = f"{contender.name} has UNTRAINED WEIGHTS: its figures say nothing about driving."
            console.print(said, style="bold", markup=False)
        for reason, windows in contender.refused.items():
            console.print(f"{contender.name}: no plan for {windows} windows: {reason}", markup=False)
        for check, windows in contender.rejected.items():
            console.print(f"{contender.name}: {check} rejects the plan of {windows} windows", markup=False)
    anchors = sum(bag.coverage.anchors for bag in evaluation.bags)
    examples = {reason: first for bag in reversed(evaluation.bags) for reason, first in bag.coverage.examples.items()}
    for reason, count in sum((Counter(bag.coverage.not_observed) for bag in evaluation.bags), Counter()).most_common():
        said = f"{count} of {anchors} instants not observed, such as: {examples.get(reason, reason)}"
        console.print("\n".join(wrap(said, console.width, max_lines=2, placeholder=" ...")), markup=False)
    for broken, reason in evaluation.broken.items():
        console.print(f"BROKEN {broken}: {reason}", markup=False)


def _table(summary: Summary) -> Table:
    caption = f"{counted(summary.windows, 'window')}, {counted(summary.clips, 'clip')}, {summary.whole} with the whole driven "
    caption += "future; n is the first column's windows with a value. "
    caption += "Mean [95 % interval by clip]; * differs from the first column on the same windows, p < 0.05"
    table = Table("metric", "n", *(escape(f"{c.name} ({c.weights})") for c in summary.contenders), caption=caption)
    for name in SHOWN:
        metric, first = METRICS[name], summary.first.estimates[name]
        cells = (_cell(contender, name) for contender in summary.contenders)
        table.add_row(f"{metric.title} ({metric.unit})", str(first.windows if first else 0), *cells)
    shares = ((c.consistency.share, c.consistency.shuffled) for c in summary.contenders)
    judged = str(summary.first.consistency.judged)
    table.add_row("Consistency (shuffled pairs)", judged, *(f"{_number(own)} ({_number(chance)})" for own, chance in shares))
    latencies = (summary.timings.get(c.name) for c in summary.contenders)
    p95 = [timing.stages["latency"].p95_ms if timing and "latency" in timing.stages else None for timing in latencies]
    table.add_row("Latency, p95 (ms)", str(summary.first.plans), *map(_number, p95))
    return table


def _cell(contender: Judged, metric: str) -> str:
    found: Estimate | None = contender.estimates[metric]
    difference = contender.differences.get(metric)
    if found is None:
        return "-"
    interval = "" if found.low is None else f" \\[{_number(found.low)}, {_number(found.high)}]"
    star = " *" if difference is not None and difference.significant() else ""
    return f"{_number(found.mean)}{interval}{star}{', one path' if contender.name == KINEMATIC and metric in OF_SIX else ''}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
