"""A trajectory in the cameras' pictures: what each camera saw near a plan's t0, drawn where the camera was at that instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from alpamayo_ros import drawing
from alpamayo_ros.cameras import Camera, CameraInfo, camera_from_info, resized
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.images import pixels_of_width
from alpamayo_ros.profile import RigCamera
from alpamayo_ros.types import F64, U8, EncodedFrame, InvalidInput, Trajectory

KEPT_NS, KEPT_BYTES = 3_000_000_000, 48_000_000
"""How long, and how many, frames of one camera wait for their plan, which comes at most a second or two after its t0.

JPEG of 1080p at 10 Hz is 9 MB in 3 s; raw it is 187 MB, of which the newest seven frames stay."""

EDGE_PX = 6  # of a picture with a hold or a stop
STRIP_PX = 1440
CELL_PX = STRIP_PX // 3  # width of the largest cell of drawing.seven_up
TEXT_LINES = 5


class Picture(NamedTuple):
    """One camera's picture for one plan."""

    image: U8  # (H, W, 3) RGB
    frame: EncodedFrame  # what it was drawn into
    label: str


class CameraView:
    """What one camera of the rig saw lately, and its lens. Used by one thread."""

    def __init__(self, role: str, camera: RigCamera) -> None:
        self.role = role
        self.camera = camera
        self.lens: Camera | None = None
        self._frames: dict[int, EncodedFrame] = {}  # by exposure time, in order of arrival
        self._bytes = 0

    def take_frame(self, message: Any) -> None:
        """A camera message; older ones than 3 s, or beyond 48 MB, are dropped. Raises InvalidInput."""
        frame = decode.camera_frame(message, self.role, self.camera, epoch=0)
        self._drop(frame.stamp_ns)  # a bag that loops brings it again, as the newest
        self._frames[frame.stamp_ns] = frame
        self._bytes += len(frame.data)
        for oldest in list(self._frames)[:-1]:
            if self._bytes <= KEPT_BYTES and abs(frame.stamp_ns - oldest) <= KEPT_NS:
                break
            self._drop(oldest)

    def take_info(self, info: CameraInfo) -> None:
        """The lens. Raises InvalidInput, also for another size than the rig's: drawn anyway, it would be misplaced."""
        lens = camera_from_info(info)
        declared = (self.camera.width, self.camera.height)
        if (lens.width, lens.height) != declared:
            raise InvalidInput(
                f"{self.role}: camera info of {lens.width}x{lens.height} pixels, the rig declares {declared[0]}x{declared[1]}"
            )
        self.lens = lens

    @property
    def newest_ns(self) -> int | None:
        """Exposure of the frame that came last."""
        return next(reversed(self._frames), None)

    def frame_at(self, t0_ns: int) -> EncodedFrame | None:
        """The frame nearest to an instant, if it is within the camera's tolerance."""
        nearest = min(self._frames, key=lambda stamp_ns: abs(stamp_ns - t0_ns), default=None)
        return None if nearest is None or abs(nearest - t0_ns) > self.camera.tolerance_ns else self._frames[nearest]

    def settled(self, t0_ns: int) -> bool:
        """Whether a frame of t0 or later has come: none that follows can be nearer."""
        return any(stamp_ns >= t0_ns for stamp_ns in self._frames)

    def forget_frames(self) -> None:
        """Nobody looks any more."""
        self._frames.clear()
        self._bytes = 0

    def _drop(self, stamp_ns: int) -> None:
        dropped = self._frames.pop(stamp_ns, None)
        self._bytes -= len(dropped.data) if dropped else 0


class Style(NamedTuple):
    """How a trajectory is drawn into a picture."""

    strength: float = 1.0  # 0..1, of the ribbon's colours
    edge: drawing.Colour | None = None  # around the picture


def picture(frame: EncodedFrame, lens: Camera, optical_from_ego: F64, trajectory: Trajectory, width: int, style: Style) -> U8:
    """A frame, `width` px wide, with the trajectory on the ground, and with an edge in a colour if one is given.

    `optical_from_ego` (4, 4) takes the trajectory's frame to the camera's optical frame at the frame's own time. The frame is
    decoded at the reduced size and the lens scaled with it. Raises InvalidInput for pixels that cannot be decoded.
    """
    image = pixels_of_width(frame, width)
    height = len(image)
    drawn = drawing.overlay(image, resized(lens, width, height), optical_from_ego, trajectory)
    drawn = np.asarray(cv2.addWeighted(drawn, style.strength, image, 1.0 - style.strength, 0.0), np.uint8)
    if style.edge is not None:
        cv2.rectangle(drawn, (0, 0), (width - 1, height - 1), style.edge, 2 * EDGE_PX - 1)  # half of the line lies outside
    return drawn


def strip(pictures: Mapping[str, Picture], headline: Sequence[str], words: Sequence[str], causes: Sequence[str]) -> U8:
    """All cameras in their places above the trace: one size always, so what does not fit of the texts is cut.

    `headline` and `words` stand on the left, `causes` (critical components and motion) on the right.
    """
    images = {role: one.image for role, one in pictures.items()}
    scene = drawing.seven_up(images, {role: one.label for role, one in pictures.items()}, STRIP_PX)
    panel = np.full((TEXT_LINES * drawing.LINE_PX + 2 * drawing.MARGIN_PX, STRIP_PX, 3), drawing.PAPER, np.uint8)
    columns = ((0, STRIP_PX * 2 // 3, [*headline, *words], drawing.INK), (STRIP_PX * 2 // 3, STRIP_PX, causes, drawing.FAINT))
    for left, right, texts, colour in columns:
        room = right - left - 2 * drawing.MARGIN_PX
        lines = [line for text in texts for line in drawing.wrapped(text, room)]
        if len(lines) > TEXT_LINES:
            lines = [*lines[: TEXT_LINES - 1], f"{lines[TEXT_LINES - 1][: room // 12]} ..."]
        drawing.write_lines(panel, lines, left + drawing.MARGIN_PX, drawing.MARGIN_PX, colour)
    return np.vstack([scene, panel])
