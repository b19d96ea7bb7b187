"""Small data sets on disk, of the drive of drive.py, in the layouts that their publishers document."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from av.video.reformatter import ColorRange, Colorspace
from evaluation.conversion.drive import OPTICAL, YAW_RATE_RPS, Eye, ego, ftheta, jpeg, mounted, pinhole, turn_rate, velocity
from scipy.spatial.transform import Rotation

from alpamayo_ros.geometry import transform
from alpamayo_ros.profile import read_rig

# --- PhysicalAI-AV -----------------------------------------------------------------------------------------------------------

AV_CLIP, AV_OTHER = "0a948f59-0a06-41a2-8e20-ac3a39ff4d61", "0a948f59-0a06-41a2-8e20-ac3a39ff4d62"
AV_SIZE, AV_SECONDS, AV_FPS = (320, 180), 4.0, 30
AV_NAMES = {
    "front_left": "camera_cross_left_120fov",
    "front_wide": "camera_front_wide_120fov",
    "front_right": "camera_cross_right_120fov",
    "rear_left": "camera_rear_left_70fov",
    "rear_tele": "camera_rear_tele_30fov",
    "rear_right": "camera_rear_right_70fov",
    "front_tele": "camera_front_tele_30fov",
}


def av_lens(name: str) -> dict[str, float]:
    half_rad = np.radians(int(name.rsplit("_", 1)[1].removesuffix("fov")) / 2)
    slope = AV_SIZE[0] / 2 / half_rad
    polynomial = (0.0, slope * 0.98, 0.0, slope * 0.02 / half_rad**2, 0.0)
    row = {"width": AV_SIZE[0], "height": AV_SIZE[1], "cx": 158.5, "cy": 91.0}
    return row | {f"fw_poly_{i}": c for i, c in enumerate(polynomial)} | {f"bw_poly_{i}": 0.0 for i in range(5)}


def av_eye(role: str) -> Eye:
    lens = av_lens(AV_NAMES[role])
    polynomial = tuple(lens[f"fw_poly_{i}"] for i in range(5))
    return Eye(mounted(read_rig("hyperion8").cameras[role].mount), *AV_SIZE, ftheta(lens["cx"], lens["cy"], polynomial))


def av_stamps_us(role: str) -> np.ndarray:
    """Of the frames, from the clip's start; the cameras begin one after the other."""
    return (
        20_000
        + 700 * list(AV_NAMES).index(role)
        + np.round(np.arange(int(AV_SECONDS * AV_FPS)) * 1e6 / AV_FPS).astype(np.int64)
    )


def film(images: list[np.ndarray], tagged: tuple[Colorspace, ColorRange] | None = None) -> bytes:
    """An mp4 with H.264; its colours are BT.601 of limited range and untagged, or as they are tagged."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=AV_FPS, options={"preset": "veryfast", "crf": "14"})
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        matrix, levels = tagged or (Colorspace.ITU601, ColorRange.MPEG)
        if tagged:
            stream.codec_context.colorspace, stream.codec_context.color_range = int(matrix), int(levels)
        for at, image in enumerate(images):
            rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=levels)
            frame.pts, frame.time_base = at, Fraction(1, AV_FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def av_egomotion() -> list[dict[str, float]]:
    rows = []
    for timestamp in range(-100_000, int(AV_SECONDS * 1e6) + 200_000, 10_000):
        pose, v = ego(timestamp / 1e6), velocity(timestamp / 1e6)
        q = Rotation.from_matrix(pose[:3, :3]).as_quat()
        row = dict(zip(("qx", "qy", "qz", "qw", "x", "y", "z", "vx", "vy", "vz"), (*q, *pose[:3, 3], *v), strict=True))
        rows.append({"timestamp": timestamp, **map_floats(row), "ax": 0.0, "ay": 0.0, "az": 0.0, "curvature": 0.0125})
    return rows


def map_floats(row: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items()}


def zipped(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def av_camera(root: Path, role: str, data: bytes | None = None, stamps_us: np.ndarray | None = None) -> None:
    """Write, or write anew, the film of a camera."""
    name, eye = AV_NAMES[role], av_eye(role)
    own = av_stamps_us(role)
    if data is None:
        disc = eye.disc(AV_SECONDS / 2)
        data = film([eye.image(disc, t / 1e6) for t in own])
    rows = [{"frame_index": i, "timestamp": int(t)} for i, t in enumerate(own if stamps_us is None else stamps_us)]
    members = {f"{AV_CLIP}.{name}.mp4": data, f"{AV_CLIP}.{name}.timestamps.parquet": parquet(rows)}
    zipped(root / f"camera/{name}/{name}.chunk_0003.zip", members)


def av_calibration(root: Path, **changes: float) -> None:
    """Both calibration tables; keywords change front_wide's lens."""
    lenses, places = [], []
    for role, name in AV_NAMES.items():
        lens = av_lens(name) | (changes if role == "front_wide" else {})
        lenses.append({"clip_id": AV_CLIP, "camera_name": name, **lens})
        pose = av_eye(role).base_from_optical
        q = Rotation.from_matrix(pose[:3, :3]).as_quat()
        place = dict(zip(("qx", "qy", "qz", "qw", "x", "y", "z"), (*q, *pose[:3, 3]), strict=True))
        places.append({"clip_id": AV_CLIP, "sensor_name": name, **map_floats(place)})
    for kind, rows in (("camera_intrinsics", lenses), ("sensor_extrinsics", places)):
        path = root / f"calibration/{kind}/{kind}.chunk_0003.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(parquet(rows))


def physical_ai_av(root: Path, roles: tuple[str, ...] = tuple(AV_NAMES)) -> Path:
    """One clip of chunk 3; another clip is in the index, but not downloaded."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "features.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["feature", "directory", "chunk_path", "clip_files_in_zip"])
        for name in AV_NAMES.values():
            members = {"video": f"{{clip_id}}.{name}.mp4", "frame_timestamps": f"{{clip_id}}.{name}.timestamps.parquet"}
            table.writerow([name, "camera", f"camera/{name}/{name}.chunk_{{chunk_id:04d}}.zip", json.dumps(members)])
        ego_path, ego_members = (
            "labels/egomotion/egomotion.chunk_{chunk_id:04d}.zip",
            {"egomotion": "{clip_id}.egomotion.parquet"},
        )
        table.writerow(["egomotion", "labels", ego_path, json.dumps(ego_members)])
        for kind in ("camera_intrinsics", "sensor_extrinsics"):
            table.writerow([kind, "calibration", f"calibration/{kind}/{kind}.chunk_{{chunk_id:04d}}.parquet", ""])
    index = [{"clip_id": AV_CLIP, "chunk": 3, "split": "train"}, {"clip_id": AV_OTHER, "chunk": 4, "split": "train"}]
    (root / "clip_index.parquet").write_bytes(parquet(index))
    zipped(root / "labels/egomotion/egomotion.chunk_0003.zip", {f"{AV_CLIP}.egomotion.parquet": parquet(av_egomotion())})
    av_calibration(root)
    for role in roles:
        av_camera(root, role)
    return root


# --- nuScenes ----------------------------------------------------------------------------------------------------------------

NU_SIZE, NU_SECONDS, NU_START_US = (400, 226), 6.0, 1_532_402_927_612_460
NU_NAMES = {
    "front_left": "CAM_FRONT_LEFT",
    "front_wide": "CAM_FRONT",
    "front_right": "CAM_FRONT_RIGHT",
    "rear_left": "CAM_BACK_LEFT",
    "rear_tele": "CAM_BACK",
    "rear_right": "CAM_BACK_RIGHT",
}
NU_WORLD = np.array([411.3, 1180.9, 0.0])  # where the vehicle is at 0 in the map


def nu_focal(role: str) -> float:
    return float(NU_SIZE[0] / 2 / np.tan(np.radians(read_rig("nuscenes").cameras[role].mount.hfov_deg / 2)))


def nu_eye(role: str) -> Eye:
    return Eye(mounted(read_rig("nuscenes").cameras[role].mount), *NU_SIZE, pinhole(nu_focal(role), 203.0, 111.0))


def nu_times_us(channel: str) -> np.ndarray:
    """After the start: lidar at 20 Hz, cameras at 12 Hz as the lidar passes them."""
    if channel == "LIDAR_TOP":
        return np.arange(0, int(NU_SECONDS * 1e6), 50_000)
    first = 4_000 + 6_000 * list(NU_NAMES.values()).index(channel)
    return np.round(np.arange(first, NU_SECONDS * 1e6 - 60_000, 1e6 / 12)).astype(np.int64)


def nu_placed(pose: np.ndarray) -> dict[str, list[float]]:
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
    return {"translation": pose[:3, 3].tolist(), "rotation": [w, x, y, z]}


def nuscenes(root: Path, scenes: tuple[str, ...] = ("scene-0061", "scene-0103")) -> Path:
    """Two scenes; only the first one has data."""
    tables: dict[str, list[dict[str, Any]]] = {"sample_data": [], "ego_pose": [], "sensor": [], "calibrated_sensor": []}
    tables["scene"] = [{"token": f"t-{name}", "name": name, "log_token": "log"} for name in scenes]
    tables["sample"] = [{"token": f"s{i}", "scene_token": f"t-{scenes[0]}", "timestamp": NU_START_US} for i in range(3)]
    tables["log"] = [{"token": "log", "location": "singapore-onenorth"}]
    for role, channel in (*NU_NAMES.items(), ("", "LIDAR_TOP")):
        eye = nu_eye(role) if role else None
        k = [[nu_focal(role), 0.0, 203.0], [0.0, nu_focal(role), 111.0], [0.0, 0.0, 1.0]] if role else []
        placed = nu_placed(eye.base_from_optical if eye else np.eye(4))
        tables["sensor"].append({"token": f"k-{channel}", "channel": channel, "modality": "camera" if role else "lidar"})
        tables["calibrated_sensor"].append(
            {"token": f"c-{channel}", "sensor_token": f"k-{channel}", "camera_intrinsic": k, **placed}
        )
        disc = eye.disc(NU_SECONDS / 2) if eye else None
        for i, after_us in enumerate(nu_times_us(channel).tolist()):
            token, stamp = f"d-{channel}-{i}", NU_START_US + after_us
            folder, suffix = ("samples" if i % 6 == 0 else "sweeps"), "jpg" if role else "pcd.bin"
            name = f"{folder}/{channel}/n015-{channel}__{stamp}.{suffix}"
            width, height = NU_SIZE if role else (0, 0)
            links = {"sample_token": f"s{min(i // 30, 2)}", "ego_pose_token": token, "calibrated_sensor_token": f"c-{channel}"}
            row = {"token": token, **links, "timestamp": stamp, "filename": name, "width": width, "height": height}
            tables["sample_data"].append(row | {"is_key_frame": folder == "samples"})
            pose = ego(after_us / 1e6)
            pose[:3, 3] += NU_WORLD
            tables["ego_pose"].append({"token": token, "timestamp": stamp, **nu_placed(pose)})
            if eye is not None and disc is not None:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(jpeg(eye.image(disc, after_us / 1e6)))
    (root / "v1.0-mini").mkdir(parents=True, exist_ok=True)
    for table, rows in tables.items():
        (root / "v1.0-mini" / f"{table}.json").write_text(json.dumps(rows[::-1], indent=0))  # tables are in no order
    return root


# --- KITTI -------------------------------------------------------------------------------------------------------------------

KITTI_DATE, KITTI_DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
KITTI_SIZE, KITTI_FRAMES, KITTI_LATITUDE = (414, 125), 50, (49.015, 8.434, 112.8)
KITTI_BASE_FROM_IMU = transform(np.eye(3), np.array([-0.05, 0.32, 0.93]))
VELO_FROM_IMU = transform(
    Rotation.from_euler("xyz", (0.2, -0.3, 0.8), degrees=True).as_matrix(), np.array([-0.81, 0.32, -0.80])
)
CAM0_FROM_VELO = transform(
    OPTICAL.T @ Rotation.from_euler("y", 1.0, degrees=True).as_matrix(), np.array([0.004, -0.076, -0.27])
)
RECT_FROM_CAM0 = transform(Rotation.from_euler("xyz", (0.4, 0.6, -0.5), degrees=True).as_matrix(), np.zeros(3))
KITTI_F, KITTI_CX, KITTI_CY, KITTI_SHIFT = 240.5, 203.2, 57.6, np.array([0.0598, -0.0004, 0.0027])  # of camera 2 from 0, m


def kitti_eye() -> Eye:
    shift = transform(np.eye(3), KITTI_SHIFT)
    optical_from_base = shift @ RECT_FROM_CAM0 @ CAM0_FROM_VELO @ VELO_FROM_IMU @ np.linalg.inv(KITTI_BASE_FROM_IMU)
    return Eye(np.linalg.inv(optical_from_base), *KITTI_SIZE, pinhole(KITTI_F, KITTI_CX, KITTI_CY))


def kitti_times(seconds: float) -> list[str]:
    start = np.datetime64("2011-09-26T13:02:25.964389445", "ns")
    stamps = [start + np.timedelta64(round((seconds + 0.1 * i) * 1e9), "ns") for i in range(KITTI_FRAMES)]
    return [str(stamp).replace("T", " ") for stamp in stamps]


def kitti_packet(t_s: float) -> str:
    """The inertial unit's packet: its place is the vehicle's and the lever arm; what it measures is of its own point."""
    pose = ego(t_s) @ KITTI_BASE_FROM_IMU
    scale = 6_378_137.0 * np.cos(np.radians(KITTI_LATITUDE[0]))
    east0 = scale * np.radians(KITTI_LATITUDE[1])
    north0 = scale * np.log(np.tan(np.pi / 4 + np.radians(KITTI_LATITUDE[0]) / 2))
    lon = np.degrees((east0 + pose[0, 3]) / scale)
    lat = np.degrees(2 * np.arctan(np.exp((north0 + pose[1, 3]) / scale)) - np.pi / 2)
    roll, pitch, yaw = Rotation.from_matrix(pose[:3, :3]).as_euler("xyz")
    east_north_up = velocity(t_s) + np.cross((0.0, 0.0, YAW_RATE_RPS), ego(t_s)[:3, :3] @ KITTI_BASE_FROM_IMU[:3, 3])
    forward_left_up = Rotation.from_euler("z", -yaw).apply(east_north_up)
    numbers = [lat, lon, KITTI_LATITUDE[2] + pose[2, 3], roll, pitch, yaw, east_north_up[1], east_north_up[0], *forward_left_up]
    return " ".join(f"{n:.14g}" for n in [*numbers, *(0.0,) * 6, *turn_rate(), *(0.0,) * 3, 0.05, 0.02, 4, 9, 4, 4, 0])


def kitti(root: Path) -> Path:
    date = root / KITTI_DATE
    eye = kitti_eye()
    disc = eye.disc(KITTI_FRAMES / 20)
    for sensor, delay_s in (("image_02", 0.004), ("oxts", 0.0)):
        folder = date / KITTI_DRIVE / sensor
        (folder / "data").mkdir(parents=True)
        (folder / "timestamps.txt").write_text("\n".join(kitti_times(delay_s)) + "\n")
        for i in range(KITTI_FRAMES):
            t_s = 0.1 * i + delay_s
            if sensor == "oxts":
                (folder / "data" / f"{i:010d}.txt").write_text(kitti_packet(t_s) + "\n")
            else:
                cv2.imwrite(str(folder / "data" / f"{i:010d}.png"), eye.image(disc, t_s))
    k = np.array([[KITTI_F, 0.0, KITTI_CX], [0.0, KITTI_F, KITTI_CY], [0.0, 0.0, 1.0]])
    projection = k @ np.column_stack([np.eye(3), KITTI_SHIFT])
    lines = {"S_rect_02": KITTI_SIZE, "R_rect_00": RECT_FROM_CAM0[:3, :3].ravel(), "P_rect_02": projection.ravel()}
    write_numbers(date / "calib_cam_to_cam.txt", lines)
    for name, pose in (("calib_velo_to_cam.txt", CAM0_FROM_VELO), ("calib_imu_to_velo.txt", VELO_FROM_IMU)):
        write_numbers(date / name, {"R": pose[:3, :3].ravel(), "T": pose[:3, 3]})
    return root


def write_numbers(path: Path, lines: dict[str, Any]) -> None:
    text = "".join(f"{key}: {' '.join(f'{float(n):.12e}' for n in numbers)}\n" for key, numbers in lines.items())
    path.write_text("calib_time: 15-Mar-2012 11:37:16\n" + text)
