from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from alpamayo_ros.simulation.rendering.faces import FAR, FINISHES, LACQUER, normals
from alpamayo_ros.simulation.rendering.light import light_of
from alpamayo_ros.simulation.rendering.models import MODELS
from alpamayo_ros.simulation.rendering.solids import posed
from alpamayo_ros.simulation.scenario import Look
from alpamayo_ros.simulation.state import SIZES, Body, BodyKind

LIGHT = light_of(Look())


def test_there_is_a_model_for_every_kind_of_body() -> None:
    assert set(MODELS) == set(get_args(BodyKind))


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_fills_the_box_of_its_kind(kind: BodyKind) -> None:
    corners = MODELS[kind].faces.corners.reshape(-1, 3)
    size = SIZES[kind]
    half = np.array([size.length_m, size.width_m]) / 2
    assert (np.abs(corners[:, :2]) <= half + 0.02).all()  # lamps stand out by a centimetre
    assert (corners[:, 2] >= -1e-9).all()
    assert (corners[:, 2] <= size.height_m + 1e-9).all()
    assert corners[:, 2].max() > 0.95 * size.height_m
    assert (np.ptp(corners[:, :2], axis=0) > 0.5 * 2 * half).all()  # who stands has thin legs in a box to stride in


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_the_same_from_its_left_and_its_right(kind: BodyKind) -> None:
    some = MODELS[kind].faces
    x, y, z = some.corners.reshape(-1, 3).T
    # The shift keeps what is symmetric but for rounding on one side of a half.
    rows = np.column_stack([x + 3.1e-4, y, z, some.colours.repeat(4, axis=0)]).round(3) + 0.0
    if kind != "barrier":  # its stripes slant
        assert set(map(tuple, rows)) == set(map(tuple, rows * (1, -1, 1, 1, 1, 1) + 0.0))


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_of_a_model_has_a_colour_that_cannot_be(kind: BodyKind) -> None:
    some = MODELS[kind].faces
    assert ((some.finish >= 0) & (some.finish < FINISHES) & (some.finish != FAR)).all()
    assert ((some.colours >= 0) & (some.colours <= 255)).all()
    assert (some.colours[some.finish >= LACQUER] <= 1).all()  # parts of the body's colour


@pytest.mark.parametrize("kind", ["car", "parked_car", "truck"])
def test_a_vehicle_is_closed_where_it_is_seen(kind: BodyKind) -> None:
    """From anywhere around it, a ray at its middle meets a face that looks back."""
    corners = MODELS[kind].faces.corners
    outward, middle = normals(corners), np.array([0.0, 0.0, 0.6 * SIZES[kind].height_m])
    for yaw in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        eye = middle + 20.0 * np.array([np.cos(yaw), np.sin(yaw), 0.05])
        ray = middle - eye
        facing = np.einsum("ni,ni->n", outward, eye - corners[:, 0]) > 0
        away = np.einsum("ni,ni->n", corners[:, 0] - eye, outward) / np.where(facing, outward @ ray, -1.0)
        places = eye + away[:, None] * ray
        edges = np.roll(corners, -1, axis=1) - corners
        inside = (np.einsum("nki,ni->nk", np.cross(edges, places[:, None] - corners), outward) >= -1e-9).all(axis=1)
        assert (inside & facing & (away > 0) & (away < 1)).any()


def test_a_body_is_posed_around_its_place_with_its_front_ahead() -> None:
    body = Body("lead", "truck", np.array([30.0, -4.0]), 0.7, 5.0, colour=(10, 200, 30))
    there = posed([body], 0.0, LIGHT)
    ahead = np.array([np.cos(0.7), np.sin(0.7)])
    along = (there.faces.corners[..., :2] - body.xy_m) @ ahead
    aside = (there.faces.corners[..., :2] - body.xy_m) @ np.array([-ahead[1], ahead[0]])
    np.testing.assert_allclose([along.min(), along.max()], [-4.25, 4.25], atol=0.02)
    np.testing.assert_allclose([aside.min(), aside.max()], [-1.25, 1.25], atol=0.02)
    np.testing.assert_allclose(there.planes[:, :3], normals(there.faces.corners), atol=1e-9)
    cab = there.centres_m[np.argmin(there.counts)]
    assert (cab[:2] - body.xy_m) @ ahead > 2.0


def test_many_bodies_are_posed_as_each_alone() -> None:
    bodies = [Body(kind, kind, np.array([10.0 * k, 3.0]), 0.4 * k, 1.2, -1.0) for k, kind in enumerate(MODELS)]
    all_of_them = posed(bodies, 0.3, LIGHT)
    alone = [posed([body], 0.3, LIGHT) for body in bodies]
    for field in ("corners", "colours", "finish"):
        together = np.concatenate([getattr(one.faces, field) for one in alone])
        np.testing.assert_allclose(getattr(all_of_them.faces, field), together, atol=1e-9)
    np.testing.assert_allclose(all_of_them.centres_m, np.concatenate([one.centres_m for one in alone]), atol=1e-9)


def test_legs_swing_while_walking_and_rest_while_standing() -> None:
    def feet(x: float, speed_mps: float) -> float:
        walker = Body("w", "pedestrian", np.array([x, 0.0]), 0.0, speed_mps)
        return float(np.ptp(posed([walker], 0.0, LIGHT).faces.corners[..., 0]))

    assert feet(0.35, 1.4) > feet(0.35, 0.0) + 0.2  # in the middle of a step
    assert feet(0.0, 1.4) == pytest.approx(feet(0.0, 0.0), abs=1e-6)  # and between two


def test_a_child_is_smaller_with_a_larger_head_for_its_size() -> None:
    child, adult = (MODELS[kind].faces.corners for kind in ("child", "pedestrian"))
    assert child[..., 2].max() == pytest.approx(1.2)
    heads = [np.ptp(c[c[..., 2].min(axis=1) > 0.86 * c[..., 2].max()][..., 1]) / c[..., 2].max() for c in (child, adult)]
    assert heads[0] > 1.2 * heads[1]
