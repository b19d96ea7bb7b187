"""What can be wrong with a vehicle's topics. Every function gives problems: sentences with numbers and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.evaluation.doctor.facts import COMPRESSED, ODOMETRY, RAW, STATIC_TOPIC, Facts, OdometryFacts, TopicFacts
from alpamayo_ros.evaluation.doctor.roles import Guess, View, role_by_name, turn_deg
from alpamayo_ros.evaluation.doctor.timing import Skew, Timing
from alpamayo_ros.geometry import UNIT_NORM_TOLERANCE
from alpamayo_ros.profile import Mount, Odometry, Rig, RigCamera

RATE_TOLERANCE = 0.2
MAX_LOSS = 0.01
MAX_JITTER_PERIODS = 0.15
MAX_OFFSET_MS = 50.0
MAX_CLOCK_MS = 1000.0
MAX_LATE = 0.01
MAX_YAW_DEG = 15.0
MAX_FOV_DEG = 10.0
MAX_MOUNT_M = 2.0
MIN_ODOMETRY_HZ = 10.0
"""The ego history is sampled at 10 Hz."""

JUMP_M = 0.5
"""A pose this much farther from the last one than its twist allows is a jump."""

SPEED_WINDOW_S = 0.5
"""Poses this far apart are compared with the twist: over shorter times the noise of positions is a speed of its own."""


@dataclass(frozen=True)
class Examined:
    """One image topic and what was worked out about it."""

    facts: TopicFacts
    role: str | None  # None: none of the seven, or the second topic of a camera
    declared: RigCamera | None  # what the rig file says about this topic
    view: View
    timing: Timing  # of the stamps with the rig's stamp offset
    offset_ms: float  # how much later its clock is than the median topic's: stamp to log time
    skew: Skew  # against the anchor's frames

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.facts.topic


def transform_problems(facts: Facts) -> Iterator[str]:
    """Wrong with /tf_static as a whole."""
    if not facts.placed_frames:
        yield f"{STATIC_TOPIC} holds no transform: where cameras look is unknown; publish the vehicle's extrinsics there"
    elif facts.placed_frames == {facts.base_frame}:
        roots = ", ".join(facts.root_frames)
        yield f"{STATIC_TOPIC} does not connect {facts.base_frame!r}, its roots are {roots}: set `base_frame` in the rig"
    offers = [offer for offer in facts.static_qos.split("; ") if offer]
    if any("reliable" not in offer or "transient_local" not in offer for offer in offers):
        yield (
            f"{STATIC_TOPIC} is offered as {facts.static_qos}: nodes ask for reliable, transient_local and get nothing; "
            "use a StaticTransformBroadcaster"
        )


def topic_problems(facts: Facts, rig: Rig, guesses: Mapping[str, Guess]) -> Iterator[str]:
    """Declared topics that are not there, or of another type."""
    received = {camera.topic for camera in facts.cameras} | {odometry.topic for odometry in facts.odometry}
    for role, camera in rig.cameras.items():
        wanted = COMPRESSED if camera.transport == "compressed" else RAW
        found = facts.types.get(camera.topic)
        if found is None:
            hint = f"{guesses[role].topic} looks like it" if role in guesses else "no other topic looks like it"
            yield f"{role}: topic {camera.topic} is missing; {hint}: correct `topic` in the rig"
        elif found != wanted:
            remedy = (
                "set `transport: raw`"
                if found == RAW
                else "set `transport: compressed`"
                if found == COMPRESSED
                else "correct `topic`"
            )
            yield f"{role}: {camera.topic} is a {found}, the rig declares {wanted}: {remedy} in the rig"
        elif camera.topic not in received:
            yield f"{role}: {camera.topic} has no message: is the driver running, and does the recorder's QoS match?"
        if camera.info_topic not in facts.types:
            yield f"{role}: topic {camera.info_topic} is missing: its field of view cannot be checked; correct `info_topic`"


def role_problems(
    examined: Sequence[Examined], guesses: Mapping[str, Guess], reference: Rig, declared: Mapping[str, str]
) -> Iterator[str]:
    """Roles without a camera, and topics whose name or rig entry says another role than their calibration."""
    if missing := [role for role in reference.cameras if role not in guesses]:
        yield f"no camera was found for {', '.join(missing)}: profiles that require them cannot run on this vehicle"
    for camera in examined:
        named, said = (
            (declared[camera.topic], "the rig says")
            if camera.topic in declared
            else (role_by_name(camera.topic), "its name says")
        )
        if camera.role is None or named is None or named == camera.role or camera.view.yaw_deg is None:
            continue
        looks = f"{camera.facts.frame_id} looks {camera.view.yaw_deg:.0f} deg as {camera.role} does"
        yield f"{camera.topic}: {said} {named}, but {looks}: swap the topics, or correct the transform"


def calibration_problems(camera: Examined, mount: Mount, role: str, placed_frames: frozenset[str]) -> Iterator[str]:
    """Wrong with where a camera looks and how wide, against the mount of its role."""
    facts, view = camera.facts, camera.view
    yield from view.problems
    if facts.info is None:
        yield f"{facts.topic}: no camera_info: its field of view is unknown; publish one"
    elif facts.width and (facts.info.width, facts.info.height) != (facts.width, facts.height):
        described = f"camera_info describes {facts.info.width}x{facts.info.height}"
        yield f"{facts.topic}: images are {facts.width}x{facts.height}, {described}: publish that of the published size"
    if placed_frames and facts.frame_id not in placed_frames:
        yield f"{facts.topic}: frame {facts.frame_id!r} is not in {STATIC_TOPIC}: publish its transform to the base frame"
    if view.yaw_deg is not None and (off := turn_deg(view.yaw_deg, mount.yaw_deg)) > MAX_YAW_DEG:
        yield (
            f"{facts.topic}: looks {view.yaw_deg:.0f} deg, {off:.0f} deg off {role} at {mount.yaw_deg:.0f} deg "
            f"(limit {MAX_YAW_DEG:.0f}): turn the camera or correct the transform; a model sees another road there"
        )
    if view.hfov_deg is not None and abs(view.hfov_deg - mount.hfov_deg) > MAX_FOV_DEG:
        remedy = "crop to that view" if view.hfov_deg > mount.hfov_deg else "use a wider lens"
        yield (
            f"{facts.topic}: sees {view.hfov_deg:.0f} deg, {role} is to see {mount.hfov_deg:.0f} deg "
            f"(limit {MAX_FOV_DEG:.0f} off): {remedy}, a model misjudges distances otherwise"
        )


def place_problems(camera: Examined) -> Iterator[str]:
    """Wrong with where a camera sits, against the rig where it declares the topic."""
    if camera.declared is None or camera.facts.base_from_optical is None:
        return
    place, mount = camera.facts.base_from_optical[:3, 3], camera.declared.mount.xyz_m
    if (off := float(np.linalg.norm(place - mount))) > MAX_MOUNT_M:
        yield (
            f"{camera.topic}: {STATIC_TOPIC} places it at {_metres(place)} m, {off:.3g} m from the rig's mount at "
            f"{_metres(mount)} m (limit {MAX_MOUNT_M:g}): correct the transform, in metres, or `xyz_m` in the rig"
        )


def _metres(xyz: Iterable[float]) -> str:
    return f"({', '.join(f'{metres:.2f}' for metres in xyz)})"


def image_problems(camera: Examined) -> Iterator[str]:
    """Wrong with the images themselves, against the rig where it declares the topic."""
    facts, declared = camera.facts, camera.declared
    if facts.refused:
        yield f"{facts.topic}: images cannot be used: {facts.refused}"
    if declared is None:
        return
    if facts.width and (facts.width, facts.height) != (declared.width, declared.height):
        yield (
            f"{facts.topic}: images are {facts.width}x{facts.height}, the rig declares {declared.width}x{declared.height}: "
            "set `width` and `height` in the rig"
        )
    if facts.frame_id != declared.frame_id:
        yield f"{facts.topic}: frame {facts.frame_id!r}, the rig declares {declared.frame_id!r}: set `frame_id` in the rig"


def timing_problems(topic: str, timing: Timing, declared_hz: float | None, usual_hz: float) -> Iterator[str]:
    """Wrong with the rate and stamps of a topic, against the declared rate or else the usual one of its kind."""
    stamped = timing.count - timing.unset
    if timing.unset:
        yield f"{topic}: {timing.unset} of {timing.count} stamps are zero: stamp every message with its exposure time"
    if stamped - timing.duplicates < 2:
        yield f"{topic}: {stamped} stamped messages with {stamped - timing.duplicates} different stamps: the rate is unknown"
        return
    wanted, source = (declared_hz, "the rig declares") if declared_hz is not None else (usual_hz, "the others have")
    if abs(timing.rate_hz / wanted - 1) > RATE_TOLERANCE:
        remedy = "set `rate_hz` in the rig or the sensor's rate" if declared_hz is not None else "set the sensor's rate"
        yield f"{topic}: {timing.rate_hz:.1f} Hz, {source} {wanted:.1f} Hz: {remedy}"
    expected = stamped - timing.duplicates + timing.missing
    if timing.missing > MAX_LOSS * expected:
        yield (
            f"{topic}: {timing.missing} of {expected} messages are missing ({100 * timing.missing / expected:.1f} %): "
            "raise the recorder's cache and the DDS buffers, or record less"
        )
    if timing.jitter_ms > MAX_JITTER_PERIODS * 1e3 / timing.rate_hz:
        yield (
            f"{topic}: stamps jitter by {timing.jitter_ms:.1f} ms at {timing.rate_hz:.1f} Hz: stamp at exposure (trigger or "
            "driver), not on arrival"
        )
    if timing.duplicates:
        yield f"{topic}: {timing.duplicates} of {timing.count} stamps are used twice: is the topic published by two nodes?"
    if timing.out_of_order:
        yield f"{topic}: {timing.out_of_order} of {timing.count} stamps go backwards: is the topic published by two nodes?"


def skew_problems(camera: Examined, anchor: str, usual_hz: float) -> Iterator[str]:
    """A camera without a frame close enough to the anchor's frames though its rate is right."""
    wanted_hz = camera.declared.rate_hz if camera.declared else usual_hz
    right_rate = abs(camera.timing.rate_hz / wanted_hz - 1) <= RATE_TOLERANCE
    skew = camera.skew
    if right_rate and skew.late > MAX_LATE * skew.anchors:
        yield (
            f"{camera.topic}: no frame within {skew.tolerance_ms:.0f} ms for {skew.late} of {skew.anchors} frames of {anchor}: "
            "synchronise the cameras or find what loses frames"
        )


def clock_problems(clock_ms: Mapping[str, float], typical_ms: float) -> Iterator[str]:
    """Topics whose stamps are another distance from the recorder's clock than the typical topic's."""
    if abs(typical_ms) > MAX_CLOCK_MS:
        yield (
            f"stamps are {typical_ms / 1e3:.1f} s before the recorder's clock: live nodes need use_sim_time:=true, "
            "and clocks that agree on a vehicle (PTP, NTP)"
        )
    for topic, clock in clock_ms.items():
        if abs(late := clock - typical_ms) > MAX_OFFSET_MS:
            side = "behind" if late > 0 else "ahead of"
            yield (
                f"{topic}: its clock is {abs(late):.0f} ms {side} the other topics' (limit {MAX_OFFSET_MS:.0f}): "
                f"synchronise it; for a camera with a constant delay add {late:+.0f} to `stamp_offset_ms`"
            )


def odometry_topic_problems(facts: Facts, declared: Odometry | None) -> Iterator[str]:
    """Odometry that is not there, or of another type."""
    there = ", ".join(odometry.topic for odometry in facts.odometry)
    if declared is None:
        if not facts.odometry:
            yield f"no {ODOMETRY} topic: nothing can be planned without the ego motion"
    elif declared.topic not in facts.types:
        yield f"odometry: topic {declared.topic} is missing; {there or 'no topic'} is {ODOMETRY}: correct `odometry` in the rig"
    elif facts.types[declared.topic] != ODOMETRY:
        yield f"odometry: {declared.topic} is a {facts.types[declared.topic]}, want {ODOMETRY}"
    elif declared.topic not in [odometry.topic for odometry in facts.odometry]:
        yield f"odometry: {declared.topic} has no message"


def odometry_problems(odometry: OdometryFacts, timing: Timing, facts: Facts, declared: Odometry | None) -> Iterator[str]:
    """Wrong with one odometry topic."""
    topic = odometry.topic
    yield from timing_problems(topic, timing, declared.rate_hz if declared else None, timing.rate_hz)
    if timing.rate_hz < MIN_ODOMETRY_HZ * (1 - RATE_TOLERANCE):
        yield f"{topic}: {timing.rate_hz:.1f} Hz: the ego history needs {MIN_ODOMETRY_HZ:.0f} Hz or more"
    if declared and odometry.frame_id != declared.frame:
        yield f"{topic}: poses in frame {odometry.frame_id!r}, the rig declares {declared.frame!r}: set `odometry.frame`"
    if odometry.child_frame_id != facts.base_frame and odometry.child_frame_id not in facts.placed_frames:
        yield (
            f"{topic}: of {odometry.child_frame_id!r}, which {STATIC_TOPIC} does not connect to {facts.base_frame!r}: "
            "publish that transform or set `base_frame` in the rig"
        )
    numbers = np.column_stack([odometry.position, odometry.quaternion, odometry.speed_mps])
    finite = np.all(np.isfinite(numbers), axis=1)
    if not finite.all():
        yield f"{topic}: {np.count_nonzero(~finite)} of {len(finite)} messages hold NaN or infinity: such messages are refused"
    norms = np.linalg.norm(odometry.quaternion[finite], axis=1)
    if (wrong := np.abs(norms - 1) > UNIT_NORM_TOLERANCE).any():
        yield (
            f"{topic}: {np.count_nonzero(wrong)} of {len(norms)} quaternions are no rotation, norm {norms[wrong][0]:.3f}: "
            "normalise them; such messages are refused"
        )
    yield from _motion_problems(odometry, finite)


def _motion_problems(odometry: OdometryFacts, finite: NDArray[np.bool_]) -> Iterator[str]:
    """Poses that move differently from what the twist says."""
    usable = finite & (odometry.stamps_ns > 0)
    _, first = np.unique(odometry.stamps_ns[usable], return_index=True)
    t_s = (odometry.stamps_ns[usable][first] - odometry.stamps_ns[usable][first].min(initial=2**62)) / 1e9
    position, speed = odometry.position[usable][first], odometry.speed_mps[usable][first]
    moved, passed = np.linalg.norm(np.diff(position, axis=0), axis=1), np.diff(t_s)
    jumps = moved > np.maximum(speed[:-1], speed[1:]) * passed + JUMP_M
    if jumps.any():
        yield (
            f"{odometry.topic}: the pose jumps {np.count_nonzero(jumps)} times, by {moved[jumps].max():.2f} m at most: "
            "use a continuous frame (odom), not one that localisation corrects (map)"
        )
    edges = np.unique(np.searchsorted(t_s, np.arange(0.0, t_s.max(initial=0.0), SPEED_WINDOW_S)))
    if len(edges) < 2 or jumps.any():
        return
    travelled = np.append(0.0, np.cumsum((speed[:-1] + speed[1:]) / 2 * passed))
    implied = np.linalg.norm(np.diff(position[edges], axis=0), axis=1) / np.diff(t_s[edges])
    stated = np.diff(travelled[edges]) / np.diff(t_s[edges])
    if np.median(np.abs(implied - stated)) > 0.5 + 0.1 * np.median(stated):
        speeds = f"poses move at {np.median(implied):.1f} m/s, the twist says {np.median(stated):.1f} m/s"
        yield f"{odometry.topic}: {speeds}: the twist must be in m/s in the child frame (REP-105)"
