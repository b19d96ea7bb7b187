"""What is kept of one camera: its frames while an observation can use them, by stamp, and what became of all others."""

from __future__ import annotations

import zlib
from bisect import bisect_left, insort
from dataclasses import dataclass, field

from alpamayo_ros.profile import InputProfile, Rig, RigCamera
from alpamayo_ros.types import CameraFrame, EncodedFrame

MAX_LAG_NS = 200_000_000
"""How far a t0 may lie behind a camera's newest frame, besides one period: the time spent waiting for other inputs."""

_FINGERPRINT_BYTES = 4096


@dataclass
class Counts:
    """What became of one camera's messages since the start; each message has one fate, is queued, or was never asked for."""

    received: int = 0
    decoded: int = 0  # got ready
    duplicate: int = 0  # the stamp was there already, and so was the picture
    conflicting: int = 0  # the stamp was there already, with another picture; the first one is kept
    late: int = 0  # older than the window on arrival
    refused: int = 0  # header, stamp or pixels cannot be believed
    dropped: int = 0  # good, but the window, the ring or the epoch left it behind
    missing: int = 0  # frames that the gaps between believable stamps have room for: lost before they came here
    decode_ns: int = 0  # CPU time of decoding and resizing
    reason: str = ""  # of the last refusal or drop

    def refuse(self, reason: str) -> None:
        """Count a frame that cannot be believed."""
        self.refused += 1
        self.reason = reason

    def drop(self, reason: str) -> None:
        """Count a good frame that cannot be used."""
        self.dropped += 1
        self.reason = reason


def window_ns(profile: InputProfile, camera: RigCamera) -> int:
    """How long a frame of this camera can enter an observation, counted back from the camera's newest frame."""
    return -profile.offsets_ns[0] + camera.tolerance_ns + camera.period_ns + MAX_LAG_NS


def window_frames(profile: InputProfile, camera: RigCamera) -> int:
    """Most frames that a window holds at the declared rate, jitter included."""
    return window_ns(profile, camera) // camera.period_ns + 2


def ring_slots(profile: InputProfile, rig: Rig, threads: int = 2) -> int:
    """Slots of the frame ring: every camera's window, one observation that the engine still reads, and what is being drawn."""
    used = [camera for role, camera in rig.cameras.items() if role in profile.cameras]
    return sum(window_frames(profile, camera) + len(profile.offsets_ns) for camera in used) + max(threads, 1)


@dataclass
class CameraWindow:
    """One camera's frames, by stamp. `stamps` are all frames accepted in the window, whatever became of them.

    `came` are those and the ones whose header was refused: what is between two of them is missing. `is_lazy`: see FrameBuffer.
    """

    rig: RigCamera
    window_ns: int
    capacity: int
    is_lazy: bool
    stamps: list[int] = field(default_factory=list)
    came: list[int] = field(default_factory=list)
    fingerprints: dict[int, int] = field(default_factory=dict)
    pending: dict[int, EncodedFrame] = field(default_factory=dict)
    decoding: set[int] = field(default_factory=set)
    ready: dict[int, CameraFrame] = field(default_factory=dict)
    ready_ns: dict[int, int] = field(default_factory=dict)  # when, on the buffer's clock
    counts: Counts = field(default_factory=Counts)

    def place(self, encoded: EncodedFrame) -> None:
        """Take a frame into window and queue, in stamp order."""
        stamp = encoded.stamp_ns
        self.note(stamp)
        insort(self.stamps, stamp)
        self.fingerprints[stamp] = fingerprint(encoded)
        self._trim()
        if stamp in self.fingerprints:
            self.pending[stamp] = encoded
        else:
            self.counts.drop("older than all that the window has room for")

    def note(self, stamp: int) -> None:
        """Count what is missing around a frame that came."""
        if self.came and stamp < self.came[-1] - self.window_ns:
            return
        at = bisect_left(self.came, stamp)
        older, newer = self.came[max(at - 1, 0) : at], self.came[at : at + 1]
        if newer == [stamp]:
            return
        gaps = [(a, stamp) for a in older] + [(stamp, b) for b in newer]
        # A frame that comes late fills the gap that was counted when its successor came.
        filled = [(a, b) for a in older for b in newer]
        self.counts.missing += sum(self._room(*gap) for gap in gaps) - sum(self._room(*gap) for gap in filled)
        self.came.insert(at, stamp)
        left = bisect_left(self.came, self.came[-1] - self.window_ns)
        del self.came[: max(left, len(self.came) - self.capacity)]

    def may_come(self, first_ns: int, last_ns: int) -> bool:
        """Whether a frame stamped in [first, last] may still get ready: it is queued, or the camera is not past it."""
        queued = any(first_ns <= stamp <= last_ns for stamp in (*self.pending, *self.decoding))
        return queued or not self.stamps or self.stamps[-1] < last_ns

    def is_waiting_near(self, instant_ns: int) -> bool:
        """Whether a frame within tolerance of an instant waits to be decoded."""
        return any(abs(stamp - instant_ns) <= self.rig.tolerance_ns for stamp in self.pending)

    def nearest(self, instant_ns: int) -> int | None:
        """Stamp of the frame nearest to an instant, the older one of two, of those that are ready or decoded when asked for."""
        at = bisect_left(self.stamps, instant_ns)
        older = next(filter(self._is_usable, reversed(self.stamps[:at])), None)
        newer = next(filter(self._is_usable, self.stamps[at:]), None)
        if older is None or newer is None:
            return newer if older is None else older
        return older if instant_ns - older <= newer - instant_ns else newer

    def clear(self) -> None:
        """Forget every frame; the counts stay."""
        for _ in self.pending:
            self._leave_behind("the epoch ended before its turn to be decoded")
        for stored in (self.stamps, self.came, self.fingerprints, self.pending, self.decoding, self.ready, self.ready_ns):
            stored.clear()

    def _is_usable(self, stamp: int) -> bool:
        return stamp in self.ready or (self.is_lazy and stamp in self.pending)

    def _room(self, before_ns: int, after_ns: int) -> int:
        """Frames that fit between two stamps; up to one period and a half it is jitter."""
        periods = (after_ns - before_ns) / self.rig.period_ns
        return round(periods) - 1 if periods > 1.5 else 0

    def _trim(self) -> None:
        """Forget what left the window, and the oldest when there are more frames than the declared rate explains."""
        if len(self.stamps) > self.capacity:
            span_s = (self.stamps[-1] - self.stamps[0]) / 1e9
            self.counts.reason = f"{len(self.stamps)} frames in {span_s:.2f} s, the rig declares {self.rig.rate_hz:g} Hz"
        left = bisect_left(self.stamps, self.stamps[-1] - self.window_ns)
        gone = max(left, len(self.stamps) - self.capacity)
        for stamp in self.stamps[:gone]:
            del self.fingerprints[stamp]
            self.ready.pop(stamp, None)
            self.ready_ns.pop(stamp, None)
            if self.pending.pop(stamp, None):
                self._leave_behind("left the window before its turn to be decoded")
        del self.stamps[:gone]

    def _leave_behind(self, reason: str) -> None:
        if not self.is_lazy:  # where nobody asked for it, it lacked nothing
            self.counts.drop(reason)


def fingerprint(encoded: EncodedFrame) -> int:
    """Tells two pictures of one stamp apart: CRC-32 of the middle of the bytes.

    Any earlier change moves a compressed picture's middle; a raw one's is sampled.
    """
    data = memoryview(encoded.data)
    middle = max(0, len(data) // 2 - _FINGERPRINT_BYTES // 2)
    return zlib.crc32(data[middle : middle + _FINGERPRINT_BYTES], len(data))
