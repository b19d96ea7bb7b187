"""Prompts that are read while their images are still coming, camera by camera in the prompt's order.

Which frames the next observation will have is a guess; where it is wrong, that part is read again and nothing else happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame

KEPT = 64
"""Frames of a camera among which those of the next observation are looked for: two seconds at 30 Hz."""


class Window(NamedTuple):
    """The frames of one camera that an observation is expected to have, oldest first."""

    role: str
    frames: tuple[CameraFrame, ...]


class Arrivals:
    """The last frames of every camera of a profile."""

    def __init__(self, profile: InputProfile) -> None:
        self._offsets_ns = offsets = profile.offsets_ns
        self._tolerance_ns = min((later - earlier for earlier, later in pairwise(offsets)), default=100_000_000) // 2
        self._frames: dict[str, deque[CameraFrame]] = {role: deque(maxlen=KEPT) for role in profile.cameras}

    def take(self, frame: CameraFrame) -> None:
        """One more. One of another epoch than those before begins anew."""
        frames = self._frames[frame.role]
        if frames and frames[-1].epoch != frame.epoch:
            frames.clear()
        frames.append(frame)

    def forget(self) -> None:
        """Everything."""
        for frames in self._frames.values():
            frames.clear()

    def expected(self, roles: Sequence[str]) -> list[Window]:
        """Windows of cameras in the prompt's order, as many as are complete for the newest frame of all."""
        newest = [frames[-1].stamp_ns for frames in self._frames.values() if frames]
        windows: list[Window] = []
        for role in roles:
            found = [self._nearest(role, max(newest) + offset) for offset in self._offsets_ns] if newest else []
            frames = tuple(frame for frame in found if frame is not None)
            if not frames or len(frames) < len(found):
                break
            windows.append(Window(role, frames))
        return windows

    def _nearest(self, role: str, stamp_ns: int) -> CameraFrame | None:
        frame = min(self._frames[role], key=lambda frame: abs(frame.stamp_ns - stamp_ns), default=None)
        return frame if frame is not None and abs(frame.stamp_ns - stamp_ns) <= self._tolerance_ns else None
