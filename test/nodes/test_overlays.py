"""Overlays lie where they must: pixels computed by hand, with formulas of their own, on pictures received over DDS."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import simplejpeg
import yaml
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from nodes.made_plans import SPEED_MPS, STEP, T0, ego, plan
from nodes.ros_harness import listen, started
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from alpamayo_ros import msg
from alpamayo_ros.drawing import RIBBON_OPACITY, VEHICLE_WIDTH_M, speed_colour
from alpamayo_ros.nodes.client import client_node, odometry_message, spin_until
from alpamayo_ros.nodes.markers import SOURCE_COLOURS
from alpamayo_ros.nodes.messages import SOURCE, time_message, trajectory_message
from alpamayo_ros.nodes.overlays import EDGE_PX, KEPT_BYTES, STRIP_PX, CameraView
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import InvalidInput

WIDTH, HEIGHT, SHRUNK = 1280, 720, 640
GREY = 90
HALF_M = VEHICLE_WIDTH_M / 2
UNKNOWN = "rear_tele"  # a camera whose CameraInfo nobody publishes
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
OPTICAL_IN_CAMERA = (-0.5, 0.5, -0.5, 0.5)  # x right, y down, z forward in x forward, y left, z up (REP-103)


class Lens(NamedTuple):
    """A camera as its CameraInfo says it, and where it stands: yaw positive left, pitch positive down."""

    model: str
    d: tuple[float, ...]
    focal_px: float
    xyz_m: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float


LENSES = {
    "front_wide": Lens("plumb_bob", (-0.12, 0.02, 0.001, -0.002, 0.0), 620.0, (1.8, 0.0, 1.5), 0.0, 4.0),
    "front_left": Lens("equidistant", (0.02, -0.004, 0.001, 0.0), 380.0, (1.2, 0.7, 1.4), 55.0, 8.0),
    "front_right": Lens("ftheta", (1.4, 390.0, 3.0, -12.0), 390.0, (1.2, -0.7, 1.6), -50.0, 10.0),
    "front_tele": Lens("rational_polynomial", (0.3, 0.05, 0.0, 0.0, 0.01, 0.4, 0.1, 0.01), 900.0, (1.8, 0.1, 1.5), 3.0, 2.0),
}


def by_hand(lens: Lens, point: tuple[float, float, float]) -> np.ndarray:
    """The pixel (u, v) of a point of the base frame in the shrunk picture, written out from the lens's definition."""
    yaw, pitch = math.radians(lens.yaw_deg), math.radians(lens.pitch_deg)
    dx, dy, dz = (a - b for a, b in zip(point, lens.xyz_m, strict=True))
    ahead, left = math.cos(yaw) * dx + math.sin(yaw) * dy, -math.sin(yaw) * dx + math.cos(yaw) * dy
    forward, up = math.cos(pitch) * ahead - math.sin(pitch) * dz, math.sin(pitch) * ahead + math.cos(pitch) * dz
    right, down = -left, -up
    x, y = right / forward, down / forward
    r, angle = math.hypot(x, y), math.atan(math.hypot(x, y))
    d = lens.d
    if lens.model == "equidistant":
        scale = angle * (1 + d[0] * angle**2 + d[1] * angle**4 + d[2] * angle**6 + d[3] * angle**8) / r
        u, v = lens.focal_px * x * scale, lens.focal_px * y * scale
    elif lens.model == "ftheta":
        radius = d[1] * angle + d[2] * angle**2 + d[3] * angle**3
        u, v = radius * x / r, radius * y / r
    else:
        k4, k5, k6 = d[5:] if len(d) == 8 else (0.0, 0.0, 0.0)
        scale = (1 + d[0] * r**2 + d[1] * r**4 + d[4] * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        u = lens.focal_px * (x * scale + 2 * d[2] * x * y + d[3] * (r**2 + 2 * x**2))
        v = lens.focal_px * (y * scale + d[2] * (r**2 + 2 * y**2) + 2 * d[3] * x * y)
    full = np.array([u + WIDTH / 2 - 0.5, v + HEIGHT / 2 - 0.5])
    return (full + 0.5) * SHRUNK / WIDTH - 0.5


def coloured(image: np.ndarray, pixel: np.ndarray) -> bool:
    """Whether a received picture shows the ribbon at a pixel; JPEG may change a colour by some grey levels."""
    u, v = np.round(pixel).astype(int)
    ribbon = RIBBON_OPACITY * np.array(speed_colour(SPEED_MPS)) + (1 - RIBBON_OPACITY) * GREY
    shown = image[v, u].astype(float)
    return bool(np.abs(shown - ribbon).max() < np.abs(shown - GREY).max())


def rig_file(folder: Path) -> Path:
    described = read_rig("seven_camera").model_dump(mode="json")
    described["cameras"] = {
        role: described["cameras"][role] | {"width": WIDTH, "height": HEIGHT} for role in (*LENSES, UNKNOWN)
    }
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def camera_info(lens: Lens) -> CameraInfo:
    k = [lens.focal_px, 0.0, WIDTH / 2 - 0.5, 0.0, lens.focal_px, HEIGHT / 2 - 0.5, 0.0, 0.0, 1.0]
    return CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=lens.model, d=lens.d, k=k)


def stamped(parent: str, child: str, xyz_m: tuple[float, ...], quaternion: tuple[float, ...]) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    t, q = message.transform.translation, message.transform.rotation
    (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = xyz_m, quaternion
    return message


def mounts() -> TFMessage:
    """base_link -> sensor_kit, turned left by 20 degrees -> each camera -> its optical frame, quaternions by hand."""
    kit_xyz, kit = (0.5, 0.2, 1.0), math.radians(20.0)
    found = [stamped("base_link", "sensor_kit", kit_xyz, (0.0, 0.0, math.sin(kit / 2), math.cos(kit / 2)))]
    for role, lens in LENSES.items():
        x, y, z = (a - b for a, b in zip(lens.xyz_m, kit_xyz, strict=True))
        in_kit = (math.cos(kit) * x + math.sin(kit) * y, -math.sin(kit) * x + math.cos(kit) * y, z)
        yaw, pitch = math.radians(lens.yaw_deg) - kit, math.radians(lens.pitch_deg)
        (sy, sp), (cy, cp) = (math.sin(yaw / 2), math.sin(pitch / 2)), (math.cos(yaw / 2), math.cos(pitch / 2))
        found.append(stamped("sensor_kit", f"{role}_link", in_kit, (-sy * sp, cy * sp, sy * cp, cy * cp)))
        found.append(stamped(f"{role}_link", f"{role}_optical_frame", (0.0, 0.0, 0.0), OPTICAL_IN_CAMERA))
    return TFMessage(transforms=found)


@dataclass
class Drawn:
    """A visualizer of four cameras with four lenses, and the overlays it sends."""

    node: Node
    rig: Rig
    overlays: dict[str, list[CompressedImage]]
    publish: dict[str, Any]

    def picture(self, role: str, frame_ns: int, t0_ns: int, plan_id: int, source: str = "model", shown: str = "") -> np.ndarray:
        """The overlay (H, W, 3) of a grey frame for the straight plan of t0, or the strip with it."""
        grey = simplejpeg.encode_jpeg(np.full((HEIGHT, WIDTH, 3), GREY, np.uint8))
        message = CompressedImage(format="jpeg", data=grey)
        message.header.stamp = time_message(frame_ns)
        self.publish[role].publish(message)
        self.publish["plan"].publish(trajectory_message(plan(t0_ns, source), plan_id, ego(t0_ns), self.rig))
        stamp = time_message(t0_ns if shown else frame_ns)

        def received() -> list[CompressedImage]:
            return [one for one in self.overlays[shown or role] if one.header.stamp == stamp]

        assert spin_until(self.node, lambda: bool(received()), 10), f"no overlay of {role}"
        image: np.ndarray = simplejpeg.decode_jpeg(bytes(received()[-1].data))
        return image


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    folder = tmp_path_factory.mktemp("overlays")
    path = rig_file(folder)
    rig = read_rig(str(path))
    parameters = ("rig", path), ("overlay_width", SHRUNK), ("overlay_quality", 95), ("overlay_hz", 100.0)
    with client_node("tester") as node:
        images = {r: node.create_publisher(CompressedImage, c.topic, qos_profile_sensor_data) for r, c in rig.cameras.items()}
        infos = {role: node.create_publisher(CameraInfo, c.info_topic, LATCHED) for role, c in rig.cameras.items()}
        publish = images | {
            "plan": node.create_publisher(msg.UnicycleTrajectory, "/alpamayo_planner/trajectory", 10),
            "odometry": node.create_publisher(Odometry, rig.odometry.topic, 10),
            "static": node.create_publisher(TFMessage, "/tf_static", LATCHED),
        }
        publish["static"].publish(mounts())
        with started("visualizer_node", folder / "log", *[f for k, v in parameters for f in ("-p", f"{k}:={v}")]):
            shown = (*rig.cameras, "strip")
            received = {
                name: listen(node, CompressedImage, f"/alpamayo_visualizer/overlay/{name}/compressed") for name in shown
            }
            heard = [*publish.values(), *infos.values()]
            assert spin_until(node, lambda: all(p.get_subscription_count() for p in heard), 15)
            spin_until(node, lambda: False, 0.5)
            for role, lens in LENSES.items():
                infos[role].publish(camera_info(lens))
            spin_until(node, lambda: False, 0.5)
            yield Drawn(node, rig, received, publish)


class Fit(NamedTuple):
    """How many distances were looked at, and at which the ribbon is not where a lens says."""

    looked_at: int
    misfits_m: list[float]


def fit(image: np.ndarray, lens: Lens) -> Fit:
    """20 cm inside both edges and in the middle there is ribbon, 20 cm outside there is none."""
    looked_at, misfits_m = 0, []
    for ahead_m in (7.0, 9.0, 12.0, 16.0):
        across_m = (-HALF_M - 0.2, -HALF_M + 0.2, 0.0, HALF_M - 0.2, HALF_M + 0.2)
        pixels = [by_hand(lens, (ahead_m, left_m, 0.0)) for left_m in across_m]
        if all(0 <= u < SHRUNK - 1 and 0 <= v < len(image) - 1 for u, v in pixels):
            looked_at += 1
            fits = [coloured(image, pixel) for pixel in pixels] == [False, True, True, True, False]
            misfits_m += [] if fits else [ahead_m]
    return Fit(looked_at, misfits_m)


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize("role", LENSES)
def test_the_ribbon_has_its_edges_where_the_formula_of_the_lens_says(drawn: Drawn, role: str) -> None:
    lens, t0_ns = LENSES[role], T0 + list(LENSES).index(role) * STEP
    image = drawn.picture(role, t0_ns, t0_ns, 1)
    assert image.shape == (HEIGHT * SHRUNK // WIDTH, SHRUNK, 3)
    looked_at, misfits_m = fit(image, lens)
    assert looked_at >= 2, "the path is in the picture"
    assert misfits_m == []
    far = [(1e6, 1e6 * math.tan(math.radians(lens.yaw_deg + aside)), 0.0) for aside in (-20.0, 0.0, 20.0)]
    for u, v in (by_hand(lens, place) for place in far):
        assert not any(coloured(image, np.array([u, row])) for row in range(int(v))), "nothing lies above the horizon"


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize("role", LENSES)
def test_a_camera_that_stands_or_sees_otherwise_does_not_fit(drawn: Drawn, role: str) -> None:
    lens, t0_ns = LENSES[role], T0 + (10 + list(LENSES).index(role)) * STEP
    image = drawn.picture(role, t0_ns, t0_ns, 2)
    x, y, z = lens.xyz_m
    wrong = {
        "yaw to the other side": lens._replace(yaw_deg=-lens.yaw_deg),
        "2 degrees further left": lens._replace(yaw_deg=lens.yaw_deg + 2.0),
        "pitched up instead of down": lens._replace(pitch_deg=-lens.pitch_deg),
        "mounted on the other side": lens._replace(xyz_m=(x, -y, z)),
        "a lens without distortion": lens._replace(model="plumb_bob", d=(0.0,) * 5),
    }
    if role in ("front_wide", "front_tele"):  # they look ahead from the middle, through a lens that bends little there
        for name in ("yaw to the other side", "mounted on the other side", "a lens without distortion"):
            del wrong[name]
    fits = [name for name, other in wrong.items() if fit(image, other).looked_at and not fit(image, other).misfits_m]
    assert fits == []


@pytest.mark.ros
@pytest.mark.patient
def test_a_frame_beside_t0_shows_the_path_from_where_the_vehicle_was_then(drawn: Drawn) -> None:
    # 50 ms before t0 the vehicle looked 0.1 rad further right: the path, straight ahead at t0, was to its left then.
    role, t0_ns = "front_wide", T0 + 30 * STEP
    lens, frame_ns, turn = LENSES["front_wide"], t0_ns - STEP // 2, 0.1
    ahead = (12.0, 0.0, 0.0)
    turned = (12.0 * math.cos(turn), 12.0 * math.sin(turn), 0.0)
    image = drawn.picture(role, frame_ns, t0_ns, 3)
    assert [coloured(image, by_hand(lens, place)) for place in (ahead, turned)] == [True, False], "no odometry: as at t0"
    later_ns = t0_ns + 10 * STEP
    for after_ms in range(-200, 60, 10):
        stamp_ns = later_ns + after_ms * 1_000_000
        yaw = math.pi / 2 + turn * after_ms / 50
        drawn.publish["odometry"].publish(odometry_message(ego(stamp_ns, yaw, yaw_rate_rps=turn / 0.05), drawn.rig))
    spin_until(drawn.node, lambda: False, 0.5)
    image = drawn.picture(role, later_ns - STEP // 2, later_ns, 4)
    assert [coloured(image, by_hand(lens, place)) for place in (ahead, turned)] == [False, True]


@pytest.mark.ros
@pytest.mark.patient
def test_a_camera_whose_lens_nobody_tells_has_no_overlay_but_its_picture_in_the_strip(drawn: Drawn) -> None:
    t0_ns = T0 + 50 * STEP
    strip = drawn.picture(UNKNOWN, t0_ns, t0_ns, 5, shown="strip")
    cell = strip[STRIP_PX // 3 * 9 // 16 + 60 :, STRIP_PX * 5 // 8]
    assert np.abs(cell[:100].astype(int) - GREY).max() < 6, "the third of four in the lower row"
    assert not spin_until(drawn.node, lambda: bool(drawn.overlays[UNKNOWN]), 0.3)


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize("source", ["hold", "stop"])
def test_pictures_with_a_hold_or_a_stop_have_an_edge_in_its_colour(drawn: Drawn, source: str) -> None:
    t0_ns = T0 + (60 if source == "hold" else 61) * STEP
    image = drawn.picture("front_wide", t0_ns, t0_ns, 6, source)
    colour = SOURCE_COLOURS[SOURCE[source]]
    edges = np.concatenate([image[1:4].reshape(-1, 3), image[-4:-1].reshape(-1, 3), image[:, 1:4].reshape(-1, 3)])
    assert np.abs(np.median(edges, axis=0) - colour).max() < 12
    assert np.abs(image[EDGE_PX + 6 : 100, EDGE_PX + 6 : 100].astype(int) - GREY).max() < 12


class Message:
    """A camera message of a size that says when it was taken."""

    def __init__(self, stamp_ns: int, data: bytes) -> None:
        self.header = type("Header", (), {"stamp": time_message(stamp_ns)})
        self.format = "jpeg"
        self.data = data


def test_a_view_keeps_the_newest_frames_within_its_time_and_its_bytes() -> None:
    view = CameraView("front_wide", read_rig("seven_camera").cameras["front_wide"])
    small = bytes(simplejpeg.encode_jpeg(np.zeros((1080, 1920, 3), np.uint8)))
    for i in range(50):
        view.take_frame(Message(T0 + i * STEP, small))
    assert [view.frame_at(T0 + i * STEP) is not None for i in (0, 18, 19, 49)] == [False, False, True, True]
    large = small + bytes(KEPT_BYTES // 7 - len(small))
    for i in range(50, 60):
        view.take_frame(Message(T0 + i * STEP, large))
    assert [view.frame_at(T0 + i * STEP) is not None for i in (52, 53, 59)] == [False, True, True]
    assert view.settled(T0 + 59 * STEP)
    assert not view.settled(T0 + 59 * STEP + 1)


def test_camera_info_of_another_size_than_the_pictures_is_refused_with_both() -> None:
    view = CameraView("front_wide", read_rig("seven_camera").cameras["front_wide"])
    with pytest.raises(InvalidInput, match="1280x720 pixels, the rig declares 1920x1080"):
        view.take_info(camera_info(LENSES["front_wide"]))
