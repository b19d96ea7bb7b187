"""Experiments that show whether training does what it is for, each with its figures as JSON and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from alpamayo_ros.cli.app import Base, Figures, app, shipped_nano

Scenes = UseAppendAction[tuple[Path, ...]]


@app.command
def experiment(
    name: Positional[Annotated[Literal["overfit", "swapped"], arg(metavar="NAME")]],
    out: Annotated[Path, arg(metavar="DIR", help="what is done there already is not done again")],
    base: Base = None,
    data: Annotated[
        Scenes, arg(metavar="DIR", help="swapped: scenes to learn from, of alpamayo make-dataset (repeatable)")
    ] = (),
    held_out: Annotated[Scenes, arg(metavar="DIR", help="swapped: scenes of another split (repeatable)")] = (),
    tower: Annotated[
        Path | None, arg(metavar="DIR", help="swapped: bundle of alpamayo train see --size micro, through which it sees")
    ] = None,
    seed: Annotated[
        UseAppendAction[tuple[int, ...]], arg(metavar="INT", help="swapped: repeatable; none named is 0, 1, 2")
    ] = (),
) -> Figures:
    """Learn 32 moments by heart (overfit), or unlearn words that contradict what is driven (swapped): docs/training.md."""
    from alpamayo_ros.training.experiments.commands import overfit_command, swapped_command
    from alpamayo_ros.types import InvalidInput

    if name == "overfit":
        return overfit_command(base or shipped_nano(), out)
    if tower is None or not data or not held_out:
        raise InvalidInput("swapped wants --data DIR, --held-out DIR and --tower DIR")
    return swapped_command(data, held_out, tower, base or shipped_nano(), out, seed or (0, 1, 2))
