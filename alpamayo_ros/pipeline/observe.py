"""Buffers to observation: which instant to plan for, and exactly what was seen then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.poses import pose_at
from alpamayo_ros.types import STEP_S, CameraFrame, EgoHistory, EgoPose, Observation, StaleInput

Ready = Mapping[str, Sequence[tuple[CameraFrame, int]]]


def next_t0(buffers: Buffers, after_ns: int, now_ns: int, max_wait_ns: int, max_plan_hz: float) -> int | None:
    """The stamp of the newest anchor frame to plan for now, or None to wait.

    An anchor frame's turn has come when every required role has a ready frame within tolerance of it, or when it has been
    ready for `max_wait_ns`. `now_ns` is on the clock by which frames became ready (steady). Anchors at or before
    `after_ns`, or closer behind it than `max_plan_hz` allows (less half a period of jitter), had their turn.
    """
    ready, anchor = buffers.frames.ready(), buffers.rig.anchor
    # A stamp jitters by up to half a period: without this slack a 10 Hz camera would be planned for at 5 Hz.
    shortest_ns = round(1e9 / max_plan_hz) - buffers.rig.cameras[anchor].period_ns // 2
    for frame, ready_ns in reversed(ready[anchor]):
        t0_ns = frame.stamp_ns
        if t0_ns <= after_ns or (after_ns and t0_ns < after_ns + shortest_ns):
            return None
        if now_ns - ready_ns >= max_wait_ns or not _waiting_for(buffers, ready, t0_ns):
            return t0_ns
    return None


def _waiting_for(buffers: Buffers, ready: Ready, t0_ns: int) -> list[str]:
    return [role for role in buffers.profile.required_roles if _nearest(buffers, ready, role, t0_ns) is None]


def _nearest(buffers: Buffers, ready: Ready, role: str, stamp_ns: int) -> CameraFrame | None:
    """The ready frame nearest to an instant, None when there is none within tolerance; the earlier one of two as near."""
    frame = min((f for f, _ in ready[role]), key=lambda f: abs(f.stamp_ns - stamp_ns), default=None)
    tolerance_ns = buffers.rig.cameras[role].tolerance_ns
    return frame if frame is not None and abs(frame.stamp_ns - stamp_ns) <= tolerance_ns else None


def observe(buffers: Buffers, t0_ns: int) -> Observation:
    """What was seen at t0: for each camera and frame offset the nearest frame, and poses at exact steps of 0.1 s.

    Raises StaleInput that names everything that is missing, with the numbers.
    """
    epoch, ready, poses = buffers.epoch, buffers.frames.ready(), buffers.poses.snapshot()
    frames, missing = _frames(buffers, ready, t0_ns)
    try:
        ego_t0, extrapolated_ms = pose_at(poses, t0_ns)
        history = _history(poses, ego_t0, buffers.profile.history_steps)
    except StaleInput as error:
        missing.append(str(error))
    if missing:
        raise StaleInput("; ".join(missing))
    offsets = buffers.profile.offsets_ns
    navigation, signals = buffers.navigation, buffers.signals
    return Observation(
        stamp_ns=t0_ns,
        epoch=epoch,
        frames=frames,
        history=history,
        ego_t0=ego_t0,
        navigation=navigation if navigation is not None and navigation.expires_ns > t0_ns else None,
        signals=signals if signals is not None and signals.stamp_ns <= t0_ns else None,
        sync_error_ms={
            role: tuple((f.stamp_ns - t0_ns - offset) / 1e6 for f, offset in zip(row, offsets, strict=True))
            for role, row in frames.items()
        },
        odometry_extrapolated_ms=extrapolated_ms,
    )


def _frames(buffers: Buffers, ready: Ready, t0_ns: int) -> tuple[dict[str, tuple[CameraFrame, ...]], list[str]]:
    """Each camera's frames for the window, and what required cameras lack; optional cameras that lack any are left out."""
    frames, missing = {}, []
    for role, need in buffers.profile.cameras.items():
        if role not in buffers.rig.cameras:
            continue
        instants = [t0_ns + offset for offset in buffers.profile.offsets_ns]
        row = [_nearest(buffers, ready, role, instant) for instant in instants]
        found = tuple(frame for frame in row if frame is not None)
        if len(found) == len(row):
            frames[role] = found
        elif need == "required":
            lacking = [instant for instant, frame in zip(instants, row, strict=True) if frame is None]
            missing.append(_lack(buffers, ready, role, lacking[-1], t0_ns))
    return frames, missing


def _lack(buffers: Buffers, ready: Ready, role: str, instant_ns: int, t0_ns: int) -> str:
    limit_ms = buffers.rig.cameras[role].tolerance_ns / 1e6
    wanted = "t0" if instant_ns == t0_ns else f"t0 - {(t0_ns - instant_ns) / 1e6:.0f} ms"
    stamps = [frame.stamp_ns for frame, _ in ready[role]]
    if not stamps:
        return f"{role}: no frame yet, want one within {limit_ms:.0f} ms of {wanted}"
    nearest = min(stamps, key=lambda stamp: abs(stamp - instant_ns))
    which = "newest" if nearest == stamps[-1] else "oldest" if nearest == stamps[0] else "nearest"
    off_ms = (nearest - instant_ns) / 1e6
    return f"{role}: {which} frame {abs(off_ms):.0f} ms {'after' if off_ms > 0 else 'before'} {wanted}, limit {limit_ms:.0f}"


def _history(poses: tuple[EgoPose, ...], ego_t0: EgoPose, steps: int) -> EgoHistory:
    """Poses at t0 - (N-1) * 0.1 s ... t0 in ego_t0, computed in float64."""
    step_ns = round(STEP_S * 1e9)
    instants = [ego_t0.stamp_ns - k * step_ns for k in range(steps - 1, 0, -1)]
    path = [pose_at(poses, instant)[0] for instant in instants] + [ego_t0]
    ego_from_odom = ego_t0.odom_from_ego.T
    xyz = np.stack([ego_from_odom @ (pose.position - ego_t0.position) for pose in path])
    rot = np.stack([ego_from_odom @ pose.odom_from_ego for pose in path])
    return EgoHistory(ego_t0.stamp_ns, xyz.astype(np.float32), rot.astype(np.float32))
