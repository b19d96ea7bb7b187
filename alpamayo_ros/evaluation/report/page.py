"""The report of an evaluation: one HTML page with everything in it, and its facts as Markdown.

The page needs no network, no script and no other file. The same evaluation gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alpamayo_ros.drawing import DRIVEN
from alpamayo_ros.evaluation.openloop.gate import Verdict
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Evaluation
from alpamayo_ros.evaluation.openloop.summary import Summary
from alpamayo_ros.evaluation.report.drives import drives
from alpamayo_ros.evaluation.report.facts import facts, told
from alpamayo_ros.evaluation.report.figures import colour
from alpamayo_ros.evaluation.report.markdown import markdown
from alpamayo_ros.evaluation.report.pictures import Case, worst_cases
from alpamayo_ros.evaluation.report.plots import plots

DRIVES = 12
"""Bags whose driven and planned motion is drawn: those of the worst cases, then the others in their order."""


def write_report(
    evaluation: Evaluation, summary: Summary, bag_of: Mapping[str, Path], out: Path, gate: Sequence[Verdict] = ()
) -> list[Path]:
    """Write report.html and report.md into a folder; returns their paths.

    `bag_of` says where the bags are, by the names they have in the evaluation: camera pictures of the worst windows are read
    from them. `gate` is what the conditions came to, where some were asked. Raises InvalidInput when the rig cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    cases = tuple(worst_cases(evaluation, bag_of))
    page, text = out / "report.html", out / "report.md"
    page.write_text(html(evaluation, summary, cases, gate), encoding="utf-8")
    text.write_text(markdown(facts(evaluation, summary), gate, [told(c.bad, evaluation.contenders) for c in cases]), "utf-8")
    return [page, text]


def html(evaluation: Evaluation, summary: Summary, cases: Sequence[Case], gate: Sequence[Verdict]) -> str:
    """The page. Everything that is not drawn here is escaped: names, reasons and traces are anybody's text."""
    shown = _drawn(evaluation, cases)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        facts=facts(evaluation, summary),
        gate=gate,
        plots=plots(evaluation, summary),
        drives=tuple(drives(shown, evaluation.contenders[0])) if shown else (),
        not_drawn=len(evaluation.bags) - len(shown),
        cases=[(case, told(case.bad, evaluation.contenders)) for case in cases],
        colour=colour,
        driven="#{:02x}{:02x}{:02x}".format(*DRIVEN),
    )


def _drawn(evaluation: Evaluation, cases: Sequence[Case]) -> tuple[BagEvaluation, ...]:
    worst_first = {case.bad.bag.bag: case.bad.bag for case in cases} | {bag.bag: bag for bag in evaluation.bags}
    chosen = list(worst_first)[:DRIVES]
    return tuple(bag for bag in evaluation.bags if bag.bag in chosen and bag.windows)
