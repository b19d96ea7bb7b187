"""KITTI raw data: synced and rectified drives (Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013).

A date's folder has its calibration and <date>_drive_<number>_sync folders. Poses are made as in the data set's development
kit (convertOxtsToPose.m): Mercator projection at the first latitude, then roll, pitch and yaw about fixed axes, east first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.evaluation.conversion import folders
from alpamayo_ros.evaluation.conversion.clip import Clip, ClipCamera, ImageFiles, check_rotation
from alpamayo_ros.evaluation.conversion.motion import I64, moved_to_base
from alpamayo_ros.geometry import rotation_from_rpy, rotation_z, transform
from alpamayo_ros.types import F64, EgoPose, InvalidInput

CAMERA = "image_02"
"""The left colour camera. image_03 sees the same from 0.54 m beside it, and no second role looks forward as wide."""

EARTH_RADIUS_M = 6_378_137.0  # as in the development kit's latlonToMercator.m

BASE_FROM_IMU = transform(np.eye(3), np.array([-0.05, 0.32, 0.93]))
"""The inertial unit, to whose frame poses and calibration refer, is 0.05 m behind the rear axle, 0.32 m left of the middle
and 0.93 m above the road (figure 3 of the paper), its axes forward, left, up."""

# Columns of oxts/data/*.txt (its dataformat.txt).
OXTS_COLUMNS = 30
_PLACE, _RPY, _VELOCITY, _TURN = slice(3), slice(3, 6), slice(8, 11), slice(17, 20)


def scenes(source: Path) -> list[str]:
    """Names of the drives in a date's folder, in a folder of dates, or the one drive that the folder is."""
    return sorted(_drives(source))


def read(source: Path, scene: str) -> Clip:
    """A drive. Raises InvalidInput: files or keys that are not there, or values that cannot be."""
    drive = _drives(source)[scene]
    paths, stamps_ns = _stream(drive / CAMERA, ".png")
    images, (lens, base_from_optical) = ImageFiles(paths), _calibration(drive.parent)
    camera = ClipCamera("front_wide", lens, base_from_optical, "png", stamps_ns, images.read, images.name)
    poses = _poses(drive / "oxts")
    notes = (
        "one camera, image_02: image_03 has no role of its own",
        "stamps are the recording's local time taken for UTC",
        f"odometry: the {len(poses)} oxts packets of the drive as they are, about 10 a second",
    )
    return Clip(scene, "kitti", (camera,), poses, notes)


def _drives(source: Path) -> dict[str, Path]:
    if source.name.endswith("_sync"):
        return {source.name: source}
    drives = [*source.glob("*_sync"), *source.glob("*/*_sync")]
    if not drives:
        want = "want <date>/<drive>_sync folders (synced and rectified raw data)"
        raise InvalidInput(f"{source}: {want}, found {folders.has(source)}")
    return {drive.name: drive for drive in drives}


def _stream(folder: Path, suffix: str) -> tuple[tuple[Path, ...], I64]:
    """Files of a sensor and their times."""
    listed = folder / "timestamps.txt"
    if not listed.is_file():
        raise InvalidInput(f"{listed}: no such file; {folder.parent} has {folders.has(folder.parent)}")
    lines = _text(listed).split("\n")
    try:
        times = np.array([line.strip().replace(" ", "T") for line in lines if line.strip()], "datetime64[ns]")
    except ValueError as error:
        raise InvalidInput(f"{listed}: want a date and time per line: {error}") from error
    paths = tuple(sorted((folder / "data").glob(f"*{suffix}")))
    if len(paths) != len(times):
        raise InvalidInput(f"{folder}: {len(paths)} {suffix} files, but {len(times)} timestamps")
    return paths, times.astype(np.int64)


def _poses(folder: Path) -> tuple[EgoPose, ...]:
    """Poses of the base frame, in an odometry frame east-north-up that begins at the first one of the inertial unit."""
    paths, stamps_ns = _stream(folder, ".txt")
    if not paths:
        raise InvalidInput(f"{folder}: no packets: its timestamps.txt and its data folder are empty")
    rows = [_floats(_text(path), str(path), OXTS_COLUMNS) for path in paths]
    places = mercator(np.array([row[_PLACE] for row in rows]))
    return tuple(
        moved_to_base(_imu_pose(int(stamp), place, row), BASE_FROM_IMU)
        for stamp, place, row in zip(stamps_ns, places, rows, strict=True)
    )


def mercator(lat_lon_alt: F64) -> F64:
    """Degrees, degrees, metres (N, 3) as metres east, north, up (N, 3) of the first one."""
    lat, lon = np.radians(lat_lon_alt[:, 0]), np.radians(lat_lon_alt[:, 1])
    # x = s R lon, y = s R log tan(pi/4 + lat/2), s = cos(lat of the first)
    scale_m = EARTH_RADIUS_M * np.cos(lat[0])
    places = np.column_stack([scale_m * lon, scale_m * np.log(np.tan(np.pi / 4 + lat / 2)), lat_lon_alt[:, 2]])
    relative: F64 = places - places[0]
    return relative


def _imu_pose(stamp_ns: int, place: F64, row: F64) -> EgoPose:
    """Velocities are forward, left and up of the level vehicle, turn rates of its own axes (dataformat.txt)."""
    odom_from_imu = rotation_from_rpy(*row[_RPY])
    velocity_odom = rotation_z(float(row[_RPY][2])) @ row[_VELOCITY]
    return EgoPose(stamp_ns, place, odom_from_imu, odom_from_imu.T @ velocity_odom, row[_TURN])


def _calibration(folder: Path) -> tuple[Pinhole, F64]:
    """The rectified camera and its pose (4, 4) in the base frame."""
    lenses = _numbers(folder / "calib_cam_to_cam.txt", {"R_rect_00": 9, "P_rect_02": 12, "S_rect_02": 2})
    projection = lenses["P_rect_02"].reshape(3, 4)
    k, width, height = projection[:, :3], *(int(size) for size in lenses["S_rect_02"])
    if k[0, 1] != 0:
        raise InvalidInput(f"{folder}: P_rect_02 has skew {k[0, 1]}, want 0")
    if not (k[0, 0] > 0 and k[1, 1] > 0 and k[2].tolist() == [0, 0, 1]):
        raise InvalidInput(
            f"{folder}: P_rect_02 has the focal lengths {k[0, 0]:g}, {k[1, 1]:g} and the third row {k[2].tolist()}: "
            "want both above 0 px, and 0 0 1"
        )
    # The projection matrix is K [I | t]: camera 2 from rectified camera 0 is a shift.
    camera_from_rect = transform(np.eye(3), np.linalg.solve(k, projection[:, 3]))
    rectified = lenses["R_rect_00"].reshape(3, 3)
    check_rotation(f"{folder / 'calib_cam_to_cam.txt'}: R_rect_00", rectified)
    rect_from_first = transform(rectified, np.zeros(3))
    first_from_velo, velo_from_imu = _rigid(folder / "calib_velo_to_cam.txt"), _rigid(folder / "calib_imu_to_velo.txt")
    camera_from_imu = camera_from_rect @ rect_from_first @ first_from_velo @ velo_from_imu
    lens = Pinhole(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)
    return lens, BASE_FROM_IMU @ np.linalg.inv(camera_from_imu)


def _rigid(path: Path) -> F64:
    numbers = _numbers(path, {"R": 9, "T": 3})
    rotation = numbers["R"].reshape(3, 3)
    check_rotation(f"{path}: R", rotation)
    return transform(rotation, numbers["T"])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not text: {error}") from error


def _numbers(path: Path, wanted: dict[str, int]) -> dict[str, F64]:
    """Numbers by key from a file of "key: numbers" lines; how many of each are wanted. Raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; the folder has {folders.has(path.parent)}")
    lines = dict(line.split(":", 1) for line in _text(path).splitlines() if ":" in line)
    numbers = {}
    for key, count in wanted.items():
        if key not in lines:
            raise InvalidInput(f"{path}: no {key}; it has {', '.join(lines)}")
        numbers[key] = _floats(lines[key], f"{path}: {key}", count)
    return numbers


def _floats(text: str, name: str, count: int) -> F64:
    try:
        numbers = np.array(text.split(), np.float64)
    except ValueError as error:
        raise InvalidInput(f"{name}: want {count} numbers: {error}") from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InvalidInput(f"{name}: {np.count_nonzero(np.isfinite(numbers))} finite numbers of {len(numbers)}, want {count}")
    return numbers
