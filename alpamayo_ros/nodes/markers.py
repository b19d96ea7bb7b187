"""A plan as RViz markers, in the odometry frame through the ego pose its message carries: never through a newer pose."""

from __future__ import annotations

import textwrap

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, TransformStamped
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from alpamayo_ros import msg
from alpamayo_ros.drawing import VEHICLE_WIDTH_M, speed_colour
from alpamayo_ros.geometry import apply
from alpamayo_ros.nodes.messages import DIRECTION, LATERAL, LONGITUDINAL, STATE, pose_matrix, trajectory_values
from alpamayo_ros.types import F64

LIFETIME = Duration(sec=1)
"""Markers of a planner that has died fade."""

EGO_T0_FRAME = "alpamayo_ego_t0"
TEXT_HEIGHT_M = 0.6
TEXT_ABOVE_EGO_M = 3.0
TEXT_COLUMNS = 60
WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def trajectory_markers(plan: msg.UnicycleTrajectory) -> list[Marker]:
    """A ribbon of the vehicle's width coloured by speed, and a centre line. Raises InvalidInput for no trajectory."""
    trajectory, odom_from_ego = trajectory_values(plan), pose_matrix(plan.odom_from_ego_t0.pose)
    xyz, yaw = np.vstack([np.zeros(3), trajectory.xyz]), np.append(0.0, trajectory.yaw_rad)
    left = np.column_stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)]) * VEHICLE_WIDTH_M / 2
    edges = np.stack([xyz + left, xyz - left], axis=1)  # (n + 1, 2, 3)
    # Two triangles between a point and the next: left, right, next left; next left, right, next right.
    corners = np.concatenate([edges[:-1], edges[1:]], axis=1)[:, [0, 1, 2, 2, 1, 3]]
    ribbon = _marker(plan.odom_from_ego_t0.header, "trajectory", 0, Marker.TRIANGLE_LIST)
    ribbon.points = _points(apply(odom_from_ego, corners.reshape(-1, 3)))
    ribbon.colors = [colour for speed in trajectory.speed_mps.tolist() for colour in [_colour(speed)] * 6]
    ribbon.scale.x = ribbon.scale.y = ribbon.scale.z = 1.0
    line = _marker(plan.odom_from_ego_t0.header, "trajectory", 1, Marker.LINE_STRIP)
    line.points, line.color, line.scale.x = _points(apply(odom_from_ego, xyz)), WHITE, 0.1
    return [ribbon, line]


def ego_t0_transform(plan: msg.UnicycleTrajectory) -> TransformStamped:
    """Where a plan starts, as a frame for RViz to follow; it also makes the odometry frame known where nobody sends /tf."""
    pose = plan.odom_from_ego_t0.pose
    transform = TransformStamped(header=plan.odom_from_ego_t0.header, child_frame_id=EGO_T0_FRAME)
    transform.transform.rotation = pose.orientation
    place = transform.transform.translation
    place.x, place.y, place.z = pose.position.x, pose.position.y, pose.position.z
    return transform


def no_trajectory_markers(status: msg.PlanStatus) -> list[Marker]:
    """Take away what `trajectory_markers` drew."""
    markers = [
        _marker(status.header, "trajectory", 0, Marker.TRIANGLE_LIST),
        _marker(status.header, "trajectory", 1, Marker.LINE_STRIP),
    ]
    for marker in markers:
        marker.action = Marker.DELETE
    return markers


def plan_text_marker(plan: msg.UnicycleTrajectory, text: str) -> Marker:
    """Text above the ego pose of a plan."""
    above = apply(pose_matrix(plan.odom_from_ego_t0.pose), np.array([[0.0, 0.0, TEXT_ABOVE_EGO_M]]))
    return _text_marker(plan.odom_from_ego_t0.header, above, text)


def status_text_marker(status: msg.PlanStatus, text: str) -> Marker:
    """Text above the ego frame: a cycle without a plan has no pose of its own."""
    return _text_marker(status.header, np.array([[0.0, 0.0, TEXT_ABOVE_EGO_M]]), text)


def status_text(status: msg.PlanStatus) -> str:
    """State, whose weights, and every reason on a line of its own."""
    names = {number: name for name, number in STATE.items()}
    state = names.get(status.state, f"state {status.state}").upper()
    return "\n".join([f"{state}  ({status.bundle}, weights: {status.weights})", *_wrapped(*status.reasons)])


def trace_text(trace: msg.ReasoningTrace) -> str:
    """The decision and the words of a trace, wrapped."""
    names = {number: name for name, number in LONGITUDINAL.items()}, {number: name for name, number in LATERAL.items()}
    side = {number: f" {name}" for name, number in DIRECTION.items()}.get(trace.lateral_direction, "")
    decision = f"{names[0].get(trace.longitudinal, '-')} / {names[1].get(trace.lateral, '-')}{side}"
    doubt = [f"does not fit the trajectory: {trace.why_not}"] if trace.consistent == msg.ReasoningTrace.CONSISTENT_NO else []
    return "\n".join(_wrapped(decision, trace.text, *doubt))


def _wrapped(*paragraphs: str) -> list[str]:
    return [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, TEXT_COLUMNS)]


def _marker(header: Header, namespace: str, number: int, kind: int) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, lifetime=LIFETIME, frame_locked=True)
    marker.pose.orientation.w = 1.0
    return marker


def _text_marker(header: Header, place: F64, text: str) -> Marker:
    marker = _marker(header, "text", 0, Marker.TEXT_VIEW_FACING)
    [marker.pose.position] = _points(place)
    marker.text, marker.color, marker.scale.z = text, WHITE, TEXT_HEIGHT_M
    return marker


def _points(xyz: F64) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in xyz.tolist()]


def _colour(speed_mps: float) -> ColorRGBA:
    red, green, blue = speed_colour(speed_mps)
    return ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=0.7)
