"""What is said to be on a picture is where it was painted."""

from functools import cache

import numpy as np
import pytest

from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.data.sights import KINDS, NOTHING_M, Kind, sights
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import F64, U8

RIG = read_rig("seven_camera")
ROLES = tuple(RIG.cameras)
CAMERAS = SceneCameras(RIG, (64, 96))


@cache
def drive(family: str) -> Episode:
    return run_episode(make_scenario(family, 3, 12.0), ExpertPolicy())


def cell(picture: U8, row: int, column: int) -> F64:
    """A cell of 32 x 32 pixels."""
    return picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32].astype(np.float64)


def is_lamp(pixels: F64, colour: str) -> bool:
    """Whether something of the lit lamp's saturated colour is there."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    if colour == "red":
        return bool(((red > 150) & (red - green > 90) & (red - blue > 90)).any())
    return bool(((green > 120) & (green - red > 50) & (green - blue > 10)).any())


@pytest.mark.parametrize(("family", "colour"), [("red_light", "red"), ("light_turns", "green")])
def test_a_lit_lamp_is_in_its_cell_of_the_tele_picture(family: str, colour: Kind) -> None:
    episode = drive(family)
    stage, found = Stage(episode.scenario), 0
    for snapshot in episode.snapshots[::5]:
        told = sights(episode.scenario, snapshot, CAMERAS, ROLES, 2, 3)
        painted = pictures(stage, snapshot, CAMERAS, ("front_tele",))["front_tele"]
        for row, column in np.argwhere(told.kinds[ROLES.index("front_tele"), :, :, KINDS.index(colour)]):
            found += 1
            assert is_lamp(cell(painted, row, column), colour), f"{snapshot.t_s} s, cell {row}, {column}"
    assert found >= 3, "there were lamps to look for"


def nearest_of(snapshot: Snapshot, names: frozenset[str]) -> float:
    away = [float(np.linalg.norm(body.xy_m - snapshot.ego.xy_m)) for body in snapshot.bodies if body.name in names]
    return min(away, default=NOTHING_M)


def test_the_nearest_body_is_as_far_as_it_is() -> None:
    """Of boxes some 5 m long seen by cameras up to 4 m before the rear axle."""
    episode = drive("follow_lead")
    for snapshot in episode.snapshots[::20]:
        told = sights(episode.scenario, snapshot, CAMERAS, ROLES, 2, 3)
        assert told.nearest_m.min() == pytest.approx(nearest_of(snapshot, visible(episode.scenario, snapshot)), abs=6.0)


def test_distances_are_there_where_bodies_are() -> None:
    episode = drive("follow_lead")
    bodies = [KINDS.index(kind) for kind in ("vehicle", "person", "barrier")]
    for snapshot in episode.snapshots[::20]:
        told = sights(episode.scenario, snapshot, CAMERAS, ROLES, 2, 3)
        assert ((told.nearest_m < NOTHING_M) == told.kinds[..., bodies].any(axis=-1)).all()


def test_a_finer_grid_says_the_same() -> None:
    episode = drive("red_light")
    snapshot = episode.snapshots[40]
    coarse, fine = (sights(episode.scenario, snapshot, CAMERAS, ROLES, *shape).kinds for shape in ((2, 3), (4, 6)))
    assert (fine.reshape(len(ROLES), 2, 2, 3, 2, -1).max(axis=(2, 4)) == coarse).all()
