"""One rollout: what its simulator submits goes into a vehicle's own buffers, and plans come out."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from alpamayo_ros.evaluation import messages
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.pipeline.poses import BACKWARD_JUMP_NS
from alpamayo_ros.profile import InputProfile, Rig, RigCamera
from alpamayo_ros.simulation.alpasim import incoming
from alpamayo_ros.simulation.alpasim.engine import SharedEngine
from alpamayo_ros.types import STEP_S, EgoPose, EngineFailure, Navigation, Plan, Request, StaleInput

EPOCHS = 1 << 20
"""Of each session, at most: sessions of one scene have frames of the same stamps, which no engine may mix up."""


@dataclass(frozen=True)
class Setup:
    """What all sessions share."""

    profile: InputProfile
    rig: Rig
    engine: SharedEngine
    request: Request  # but for its seed


@dataclass(frozen=True)
class Planned:
    """A plan and where it was made."""

    plan: Plan
    ego_t0: EgoPose  # the plan's frame
    ego_now: EgoPose  # when it was asked for, at or after t0
    navigation: Navigation | None


@dataclass(frozen=True)
class Driven:
    """What became of a drive: a plan, or what is still waited for in the beginning."""

    planned: Planned | None
    waiting: str = ""  # empty exactly when there is a plan


class Session:
    """Submitted data and plans of one rollout. Any thread may call any method; `drive` is for one at a time."""

    def __init__(self, setup: Setup, seed: int, number: int) -> None:
        self.driving = threading.Lock()
        self.heard_s = time.monotonic()
        self.first_epoch = number * EPOCHS
        self._setup, self._seed = setup, seed
        self._submitting = threading.Lock()
        self._cameras: dict[str, RigCamera] = {}  # that have sent a picture, with its size
        self._newest_ns = 0  # of all stamps: a simulator's clock
        self._waits_until_ns: int | None = None
        engine = setup.engine
        self.buffers = Buffers(setup.profile, setup.rig, engine.ring, 0, engine.add_frame, clock_ns=lambda: self._newest_ns)
        self.buffers.frames.clear(self.first_epoch)

    def take_image(self, image: Any) -> None:
        """An `egodriver.RolloutCameraImage.CameraImage`; of a camera that the profile does not use nothing is kept.

        Raises InvalidInput for an unknown camera, for what is no picture, and for one of another size than its camera's first.
        """
        role = incoming.role_of(image.logical_id)
        if role not in self.buffers.roles:
            return
        message = incoming.picture(image, self._setup.rig.cameras[role].frame_id)
        with self._submitting:
            camera = self._cameras.get(role) or incoming.sized(self._setup.rig.cameras[role], message)
            frame = decode.camera_frame(message, role, camera, self.buffers.epoch)
            self._cameras[role] = camera
            self._newest_ns = max(self._newest_ns, frame.stamp_ns)
            self.buffers.frames.offer(frame, self._newest_ns)

    def take_egomotion(self, trajectory: Any, states: Sequence[Any]) -> None:
        """The trajectory and dynamic states of an `egodriver.RolloutEgoTrajectory`, in any order; known stamps are left out.

        So are new ones from over 100 ms before the newest: in a vehicle's buffers those would mean that time went back.
        Raises InvalidInput.
        """
        frame, base = self._setup.rig.odometry.frame, self._setup.rig.base_frame
        with self._submitting:
            for pose in incoming.ego_poses(trajectory, states, self.buffers.poses.poses()):
                newest = self.buffers.poses.newest()
                if newest is None or pose.stamp_ns >= newest.stamp_ns - BACKWARD_JUMP_NS:
                    self._newest_ns = max(self._newest_ns, pose.stamp_ns)
                    self.buffers.take_odometry(messages.odometry(pose, frame, base, 0.0), self._newest_ns)

    def take_route(self, route: Any) -> None:
        """An `egodriver.Route`, as a navigation command where the profile takes them. Raises InvalidInput."""
        if self._setup.profile.navigation == "none":
            return
        command = incoming.command(route)
        with self._submitting:
            if command is None:
                self.buffers.navigation = None
            else:
                self.buffers.take_navigation(messages.navigation(command, incoming.stamp_ns(route.timestamp_us)))

    def drive(self, time_now_us: int) -> Driven:
        """Plan at the newest anchor frame up to now. Seeds are functions of the session's seed and of t0.

        What is missing is waited for until a window has passed since the first drive. After that it raises StaleInput;
        EngineFailure when the engine has no answer; InvalidInput for an impossible time.
        """
        now_ns = incoming.stamp_ns(time_now_us)
        if self._waits_until_ns is None:
            self._waits_until_ns = now_ns + _span_ns(self._setup.profile, self._setup.rig)
        try:
            planned = self._planned(now_ns)
        except StaleInput as error:
            if now_ns >= self._waits_until_ns:
                raise
            return Driven(None, str(error))
        self._waits_until_ns = 0
        return Driven(planned)

    def close(self) -> None:
        """Forget everything."""
        self.buffers.new_epoch("the session was closed")
        self.buffers.close()

    def _planned(self, now_ns: int) -> Planned:
        ego_now, _ = self.buffers.poses.at(now_ns)
        t0_ns = self._t0_ns(now_ns)
        request = replace(self._setup.request, seed=seed_of(t0_ns, self._seed))
        cycle = self._setup.engine.cycle(self.buffers, t0_ns, request)
        if cycle.observation is None:
            raise StaleInput(cycle.refused)
        if cycle.plan is None:
            raise EngineFailure(cycle.refused)
        return Planned(cycle.plan, cycle.observation.ego_t0, ego_now, cycle.observation.navigation)

    def _t0_ns(self, now_ns: int) -> int:
        """Stamp of the newest anchor frame up to now. Raises StaleInput for none within a period and a frame's tolerance."""
        anchor = self._setup.rig.anchor
        camera = self._setup.rig.cameras[anchor]
        limit_ns = camera.period_ns + camera.tolerance_ns
        stamps = [frame.stamp_ns for frame in self.buffers.frames.ready(anchor, now_ns - limit_ns)]
        if found := [stamp for stamp in stamps if stamp <= now_ns]:
            return found[-1]
        newest_ns = self.buffers.frames.newest_ns(anchor)
        if newest_ns is None:
            raise StaleInput(f"{anchor}: no frame yet")
        off_ms, limit_ms = (newest_ns - now_ns) / 1e6, limit_ns / 1e6
        raise StaleInput(f"{anchor}: newest frame {off_ms:+.0f} ms from time_now, want 0..{limit_ms:.0f} ms before it")


def _span_ns(profile: InputProfile, rig: Rig) -> int:
    """How far a window looks back, and a period of the anchor camera."""
    history_ns = round((profile.history_steps - 1) * STEP_S * 1e9)
    return max(-profile.offsets_ns[0], history_ns) + rig.cameras[rig.anchor].period_ns
