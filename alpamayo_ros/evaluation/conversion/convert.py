"""`alpamayo convert`: a clip of a data set as a bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

from alpamayo_ros.bags.whole import check_room, whole_bag
from alpamayo_ros.evaluation.conversion.clip import Clip
from alpamayo_ros.evaluation.conversion.folders import listed
from alpamayo_ros.evaluation.conversion.writing import RIG_FILE, Converted, write_clip
from alpamayo_ros.types import InvalidInput

Kind = Literal["physical-ai-av", "nuscenes", "kitti"]

RATE_HZ = 10.0
"""No profile looks at frames closer together than 0.1 s."""


class _Reader(NamedTuple):
    scenes: Callable[[Path], list[str]]  # names of what a folder has
    read: Callable[[Path, str], Clip]


def convert(
    kind: Kind, source: Path, scene: str | None, out: Path, rate_hz: float = RATE_HZ, overwrite: bool = False
) -> Converted:
    """Write a scene of a data set's folder as a bag, with its rig file in it, whole or not at all.

    `out` does not exist, or is a bag and is replaced when the new one is whole, with `overwrite`. `scene` may be None where
    the folder has one. Cameras faster than `rate_hz` keep every n-th frame. Raises InvalidInput.
    """
    reader = _reader(kind)
    if not source.is_dir():
        raise InvalidInput(f"{source}: want a folder with a {kind} data set")
    if source.resolve().is_relative_to(out.resolve()):
        raise InvalidInput(f"{out} holds what is to be converted: choose another place")
    check_room(out, overwrite)  # before anything is read
    clip = reader.read(source, _chosen(scene, reader.scenes(source), source))
    with whole_bag(out, overwrite) as part:  # a part of a clip would look like a clip
        converted = write_clip(clip, part, rate_hz)
    return replace(converted, rig=str(out / RIG_FILE))


def _reader(kind: Kind) -> _Reader:
    # Imported here: each reader needs other libraries.
    if kind == "physical-ai-av":
        from alpamayo_ros.evaluation.conversion import physical_ai_av

        return _Reader(physical_ai_av.scenes, physical_ai_av.read)
    if kind == "nuscenes":
        from alpamayo_ros.evaluation.conversion import nuscenes

        return _Reader(nuscenes.scenes, nuscenes.read)
    from alpamayo_ros.evaluation.conversion import kitti

    return _Reader(kitti.scenes, kitti.read)


def _chosen(scene: str | None, available: list[str], source: Path) -> str:
    first = listed(available)
    if scene is not None and scene not in available:
        near = ", ".join(get_close_matches(scene, available, n=5, cutoff=0.5))
        raise InvalidInput(
            f"{source}: no scene {scene!r} among the {len(available)} here; {f'near: {near}' if near else first}"
        )
    if scene is None and len(available) != 1:
        raise InvalidInput(f"{source}: {len(available)} scenes, choose one: {first}")
    return scene or available[0]
