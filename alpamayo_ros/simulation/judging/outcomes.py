"""What a drive was worth: every number of one episode.

Sources: *AlpaSim*, its scorers and `scene_score`; *nuPlan*, its bounds of comfort. Numbers about many episodes, such as the
distance between incidents, are made of these by whoever sums them up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.evaluation.metrics import (
    COMFORT_BOUNDS,
    consistency_share,
    deviation_m,
    heading_error_rad,
    kept,
    quantities_by_actions,
)
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.judging.footprints import clearance_m, ego_pose
from alpamayo_ros.simulation.judging.incidents import violations_of
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.simulation.vehicle.tracking import DRIVES
from alpamayo_ros.types import F64, STEP_S, Trajectory

FULL_PROGRESS = 0.8  # AlpaSim: as much of the way counts as all of it
SHORT_WAY_M = 5.0  # AlpaSim: a way shorter than this counts as driven
CLOSE_M = 0.5  # a close encounter, ours: the Alpamayo-R1 paper counts them and gives no distance
MOVES_MPS = 0.5  # slower than this, coming close is the others' doing
WRONG_WAY_RAD = 2 * math.pi / 3  # AlpaSim: a lane is the wrong one above this angle


@dataclass(frozen=True)
class Outcome:
    """The numbers of one episode; None where there is nothing to count."""

    family: str
    seed: int
    policy: str
    driven_s: float
    driven_km: float
    collision_front: bool  # AlpaSim, as the next five; at most one, for the first one ends the drive
    collision_lateral: bool
    collision_rear: bool
    collision_any: bool
    collision_at_fault: bool  # front or lateral
    offroad: bool
    incident_s: float | None
    incident_with: str
    failure: str
    close_encounter: bool  # a collision, or nearer than CLOSE_M to any body while driving
    min_distance_to_obstacle_m: float | None  # AlpaSim
    progress: float  # 0 .. 1 of the expert's way in the same scene; AlpaSim's progress_clipped_rel is of the recording's
    goal_share: float  # 0 .. 1 of the way to the scenario's goal, which a competent drive reaches
    scene_score: (
        float  # AlpaSim: 0 for a collision at fault, for leaving the road, for a failure; else progress / 0.8, at most 1
    )
    red_lights_run: int
    stop_signs_run: int
    wrong_lane_s: float  # AlpaSim wrong_lane, on the route: the centre is in a lane of the other direction
    comfort: Mapping[str, bool]  # COMFORT_BOUNDS over the whole drive at 10 Hz
    plans: int
    refused: int  # planning cycles without a plan
    plan_deviation_m: float | None  # AlpaSim: mean over consecutive plans
    consistent: float | None  # share of the traces that agree with their trajectory
    consistent_by_chance: float | None

    @property
    def comfortable(self) -> bool:
        """nuPlan: within every bound at all times."""
        return all(self.comfort.values())

    def values(self) -> dict[str, str | int | float | bool | None]:
        """Every number by name, flat, fit for JSON: comfort is whether the drive was comfortable, comfort_jerk one bound."""
        flat = {field.name: getattr(self, field.name) for field in fields(self)}
        return flat | {"comfort": self.comfortable} | {f"comfort_{bound}": ok for bound, ok in self.comfort.items()}


def outcome(episode: Episode, reference_m: float) -> Outcome:
    """All numbers of one episode; the reference is how far the expert came in the same scene, see `way_m`.

    The warm-up counts for nothing: it is the expert's. A drive that ended in it failed by a defect of the scene.
    """
    scenario = episode.scenario
    policy_drove, snapshots, egos = _own(episode)
    incident = episode.incident if policy_drove else None
    failure = episode.failure or ("" if policy_drove else f"{episode.incident} in the warm-up: a defect of the scene")
    kind = incident.kind if incident else None
    collides, at_fault = kind not in (None, "offroad"), bool(incident and incident.at_fault)
    progress = 1.0 if reference_m < SHORT_WAY_M else min(way_m(episode) / reference_m, 1.0)
    clearances = np.array([*(clearance_m(snapshot) for snapshot in snapshots), 0.0 if collides else np.inf])
    moves = np.array([snapshot.ego.speed_mps > MOVES_MPS for snapshot in snapshots])
    kinds = [violation.kind for violation in violations_of(scenario, snapshots)]
    agree, by_chance = consistency_share([planned.plan for planned in episode.planned if planned.plan])
    deviations = plan_deviations_m(episode.planned)
    return Outcome(
        family=scenario.family,
        seed=scenario.seed,
        policy=episode.policy,
        driven_s=snapshots[-1].t_s - snapshots[0].t_s,
        driven_km=_length_m(egos) / 1000,
        collision_front=kind == "collision_front",
        collision_lateral=kind == "collision_lateral",
        collision_rear=kind == "collision_rear",
        collision_any=collides,
        collision_at_fault=collides and at_fault,
        offroad=kind == "offroad",
        incident_s=incident.t_s if incident else None,
        incident_with=incident.thing if incident else "",
        failure=failure,
        close_encounter=collides or bool((clearances[:-1][moves] < CLOSE_M).any()),
        min_distance_to_obstacle_m=float(clearances.min()) if np.isfinite(clearances).any() else None,
        progress=progress,
        goal_share=goal_share(episode),
        scene_score=0.0 if at_fault or failure else min(progress / FULL_PROGRESS, 1.0),
        red_lights_run=kinds.count("red_light"),
        stop_signs_run=kinds.count("stop_sign"),
        wrong_lane_s=STEP_S * sum(_wrong_lanes(scenario.route, snapshots)),
        comfort=comfort_of(egos),
        plans=sum(planned.trajectory is not None and not planned.refused for planned in episode.planned),
        refused=sum(planned.trajectory is None or bool(planned.refused) for planned in episode.planned),  # a stop has both
        plan_deviation_m=float(np.mean(deviations)) if deviations else None,
        consistent=agree,
        consistent_by_chance=by_chance,
    )


def way_m(episode: Episode) -> float:
    """How far along its route a drive came on the route's own ground, from where the warm-up ended. Never negative."""
    _, snapshots, _ = _own(episode)
    along, left = episode.scenario.route.locate(np.array([snapshot.ego.xy_m for snapshot in snapshots]))
    followed = along[_on_route(episode.scenario.route, along, left)]
    return max(float(followed[-1] - along[0]), 0.0) if len(followed) else 0.0


def goal_share(episode: Episode) -> float:
    """How much of the way from where the warm-up ended to the scenario's goal was driven, 0 .. 1; 1 where there is no way."""
    _, snapshots, _ = _own(episode)
    to_goal_m = episode.scenario.goal_m - float(episode.scenario.route.locate(snapshots[0].ego.xy_m)[0])
    return 1.0 if to_goal_m < SHORT_WAY_M else min(way_m(episode) / to_goal_m, 1.0)


class _Own(NamedTuple):
    """What the policy drove: the warm-up is the expert's."""

    policy_drove: bool  # False: the drive ended before, by a defect of the scene
    snapshots: tuple[Snapshot, ...]
    egos: tuple[Ego, ...]


def _own(episode: Episode) -> _Own:
    first = round(episode.warm_up_s / STEP_S)
    if first >= len(episode.snapshots):
        return _Own(False, episode.snapshots[-1:], episode.egos[-1:])  # noqa: FBT003 - named above
    return _Own(True, episode.snapshots[first:], episode.egos[first * DRIVES :])  # noqa: FBT003


def _on_route(route: Road, along_m: F64, left_m: F64) -> NDArray[np.bool_]:
    """Which places (N,) lie on the route's own ground: who misses the exit and drives on makes no progress."""
    found = np.zeros(len(along_m), bool)
    lanes = [(lane.from_m, lane.to_m, lane.left_m - lane.width_m / 2, lane.left_m + lane.width_m / 2) for lane in route.lanes]
    strips = [(strip.from_m, strip.to_m, strip.right_m, strip.left_m) for strip in route.strips if strip.kind != "pavement"]
    for start_m, end_m, right_edge_m, left_edge_m in (*lanes, *strips):
        found |= (start_m <= along_m) & (along_m < end_m) & (right_edge_m <= left_m) & (left_m <= left_edge_m)
    return found


def comfort_of(egos: Sequence[Ego]) -> dict[str, bool]:
    """Per name of COMFORT_BOUNDS, whether a drive of egos every 0.01 s keeps it, by the actions of its steps of 0.1 s."""
    ticks = egos[::DRIVES]
    if len(ticks) < 3:  # jerk wants two actions
        return dict.fromkeys(COMFORT_BOUNDS, True)
    speed, yaw = (np.array([getattr(ego, name) for ego in ticks]) for name in ("speed_mps", "yaw_rad"))
    covered = STEP_S * (speed[1:] + speed[:-1]) / 2
    curvature = np.divide(np.diff(yaw), covered, out=np.zeros_like(covered), where=covered > 0)
    return kept(quantities_by_actions(speed[1:], np.diff(speed) / STEP_S, curvature, STEP_S), COMFORT_BOUNDS)


def plan_deviations_m(planned: Sequence[Planned]) -> list[float]:
    """AlpaSim's plan deviation of every plan from the one before it, in the world."""
    placed = [_in_world(it.ego, it.trajectory, it.t0_s) for it in planned if it.trajectory is not None]
    deviations = [deviation_m(*earlier, *later) for earlier, later in pairwise(placed)]
    return [deviation for deviation in deviations if deviation is not None]


def _in_world(ego: Ego, trajectory: Trajectory, t0_s: float) -> tuple[F64, F64]:
    pose = ego.pose(0)
    return t0_s + trajectory.t_s, trajectory.xyz @ pose.odom_from_ego.T + pose.position


def _length_m(egos: Sequence[Ego]) -> float:
    return float(np.linalg.norm(np.diff([ego.xy_m for ego in egos], axis=0), axis=1).sum()) if len(egos) > 1 else 0.0


def _wrong_lanes(route: Road, snapshots: Sequence[Snapshot]) -> list[bool]:
    """Per snapshot, whether the ego's centre is in a lane of its route that leads the other way."""
    poses = np.array([ego_pose(snapshot.ego) for snapshot in snapshots])
    along, left = route.locate(poses[:, :2])
    _, heading = route.place(along, 0.0)
    wrong = np.zeros(len(poses), bool)
    for lane in route.lanes:
        within = (lane.from_m <= along) & (along < lane.to_m) & (np.abs(left - lane.left_m) < lane.width_m / 2)
        off = heading_error_rad(poses[:, 2], heading + (np.pi if lane.oncoming else 0.0))
        wrong |= within & (np.abs(off) > WRONG_WAY_RAD)
    return [bool(it) for it in wrong]
