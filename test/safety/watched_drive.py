"""A made-up drive as a monitor is told of it: a vehicle that turns and changes its speed, and a good planner in it.

Events are values with times of their own, so a minute takes a fraction of a second. `replayed` tells them to a monitor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.geometry import quaternion_from_rotation, rotation_z
from alpamayo_ros.safety.contract import Source, Timing, timing
from alpamayo_ros.safety.invariants import Breach, Published
from alpamayo_ros.safety.monitor import Monitor, Status
from alpamayo_ros.safety.monitor_inputs import At, Odometer

MS, S = 1_000_000, 1_000_000_000
START_NS = 1_700_000_000 * S
CAMERA_NS, ODOMETRY_NS, TICK_NS = 100 * MS, 20 * MS, 20 * MS
FRAME_LAG_NS, PLAN_LAG_NS = 30 * MS, 70 * MS  # from exposure to the frame's arrival, and to the plan's
ROLES = ("front_wide", "rear_tele")
TIMING: Timing = timing(CAMERA_NS, ODOMETRY_NS, 10.0)
CURVATURE_1PM = 0.01
EMPTY = np.zeros(0)


def speed_mps(after_s: float) -> float:
    return 8.0 + 2.0 * float(np.sin(0.8 * after_s))


def accel_mps2(after_s: float) -> float:
    return 1.6 * float(np.cos(0.8 * after_s))


def odometer(stamp_ns: int, after_s: float) -> Odometer:
    """Where the vehicle is: along a circle, by the integral of its speed."""
    along_m = 8.0 * after_s + 2.5 * (1.0 - np.cos(0.8 * after_s))
    yaw, speed = CURVATURE_1PM * along_m, speed_mps(after_s)
    place = np.array([np.sin(yaw), 1.0 - np.cos(yaw), 0.0]) / CURVATURE_1PM
    turn = quaternion_from_rotation(rotation_z(yaw))
    return Odometer(stamp_ns, place, turn, np.array([speed, 0.0, 0.0]), speed * CURVATURE_1PM)


def published(
    source: Source, pose: Odometer, accel: np.ndarray, plan_id: int = 1, epoch: int = 0, curvature_1pm: float = CURVATURE_1PM
) -> Published:
    """The well-made trajectory of actions from a pose."""
    points = dynamics.trajectory(accel, np.full(len(accel), curvature_1pm), float(pose.velocity_mps[0]))
    half = points.yaw_rad / 2
    return Published(
        stamp_ns=pose.stamp_ns,
        epoch=epoch,
        source=source,
        plan_id=plan_id,
        t_ns=np.arange(1, len(accel) + 1) * 100 * MS,
        xyz=points.xyz,
        quaternion=np.column_stack([np.zeros((len(accel), 2)), np.sin(half), np.cos(half)]),
        speed_mps=points.speed_mps,
        accel_mps2=points.accel_mps2,
        curvature_1pm=points.curvature_1pm,
        heading_rate_rps=points.speed_mps * points.curvature_1pm,
        position=pose.position,
        orientation=pose.orientation,
        pose_stamp_ns=pose.stamp_ns,
    )


POINTS = ("t_ns", "xyz", "quaternion", "speed_mps", "accel_mps2", "curvature_1pm", "heading_rate_rps")


def rest_of(plan: Published, age_ns: int) -> Published:
    """The points of a plan that are still ahead."""
    ahead = plan.t_ns > age_ns
    return replace(plan, source="hold", **{name: getattr(plan, name)[ahead] for name in POINTS})


class Event(NamedTuple):
    """Something that a monitor is told."""

    now: At
    kind: str  # "frame", "odometry", "status", "trajectory", "life", "tick"
    value: Any


@dataclass
class Drive:
    """What happens, in seconds after the start; an outage is of all cameras. `simulated`: /clock is the only time there is."""

    seconds: float = 3.0
    outage: tuple[float, float] | None = None
    deaf: tuple[float, float] | None = None  # no odometry
    clock_jump: tuple[float, float] | None = None  # when, and by how much
    teleport_s: float | None = None
    end_s: float | None = None
    simulated: bool = False

    def __post_init__(self) -> None:
        self._ahead_ns = 0  # of the ROS clock, by its jump
        self._epoch = self._plan_id = 0
        self._plan: Published | None = None
        self._plan_ns = self._said_ns = 0  # after the start: the last plan, the last hold or stop
        self._not_before_ns = 0  # plans, after a jump

    def at(self, after_ns: int) -> At:
        ros_ns = START_NS + after_ns + self._ahead_ns
        return At(ros_ns, ros_ns if self.simulated else 50 * S + after_ns)

    def pose(self, after_ns: int) -> Odometer:
        pose = odometer(self.at(after_ns).ros_ns, after_ns / 1e9)
        teleported = self.teleport_s is not None and after_ns >= self.teleport_s * S
        return replace(pose, position=pose.position + np.array([5.0, 0.0, 0.0])) if teleported else pose

    def events(self) -> Iterator[Event]:
        """In the order in which they are sent."""
        for after_ns in range(0, round(self.seconds * S), 10 * MS):
            yield from self._jumps(after_ns)
            if after_ns % ODOMETRY_NS == 0 and not _within(self.deaf, after_ns):
                yield Event(self.at(after_ns), "odometry", self.pose(after_ns))
            exposed_ns = after_ns - FRAME_LAG_NS
            if exposed_ns % CAMERA_NS == 0 and exposed_ns >= 0 and not _within(self.outage, after_ns):
                for role in ROLES:
                    yield Event(self.at(after_ns), "frame", (role, self.at(exposed_ns).ros_ns))
            if self.end_s is None or after_ns < self.end_s * S:
                yield from self._planner(after_ns)
            if after_ns % TICK_NS == 0:
                yield Event(self.at(after_ns), "tick", None)

    def _jumps(self, after_ns: int) -> Iterator[Event]:
        if self.clock_jump and after_ns == round(self.clock_jump[0] * S):
            self._ahead_ns = round(self.clock_jump[1] * S)
            self._new_epoch(after_ns)
            yield Event(self.at(after_ns), "tick", None)
        if self.teleport_s is not None and after_ns == round(self.teleport_s * S):
            self._new_epoch(after_ns)
            self._plan_ns = after_ns - TIMING.stop_after_ns  # a stop at once
        if self.end_s is not None and after_ns == round(self.end_s * S):
            yield Event(self.at(after_ns), "life", "inactive")

    def _new_epoch(self, after_ns: int) -> None:
        self._epoch += 1
        self._plan = None
        self._not_before_ns = after_ns + 300 * MS

    def _planner(self, after_ns: int) -> Iterator[Event]:
        exposed_ns, waited_ns = after_ns - PLAN_LAG_NS, after_ns - self._plan_ns
        if _within(self.deaf, after_ns):
            if exposed_ns % CAMERA_NS == 0:
                stamp_ns = self.at(exposed_ns).ros_ns
                refused = Status(stamp_ns, self._epoch, 0, "silent", None, valid=False, engaged=True)
                yield Event(self.at(after_ns), "status", refused)
            return
        sees = not _within(self.outage, after_ns - PLAN_LAG_NS + FRAME_LAG_NS) and exposed_ns >= self._not_before_ns
        if exposed_ns % CAMERA_NS == 0 and exposed_ns > 0 and sees:
            self._plan_id += 1
            slowing = accel_mps2(exposed_ns / 1e9) * np.exp(-np.arange(64) / 20)
            self._plan = published("model", self.pose(exposed_ns), slowing, self._plan_id, self._epoch)
            self._plan_ns = after_ns
            yield from self._say(self._plan, after_ns)
        elif waited_ns < TIMING.hold_after_ns or after_ns - self._said_ns < TIMING.repeat_ns or after_ns % ODOMETRY_NS == 0:
            return
        elif self._plan is not None and waited_ns < TIMING.stop_after_ns:
            yield from self._say(rest_of(self._plan, self.at(after_ns).ros_ns - self._plan.stamp_ns), after_ns)
        elif self._plan is not None or self.teleport_s is not None:
            pose = self.pose(after_ns - 10 * MS)  # the newest that came
            steps = int(np.ceil(pose.velocity_mps[0] / 0.25))
            braking = np.append(np.full(steps, -pose.velocity_mps[0] / (0.1 * steps)), np.zeros(max(0, 64 - steps)))
            yield from self._say(published("stop", pose, braking, self._plan_id, self._epoch), after_ns)

    def _say(self, said: Published, after_ns: int) -> Iterator[Event]:
        self._said_ns = after_ns
        yield Event(self.at(after_ns), "status", status_of(said))
        yield Event(self.at(after_ns), "trajectory", said)


def status_of(said: Published) -> Status:
    """The status that belongs before it."""
    state = {"model": "nominal", "hold": "degraded", "stop": "stopping"}[said.source]
    return Status(said.stamp_ns, said.epoch, said.plan_id, state, said.source, valid=True, engaged=True)  # type: ignore[arg-type]


def _within(span: tuple[float, float] | None, after_ns: int) -> bool:
    return span is not None and span[0] * S <= after_ns < span[1] * S


def watching(simulated: bool = False, stop_after_ns: int = 0) -> Monitor:
    """A monitor that was told nothing yet."""
    limits = timing(CAMERA_NS, ODOMETRY_NS, 10.0, stop_after_ns)
    return Monitor(limits, ROLES[0], dict.fromkeys(ROLES, CAMERA_NS), simulated)


def tell(monitor: Monitor, event: Event) -> tuple[Breach, ...]:
    """One event; what was found."""
    now, kind, value = event
    if kind == "tick":
        return monitor.tick(now)
    if kind == "frame":
        role, stamp_ns = value
        monitor.frame(role, stamp_ns, now)
    elif kind == "trajectory":
        monitor.trajectory(value, engaged=True, now=now)
    else:
        getattr(monitor, kind)(value, now)
    return ()


def replayed(drive: Drive, through: Callable[[Event], Iterator[Event]] = lambda event: iter([event])) -> list[Breach]:
    """What a monitor finds in a drive, every event of which passes through something."""
    monitor = watching(drive.simulated)
    found = [breach for event in drive.events() for passed in through(event) for breach in tell(monitor, passed)]
    return [*found, *monitor.finish()]
