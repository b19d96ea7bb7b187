"""Scenes as a Rerun recording with its blueprint: `rerun file.rrd` opens it as it is meant to be looked at.

Everything stands on two timelines, "t0" and the number of the cycle. The world is the odometry frame, moved to where the
vehicle is in the first scene: Rerun draws in single precision. Camera images are the recorded bytes; only raw ones are
compressed. Rerun knows no lens but the undistorted pinhole, so the plan is projected into every image by our own lenses, and
cameras of other lenses are not placed in the 3D view.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb
import simplejpeg

from alpamayo_ros.cameras import Camera, Pinhole
from alpamayo_ros.drawing import (
    CANDIDATE,
    DRIVEN,
    FAINT,
    INK,
    SEVEN_ROWS,
    VEHICLE_CORNERS,
    Colour,
    ribbon,
    shown_text,
    speed_colours,
)
from alpamayo_ros.evaluation.calibration import View
from alpamayo_ros.evaluation.viewing.scenes import Scene, said
from alpamayo_ros.geometry import apply, inverse
from alpamayo_ros.types import F64, InvalidInput, Plan

APPLICATION = "alpamayo_ros"
T0, CYCLE = "t0", "cycle"  # timelines
ONLY_OF_A_PLAN = ("plan", "candidates")  # below the vehicle
MOTION = {"speed_mps": "speed m/s", "acceleration_mps2": "acceleration m/s2", "curvature_1pm": "curvature 1/m"}
PLANNER = {"latency_ms": "latency ms", "consistent": "consistent"}
TEXT, TEXTS = "trace/shown", "trace/all"

RIBBON_ROWS = 64  # of the ribbon's 256: Rerun draws each as its own piece
VEHICLE_HEIGHT_M = 1.5
LIFT_M = np.array([0.0, 0.0, 0.03])
"""Paths lie this much above the ground, so that they do not flicker in the grid."""

JPEG_QUALITY = 90


def write_rrd(scenes: Iterator[Scene], path: Path) -> None:
    """Write the recording. Raises InvalidInput when a raw image is none."""
    first = next(scenes, None)
    if first is None:
        raise InvalidInput(f"{path}: no scene to write")
    # The same name for every recording of one first instant: Rerun shows a file that was made again in its place.
    recording = rr.RecordingStream(APPLICATION, recording_id=f"{APPLICATION}_{first.t0_ns}")
    recording.save(path, default_blueprint=blueprint(first))
    log = Log(recording, first)
    try:
        for cycle, scene in enumerate(chain([first], scenes)):
            log.add(cycle, scene)
        log.path()
    finally:
        recording.disconnect()


def blueprint(scene: Scene) -> rrb.Blueprint:
    """Cameras in their places; below them the view in 3D that follows the vehicle, the words, and the curves."""
    rows = [[_camera_view(role, scene) for role in row if role in scene.views] for row in SEVEN_ROWS]
    eye = rrb.EyeControls3D(position=(-9.0, 0.0, 6.5), look_target=(14.0, 0.0, 0.0), eye_up=(0.0, 0.0, 1.0))
    above = rrb.Spatial3DView(
        origin="world/ego", contents="world/**", name="3D", eye_controls=eye, line_grid=rrb.LineGrid3D(spacing=10.0)
    )
    columns = rrb.TextLogColumns(timeline_columns=[CYCLE], text_log_columns=["Body"])
    traces = rrb.TextLogView(origin=TEXTS, name="traces", columns=columns)
    words = rrb.Vertical(rrb.TextDocumentView(origin=TEXT, name="plan"), traces, row_shares=[3, 2])
    motion = [rrb.TimeSeriesView(origin=f"motion/{name}", name=title) for name, title in MOTION.items()]
    planner = [
        rrb.TimeSeriesView(origin=f"planner/{name}", name=title, plot_legend=rrb.PlotLegend(visible=False))
        for name, title in PLANNER.items()
    ]
    return rrb.Blueprint(
        rrb.Vertical(
            *[rrb.Horizontal(*row) for row in rows if row],
            rrb.Horizontal(above, words, rrb.Vertical(*motion), rrb.Vertical(*planner), column_shares=[5, 4, 3, 2]),
            row_shares=[*[1.0 / len(row) for row in rows if row], 0.42],
        ),
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=T0, playback_speed=1.0),
        auto_layout=False,
        auto_views=False,
    )


class Log:
    """Writes scenes into one recording."""

    def __init__(self, recording: rr.RecordingStream, first: Scene) -> None:
        self._recording = recording
        self._origin = np.zeros(3) if first.ego is None else np.asarray(first.ego.position)
        self._path: list[F64] = []
        self._static(first)

    def add(self, cycle: int, scene: Scene) -> None:
        """Log one scene at its t0."""
        self._recording.set_time(T0, timestamp=np.datetime64(scene.t0_ns, "ns"))
        self._recording.set_time(CYCLE, sequence=cycle)
        if scene.ego is not None:
            self._path.append(scene.ego.position - self._origin)
            self._log("world/ego", rr.Transform3D(translation=self._path[-1], mat3x3=scene.ego.odom_from_ego))
            self._log("motion/speed_mps/driven", rr.Scalars(scene.ego.speed_mps))
        history = np.zeros((0, 3)) if scene.history is None else scene.history.xyz.astype(np.float64)
        self._line("world/ego/history", [history], FAINT)
        self._line("world/ego/driven", [scene.driven.xyz], DRIVEN)
        for role, view in scene.views.items():
            self._camera(role, view, scene)
        self._words(scene)
        if scene.plan is None:
            for name in ONLY_OF_A_PLAN:
                self._log(f"world/ego/{name}", rr.Clear(recursive=False))
        else:
            self._plan(scene.plan)

    def path(self) -> None:
        """Log where the vehicle was in all scenes."""
        points = np.array(self._path).reshape(-1, 3)
        self._log("world/path", rr.LineStrips3D([points], colors=[INK], radii=[0.05]), static=True)

    def _static(self, first: Scene) -> None:
        self._log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        low, high = VEHICLE_CORNERS.min(axis=0), VEHICLE_CORNERS.max(axis=0)
        half = [*(high - low) / 2, VEHICLE_HEIGHT_M / 2]
        centre = [*(high + low) / 2, VEHICLE_HEIGHT_M / 2]
        self._log("world/ego/vehicle", rr.Boxes3D(centers=[centre], half_sizes=[half], colors=[INK]), static=True)
        for role, (camera, optical_from_ego, _) in first.views.items():
            if is_plain(camera):
                ego_from_optical = inverse(optical_from_ego)
                place = rr.Transform3D(translation=ego_from_optical[:3, 3], mat3x3=ego_from_optical[:3, :3])
                self._log(entity(role, camera), place, static=True)
                self._log(entity(role, camera), _pinhole(camera), static=True)

    def _camera(self, role: str, view: View, scene: Scene) -> None:
        at = entity(role, view.camera)
        self._log(at, _image(scene, role) if role in scene.frames else rr.Clear(recursive=False))
        drawn: tuple[list[F64], list[Colour]] = [], []
        if scene.plan is not None and role in scene.frames:
            drawn = ladder(scene.plan, view._replace(optical_from_ego=scene.optical_from_ego_t0(role)))
        strips, colours = drawn
        self._log(f"{at}/plan", rr.LineStrips2D(strips, colors=colours or None, radii=rr.Radius.ui_points(2.0)))

    def _plan(self, plan: Plan) -> None:
        corners, speed_mps = _rows(plan)
        edges = corners[:, [0, -1]].reshape(-1, 3) + LIFT_M
        quads = np.arange(0, len(edges) - 2, 2)[:, None, None] + np.array([[0, 1, 2], [2, 1, 3]])
        colours = [colour for colour in speed_colours(speed_mps) for _ in range(2)]
        mesh = rr.Mesh3D(vertex_positions=edges, triangle_indices=quads.reshape(-1, 3), vertex_colors=colours)
        self._log("world/ego/plan", mesh)
        self._line("world/ego/candidates", [candidate.xyz for candidate in plan.candidates], CANDIDATE)
        path = plan.trajectory
        for name, values in zip(MOTION, (path.speed_mps, path.accel_mps2, path.curvature_1pm), strict=True):
            self._log(f"motion/{name}/planned", rr.Scalars(values[0]))
        if plan.consistent.agrees is not None:
            self._log("planner/consistent", rr.Scalars(float(plan.consistent.agrees)))

    def _words(self, scene: Scene) -> None:
        # Plain text: what a model writes is no markup.
        self._log(TEXT, rr.TextDocument("\n".join(said(scene)), media_type=rr.MediaType.TEXT))
        text = f"no plan: {scene.refused}" if scene.plan is None else shown_text(scene.plan.reasoning.text)
        self._log(TEXTS, rr.TextLog(text, level=rr.TextLogLevel.INFO if scene.plan else rr.TextLogLevel.WARN))
        if scene.status.latency_ms is not None:
            self._log("planner/latency_ms", rr.Scalars(scene.status.latency_ms))

    def _line(self, at: str, strips: list[F64], colour: Colour) -> None:
        raised = [strip + LIFT_M for strip in strips]
        self._log(at, rr.LineStrips3D(raised, colors=[colour], radii=[0.08]))

    def _log(self, at: str, what: rr.AsComponents, static: bool = False) -> None:
        self._recording.log(at, what, static=static, strict=True)


def is_plain(camera: Camera) -> bool:
    """Whether Rerun can hold this lens."""
    return isinstance(camera, Pinhole) and not any(camera.distortion)


def entity(role: str, camera: Camera) -> str:
    """Where a camera's image is logged: in the world when Rerun can place it there."""
    return f"world/ego/{role}" if is_plain(camera) else f"lens/{role}"


def ladder(plan: Plan, view: View) -> tuple[list[F64], list[Colour]]:
    """The plan in a camera's image: both edges and every eighth rung in pieces (2, 2) px and their colours.

    Rerun's pixels begin at their corner, ours at their centre.
    """
    corners, speed_mps = _rows(plan)
    edges = corners[:, [0, -1]]
    uv, visible = view.camera.project(apply(view.optical_from_ego, edges.reshape(-1, 3)))
    uv, seen = (uv + 0.5).reshape(-1, 2, 2), visible.reshape(-1, 2)
    colours = speed_colours(speed_mps)
    pieces: list[tuple[F64, Colour]] = []
    for side in (0, 1):
        whole = seen[:-1, side] & seen[1:, side]
        pieces += [(uv[i : i + 2, side], colours[i]) for i in np.flatnonzero(whole).tolist()]
    pieces += [(uv[i], colours[i]) for i in np.flatnonzero(seen.all(axis=1)).tolist() if i % 8 == 7]
    return [strip for strip, _ in pieces], [colour for _, colour in pieces]


def _rows(plan: Plan) -> tuple[F64, F64]:
    """RIBBON_ROWS of the plan's ribbon, the last one among them, and the speed at each."""
    corners, speed_mps = ribbon(plan.trajectory)
    picked = np.linspace(0, len(corners) - 1, RIBBON_ROWS).round().astype(int)
    return corners[picked], speed_mps[picked]


def _pinhole(camera: Camera) -> rr.Pinhole:
    assert isinstance(camera, Pinhole)
    image_from_camera = [[camera.fx, 0.0, camera.cx + 0.5], [0.0, camera.fy, camera.cy + 0.5], [0.0, 0.0, 1.0]]
    return rr.Pinhole(
        image_from_camera=image_from_camera,
        resolution=(camera.width, camera.height),
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=1.0,
    )


def _image(scene: Scene, role: str) -> rr.EncodedImage:
    frame = scene.frames[role]
    if frame.encoding in ("jpeg", "png"):
        return rr.EncodedImage(contents=bytes(frame.data), media_type=f"image/{frame.encoding}")
    image, _ = scene.pixels(role, frame.width)
    return rr.EncodedImage(contents=simplejpeg.encode_jpeg(image, JPEG_QUALITY), media_type="image/jpeg")


def _camera_view(role: str, scene: Scene) -> rrb.Spatial2DView:
    return rrb.Spatial2DView(origin=entity(role, scene.views[role].camera), name=role)
