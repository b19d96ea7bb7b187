"""How a report's drawings look, and how they become SVG inside an HTML page: no links or dates, the same bytes every time.

A contender has the colour of its place; its name stands beside the drawing, in the page, and never inside.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from alpamayo_ros.types import F64

Thinned = TypeVar("Thinned", F64, Sequence[Any])

# Apart from each other, from the colours of speed, and from `drawing.DRIVEN` and `drawing.FAINT`, which they meet in views
# from above.
COLOURS = ("#1b5fa8", "#12aeb8", "#a9760f", "#7d5bc4", "#566f1f", "#8a5a44")
DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
INK, ALARM, FAINT = "#22272e", "#c22f2f", "#65707d"
LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#8a929c",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}
"""For matplotlib.rc_context, around all that draws."""

WIDTH_IN = 12.0


class Plot(NamedTuple):
    """A drawing and what it shows."""

    title: str
    caption: str
    svg: str
    by_contender: bool  # whether its colours are those of contenders


def colour(place: int) -> str:
    """Of the contender at a place, "#rrggbb"."""
    return COLOURS[place % len(COLOURS)]


def dashes(place: int) -> Any:
    """The line style of the contender at a place: lines that lie on each other are both seen."""
    return DASHES[place % len(DASHES)]


def width(place: int) -> float:
    """Of the line of the contender at a place: the first is drawn last, and seen where another lies on it."""
    return 2.4 if place == 0 else 1.6


def say_nothing_is_drawn(axes: Axes, *, reached: bool) -> None:
    """Why, in place of a drawing: whether windows reach the horizon, and it is the plans that have no value."""
    words = "no plan has a value" if reached else "no window reaches this horizon"
    axes.text(0.5, 0.5, words, transform=axes.transAxes, horizontalalignment="center", color=FAINT)


def panels(count: int, height_in: float, widths: Sequence[float] | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, of a page's width."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, width_ratios=widths)[0])


def tracks(count: int, height_in: float) -> tuple[Figure, list[Axes]]:
    """A figure with axes below each other, of one x axis."""
    figure = Figure(figsize=(WIDTH_IN, height_in))
    rows = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    figure.subplots_adjust(0.05, 0.45 / height_in, 0.995, 1.0 - 0.2 / height_in, hspace=0.4)
    return figure, list(rows)


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element as wide as its place; names differ within a page, so that ids do."""
    page = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(page, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = page.getvalue()
    drawn = drawn[drawn.index("<svg ") :]
    for noise in (r"<style.*?</style>", r' xmlns(:xlink)?="[^"]*"', r' (width|height)="[\d.]+pt"', r"font-family: [^;]*;? ?"):
        drawn = re.sub(noise, "", drawn)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', drawn))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", drawn)


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def thinned(items: Thinned, most: int) -> Thinned:
    """Every n-th of a sequence, n the least that leaves at most so many."""
    return items[:: max(1, -(-len(items) // most))]
