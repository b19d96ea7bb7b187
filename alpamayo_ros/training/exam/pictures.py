"""Windows of an exam as a person would look at them: what was seen, what was said, where it would have driven."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpamayo_ros.evaluation.report.figures import LOOK, colour
from alpamayo_ros.training.exam.answered import Answer
from alpamayo_ros.training.exam.marks import ade_1_m

AHEAD = ("front_left", "front_wide", "front_right")
PER_ROW = 3
MARGIN_M = 4.0
LINE = 58  # characters


def draw_answers(given: Sequence[tuple[Answer, Answer]], path: Path) -> None:
    """Windows, answered by a model and by kinematic, as PNG; those without a plan say so."""
    with mpl.rc_context({**LOOK, "figure.facecolor": "white", "savefig.dpi": 80}):
        rows = -(-len(given) // PER_ROW)
        figure = Figure(figsize=(7.0 * PER_ROW, 3.1 * rows), layout="constrained")
        parts = figure.subfigures(rows, PER_ROW, squeeze=False).flat
        for part, (answer, plain) in zip(parts, given, strict=False):
            views, way = part.subplots(1, 2, width_ratios=(2.2, 1.0))
            _draw_views(views, answer)
            _draw_ways(way, answer, plain)
        figure.savefig(path, metadata={"Software": None})


def _draw_views(axes: Axes, answer: Answer) -> None:
    """The newest pictures ahead, with what is said of them and what the expert decided for."""
    frames, label = answer.sitting.example.observation.frames, answer.sitting.label
    axes.imshow(np.hstack([frames[role][-1].image for role in AHEAD if role in frames]), interpolation="nearest")
    axes.set_axis_off()
    said = "no plan" if answer.plan is None else answer.plan.reasoning.text
    lines = [*textwrap.wrap(f"says: {said}", LINE), *textwrap.wrap(f"expert: {label.text}", LINE)]
    axes.set_title(answer.sitting.family.replace("_", " "), loc="left", fontsize=9)
    axes.text(0.0, -0.06, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8)


def _draw_ways(axes: Axes, answer: Answer, plain: Answer) -> None:
    """Seen from above, ahead is up."""
    ways = {"driven": answer.sitting.example.future.xyz}
    ways |= {
        name: each.plan.trajectory.xyz for name, each in (("model", answer), ("kinematic", plain)) if each.plan is not None
    }
    for number, (name, xyz) in enumerate(ways.items()):
        axes.plot(-xyz[:, 1], xyz[:, 0], color="black" if name == "driven" else colour(number - 1), label=name)
    sides = [float(np.abs(xyz[:, 1]).max()) for xyz in ways.values()]
    axes.set_xlim(-max(sides) - MARGIN_M, max(sides) + MARGIN_M)
    axes.set_aspect("equal", adjustable="datalim")
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="lower right")
    off = ["none" if ade_m is None else f"{ade_m:.1f} m" for ade_m in ade_1_m((answer, plain))]
    axes.set_title(f"ADE {off[0]}, kinematic {off[1]}", fontsize=8)
