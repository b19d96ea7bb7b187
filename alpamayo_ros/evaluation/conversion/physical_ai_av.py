"""PhysicalAI-AV: clips of the gated data set nvidia/PhysicalAI-Autonomous-Vehicles, from a folder that was downloaded.

Layout and columns: the wiki of github.com/NVlabs/physical_ai_av and its package physical_ai_av 0.2.3. The rig frame is the
base frame: x forward, y left, z up, origin at the rear axle on the ground. Egomotion is in an anchor frame that begins at
the vehicle. Pixel indices are centres, as here.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.polynomial import Polynomial

from alpamayo_ros.cameras import FTheta
from alpamayo_ros.evaluation.conversion import folders
from alpamayo_ros.evaluation.conversion.clip import Clip, ClipCamera
from alpamayo_ros.evaluation.conversion.motion import I64, twists
from alpamayo_ros.evaluation.conversion.video import jpeg_frames
from alpamayo_ros.geometry import rotation_from_quaternion, transform
from alpamayo_ros.types import F64, EgoPose, InvalidInput

CAMERAS = {
    "front_left": "camera_cross_left_120fov",
    "front_wide": "camera_front_wide_120fov",
    "front_right": "camera_cross_right_120fov",
    "rear_left": "camera_rear_left_70fov",
    "rear_tele": "camera_rear_tele_30fov",
    "rear_right": "camera_rear_right_70fov",
    "front_tele": "camera_front_tele_30fov",
}

EPOCH_NS = 1_700_000_000 * 1_000_000_000
"""The bag's time of a clip's time 0: the data set says when within a clip, not on which day."""

MAX_CONSTANT_PX = 0.1
"""Our f-theta has no constant term: a lens with a larger one is refused."""

_NEEDED = {
    "camera_intrinsics": frozenset[str](),
    "sensor_extrinsics": frozenset[str](),
    "egomotion": frozenset({"egomotion"}),
    **{name: frozenset({"video", "frame_timestamps"}) for name in CAMERAS.values()},
}
"""Features that are read, and what of a clip they keep in a chunk's zip."""

_QUATERNION, _XYZ, _VELOCITY = ("qx", "qy", "qz", "qw"), ("x", "y", "z"), ("vx", "vy", "vz")
_INTRINSICS = ("width", "height", "cx", "cy", *(f"fw_poly_{i}" for i in range(5)))


@dataclass(frozen=True)
class _Feature:
    """Where the data set keeps one kind of data."""

    chunk_path: str  # "camera/.../....chunk_{chunk_id:04d}.zip"
    members: dict[str, str]  # files of a clip in a chunk's zip

    def chunk(self, source: Path, chunk_id: int) -> Path:
        return folders.below(source, self.chunk_path.format(chunk_id=chunk_id))

    def files(self, scene: str) -> dict[str, str]:
        return {kind: name.format(clip_id=scene) for kind, name in self.members.items()}


@dataclass(frozen=True)
class _Film:
    """A camera's video in a chunk."""

    archive: Path
    member: str
    frames: int

    def jpegs(self, wanted: I64) -> Iterator[bytes]:
        return jpeg_frames(_member(self.archive, self.member), f"{self.archive}: {self.member}", self.frames, wanted)

    def name(self, index: int) -> str:
        return f"{self.archive}: {self.member}, frame {index}"


def scenes(source: Path) -> list[str]:
    """Ids of the clips whose egomotion is in the folder. Raises InvalidInput."""
    egomotion = _features(source)["egomotion"]
    chunks = _clip_chunks(source)
    there = {chunk for chunk in set(chunks.values()) if egomotion.chunk(source, chunk).is_file()}
    if not there:
        want = egomotion.chunk(source, min(chunks.values(), default=0))
        raise InvalidInput(
            f"{source}: {len(chunks)} clips in the index, but the egomotion of none, such as {want}: download it"
        )
    return sorted(clip for clip, chunk in chunks.items() if chunk in there)


def read(source: Path, scene: str) -> Clip:
    """A clip. Raises InvalidInput: files or columns that are not there, or values that cannot be."""
    features, chunk = _features(source), _clip_chunks(source)[scene]
    lenses = _calibration(source, features["camera_intrinsics"].chunk(source, chunk), scene, "camera_name", _INTRINSICS)
    poses = _calibration(source, features["sensor_extrinsics"].chunk(source, chunk), scene, "sensor_name", _QUATERNION + _XYZ)
    cameras, absent = [], []
    for role, name in CAMERAS.items():
        archive, members = features[name].chunk(source, chunk), features[name].files(scene)
        if not archive.is_file() or members["video"] not in _archived(archive):
            absent.append(name)
        elif name not in lenses or name not in poses:
            raise InvalidInput(
                f"{source}: no calibration of {name} for clip {scene}; there is {', '.join({*lenses} & {*poses})}"
            )
        else:
            stamps_ns = _stamps_ns(_clip_table(archive, members["frame_timestamps"], ("timestamp",)))
            film = _Film(archive, members["video"], len(stamps_ns))
            lens, pose = _lens(name, lenses[name]), _pose(poses[name])
            cameras.append(ClipCamera(role, lens, pose, "jpeg", stamps_ns, film.jpegs, film.name))
    notes = [f"time 0 of the clip is {EPOCH_NS // 10**9} s: the data set does not say when it was recorded"]
    notes += [f"not in the folder: {', '.join(absent)}"] if absent else []
    return Clip(scene, "hyperion8", tuple(cameras), _egomotion(features["egomotion"], source, chunk, scene), tuple(notes))


def _features(source: Path) -> dict[str, _Feature]:
    path = source / "features.csv"
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; want the data set's root folder, this one has {folders.has(source)}")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        features = {r["feature"]: _Feature(r["chunk_path"], json.loads(r["clip_files_in_zip"] or "{}")) for r in rows}
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        want = "feature, chunk_path, clip_files_in_zip (JSON)"
        raise InvalidInput(f"{path}: want columns {want}, has {', '.join(rows[0] if rows else ())}: {error!r}") from error
    for name, members in _NEEDED.items():
        if name not in features:
            raise InvalidInput(f"{path}: no feature {name}; it has {', '.join(features)}")
        if missing := sorted(members - set(features[name].members)):
            raise InvalidInput(
                f"{path}: {name} has no {', '.join(missing)} in its zip, but {', '.join(features[name].members)}"
            )
    return features


def _clip_chunks(source: Path) -> dict[str, int]:
    path = source / "clip_index.parquet"
    table = _table(path, str(path), ("clip_id", "chunk"))
    return dict(zip(table["clip_id"].to_pylist(), table["chunk"].to_pylist(), strict=True))


def _egomotion(feature: _Feature, source: Path, chunk: int, scene: str) -> tuple[EgoPose, ...]:
    """Poses and velocities of the data set, both in the anchor frame; turn rates from the poses."""
    columns = ("timestamp", *_QUATERNION, *_XYZ, *_VELOCITY)
    table = _clip_table(feature.chunk(source, chunk), feature.files(scene)["egomotion"], columns)
    stamps_ns, xyz, velocity = _stamps_ns(table), _numbers(table, _XYZ), _numbers(table, _VELOCITY)
    rotations = np.array([rotation_from_quaternion(q) for q in _numbers(table, _QUATERNION)])
    _, angular = twists(f"{scene}: ego poses", stamps_ns, xyz, rotations)
    return tuple(
        EgoPose(int(stamp), xyz[i], rotations[i], rotations[i].T @ velocity[i], angular[i]) for i, stamp in enumerate(stamps_ns)
    )


def _calibration(source: Path, path: Path, scene: str, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """By sensor name."""
    table = _table(path, str(path), ("clip_id", key, *columns))
    rows = [row for row in table.to_pylist() if row["clip_id"] == scene]
    if not rows:
        raise InvalidInput(f"{path}: no clip {scene} in it: is {source} of one revision?")
    return {row[key]: row for row in rows}


def _lens(name: str, row: dict[str, float]) -> FTheta:
    constant, *coefficients = (float(row[f"fw_poly_{i}"]) for i in range(5))
    if not abs(constant) <= MAX_CONSTANT_PX:
        raise InvalidInput(f"{name}: fw_poly_0 is {constant} px, want at most {MAX_CONSTANT_PX}: such a lens is not supported")
    width, height, cx, cy = int(row["width"]), int(row["height"]), float(row["cx"]), float(row["cy"])
    corner_px = float(np.hypot(max(cx, width - 1 - cx), max(cy, height - 1 - cy)))
    return FTheta(cx, cy, width, height, tuple(coefficients), _angle_at(corner_px, coefficients))


def _angle_at(radius_px: float, coefficients: list[float]) -> float:
    """Where the curve reaches a radius, or stops rising before; at most pi."""
    curve = Polynomial([0.0, *coefficients])
    reached, folds = np.asarray((curve - radius_px).roots(), complex), np.asarray(curve.deriv().roots(), complex)
    angles = np.concatenate([reached, folds * (1 - 1e-9)])
    real = angles.real[(np.abs(angles.imag) < 1e-9) & (angles.real > 0)]
    return float(min([*real, np.pi]))


def _pose(row: dict[str, float]) -> F64:
    """Pose (4, 4) of a sensor's frame in the rig frame: sensor -> rig, as the data set gives it."""
    rotation = rotation_from_quaternion(np.array([row[name] for name in _QUATERNION], np.float64))
    return transform(rotation, np.array([row[name] for name in _XYZ], np.float64))


def _table(file: Any, name: str, columns: tuple[str, ...]) -> pa.Table:
    """These columns of a parquet file. Raises InvalidInput."""
    if isinstance(file, Path) and not file.is_file():
        raise InvalidInput(f"{name}: no such file: download it with the rest of the data set")
    try:
        found = pq.read_schema(file).names
        if missing := [column for column in columns if column not in found]:
            raise InvalidInput(f"{name}: no column {', '.join(missing)}; it has {', '.join(found)}")
        return pq.read_table(file, columns=list(columns))
    except pa.ArrowException as error:
        raise InvalidInput(f"{name}: not a readable parquet file: {error}") from error


def _stamps_ns(table: pa.Table) -> I64:
    """Microseconds since the clip's start as the bag's time."""
    stamps_ns: I64 = table["timestamp"].to_numpy().astype(np.int64) * 1000 + EPOCH_NS
    return stamps_ns


def _numbers(table: pa.Table, columns: tuple[str, ...]) -> F64:
    return np.column_stack([table[column].to_numpy() for column in columns]).astype(np.float64)


def _clip_table(archive: Path, member: str, columns: tuple[str, ...]) -> pa.Table:
    return _table(io.BytesIO(_member(archive, member)), f"{archive}: {member}", columns)


def _archived(path: Path) -> list[str]:
    """Names of the files in a zip file. Raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file: download it with the rest of the data set")
    try:
        with zipfile.ZipFile(path) as files:
            return files.namelist()
    except zipfile.BadZipFile as error:
        raise InvalidInput(f"{path}: not a whole zip file: {error}") from error


def _member(archive: Path, member: str) -> bytes:
    if member not in (names := _archived(archive)):
        raise InvalidInput(f"{archive}: no {member} among its {len(names)} files")
    try:
        with zipfile.ZipFile(archive) as files:
            return files.read(member)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(f"{archive}: {member} is damaged: {error}") from error
