"""Traces parsed, trajectories named, and the one rule that compares the two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.reasoning import clean, consistent, meta_actions, parse_trace, shuffled_consistency
from alpamayo_ros.types import (
    HORIZON,
    STEP_S,
    Decision,
    InvalidInput,
    Lateral,
    LateralAction,
    Longitudinal,
    LongitudinalAction,
    MetaAction,
    Trajectory,
)

PAIRS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "reasoning_pairs.yaml").read_text())


def series(pieces: Sequence[tuple[float, float]]) -> np.ndarray:
    """64 values of (seconds, value) pieces, 0 after the last."""
    values = np.concatenate([[], *[np.full(round(seconds / STEP_S), value) for seconds, value in pieces]])
    return np.pad(values, (0, HORIZON))[:HORIZON]


def drive(
    v0: float,
    accel: Sequence[tuple[float, float]] = (),
    curvature: Sequence[tuple[float, float]] = (),
    reverse: bool = False,
) -> Trajectory:
    """The motion of a pair; braking holds at standstill unless it may reverse."""
    accels, speed = series(accel), v0
    for i, a in enumerate(accels):
        if not reverse:
            accels[i] = max(a, -speed / STEP_S)
        speed += accels[i] * STEP_S
    return trajectory(accels, series(curvature), v0)


def motion(pair: dict[str, Any]) -> tuple[MetaAction, ...]:
    path = drive(pair["v0"], pair.get("accel", ()), pair.get("curvature", ()), pair.get("reverse", False))
    return meta_actions(path, pair["v0"])


def labelled(pair: dict[str, Any]) -> Decision:
    return Decision(pair.get("long"), pair.get("lat"), pair.get("side"))
