"""Camera frames from callback to observation: queued, decoded once, kept as long as a window can use them."""

from __future__ import annotations

import threading
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
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

    def refuse(self, reason: str) -> None:
        self.counts.refused += 1
        self.counts.reason = reason

    def drop(self, reason: str) -> None:
        self.counts.dropped += 1
        self.counts.reason = reason

    def clear(self) -> None:
        for stored in (self.stamps, self.fingerprints, self.pending, self.ready):
            stored.clear()


def fingerprint(encoded: EncodedFrame) -> int:
    """Tells two payloads of one stamp apart; cheap enough for a callback."""
    return zlib.crc32(encoded.data)


def ring_slots(profile: InputProfile, rig: Rig) -> int:
    """Slots of the frame ring: every frame of every window kept here, and two windows that plans in progress hold."""
    kept = sum(
        _capacity(rig.cameras[role], _window_ns(profile, rig.cameras[role])) for role in profile.cameras if role in rig.cameras
    )
    return kept + 2 * len(profile.cameras) * len(profile.frame_offsets_ms)


def _window_ns(profile: InputProfile, camera: RigCamera) -> int:
    return -profile.offsets_ns[0] + camera.tolerance_ns + camera.period_ns + MAX_LAG_NS


def _capacity(camera: RigCamera, window_ns: int) -> int:
    return window_ns // camera.period_ns + 3


class FrameBuffer:
    """Frames of all cameras of a profile, from callback to observation.

    `offer` queues; `threads` decode the newest queued frame first (0: `offer` decodes at once, for offline use). After a
    stall, frames that left the window before their turn are dropped, counted, and never decoded.
    """

    def __init__(
        self,
        profile: InputProfile,
        rig: Rig,
        ring: Ring,
        threads: int,
        on_frame: Callable[[CameraFrame], None] | None = None,
    ) -> None:
        self._ring = ring
        self._on_frame = on_frame
        self._changed = threading.Condition()
        self._epoch = 0
        self._closing = False
        self._cameras = {
            role: _Camera(camera, window := _window_ns(profile, camera), _capacity(camera, window))
            for role, camera in rig.cameras.items()
            if role in profile.cameras
        }
        self._threads = [threading.Thread(target=self._decode_until_closed, name="decode", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of each camera's messages, by role."""
        return {role: camera.counts for role, camera in self._cameras.items()}

    def offer(self, encoded: EncodedFrame, now_ns: int) -> None:
        """Take one frame. Raises InvalidInput when its stamp is ahead of `now_ns`; anything else is counted."""
        camera = self._cameras[encoded.role]
        with self._changed:
            camera.counts.received += 1
            if encoded.stamp_ns > now_ns + MAX_FUTURE_NS:
                ahead_ms = (encoded.stamp_ns - now_ns) / 1e6
                camera.refuse(
                    text := f"{encoded.role}: stamp is {ahead_ms:.0f} ms in the future, limit {MAX_FUTURE_NS / 1e6:.0f}"
                )
                raise InvalidInput(text)
            if not self._accepts(camera, encoded):
                return
            camera.add(encoded)
            self._changed.notify_all()
        if not self._threads:
            while self._decode_newest():
                pass

    def refuse(self, role: str, reason: str) -> None:
        """Count a message whose header was refused before it became a frame."""
        with self._changed:
            self._cameras[role].counts.received += 1
            self._cameras[role].refuse(reason)

    def newest_ns(self, role: str) -> int | None:
        """Stamp of a camera's newest accepted frame, ready or not."""
        with self._changed:
            stamps = self._cameras[role].stamps
            return stamps[-1] if stamps else None

    def rate_hz(self, role: str) -> float:
        """Frames per second of the stamps in the window; 0 with fewer than two."""
        with self._changed:
            stamps = self._cameras[role].stamps
            return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0

    def ready(self) -> dict[str, list[tuple[CameraFrame, int]]]:
        """One consistent look: each camera's decoded frames in stamp order, with the steady time at which each was ready, ns."""
        with self._changed:
            return {role: [camera.ready[s] for s in sorted(camera.ready)] for role, camera in self._cameras.items()}

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a frame is ready, the epoch changes, the buffer closes, or the timeout."""
        with self._changed:
            self._changed.wait(timeout_s)

    def clear(self, epoch: int) -> None:
        """Forget all frames; frames of other epochs are dropped from now on, also those being decoded."""
        with self._changed:
            self._epoch = epoch
            for camera in self._cameras.values():
                camera.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End the decode threads. Closing twice is allowed."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for camera in self._cameras.values():
            camera.clear()

    def _accepts(self, camera: _Camera, encoded: EncodedFrame) -> bool:
        if encoded.epoch != self._epoch:
            camera.drop(f"of epoch {encoded.epoch}, now {self._epoch}")
            return False
        if encoded.stamp_ns in camera.fingerprints:
            if camera.fingerprints[encoded.stamp_ns] == fingerprint(encoded):
                camera.counts.duplicate += 1
            else:
                camera.counts.conflicting += 1
            return False
        if camera.stamps and encoded.stamp_ns < camera.stamps[-1] - camera.window_ns:
            camera.counts.late += 1
            return False
        return True

    def _decode_until_closed(self) -> None:
        while not self._closing:
            if not self._decode_newest():
                with self._changed:
                    if not self._closing and not any(c.pending for c in self._cameras.values()):
                        self._changed.wait(0.5)

    def _decode_newest(self) -> bool:
        """Decode the newest frame in the queue; False when there is none."""
        with self._changed:
            queued = [frame for camera in self._cameras.values() for frame in camera.pending.values()]
            if not queued:
                return False
            encoded = max(queued, key=lambda frame: frame.stamp_ns)
            del self._cameras[encoded.role].pending[encoded.stamp_ns]
        started_ns = time.thread_time_ns()
        frame, refused = self._decoded(encoded)
        self._finish(encoded, frame, refused, time.thread_time_ns() - started_ns)
        return True

    def _decoded(self, encoded: EncodedFrame) -> tuple[CameraFrame | None, str]:
        """The frame in the ring, or None and why its pixels were refused (empty: no slot was free)."""
        try:
            return self._ring.write(
                encoded.role, encoded.stamp_ns, encoded.epoch, lambda pixels: pixels_into(encoded, pixels)
            ), ""
        except InvalidInput as error:
            return None, str(error)

    def _finish(self, encoded: EncodedFrame, frame: CameraFrame | None, refused: str, cpu_ns: int) -> None:
        camera = self._cameras[encoded.role]
        with self._changed:
            camera.counts.decode_ns += cpu_ns
            if refused:
                camera.refuse(refused)
            elif frame is None:
                camera.drop("no slot of the frame ring is free")
            elif encoded.epoch != self._epoch or encoded.stamp_ns not in camera.fingerprints:
                camera.counts.decoded += 1
                camera.drop("left the window while it was decoded")
                frame = None
            else:
                camera.counts.decoded += 1
                camera.ready[encoded.stamp_ns] = (frame, time.monotonic_ns())
                self._changed.notify_all()
        if frame is not None and self._on_frame is not None:
            self._on_frame(frame)
