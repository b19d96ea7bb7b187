"""The recording is read back: everything is in it, where the blueprint looks for it, and the images are the recorded bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.viewing.conftest import PLANNER, TRACE, Recorded

from alpamayo_ros.cameras import Fisheye, Pinhole
from alpamayo_ros.evaluation.calibration import View
from alpamayo_ros.evaluation.viewing.recorded import recorded_scenes
from alpamayo_ros.evaluation.viewing.rerun_log import entity, ladder, write_rrd
from alpamayo_ros.evaluation.viewing.scenes import Scene, Surroundings
from alpamayo_ros.pipeline.poses import Skew
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import EgoPose

RrdReader = pytest.importorskip("rerun.chunk", reason="recordings are read back with rerun-sdk 0.41").RrdReader
EGO = "/world/ego"


@pytest.fixture(scope="module")
def scenes(recorded: Recorded, rig: Rig) -> list[Scene]:
    """All: the first three without a plan."""
    return list(recorded_scenes(Surroundings(recorded.bag, rig), recorded.bag, PLANNER))


@pytest.fixture(scope="module")
def written(scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerun") / "view.rrd"
    write_rrd(iter(scenes), path)
    return path


def column(path: Path, at: str, component: str) -> list[Any]:
    """Every logged value of a component of an entity, in order of t0."""
    rows: list[tuple[Any, Any]] = []
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        if chunk.entity_path == at and component in batch.schema.names:
            times = batch["t0"] if "t0" in batch.schema.names else [0] * len(batch)
            rows += [(str(time), value.as_py()) for time, value in zip(times, batch[component], strict=True)]
    return [value for _, value in sorted(rows, key=lambda row: row[0]) if value is not None]


def test_every_scene_is_logged_and_plans_where_there_are_any(written: Path, scenes: list[Scene], rig: Rig) -> None:
    plans = sum(scene.plan is not None for scene in scenes)
    assert 0 < plans < len(scenes)
    assert len(column(written, EGO, "Transform3D:translation")) == len(scenes)
    assert len(column(written, f"{EGO}/plan", "Mesh3D:vertex_positions")) == plans
    candidates = column(written, f"{EGO}/candidates", "LineStrips3D:strips")
    assert [len(strips) for strips in candidates] == [2] * plans
    assert len(column(written, f"{EGO}/plan", "Clear:is_recursive")) == len(scenes) - plans, "no old plan stays"
    for role in rig.cameras:
        assert len(column(written, f"{EGO}/{role}", "EncodedImage:blob")) == len(scenes)
        assert len(column(written, f"{EGO}/{role}", "Pinhole:image_from_camera")) == 1
    for name in ("motion/speed_mps/planned", "motion/acceleration_mps2/planned", "planner/consistent"):
        assert len(column(written, f"/{name}", "Scalars:scalars")) == plans
    assert set(np.ravel(column(written, "/planner/consistent", "Scalars:scalars"))) == {0.0}, "they were made to disagree"


def test_images_are_the_recorded_bytes(written: Path, scenes: list[Scene]) -> None:
    blobs = column(written, f"{EGO}/rear_tele", "EncodedImage:blob")
    assert [bytes(blob[0]) for blob in blobs] == [bytes(scene.frames["rear_tele"].data) for scene in scenes]


def test_the_words_are_plain_text_and_the_trace_is_listed(written: Path, scenes: list[Scene]) -> None:
    shown = column(written, "/trace/shown", "TextDocument:text")
    assert "no plan: odometry: no pose at t-0.3 s" in shown[0][0]
    assert TRACE.text in shown[-1][0]
    assert "NO, it accelerates" in shown[-1][0]
    kinds = column(written, "/trace/shown", "TextDocument:media_type")
    assert {kind[0] for kind in kinds} == {"text/plain"}
    assert column(written, "/trace/all", "TextLog:text")[-1] == [TRACE.text]
    assert len(shown) == len(scenes)


def test_the_blueprint_looks_at_every_camera_and_the_world(written: Path, rig: Rig) -> None:
    [entry] = RrdReader(written).blueprints()
    origins = set()
    for chunk in RrdReader(written).stream(store=entry):
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name.endswith("space_origin"):
                origins |= {value.as_py()[0].strip("/") for value in batch[name]}
    assert {f"world/ego/{role}" for role in rig.cameras} <= origins
    assert {"world/ego", "trace/shown", "motion/speed_mps", "planner/latency_ms"} <= origins


def test_a_file_made_again_is_the_same_recording(written: Path, scenes: list[Scene], tmp_path: Path) -> None:
    write_rrd(iter(scenes[:2]), tmp_path / "again.rrd")
    write_rrd(iter(scenes[1:2]), tmp_path / "other.rrd")
    names = [
        [(entry.application_id, entry.recording_id) for entry in RrdReader(path).recordings()]
        for path in (written, tmp_path / "again.rrd", tmp_path / "other.rrd")
    ]
    assert names[0] == names[1] != names[2]


def test_the_world_begins_where_the_vehicle_is(scenes: list[Scene], tmp_path: Path) -> None:
    """A map frame of 7 digits of metres would otherwise tremble by half a metre in single precision."""
    far = np.array([690_000.0, 5_330_000.0, 500.0])

    def moved(ego: EgoPose | None) -> EgoPose | None:
        return None if ego is None else replace(ego, position=ego.position + far)

    write_rrd(iter([replace(scene, ego=moved(scene.ego)) for scene in scenes]), tmp_path / "far.rrd")
    path = np.array(column(tmp_path / "far.rrd", "/world/path", "LineStrips3D:strips")[0][0])
    want = np.array([scene.ego.position for scene in scenes if scene.ego is not None])
    np.testing.assert_allclose(path, want - want[0], atol=1e-4)
    assert np.ptp(path[:, 0]) > 1.0, "it moved, or nothing was shown"


def test_the_ladder_lies_on_the_ground_of_a_pinhole(scenes: list[Scene]) -> None:
    """1.5 m below a level camera, x m ahead, y m to the left: u = cx - f y / x, v = cy + f 1.5 / x."""
    plan = scenes[-1].plan
    assert plan is not None
    ahead = np.linspace(0.2, 60.0, 64)
    straight = replace(plan.trajectory, xyz=np.column_stack([ahead, 0 * ahead, 0 * ahead]), yaw_rad=0 * ahead)
    optical_from_ego = np.array([[0, -1.0, 0, 0], [0, 0, -1, 1.5], [1, 0, 0, 0], [0, 0, 0, 1]])
    lens = Pinhole(100.0, 100.0, 79.5, 44.5, 160, 90)
    strips, colours = ladder(replace(plan, trajectory=straight), View(lens, optical_from_ego, calibrated=True))
    assert len(strips) == len(colours) > 60
    points = np.concatenate(strips) - 0.5
    assert (points[:, 1] > 44.5).all(), "below the horizon"
    distance = 150.0 / (points[:, 1] - 44.5)
    np.testing.assert_allclose(np.abs(points[:, 0] - 79.5), 95.0 / distance, atol=1e-9)


def test_the_ladder_is_drawn_from_where_the_camera_was_at_its_frame(scenes: list[Scene], tmp_path: Path) -> None:
    aside = np.eye(4)
    aside[1, 3] = -2.0
    moved = replace(scenes[-1], skews={role: Skew(aside, "", "") for role in scenes[-1].frames})
    middles = []
    for scene in (scenes[-1], moved):
        write_rrd(iter([scene]), tmp_path / "skew.rrd")
        [strips] = column(tmp_path / "skew.rrd", f"{EGO}/front_wide/plan", "LineStrips2D:strips")
        middles.append(np.concatenate(strips)[:, 0].mean())
    assert middles[1] > middles[0] + 1, "px: 2 m to the left of where it was, the path lies to its right"


def test_a_lens_that_rerun_does_not_know_is_shown_flat(scenes: list[Scene], tmp_path: Path) -> None:
    lens = Fisheye(60.0, 60.0, 79.5, 44.5, 160, 90)
    wide = {role: view._replace(camera=lens) if role == "front_wide" else view for role, view in scenes[-1].views.items()}
    assert entity("front_wide", lens) == "lens/front_wide"
    write_rrd(iter([replace(scenes[-1], views=wide)]), tmp_path / "fisheye.rrd")
    assert len(column(tmp_path / "fisheye.rrd", "/lens/front_wide", "EncodedImage:blob")) == 1
    assert column(tmp_path / "fisheye.rrd", "/lens/front_wide", "Pinhole:image_from_camera") == []
    [strips] = column(tmp_path / "fisheye.rrd", "/lens/front_wide/plan", "LineStrips2D:strips")
    assert len(strips) > 10, "the plan is drawn by our own lens"
    assert column(tmp_path / "fisheye.rrd", f"{EGO}/front_wide", "EncodedImage:blob") == []


def test_a_camera_that_falls_silent_leaves_no_old_picture(scenes: list[Scene], tmp_path: Path) -> None:
    silent = replace(scenes[-1], frames={role: f for role, f in scenes[-1].frames.items() if role != "rear_left"})
    write_rrd(iter([scenes[-2], silent]), tmp_path / "silent.rrd")
    assert len(column(tmp_path / "silent.rrd", f"{EGO}/rear_left", "EncodedImage:blob")) == 1
    assert len(column(tmp_path / "silent.rrd", f"{EGO}/rear_left", "Clear:is_recursive")) == 1
