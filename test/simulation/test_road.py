from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.simulation.road import Piece, Road

pieces_of_bends = st.lists(st.tuples(st.floats(20, 60), st.floats(-0.03, 0.03)), min_size=1, max_size=6)


def road(*pieces: Piece, xy_m: tuple[float, float] = (0.0, 0.0), yaw_rad: float = 0.0) -> Road:
    return Road("road", pieces, (), (), xy_m, yaw_rad)


def test_a_straight_road_runs_along_x() -> None:
    xy, yaw = road(Piece(50.0, 0.0)).place(np.array([0.0, 12.34, 50.0]), 2.0)
    np.testing.assert_allclose(xy, np.array([[0.0, 2], [12.34, 2], [50, 2]]), atol=1e-9)
    np.testing.assert_allclose(yaw, 0.0, atol=1e-12)


def test_a_road_starts_where_it_is_put_and_heads_where_it_is_told() -> None:
    xy, yaw = road(Piece(50.0, 0.0), xy_m=(3.0, -4.0), yaw_rad=np.pi / 2).place(np.array([0.0, 10.0]), 1.0)
    np.testing.assert_allclose(xy, [[2, -4], [2, 6]], atol=1e-9)
    np.testing.assert_allclose(yaw, np.pi / 2)


def test_an_arc_of_constant_curvature_is_a_circle_also_past_its_end() -> None:
    radius = 40.0
    xy, yaw = road(Piece(20.0, 1 / radius), Piece(60.0, 1 / radius)).place(np.linspace(20.0, 110.0, 501), 0.0)
    centres = xy + radius * np.column_stack([-np.sin(yaw), np.cos(yaw)])
    # Per 0.1 m the chord's direction is exact to third order: 1e-7 m, 600 times.
    np.testing.assert_allclose(centres, centres[:1].repeat(501, axis=0), atol=1e-4)
    np.testing.assert_allclose(yaw - yaw[0], np.linspace(0.0, 90.0, 501) / radius, atol=1e-9)


def test_heading_is_the_integral_of_curvature() -> None:
    bend = road(Piece(20.0, 0.0), Piece(16.0, 0.02), Piece(10.0, 0.02), Piece(16.0, 0.0))
    _, yaw = bend.place(np.array([bend.length_m]), 0.0)
    assert yaw[0] == pytest.approx(0.02 * (8 + 10 + 8), abs=1e-6)  # two clothoids turn half as much as arcs


@settings(max_examples=30, deadline=None)
@given(pieces_of_bends, st.floats(-9, 9))
def test_a_lane_is_everywhere_square_to_the_reference_line(pieces: list[tuple[float, float]], left_m: float) -> None:
    bends = road(*(Piece(*piece) for piece in pieces))
    along = np.linspace(0.0, bends.length_m, 20)
    (centre, yaw), (lane, _) = bends.place(along, 0.0), bends.place(along, left_m)
    across = lane - centre
    np.testing.assert_allclose(np.cos(yaw) * across[:, 0] + np.sin(yaw) * across[:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(-np.sin(yaw) * across[:, 0] + np.cos(yaw) * across[:, 1], left_m, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(pieces_of_bends, st.floats(-12, 12), st.floats(-np.pi, np.pi))
def test_places_are_found_again(pieces: list[tuple[float, float]], left_m: float, yaw_rad: float) -> None:
    bends = road(*(Piece(*piece) for piece in pieces[:3]), xy_m=(7.0, -3.0), yaw_rad=yaw_rad)
    along = np.linspace(0.0, bends.length_m, 40)
    xy, _ = bends.place(along, left_m)
    found_along, found_left = bends.locate(xy)
    np.testing.assert_allclose(found_along, along, atol=1e-6)
    np.testing.assert_allclose(found_left, left_m, atol=1e-6)


def test_one_place_is_as_many_places() -> None:
    bends = road(Piece(20.0, 0.0), Piece(16.0, 0.02), Piece(40.0, -0.01))
    many, yaws = bends.place(np.array([3.0, 30.0, 55.5]), np.array([0.0, 2.0, -3.0]))
    one, yaw = bends.place(55.5, -3.0)
    assert one.shape == (2,)
    np.testing.assert_array_equal(one, many[2])
    assert yaw == yaws[2]
    along, left = bends.locate(one)
    assert (float(along), float(left)) == pytest.approx((55.5, -3.0), abs=1e-6)
