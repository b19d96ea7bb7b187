"""Films are decoded again: every scene is in them, for as long as it lasted, with the plan drawn where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from evaluation.viewing.conftest import PLANNER, Recorded
from PIL import Image

from alpamayo_ros.drawing import DRIVEN, PAPER, speed_colour
from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.evaluation.viewing.film import FILM_PX, GIF_PX, Pages, write_gif, write_mp4
from alpamayo_ros.evaluation.viewing.recorded import recorded_scenes
from alpamayo_ros.evaluation.viewing.rerun_log import write_rrd
from alpamayo_ros.evaluation.viewing.scenes import Scene, Surroundings
from alpamayo_ros.pipeline.poses import Skew
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import U8

pytestmark = pytest.mark.thorough

MS = 1_000_000
FRONT_WIDE = np.s_[100:130, 325:635]
"""The ground 3 to 14 m ahead in the front wide camera, on a page of GIF_PX."""


@pytest.fixture(scope="module")
def scenes(recorded: Recorded, rig: Rig) -> list[Scene]:
    """The last six, all with plans."""
    return list(recorded_scenes(Surroundings(recorded.bag, rig), recorded.bag, PLANNER))[-6:]


def decoded(path: Path) -> Iterator[tuple[float, U8]]:
    """Time, s, and pixels of every frame."""
    with av.open(str(path)) as film:
        yield from ((float(frame.time), frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0))


def steered(scene: Scene, curvature_1pm: float) -> Scene:
    """The scene with a plan that bends."""
    assert scene.plan is not None
    path = scene.plan.trajectory
    angle = curvature_1pm * path.xyz[:, 0]
    xyz = np.column_stack([np.sin(angle), 1 - np.cos(angle), np.zeros_like(angle)]) / curvature_1pm
    bent = replace(path, xyz=xyz, yaw_rad=angle)
    return replace(scene, plan=replace(scene.plan, trajectory=bent, candidates=(bent,), chosen=0, scores=(1.0,)))


def test_an_mp4_shows_every_scene_for_as_long_as_it_lasted(scenes: list[Scene], tmp_path: Path) -> None:
    gap = [replace(scene, t0_ns=scene.t0_ns + 400 * MS * (i > 2)) for i, scene in enumerate(scenes)]
    write_mp4(iter(gap), tmp_path / "film.mp4")
    times = [time for time, _ in decoded(tmp_path / "film.mp4")]
    np.testing.assert_allclose(times, [0.0, 0.1, 0.2, 0.7, 0.8, 0.9], atol=1e-3)
    with av.open(str(tmp_path / "film.mp4")) as film:
        stream = film.streams.video[0]
        assert film.duration == pytest.approx(1_000_000, abs=5_000), "us: the last scene lasts as long as the one before"
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (FILM_PX, 1080)
        level = stream.codec_context.extradata[3]
        assert level <= 42, "H.264 level 4.2: what phones and browsers decode in hardware"


def test_an_mp4_can_be_played_before_it_is_whole(scenes: list[Scene], tmp_path: Path) -> None:
    write_mp4(iter(scenes[:2]), tmp_path / "film.mp4")
    data = (tmp_path / "film.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_film_goes_on_when_the_clock_is_set_back(scenes: list[Scene], tmp_path: Path) -> None:
    write_mp4(iter(scenes[3:] + scenes[:3]), tmp_path / "film.mp4")
    times = [time for time, _ in decoded(tmp_path / "film.mp4")]
    np.testing.assert_allclose(times, np.arange(6) / 10, atol=1e-3)


def test_a_gif_shows_five_pictures_a_second_in_the_colours_of_the_plan(scenes: list[Scene], tmp_path: Path) -> None:
    write_gif(iter(scenes), tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (3, (GIF_PX, 540), 0)
        assert [lasts_ms(film, i) for i in range(3)] == [200, 200, 200]
        film.seek(2)
        shown = np.asarray(film.convert("RGB")).astype(int)
    drawn = Pages(GIF_PX).page(scenes[4]).astype(int)
    assert np.abs(shown - drawn).mean() < 6.0, "grey levels"
    assert np.abs(shown - PAPER).max(axis=2)[-16:, 300:600].max() <= 6, "the background keeps its colour"


def lasts_ms(film: Image.Image, frame: int) -> int:
    film.seek(frame)
    return int(film.info["duration"])


def test_the_ribbon_in_the_film_goes_where_the_plan_goes(scenes: list[Scene], tmp_path: Path) -> None:
    """Its pixels in the front camera, in the decoded film: left of each other in the order of the curvatures."""
    same = [
        replace(steered(scenes[0], bend), t0_ns=scenes[0].t0_ns + i * 200 * MS) for i, bend in enumerate((-0.06, 1e-6, 0.06))
    ]
    write_gif(iter(same), tmp_path / "film.gif")
    assert same[0].plan is not None
    ribbon = np.array(speed_colour(float(same[0].plan.trajectory.speed_mps[0])))
    columns = []
    for _, page in decoded(tmp_path / "film.gif"):
        near = np.abs(page[FRONT_WIDE].astype(int) - ribbon).sum(axis=2) < 160
        assert near.sum() > 100, "there is a ribbon"
        columns.append(np.nonzero(near)[1].mean())
    assert columns[0] > columns[1] + 10 > columns[2] + 20


def test_the_view_from_above_grows_and_never_shrinks(scenes: list[Scene]) -> None:
    pages = Pages(GIF_PX)
    assert scenes[0].plan is not None
    far = replace(scenes[0].plan.trajectory, xyz=scenes[0].plan.trajectory.xyz * (3.0, 1.0, 1.0))
    long = replace(scenes[0], plan=replace(scenes[0].plan, trajectory=far))
    before = pages.page(scenes[0])
    pages.page(long)
    assert (pages.page(scenes[0]) != before).any()


def test_a_scene_without_plan_or_picture_says_so(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("alpamayo_ros.evaluation.viewing.film.write_lines", lambda _, lines, *__: written.extend(lines))
    labels: dict[str, str] = {}
    monkeypatch.setattr(
        "alpamayo_ros.evaluation.viewing.film.seven_up",
        lambda _, said, width: labels.update(said) or np.zeros((315, width, 3), np.uint8),
    )
    role = "front_left"
    broken = replace(scenes[0].frames[role], data=scenes[0].frames[role].data[:500])
    frames = {name: frame for name, frame in scenes[0].frames.items() if name != "rear_tele"} | {role: broken}
    skews = {name: Skew(np.eye(4), " +30 ms", ", path as at t0") for name in frames}
    silent = replace(scenes[0], plan=None, refused="odometry: a gap of 300 ms", frames=frames, skews=skews)
    pages = Pages(GIF_PX)
    pages.page(silent)
    assert "no plan: odometry: a gap of 300 ms" in written
    assert labels["rear_tele"] == "rear_tele: no frame"
    assert "cannot be decoded" in labels[role]
    assert labels["front_wide"] == "front_wide +30 ms", "how far it is from t0, and no more"
    written.clear()
    pages.page(replace(scenes[1], t0_ns=silent.t0_ns + 1200 * MS, skews=scenes[1].skews | skews))
    assert written[0] == "film at 1.2 s"
    assert labels["front_wide"] == "front_wide +30 ms, path as at t0"


def test_a_scene_without_plan_shows_where_the_vehicle_went(scenes: list[Scene]) -> None:
    page = Pages(GIF_PX).page(replace(scenes[0], plan=None, refused="odometry: a gap of 300 ms"))
    driven = np.abs(page.astype(int) - DRIVEN).sum(axis=2) < 60
    below, charts = page.shape[0] // 2, page.shape[1] * 2 // 3
    assert driven[below:, :charts].sum() > 20, "from above"
    assert driven[below:, charts:].sum() > 20, "and in the curves"


def test_the_ribbon_is_drawn_from_where_the_camera_was_at_its_frame(scenes: list[Scene]) -> None:
    """2 m to the left of where it was at t0, the path lies to its right."""
    aside = np.eye(4)
    aside[1, 3] = -2.0
    moved = replace(scenes[0], skews={role: Skew(aside, " +50 ms", "") for role in scenes[0].frames})
    assert moved.plan is not None
    ribbon = np.array(speed_colour(float(moved.plan.trajectory.speed_mps[0])))
    columns = []
    for scene in (scenes[0], moved):
        near = np.abs(Pages(GIF_PX).page(scene)[FRONT_WIDE].astype(int) - ribbon).sum(axis=2) < 160
        columns.append(np.nonzero(near)[1].mean())
    assert columns[1] > columns[0] + 10


@pytest.mark.parametrize("points", [12, 300])
def test_a_hold_and_a_stop_of_any_length_are_shown(scenes: list[Scene], points: int, tmp_path: Path) -> None:
    """A hold has the points still ahead, a stop as many as it takes."""
    plan = scenes[-1].plan
    assert plan is not None
    path = trajectory(np.full(points, -0.01), np.full(points, 1e-3), 8.0)
    plan = replace(plan, source="stop", trajectory=path, candidates=(path,), chosen=0, scores=(1.0,))
    scene = replace(scenes[-1], plan=plan)
    assert Pages(GIF_PX).page(scene).shape == (GIF_PX * 9 // 16, GIF_PX, 3)
    write_rrd(iter([scene]), tmp_path / "view.rrd")
    assert (tmp_path / "view.rrd").stat().st_size > 0
