"""A drive at any instant: between the steps of the world, as sensors that keep another time see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.state import Body, Ego, Snapshot
from alpamayo_ros.simulation.vehicle.bicycle import DRIVE_STEP_S
from alpamayo_ros.types import F64, STEP_S, InvalidInput

_NEARLY = 1e-6  # of a step: an instant this near to one is that one


def end_s(episode: Episode) -> float:
    """When the drive ended, s: after its duration, or at its incident."""
    return min(episode.snapshots[-1].t_s, episode.scenario.duration_s)


def at(episode: Episode, t_s: float) -> Snapshot:
    """The world at an instant of the drive: places and headings linear between its steps, all else as at the step before.

    At a step it is that step's own snapshot. The ego is interpolated between its hundredths of a second. Raises InvalidInput
    for an instant outside the drive.
    """
    step, part = _step(t_s, STEP_S, len(episode.snapshots))
    before = episode.snapshots[step]
    if not part:
        return before
    after = {body.name: body for body in episode.snapshots[step + 1].bodies}
    bodies = tuple(_body_between(body, after.get(body.name, body), part) for body in before.bodies)
    return Snapshot(t_s, ego_at(episode, t_s), bodies, before.lights)


def ego_at(episode: Episode, t_s: float) -> Ego:
    """The ego at an instant of the drive, linear between its hundredths of a second. Raises InvalidInput outside of it."""
    step, part = _step(t_s, DRIVE_STEP_S, len(episode.egos))
    before = episode.egos[step]
    if not part:
        return before
    after = episode.egos[step + 1]
    return replace(
        before,
        xy_m=_between(before.xy_m, after.xy_m, part),
        yaw_rad=_yaw_between(before.yaw_rad, after.yaw_rad, part),
        speed_mps=before.speed_mps + part * (after.speed_mps - before.speed_mps),
        accel_mps2=before.accel_mps2 + part * (after.accel_mps2 - before.accel_mps2),
        steering_rad=before.steering_rad + part * (after.steering_rad - before.steering_rad),
    )


def _step(t_s: float, step_s: float, steps: int) -> tuple[int, float]:
    """The step at or before an instant, and which part of the next one has passed by then, 0 at a step."""
    exact = t_s / step_s
    if not -_NEARLY < exact < steps - 1 + _NEARLY:
        raise InvalidInput(f"no state at {t_s:g} s: the drive lasts from 0 to {(steps - 1) * step_s:g} s")
    if abs(exact - round(exact)) < _NEARLY:
        return round(exact), 0.0
    return int(exact), exact - int(exact)


def _body_between(before: Body, after: Body, part: float) -> Body:
    xy_m = _between(before.xy_m, after.xy_m, part)
    return replace(before, xy_m=xy_m, yaw_rad=_yaw_between(before.yaw_rad, after.yaw_rad, part))


def _between(before: F64, after: F64, part: float) -> F64:
    return before + part * (after - before)


def _yaw_between(before_rad: float, after_rad: float, part: float) -> float:
    """The shorter way round."""
    turn = (after_rad - before_rad + np.pi) % (2 * np.pi) - np.pi
    return float(before_rad + part * turn)
