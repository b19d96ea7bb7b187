"""Saboteurs: what makes a broken planner of a good one.

A saboteur stands between a good planner and the topics that the monitor watches. It takes each status with its trajectory,
and passes on something else. Everything here is values; a relay makes messages of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.safety.invariants import STEP_NS, Published
from alpamayo_ros.safety.monitor import Status
from alpamayo_ros.safety.monitor_inputs import Odometer
from alpamayo_ros.types import HORIZON, Trajectory

Message = Status | Published

OPEN = 16
"""Halves of pairs that are kept until the other half comes."""


class Said(NamedTuple):
    """A message, and whether it goes to the topics of an engaged planner."""

    message: Message
    engaged: bool


class Saboteur:
    """Passes everything on as it came: the control, in which the monitor finds nothing."""

    def __init__(self) -> None:
        self.newest: Odometer | None = None
        self.ended = False
        self.now_ns = 0  # ROS time
        self._open: dict[tuple[int, str | None], Message] = {}

    def odometry(self, pose: Odometer) -> None:
        """The vehicle moved."""
        self.newest = pose

    def end(self) -> None:
        """The planner was deactivated."""
        self.ended = True

    def take(self, message: Message, now_ns: int) -> tuple[Said, ...]:
        """What is published instead of a message of the planner at this ROS time; a status and its trajectory in any order."""
        self.now_ns = now_ns
        if isinstance(message, Status) and not message.valid:
            return tuple(Said(each, message.engaged) for each in self.alone(message))
        key = message.stamp_ns, message.source
        other = self._open.pop(key, None)
        status, published = (message, other) if isinstance(message, Status) else (other, message)
        if isinstance(status, Status) and isinstance(published, Published):
            return tuple(Said(each, status.engaged) for each in self.pair(status, published))
        self._open[key] = message
        if len(self._open) > OPEN:
            del self._open[next(iter(self._open))]
        return ()

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """What becomes of a valid status and its trajectory."""
        yield status
        yield published

    def alone(self, status: Status) -> Iterator[Message]:
        """What becomes of a status that says there is no trajectory."""
        yield status

    def idle(self) -> tuple[Said, ...]:
        """What is published now, without cause; asked several times a second."""
        return ()


Spoil = Callable[[Status, Published], tuple[Message, ...]]


class Spoiling(Saboteur):
    """Spoils every pair of a kind in the same way, without a memory."""

    def __init__(self, spoil: Spoil, source: str = "model") -> None:
        super().__init__()
        self._spoil, self._source = spoil, source

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """Spoiled, if it is of the kind."""
        yield from self._spoil(status, published) if published.source == self._source else (status, published)


def stamped(status: Status, published: Published, stamp_ns: int) -> tuple[Message, ...]:
    """Both with another stamp, and nothing else changed."""
    return replace(status, stamp_ns=stamp_ns), replace(published, stamp_ns=stamp_ns, pose_stamp_ns=stamp_ns)


def with_points(published: Published, points: Trajectory) -> Published:
    """The publication with the points of a trajectory."""
    half, rest = points.yaw_rad / 2, np.zeros((len(points.t_s), 2))
    return replace(
        published,
        t_ns=np.arange(1, len(points.t_s) + 1) * STEP_NS,
        xyz=points.xyz,
        quaternion=np.column_stack([rest, np.sin(half), np.cos(half)]),
        speed_mps=points.speed_mps,
        accel_mps2=points.accel_mps2,
        curvature_1pm=points.curvature_1pm,
        heading_rate_rps=points.speed_mps * points.curvature_1pm,
    )


def cut(published: Published, n: int) -> Published:
    """Its first n points."""
    names = ("t_ns", "xyz", "quaternion", "speed_mps", "accel_mps2", "curvature_1pm", "heading_rate_rps")
    return replace(published, **{name: getattr(published, name)[:n] for name in names})


def changed(published: Published, name: str, value: float, at: int | tuple[int, int] = 20) -> Published:
    """One number replaced."""
    numbers = getattr(published, name).copy()
    numbers[at] = value
    return replace(published, **{name: numbers})


def driven(published: Published, accel_mps2: float, curvature_1pm: float) -> Published:
    """Well-made points of constant actions from the speed at which the publication begins."""
    v0 = float(published.speed_mps[0] - 0.1 * published.accel_mps2[0])
    actions = np.full(HORIZON, accel_mps2), np.full(HORIZON, curvature_1pm)
    return with_points(published, dynamics.trajectory(*actions, v0))


def nudged(status: Status, published: Published) -> tuple[Message, ...]:
    """A millimetre to the left."""
    return status, replace(published, xyz=published.xyz + np.array([0.0, 0.001, 0.0]))


def reversed_points(status: Status, published: Published) -> tuple[Message, ...]:
    """The last point first."""
    return status, replace(published, xyz=published.xyz[::-1].copy())


def without_status(_: Status, published: Published) -> tuple[Message, ...]:
    """The trajectory alone."""
    return (published,)


class StampedNow(Saboteur):
    """What is of a kind gets the time of its publication."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """With another stamp, if it is of the kind."""
        stamp_ns = self.now_ns if published.source == self._source else published.stamp_ns
        yield from stamped(status, published, stamp_ns)


class Stale(Saboteur):
    """Every plan is the first one again, stamped anew; its pose stays or is the one of the new stamp."""

    def __init__(self, new_pose: bool) -> None:
        super().__init__()
        self._new_pose = new_pose
        self._first: Published | None = None

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """The first plan under the new stamp."""
        yield status
        if published.source != "model":
            yield published
            return
        first = self._first = self._first or published
        fresh = replace(first, stamp_ns=published.stamp_ns, pose_stamp_ns=published.stamp_ns, plan_id=published.plan_id)
        fresh = replace(fresh, epoch=published.epoch)
        yield replace(fresh, position=published.position, orientation=published.orientation) if self._new_pose else fresh


class NewestPose(Saboteur):
    """The pose that comes along is the newest one there is, under the stamp of t0: a public planner's bug."""

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """With the newest pose."""
        yield status
        newest = self.newest
        if newest is None or published.source != "model":
            yield published
        else:
            yield replace(published, position=newest.position, orientation=newest.orientation)


class EpochOfOnce(Saboteur):
    """Every other plan is of an epoch that has not begun."""

    def __init__(self) -> None:
        super().__init__()
        self._odd = False

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """Every other one spoiled."""
        self._odd = not self._odd
        ahead = int(self._odd)
        yield replace(status, epoch=status.epoch + ahead)
        yield replace(published, epoch=published.epoch + ahead)


class EpochFrozen(Saboteur):
    """The epoch stays what it was at first."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch: int | None = None

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """In the first epoch."""
        self._epoch = published.epoch if self._epoch is None else self._epoch
        yield replace(status, epoch=self._epoch)
        yield replace(published, epoch=self._epoch)


class OldAfterJump(Saboteur):
    """In a new epoch the last plan of the old one is published once more, as if it were of the new one."""

    def __init__(self) -> None:
        super().__init__()
        self._before: tuple[Status, Published] | None = None

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """With the old one before it, where an epoch begins."""
        if self._before is not None and self._before[0].epoch < status.epoch:
            yield replace(self._before[0], epoch=status.epoch)
            yield replace(self._before[1], epoch=status.epoch)
        if published.source == "model":
            self._before = status, published
        yield status
        yield published


class Late(Saboteur):
    """Every plan comes so many plans later, as it was."""

    def __init__(self, plans: int) -> None:
        super().__init__()
        self._plans = plans
        self._queue: list[tuple[Status, Published]] = []

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """The one of some plans ago."""
        self._queue.append((status, published))
        if len(self._queue) > self._plans:
            yield from self._queue.pop(0)


class Swapped(Saboteur):
    """Two plans change places, always."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: tuple[Status, Published] | None = None

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """The second, then the first."""
        if self._kept is None:
            self._kept = status, published
        else:
            yield status
            yield published
            yield from self._kept
            self._kept = None


class NoStop(Saboteur):
    """What no model said is not published: no hold, no stop."""

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """Only a model's."""
        if published.source == "model":
            yield status
            yield published


class Silent(Saboteur):
    """After the first two there are no trajectories any more; it says so, or says nothing at all."""

    def __init__(self, says_so: bool) -> None:
        super().__init__()
        self._says_so = says_so
        self._left = 2

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """The first two only."""
        self._left -= 1
        if self._left >= 0:
            yield status
            yield published
        else:
            yield from self.alone(replace(status, valid=False, source=None, state="silent"))

    def alone(self, status: Status) -> Iterator[Message]:
        """As it is, or nothing."""
        if self._says_so or self._left > 0:
            yield status


class Standing(Saboteur):
    """Well-made stops for ever, whatever the planner says."""

    def __init__(self) -> None:
        super().__init__()
        self._stamp_ns = 0

    def pair(self, status: Status, published: Published) -> Iterator[Message]:
        """A stop from the newest odometry."""
        newest = self.newest
        if newest is None or newest.stamp_ns == self._stamp_ns:
            return
        self._stamp_ns = newest.stamp_ns
        speed = float(newest.velocity_mps[0])
        braking = np.full(HORIZON, -speed / (HORIZON * 0.1))
        points = dynamics.trajectory(braking, np.zeros(HORIZON), speed)
        yield replace(status, stamp_ns=newest.stamp_ns, source="stop", state="stopping")
        stop = replace(published, stamp_ns=newest.stamp_ns, pose_stamp_ns=newest.stamp_ns, source="stop")
        yield with_points(replace(stop, position=newest.position, orientation=newest.orientation), points)


class Undead(Saboteur):
    """After a deactivation the last trajectory comes again and again."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Said, ...] = ()

    def take(self, message: Message, now_ns: int) -> tuple[Said, ...]:
        """As it is, and kept."""
        said = super().take(message, now_ns)
        self._last = said if any(isinstance(each.message, Published) for each in said) else self._last
        return said

    def idle(self) -> tuple[Said, ...]:
        """The last one, once the planner was deactivated."""
        return self._last if self.ended else ()
