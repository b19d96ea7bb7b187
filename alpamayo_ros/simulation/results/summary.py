"""Many drives summed up: one row per driver, over all scenes and per family, every rate with its interval.

A scene is the unit: scenes are resampled, so intervals say what other scenes of the same kind would give. Definitions are
AlpaSim's where it has one (`outcomes`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from alpamayo_ros.evaluation.statistics import RESAMPLES, Estimate, estimate
from alpamayo_ros.simulation.judging.outcomes import CLOSE_M, Outcome
from alpamayo_ros.types import F64, InvalidInput

NONE_SEEN = 2.996
"""Events expected at most, with 95 % confidence, where none was seen: -ln 0.05 of a Poisson count."""


Z = 1.959964
"""Of a normal distribution, 95 % lie within so many standard deviations."""


class Measure(NamedTuple):
    """A number of an episode whose mean over scenes is shown."""

    title: str
    kind: Literal["share", "number"]
    means: str


MEASURES = {
    "scene_score": Measure(
        "scene score", "number", "AlpaSim: 0 for an at-fault incident, ours: or a failure; else progress / 0.8, at most 1"
    ),
    "at_fault": Measure("at-fault incidents", "share", "scenes with a collision at fault or off the road"),
    "collision_front": Measure("collisions front", "share", "AlpaSim: the body touches the ego's front end"),
    "collision_lateral": Measure("collisions lateral", "share", "AlpaSim: neither its front nor its rear end"),
    "collision_rear": Measure("collisions rear", "share", "AlpaSim: its rear end only; not at fault"),
    "offroad": Measure("off the road", "share", "AlpaSim: a corner outside lanes, shoulders and parking"),
    "close_encounter": Measure(
        "close encounters", "share", f"nearer than {CLOSE_M} m (ours) to a body, or a collision; driving"
    ),
    "progress": Measure("progress", "number", "share of the expert's way in the same scene; AlpaSim's is of a recording's"),
    "goal_share": Measure("way to the goal", "number", "share of the way to where a competent driver comes, at most 1"),
    "comfort": Measure("comfort", "share", "drives within all of nuPlan's bounds at all times; who stands is comfortable"),
    "red_lights_run": Measure("red lights run", "number", "per scene; the front crossed a stop line on red"),
    "stop_signs_run": Measure("stop signs run", "number", "per scene; the front crossed a stop sign's line without standing"),
    "wrong_lane_s": Measure("in an oncoming lane, s", "number", "AlpaSim wrong_lane, in the route's direction"),
    "plan_deviation_m": Measure("plan deviation, m", "number", "AlpaSim: of a plan from the one before"),
    "consistent": Measure("consistent traces", "number", "share of the traces that name a decision, with their trajectory"),
    "failed": Measure("failures", "share", "the driver crashed, hung or went silent"),
}
"""By name, in the order of the tables."""


class Distance(NamedTuple):
    """Mean distance between incidents: all kilometres / incidents (AlpaSim's avg_dist_between_incidents).

    Failures count as incidents, ours: who goes silent before the crash has not driven safely.
    Without an incident the mean is None and `low` is what can be claimed with 95 % confidence.
    """

    km: float | None
    low_km: float | None
    high_km: float | None
    driven_km: float
    incidents: int


@dataclass(frozen=True)
class Standing:
    """What the drives of one driver came to; a measure that no episode has is left out."""

    driver: str
    outcomes: tuple[Outcome, ...]
    means: dict[str, Estimate]
    between_incidents: Distance  # any collision or leaving the road
    between_at_fault: Distance

    @property
    def at_fault_per_km(self) -> float:
        """At-fault incidents per kilometre driven; 0 where nothing was driven."""
        distance = self.between_at_fault
        return distance.incidents / distance.driven_km if distance.driven_km else 0.0


def stand(driver: str, outcomes: Sequence[Outcome]) -> Standing:
    """A row. Raises InvalidInput for no episode."""
    if not outcomes:
        raise InvalidInput(f"{driver}: no episode to sum up")
    scenes = [(outcome.family, outcome.seed) for outcome in outcomes]
    means = {}
    rows = [outcome.values() | {"at_fault": _at_fault(outcome), "failed": bool(outcome.failure)} for outcome in outcomes]
    for name, measure in MEASURES.items():
        values = [None if (value := row[name]) is None else float(value) for row in rows]
        if any(value is not None for value in values):
            means[name] = _share(values) if measure.kind == "share" else estimate(values, scenes)
    km = np.array([outcome.driven_km for outcome in outcomes])
    any_incident = np.array([outcome.collision_any or outcome.offroad or bool(outcome.failure) for outcome in outcomes], float)
    at_fault = np.array([_at_fault(outcome) or bool(outcome.failure) for outcome in outcomes], float)
    return Standing(driver, tuple(outcomes), means, _distance(km, any_incident), _distance(km, at_fault))


def failures(standings: Sequence[Standing]) -> list[str]:
    """Which drives failed and why, a sentence each."""
    return [
        f"{standing.driver}, {outcome.family} {outcome.seed}: {outcome.failure}"
        for standing in standings
        for outcome in standing.outcomes
        if outcome.failure
    ]


def by_family(standing: Standing) -> dict[str, Standing]:
    """The same per family, in the order of their first scene."""
    families = dict.fromkeys(outcome.family for outcome in standing.outcomes)
    return {name: stand(standing.driver, [o for o in standing.outcomes if o.family == name]) for name in families}


def _share(values: Sequence[float | None]) -> Estimate:
    """A share of scenes and its 95 % interval (Wilson, 1927), which is not empty where all scenes are alike."""
    known = [value for value in values if value is not None]
    n, mean = len(known), sum(known) / len(known)
    middle, scale = mean + Z**2 / (2 * n), 1 + Z**2 / n
    half = Z * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return Estimate(mean, max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0), n, n)


def _at_fault(outcome: Outcome) -> bool:
    return outcome.collision_at_fault or outcome.offroad


def _distance(km: F64, incidents: F64) -> Distance:
    driven, count = float(km.sum()), int(incidents.sum())
    if count == 0:
        return Distance(None, driven / NONE_SEEN, None, driven, 0)
    drawn = np.random.default_rng(0).integers(len(km), size=(RESAMPLES, len(km)))
    seen = incidents[drawn].sum(axis=1)
    between = np.divide(km[drawn].sum(axis=1), seen, out=np.full(RESAMPLES, np.inf), where=seen > 0)
    low, high = np.quantile(between, [0.025, 0.975], method="nearest")
    return Distance(driven / count, float(low), float(high) if np.isfinite(high) else None, driven, count)
