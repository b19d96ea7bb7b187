"""A scenario as a stage: what stands still is built once; each snapshot adds what moves, and cameras look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.simulation.rendering import scenery, signs
from alpamayo_ros.simulation.rendering.faces import Faces, chosen, faces, joined, moved
from alpamayo_ros.simulation.rendering.ground import Grid, ground, lanes_of
from alpamayo_ros.simulation.rendering.light import light_of
from alpamayo_ros.simulation.rendering.scene import Flat, Scene, flat
from alpamayo_ros.simulation.rendering.solids import Solids, posed, solids, together, within
from alpamayo_ros.simulation.scenario import LightColour, Scenario, Scenery, Sign, TrafficLight
from alpamayo_ros.simulation.state import Body, Snapshot, footprint_m
from alpamayo_ros.types import F64, U8, InvalidInput

BY_DAY = Grid(12.0, 100.0, 15.0)
BY_NIGHT = Grid(4.0, 1.75, 6.0)  # a face has one colour, and the headlights' light falls off
MAX_SHADOW_M = 4.0
SHADOWS_WITHIN_M = 90.0
_SHADE = 0.55  # of the asphalt's colour
_TEXTURES = 11  # a stream of random numbers


class Stage:
    """What stands still in a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.light = light_of(scenario.look)
        rng = np.random.default_rng([scenario.look.texture_seed, _TEXTURES])
        below = ground(scenario, BY_NIGHT if self.light.beam.any() else BY_DAY, rng)
        self._asphalt, self._field = self.light.on_ground(np.array([below.asphalt, below.field], np.float64))
        self._ground = flat(below.faces._replace(colours=self.light.on_ground(below.faces.colours)))
        self._far = scenery.horizon(self.light, below.field, rng)
        self._standing = self._solids([*self._signs(), *self._scenery(rng)])
        self._lights = [self._traffic_light(light) for light in scenario.lights]

    def scene(self, snapshot: Snapshot) -> Scene:
        """What is near the ego. Raises InvalidInput for a snapshot that shows another number of traffic lights."""
        if len(snapshot.lights) != len(self._lights):
            raise InvalidInput(f"a stage with {len(self._lights)} traffic lights, a snapshot with {len(snapshot.lights)}")
        xy, reach_m = snapshot.ego.xy_m, self.light.range_m
        bodies = [body for body in snapshot.bodies if float(np.hypot(*(body.xy_m - xy))) < reach_m]
        lights = [variants[colour] for variants, colour in zip(self._lights, snapshot.lights, strict=True)]
        standing = within(together([self._standing, *lights]), xy, reach_m)
        return Scene(
            far=self._far,
            ground=_near(self._ground, flat(self._shadows(bodies, xy)), xy, reach_m),
            solids=together([standing, posed(bodies, snapshot.t_s, self.light)]),
            light=self.light,
            asphalt=self._asphalt,
            field=self._field,
            ego=snapshot.ego,
            noise_sigma=self.scenario.look.noise_sigma,
            rain=self.scenario.look.weather == "rain",
        )

    def picture(self, snapshot: Snapshot, lens: Pinhole, odom_from_optical: F64, noise_key: Sequence[int]) -> U8:
        """What a camera at a pose (4, 4) sees: RGB (height, width, 3); the same arguments give the same bytes.

        Raises InvalidInput for a lens with distortion, a camera that is rolled, and a snapshot of another scenario.
        """
        return self.scene(snapshot).picture(lens, odom_from_optical, noise_key)

    def _solids(self, things: Sequence[tuple[Faces, F64]]) -> Solids:
        return solids([thing for thing, _ in things], [place for _, place in things], self.light)

    def _place(self, road: int, along_m: float, left_m: float) -> tuple[F64, float]:
        xy, yaw = self.scenario.roads[road].place(along_m, left_m)
        return np.append(xy, 0.0), float(yaw)

    def _signs(self) -> Iterator[tuple[Faces, F64]]:
        for sign in self.scenario.signs:
            place, yaw = self._place(sign.road, sign.along_m, sign.left_m)
            yield moved(signs.sign(sign), place, yaw + self._against(sign)), place

    def _against(self, sign: Sign) -> float:
        lanes = lanes_of(self.scenario.roads[sign.road], sign)
        return np.pi if lanes and lanes[0].oncoming else 0.0

    def _traffic_light(self, light: TrafficLight) -> dict[LightColour, Solids]:
        """One with each lamp lit; it faces who waits at its stop line."""
        road = self.scenario.roads[light.road]
        place, _ = self._place(light.road, *light.lamp_m)
        _, yaw = self._place(light.road, light.stop_line_m, 0.0)
        turned = np.pi if all(road.lane(name).oncoming for name in light.lanes) else 0.0
        colours: tuple[LightColour, ...] = ("green", "yellow", "red")
        return {colour: self._solids([(moved(signs.traffic_light(colour), place, yaw + turned), place)]) for colour in colours}

    def _scenery(self, rng: np.random.Generator) -> Iterator[tuple[Faces, F64]]:
        for thing in self.scenario.scenery:
            place, yaw = self._place(thing.road, thing.along_m, thing.left_m)
            for part in self._parts(thing, rng):
                there = moved(part, place, yaw)
                yield there, there.corners.mean(axis=(0, 1))

    def _parts(self, thing: Scenery, rng: np.random.Generator) -> list[Faces]:
        return scenery.building(thing, self.light.lamps_lit, rng) if thing.kind == "building" else [scenery.tree(thing, rng)]

    def _shadows(self, bodies: Sequence[Body], xy_m: F64) -> Faces:
        """Footprints, swept away from the sun where it shines."""
        near = [body for body in bodies if float(np.hypot(*(body.xy_m - xy_m))) < SHADOWS_WITHIN_M]
        if not near:
            return faces([], self._asphalt)
        foot = np.array([footprint_m(body) for body in near])
        outlines = [foot]
        if self.light.sun.sum() > 0.3:
            heights = np.array([body.size.height_m for body in near])
            long = np.minimum(heights * np.hypot(*self.light.to_sun[:2]) / self.light.to_sun[2], MAX_SHADOW_M)
            shift = (-long[:, None] * self.light.to_sun[:2] / np.hypot(*self.light.to_sun[:2]))[:, None]
            edges = np.stack([foot, np.roll(foot, -1, axis=1), np.roll(foot, -1, axis=1) + shift, foot + shift], axis=2)
            outlines += [foot + shift, edges.reshape(-1, 4, 2)]
        corners = np.concatenate(outlines)
        return faces(np.concatenate([corners, np.zeros((len(corners), 4, 1))], axis=2), _SHADE * self._asphalt, least_px=0.5)


def _near(static: Flat, shadows: Flat, xy_m: F64, range_m: float) -> Flat:
    away = static.centres_m[:, :2] - xy_m
    index = np.flatnonzero(np.einsum("ni,ni->n", away, away) < (range_m + static.radii_m) ** 2)
    return Flat(
        joined([chosen(static.faces, index), shadows.faces]),
        np.concatenate([static.centres_m[index], shadows.centres_m]),
        np.concatenate([static.radii_m[index], shadows.radii_m]),
        np.concatenate([static.reach_m[index], shadows.reach_m]),
    )
