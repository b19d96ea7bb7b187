"""Scenario families: what a drive is about, and everything that its seed decides."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.families import following, junctions, lane_changes, motorways, obstacles, people, town
from alpamayo_ros.simulation.families.dice import DURATION_S, Dice
from alpamayo_ros.simulation.families.surroundings import look, scenery
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.types import InvalidInput

FAMILIES: Mapping[str, Callable[[Dice], Scenario]] = {
    build.__name__: build
    for room in (following, junctions, people, obstacles, lane_changes, motorways, town)
    for build in room.FAMILIES
}
"""Families by name; each makes a scenario that has no scenery yet."""


def make_scenario(family: str, seed: int, duration_s: float | None = None) -> Scenario:
    """One scenario of a family; the same arguments give the same value. A shorter drive has a nearer goal.

    Raises InvalidInput for a family that does not exist, a negative seed, or a duration outside (0, 3600] s.
    """
    if family not in FAMILIES:
        raise InvalidInput(f"unknown family {family!r}, want one of {', '.join(FAMILIES)}")
    if seed < 0:
        raise InvalidInput(f"{family}: want a seed >= 0, got {seed}")
    duration = DURATION_S if duration_s is None else duration_s
    if not 0 < duration <= 3600:
        raise InvalidInput(f"{family} {seed}: duration {duration} s, want 0 < s <= 3600")
    what, around = (Dice(family, seed, duration, np.random.default_rng([zlib.crc32(family.encode()), seed, k])) for k in (0, 1))
    scenario = FAMILIES[family](what)
    start, share = scenario.start.along_m, min(1.0, duration / DURATION_S) ** 2  # who waits drives off late
    goal = start + share * (scenario.goal_m - start)
    return replace(scenario, goal_m=goal, look=look(around), scenery=scenery(around, scenario))
