"""What would happen on a trajectory in the driving world, by the judging of its closed loop.

Nobody reacts: all others drive on as they did when the expert drove, as agents do in the paper's evaluation (section 6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.closed_loop.settings import tick_of
from alpamayo_ros.simulation.episode import Episode, Incident
from alpamayo_ros.simulation.judging.incidents import Grounds, incident_of
from alpamayo_ros.simulation.judging.outcomes import goal_share, way_m
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.types import HORIZON, STEP_S, InvalidInput, Trajectory


@dataclass(frozen=True)
class Surroundings:
    """The driving world from a t0 on, as it went when the expert drove; made by `surroundings_at`."""

    scenario: Scenario  # its goal is where the expert came
    grounds: Grounds  # of the scenario
    snapshots: tuple[Snapshot, ...]  # every 0.1 s; the first one at t0


def surroundings_at(episode: Episode, grounds: Grounds, t0_s: float, points: int = HORIZON) -> Surroundings:
    """What surrounds a trajectory of so many points from t0 of an expert's drive.

    Raises InvalidInput where the drive ends before the trajectory would.
    """
    scenario, first = episode.scenario, tick_of(t0_s)
    if not 0 <= first < len(episode.snapshots) - points:
        name = f"{scenario.family} {scenario.seed}"
        raise InvalidInput(f"{name}: {points} points from {t0_s:.1f} s on, the drive ends at {episode.snapshots[-1].t_s:.1f} s")
    snapshots = episode.snapshots[first : first + points + 1]
    start_m, _ = scenario.route.locate(snapshots[0].ego.xy_m)
    goal_m = float(start_m) + way_m(_episode(scenario, snapshots, None))
    return Surroundings(replace(scenario, goal_m=goal_m), grounds, snapshots)


@dataclass(frozen=True)
class Consequences:
    """What following a trajectory would have come to."""

    collision: bool  # at fault: who is hit from behind is not
    off_road: bool
    progress: float  # 0 .. 1 of the expert's way in the same time; 1 where that is under 5 m, as in all outcomes


def consequences(surroundings: Surroundings, trajectory: Trajectory) -> Consequences:
    """What the judging of the closed loop says of `drive_along`. Raises InvalidInput as that does."""
    drive = drive_along(surroundings, trajectory)
    off_road = drive.incident is not None and drive.incident.kind == "offroad"
    collision = drive.incident is not None and drive.incident.at_fault and not off_road
    return Consequences(collision, off_road, goal_share(drive))


def drive_along(surroundings: Surroundings, trajectory: Trajectory) -> Episode:
    """The drive in which the ego follows a trajectory exactly; like every drive it ends with its first incident.

    Raises InvalidInput for points that are not 0.1 s apart, and for more or fewer than the surroundings are known for.
    """
    known, n = len(surroundings.snapshots) - 1, len(trajectory.t_s)
    if n != known or not np.allclose(trajectory.t_s, STEP_S * np.arange(1, n + 1)):
        raise InvalidInput(f"drive: want {known} points {STEP_S} s apart, got {n} at {trajectory.t_s}")
    driven = [surroundings.snapshots[0]]
    for ego, others in zip(_egos(driven[0].ego, trajectory), surroundings.snapshots[1:], strict=True):
        driven.append(replace(others, ego=ego))
        if (incident := incident_of(surroundings.grounds, *driven[-2:])) is not None:
            return _episode(surroundings.scenario, tuple(driven), incident)
    return _episode(surroundings.scenario, tuple(driven), None)


def _egos(start: Ego, trajectory: Trajectory) -> list[Ego]:
    """The ego at every point; a trajectory is in the frame of the start."""
    pose = start.pose(0)
    xy = (trajectory.xyz @ pose.odom_from_ego.T + pose.position)[:, :2]
    yaw, speed = start.yaw_rad + trajectory.yaw_rad, np.maximum(trajectory.speed_mps, 0.0)  # an ego's is never negative
    return [Ego(*each) for each in zip(xy, yaw.tolist(), speed.tolist(), strict=True)]


def _episode(scenario: Scenario, snapshots: tuple[Snapshot, ...], incident: Incident | None) -> Episode:
    """A drive known at its snapshots only, without a warm-up."""
    return Episode(scenario, "rollout", snapshots, (), (), incident, warm_up_s=0.0)
