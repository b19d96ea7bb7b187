"""Pictures of what experiments measured, as the reports of evaluations look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpamayo_ros.evaluation.report.figures import LOOK, colour

PLAIN = {**LOOK, "figure.facecolor": "white", "savefig.dpi": 110}


def draw_losses(stages: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Losses over the steps of each stage, by stage and name, as PNG."""
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(3.0 * len(stages), 2.6), layout="constrained")
        for place, (stage, losses) in enumerate(stages.items()):
            axes = figure.add_subplot(1, len(stages), place + 1)
            for number, (name, values) in enumerate(losses.items()):
                axes.plot(values, color=colour(number), label=name)
            _told(axes, stage, "step", "loss")
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        figure.savefig(path, metadata={"Software": None})


def draw_seeds(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Of each seed: consistency while it is reinforced, and before and after on held-out scenes with the ADE, as PNG."""
    with mpl.rc_context(PLAIN):
        figure = Figure(figsize=(12.0, 2.9), layout="constrained")
        steps, tokens, expert, ade = figure.subplots(1, 4)
        for number, result in enumerate(results):
            steps.plot(result["reinforce"]["consistent"], color=colour(number), label=f"seed {result['seed']}")
            for axes, name in ((tokens, "consistent_tokens"), (expert, "consistent_expert"), (ade, "ade_expert_m")):
                both = [result[when][name] for when in ("before", "after")]
                axes.plot(["before", "after"], both, "o-", color=colour(number), label=f"seed {result['seed']}")
        _told(steps, "Consistency of rollouts, training scenes", "step of reinforcement", "share")
        _told(tokens, "Words and action tokens, held out", "", "consistent, share")
        _told(expert, "Words and the expert's way, held out", "", "consistent, share")
        _told(ade, "ADE of the expert's way, held out", "", "m")
        ade.set_ylim(bottom=0.0)
        figure.savefig(path, metadata={"Software": None})


def _told(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=7)
