"""A scripted vehicle: drives a gentle turn and publishes what its cameras and its odometry see, on time."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.faults.sending import Sent, image_cdr, odometry_cdr, pictures, stamped
from alpamayo_ros.types import F64, EgoPose

MS = 1_000_000
ODOMETRY_NS, CAMERA_NS, CLOCK_NS = 20 * MS, 100 * MS, 10 * MS
CAMERA_LAG_NS = 15 * MS
"""A picture leaves so long after its exposure, each camera another 1 ms later."""

CRUISE_MPS, CURVATURE_1PM = 8.0, 0.005
BRAKE_MPS2 = 2.0

Passing = Callable[[Sent], Iterable[Sent]]
"""What becomes of a message on its way out."""


def unchanged(sent: Sent) -> Iterable[Sent]:
    """As it is."""
    return (sent,)


@dataclass
class Motion:
    """Where the vehicle is; a step is one odometry period."""

    speed_mps: float = CRUISE_MPS
    wanted_mps: float = CRUISE_MPS
    along_m: float = 0.0
    shift_m: F64 = field(default_factory=lambda: np.zeros(3))  # of what odometry calls the origin
    turn_rad: float = 0.0  # likewise

    def step(self, dt_s: float) -> None:
        """Drive on."""
        change = float(np.clip(self.wanted_mps - self.speed_mps, -BRAKE_MPS2 * dt_s, BRAKE_MPS2 * dt_s))
        self.along_m += (self.speed_mps + change / 2) * dt_s
        self.speed_mps += change

    def pose(self, stamp_ns: int) -> EgoPose:
        """As odometry says it."""
        position = rotation_z(self.turn_rad) @ self._on_circle() + self.shift_m
        twist = np.array([self.speed_mps, 0.0, 0.0]), np.array([0.0, 0.0, self.speed_mps * CURVATURE_1PM])
        return EgoPose(stamp_ns, position, rotation_z(CURVATURE_1PM * self.along_m + self.turn_rad), *twist)

    def teleport(self, metres: float, radians: float) -> None:
        """Odometry has another origin from now on: the vehicle stands so far aside and is turned by so much."""
        before, self.turn_rad = self.turn_rad, self.turn_rad + radians
        self.shift_m += (rotation_z(before) - rotation_z(self.turn_rad)) @ self._on_circle() + np.array([metres, metres, 0.0])

    def _on_circle(self) -> F64:
        yaw = CURVATURE_1PM * self.along_m
        circle: F64 = np.array([np.sin(yaw), 1.0 - np.cos(yaw), 0.0]) / CURVATURE_1PM
        return circle


class Vehicle(threading.Thread):
    """Publishes from its start until `close`, every message through `passes`, which may be set at any time."""

    def __init__(
        self, rig: Rig, publish: Callable[[str, bytes], None], start_ns: int, clock: Callable[[int], None] | None = None
    ) -> None:
        """`start_ns`: ROS time now; `clock` publishes simulated time, None: stamps are of the system's clock."""
        super().__init__(name="vehicle", daemon=True)
        self.rig = rig
        self.motion = Motion()
        self.passes: Passing = unchanged
        self.offset_ns = start_ns - time.monotonic_ns()  # ROS time less the steady clock
        self.paused = False  # nothing moves, nothing is published, and time stands still
        self.late_ms = 0.0  # the longest delay of a message since somebody set it to 0
        self._publish, self._clock = publish, clock
        self._order = count()
        self._waiting: list[tuple[int, int, Sent]] = []
        self._closing = threading.Event()
        self._images = {
            role: [image_cdr(picture, camera.frame_id) for picture in pictures()] for role, camera in rig.cameras.items()
        }

    def close(self) -> None:
        """Publish nothing any more."""
        self._closing.set()
        self.join()

    def push(self, sent: Sent) -> None:
        """Let a message leave when it is due."""
        heapq.heappush(self._waiting, (sent.due_ns, next(self._order), sent))

    def run(self) -> None:
        """The thread."""
        tick_ns = time.monotonic_ns() // CAMERA_NS * CAMERA_NS
        while not self._closing.is_set():
            tick_ns += self._paused_ns()
            tick_ns += ODOMETRY_NS
            self._send_until(tick_ns)
            self.motion.step(ODOMETRY_NS / 1e9)
            for sent in self._seen(tick_ns):
                for outgoing in self.passes(sent):
                    self.push(outgoing)

    def _paused_ns(self) -> int:
        """Wait for the end of a pause; how long it was, in whole periods of the cameras, and it is left out of ROS time."""
        began_ns = time.monotonic_ns()
        while self.paused and not self._closing.wait(0.005):
            pass
        paused_ns = (time.monotonic_ns() - began_ns) // CAMERA_NS * CAMERA_NS
        self.offset_ns -= paused_ns
        if paused_ns:
            self._waiting = [(due_ns + paused_ns, order, sent.later(paused_ns)) for due_ns, order, sent in self._waiting]
        return paused_ns

    def _seen(self, tick_ns: int) -> Iterator[Sent]:
        """What is to be published of this instant of the steady clock."""
        stamp_ns = tick_ns + self.offset_ns
        pose = odometry_cdr(self.motion.pose(stamp_ns), self.rig)
        yield Sent(tick_ns, "odometry", self.rig.odometry.topic, stamp_ns, pose)
        if tick_ns % CAMERA_NS == 0:
            for place, (role, camera) in enumerate(self.rig.cameras.items()):
                picture = self._images[role][tick_ns // CAMERA_NS % len(self._images[role])]
                due_ns = tick_ns + CAMERA_LAG_NS + place * MS
                yield Sent(due_ns, role, camera.topic, stamp_ns, stamped(picture, stamp_ns))

    def _send_until(self, until_ns: int) -> None:
        """Send what falls due, and simulated time, until an instant of the steady clock."""
        while (now_ns := time.monotonic_ns()) < until_ns and not self._closing.is_set():
            if self._clock:
                self._clock(now_ns + self.offset_ns)
            self._send_due(now_ns)
            next_ns = min(until_ns, self._waiting[0][0] if self._waiting else until_ns)
            if self._clock:
                next_ns = min(next_ns, now_ns + CLOCK_NS)
            self._closing.wait(max(0.0, (next_ns - time.monotonic_ns()) / 1e9))
        self._send_due(time.monotonic_ns())

    def _send_due(self, now_ns: int) -> None:
        while self._waiting and self._waiting[0][0] <= now_ns:
            due_ns, _, sent = heapq.heappop(self._waiting)
            self.late_ms = max(self.late_ms, (now_ns - due_ns) / 1e6)
            self._publish(sent.topic, sent.cdr)
