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
"""How far a t0 may lie behind a camera's newest frame, besides one period: the time spent waiting for other inputs."""

_FINGERPRINT_BYTES = 4096


class Ring(Protocol):
    """Where decoded pixels live: `engine.ring.FrameRing`."""

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        """Let `fill` draw into a free slot; None when there is none. What `fill` raises passes through."""


@dataclass
class Counts:
    """What became of one camera's messages since the start; each message has one fate, or is queued."""

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
class _Camera:
    """One camera's frames, by stamp. `stamps` are all frames accepted in the window, whatever became of them.

    `came` are those and the ones whose header was refused: what is between two of them is missing.
    """

    rig: RigCamera
    window_ns: int
    capacity: int
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
        self.fingerprints[stamp] = _fingerprint(encoded)
        self.pending[stamp] = encoded
        self._trim()

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

    def clear(self) -> None:
        """Forget every frame; the counts stay."""
        for _ in self.pending:
            self.counts.drop("the epoch ended before its turn to be decoded")
        for stored in (self.stamps, self.came, self.fingerprints, self.pending, self.decoding, self.ready, self.ready_ns):
            stored.clear()

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
                self.counts.drop("left the window before its turn to be decoded")
        del self.stamps[:gone]


def _fingerprint(encoded: EncodedFrame) -> int:
    """CRC-32 of the middle of the bytes: any earlier change moves a compressed picture's middle; a raw one's is sampled."""
    data = memoryview(encoded.data)
    middle = max(0, len(data) // 2 - _FINGERPRINT_BYTES // 2)
    return zlib.crc32(data[middle : middle + _FINGERPRINT_BYTES], len(data))


class FrameBuffer:
    """The frames of all cameras a profile uses. `offer` is for callbacks; `threads` threads decode, the newest frame first.

    With 0 threads `offer` decodes before it returns: the same frames in the same order every time. `on_frame` hears of
    every frame that got ready, in the thread that decoded it; it must not raise. `clock_ns` says when: the steady clock
    on a vehicle, message time offline. Any thread may call any method; one thread may wait for changes.
    """

    def __init__(
        self,
        profile: InputProfile,
        rig: Rig,
        ring: Ring,
        threads: int = 2,
        on_frame: Callable[[CameraFrame], object] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.epoch = 0
        self.changed = threading.Event()
        self._used = frozenset(profile.cameras)
        self._cameras = {
            role: _Camera(camera, window_ns(profile, camera), window_frames(profile, camera))
            for role, camera in rig.cameras.items()
        }
        self._ring = ring
        self._on_frame = on_frame
        self._clock_ns = clock_ns
        self._closed = False
        self._work = threading.Condition()
        self._threads = [
            threading.Thread(target=self._decode_until_closed, name=f"decode-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, encoded: EncodedFrame, now_ns: int) -> None:
        """Take a frame into the queue, or count why not. `now_ns` is the clock of the stamps.

        Raises InvalidInput for a camera the profile does not use, or, after counting it, for a stamp in the future.
        """
        if encoded.role not in self._used or encoded.role not in self._cameras:
            raise InvalidInput(f"{encoded.role}: not a camera of both rig and profile")
        try:
            check_future(encoded.role, encoded.stamp_ns, now_ns)
        except InvalidInput as error:
            self.refuse(encoded.role, str(error), encoded.stamp_ns, now_ns)
            raise
        with self._work:
            self._accept(self._cameras[encoded.role], encoded)
            self._work.notify()
        while not self._threads and (job := self._take()):
            self._decode(*job)

    def refuse(self, role: str, reason: str, stamp_ns: int | None, now_ns: int) -> None:
        """Count a message that was refused before it could be offered. Where its stamp can be believed, it is not missing."""
        with self._work:
            camera = self._cameras[role]
            camera.counts.received += 1
            camera.counts.refuse(reason)
            if stamp_ns is not None and camera.came and stamp_ns <= now_ns + MAX_FUTURE_NS:
                camera.note(stamp_ns)

    def ready(self, role: str) -> tuple[CameraFrame, ...]:
        """The decoded frames of a camera, oldest first."""
        with self._work:
            camera = self._cameras[role]
            return tuple(camera.ready[stamp] for stamp in camera.stamps if stamp in camera.ready)

    def ready_since(self, role: str, stamp_ns: int) -> int | None:
        """When a frame got ready, ns of the buffer's clock; None when it is not (any more)."""
        with self._work:
            return self._cameras[role].ready_ns.get(stamp_ns)

    def may_come(self, role: str, first_ns: int, last_ns: int) -> bool:
        """Whether a frame stamped in [first, last] may still get ready: it is queued, or the camera is not past it."""
        with self._work:
            return self._cameras[role].may_come(first_ns, last_ns)

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the messages of every camera of the rig, as of now."""
        with self._work:
            return {role: replace(camera.counts) for role, camera in self._cameras.items()}

    @property
    def queued(self) -> int:
        """Frames that wait to be decoded."""
        with self._work:
            return sum(len(camera.pending) for camera in self._cameras.values())

    def newest_ns(self, role: str) -> int | None:
        """Stamp of the newest frame accepted from a camera."""
        with self._work:
            stamps = self._cameras[role].stamps
            return stamps[-1] if stamps else None

    def rate_hz(self, role: str) -> float:
        """Measured rate of a camera over its window; 0 with fewer than two frames."""
        with self._work:
            return measured_rate_hz(self._cameras[role].stamps)

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until something came since the last call returned; False when nothing did. For one thread."""
        happened = self.changed.wait(timeout_s)
        self.changed.clear()
        return happened

    def clear(self, epoch: int) -> None:
        """Forget every frame and start an epoch; a frame that is being decoded now will be dropped."""
        with self._work:
            self.epoch = epoch
            for camera in self._cameras.values():
                camera.clear()
        self.changed.set()

    def close(self) -> None:
        """End the decode threads after their current frame. Closing twice is allowed."""
        with self._work:
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()

    def _accept(self, camera: _Camera, encoded: EncodedFrame) -> None:
        counts, stamp = camera.counts, encoded.stamp_ns
        counts.received += 1
        if encoded.epoch != self.epoch:
            counts.drop(f"of epoch {encoded.epoch}, now is {self.epoch}")
        elif stamp in camera.fingerprints:
            same = camera.fingerprints[stamp] == _fingerprint(encoded)
            counts.duplicate += same
            counts.conflicting += not same
        elif camera.stamps and stamp < camera.stamps[-1] - camera.window_ns:
            counts.late += 1
            counts.reason = f"{(camera.stamps[-1] - stamp) / 1e6:.0f} ms late, the window is {camera.window_ns / 1e6:.0f}"
        else:
            camera.place(encoded)

    def _take(self) -> tuple[_Camera, EncodedFrame] | None:
        """The newest frame of all queues: after a stall, what can be planned on soonest comes first."""
        with self._work:
            newest = [(max(camera.pending), camera) for camera in self._cameras.values() if camera.pending]
            if not newest:
                return None
            stamp, camera = max(newest, key=lambda pair: pair[0])
            camera.decoding.add(stamp)
            return camera, camera.pending.pop(stamp)

    def _decode_until_closed(self) -> None:
        while True:
            with self._work:
                while not self._closed and not any(camera.pending for camera in self._cameras.values()):
                    self._work.wait()
                if self._closed:
                    return
                job = self._take()
            if job:
                self._decode(*job)

    def _decode(self, camera: _Camera, encoded: EncodedFrame) -> None:
        started = time.thread_time_ns()
        frame, refusal = None, ""
        try:
            frame = self._ring.write(encoded.role, encoded.stamp_ns, encoded.epoch, lambda pixels: pixels_into(encoded, pixels))
        except InvalidInput as error:
            refusal = str(error)
        with self._work:
            camera.counts.decode_ns += time.thread_time_ns() - started
            is_kept = self._store(camera, encoded, frame, refusal)
        if is_kept and frame is not None and self._on_frame is not None:
            self._on_frame(frame)
        self.changed.set()

    def _store(self, camera: _Camera, encoded: EncodedFrame, frame: CameraFrame | None, refusal: str) -> bool:
        counts, stamp, is_current = camera.counts, encoded.stamp_ns, encoded.epoch == self.epoch
        if is_current:
            camera.decoding.discard(stamp)
        if refusal:
            counts.refuse(refusal)
        elif frame is None:
            counts.drop("no free slot in the frame ring")
        elif not is_current:
            counts.drop(f"of epoch {encoded.epoch}, now is {self.epoch}")
        elif stamp not in camera.fingerprints:
            counts.drop("left the window while it was decoded")
        else:
            camera.ready[stamp], camera.ready_ns[stamp] = frame, self._clock_ns()
            counts.decoded += 1
            return True
        return False


def check_future(source: str, stamp_ns: int, now_ns: int) -> None:
    """Raise InvalidInput for a stamp more than MAX_FUTURE_NS ahead of the clock."""
    if stamp_ns > now_ns + MAX_FUTURE_NS:
        ahead_ms, limit_ms = (stamp_ns - now_ns) / 1e6, MAX_FUTURE_NS / 1e6
        raise InvalidInput(f"{source}: stamp {ahead_ms:.0f} ms ahead of the clock, limit {limit_ms:.0f}")


def measured_rate_hz(stamps: list[int]) -> float:
    """Mean rate of increasing stamps in ns; 0 with fewer than two."""
    return (len(stamps) - 1) * 1e9 / (stamps[-1] - stamps[0]) if len(stamps) > 1 else 0.0
