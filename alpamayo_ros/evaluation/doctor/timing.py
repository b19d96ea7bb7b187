"""What the stamps of a topic say: rate, jitter, gaps, clock, and how close one camera's frames are to another's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

GAP_PERIODS = 1.5
"""An interval longer than this many periods is a gap: something was lost in it."""


@dataclass(frozen=True)
class Timing:
    """What the stamps of a topic say."""

    count: int
    rate_hz: float  # from the median interval; NaN below two different stamps
    jitter_ms: float  # standard deviation of the intervals that are not gaps
    missing: int  # messages that fit into the gaps
    duplicates: int
    out_of_order: int
    unset: int  # stamps of zero
    clock_ms: float  # median of log time minus stamp; NaN without stamps


@dataclass(frozen=True)
class Skew:
    """How far a camera's nearest frames are from the anchor's."""

    median_ms: float  # NaN when there is nothing to compare
    tolerance_ms: float
    anchors: int  # the anchor's frames while this camera was running
    late: int  # those without a frame within the tolerance


def timing_of(stamps_ns: I64, log_ns: I64) -> Timing:
    """Timing of messages with stamps (N,), 0 where unset, and log times (N,), in order of arrival."""
    is_set = stamps_ns > 0
    stamps = stamps_ns[is_set]
    intervals = np.diff(np.unique(stamps)).astype(np.float64)
    period = float(np.median(intervals)) if len(intervals) else float("nan")
    is_gap = intervals > GAP_PERIODS * period
    return Timing(
        count=len(stamps_ns),
        rate_hz=1e9 / period,
        jitter_ms=float(np.std(intervals[~is_gap]) / 1e6) if len(intervals) else float("nan"),
        missing=int(np.round(intervals[is_gap] / period - 1).sum()),
        duplicates=len(stamps) - len(np.unique(stamps)),
        out_of_order=int(np.count_nonzero(np.diff(stamps) < 0)),
        unset=int(np.count_nonzero(~is_set)),
        clock_ms=float(np.median(log_ns[is_set] - stamps) / 1e6) if len(stamps) else float("nan"),
    )


def skew_of(stamps_ns: I64, anchor_ns: I64, tolerance_ns: float) -> Skew:
    """Distance of each anchor stamp (M,) from the nearest of a camera's stamps (N,), while the camera was running."""
    stamps = np.unique(stamps_ns[stamps_ns > 0])
    anchors = np.unique(anchor_ns[anchor_ns > 0])
    if len(stamps):
        anchors = anchors[(anchors >= stamps[0] - tolerance_ns) & (anchors <= stamps[-1] + tolerance_ns)]
    if not len(stamps) or not len(anchors):
        return Skew(float("nan"), tolerance_ns / 1e6, 0, 0)
    after = np.clip(np.searchsorted(stamps, anchors), 0, len(stamps) - 1)
    distance = np.minimum(np.abs(stamps[after] - anchors), np.abs(stamps[np.maximum(after - 1, 0)] - anchors))
    late = int(np.count_nonzero(distance > tolerance_ns))
    return Skew(float(np.median(distance) / 1e6), tolerance_ns / 1e6, len(anchors), late)
