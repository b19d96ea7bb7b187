"""Small charts of how a trajectory moves, beside how the vehicle then moved."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from alpamayo_ros.drawing import DRIVEN, FAINT, FONT, INK, LINE, MARGIN_PX, speed_colour
from alpamayo_ros.evaluation.metrics import Driven
from alpamayo_ros.types import F64, HORIZON, STEP_S, U8, Trajectory

HORIZON_S = HORIZON * STEP_S
SUBPIXEL_BITS = 4
TEXT_SCALE = 0.42
NOTHING = np.zeros(0)


class Chart(NamedTuple):
    """One quantity over the next 6.4 s."""

    name: str
    low: float  # of the axis; what is beyond is drawn on its edge
    high: float
    planned: F64  # (n,), n may be 0
    driven: F64  # (m,)


def draw_motion(area: U8, planned: Trajectory | None, driven: Driven) -> None:
    """Draw speed, acceleration and curvature one above the other into an area; what was driven is coloured as from above."""
    speed, accel, curvature = (
        (NOTHING, NOTHING, NOTHING) if planned is None else (planned.speed_mps, planned.accel_mps2, planned.curvature_1pm)
    )
    charts = (
        Chart("speed m/s", 0.0, 30.0, speed, driven.speed_mps),
        Chart("acceleration m/s2", -6.0, 6.0, accel, _rate(driven.speed_mps)),
        # Below walking pace a heading that trembles is no curve.
        Chart(
            "curvature 1/m",
            -0.1,
            0.1,
            curvature,
            _rate(np.unwrap(driven.yaw_rad)) / np.maximum(driven.speed_mps, 1.0),
        ),
    )
    edges = [round(len(area) * i / len(charts)) for i in range(len(charts) + 1)]
    for chart, top, bottom in zip(charts, edges, edges[1:], strict=False):
        _draw(area[top:bottom], chart, planned)


def _rate(values: F64) -> F64:
    """Change per second of values 0.1 s apart."""
    return np.gradient(values, STEP_S) if len(values) > 1 else np.zeros(len(values))


def _draw(area: U8, chart: Chart, planned: Trajectory | None) -> None:
    height, width = area.shape[:2]
    left, right, top, bottom = MARGIN_PX, width - 3 * MARGIN_PX, 20, height - 8

    def points(t_s: F64, values: F64) -> F64:  # (n, 2) px
        share = (np.clip(values, chart.low, chart.high) - chart.low) / (chart.high - chart.low)
        return np.column_stack([left + (right - left) * np.clip(t_s / HORIZON_S, 0.0, 1.0), bottom - (bottom - top) * share])

    for second in range(int(HORIZON_S) + 1):
        x = round(left + (right - left) * second / HORIZON_S)
        cv2.line(area, (x, top), (x, bottom), LINE)
    for value in sorted({chart.low, 0.0, chart.high}):
        y = round(float(points(np.zeros(1), np.array([value]))[0, 1]))
        cv2.line(area, (left, y), (right, y), LINE)
        cv2.putText(area, f"{value:g}", (right + 5, y + 4), FONT, TEXT_SCALE, FAINT, 1, cv2.LINE_AA)
    cv2.putText(area, chart.name, (left, top - 6), FONT, TEXT_SCALE, INK, 1, cv2.LINE_AA)
    after_s = np.arange(1.0, len(chart.driven) + 1) * STEP_S
    _polyline(area, points(after_s, chart.driven), DRIVEN, 2)
    if planned is None:
        return
    path = points(planned.t_s, chart.planned)
    for i, speed in enumerate(planned.speed_mps[1:]):
        _polyline(area, path[i : i + 2], speed_colour(float(speed)), 2)


def _polyline(area: U8, points: F64, colour: tuple[int, int, int], thickness: int) -> None:
    if len(points):
        fixed = np.round(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.polylines(
            area, [fixed], isClosed=False, color=colour, thickness=thickness, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS
        )
