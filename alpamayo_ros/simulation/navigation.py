"""What navigation says on the way."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.simulation.scenario import Command, Scenario
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import STEP_S, Navigation


def command_at(scenario: Scenario, ego: Ego) -> Command | None:
    """What navigation says here: the next of the commands that are given and not carried out yet."""
    if not scenario.commands:
        return None
    along_m = _along_m(scenario, ego)
    given = [command for command in scenario.commands if command.given_from_m <= along_m < command.until_m]
    return min(given, key=lambda command: command.at_m, default=None)


def navigation_at(scenario: Scenario, ego: Ego, stamp_ns: int) -> Navigation | None:
    """The command that holds for the ego at an instant, as its message has it; said anew, or not, at the world's next step."""
    command = command_at(scenario, ego)
    if command is None:
        return None
    distance_m = float(np.float32(max(command.at_m - _along_m(scenario, ego), 0.0)))
    return Navigation(command.maneuver, distance_m, command.road_name, stamp_ns + round(STEP_S * 1e9))


def _along_m(scenario: Scenario, ego: Ego) -> float:
    return float(scenario.route.locate(ego.xy_m)[0])
