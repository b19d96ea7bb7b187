"""The windows where the evaluated planner was furthest off, as pictures inside a page.

What the cameras saw comes from the bag, all else from the evaluation: where the bag cannot be read again, the view from above
is still there, and the case says why the cameras are not.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Literal, NamedTuple

import cv2

from alpamayo_ros.bags import bag_topics, deserialize, read_bag
from alpamayo_ros.cameras import resized
from alpamayo_ros.drawing import Colour, birds_eye, metres_across, overlay, seven_up
from alpamayo_ros.evaluation.calibration import View, calibration
from alpamayo_ros.evaluation.metrics import HORIZONS_S
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Evaluation, Window
from alpamayo_ros.evaluation.report.figures import colour
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.images import pixels_of_width
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

CASES = 10
CASES_OF_CLIP = 2  # so that one bad clip does not fill the list
FRONT_PX, ABOVE_PX, CELL_PX, CAMERAS_PX = 960, 540, 480, 1440
JPEG_QUALITY = 80
BEFORE_NS, AFTER_NS = 300_000_000, 1_000_000_000
"""A frame of t0 was logged from so long before t0 (a stamp offset) to so long after (a slow recorder)."""


class Bad(NamedTuple):
    """A window and how far off the evaluated planner was."""

    bag: BagEvaluation
    window: Window
    horizon_s: float
    ade_m: float  # up to that horizon


class Recording(NamedTuple):
    """A bag whose frames can be asked for."""

    bag: Path
    rig: Rig
    roles: Mapping[str, str]  # by camera topic of the rig that the bag has
    anchor: View


class Case(NamedTuple):
    """A bad window with pictures, as data URIs; empty where there is none."""

    bad: Bad
    above: str  # plan, candidates, driven path and the other contenders' plans
    front: str  # the anchor camera with the plan on the road
    cameras: str  # all cameras at t0
    missing: str  # why there is nothing of the cameras; empty when there is


def worst_cases(evaluation: Evaluation, bag_of: Mapping[str, Path]) -> Iterator[Case]:
    """The `worst` windows with their pictures. Raises InvalidInput when there are some and the rig cannot be read."""
    bads = worst(evaluation)
    rig = read_rig(evaluation.setup.rig) if bads else None
    recordings: dict[Path, Recording] = {}
    for bad in bads:
        front, cameras, missing = "", "", ""
        try:
            bag = bag_of.get(bad.bag.bag)
            if bag is None or rig is None:
                raise InvalidInput(f"nobody said where {bad.bag.bag} is")
            if bag not in recordings:
                recordings[bag] = recording(bag, rig)
            front, cameras = _seen(recordings[bag], bad.window, evaluation.contenders[0])
        except InvalidInput as error:
            missing = str(error)
        yield Case(bad, _above(evaluation, bad.window), front, cameras, missing)


def recording(bag: Path, rig: Rig) -> Recording:
    """What must be known of a bag before its frames are read. Raises InvalidInput."""
    topics = bag_topics(bag)
    roles = {camera.topic: role for role, camera in rig.cameras.items() if camera.topic in topics}
    return Recording(bag, rig, roles, calibration(bag, rig, topics)[0][rig.anchor])


def worst(evaluation: Evaluation) -> list[Bad]:
    """Windows of the first contender by ADE at the longest horizon that any window has, worst first.

    At most CASES, and CASES_OF_CLIP of one clip.
    """
    for place in reversed(range(len(HORIZONS_S))):
        bads = sorted(_off(evaluation, place), key=attrgetter("ade_m"), reverse=True)
        if bads:
            of_clip: Counter[tuple[str, str]] = Counter()
            spread = []
            for bad in bads:
                clip = bad.bag.bag, bad.window.clip  # bags of two drives may have one name
                of_clip[clip] += 1
                if of_clip[clip] <= CASES_OF_CLIP:
                    spread.append(bad)
            return spread[:CASES]
    return []


def _off(evaluation: Evaluation, place: int) -> Iterator[Bad]:
    """Every window that is known to the horizon at a place of HORIZONS_S."""
    for bag in evaluation.bags:
        for window in bag.windows:
            metrics = window.metrics.get(evaluation.contenders[0])
            ade_m = metrics.ade_m[place] if metrics is not None else None
            if ade_m is not None:
                yield Bad(bag, window, HORIZONS_S[place], ade_m)


def _above(evaluation: Evaluation, window: Window) -> str:
    first, *others = evaluation.contenders
    plan = window.plans[first]
    baselines = [
        (window.plans[name].trajectory, rgb(colour(place))) for place, name in enumerate(others, 1) if name in window.plans
    ]
    metres = metres_across([plan.trajectory.xyz, window.driven.xyz])  # baselines may leave the picture
    picture = birds_eye(plan.trajectory, plan.candidates, window.history, ABOVE_PX, metres, window.driven.xyz, baselines)
    return _uri(picture, "png")


def rgb(hexadecimal: str) -> Colour:
    """Of "#rrggbb"."""
    red, green, blue = bytes.fromhex(hexadecimal[1:])
    return red, green, blue


def _seen(recorded: Recording, window: Window, contender: str) -> tuple[str, str]:
    """The front and all cameras. Raises InvalidInput when the bag cannot be read or lacks the anchor's frame at t0."""
    rig, view, frames = recorded.rig, recorded.anchor, _frames(recorded, window.t0_ns)
    if rig.anchor not in frames:
        raise InvalidInput(f"{recorded.bag}: no {rig.anchor} frame at {window.t0_ns} ns, only of {', '.join(frames) or 'none'}")
    front = pixels_of_width(frames[rig.anchor], FRONT_PX)
    camera = resized(view.camera, FRONT_PX, len(front))
    on_road = overlay(front, camera, view.optical_from_ego, window.plans[contender].trajectory)
    images = {role: pixels_of_width(frame, CELL_PX) for role, frame in frames.items()}
    labels = {role: f"{role} {(frame.stamp_ns - window.t0_ns) / 1e6:+.0f} ms" for role, frame in frames.items()}
    absent = {role: f"{role}: no frame" for role in rig.cameras if role not in frames}
    return _uri(on_road, "jpeg"), _uri(seven_up(images, labels | absent, CAMERAS_PX), "jpeg")


def _frames(recorded: Recording, t0_ns: int) -> dict[str, EncodedFrame]:
    """By role, the frame nearest to t0 and no further than the rig's tolerance. Raises InvalidInput."""
    rig, roles = recorded.rig, recorded.roles
    nearest: dict[str, EncodedFrame] = {}
    to_come = set(roles.values())
    for record in read_bag(recorded.bag, list(roles), start_ns=t0_ns - BEFORE_NS, stop_ns=t0_ns + AFTER_NS):
        role = roles[record.topic]
        try:
            frame = decode.camera_frame(deserialize(record.cdr, record.type_name), role, rig.cameras[role], 0)
        except InvalidInput:
            continue  # the bag's coverage says so
        off_ns = abs(frame.stamp_ns - t0_ns)
        best_ns = abs(nearest[role].stamp_ns - t0_ns) if role in nearest else rig.cameras[role].tolerance_ns + 1
        if off_ns < best_ns:
            nearest[role] = frame
        if frame.stamp_ns >= t0_ns:
            to_come.discard(role)
        if not to_come:
            break
    return nearest


def _uri(image: U8, kind: Literal["jpeg", "png"]) -> str:
    """An RGB image as a data URI."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    done, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done, f"OpenCV encodes no {kind}"
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
