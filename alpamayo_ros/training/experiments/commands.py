"""What `alpamayo experiment` does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from alpamayo_ros.training.commands import scenes_in
from alpamayo_ros.training.experiments.overfit import overfit
from alpamayo_ros.training.experiments.swapped import swap_and_reinforce


def overfit_command(base: Path, out: Path) -> dict[str, Any]:
    """`overfit`, on one thread."""
    torch.set_num_threads(1)
    return overfit(base, out)


def swapped_command(
    data: Sequence[Path], held_out: Sequence[Path], tower: Path, base: Path, out: Path, seeds: Sequence[int]
) -> dict[str, Any]:
    """`swap_and_reinforce` on data sets of the driving world, on one thread. Raises InvalidInput for damaged ones, too."""
    torch.set_num_threads(1)
    return swap_and_reinforce((partial(scenes_in, data), partial(scenes_in, held_out)), tower, base, out, seeds)
