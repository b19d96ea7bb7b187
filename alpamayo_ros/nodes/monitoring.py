"""What the monitor node makes of messages, and in which order it tells them.

A message counts from when it was sent, or from when DDS had it where a sensor's computer may have another clock, and not from
when this process found the time to look: a busy machine makes the monitor late, never wrong.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Header

from alpamayo_ros import msg
from alpamayo_ros.nodes.messages import SOURCE, STATE, time_message
from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.safety.monitor import Status
from alpamayo_ros.safety.monitor_inputs import At, Odometer
from alpamayo_ros.types import InvalidInput

SETTLE_NS = 500_000_000
"""So long a message may be under way, and is still told in its turn; longer by as much as this process is behind. One that DDS
lost comes with the next of its topic, a period later."""

AT_ONCE_NS = 100_000
"""Two clocks that were read within this were read at one moment."""

STEPPED_NS = 1_000_000
"""The system clock was set where it is further than this from where it was against the steady clock. Less is how well the two
can be read; if it counted, a status and its trajectory, which are sent within 0.1 ms, would be told in any order."""

FORGET = 0.98
"""What is left, a judgement later, of how far behind this process has been: half of it after a second."""

OLDEST_NS = 5_000_000_000
"""A time of sending further back than this is not believed."""

_SOURCES = {code: name for name, code in SOURCE.items()}
_STATES = {code: name for name, code in STATE.items()}

Tell = Callable[[At], None]


class _Turn(NamedTuple):
    """A message that waits for its turn: the first of the lowest."""

    steady_ns: int
    number: int
    system_ns: int
    tell: Tell
    clock_ns: int | None


class Turns:
    """Messages in the order in which they were sent, a little later. `simulated`: their time is the last /clock before them."""

    def __init__(self, simulated: bool) -> None:
        self._simulated = simulated
        self._waiting: list[_Turn] = []
        self._numbers = count()
        self._steady, self._system = Clock(clock_type=ClockType.STEADY_TIME), Clock(clock_type=ClockType.SYSTEM_TIME)
        self._simulated_ns = 0
        self._behind_ns = 0  # the worst of late
        self._looked_ns = self.now_ns()[0]
        self._ahead_ns = 0  # the system clock of the steady one
        self._settled = self.now_ns()  # (steady, system): whatever was sent before has been told; never goes back

    def put(self, sent_ns: int, tell: Tell, clock_ns: int | None = None) -> None:
        """A message of a system time; `clock_ns` says what time it is from then on, where time is simulated."""
        steady_ns, system_ns = self.now_ns()
        ago_ns = system_ns - sent_ns
        if not 0 <= ago_ns <= OLDEST_NS:
            ago_ns, sent_ns = 0, system_ns
        if abs(system_ns - steady_ns - self._ahead_ns) > STEPPED_NS:
            self._ahead_ns = system_ns - steady_ns
        self._behind_ns = max(self._behind_ns, ago_ns)
        heapq.heappush(self._waiting, _Turn(sent_ns - self._ahead_ns, next(self._numbers), sent_ns, tell, clock_ns))

    def take(self) -> Iterator[tuple[At, Tell]]:
        """Those whose turn has come; each is to be told before the next is taken. None of before time began."""
        self._settle()
        while self._waiting and self._waiting[0].steady_ns <= self._settled[0]:
            turn = heapq.heappop(self._waiting)
            self._simulated_ns = self._simulated_ns if turn.clock_ns is None else turn.clock_ns
            now = self._at(turn.steady_ns, turn.system_ns)
            if now.ros_ns:
                yield now, turn.tell

    def now(self) -> At | None:
        """What time it is for those whose turn has come; None before simulated time begins."""
        if self._simulated and not self._simulated_ns:
            return None
        return self._at(*self._settled)

    def _settle(self) -> None:
        """Messages that came while this process did not run are still to be taken: it is as far behind as it slept."""
        steady_ns, system_ns = self.now_ns()
        slept_ns = steady_ns - self._looked_ns
        self._looked_ns = steady_ns
        self._behind_ns = max(round(self._behind_ns * FORGET), slept_ns)
        back_ns = SETTLE_NS + self._behind_ns
        if steady_ns - back_ns > self._settled[0]:
            self._settled = steady_ns - back_ns, system_ns - back_ns

    def _at(self, steady_ns: int, system_ns: int) -> At:
        return At(self._simulated_ns, self._simulated_ns) if self._simulated else At(system_ns, steady_ns)

    def now_ns(self) -> tuple[int, int]:
        """Steady and system time of one moment: read again where this process did not run in between."""
        while True:
            before_ns = int(self._steady.now().nanoseconds)
            system_ns = int(self._system.now().nanoseconds)
            if int(self._steady.now().nanoseconds) - before_ns < AT_ONCE_NS:
                return before_ns, system_ns


def sent_ns(info: Mapping[str, int]) -> int:
    """When an output was sent, system clock of its publisher; where the middleware does not say, when it came."""
    return int(info["source_timestamp"] or info["received_timestamp"])


def late_ns(info: Mapping[str, int]) -> int:
    """For how long an output was under way; 0 where its publisher has another clock."""
    under_way_ns = info["received_timestamp"] - sent_ns(info)
    return under_way_ns if 0 <= under_way_ns <= OLDEST_NS else 0


def time_ns(stamp: Any) -> int:
    """A time message in ns, whatever it says."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def cdr_stamp_ns(cdr: bytes) -> int:
    """The stamp of an undecoded message that begins with a header. Raises InvalidInput for one that is too short."""
    if len(cdr) < 12:
        raise InvalidInput(f"a message of {len(cdr)} bytes, a header's stamp ends at 12")
    seconds, nanoseconds = struct.unpack_from("<iI" if cdr[1] & 1 else ">iI", cdr, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def odometer_of(message: Odometry) -> Odometer:
    """An odometry message as it is."""
    pose, twist = message.pose.pose, message.twist.twist
    return Odometer(
        stamp_ns=time_ns(message.header.stamp),
        position=np.array(_xyz(pose.position)),
        orientation=np.array(_xyzw(pose.orientation)),
        velocity_mps=np.array(_xyz(twist.linear)),
        yaw_rate_rps=float(twist.angular.z),
    )


def status_of(message: msg.PlanStatus) -> Status:
    """A status message. Raises InvalidInput for a code that is none."""
    return Status(
        stamp_ns=time_ns(message.header.stamp),
        epoch=message.epoch,
        plan_id=message.plan_id,
        state=_named(_STATES, message.state, "state"),
        source=None if message.source == msg.PlanStatus.SOURCE_NONE else _named(_SOURCES, message.source, "source"),
        valid=message.valid,
        engaged=message.engaged,
    )


def published_of(message: msg.UnicycleTrajectory) -> Published:
    """A trajectory message as it is. Raises InvalidInput for a source that is none."""
    places = [(*_xyz(point.pose.position), *_xyzw(point.pose.orientation)) for point in message.points]
    rest = [(p.speed_mps, p.acceleration_mps2, p.curvature_1pm, p.heading_rate_rps) for p in message.points]
    where, how = np.array(places, np.float64).reshape(-1, 7), np.array(rest, np.float64).reshape(-1, 4)
    pose = message.odom_from_ego_t0.pose
    return Published(
        stamp_ns=time_ns(message.header.stamp),
        epoch=message.epoch,
        source=_named(_SOURCES, message.source, "source"),
        plan_id=message.plan_id,
        t_ns=np.array([point.time_from_start_ns for point in message.points], np.uint64).astype(np.int64),
        xyz=where[:, :3],
        quaternion=where[:, 3:],
        speed_mps=how[:, 0],
        accel_mps2=how[:, 1],
        curvature_1pm=how[:, 2],
        heading_rate_rps=how[:, 3],
        position=np.array(_xyz(pose.position)),
        orientation=np.array(_xyzw(pose.orientation)),
        pose_stamp_ns=time_ns(message.odom_from_ego_t0.header.stamp),
        provisional=message.provisional,
    )


def status_message_of(status: Status) -> msg.PlanStatus:
    """The message that says just this: the way back of `status_of`."""
    return msg.PlanStatus(
        header=Header(stamp=time_message(status.stamp_ns)),
        epoch=status.epoch,
        plan_id=status.plan_id,
        state=STATE[status.state],
        source=SOURCE[status.source] if status.source else msg.PlanStatus.SOURCE_NONE,
        valid=status.valid,
        engaged=status.engaged,
    )


def trajectory_message_of(published: Published) -> msg.UnicycleTrajectory:
    """The message that says just this, right or wrong: the way back of `published_of`."""
    p = published
    columns = (p.t_ns, p.xyz, p.quaternion, p.speed_mps, p.accel_mps2, p.curvature_1pm, p.heading_rate_rps)
    points = [
        msg.TrajectoryPoint(
            time_from_start_ns=t_ns,
            pose=_pose(xyz, xyzw),
            speed_mps=speed,
            acceleration_mps2=accel,
            curvature_1pm=curvature,
            heading_rate_rps=rate,
        )
        for t_ns, xyz, xyzw, speed, accel, curvature, rate in zip(*(column.tolist() for column in columns), strict=True)
    ]
    pose = PoseStamped(
        header=Header(stamp=time_message(p.pose_stamp_ns)), pose=_pose(p.position.tolist(), p.orientation.tolist())
    )
    return msg.UnicycleTrajectory(
        header=Header(stamp=time_message(p.stamp_ns)),
        epoch=p.epoch,
        source=SOURCE[p.source],
        odom_from_ego_t0=pose,
        points=points,
        plan_id=p.plan_id,
        provisional=p.provisional,
    )


def _pose(xyz: list[float], xyzw: list[float]) -> Pose:
    x, y, z, w = xyzw
    return Pose(position=Point(x=xyz[0], y=xyz[1], z=xyz[2]), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _xyzw(quaternion: Any) -> tuple[float, float, float, float]:
    return quaternion.x, quaternion.y, quaternion.z, quaternion.w


def _named(names: Mapping[int, Any], code: int, what: str) -> Any:
    if code not in names:
        raise InvalidInput(f"{what}: want one of {sorted(names)}, got {code}")
    return names[code]
