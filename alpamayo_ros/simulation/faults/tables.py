"""Lines of a campaign -> its figures, and a table with one line per row of the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from alpamayo_ros.evaluation.report.markdown import plain, table
from alpamayo_ros.simulation.faults.catalogue import CLEAN, SKIPPED

Line = Mapping[str, Any]

TITLES = ("row", "fault", "runs", "as expected", "detected p50 / max ms", "published", "nominal again p50 / max s", "unsafe")

MOST_UNEXPECTED, MOST_UNSAFE = 6, 10
"""So many are said one by one at the end of a campaign; a CI may show its last two dozen lines only."""


def figures(lines: Sequence[Line]) -> dict[str, Any]:
    """What the command's last line says. Times of nothing are None."""
    faults = [line for line in lines if line["id"] != CLEAN]
    due = [line["stop_ms"] for line in faults if line["stop_due"]]
    return {
        "injected": len(faults),
        "as_expected": sum(line["as_expected"] for line in faults),
        "unsafe": sum(line["unsafe"] for line in lines),
        "good_share": sum(line["as_expected"] and not line["unsafe"] for line in lines) / len(lines),
        "unsafe_bound_95": 3.0 / len(lines),  # of the share of runs, when none was unsafe: the rule of three
        "stops_due": len(due),
        "stops_missed": sum(ms is None for ms in due),
        "stop_latency_ms_p50": percentile(due, 50),
        "stop_latency_ms_p99": percentile(due, 99),
        "stop_latency_ms_max": percentile(due, 100),
        "recovery_s_max": percentile([line["recovery_s"] for line in faults], 100),
        "rows": len({line["id"] for line in faults}),
        **clean_share([line for line in lines if line["id"] == CLEAN]),
    }


def clean_share(lines: Sequence[Line]) -> dict[str, Any]:
    """Of the drives without a fault: seconds, share of them nominal, and stops."""
    lasted: Counter[str] = Counter()
    for line in lines:
        lasted.update({name: value for name, value in line.items() if name.endswith("_s") and name[:-2] in line["states"]})
    seconds = sum(lasted.values())
    share = lasted["nominal_s"] / seconds if seconds else None
    return {
        "clean_s": round(seconds, 1),
        "clean_nominal": share,
        "clean_stops": sum(line["sources"].get("stop", 0) for line in lines),
    }


def percentile(values: Sequence[float | None], q: float) -> float | None:
    """Of the values that there are; None when there is none. The smallest value that q % do not exceed."""
    known = [value for value in values if value is not None]
    return float(np.percentile(known, q, method="inverted_cdf")) if known else None


def markdown(lines: Sequence[Line]) -> str:
    """The table, what was not as expected, and what is not run here."""
    return "\n".join([*_rows(lines), *_unexpected(lines), *_skipped()]) + "\n"


def _rows(lines: Sequence[Line]) -> Iterator[str]:
    rows: dict[tuple[str, str], list[Line]] = {}
    for line in sorted(lines, key=lambda line: (line["id"], line["name"])):
        rows.setdefault((line["id"], line["name"]), []).append(line)
    yield from table(TITLES, ([row, plain(name), *_cells(of_row)] for (row, name), of_row in rows.items()))


def _cells(lines: Sequence[Line]) -> list[str]:
    published: Counter[str] = Counter()
    for line in lines:
        published.update(line["sources"])
    return [
        str(len(lines)),
        str(sum(line["as_expected"] for line in lines)),
        _pair([line["detection_ms"] for line in lines], "{:.0f}"),
        ", ".join(source for source, _ in published.most_common()) or "nothing",
        _pair([line["recovery_s"] for line in lines], "{:.2f}"),
        str(sum(line["unsafe"] for line in lines)),
    ]


def _pair(values: Sequence[float | None], form: str) -> str:
    p50, highest = percentile(values, 50), percentile(values, 100)
    return "–" if p50 is None or highest is None else f"{form.format(p50)} / {form.format(highest)}"


def _unexpected(lines: Sequence[Line]) -> Iterator[str]:
    found = Counter(
        f"{line['id']} {line['name']}, {line['level']}, {line['phase']}: {said}"
        for line in lines
        for said in [*line["complaints"], *line["breaches"]]
    )
    if found:
        yield from ("Not as expected:", "", *(f"- {plain(said)} ({count} times)" for said, count in sorted(found.items())), "")


def noteworthy(lines: Sequence[Line]) -> Iterator[str]:
    """Sentences of what is not to be overlooked, the worst last: runs not as expected, then those with something unsafe.

    Not more of each than the end of a CI's log shows.
    """
    unexpected = [line for line in lines if not line["as_expected"] and not line["unsafe"]]
    unsafe = [line for line in lines if line["unsafe"]]
    yield from _first("not as expected", unexpected, "complaints", MOST_UNEXPECTED)
    yield from _first("unsafe", unsafe, "breaches", MOST_UNSAFE)


def _first(what: str, lines: Sequence[Line], why: str, most: int) -> Iterator[str]:
    if len(lines) > most:
        yield f"{len(lines) - most} more {what}, in the lines of runs-I-of-N.jsonl"
    for line in lines[:most]:
        count = f" ({line['unsafe']} breaches)" if line["unsafe"] else ""
        late = f"; the vehicle was {line['late_ms']:g} ms late" if line.get("late_ms") is not None else ""
        yield f"{what}{count}: {line['key']}: {'; '.join(line[why])}{late}"


def _skipped() -> Iterator[str]:
    yield from ("Not run here:", "")
    yield from table(("row", "fault", "why"), ([row.id, plain(row.name), plain(row.why)] for row in SKIPPED))
