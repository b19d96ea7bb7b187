"""What the expert knows at one instant: itself on its route, and whatever was in sight during the last two seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.expert.path import Stance
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.expert.things import Foresight, Thing
from alpamayo_ros.simulation.scenario import LightColour, Scenario
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, Body, Ego, Snapshot
from alpamayo_ros.types import InvalidInput

MEMORY_S = 2.0
_SAME_TIME_S = 1e-6


@dataclass(frozen=True)
class Scene:
    """The world in the route's coordinates, as far as it is known."""

    t_s: float
    ego: Ego
    stance: Stance
    things: tuple[Thing, ...]
    lights: dict[int, LightColour]  # as last seen, by index in the scenario
    in_sight: frozenset[str]  # at some time of the last two seconds

    @property
    def speed_mps(self) -> float:
        """Of the ego."""
        return self.ego.speed_mps

    @property
    def front_m(self) -> float:
        """Of the ego's front bumper along the route."""
        return self.stance.along_m + FRONT_M

    @property
    def rear_m(self) -> float:
        """Of the ego's rear bumper along the route."""
        return self.stance.along_m - REAR_M

    def thing(self, name: str) -> Thing | None:
        """A thing by name, where it is known."""
        return next((thing for thing in self.things if thing.body.name == name), None)


class Eyes:
    """Collects what is in sight, snapshot by snapshot."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._scenario = scenario
        self._route = route
        self._foresight = Foresight(scenario, route)
        self._seen_s: dict[str, float] = {}
        self._bodies: dict[str, Body] = {}
        self._lights: dict[int, LightColour] = {}
        self._newest: Snapshot | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Take in a snapshot. Raises InvalidInput for one that is not newer than the one before."""
        if self._newest is not None and snapshot.t_s < self._newest.t_s + _SAME_TIME_S:
            raise InvalidInput(f"expert: a snapshot of {snapshot.t_s} s after one of {self._newest.t_s} s")
        names = visible(self._scenario, snapshot)
        self._seen_s.update(dict.fromkeys(names, snapshot.t_s))
        self._bodies.update({body.name: body for body in snapshot.bodies if body.name in names})
        self._lights.update({i: colour for i, colour in enumerate(snapshot.lights) if f"light {i}" in names})
        self._newest = snapshot

    def glance(self) -> Scene:
        """The newest snapshot without its bodies. Raises InvalidInput before the first one."""
        if self._newest is None:
            raise InvalidInput("expert: nothing seen yet")
        ego = self._newest.ego
        return Scene(self._newest.t_s, ego, self._stance(ego), (), dict(self._lights), frozenset())

    def scene(self) -> Scene:
        """What is known at the newest snapshot. Raises InvalidInput before the first one."""
        glance = self.glance()
        now = glance.t_s
        in_sight = frozenset(name for name, t_s in self._seen_s.items() if t_s >= now - MEMORY_S - _SAME_TIME_S)
        bodies = [body for name, body in self._bodies.items() if name in in_sight]
        ages = [now - self._seen_s[body.name] for body in bodies]
        return replace(glance, things=self._foresight.things(bodies, ages), in_sight=in_sight)

    def _stance(self, ego: Ego) -> Stance:
        along, left = (float(value) for value in self._route.road.locate(ego.xy_m))
        heading = (ego.yaw_rad - self._route.heading(along) + np.pi) % (2 * np.pi) - np.pi
        return Stance(along, left, float(heading), ego.curvature_1pm)
