"""The page on which people review labels: for each, the pictures of the history, the motion, the label and its fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import matplotlib as mpl
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alpamayo_ros.drawing import birds_eye, contact_sheet, metres_across
from alpamayo_ros.evaluation.report.figures import FAINT, LOOK, panels, svg
from alpamayo_ros.training.coc.endpoint import jpeg_url
from alpamayo_ros.training.coc.schema import Component, Moment, Record
from alpamayo_ros.types import F64, STEP_S, U8, Direction, Lateral, Longitudinal, Observation, role_index

JPEG_QUALITY = 70
SHEET_PX = 960  # width of a camera's pictures together
ABOVE_PX = 300
FIRST = "front_wide"
"""The camera whose pictures are seen at once; the others unfold."""


@dataclass(frozen=True)
class _Shown:
    """A label as the page has it."""

    number: int
    record: Record
    of: str  # JSON that names the label
    seen: tuple[tuple[str, str], ...]  # camera, picture
    above: str  # picture
    motion: str  # SVG
    driven: tuple[str, ...]  # meta-actions

    @property
    def components(self) -> tuple[tuple[Component, str, str], ...]:
        """Each with its attributes in words and as JSON."""
        return tuple((c, _attributes(c), c.model_dump_json()) for c in self.record.chain.components)


def html(shown: Sequence[tuple[Moment, Record]], of: Sequence[str], title: str) -> str:
    """The page; `of` are the labels' names as JSON. Everything that is not drawn here is escaped: labels are anybody's text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("review.html.j2").render(
        title=title,
        cases=[_case(number, *pair, name) for number, (pair, name) in enumerate(zip(shown, of, strict=True), start=1)],
        longitudinal=get_args(Longitudinal),
        lateral=get_args(Lateral),
        direction=get_args(Direction),
        first=FIRST,
    )


def _case(number: int, moment: Moment, record: Record, of: str) -> _Shown:
    observation, future = moment.example.observation, moment.example.future
    roles = sorted(observation.frames, key=lambda role: (role != FIRST, role_index(role)))
    above = birds_eye(future, (), observation.history, ABOVE_PX, metres_across([future.xyz]))
    return _Shown(
        number=number,
        record=record,
        of=of,
        seen=tuple((role, jpeg_url(_sheet(observation, role), JPEG_QUALITY)) for role in roles),
        above=jpeg_url(above, JPEG_QUALITY),
        motion=_motion(moment, f"motion-{number}"),
        driven=tuple(f"{a.action} {a.start_s:.1f}-{a.end_s:.1f} s" for a in moment.meta_actions),
    )


def _sheet(observation: Observation, role: str) -> U8:
    """A camera's history on one sheet, SHEET_PX wide."""
    frames = observation.frames[role]
    ages = {str(at): f"{role} {(frame.stamp_ns - observation.stamp_ns) / 1e9:+.1f} s" for at, frame in enumerate(frames)}
    sheet = contact_sheet({str(at): frame.image for at, frame in enumerate(frames)}, ages)
    height = round(len(sheet) * SHEET_PX / sheet.shape[1])
    return np.asarray(cv2.resize(sheet, (SHEET_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def _motion(moment: Moment, name: str) -> str:
    """Speed, acceleration and curvature over time, t0 marked: what signals say of the history, and what was driven."""
    with mpl.rc_context(LOOK):
        figure, axes = panels(3, 1.7)
        for one, (title, t_s, values) in zip(axes, _tracks(moment), strict=True):
            one.plot(t_s, values)
            one.axvline(0.0, color=FAINT, linewidth=0.8, linestyle=":")
            one.set_title(title)
            one.set_xlim(t_s[0], moment.example.future.t_s[-1])
            one.margins(y=0.2)
            low, high = one.get_ylim()
            one.set_ylim(min(low, -0.02), max(high, 0.02))
        return svg(figure, name)


def _tracks(moment: Moment) -> Iterator[tuple[str, F64, F64]]:
    seen, future = moment.example.observation, moment.example.future
    signals = seen.signals
    now = np.array([seen.speed_mps])
    yield "speed, m/s", *_joined(signals.speed_mps if signals else None, np.append(now, future.speed_mps))
    yield "acceleration, m/s²", *_joined(signals.acceleration_mps2 if signals else None, future.accel_mps2)
    yield "curvature, 1/m, left is positive", *_joined(None, future.curvature_1pm)


def _joined(history: np.typing.NDArray[np.float32] | None, ahead: F64) -> tuple[F64, F64]:
    """Times, s after t0, and values; a history ends at t0, what is ahead ends with the future."""
    before = np.zeros(0) if history is None else history[:-1].astype(np.float64)
    return STEP_S * np.arange(-len(before), len(ahead), dtype=np.float64), np.append(before, ahead)


def _attributes(component: Component) -> str:
    known = ", ".join(f"{name} {value}" for name, value in component.component.attributes)
    seen = f"seen at {component.seen_s:+.1f} s" if component.seen_s is not None else f"UNOBSERVED: {component.justification}"
    return f"{known}; {seen}" if known else seen
