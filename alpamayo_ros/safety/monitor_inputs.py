"""What the monitor has seen of a planner's inputs: frames, odometry, the clock, and their jumps.

It notices everything by itself, from the messages; nothing here asks the planner or shares code with it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np

from alpamayo_ros.safety.invariants import headings, wrapped
from alpamayo_ros.types import F64

BACKWARD_NS, FORWARD_NS = 100_000_000, 1_000_000_000
"""A clock or a stamp that goes back or ahead by more than this has jumped."""

TELEPORT_M, TELEPORT_RAD = 0.5, 0.3
"""Beyond what speed and yaw rate explain, a motion between two poses larger than this is another place."""

OVERTAKEN_NS = 250_000_000
"""Messages of different topics overtake one another by less than this, on a machine that is busy too."""

MAX_GAP_NS, MAX_PAST_NS = 200_000_000, 50_000_000
"""A pose is known between two poses this close, and this long past the newest one (design.md)."""

MAX_FUTURE_NS = 100_000_000
"""Stamps further ahead of the clock than this are of no time yet, for the planner too."""

SILENT_PERIODS, SILENT_NS = 5, 500_000_000
"""A camera is silent after so many of its periods, and not before 0.5 s."""

KEPT = 2000
"""Stamps and poses that are kept: 2 s of odometry at the highest rate a rig can declare, more of everything else."""


LOST_NS = 1_000_000_000
"""What DDS lost was sent this near to when it says so: it notices at the next message of the same topic."""

PAST = 4
"""One jump can be two: odometry of a new time comes before /clock says so."""


class At(NamedTuple):
    """A moment: `ros_ns` on the clock of the stamps; `steady_ns` measures durations (with /clock: that clock again)."""

    ros_ns: int
    steady_ns: int


@dataclass(frozen=True, eq=False)
class Odometer:
    """One odometry message as it came; any number may be NaN."""

    stamp_ns: int
    position: F64  # (3,) m, odometry frame
    orientation: F64  # (4,) x y z w, odometry frame from ego
    velocity_mps: F64  # (3,) ego frame
    yaw_rate_rps: float

    @property
    def is_good(self) -> bool:
        """Whether it can be a pose."""
        numbers = np.concatenate([self.position, self.orientation, self.velocity_mps, [self.yaw_rate_rps]])
        return bool(np.isfinite(numbers).all() and abs(np.linalg.norm(self.orientation) - 1.0) <= 1e-2)

    @property
    def yaw_rad(self) -> float:
        """Heading in the odometry frame."""
        return float(headings(self.orientation[None])[0])


@dataclass
class Memory:
    """What came since a jump."""

    frames: deque[int] = field(default_factory=lambda: deque(maxlen=KEPT))  # stamps of the anchor camera
    poses: deque[Odometer] = field(default_factory=lambda: deque(maxlen=KEPT))  # by stamp
    jump_ns: int = 0  # steady time of the jump it began with
    why: str = ""

    def has_pose_of(self, stamp_ns: int) -> bool:
        """Whether odometry of this very stamp came."""
        at = bisect_left(self.poses, stamp_ns, key=_stamp)
        return at < len(self.poses) and self.poses[at].stamp_ns == stamp_ns

    def poses_before(self, stamp_ns: int) -> tuple[Odometer, ...]:
        """Those from which a pose at an instant may be told when nothing newer has come."""
        first, end = (bisect_left(self.poses, ns, key=_stamp) for ns in (stamp_ns - MAX_PAST_NS, stamp_ns))
        return tuple(islice(self.poses, first, end))

    def pose_at(self, stamp_ns: int) -> Odometer | None:
        """Straight between the poses around an instant, or along the newest one's twist; None where no pose is near."""
        at = bisect_right(self.poses, stamp_ns, key=_stamp)
        if at == 0:
            return None
        before, past_ns = self.poses[at - 1], stamp_ns - self.poses[at - 1].stamp_ns
        if past_ns == 0:
            return before
        if at < len(self.poses):
            return _between(before, self.poses[at], stamp_ns)
        return _beyond(before, stamp_ns) if past_ns <= MAX_PAST_NS else None


class Inputs:
    """Fills the memory, starts a new one at every jump, and keeps some of those before it."""

    def __init__(self, anchor: str, camera_periods_ns: Mapping[str, int], odometry_silence_ns: int, simulated: bool) -> None:
        """`camera_periods_ns`: by role, of the cameras that the planner needs. `simulated`: time comes on /clock."""
        self.now = Memory()
        self.past: deque[Memory] = deque(maxlen=PAST)  # the newest first
        self._anchor = anchor
        self._silence_ns = {role: max(SILENT_NS, SILENT_PERIODS * period) for role, period in camera_periods_ns.items()}
        self._odometry_silence_ns = odometry_silence_ns
        self._simulated = simulated
        self._clock: At | None = None
        self._first_frame_ns: int | None = None  # stamps
        self._first_pose_ns: int | None = None
        self._ahead: deque[Odometer] = deque(maxlen=KEPT)  # of no time yet
        self._ahead_of_ns = 0  # the ROS time when they came
        self._arrived_ns: dict[str, int] = {}  # role -> steady time of its newest frame
        self._odometry_ns = -odometry_silence_ns - 1  # steady time of the newest good pose
        self._sick_ns: int | None = None  # steady time when an input was last missing
        self._lost_ns: deque[int] = deque(maxlen=KEPT)  # steady times
        self.jumps = 0

    def clock(self, now: At) -> bool:
        """What time it is; whether it jumped."""
        last, self._clock = self._clock, now
        if last is None:
            return False
        stepped_ns = now.ros_ns - last.ros_ns - (0 if self._simulated else now.steady_ns - last.steady_ns)
        if -BACKWARD_NS <= stepped_ns <= FORWARD_NS:
            return False
        self._arrived_ns.clear()  # times of another clock
        self._odometry_ns = now.steady_ns - self._odometry_silence_ns - 1
        for memory in (self.now, *self.past) if self._simulated else ():
            memory.jump_ns += stepped_ns  # how long ago it began is as before
        return self._jumped(f"the clock jumped by {stepped_ns / 1e9:+.3f} s", now)

    def frame(self, role: str, stamp_ns: int, now: At) -> None:
        """A camera's message came."""
        self._arrived_ns[role] = now.steady_ns
        if role == self._anchor:
            self._first_frame_ns = stamp_ns if self._first_frame_ns is None else self._first_frame_ns
            self.now.frames.append(stamp_ns)

    def odometry(self, pose: Odometer, now: At) -> bool:
        """An odometry message came; whether it jumped. One that can be no pose is passed over, as is one that
        came before. One of a time to come waits for what the clock says next: see `caught_up`."""
        if not pose.is_good:
            return False
        if pose.stamp_ns - now.ros_ns > MAX_FUTURE_NS:
            self._ahead.append(pose)
            self._ahead_of_ns = now.ros_ns
            return False
        why = _jump(self.now.poses, pose) if self.now.poses else ""
        if why:
            self._jumped(why, now)
        elif self.now.has_pose_of(pose.stamp_ns):
            return False
        if len(self.now.poses) == KEPT:
            self.now.poses.popleft()  # insort finds no room in a deque that is full
        insort(self.now.poses, pose, key=_stamp)
        self._first_pose_ns = pose.stamp_ns if self._first_pose_ns is None else self._first_pose_ns
        if now.ros_ns - pose.stamp_ns <= self._odometry_silence_ns:
            self._odometry_ns = now.steady_ns
        return bool(why)

    def caught_up(self, now: At) -> tuple[Odometer, ...]:
        """Poses that came just before the /clock that they are of: the planner may have heard that first. Others of a time to
        come are forgotten when the clock moves on."""
        if now.ros_ns == self._ahead_of_ns:
            return ()
        poses = tuple(pose for pose in self._ahead if pose.stamp_ns - now.ros_ns <= MAX_FUTURE_NS)
        self._ahead.clear()
        return poses

    def is_before_all(self, of_odometry: bool, stamp_ns: int) -> bool:
        """Whether a stamp, of odometry or of the anchor camera, is older than the first that came since this began to listen.

        Not once time or place has jumped: what is older than all then is of the time before."""
        first_ns = self._first_pose_ns if of_odometry else self._first_frame_ns
        return not self.jumps and first_ns is not None and stamp_ns < first_ns

    def number_before(self, now: At) -> int:
        """Of the memory before those whose jumps what is sent now may not have heard of. Memories are counted by `jumps`."""
        number = self.jumps
        for memory in (self.now, *self.past):
            if now.steady_ns - memory.jump_ns > OVERTAKEN_NS:
                break
            number -= 1
        return number

    def since(self, number: int) -> tuple[Memory, ...]:
        """Memories from the one of a number on, the newest first, as far as they are kept."""
        return (self.now, *self.past)[: self.jumps - number + 1]

    def lost(self, now: At) -> None:
        """A message of an input was sent, and did not come here: the planner may know what is not known here."""
        self._lost_ns.append(now.steady_ns)

    def may_have_missed(self, now: At) -> bool:
        """Whether something that was sent about then was lost."""
        return any(abs(lost_ns - now.steady_ns) <= LOST_NS for lost_ns in self._lost_ns)

    def healthy_ns(self, now: At) -> int:
        """For how long every input has come as it should, as far as this is called often; 0 when one is missing."""
        if self._sick_ns is None or self._missing(now):
            self._sick_ns = now.steady_ns
        return now.steady_ns - self._sick_ns

    def odometry_healthy(self, now: At) -> bool:
        """Whether good odometry comes."""
        return now.steady_ns - self._odometry_ns <= self._odometry_silence_ns

    def frames_come(self, now: At) -> bool:
        """Whether the anchor camera's frames come."""
        return self._comes(self._anchor, now)

    def speed_mps(self) -> float:
        """The newest measured speed; infinite without one."""
        return float(np.linalg.norm(self.now.poses[-1].velocity_mps)) if self.now.poses else float("inf")

    def _missing(self, now: At) -> bool:
        return not self.odometry_healthy(now) or not all(self._comes(role, now) for role in self._silence_ns)

    def _comes(self, role: str, now: At) -> bool:
        return role in self._arrived_ns and now.steady_ns - self._arrived_ns[role] <= self._silence_ns[role]

    def _jumped(self, why: str, now: At) -> bool:
        self.past.appendleft(self.now)
        self.now = Memory(jump_ns=now.steady_ns, why=why)
        self._sick_ns = now.steady_ns
        self.jumps += 1
        return True


def _stamp(pose: Odometer) -> int:
    return pose.stamp_ns


def _jump(poses: deque[Odometer], pose: Odometer) -> str:
    """Why a pose is no continuation of those before it; empty when it is."""
    ahead_ns = pose.stamp_ns - poses[-1].stamp_ns
    if not -BACKWARD_NS <= ahead_ns <= FORWARD_NS:
        return f"odometry's stamp jumped by {ahead_ns / 1e9:+.3f} s"
    at = bisect_left(poses, pose.stamp_ns, key=_stamp)
    if at == 0 or (at < len(poses) and poses[at].stamp_ns == pose.stamp_ns):
        return ""  # nothing before it, or known already
    last = poses[at - 1]
    dt_s = (pose.stamp_ns - last.stamp_ns) / 1e9
    moved_m = float(np.linalg.norm(pose.position - last.position))
    turned_rad = abs(float(wrapped(np.array([pose.yaw_rad - last.yaw_rad]))[0]))
    speed = max(float(np.linalg.norm(each.velocity_mps)) for each in (last, pose))
    yaw_rate = max(abs(last.yaw_rate_rps), abs(pose.yaw_rate_rps))
    if moved_m > speed * dt_s + TELEPORT_M or turned_rad > yaw_rate * dt_s + TELEPORT_RAD:
        return f"odometry moved {moved_m:.3g} m and turned {turned_rad:.2f} rad in {dt_s * 1e3:.0f} ms"
    return ""


def _between(before: Odometer, after: Odometer, stamp_ns: int) -> Odometer | None:
    """Straight between two poses: over 0.2 s at 9.8 m/s^2 that is 0.05 m from any real motion."""
    gap_ns = after.stamp_ns - before.stamp_ns
    if gap_ns > MAX_GAP_NS:
        return None
    u = (stamp_ns - before.stamp_ns) / gap_ns
    near = after.orientation if before.orientation @ after.orientation >= 0 else -after.orientation
    turned = (1 - u) * before.orientation + u * near
    return Odometer(
        stamp_ns,
        (1 - u) * before.position + u * after.position,
        turned / np.linalg.norm(turned),
        (1 - u) * before.velocity_mps + u * after.velocity_mps,
        (1 - u) * before.yaw_rate_rps + u * after.yaw_rate_rps,
    )


def _beyond(pose: Odometer, stamp_ns: int) -> Odometer:
    """Along the twist: straight ahead at the mean heading, turned by the yaw rate."""
    dt_s = (stamp_ns - pose.stamp_ns) / 1e9
    half = pose.yaw_rad + pose.yaw_rate_rps * dt_s / 2
    ahead = np.array([np.cos(half), np.sin(half), 0.0]) * pose.velocity_mps[0] * dt_s
    s, c = np.sin(pose.yaw_rate_rps * dt_s / 2), np.cos(pose.yaw_rate_rps * dt_s / 2)
    x, y, z, w = pose.orientation
    turned = np.array([x * c + y * s, y * c - x * s, z * c + w * s, w * c - z * s])
    return Odometer(stamp_ns, pose.position + ahead, turned, pose.velocity_mps, pose.yaw_rate_rps)
