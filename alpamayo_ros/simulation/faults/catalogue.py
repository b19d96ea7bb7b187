"""The catalogue of faults, F01 to F62 of docs/faults.md, and every case of a campaign in its order."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alpamayo_ros.simulation.faults.acts import Act
from alpamayo_ros.simulation.faults.catalogue_inputs import CAMERAS, POSES
from alpamayo_ros.simulation.faults.catalogue_system import ENGINE, REFUSALS, SKIPPED, SYSTEM
from alpamayo_ros.simulation.faults.rows import KEEPS, Fault, Level, Phase, Refusal, Row

Subset = Literal["ci", "all"]
CLEAN = "F00"
__all__ = ["CLEAN", "FAULTS", "SKIPPED", "Run", "Subset", "runs"]


def clean(seconds: float) -> Fault:
    """No fault at all: how often a good drive is not nominal, or stopped, is a figure too."""
    return Fault(CLEAN, "no fault", {f"{seconds:g} s": Level(lambda _: Act(), KEEPS, seconds)})


FAULTS: tuple[Row, ...] = (*CAMERAS, *POSES, *ENGINE, *SYSTEM, *REFUSALS)
CLEAN_S = 30.0


@dataclass(frozen=True)
class Run:
    """One run of the campaign."""

    row: Row
    level: str
    phase: Phase
    seed: int

    @property
    def key(self) -> str:
        """What resuming and merging know it by."""
        return f"{self.row.id}/{self.row.name}/{self.level}/{self.phase}/{self.seed}"

    @property
    def rng(self) -> np.random.Generator:
        """Of everything random in this run."""
        return np.random.default_rng(zlib.crc32(self.key.encode()))

    @property
    def kind(self) -> str:
        """What it needs: a planner on the system's clock, on simulated time, or none."""
        return self.row.clock if isinstance(self.row, Fault) else "refused"


def runs(subset: Subset, seeds: int) -> list[Run]:
    """Every run, in an order that is always the same and spreads what ends an engine over the whole."""
    phases_of = {"ci": 1, "all": 3}[subset]
    found = [run for row in (clean(CLEAN_S), *FAULTS) for run in _of_row(row, phases_of, seeds)]
    return sorted(found, key=lambda run: zlib.crc32(f"order {run.key}".encode()))


def _of_row(row: Row, most_phases: int, seeds: int) -> list[Run]:
    if isinstance(row, Refusal):
        return [Run(row, level, "start", 0) for level in row.levels]  # nothing in it is random
    repeats = seeds * (row.repeats if most_phases > 1 else 1)
    return [Run(row, level, p, seed) for level in row.levels for p in row.phases[:most_phases] for seed in range(repeats)]
