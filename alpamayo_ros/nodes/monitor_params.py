"""What can be set on the monitor node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from alpamayo_ros.nodes.params import About


@dataclass(frozen=True)
class MonitorParams:
    """The rig and the timing are to be the planner's own."""

    rig: Annotated[str, About("rig: a name from config/rigs or a .yaml file")] = "seven_camera"
    planner: Annotated[str, About("planner node to watch; a relative name is in the monitor's namespace")] = "alpamayo_planner"
    cameras: Annotated[tuple[str, ...], About("cameras that the planner needs; none named is all of the rig")] = ()
    out: Annotated[str, About("file for the breaches, a JSON object a line; empty is none")] = ""
    max_plan_hz: Annotated[float, About("as the planner's: at most this many plans a second", 0.1, 100)] = 10.0
    stop_after_ms: Annotated[
        float, About("as the planner's: without a plan for so long it stops, ms; 0: 5 periods", 0, 60_000)
    ] = 0.0
    max_plan_age_ms: Annotated[float, About("as the planner's: no plan is older, ms; 0: 10 periods", 0, 60_000)] = 0.0
    parent: Annotated[int, About("process id of who started the node: it ends with that process; 0 is off", 0, 2**31 - 1)] = 0
