"""An engine drives, in process: the messages of the sensors through the node's own buffers, `observe`, `plan` and supervisor.

The supervisor is in shadow, as in a node that nobody engaged: what it lets through is driven, and nothing latches.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_name, bundle_profile
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.evaluation.replay import DEFAULT, EGO_SIGNALS, NAVIGATION
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Buffers, ring_slots
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.pipeline.supervision import left_out_warnings, supervise
from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.contract import Now, Output
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.simulation.closed_loop.sensors import Sensed, Sensors
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings, timing_of
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import EngineFailure, InvalidInput, MetaAction, Request, Trajectory


class EnginePolicy:
    """An engine in a process of its own, its planner in this one. An engine that died or hung is replaced for the next drive.

    Raises InvalidInput for a bundle that cannot be opened and for what `Sensors` refuses.
    """

    def __init__(self, bundle: str, rig: Rig, profile: str, settings: LoopSettings, request: Request = DEFAULT) -> None:
        self.name = bundle_name(bundle)
        self._bundle, self._settings, self._request = bundle, settings, request
        self._sensors = Sensors(bundle_profile(bundle, profile), rig, settings)
        self._roles = {camera.topic: role for role, camera in self._sensors.rig.cameras.items()}
        self.rig = self._sensors.rig  # as the world has it
        self.senses = senses(self._sensors)
        self._now: Snapshot | None = None
        self._now_ns = 0
        self._supervisor = self._new_supervisor()
        self._stop: Output | None = None  # the newest one
        try:
            self._opened = self._open()
        except EngineFailure as error:
            raise InvalidInput(f"bundle {bundle} cannot be opened: {error}") from error

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        if self._engine.last_failure:
            self._opened.close()
            self._opened = self._open()
        self._engine.reset(self._buffers.new_epoch("another drive"))
        self._supervisor, self._stop = self._new_supervisor(), None
        for sensed in self._sensors.begin(scenario):
            self._take(sensed)

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        self._now, self._now_ns = snapshot, self._sensors.stamp_ns(snapshot.t_s)
        for sensed in self._sensors.sense(snapshot):
            self._take(sensed)
        self._tick()

    def plan(self) -> Planned:
        """See Policy. Raises EngineFailure when the engine's process died or hung since the drive began."""
        assert self._now is not None
        cycle = self._cycle()
        if self._engine.last_failure:
            raise EngineFailure(self._engine.last_failure)
        output = supervise(cycle, self._supervisor, left_out_warnings(self._buffers.roles, cycle.observation), self._moment())
        self._tick()
        return planned(self._now, output, self._stop)

    def close(self) -> None:
        """See Policy."""
        self._opened.close()

    def _new_supervisor(self) -> Supervisor:
        return Supervisor("shadow", timing_of(self._sensors.rig, self._settings))

    def _tick(self) -> None:
        """Let time pass for the supervisor. A hold needs nothing here: the course before goes on."""
        output = self._supervisor.tick(self._moment())
        if output is not None and output.source == "stop":
            self._stop = output

    def _moment(self) -> Now:
        """Of the drive: durations are simulated too."""
        epoch, cause, pose, came_ns, _ = self._buffers.newest()
        return Now(self._now_ns, self._now_ns, epoch, cause, pose, came_ns)

    def _cycle(self) -> Cycle:
        request = replace(self._request, seed=seed_of(self._now_ns, self._request.seed))
        return run_cycle(self._buffers, self._now_ns, self._engine, request, self._engine.space)

    def _open(self) -> ExitStack:
        """Ring, engine and buffers; what it returns closes them. Raises InvalidInput, EngineFailure."""
        profile, rig = self._sensors.profile, self._sensors.rig
        with ExitStack() as opened:
            ring = FrameRing(profile.image_shape, ring_slots(profile, rig))
            opened.callback(ring.close)
            engine = opened.enter_context(EngineClient(self._bundle, profile, ring, self._settings.deadline_s * 1e3))
            buffers = Buffers(profile, rig, ring, 0, engine.add_frame, clock_ns=lambda: self._now_ns)
            opened.callback(buffers.close)
            self._engine, self._buffers = engine, buffers
            return opened.pop_all()

    def _take(self, sensed: Sensed) -> None:
        topic, _, message = sensed
        if topic in self._roles:
            self._buffers.take_image(message, self._roles[topic], self._now_ns)
        elif topic == self._sensors.rig.odometry.topic:
            self._buffers.take_odometry(message, self._now_ns)
        elif topic == NAVIGATION:
            self._buffers.take_navigation(message)
        elif topic == EGO_SIGNALS:
            self._buffers.take_signals(message, self._now_ns)
        else:
            self._buffers.take_transforms(message)


def senses(sensors: Sensors) -> str:
    """What a planner with these sensors is shown, in words."""
    profile, cameras = sensors.profile, sensors.rig.cameras
    pictures = f"{len(cameras)} cameras of {profile.image_width}x{profile.image_height}, {len(profile.offsets_ns)} frames each"
    others = ["odometry", *(["navigation"] if profile.navigation != "none" else []), *profile.ego_signals]
    return f"{pictures}; {', '.join(others)}"


def planned(now: Snapshot, output: Output, stop: Output | None) -> Planned:
    """What is driven after a cycle at the newest snapshot: its plan, or a stop from there, or the course before.

    `stop`: the newest one, which may be of another time. The epoch counts the drives before this one and is left out.
    """
    if output.source == "model" and output.plan is not None:
        plan = replace(output.plan, epoch=0, meta_actions=tuple(map(_as_published, output.plan.meta_actions)))
        return Planned(now.t_s, now.ego, as_published(plan.trajectory), plan)
    is_of_now = stop is not None and stop.stamp_ns == output.stamp_ns
    trajectory = as_published(stop.trajectory) if is_of_now and stop is not None and stop.trajectory is not None else None
    return Planned(now.t_s, now.ego, trajectory, refused="; ".join(output.reasons))


def _as_published(action: MetaAction) -> MetaAction:
    """With its times as they are read from its message, where they are whole ns."""
    return replace(action, start_s=round(action.start_s * 1e9) * 1e-9, end_s=round(action.end_s * 1e9) * 1e-9)


def as_published(trajectory: Trajectory) -> Trajectory:
    """A trajectory as it is read from its message: time in whole ns, heading as a quaternion.

    What is driven in process is then, to the last bit, what is driven over DDS.
    """
    points = SimpleNamespace(
        t_s=trajectory.t_s.tolist(),
        xyz=trajectory.xyz.tolist(),
        sin=np.sin(trajectory.yaw_rad / 2).tolist(),
        cos=np.cos(trajectory.yaw_rad / 2).tolist(),
        speed_mps=trajectory.speed_mps.tolist(),
        accel_mps2=trajectory.accel_mps2.tolist(),
        curvature_1pm=trajectory.curvature_1pm.tolist(),
    )
    return decode.trajectory_values(SimpleNamespace(points=[_point(*row) for row in zip(*vars(points).values(), strict=True)]))


def _point(
    t_s: float, xyz: Sequence[float], sin: float, cos: float, speed: float, accel: float, curvature: float
) -> SimpleNamespace:
    position = SimpleNamespace(x=xyz[0], y=xyz[1], z=xyz[2])
    return SimpleNamespace(
        time_from_start_ns=round(t_s * 1e9),
        pose=SimpleNamespace(position=position, orientation=SimpleNamespace(x=0.0, y=0.0, z=sin, w=cos)),
        speed_mps=speed,
        acceleration_mps2=accel,
        curvature_1pm=curvature,
    )
