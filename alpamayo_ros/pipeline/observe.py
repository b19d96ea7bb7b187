"""From the buffers to an observation: which t0, and what a model sees at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np

from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.poses import MAX_EXTRAPOLATION_NS, pose_at, signals_at
from alpamayo_ros.pipeline.sight import blindness
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import F32, STEP_S, CameraFrame, EgoHistory, EgoPose, EgoSignals, Observation, SignalSample, StaleInput

STEP_NS = round(STEP_S * 1e9)

TWIST_TOLERANCE_MPS, TWIST_TOLERANCE_SHARE = 0.5, 0.1
"""How far the speed that the poses imply may be from the speed that the twists say."""

DIRECTED_ABOVE_MPS, DIRECTION_TOLERANCE_RAD = 2.0, 0.5
"""Faster than this a road vehicle goes where its x axis points, and its poses where its twists say."""

_TWIST_CHECK_STEPS = 5  # of 0.1 s

_T = TypeVar("_T")


def next_t0(buffers: Buffers, after_ns: int, now_ns: int, max_wait_ns: int, max_plan_hz: float) -> int | None:
    """Stamp of the newest anchor frame after `after_ns` that no other input need be waited for; None when there is none.

    Waiting ends when every instant of every required camera and the odometry are covered or cannot be any more, or when
    the anchor frame has been ready for `max_wait_ns`; `now_ns` is on the clock of the frame buffer. t0s are 1/max_plan_hz
    apart, half a period of the anchor camera less for its jitter. After a new epoch the caller starts again at 0.
    """
    anchor = buffers.rig.anchor
    spacing_ns = round(1e9 / max_plan_hz) - buffers.rig.cameras[anchor].period_ns // 2
    earliest_ns = after_ns + max(spacing_ns, 1)
    for frame in reversed(buffers.frames.ready(anchor, earliest_ns)):
        t0_ns = frame.stamp_ns
        since_ns = buffers.frames.ready_since(anchor, t0_ns)
        if since_ns is not None and (now_ns - since_ns >= max_wait_ns or not _worth_waiting(buffers, t0_ns)):
            return t0_ns
    return None


def _worth_waiting(buffers: Buffers, t0_ns: int) -> bool:
    newest = buffers.poses.newest()
    if newest is None or newest.stamp_ns + MAX_EXTRAPOLATION_NS < t0_ns:
        return True
    return any(_frame_may_come(buffers, role, t0_ns) for role in buffers.profile.required_roles)


def _frame_may_come(buffers: Buffers, role: str, t0_ns: int) -> bool:
    """Whether one of the role's frames for this t0 is not there, but may still come."""
    frames, tolerance_ns = buffers.frames, buffers.rig.cameras[role].tolerance_ns
    for offset_ns in buffers.profile.offsets_ns:
        instant_ns = t0_ns + offset_ns
        is_there = frames.has(role, instant_ns, tolerance_ns)
        if not is_there and frames.may_come(role, instant_ns - tolerance_ns, instant_ns + tolerance_ns):
            return True
    return False


def observe(buffers: Buffers, t0_ns: int) -> Observation:
    """What a model sees at t0: the nearest frames of every camera and an ego history at exact steps of 0.1 s.

    A function of what the buffers hold. Optional cameras are in it when all their frames are within tolerance.
    Raises StaleInput that names every problem with its numbers, InvalidInput for poses that no observation can hold.
    """
    snapshot = buffers.snapshot(t0_ns)
    problems: list[str] = []
    frames: dict[str, tuple[CameraFrame, ...]] = {}
    poses, extrapolated_ms, no_history = _poses(snapshot.poses, t0_ns, buffers.profile.history_steps)
    for role, nearest in snapshot.frames.items():
        problem = _unfit(role, nearest, buffers, t0_ns)
        if not problem and poses and (blind := blindness(nearest, poses[-1].speed_mps)):
            problem = f"{role}: {blind}"
        if not problem:
            frames[role] = nearest
        elif role in buffers.profile.required_roles:
            problems.append(problem)
    if no_history:
        problems.append(no_history)
    samples, problem = _samples(snapshot.signals, t0_ns, buffers.profile)
    if problem:
        problems.append(problem)
    if problems and (jumped := buffers.jumped()):
        problems.append(f"odometry: {jumped}")
    if problems:
        raise StaleInput("; ".join(problems))
    return Observation(
        stamp_ns=t0_ns,
        epoch=snapshot.epoch,
        frames=frames,
        history=history_of(poses),
        ego_t0=poses[-1],
        navigation=snapshot.navigation,
        signals=_signals(buffers.profile, poses, samples),
        sync_error_ms={role: _sync_error_ms(picked, buffers.profile.offsets_ns, t0_ns) for role, picked in frames.items()},
        odometry_extrapolated_ms=extrapolated_ms,
    )


def _unfit(role: str, nearest: Sequence[CameraFrame], buffers: Buffers, t0_ns: int) -> str:
    """Why the frames nearest to the offsets are not a camera's part of an observation; empty when they are."""
    if not nearest:
        return f"{role}: no frames"
    tolerance_ns = buffers.rig.cameras[role].tolerance_ns
    later: CameraFrame | None = None
    for frame, offset_ns in reversed([*zip(nearest, buffers.profile.offsets_ns, strict=True)]):
        is_anchor = offset_ns == 0 and role == buffers.rig.anchor  # its stamp is t0
        problem = _misfit(role, frame, t0_ns, offset_ns, 0 if is_anchor else tolerance_ns)
        if problem:
            return problem
        if frame is later:
            return f"{role}: one frame is the nearest to two instants, the earlier t0{offset_ns / 1e6:+.0f} ms"
        later = frame
    return ""


def _misfit(role: str, frame: CameraFrame, t0_ns: int, offset_ns: int, tolerance_ns: int) -> str:
    error_ns = frame.stamp_ns - t0_ns - offset_ns
    if abs(error_ns) <= tolerance_ns:
        return ""
    instant = "t0" if offset_ns == 0 else f"t0{offset_ns / 1e6:+.0f} ms"
    which, side = ("newest" if offset_ns == 0 else "nearest", "before") if error_ns < 0 else ("nearest", "after")
    return f"{role}: {which} frame {abs(error_ns) / 1e6:.0f} ms {side} {instant}, limit {tolerance_ns / 1e6:.0f}"


def _poses(known: Sequence[EgoPose], t0_ns: int, steps: int) -> tuple[list[EgoPose], float, str]:
    """Poses at exact steps up to t0, by how much the last one is extrapolated, or the problem."""
    try:
        found = _at_steps(partial(pose_at, known), t0_ns, steps)
    except StaleInput as error:
        return [], 0.0, str(error)
    poses = [pose for pose, _ in found]
    return poses, found[-1][1], _contradiction(poses[-1 - _TWIST_CHECK_STEPS :])


def _samples(known: Sequence[SignalSample], t0_ns: int, profile: InputProfile) -> tuple[list[SignalSample], str]:
    """Signals at exact steps up to t0, or the problem; none where the profile declares none that come in messages."""
    if not set(profile.ego_signals) - {"speed"}:
        return [], ""
    try:
        return _at_steps(partial(signals_at, known), t0_ns, profile.history_steps), ""
    except StaleInput as error:
        return [], str(error)


def _at_steps(at: Callable[[int], _T], t0_ns: int, steps: int) -> list[_T]:
    """What is known of every instant of the ego history, t0 last. Raises StaleInput that names the instant."""
    found: list[_T] = []
    try:
        for step in range(steps - 1, -1, -1):
            found.append(at(t0_ns - step * STEP_NS))
    except StaleInput as error:
        raise StaleInput(f"{error} (t0{-step * STEP_S:+.1f} s)") from error
    return found


def _contradiction(poses: Sequence[EgoPose]) -> str:
    """Poses that do not move as their twists say: a frozen or wrongly scaled source, which no model can see through."""
    seconds = (len(poses) - 1) * STEP_S
    implied = float(np.linalg.norm(poses[-1].position - poses[0].position)) / seconds
    said = float(np.mean([np.linalg.norm(pose.velocity_mps) for pose in poses]))
    limit = TWIST_TOLERANCE_MPS + TWIST_TOLERANCE_SHARE * said
    if abs(implied - said) > limit:
        return f"odometry: poses of {seconds:.1f} s imply {implied:.2f} m/s, twists say {said:.2f} m/s, limit {limit:.2f} apart"
    return _misdirection(poses)


def _misdirection(poses: Sequence[EgoPose]) -> str:
    """Poses or twists that do not go along x of the base frame, forward or back: another convention of axes (REP-103)."""
    moved = [(b.position - a.position) @ a.odom_from_ego / STEP_S for a, b in pairwise(poses)]
    for said, along in ("twists", [pose.velocity_mps for pose in poses]), ("poses", moved):
        ahead, left, _ = np.mean(along, axis=0)
        if np.hypot(ahead, left) > DIRECTED_ABOVE_MPS and abs(left) > np.tan(DIRECTION_TOLERANCE_RAD) * abs(ahead):
            return f"odometry: {said} go {ahead:.2f} m/s forward and {left:.2f} m/s to the left: x is not forward (REP-103)"
    return _opposed(float(np.mean(moved, axis=0)[0]), float(np.mean([pose.speed_mps for pose in poses])))


def _opposed(moved_mps: float, said_mps: float) -> str:
    if min(abs(moved_mps), abs(said_mps)) <= DIRECTED_ABOVE_MPS or moved_mps * said_mps > 0:
        return ""
    return f"odometry: poses go {moved_mps:.2f} m/s along x, twists say {said_mps:.2f} m/s"


def history_of(poses: Sequence[EgoPose]) -> EgoHistory:
    """The ego history of poses at its steps, the last one t0. Raises InvalidInput for what float32 cannot hold."""
    t0 = poses[-1]
    ego_t0_from_odom = t0.odom_from_ego.T
    xyz = (np.stack([pose.position for pose in poses]) - t0.position) @ t0.odom_from_ego
    rot = ego_t0_from_odom @ np.stack([pose.odom_from_ego for pose in poses])
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and EgoHistory refuses that
        return EgoHistory(t0.stamp_ns, xyz.astype(np.float32), rot.astype(np.float32))


def _signals(profile: InputProfile, poses: Sequence[EgoPose], samples: Sequence[SignalSample]) -> EgoSignals | None:
    declared = profile.ego_signals
    if not declared:
        return None

    def column(signal: str, values: Iterable[float]) -> F32 | None:
        with np.errstate(over="ignore"):  # as in history_of
            return np.array([*values], np.float64).astype(np.float32) if signal in declared else None

    return EgoSignals(
        column("speed", (pose.speed_mps for pose in poses)),
        column("acceleration", (sample.acceleration_mps2 for sample in samples)),
        column("steering_angle", (sample.steering_angle_rad for sample in samples)),
        tuple(sample.turn_indicator for sample in samples) if "turn_indicator" in declared else None,
    )


def _sync_error_ms(frames: Sequence[CameraFrame], offsets_ns: Sequence[int], t0_ns: int) -> tuple[float, ...]:
    return tuple((frame.stamp_ns - t0_ns - offset_ns) / 1e6 for frame, offset_ns in zip(frames, offsets_ns, strict=True))
