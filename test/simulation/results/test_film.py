"""Films and views from above show the scene as it is."""

from pathlib import Path

import av
import numpy as np
import pytest
from simulation.made import busy, scenario, snapshot

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.episode import Episode, Incident, Planned
from alpamayo_ros.simulation.results.film import HEIGHT, WIDTH, Screen, write_film
from alpamayo_ros.simulation.results.top_view import ASPHALT, EGO, LAMPS, Map, draw_above
from alpamayo_ros.types import U8

AHEAD = trajectory(np.zeros(64), np.zeros(64), 8.0)


def above(of: object = None, **at: float) -> U8:
    scene = busy()
    now = snapshot(scene, **at)
    return draw_above(Map(scene), now, None, now.ego, 200, 100.0)


def count(picture: U8, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=-1).sum())


def test_the_ego_is_where_it_is_and_as_large_as_it_is() -> None:
    picture = above()
    rows, columns = np.nonzero((picture == np.array(EGO, np.uint8)).all(axis=-1))
    assert columns.mean() == pytest.approx(100, abs=1)  # in the middle
    assert rows.min() == pytest.approx(0.72 * 200 - 2 * 3.8, abs=1.5)  # its front is up, 2 px to a metre
    assert rows.max() == pytest.approx(0.72 * 200 + 2 * 1.0, abs=1.5)


def test_a_red_light_is_red_and_turns_green() -> None:
    assert count(above(t_s=0.0, along_m=80), LAMPS["red"]) > 10
    assert count(above(t_s=9.0, along_m=80), LAMPS["green"]) > 10
    assert count(above(t_s=9.0, along_m=80), LAMPS["red"]) < count(above(t_s=0.0, along_m=80), LAMPS["red"])


def test_there_is_asphalt_where_lanes_are_and_none_beside_them() -> None:
    picture = above()
    assert (picture[20, 100] == ASPHALT).all()
    assert not (picture[20, 180] == ASPHALT).all()


def episode() -> Episode:
    scene = scenario()
    snapshots = tuple(snapshot(scene, t_s=k / 10, along_m=40 + 0.8 * k) for k in range(5))
    planned = Planned(0.2, snapshots[2].ego, AHEAD, refused="")
    return Episode(
        scene, "somebody", snapshots, tuple(s.ego for s in snapshots), (planned,), Incident("collision_front", 0.4, "lead")
    )


def test_a_plan_is_in_the_picture_from_when_it_was_made() -> None:
    drive = episode()
    screen, blank = (
        Screen(each, read_rig("seven_camera"), "a drive")
        for each in (drive, Episode(drive.scenario, "somebody", drive.snapshots, drive.egos, ()))
    )
    assert np.array_equal(screen.page(drive.snapshots[1]), blank.page(drive.snapshots[1]))
    assert not np.array_equal(screen.page(drive.snapshots[2]), blank.page(drive.snapshots[2]))


def test_a_film_has_a_picture_for_every_step(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_film(episode(), read_rig("seven_camera"), "a drive", path)
    with av.open(str(path)) as film:
        frames = [(frame.width, frame.height, frame.time) for frame in film.decode(video=0)]
    assert [(width, height) for width, height, _ in frames] == [(WIDTH, HEIGHT)] * 5
    assert [time for _, _, time in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=2e-3)
