"""What can be seen from the ego, by rule and on the pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from simulation.made import busy, scenario, snapshot

from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures, rig_at
from alpamayo_ros.simulation.scenario import Crosswalk, Look, Scenario, Scenery, Sign, TrafficLight
from alpamayo_ros.simulation.state import Body, BodyKind, Ego, Snapshot
from alpamayo_ros.types import ROLES

EVER = {"route", "road"}


def body(kind: BodyKind, x: float, y: float, name: str = "it", yaw: float = 0.0) -> Body:
    return Body(name, kind, np.array([x, y], np.float64), yaw, 0.0)


def seen(*bodies: Body, of: Scenario | None = None, x: float = 0.0, y: float = 0.0, yaw: float = 0.0) -> set[str]:
    """What is seen on the street from a place, besides what always is."""
    of = scenario() if of is None else of
    ego = Ego(np.array([x, y], np.float64), yaw, 8.0)
    return set(visible(of, Snapshot(0.0, ego, bodies, tuple(light.colour(0.0) for light in of.lights)))) - EVER


def far(kind: BodyKind, look: Look = Look(), angle: float = 0.0) -> float:  # noqa: B008
    """The distance from the eye up to which a body of a kind is seen, m."""
    of = scenario(look=look)
    away = [d for d in np.arange(5.0, 120.0) if seen(body(kind, 1.8 + d * np.cos(angle), d * np.sin(angle)), of=of)]
    assert away == list(np.arange(5.0, 5.0 + len(away)))  # nothing is seen again farther away
    return float(away[-1])


def test_the_road_and_the_route_are_always_known() -> None:
    assert visible(scenario(), snapshot(scenario())) == EVER


def test_what_is_larger_on_the_picture_is_seen_farther() -> None:
    assert far("car") == 90.0
    assert far("pedestrian") == far("cone") == 60.0
    aside = {kind: far(kind, angle=0.6) for kind in ("truck", "car", "pedestrian", "cone")}
    assert list(aside.values()) == [88.0, 40.0, 48.0, 22.0]  # a pixel high at 27.7 px per rad
    assert far("car", angle=np.pi) == far("car", angle=0.2) == far("car", angle=-0.2) == 90.0
    assert far("car", angle=0.26) < 45.0


def test_less_is_seen_in_fog_and_by_night() -> None:
    fog, night = Look(weather="fog"), Look(daylight="night")
    assert far("car", fog) < 0.8 * far("car")
    assert far("pedestrian", fog) < 0.8 * far("pedestrian")
    assert far("pedestrian", night) < far("pedestrian")
    assert far("car", night) == far("car")  # its lamps
    assert far("parked_car", night) < far("parked_car")


def test_a_truck_hides_a_child_and_a_cone_does_not() -> None:
    child = body("child", 26.0, 0.0, "child")
    assert seen(child) == {"child"}
    assert "child" not in seen(child, body("truck", 18.0, 0.0))
    assert seen(child, body("cone", 23.0, 0.0)) == {"child", "it"}
    assert "child" in seen(child, body("truck", 18.0, 3.0))


def test_who_is_taller_than_what_stands_before_them_is_seen() -> None:
    behind = 18.0
    assert "it" in seen(body("pedestrian", behind, 0.0), body("car", 14.0, 0.0, "car"))
    assert "it" not in seen(body("child", behind, 0.0), body("car", 14.0, 0.0, "car"))


def test_somebody_half_hidden_is_seen() -> None:
    assert "it" in seen(body("car", 30.0, 1.2), body("truck", 18.0, -0.8, "truck"))


def test_a_building_hides_who_comes_and_a_trunk_does_not() -> None:
    comes = body("car", 30.0, -20.0)
    house = Scenery("building", 0, 18.0, -10.0, 10.0, 8.0, 6.0, (120, 110, 100))
    assert seen(comes) == {"it"}
    assert not seen(comes, of=scenario(scenery=(house,)))
    assert seen(comes, of=scenario(scenery=(replace(house, kind="tree", height_m=9.0),))) == {"it"}


def test_the_crown_of_a_tree_hides_a_lamp() -> None:
    lit = scenario(lights=(light(),))
    crown = Scenery("tree", 0, 80.0, -4.5, 6.0, 6.0, 7.0, (40, 90, 40))
    assert seen(of=lit, x=60.0) == {"light 0"}
    assert not seen(of=replace(lit, scenery=(crown,)), x=60.0)


def light(lanes: tuple[str, ...] = ("ego", "left")) -> TrafficLight:
    return TrafficLight(0, 90.0, lanes, (("red", 8.0), ("green", 8.0)), 0.0, (100.0, -4.5))


def test_a_light_is_seen_from_before_it_and_from_its_own_direction_only() -> None:
    of = scenario(lights=(light(),))
    assert seen(of=of, x=50.0) == {"light 0"}
    assert not seen(of=of, x=20.0)  # too far
    assert not seen(of=of, x=105.0)  # passed
    assert not seen(of=of, x=150.0, yaw=np.pi)  # from behind
    assert not seen(of=of, x=50.0, yaw=np.pi)  # behind us
    assert seen(of=of, x=90.0) == {"light 0"}  # 29 degrees to the right
    assert not seen(of=of, x=90.0, yaw=0.6)  # 63 degrees, beside the front camera's picture
    assert not seen(of=scenario(lights=(light(("oncoming",)),)), x=50.0)
    assert seen(of=scenario(lights=(light(("oncoming",)),)), x=125.0, y=7.0, yaw=np.pi) == {"light 0"}


def test_a_light_is_seen_through_fog_and_a_sign_is_not() -> None:
    look = Look(weather="fog")
    assert seen(of=scenario(lights=(light(),), look=look), x=40.0) == {"light 0"}
    sign = Sign("stop", 0, 100.0, -3.0, stop_line_m=101.0)
    assert seen(of=scenario(signs=(sign,)), x=50.0) == {"sign 0"}
    assert not seen(of=scenario(signs=(sign,), look=look), x=50.0)


def test_signs_of_the_other_direction_are_not_read() -> None:
    sign = Sign("stop", 0, 100.0, 9.5, stop_line_m=101.0)
    assert not seen(of=scenario(signs=(sign,)), x=70.0)
    assert seen(of=scenario(signs=(sign,)), x=130.0, y=7.0, yaw=np.pi) == {"sign 0"}


def test_a_crosswalk_is_seen_from_near_unless_the_car_ahead_stands_on_it() -> None:
    of = scenario(crosswalks=(Crosswalk(0, 60.0, 64.0),))
    assert seen(of=of, x=30.0) == {"crosswalk 0"}
    assert not seen(of=of, x=5.0)
    trucks = [body("truck", 45.0, y, f"truck {y:g}") for y in (0.0, 2.6, 5.2, 7.8)]
    assert "crosswalk 0" not in seen(*trucks, of=of, x=30.0)


def test_scenarios_seen_in_turns_are_not_mixed_up() -> None:
    many = [scenario(crosswalks=(Crosswalk(0, 60.0 + k, 64.0 + k),) * (k % 3)) for k in range(20)]
    first = [seen(of=of, x=40.0) for of in many]
    assert first == [seen(of=of, x=40.0) for of in many]
    assert [len(names) for names in first] == [k % 3 for k in range(20)]


@pytest.fixture(scope="module")
def changes() -> Callable[[Scenario, Snapshot, Snapshot], int]:
    cameras = SceneCameras(rig_at(read_rig("seven_camera"), 256, 384))

    def count(of: Scenario, before: Snapshot, after: Snapshot) -> int:
        """Pixels of all cameras that differ, without noise and shadows."""
        stage = Stage(replace(of, look=Look(weather="overcast", noise_sigma=0.0)))
        one, other = pictures(stage, before, cameras, ROLES), pictures(stage, after, cameras, ROLES)
        return sum(int((one[role] != other[role]).any(axis=-1).sum()) for role in ROLES)

    return count


def without(of: Snapshot, name: str) -> Snapshot:
    return replace(of, bodies=tuple(body for body in of.bodies if body.name != name))


@pytest.mark.parametrize("along_m", [40.0, 70.0, 100.0])
def test_what_is_seen_is_on_a_picture(changes: Callable[[Scenario, Snapshot, Snapshot], int], along_m: float) -> None:
    of = busy()
    now = snapshot(of, along_m=along_m)
    names = visible(of, now) & {body.name for body in now.bodies}
    assert len(names) >= 2
    for name in names:
        assert changes(of, now, without(now, name)) >= 4, name


def test_who_is_hidden_behind_a_truck_is_on_no_picture(changes: Callable[[Scenario, Snapshot, Snapshot], int]) -> None:
    of = scenario()
    ego = Ego(np.array([0.0, 0.0]), 0.0, 8.0)
    hidden = [body("child", 29.0, 0.3, "child"), body("car", 40.0, 0.0, "car"), body("cone", 27.0, -0.8, "cone")]
    now = Snapshot(0.0, ego, (body("truck", 20.0, 0.0, "truck"), *hidden), ())
    assert visible(of, now) - EVER == {"truck"}
    for thing in hidden:
        assert changes(of, now, without(now, thing.name)) == 0, thing.name
    assert changes(of, now, without(now, "truck")) > 1000
