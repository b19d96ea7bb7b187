"""Gaps in the traffic of a lane: whether the ego fits in beside where it is, and whom to fall in behind where it does not."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import FALLING_BACK_MPS
from alpamayo_ros.simulation.expert.things import AHEAD_S, Thing
from alpamayo_ros.simulation.state import FRONT_M, REAR_M
from alpamayo_ros.types import STEP_S

LOOK_S = 3.0  # how far ahead a gap must hold
IN_LANE_M = 1.1  # whoever comes so near a lane's centre with a side takes it
AHEAD_GAP_M, AHEAD_GAP_S = 2.5, 0.25
BEHIND_GAP_M, BEHIND_GAP_S = 3.0, 0.3
FASTER_MPS, FASTER_S = 4.0, 2.0  # ahead of somebody who comes up faster than that, more room
SLOWER_S, LEAST_GAP_M = 1.2, 2.0  # ahead of somebody slower, less
SOON_S = 2.0  # where gaps are compared
CHOSEN_S = 2.0
UNDER_WAY = 0.3  # share of those gaps that is enough to go on with a change
_LOOK_STEPS = round(LOOK_S / STEP_S)


def in_lane(scene: Scene, left_m: float) -> list[Thing]:
    """Who is in a lane or about to be, the same way as the ego or standing, the farthest first."""
    found = [
        thing
        for thing in scene.things
        if (thing.fixed or np.cos(thing.heading_rad[0]) > 0.3 or thing.stands)
        and float((np.abs(thing.left_m[:_LOOK_STEPS] - left_m) - thing.half_left_m[:_LOOK_STEPS]).min()) < IN_LANE_M
    ]
    return sorted(found, key=lambda thing: -float(thing.along_m[0]))


def obstructing(scene: Scene, left_m: float, share: float = 1.0) -> Thing | None:
    """Who leaves the ego no room in a lane, now or within 3 s; None: the gap is free."""
    for thing in in_lane(scene, left_m):
        if _room_m(scene, thing) < share * _wanted_m(scene, thing):
            return thing
    return None


def leader_of_gap(scene: Scene, left_m: float, limit_mps: float, chosen: str) -> Thing | None:
    """Whom to fall in behind in a lane: the one before the gap that is reached first; None: nobody.

    The gap behind the one who was chosen before is taken to be nearer than it is.
    """
    queue = [thing for thing in in_lane(scene, left_m) if not thing.fixed]
    middle, half = scene.stance.along_m + (FRONT_M - REAR_M) / 2, (FRONT_M + REAR_M) / 2
    best, found = np.inf, None
    for ahead, behind in zip([None, *queue], [*queue, None], strict=True):
        low = behind.front_m + BEHIND_GAP_M + BEHIND_GAP_S * behind.body.speed_mps + half if behind else -np.inf
        high = ahead.rear_m - AHEAD_GAP_M - AHEAD_GAP_S * scene.speed_mps - half if ahead else np.inf
        beside = ahead or behind
        if high < low or beside is None:
            continue
        its = beside.body.speed_mps
        soon = middle + SOON_S * (scene.speed_mps - its)
        time = max(low - soon, 0.0) / max(limit_mps - its, 0.5) + max(soon - high, 0.0) / FALLING_BACK_MPS
        time -= CHOSEN_S if (ahead.body.name if ahead else "") == chosen else 0.0
        if time < best:
            best, found = time, ahead
    return found


def _room_m(scene: Scene, thing: Thing) -> float:
    """The least distance between bumpers within the time looked ahead, the ego at its speed; negative: side by side."""
    ego = scene.stance.along_m + scene.speed_mps * AHEAD_S[: _LOOK_STEPS + 1]
    along, half = thing.along_m[: _LOOK_STEPS + 1], thing.half_along_m[: _LOOK_STEPS + 1]
    if _is_ahead(scene, thing):
        return float((along - half - ego - FRONT_M).min())
    return float((ego - REAR_M - along - half).min())


def _wanted_m(scene: Scene, thing: Thing) -> float:
    if _is_ahead(scene, thing):
        return AHEAD_GAP_M + AHEAD_GAP_S * scene.speed_mps
    faster = thing.body.speed_mps - scene.speed_mps
    more = FASTER_S * max(faster - FASTER_MPS, 0.0) + SLOWER_S * min(faster, 0.0)
    return max(BEHIND_GAP_M + BEHIND_GAP_S * thing.body.speed_mps + more, LEAST_GAP_M)


def _is_ahead(scene: Scene, thing: Thing) -> bool:
    return float(thing.along_m[0]) > scene.stance.along_m + (FRONT_M - REAR_M) / 2
