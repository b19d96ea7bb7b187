"""Camera frames from callback to observation: queued, decoded once, kept as long as a window can use them."""

from __future__ import annotations

import math
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from alpamayo_ros.pipeline.images import pixels_into
from alpamayo_ros.pipeline.window import CameraWindow, Counts, fingerprint, window_frames, window_ns
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.types import U8, CameraFrame, EncodedFrame, InvalidInput

NICER = 5
"""Threads that decode are so much nicer than their process (Linux has a niceness for each thread): where cores are few, what is
decoded is wanted by the next plan, and the engine is at this one."""

MAX_FUTURE_NS = 100_000_000
"""A stamp further ahead of the clock than this is refused."""


class Ring(Protocol):
    """Where decoded pixels live: `engine.ring.FrameRing`."""

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        """Let `fill` draw into a free slot; None when there is none. What `fill` raises passes through."""


class FrameBuffer:
    """The frames of all cameras a profile uses. `offer` is for callbacks; `threads` threads decode, see `_take` in which order.

    With 0 threads a frame counts as ready from when it was offered, and a JPEG is decoded in the call that first asks for it
    (a frame of raw pixels before `offer` returns: kept as it came it would be large). What is asked for is what threads that
    always keep up would have had ready, the same every time; what nobody asked for, good or corrupt, goes uncounted.
    `on_frame` hears of every frame that was decoded, in the thread that decoded it; it must not raise. `clock_ns` says when:
    the steady clock on a vehicle, message time offline. Any thread may call any method; one thread may wait for changes.
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
        self._earlier_ns = profile.offsets_ns[:-1]
        self._anchor = rig.anchor
        self._tick_ns = 0  # what is being decoded is about this instant
        self._cameras = {
            role: CameraWindow(camera, window_ns(profile, camera), window_frames(profile, camera), is_lazy=threads == 0)
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
            camera = self._cameras[encoded.role]
            if self._accept(camera, encoded) and camera.is_lazy:
                camera.ready_ns[encoded.stamp_ns] = self._clock_ns()
                if encoded.encoding != "jpeg":
                    self._decode_pending(camera, encoded.stamp_ns)
                self.changed.set()
            self._work.notify()

    def refuse(self, role: str, reason: str, stamp_ns: int | None, now_ns: int) -> None:
        """Count a message that was refused before it could be offered. Where its stamp can be believed, it is not missing."""
        with self._work:
            camera = self._cameras[role]
            camera.counts.received += 1
            camera.counts.refuse(reason)
            if stamp_ns is not None and camera.came and stamp_ns <= now_ns + MAX_FUTURE_NS:
                camera.note(stamp_ns)

    def ready(self, role: str, from_ns: int = 0) -> tuple[CameraFrame, ...]:
        """The decoded frames of a camera stamped `from_ns` or later, oldest first."""
        with self._work:
            camera = self._cameras[role]
            stamps = camera.stamps[bisect_left(camera.stamps, from_ns) :]
            if camera.is_lazy:
                for stamp in stamps:
                    self._decode_pending(camera, stamp)
            return tuple(camera.ready[stamp] for stamp in stamps if stamp in camera.ready)

    def nearest(self, role: str, instants_ns: Sequence[int]) -> tuple[CameraFrame, ...]:
        """For each instant the decoded frame nearest to it, the older one of two; empty when there are none."""
        with self._work:
            found = [self._nearest(self._cameras[role], instant_ns, math.inf) for instant_ns in instants_ns]
            return tuple(frame for frame in found if frame is not None)

    def has(self, role: str, instant_ns: int, within_ns: int) -> bool:
        """Whether a decoded frame is within a distance of an instant."""
        with self._work:
            return self._nearest(self._cameras[role], instant_ns, within_ns) is not None

    def ready_since(self, role: str, stamp_ns: int) -> int | None:
        """When a frame got ready, ns of the buffer's clock; None when it is not (any more)."""
        with self._work:
            camera = self._cameras[role]
            return camera.ready_ns[stamp_ns] if stamp_ns in camera.ready else None

    def may_come(self, role: str, first_ns: int, last_ns: int) -> bool:
        """Whether a frame stamped in [first, last] may still get ready: it is queued, or the camera is not past it."""
        with self._work:
            return self._cameras[role].may_come(first_ns, last_ns)

    @property
    def counts(self) -> dict[str, Counts]:
        """What became of the messages of every camera of the rig, as of now."""
        with self._work:
            return {role: replace(camera.counts) for role, camera in self._cameras.items()}

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

    def _accept(self, camera: CameraWindow, encoded: EncodedFrame) -> bool:
        """Count a frame, and place it or not; whether it waits to be decoded."""
        counts, stamp = camera.counts, encoded.stamp_ns
        counts.received += 1
        if encoded.epoch != self.epoch:
            counts.drop(f"of epoch {encoded.epoch}, now is {self.epoch}")
        elif stamp in camera.fingerprints:
            same = camera.fingerprints[stamp] == fingerprint(encoded)
            counts.duplicate += same
            counts.conflicting += not same
        elif camera.stamps and stamp < camera.stamps[-1] - camera.window_ns:
            counts.late += 1
            counts.reason = f"{(camera.stamps[-1] - stamp) / 1e6:.0f} ms late, the window is {camera.window_ns / 1e6:.0f}"
        else:
            camera.place(encoded)
            return stamp in camera.pending
        return False

    def _nearest(self, camera: CameraWindow, instant_ns: int, within_ns: float) -> CameraFrame | None:
        while True:
            stamp = camera.nearest(instant_ns)
            if stamp is None or abs(stamp - instant_ns) > within_ns:
                return None
            if stamp in camera.ready:
                return camera.ready[stamp]
            self._decode_pending(camera, stamp)  # it gets ready, or is no candidate any more

    def _decode_pending(self, camera: CameraWindow, stamp_ns: int) -> None:
        encoded = camera.pending.pop(stamp_ns, None)
        if encoded is not None:
            self._decode(camera, encoded)

    def _take(self) -> tuple[CameraWindow, EncodedFrame] | None:
        """A frame of the tick whose window is the most complete; of equals, of the one that was begun, then of the newest.

        Where the machine is too small for every frame, whole ticks are left out, and those are kept that plans can be made of.
        The newest frame first, camera by camera, starved the same cameras of every tick.
        """
        with self._work:
            ticks = set(self._cameras[self._anchor].pending)
            ticks |= {max(camera.pending) for camera in self._cameras.values() if camera.pending}
            if not ticks:
                return None
            is_begun = any(camera.is_waiting_near(self._tick_ns) for camera in self._cameras.values())
            ticks |= {self._tick_ns} if is_begun else set()
            self._tick_ns = max(ticks, key=lambda tick: (self._decoded_before(tick), tick == self._tick_ns, tick))
            camera = next(camera for camera in self._cameras.values() if camera.is_waiting_near(self._tick_ns))
            stamp = min(camera.pending, key=lambda stamp: abs(stamp - self._tick_ns))
            camera.decoding.add(stamp)
            return camera, camera.pending.pop(stamp)

    def _decoded_before(self, t0_ns: int) -> int:
        """How many of the earlier anchor frames that an observation at t0 needs are there."""
        anchor = self._cameras[self._anchor]
        found = (self._nearest(anchor, t0_ns + offset_ns, anchor.rig.tolerance_ns) for offset_ns in self._earlier_ns)
        return sum(frame is not None for frame in found)

    def _decode_until_closed(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICER)
        while True:
            with self._work:
                while not self._closed and not any(camera.pending for camera in self._cameras.values()):
                    self._work.wait()
                if self._closed:
                    return
                job = self._take()
            if job:
                self._decode(*job)

    def _decode(self, camera: CameraWindow, encoded: EncodedFrame) -> None:
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

    def _store(self, camera: CameraWindow, encoded: EncodedFrame, frame: CameraFrame | None, refusal: str) -> bool:
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
            camera.ready[stamp] = frame
            camera.ready_ns.setdefault(stamp, self._clock_ns())
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
