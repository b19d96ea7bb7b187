"""nuScenes: scenes of a folder with v1.0-*/*.json, samples/ and sweeps/ (nuscenes.org, schema v1.0).

The ego frame is the base frame: x forward, y left, z up, origin at the midpoint of the rear axle on the ground. Camera
frames are optical frames; their images have no distortion left.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.evaluation.conversion import folders
from alpamayo_ros.evaluation.conversion.clip import Clip, ClipCamera, ImageFiles
from alpamayo_ros.evaluation.conversion.motion import twists
from alpamayo_ros.geometry import rotation_from_quaternion, transform
from alpamayo_ros.types import F64, EgoPose, InvalidInput

CAMERAS = {
    "front_left": "CAM_FRONT_LEFT",
    "front_wide": "CAM_FRONT",
    "front_right": "CAM_FRONT_RIGHT",
    "rear_left": "CAM_BACK_LEFT",
    "rear_tele": "CAM_BACK",
    "rear_right": "CAM_BACK_RIGHT",
}

CHUNK_CHARACTERS = 1 << 20
_BETWEEN = re.compile(r"[\s,]+")

Row = dict[str, Any]


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53  # a number that other readers of JSON keep, too


def _is_vector(value: Any, count: int) -> bool:
    finite = isinstance(value, list) and all(type(number) in (int, float) and abs(number) < math.inf for number in value)
    return finite and len(value) == count


_TEXT = ("text", lambda value: isinstance(value, str))
_WANTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "timestamp": ("a whole number of microseconds", _is_whole),
    "width": ("a whole number of pixels", _is_whole),
    "height": ("a whole number of pixels", _is_whole),
    "translation": ("3 numbers", lambda value: _is_vector(value, 3)),
    "rotation": ("4 numbers", lambda value: _is_vector(value, 4)),
    "camera_intrinsic": (
        "3 x 3 numbers, or none",
        lambda value: isinstance(value, list) and len(value) in (0, 3) and all(_is_vector(row, 3) for row in value),
    ),
}
"""What keys hold, in words and as a test; all others are text."""


@dataclass(frozen=True)
class _Folder:
    root: Path  # has samples/ and sweeps/
    tables: Path  # v1.0-*


def scenes(source: Path) -> list[str]:
    """Names of the scenes. Raises InvalidInput for what is not one version of the data set."""
    return [str(row["name"]) for row in _rows(_folder(source), "scene", "token", "name")]


def read(source: Path, scene: str) -> Clip:
    """A scene. Raises InvalidInput: files or keys that are not there, or values that cannot be."""
    folder = _folder(source)
    token = next(row["token"] for row in _rows(folder, "scene", "token", "name") if row["name"] == scene)
    samples = {row["token"] for row in _rows(folder, "sample", "token", "scene_token") if row["scene_token"] == token}
    mounts = _mounts(folder)
    data: dict[str, list[Row]] = defaultdict(list)
    keys = ("sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp", "filename", "width", "height")
    for row in _rows(folder, "sample_data", *keys):
        if row["sample_token"] in samples:
            data[_linked(mounts, row["calibrated_sensor_token"], "calibrated_sensor")["channel"]].append(row)
    for rows in data.values():
        rows.sort(key=lambda row: row["timestamp"])
    if not data:
        raise InvalidInput(f"{folder.tables}: no sample_data of scene {scene}")
    cameras = [_camera(folder.root, role, name, data[name], mounts) for role, name in CAMERAS.items() if name in data]
    absent = [name for name in CAMERAS.values() if name not in data]
    poses, note = _poses(folder, data)
    notes = [note, *([f"not in the scene: {', '.join(absent)}"] if absent else [])]
    return Clip(scene, "nuscenes", tuple(cameras), poses, tuple(notes))


def _folder(source: Path) -> _Folder:
    if (source / "scene.json").is_file():
        return _Folder(source.parent, source)
    versions = sorted(path.parent for path in source.glob("v1.0-*/scene.json"))
    if len(versions) == 1:
        return _Folder(source, versions[0])
    found = folders.listed([path.name for path in versions]) if versions else folders.has(source)
    want = "want a folder with one v1.0-*/scene.json beside samples/ and sweeps/, or the v1.0-* folder of one version"
    raise InvalidInput(f"{source}: {want}; found {found}")


def _mounts(folder: _Folder) -> dict[str, Row]:
    """Calibrations by token, each with its sensor's channel."""
    sensors = {row["token"]: row for row in _rows(folder, "sensor", "token", "channel")}
    keys = ("token", "sensor_token", "translation", "rotation", "camera_intrinsic")
    return {
        row["token"]: row | {"channel": _linked(sensors, row["sensor_token"], "sensor")["channel"]}
        for row in _rows(folder, "calibrated_sensor", *keys)
    }


def _linked(rows: dict[str, Row], token: str, table: str) -> Row:
    if token not in rows:
        raise InvalidInput(f"{table}.json: no row {token}, which another table names; it has {len(rows)} rows")
    return rows[token]


def _camera(root: Path, role: str, channel: str, rows: list[Row], mounts: dict[str, Row]) -> ClipCamera:
    mounted = sorted({row["calibrated_sensor_token"] for row in rows})
    if len(mounted) != 1:
        raise InvalidInput(f"{channel}: {len(mounted)} calibrations in one scene, want 1")
    mount = mounts[mounted[0]]
    paths = tuple(folders.below(root, row["filename"]) for row in rows)
    if missing := [path for path in paths if not path.is_file()]:
        raise InvalidInput(f"{channel}: {len(missing)} of {len(paths)} images are missing, such as {missing[0]}: download them")
    images, stamps_ns = ImageFiles(paths), np.array([row["timestamp"] for row in rows], np.int64) * 1000
    lens = _lens(channel, mount["camera_intrinsic"], rows[0]["width"], rows[0]["height"])
    return ClipCamera(role, lens, _pose(mount), "jpeg", stamps_ns, images.read, images.name)


def _lens(channel: str, intrinsic: list[list[float]], width: int, height: int) -> Pinhole:
    k = np.array(intrinsic, np.float64)
    if len(k) != 3 or k[0, 1] != 0:
        raise InvalidInput(f"{channel}: camera_intrinsic {intrinsic}, want 3 x 3 numbers without skew")
    return Pinhole(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)


def _pose(row: Row) -> F64:
    """Pose (4, 4) from a translation and a quaternion (w, x, y, z)."""
    w, x, y, z = row["rotation"]
    try:
        rotation = rotation_from_quaternion(np.array([x, y, z, w]))
    except InvalidInput as error:
        raise InvalidInput(f"row {row['token']}: rotation {row['rotation']}: {error}") from error
    return transform(rotation, np.array(row["translation"], np.float64))


def _poses(folder: _Folder, data: dict[str, list[Row]]) -> tuple[tuple[EgoPose, ...], str]:
    """Ego poses of the sensor that has most of them, evenly spaced, and a note about them; twists from the poses."""
    channel = max(data, key=lambda name: len(data[name]))
    wanted = {row["ego_pose_token"] for row in data[channel]}
    rows = [r for r in _rows(folder, "ego_pose", "token", "timestamp", "translation", "rotation") if r["token"] in wanted]
    if len(rows) != len(wanted):
        raise InvalidInput(f"{folder.tables}/ego_pose.json: {len(rows)} of the {len(wanted)} ego poses of {channel}")
    rows.sort(key=lambda row: row["timestamp"])
    stamps_ns, matrices = np.array([r["timestamp"] for r in rows], np.int64) * 1000, np.array([_pose(r) for r in rows])
    xyz, rotations = matrices[:, :3, 3], matrices[:, :3, :3]
    linear, angular = twists(f"{channel}: ego poses", stamps_ns, xyz, rotations)
    poses = (EgoPose(int(stamp), xyz[i], rotations[i], linear[i], angular[i]) for i, stamp in enumerate(stamps_ns))
    return tuple(poses), f"odometry: the {len(rows)} ego poses of {channel}; their twists are fitted to them"


def _rows(folder: _Folder, table: str, *keys: str) -> Iterator[Row]:
    """Rows of a table one at a time: sample_data.json of the whole data set is larger than a gigabyte. Raises InvalidInput."""
    path = folder.tables / f"{table}.json"
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; found {folders.has(folder.tables)}")
    for row in _json_items(path):
        found = row if isinstance(row, dict) else {}
        if missing := [key for key in keys if key not in found]:
            raise InvalidInput(f"{path}: a row has no {', '.join(missing)}; it has {', '.join(found) or repr(row)[:80]}")
        for key in keys:
            want, is_right = _WANTED.get(key, _TEXT)
            if not is_right(row[key]):
                raise InvalidInput(f"{path}: row {row['token']}: {key} is {row[key]!r:.80}, want {want}")
        yield row


def _json_items(path: Path) -> Iterator[Any]:
    """Items of the list in a JSON file, without the whole file in memory."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8", errors="replace") as file:
        text, at = file.read(CHUNK_CHARACTERS).lstrip(), 1
        if not text.startswith("["):
            raise InvalidInput(f"{path}: want a JSON list, it begins with {text[:20]!r}")
        while True:
            between = _BETWEEN.match(text, at)
            at = between.end() if between else at
            if text.startswith("]", at):
                return
            try:
                item, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                more = file.read(CHUNK_CHARACTERS)
                if not more:
                    raise InvalidInput(f"{path}: not whole JSON: {error}") from error
                text, at = text[at:] + more, 0
            else:
                yield item
