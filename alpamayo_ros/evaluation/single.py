"""One plan from a bag: made as the vehicle makes it, printed, drawn, and held against what was driven."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags import bag_span, bag_topics, deserialize, read_bag
from alpamayo_ros.cameras import Camera, base_from_optical, camera_from_info, nominal_camera
from alpamayo_ros.drawing import plan_picture
from alpamayo_ros.evaluation.replay import Replay
from alpamayo_ros.geometry import inverse
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Transforms
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import F64, U8, EgoPose, InvalidInput, Plan, StaleInput


def plan_at(bag: Path, t0_ns: int, rig: Rig, bundle: str, profile: str) -> tuple[Cycle, str]:
    """The cycle of the first anchor frame at or after an instant, and whose weights planned. Raises InvalidInput."""
    with closing(Replay(bag, rig, bundle, profile)) as replay:
        for cycle in replay.cycles(only_t0_ns=t0_ns):
            return cycle, replay.engine.weights
    raise InvalidInput(f"{bag} has no anchor frame at or after {t0_ns} ns")


def plan_once(bag: Path, at_s: float, rig: Rig, bundle: str, profile: str, out: Path) -> dict[str, Any]:
    """Plan at `at_s` after the bag's first message; prints the trace, draws a picture. Raises InvalidInput, StaleInput."""
    first_ns, last_ns = bag_span(bag)
    if not 0 <= at_s <= (last_ns - first_ns) / 1e9:
        raise InvalidInput(f"at: {bag} is {(last_ns - first_ns) / 1e9:.1f} s long, got {at_s}")
    cycle, weights = plan_at(bag, first_ns + round(at_s * 1e9), rig, bundle, profile)
    if cycle.plan is None or cycle.observation is None:
        raise StaleInput(f"no plan at {cycle.t0_ns} ns: {cycle.refused}")
    out.mkdir(parents=True, exist_ok=True)
    picture = out / "plan.jpg"
    draw_plan(bag, cycle, rig, weights, picture)
    print(cycle.plan.reasoning.text)
    return {
        "t0_ns": cycle.t0_ns,
        "weights": weights,
        "trace": cycle.plan.reasoning.text,
        "ade_m": _ade_m(cycle.plan, cycle.observation.ego_t0, _driven(bag, rig)),
        "latency_ms": round(cycle.stage_ms["total"], 3),
        "files": [str(picture)],
    }


def draw_plan(bag: Path, cycle: Cycle, rig: Rig, weights: str, picture: Path) -> None:
    """Draw the cycle's plan over the anchor camera's full-size frame at t0. Raises InvalidInput when it has no plan."""
    if cycle.plan is None or cycle.observation is None:
        raise InvalidInput(f"nothing to draw at {cycle.t0_ns} ns: {cycle.refused}")
    camera, optical_from_ego = _calibration(bag, rig)
    page = plan_picture(
        _anchor_image(bag, rig, cycle.t0_ns), camera, optical_from_ego, cycle.observation.history, cycle.plan, weights
    )
    if not cv2.imwrite(str(picture), cv2.cvtColor(page, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {picture}")


def _anchor_image(bag: Path, rig: Rig, t0_ns: int) -> U8:
    camera = rig.cameras[rig.anchor]
    for record in read_bag(bag, [camera.topic], start_ns=t0_ns - 1_000_000_000):
        frame = decode.camera_frame(deserialize(record.cdr, record.type_name), rig.anchor, camera, 0)
        if frame.stamp_ns == t0_ns:
            image = np.empty((camera.height, camera.width, 3), np.uint8)
            decode.pixels_into(frame, image)
            return image
    raise InvalidInput(f"{bag} has no {rig.anchor} frame stamped {t0_ns} ns")


def _calibration(bag: Path, rig: Rig) -> tuple[Camera, F64]:
    """The anchor camera and optical_from_ego as recorded; nominal from the rig where the bag does not say."""
    anchor, topics = rig.cameras[rig.anchor], bag_topics(bag)
    camera: Camera = nominal_camera(anchor)
    if anchor.info_topic in topics:
        record = next(iter(read_bag(bag, [anchor.info_topic])))
        camera = camera_from_info(deserialize(record.cdr, record.type_name))
    base_from_camera = base_from_optical(anchor.mount)
    if "/tf_static" in topics:
        found = _static_transforms(bag).lookup(rig.base_frame, anchor.frame_id)
        base_from_camera = base_from_camera if found is None else found
    return camera, inverse(base_from_camera)


def _static_transforms(bag: Path) -> Transforms:
    transforms = Transforms()
    for record in read_bag(bag, ["/tf_static"]):
        for parent, child, parent_from_child in decode.static_transforms(deserialize(record.cdr, record.type_name)):
            transforms.offer(parent, child, parent_from_child)
    return transforms


def _driven(bag: Path, rig: Rig) -> list[EgoPose]:
    """The ego poses of a bag whose odometry is that of the base frame. Raises InvalidInput at the first bad one."""
    return [decode.ego_pose(deserialize(r.cdr, r.type_name), rig) for r in read_bag(bag, [rig.odometry.topic])]


def _ade_m(plan: Plan, ego_t0: EgoPose, driven: list[EgoPose]) -> float | None:
    """Mean distance in x and y, m, of the plan's points from where the vehicle then was; None where the bag ends before."""
    stamps = np.array([pose.stamp_ns for pose in driven], np.float64)
    instants = plan.t0_ns + plan.trajectory.t_s * 1e9
    if not len(stamps) or instants[-1] > stamps[-1]:
        return None
    odom = np.stack([pose.position for pose in driven])
    there = np.stack([np.interp(instants, stamps, odom[:, axis]) for axis in range(3)], axis=-1)
    ego = (there - ego_t0.position) @ ego_t0.odom_from_ego
    return float(np.linalg.norm(ego[:, :2] - plan.trajectory.xyz[:, :2], axis=1).mean())
