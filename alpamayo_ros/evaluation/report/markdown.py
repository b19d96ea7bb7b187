"""A report's facts without pictures, as Markdown that can be read in a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from alpamayo_ros.evaluation.openloop.gate import Verdict
from alpamayo_ros.evaluation.report.facts import Covered, Facts, Told
from alpamayo_ros.evaluation.report.tables import Cell, Row

# What GitHub's Markdown acts upon: anywhere, at the edge of a word, at the start of a line.
_ACTIVE = re.compile(r"([\\`*\[\]<>|~&$#]|(?<!\w)_|_(?!\w)|^[-+=])")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")  # the start of a list
# What GitHub makes a link to a person, an issue or a page, escaped or not: a space of no width after it prevents that.
_REFERS = re.compile(r"(@|#(?=\w)|\bwww(?=\.)|:(?=//))", re.IGNORECASE)


def markdown(facts: Facts, gate: Sequence[Verdict], worst: Sequence[Told]) -> str:
    """All of a report but its drawings."""
    return "\n".join([*_head(facts, gate), *_figures(facts), *_worst(worst), *_coverage(facts), *_origin(facts)]) + "\n"


def plain(text: str) -> str:
    """Text that shows as it is: on one line, nothing in it being Markdown, HTML, a mention or a link."""
    escaped = _NUMBERED.sub(r"\1\\\2", _ACTIVE.sub(r"\\\1", " ".join(text.split())))
    return _REFERS.sub(r"\1&#8203;", escaped)


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of cells that are Markdown already, with an empty line after it."""
    for line in (titles, ["---"] * len(titles), *lines):
        yield f"| {' | '.join(line)} |"
    yield ""


def _head(facts: Facts, gate: Sequence[Verdict]) -> Iterator[str]:
    yield from (f"# Open-loop evaluation: {plain(facts.subject)}", "")
    yield from (f"{plain(facts.verdict)}. Weights: **{facts.weights}**.", "")
    if facts.warning:
        yield from (f"**{facts.warning}**", "")
    for verdict in gate:
        yield f"- {'**' if verdict.failed else ''}{plain(verdict.text)}{'**' if verdict.failed else ''}"
    if gate:
        yield ""
    for sentence in facts.shortcut:
        yield from (plain(sentence), "")


def _figures(facts: Facts) -> Iterator[str]:
    if not facts.contenders:
        return
    names = [
        f"{plain(judged.name)} ({judged.weights}, {judged.plans} of {facts.windows} planned)" for judged in facts.contenders
    ]
    yield from table(["metric", "n", *names], (_line(row) for row in facts.key))
    for note in facts.notes:
        yield from (plain(note), "")
    yield from ("<details><summary>All metrics</summary>", "")
    yield from table(
        ["metric", "n", *names, "what it is", "source"], ([*_line(r), plain(r.meaning), r.source] for r in facts.every)
    )
    yield from ("</details>", "", "## Latency", "")
    times = (
        [plain(latency.contender), plain(stage.name), *stage.times_ms]
        for latency in facts.latencies
        for stage in latency.stages
    )
    yield from table(["contender", "stage", "p50 ms", "p95 ms", "p99 ms", "most ms"], times)
    for latency in facts.latencies:
        if latency.deadline:
            yield from (f"{plain(latency.contender)}: {latency.deadline}.", "")


def _line(row: Row) -> list[str]:
    unit = f", {row.unit}" if row.unit else ""
    return [f"{plain(row.title)}{unit}", f"{row.windows}", *(_cell(cell) for cell in row.cells)]


def _cell(cell: Cell) -> str:
    mark = " \\*" if cell.reading in ("better", "worse") else ""
    parts = (cell.value, cell.interval, f"({cell.difference}{mark})" if cell.difference else "", plain(cell.aside))
    return " ".join(part for part in parts if part)


def _worst(worst: Sequence[Told]) -> Iterator[str]:
    if worst:
        yield from ("## Worst windows", "")
    for number, told in enumerate(worst, 1):
        yield from (f"### {number}. {plain(told.title)}", "")
        if told.trace:
            yield from (f"> {plain(told.trace)}", "")
        yield from (f"- {name}: {plain(text)}" for name, text in told.lines)
        yield ""


def _coverage(facts: Facts) -> Iterator[str]:
    yield from ("## Coverage", "")
    yield from table(["bag", "length", "windows", "of instants", "future known to", "not used"], (_bag(b) for b in facts.bags))
    for bag, reason in facts.broken.items():
        yield f"- **{plain(bag)} could not be evaluated**: {plain(reason)}"
    for judged in facts.contenders:
        yield from (f"- {plain(judged.name)}: {n} windows without a plan: {plain(why)}" for why, n in judged.refused.items())
    yield ""
    rejected = [(judged.name, check, n) for judged in facts.contenders for check, n in judged.rejected.items()]
    if rejected:
        cells = ((plain(name), plain(check), str(n)) for name, check, n in rejected)
        yield from table(["contender", "check that rejects the plan", "windows"], cells)


def _bag(covered: Covered) -> list[str]:
    bag, coverage = covered.bag, covered.bag.coverage
    future = ", ".join(f"{horizon} s: {windows}" for horizon, windows in coverage.future_to_s.items())
    lost = "; ".join(f"{lost.times} × {lost.what}: {plain(lost.example or lost.reason)}" for lost in covered.lost)
    return [plain(bag.bag), f"{bag.duration_s:.1f} s", str(len(bag.windows)), str(coverage.anchors), future, lost or "–"]


def _origin(facts: Facts) -> Iterator[str]:
    yield from ("## Provenance and parameters", "")
    hashes = [(covered.bag.bag, covered.bag.sha256) for covered in facts.bags]
    yield from table(["what", "which"], ([plain(name), plain(text)] for name, text in [*facts.provenance.items(), *hashes]))
    yield from table(["parameter", "value"], ([plain(name), plain(text)] for name, text in facts.parameters))
