"""A plan as RViz markers, in the odometry frame through the ego pose its message carries: never through a newer pose.

A plan that nobody drives by says SHADOW in its text, and its ribbon and line are paler.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import PurePath

import numpy as np
from geometry_msgs.msg import Point, TransformStamped
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from alpamayo_ros import msg
from alpamayo_ros.drawing import CANDIDATE, VEHICLE_CORNERS, VEHICLE_WIDTH_M, Colour, shown_text, speed_colour
from alpamayo_ros.geometry import apply
from alpamayo_ros.nodes.messages import (
    ACTION,
    AXIS,
    CATEGORY,
    CONSISTENT,
    DIRECTION,
    LATERAL,
    LONGITUDINAL,
    SOURCE,
    STATE,
    pose_matrix,
)
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.pipeline.findings import findings_of
from alpamayo_ros.types import F64, Trajectory

HOLD, STOP = msg.UnicycleTrajectory.SOURCE_HOLD, msg.UnicycleTrajectory.SOURCE_STOP
SOURCE_COLOURS: dict[int, Colour] = {HOLD: (60, 200, 230), STOP: (160, 90, 255)}
"""Of a trajectory that no model has just planned: one colour, whatever its speed."""

EGO_T0_FRAME = "alpamayo_ego_t0"
VEHICLE_HEIGHT_M = 1.5
RIBBON_ALPHA, LINE_ALPHA = 0.7, 1.0
SHADOW_STRENGTH = 0.35
"""Of a shadow plan's colours, in RViz and in pictures."""

FAINTEST, BOLDEST = 0.15, 0.7  # alpha of the candidate with the lowest and with the highest score

TEXT_HEIGHT_M = 0.6
TEXT_ABOVE_EGO_M = 3.0
TEXT_COLUMNS = 60
COMPONENTS_COLUMNS = 40
COMPONENTS_LEFT_M = -18.0
"""Components stand to the right of the trace: 100 characters of 0.6 m, centred, are about 30 m wide together."""

WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def clearing_marker(header: Header) -> Marker:
    """Takes away everything shown before; what follows it in the same array is shown at once."""
    return Marker(header=header, action=Marker.DELETEALL)


def trajectory_markers(plan: msg.UnicycleTrajectory, strength: float = 1.0) -> list[Marker]:
    """A ribbon of the vehicle's width and a centre line. Raises InvalidInput for no trajectory.

    The ribbon is coloured by speed, or in the one colour of a hold or a stop. It begins at the ego at the plan's stamp, that of
    a hold at the first point that is still ahead. `strength` 0..1 is of the colours.
    """
    trajectory, odom_from_ego = trajectory_values(plan), pose_matrix(plan.odom_from_ego_t0.pose)
    xyz, yaw = np.vstack([np.zeros(3), trajectory.xyz]), np.append(0.0, trajectory.yaw_rad)
    speeds = trajectory.speed_mps.tolist()
    if plan.source == HOLD:
        xyz, yaw, speeds = xyz[1:], yaw[1:], speeds[1:]
    left = np.column_stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)]) * VEHICLE_WIDTH_M / 2
    edges = np.stack([xyz + left, xyz - left], axis=1)  # (n + 1, 2, 3)
    # Two triangles between a point and the next: left, right, next left; next left, right, next right.
    corners = np.concatenate([edges[:-1], edges[1:]], axis=1)[:, [0, 1, 2, 2, 1, 3]]
    ribbon = _marker(plan.odom_from_ego_t0.header, "trajectory", 0, Marker.TRIANGLE_LIST)
    ribbon.points = _points(apply(odom_from_ego, corners.reshape(-1, 3)))
    colours = [SOURCE_COLOURS.get(plan.source) or speed_colour(speed) for speed in speeds]
    ribbon.colors = [shade for colour in colours for shade in [_shade(colour, strength * RIBBON_ALPHA)] * 6]
    ribbon.scale.x = ribbon.scale.y = ribbon.scale.z = 1.0
    line = _marker(plan.odom_from_ego_t0.header, "trajectory", 1, Marker.LINE_STRIP)
    line.points, line.scale.x = _points(apply(odom_from_ego, xyz)), 0.1
    line.color = _shade((255, 255, 255), strength * LINE_ALPHA)
    return [ribbon, line]


def candidate_markers(candidates: msg.TrajectoryCandidates) -> list[Marker]:
    """A thin line per sample that was not chosen, the fainter the lower its score. Raises InvalidInput for no trajectory."""
    others = [one for one in candidates.candidates if one.sample_index != candidates.chosen_index]
    scores = [one.score for one in others]
    markers = []
    for one in others:
        line = _marker(one.odom_from_ego_t0.header, "candidates", one.sample_index, Marker.LINE_STRIP)
        xyz = np.vstack([np.zeros(3), trajectory_values(one).xyz])
        line.points = _points(apply(pose_matrix(one.odom_from_ego_t0.pose), xyz))
        line.color, line.scale.x = _shade(CANDIDATE, _alpha(one.score, scores)), 0.06
        markers.append(line)
    return markers


def ego_marker(plan: msg.UnicycleTrajectory) -> Marker:
    """The outline of a passenger car where the plan starts: its footprint, roof and pillars, for scale only."""
    ground = np.column_stack([VEHICLE_CORNERS, np.zeros(4)])
    roof = ground + np.array([0.0, 0.0, VEHICLE_HEIGHT_M])
    rings = [edge for ring in (ground, roof) for edge in zip(ring, np.roll(ring, -1, axis=0), strict=True)]
    edges = np.array([*rings, *zip(ground, roof, strict=True)]).reshape(-1, 3)
    outline = _marker(plan.odom_from_ego_t0.header, "ego", 0, Marker.LINE_LIST)
    outline.points = _points(apply(pose_matrix(plan.odom_from_ego_t0.pose), edges))
    outline.color, outline.scale.x = WHITE, 0.06
    return outline


def ego_t0_transform(plan: msg.UnicycleTrajectory) -> TransformStamped:
    """Where a plan starts, as a frame for RViz to follow; it also makes the odometry frame known where nobody sends /tf."""
    pose = plan.odom_from_ego_t0.pose
    transform = TransformStamped(header=plan.odom_from_ego_t0.header, child_frame_id=EGO_T0_FRAME)
    transform.transform.rotation = pose.orientation
    place = transform.transform.translation
    place.x, place.y, place.z = pose.position.x, pose.position.y, pose.position.z
    return transform


def plan_text_marker(plan: msg.UnicycleTrajectory, text: str) -> Marker:
    """Text above the ego pose of a plan."""
    above = apply(pose_matrix(plan.odom_from_ego_t0.pose), np.array([[0.0, 0.0, TEXT_ABOVE_EGO_M]]))
    return _text_marker(plan.odom_from_ego_t0.header, "text", above, text)


def components_marker(plan: msg.UnicycleTrajectory, trace: msg.ReasoningTrace) -> Marker:
    """What the trace names as causes, to the right of its words."""
    beside = apply(pose_matrix(plan.odom_from_ego_t0.pose), np.array([[0.0, COMPONENTS_LEFT_M, TEXT_ABOVE_EGO_M]]))
    lines = wrapped(component_lines(trace), COMPONENTS_COLUMNS)
    return _text_marker(plan.odom_from_ego_t0.header, "components", beside, "\n".join(lines))


def status_text_marker(status: msg.PlanStatus, text: str) -> Marker:
    """Text above the ego frame, wherever the vehicle is: a cycle without a plan has no pose of its own."""
    return _text_marker(status.header, "text", np.array([[0.0, 0.0, TEXT_ABOVE_EGO_M]]), text)


def source_lines(plan: msg.UnicycleTrajectory, is_shadow: bool = False) -> list[str]:
    """SHADOW where nobody drives by it, HOLD or STOP, and that a plan is provisional; nothing for a model's final plan."""
    names = {number: name.upper() for name, number in SOURCE.items()}
    source = [names[plan.source]] if plan.source in SOURCE_COLOURS else []
    return [*(["SHADOW"] if is_shadow else []), *source, *(["PROVISIONAL"] if plan.provisional else [])]


def status_lines(status: msg.PlanStatus) -> list[str]:
    """State, the bundle's own name, whose weights, and every reason and every finding on a line of its own."""
    names = {number: name for name, number in STATE.items()}
    state = names.get(status.state, f"state {status.state}").upper()
    bundle = f"{state} ({PurePath(status.bundle).name}, weights: {status.weights})"
    instead = [f"{shown_text(status.engine)} runs in place of the engine that was named"] if status.fallback else []
    return [bundle, *instead, *problem_lines(status)]


def problem_lines(status: msg.PlanStatus) -> list[str]:
    """Reasons, then the findings (check, value, limit) that are not among them; what rejects comes first."""
    findings = sorted(findings_of(status), key=lambda finding: not finding.rejects)
    return list(dict.fromkeys(shown_text(text) for text in (*status.reasons, *map(str, findings))))


def trace_lines(trace: msg.ReasoningTrace) -> list[str]:
    """The decision, whether the trajectory agrees with it, and the words."""
    names = {number: name for name, number in LONGITUDINAL.items()}, {number: name for name, number in LATERAL.items()}
    side = {number: f" {name}" for name, number in DIRECTION.items()}.get(trace.lateral_direction, "")
    agreement = {number: name for name, number in CONSISTENT.items()}.get(trace.consistent, "unknown")
    doubt = f": {shown_text(trace.why_not)}" if trace.why_not else ""
    return [
        f"decision: {names[0].get(trace.longitudinal, '-')} / {names[1].get(trace.lateral, '-')}{side}",
        f"consistent with the trajectory: {agreement.upper() if doubt else agreement}{doubt}",
        *filter(None, [shown_text(trace.text)]),
    ]


def motion(trajectory: Trajectory) -> str:
    """Where the speed goes; the colours of a ribbon in words."""
    first, last = (round(speed, 1) + 0.0 for speed in trajectory.speed_mps[[0, -1]].tolist())  # + 0.0: never "-0.0"
    return f"{first:.1f} m/s, {last:.1f} m/s after {trajectory.t_s[-1]:.1f} s"


def action_lines(trace: msg.ReasoningTrace) -> list[str]:
    """What the published trajectory does, by rule: a line per axis."""
    lines = []
    for axis, number in AXIS.items():
        names = {code: name.replace("_", " ") for name, code in ACTION[axis].items()}
        pieces = [
            f"{names.get(one.action, '?')} {one.start_ns / 1e9:.1f}-{one.end_ns / 1e9:.1f} s"
            for one in trace.meta_actions
            if one.axis == number
        ]
        lines += [f"{axis}: {', '.join(pieces)}"] if pieces else []
    return lines


def component_lines(trace: msg.ReasoningTrace) -> list[str]:
    """A line per critical component: category, description and attributes."""
    names = {number: name.replace("_", " ") for name, number in CATEGORY.items()}
    lines = []
    for component in trace.components:
        attributes = f" ({', '.join(map(shown_text, component.attributes))})" if component.attributes else ""
        category = names.get(component.category, f"category {component.category}")
        lines.append(f"{category}: {shown_text(component.description)}{attributes}")
    return lines


def wrapped(paragraphs: Iterable[str], columns: int = TEXT_COLUMNS) -> list[str]:
    """Lines of at most `columns` characters."""
    return [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, columns)]


def _alpha(score: float, scores: list[float]) -> float:
    low, high = min(scores), max(scores)
    share = (score - low) / (high - low) if high > low else 1.0
    return FAINTEST + (BOLDEST - FAINTEST) * share


def _marker(header: Header, namespace: str, number: int, kind: int) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, frame_locked=True)
    marker.pose.orientation.w = 1.0
    return marker


def _text_marker(header: Header, namespace: str, place: F64, text: str) -> Marker:
    marker = _marker(header, namespace, 0, Marker.TEXT_VIEW_FACING)
    [marker.pose.position] = _points(place)
    marker.text, marker.color, marker.scale.z = text, WHITE, TEXT_HEIGHT_M
    return marker


def _points(xyz: F64) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in xyz.tolist()]


def _shade(colour: Colour, alpha: float) -> ColorRGBA:
    red, green, blue = colour
    return ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=alpha)
