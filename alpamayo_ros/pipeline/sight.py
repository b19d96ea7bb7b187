"""Whether a camera that delivers still sees: a frozen picture and a covered lens arrive as punctually as a good one."""

from __future__ import annotations

from collections.abc import Sequence

from alpamayo_ros.types import CameraFrame

SAME_PICTURES, SAME_OVER_M = 4, 1.0
"""So many pictures without a changed bit over so much road are one picture: noise alone changes a real one."""

DARK_PICTURES, LEAST_CONTRAST, DARK_ABOVE_MPS = 3, 2.0, 1.0
"""A lens that is covered, or looks into the sun, shows one grey: less than 2 of 255 levels. A night has lights and noise."""


def blindness(frames: Sequence[CameraFrame], speed_mps: float) -> str:
    """Why a camera's frames of a window, oldest first, show nothing of where the vehicle goes; empty when they may.

    At rest everything may be said to be seen: nothing moves, and nothing is driven by it.
    """
    speed_mps = abs(speed_mps)
    newest = frames[-SAME_PICTURES:]
    driven_m = speed_mps * (newest[-1].stamp_ns - newest[0].stamp_ns) / 1e9
    if len(newest) == SAME_PICTURES and driven_m > SAME_OVER_M and len({frame.crc32 for frame in newest}) == 1:
        return f"frozen: {SAME_PICTURES} pictures are the same over {driven_m:.1f} m of road"
    newest = frames[-DARK_PICTURES:]
    contrast = max(frame.contrast for frame in newest)
    if speed_mps > DARK_ABOVE_MPS and contrast < LEAST_CONTRAST:
        return f"covered: contrast of {contrast:.2f} of 255 levels in {len(newest)} pictures, least {LEAST_CONTRAST:g}"
    return ""
