"""Somebody on a track, and what a driver keeps behind: the values that rules of the road are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.world.tracks import Track

STOP_SHORT_M = 1.0  # of a line or a crossing
JAM_M = 2.5  # between bumpers at rest
NEAREST_M = 1.8  # to what one has to brake hard for
EXTRA_BRAKING_MPS2 = 0.5  # more than it takes, to get back to the distance that one wishes

_EASY_MPS2 = 1.0  # acceleration that is expected of everybody


class Progress(NamedTuple):
    """Somebody on a track."""

    track: Track
    s_m: float  # of its centre
    speed_mps: float
    length_m: float
    width_m: float
    order: int = 0  # among those who arrive at the same moment; the ego's is negative
    halts_at_m: float = float("inf")  # progress at which it stops: a line, or somebody who stands
    yields: bool = True

    @property
    def front_m(self) -> float:
        """Progress of its front bumper."""
        return self.s_m + self.length_m / 2

    @property
    def rear_m(self) -> float:
        """Progress of its rear bumper."""
        return self.s_m - self.length_m / 2

    def after_s(self, way_m: float) -> float:
        """When it will have driven so far, if it speeds up gently."""
        return float((np.sqrt(self.speed_mps**2 + 2 * _EASY_MPS2 * max(way_m, 0.0)) - self.speed_mps) / _EASY_MPS2)


class Ahead(NamedTuple):
    """Something that a driver keeps `JAM_M` behind, at least."""

    gap_m: float  # from the front bumper
    speed_mps: float
    within_s: float | None = None  # time until it is in the way; None: it is


def hardest_mps2(gap_m: float, closing_mps: float, accel_mps2: float, within_s: float | None = None) -> float:
    """Acceleration below which nobody needs to go behind a thing of this acceleration.

    The Intelligent Driver Model brakes hard also behind somebody who is near and moves as fast, early for a line, and at once
    for somebody who is beside it now and in its way some time later.
    """
    closing = max(closing_mps, 0.0)
    if within_s is not None:
        t = max(within_s, 0.5)
        return -EXTRA_BRAKING_MPS2 - 2 * max(JAM_M + closing * t - gap_m, 0.0) / t**2
    return -1.2 * closing**2 / (2 * max(gap_m - NEAREST_M, 0.1)) - EXTRA_BRAKING_MPS2 + min(accel_mps2, 0.0)


def stop_before(way_m: float) -> Ahead:
    """A place that a driver stops short of, `way_m` ahead of its front bumper."""
    return Ahead(way_m - STOP_SHORT_M + JAM_M, 0.0)
