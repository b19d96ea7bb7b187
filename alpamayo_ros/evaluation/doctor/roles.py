"""Which image topic is which camera: from calibration where there is one, else from the topic's name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.cameras import camera_from_info, hfov_deg
from alpamayo_ros.evaluation.doctor.facts import RAW, TopicFacts, namespace
from alpamayo_ros.profile import Mount, Rig
from alpamayo_ros.types import F64, ROLES, InvalidInput

MAX_TURN_DEG = 45.0
"""A camera that looks farther from a role's direction is not that role's."""

MAX_FOV_RATIO = 3.0
"""A camera that sees more than this times wider or narrower is not that role's: 120 and 30 degrees are two cameras."""

TURN_UNIT_DEG = 20.0
"""A turn that weighs as much as a field of view of twice the size."""

OTHER_NAME_COST = 0.25
"""What a topic's name weighs beside its calibration: enough to decide between equals."""

LEFT_OUT_COST = 100.0
"""More than any set of matches costs: a role is left empty only when no camera fits it."""

_ABBREVIATIONS = {
    "fl": "front left",
    "fr": "front right",
    "rl": "rear left",
    "rr": "rear right",
    "bl": "rear left",
    "br": "rear right",
}


@dataclass(frozen=True)
class View:
    """Where a camera looks and how wide, as far as its calibration says."""

    yaw_deg: float | None  # of the optical axis about base z, positive left
    hfov_deg: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Guess:
    """A topic taken for a role, and why."""

    topic: str
    reason: str


def view_of(camera: TopicFacts) -> View:
    """The view of a camera from its camera_info and /tf_static; what is wrong with them is said, not raised."""
    problems: list[str] = []
    hfov = yaw = None
    if camera.info is not None:
        try:
            hfov = hfov_deg(camera_from_info(camera.info))
        except InvalidInput as error:
            problems.append(f"{camera.topic}: its camera_info cannot be used: {error}")
    if camera.base_from_optical is not None:
        axis = camera.base_from_optical[:3, 2]
        if abs(axis[2]) > math.sin(math.radians(MAX_TURN_DEG)):
            axis = camera.base_from_optical[:3, 0]
            problems.append(
                f"{camera.topic}: frame {camera.frame_id!r} is not an optical frame, its z axis points "
                f"{'up' if camera.base_from_optical[2, 2] > 0 else 'down'}: want x right, y down, z forward (REP-103); "
                "stamp images with the camera's optical frame"
            )
        yaw = math.degrees(math.atan2(axis[1], axis[0]))
    return View(yaw, hfov, tuple(problems))


def turn_deg(yaw_deg: float, other_deg: float) -> float:
    """Smallest angle between two headings, degrees in [0, 180]."""
    return abs((yaw_deg - other_deg + 180.0) % 360.0 - 180.0)


def role_by_name(topic: str) -> str | None:
    """The role that the words of a topic's name say, None when they say none."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", topic)
    words = " ".join(_ABBREVIATIONS.get(word, word) for word in re.split(r"[^a-z0-9]+", spaced.lower()))
    left, right = "left" in words, "right" in words
    rear = re.search(r"rear|back|behind", words) is not None
    tele = re.search(r"tele|narrow|\b30", words) is not None
    if left != right:
        return f"{'rear' if rear else 'front'}_{'left' if left else 'right'}"
    if left and right:
        return None
    if rear:
        return "rear_tele"
    if tele:
        return "front_tele"
    return "front_wide" if re.search(r"front|forward|wide", words) else None


def guess_roles(
    cameras: Sequence[TopicFacts], views: Mapping[str, View], reference: Rig, declared: Mapping[str, str]
) -> dict[str, Guess]:
    """The best match of topics and the reference rig's roles, in index order.

    `declared` (topic -> role) is what a rig file says. It and names decide alone where no transform says where a camera
    looks. Topics of one camera (raw beside compressed) count once.
    """
    sensors = _one_per_sensor(cameras, declared)
    named = [declared.get(c.topic) or role_by_name(c.topic) for c in sensors]
    mounts = {role: camera.mount for role, camera in reference.cameras.items()}
    cost = np.array(
        [[_cost(views[c.topic], n, role, mounts[role]) for role in mounts] for c, n in zip(sensors, named, strict=True)]
    )
    roles = list(mounts)
    chosen = cheapest_assignment(cost.reshape(len(sensors), len(roles)))
    matches = {
        roles[place]: Guess(c.topic, _reason(views[c.topic], mounts[roles[place]], c.topic in declared))
        for c, place in zip(sensors, chosen, strict=True)
        if place is not None
    }
    return {role: matches[role] for role in ROLES if role in matches}


def cheapest_assignment(cost: F64) -> tuple[int | None, ...]:
    """Column (or None) of each row (n, m) so that most rows have a column of their own, then at the lowest sum.

    An infinite cost forbids a pair. Dynamic programming over sets of columns: exact, and m is 7.
    """
    best: dict[int, tuple[float, tuple[int | None, ...]]] = {0: (0.0, ())}
    for row in cost:
        following: dict[int, tuple[float, tuple[int | None, ...]]] = {}
        for taken, (total, columns) in best.items():
            options: list[tuple[int, float, int | None]] = [(taken, LEFT_OUT_COST, None)]
            options += [(taken | 1 << j, float(c), j) for j, c in enumerate(row) if np.isfinite(c) and not taken >> j & 1]
            for mask, price, column in options:
                if mask not in following or total + price < following[mask][0]:
                    following[mask] = (total + price, (*columns, column))
        best = following
    return min(best.values(), key=lambda state: state[0])[1]


def _one_per_sensor(cameras: Sequence[TopicFacts], declared: Mapping[str, str]) -> list[TopicFacts]:
    """One topic of each camera: the declared one, else unrectified (that is what K and D describe), else compressed."""
    colour = [c for c in cameras if "depth" not in c.topic.lower()]
    ranked = sorted(colour, key=lambda c: (c.topic not in declared, "rect" in c.topic, c.type_name == RAW, c.topic))
    sensors: dict[tuple[str, str, str | None], TopicFacts] = {}
    for camera in ranked:
        sensors.setdefault((namespace(camera.topic), camera.frame_id, role_by_name(camera.topic)), camera)
    return sorted(sensors.values(), key=lambda c: c.topic)


def _cost(view: View, named: str | None, role: str, mount: Mount) -> float:
    if view.yaw_deg is None:
        return 0.0 if named == role else math.inf
    turn = turn_deg(view.yaw_deg, mount.yaw_deg)
    octaves = abs(math.log2(view.hfov_deg / mount.hfov_deg)) if view.hfov_deg else 0.0
    if turn > MAX_TURN_DEG or octaves > math.log2(MAX_FOV_RATIO):
        return math.inf
    return turn / TURN_UNIT_DEG + octaves + (0.0 if named == role else OTHER_NAME_COST)


def _reason(view: View, mount: Mount, is_declared: bool) -> str:
    if view.yaw_deg is None:
        return "declared in the rig, no transform to check it" if is_declared else "by its name, no transform to check it"
    looks = f"looks {view.yaw_deg:.0f} deg (nominal {mount.yaw_deg:.0f})"
    if view.hfov_deg is None:
        return f"{looks}, field of view unknown"
    return f"{looks}, sees {view.hfov_deg:.0f} deg (nominal {mount.hfov_deg:.0f})"
