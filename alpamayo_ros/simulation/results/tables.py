"""Standings as tables: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from alpamayo_ros.evaluation.openloop.summary import counted
from alpamayo_ros.evaluation.report.markdown import plain, table
from alpamayo_ros.evaluation.statistics import Estimate
from alpamayo_ros.simulation.results.summary import MEASURES, Distance, Standing, by_family, failures

IN_TERMINAL = ("scene_score", "at_fault", "offroad", "close_encounter", "progress", "comfort", "failed")
LISTED = 20
PER_FAMILY = ("scene_score", "at_fault", "progress", "comfort")


def terminal(title: str, standings: Sequence[Standing]) -> Table:
    """The main numbers, a column per driver."""
    shown = Table("mean over scenes", *(f"{s.driver}\n{len(s.outcomes)} scenes" for s in standings), title=title)
    for name in IN_TERMINAL:
        shown.add_row(MEASURES[name].title, *(said(name, s.means.get(name), brief=True) for s in standings))
    shown.add_row("km between at-fault incidents", *(distance(s.between_at_fault) for s in standings))
    return shown


def markdown(title: str, about: Sequence[str], standings: Sequence[Standing]) -> str:
    """Everything: all measures with intervals, families, what each measure means."""
    return (
        "\n".join(
            [
                f"# {plain(title)}",
                "",
                *about,
                "",
                *_measures(standings),
                *_failures(standings),
                *_families(standings),
                *_meanings(),
            ]
        )
        + "\n"
    )


def said(name: str, value: Estimate | None, *, brief: bool = False) -> str:
    """A mean with its interval in words; a dash where there is none."""
    if value is None:
        return "–"
    percent = MEASURES[name].kind == "share"
    mean = f"{value.mean:.1%}" if percent else f"{value.mean:.2f}"
    if brief or value.low is None or value.high is None:
        return mean
    return f"{mean} ({value.low:.1%} to {value.high:.1%})" if percent else f"{mean} ({value.low:.2f} to {value.high:.2f})"


def distance(it: Distance) -> str:
    """A mean distance between incidents, or what is known without one."""
    if it.km is None:
        return f"none in {it.driven_km:.1f} km" if it.driven_km else "nothing driven"
    low, high = f"{it.low_km:.2f}", "more" if it.high_km is None else f"{it.high_km:.2f}"
    return f"{it.km:.2f} ({low} to {high})"


def _measures(standings: Sequence[Standing]) -> Iterator[str]:
    names = [f"{plain(standing.driver)} ({len(standing.outcomes)} scenes)" for standing in standings]
    rows = [[measure.title, *(said(name, s.means.get(name)) for s in standings)] for name, measure in MEASURES.items()]
    rows.append(["km between incidents", *(distance(standing.between_incidents) for standing in standings)])
    rows.append(["km between at-fault incidents", *(distance(standing.between_at_fault) for standing in standings)])
    yield from table(["mean (95 % interval)", *names], rows)


def _families(standings: Sequence[Standing]) -> Iterator[str]:
    families = [by_family(standing) for standing in standings]
    for name in PER_FAMILY:
        yield from (f"## {MEASURES[name].title} by family", "")
        rows = [
            [plain(family), str(len(standing.outcomes)), *(said(name, each[family].means.get(name)) for each in families)]
            for family, standing in families[0].items()
        ]
        yield from table(["family", "scenes", *(plain(standing.driver) for standing in standings)], rows)


def _failures(standings: Sequence[Standing]) -> Iterator[str]:
    if reasons := failures(standings):
        yield from (f"## {counted(len(reasons), 'drive')} failed", "")
        yield from (f"- {plain(reason)}" for reason in reasons[:LISTED])
        yield from ((f"- and {len(reasons) - LISTED} more: simulation.json", "") if len(reasons) > LISTED else ("",))


def _meanings() -> Iterator[str]:
    yield from ("## What they mean", "")
    for measure in MEASURES.values():
        yield f"- **{measure.title}**: {measure.means}."
    yield "- **km between incidents**: all kilometres / scenes with a collision, off the road or failed; each ends its scene."
