"""What is on the ground is where the road says, found by casting the rays of a camera at it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulation.made import busy, scenario, snapshot, street

from alpamayo_ros.cameras import FORWARD_FROM_OPTICAL, Pinhole
from alpamayo_ros.geometry import apply, inverse, rotation_from_rpy, transform
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.ground import lanes_of
from alpamayo_ros.simulation.road import Lane, Piece, Road
from alpamayo_ros.simulation.scenario import Crosswalk, Look, Scenario, Sign, TrafficLight
from alpamayo_ros.types import F64

STILL = Look("day", "overcast", noise_sigma=0.0)
ABOVE = Pinhole(600.0, 600.0, 399.5, 299.5, 800, 600)
WHITE, YELLOW, GREY, GREEN = "white", "yellow", "grey", "green"


def colours(of: Scenario, places: F64) -> list[str]:
    """What colour the places (N, 2), along and left on the route, have for somebody 14 m above who looks down."""
    empty = replace(of, look=STILL, vehicles=(), standing=(), walkers=())
    stage = Stage(empty)
    now = snapshot(empty)
    here = now.ego.xy_m
    xyz = np.column_stack([empty.route.place(places[:, 0], places[:, 1])[0], np.zeros(len(places))])
    found = []
    for xyz_m in xyz:
        view = rotation_from_rpy(0.0, float(np.radians(85.0)), float(now.ego.yaw_rad)) @ FORWARD_FROM_OPTICAL
        pose = transform(view, np.array([xyz_m[0], xyz_m[1], 14.0]))
        image = stage.picture(replace(now, ego=replace(now.ego, xy_m=here)), ABOVE, pose, (0,))
        uv, visible = ABOVE.project(apply(inverse(pose), xyz_m[None]))
        assert visible.all()
        u, v = np.rint(uv[0]).astype(int)
        found.append(named(image[v, u]))
    return found


def named(rgb: np.ndarray) -> str:
    red, green, blue = rgb.astype(int)
    if red - blue > 60 and green - blue > 40:
        return YELLOW
    if green - blue > 25 and green - red > 5:
        return GREEN
    return WHITE if min(red, green, blue) > 170 else GREY


PLAIN = scenario(look=Look(texture_seed=0))


def at(*places: tuple[float, float]) -> F64:
    return np.array(places)


def test_lines_are_beside_the_lanes_and_of_their_paint() -> None:
    between = [(45.5 + k, 1.75) for k in range(9)]  # a whole period of dashes
    seen = colours(PLAIN, at(*between, (50.0, -1.75), (50.0, 8.75), (50.0, 5.1), (50.0, 5.4), (50.0, 5.25), (50.0, 0.9)))
    assert sorted(seen[:9]) == [GREY] * 6 + [WHITE] * 3
    assert seen[9:] == [WHITE, WHITE, YELLOW, YELLOW, GREY, GREY]


def test_dashes_stay_where_they_are_when_a_road_is_longer_or_its_lanes_begin_later() -> None:
    longer = street(Piece(310.0, 0.0))
    later = replace(longer, lanes=tuple(replace(lane, from_m=5.0) for lane in longer.lanes))
    places = at(*[(45.5 + k, 1.75) for k in range(9)])
    for road in (longer, later):
        assert colours(PLAIN, places) == colours(replace(PLAIN, roads=(road,)), places)


def test_a_zebra_has_stripes_along_the_road_over_all_lanes() -> None:
    across = [(56.0, float(y)) for y in np.arange(-1.2, 8.6, 0.25)]
    seen = colours(replace(PLAIN, crosswalks=(Crosswalk(0, 54.0, 58.0),)), at(*across, (53.0, 0.6), (59.0, 0.6)))
    stripes = "".join("w" if name == WHITE else "g" for name in seen[:-2])
    assert 9 <= stripes.count("wg") <= 11
    assert WHITE not in seen[-2:]


def test_a_stop_line_lies_before_the_lanes_that_it_holds_for() -> None:
    light = TrafficLight(0, 55.0, ("ego", "left"), (("red", 8.0),), 0.0, (64.0, -4.5))
    seen = colours(replace(PLAIN, lights=(light,)), at((55.3, 0.0), (55.3, 3.5), (55.3, 7.0), (54.5, 0.0), (56.2, 0.0)))
    assert seen == [WHITE, WHITE, GREY, GREY, GREY]


def test_a_stop_sign_on_the_other_side_is_for_the_oncoming() -> None:
    sign = Sign("stop", 0, 55.0, 10.5, stop_line_m=55.0)
    assert [lane.name for lane in lanes_of(street(), sign)] == ["oncoming"]
    seen = colours(replace(PLAIN, signs=(sign,)), at((54.7, 7.0), (54.7, 0.0), (55.3, 7.0)))
    assert seen == [WHITE, GREY, GREY]
    assert [lane.name for lane in lanes_of(street(), replace(sign, left_m=-3.0))] == ["ego", "left"]


def test_nothing_is_painted_across_a_junction() -> None:
    lanes = (Lane("ahead", -1.75, 0.0, 100.0, 12.0, left_paint="double"), Lane("back", 1.75, 0.0, 100.0, 12.0, oncoming=True))
    crossing = Road("crossing", (Piece(100.0, 0.0),), lanes, (), (60.0, -50.0), np.pi / 2)
    places = at((61.2, -1.75), (61.2, 5.1), (60.0, 4.0), (50.0, -1.75), (50.0, 5.1), (59.85, -4.0))
    assert colours(replace(PLAIN, roads=(street(), crossing)), places) == [GREY, GREY, GREY, WHITE, YELLOW, YELLOW]
    assert colours(PLAIN, places[:2]) == [WHITE, YELLOW]


@pytest.mark.parametrize("curvature", [0.0, 0.02, -0.05])
def test_the_edge_line_follows_a_bend_within_two_centimetres(curvature: float) -> None:
    bent = replace(PLAIN, roads=(street(Piece(30.0, 0.0), Piece(1.0, curvature), Piece(100.0, curvature)),))
    along = np.linspace(42.0, 70.0, 15)
    half = 0.09 - 0.035  # half a line's width, less a chord's sag and half a pixel
    for left in (-1.75 - half, -1.75 + half):
        assert set(colours(bent, np.column_stack([along, np.full(15, left)]))) == {WHITE}
    for left in (-1.75 - 0.18, -1.75 + 0.18):
        assert WHITE not in colours(bent, np.column_stack([along, np.full(15, left)]))


def test_there_is_grass_beside_the_pavement() -> None:
    assert colours(PLAIN, at((50.0, -9.0), (50.0, 12.0), (50.0, -5.0))) == [GREEN, GREEN, GREY]


def test_the_texture_seed_changes_the_ground_and_not_the_lines() -> None:
    first, second = (Stage(replace(busy(), look=Look(texture_seed=seed)))._ground.faces for seed in (1, 2))
    assert (first.colours[:50] != second.colours[:50]).any()
    assert len(first.finish) == len(second.finish)
