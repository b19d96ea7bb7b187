"""Holding the last valid plan: the same points, as many as are still ahead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.types import Trajectory

LEAST_POINTS = 10
"""With fewer there is nothing to hold: a follower needs a second ahead."""


def hold(trajectory: Trajectory, age_s: float) -> Trajectory | None:
    """The points later than `age_s` after the stamp, bit for bit, times still from that stamp. None with fewer than 10."""
    first = int(np.searchsorted(trajectory.t_s, age_s, side="right"))
    if len(trajectory.t_s) - first < LEAST_POINTS:
        return None
    return replace(trajectory, **{name: value[first:] for name, value in vars(trajectory).items()})
