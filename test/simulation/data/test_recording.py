"""Between the steps of the world: places in between, everything else as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulation.made import busy, episode, scenario, street

from alpamayo_ros.simulation.data.recording import at, ego_at, end_s
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.road import Piece
from alpamayo_ros.simulation.scenario import Start
from alpamayo_ros.simulation.state import Body
from alpamayo_ros.types import InvalidInput

SECONDS = 2.0


@pytest.fixture(scope="module")
def drive() -> Episode:
    """Past one of each."""
    return episode(replace(busy(), duration_s=SECONDS))


def of(bodies: tuple[Body, ...], name: str) -> Body:
    (found,) = (body for body in bodies if body.name == name)
    return found


def test_at_a_step_the_world_is_the_snapshot_of_then(drive: Episode) -> None:
    for step in (0, 7, 20):
        assert at(drive, step / 10) is drive.snapshots[step]
        assert at(drive, step / 10 + 1e-9) is drive.snapshots[step]
    assert end_s(drive) == SECONDS


def test_between_steps_everybody_is_between_where_they_were(drive: Episode) -> None:
    now = at(drive, 0.733)
    assert now.t_s == 0.733
    assert [body.name for body in now.bodies] == [body.name for body in drive.snapshots[7].bodies]
    for name, speed_mps in (("lead", 8.0), ("oncoming", -9.0), ("parked", 0.0)):
        before = of(drive.snapshots[0].bodies, name).xy_m
        np.testing.assert_allclose(of(now.bodies, name).xy_m, [before[0] + 0.733 * speed_mps, before[1]], atol=1e-9)
    np.testing.assert_allclose(now.ego.xy_m, [40.0 + 0.733 * 8.0, 0.0], atol=1e-9)


def test_between_hundredths_the_ego_is_on_its_way_round_a_bend() -> None:
    bend = scenario(roads=(street(Piece(60.0, 0.05), Piece(240.0, 0.05)),), start=Start(40.0, 8.0), duration_s=SECONDS)
    drive = episode(bend)
    along = 40.0 + 8.0 * 1.2345
    xy, yaw = bend.route.place(along, 0.0)
    ego = ego_at(drive, 1.2345)
    np.testing.assert_allclose(ego.xy_m, xy, atol=1e-4)  # a chord of 8 cm
    assert ego.yaw_rad == pytest.approx(float(yaw), abs=1e-4)
    assert ego.curvature_1pm == pytest.approx(float(bend.route.curvature_1pm(along)), abs=1e-6)
    assert ego_at(drive, 1.23) is drive.egos[123]
    assert at(drive, 1.2345).ego.yaw_rad == ego.yaw_rad


def test_who_turns_across_pi_turns_the_shorter_way(drive: Episode) -> None:
    turned = [replace(drive.snapshots[0].bodies[0], yaw_rad=yaw) for yaw in (3.1, -3.1)]
    snapshots = tuple(replace(s, bodies=(body,)) for s, body in zip(drive.snapshots, turned, strict=False))
    (between,) = at(replace(drive, snapshots=snapshots), 0.05).bodies
    assert between.yaw_rad == pytest.approx(np.pi, abs=1e-9)


def test_lights_and_who_is_gone_stay_until_the_step(drive: Episode) -> None:
    first, second = drive.snapshots[:2]
    gone = replace(drive, snapshots=(first, replace(second, bodies=(), lights=("green",))))
    now = at(gone, 0.09)
    assert now.lights == first.lights == ("red",)
    assert [body.xy_m.tolist() for body in now.bodies] == [body.xy_m.tolist() for body in first.bodies]


@pytest.mark.parametrize("t_s", [-0.001, SECONDS + 0.001])
def test_outside_of_the_drive_there_is_nothing(drive: Episode, t_s: float) -> None:
    with pytest.raises(InvalidInput, match="the drive lasts from 0 to 2 s"):
        at(drive, t_s)
    with pytest.raises(InvalidInput, match="the drive lasts from 0 to 2 s"):
        ego_at(drive, t_s)
