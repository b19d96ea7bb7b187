"""Camera frames from callback to observation: queued, decoded once, kept as long as a window can use them."""

from __future__ import annotations

import threading
import time
import zlib
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from alpamayo_ros.pipeline.images import pixels_into
from alpamayo_ros.profile import InputProfile, Rig, RigCamera
from alpamayo_ros.types import U8, CameraFrame, EncodedFrame, InvalidInput

MAX_FUTURE_NS = 100_000_000
"""A stamp further ahead of the clock than this is refused."""

MAX_LAG_NS = 200_000_000
"""How far a t0 may lie behind a camera's newest frame, besides one period: the time spent waiting for other cameras."""


class Ring(Protocol):
    """Where decoded pixels live: `engine.ring.FrameRing`."""

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], None]) -> CameraFrame | None:
        """Let `fill` draw into a free slot; None when there is none. What `fill` raises passes through."""


@dataclass
class Counts:
    """What became of one camera's messages since the start."""

    received: int = 0
    decoded: int = 0
    duplicate: int = 0  # the stamp was there already, and so was the picture
    conflicting: int = 0  # the stamp was there already, with another picture; the first one is kept
    late: int = 0  # older than the window on arrival
    refused: int = 0  # header or pixels cannot be believed
    dropped: int = 0  # good, but the window, the ring or the epoch left it behind
    missing: int = 0  # frames that the gaps between stamps have room for: lost before they came here
    decode_ns: int = 0  # CPU time of decoding and resizing
    reason: str = ""  # of the last refusal or drop


@dataclass
class _Camera:
    """One camera's frames. `stamps` are all frames accepted in the window, whatever became of them."""

    camera: RigCamera
    window_ns: int
    capacity: int
    stamps: list[int] = field(default_factory=list)
    fingerprints: dict[int, int] = field(default_factory=dict)
    pending: dict[int, EncodedFrame] = field(default_factory=dict)
    decoding: set[int] = field(default_factory=set)
    ready: dict[int, tuple[CameraFrame, int]] = field(default_factory=dict)  # frame and when it was ready, buffer's clock
    counts: Counts = field(default_factory=Counts)

    def missing_between(self, before: int, after: int) -> int:
        """Frames that a gap has room for; one period and a half is jitter."""
        periods = (after - before) / self.camera.period_ns
        return round(periods) - 1 if periods > 1.5 else 0

    def add(self, encoded: EncodedFrame) -> None:
        """Take a frame in stamp order into the window and the queue."""
        stamp = encoded.stamp_ns
        place = bisect_left(self.stamps, stamp)
        older, newer = self.stamps[place - 1 : place], self.stamps[place : place + 1]
        self.counts.missing += sum(self.missing_between(a, stamp) for a in older)
        self.counts.missing += sum(self.missing_between(stamp, b) for b in newer)
        self.counts.missing -= sum(self.missing_between(a, b) for a in older for b in newer)
        self.stamps.insert(place, stamp)
        self.fingerprints[stamp] = fingerprint(encoded)
        self.pending[stamp] = encoded
        self.trim()

    def trim(self) -> None:
        """Forget what is older than the window, and the oldest of more frames than the declared rate explains."""
        oldest = max(self.stamps[-1] - self.window_ns, self.stamps[-self.capacity :][0])
        crowded = len(self.stamps) > self.capacity
        gone = bisect_left(self.stamps, oldest)
        for stamp in self.stamps[:gone]:
            del self.fingerprints[stamp]
            self.ready.pop(stamp, None)
            if self.pending.pop(stamp, None):
                self.drop("left the window before it was decoded")
        del self.stamps[:gone]
        if crowded:
            span_s, rate_hz = (self.stamps[-1] - oldest) / 1e9, self.camera.rate_hz
            self.counts.reason = f"more than {self.capacity} frames in {span_s:.2f} s, the rig declares {rate_hz:g} Hz"

    def drop(self, reason: str) -> None:
        self.counts.dropped += 1
        self.counts.reason = reason

    def clear(self) -> None:
        for stored in (self.stamps, self.fingerprints, self.pending, self.decoding, self.ready):
            stored.clear()
