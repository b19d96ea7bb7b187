"""Examples of recorded drives in tar files, as those of the driving world are kept (`simulation.data.shards`).

Tar and not Parquet: a training run reads whole shards in a row and asks for no columns; pictures stay files that anybody can
open, one each however many windows see it; and what reads and writes scenes reads and writes this. A part of a clip is
`drive-000.json` with its examples, then one PNG per frame, `drive-000.0.1700000002000000000.front_wide.png`: epoch, stamp in
ns, role. PNG, so that a model is trained on the very pixels that it will see.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.evaluation.openloop.storage import from_json, to_json
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.simulation.data.shards import add_member, content, decoded, opened, png
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import CameraFrame, InvalidInput

Key = tuple[int, int, str]  # epoch, stamp in ns, role


@dataclass(frozen=True)
class _Stored:
    """An example whose observation has no frames, and the stamps of its frames by role, oldest first."""

    example: Example
    stamps_ns: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Part:
    """What the JSON of a shard says."""

    examples: tuple[_Stored, ...]


def write_part(path: Path, examples: Sequence[Example]) -> None:
    """Write examples of one clip into one tar file, whole or not at all. Raises OSError when the disk refuses."""
    frames = {_key(f): f for e in examples for of_role in e.observation.frames.values() for f in of_role}
    part = _Part(tuple(_stored(example) for example in examples))
    about = json.dumps(to_json(part, lambda array: array.tolist()), allow_nan=False, separators=(",", ":"))
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add_member(tar, f"{path.stem}.json", about.encode())
        for key in sorted(frames):
            add_member(tar, _name(path, key), png(frames[key].image[None]))


def _key(frame: CameraFrame) -> Key:
    return frame.epoch, frame.stamp_ns, frame.role


def _name(path: Path, key: Key) -> str:
    epoch, stamp_ns, role = key
    return f"{path.stem}.{epoch}.{stamp_ns}.{role}.png"


def _stored(example: Example) -> _Stored:
    frames = example.observation.frames
    stamps_ns = {role: tuple(frame.stamp_ns for frame in of_role) for role, of_role in frames.items()}
    return _Stored(replace(example, observation=replace(example.observation, frames={})), stamps_ns)


def read_part(path: Path, profile: InputProfile) -> Iterator[Example]:
    """The examples of a file that `write_part` wrote, equal to the bit; those that see the same frame share its object.

    Raises InvalidInput that names the file and the member for what is not one, and for pictures of another size.
    """
    with opened(path) as tar:
        part = _about(tar, path)
        wanted = {key: _name(path, key) for stored in part.examples for key in _keys(stored)}
        frames = {key: _frame(tar, path, wanted[key], key, profile) for key in sorted(wanted)}
    for stored in part.examples:
        epoch = stored.example.observation.epoch
        seen = {role: tuple(frames[epoch, ns, role] for ns in stamps_ns) for role, stamps_ns in stored.stamps_ns.items()}
        yield replace(stored.example, observation=replace(stored.example.observation, frames=seen))


def _about(tar: tarfile.TarFile, path: Path) -> _Part:
    member = tar.next()
    if member is None or member.name != f"{path.stem}.json":
        raise InvalidInput(f"{path}: want {path.stem}.json first, got {member.name if member else 'nothing'}")
    try:
        return from_json(_Part, json.loads(content(tar, member)), np.array, member.name)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{path} {member.name}: not JSON: {error}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def _keys(stored: _Stored) -> Iterator[Key]:
    epoch = stored.example.observation.epoch
    return ((epoch, stamp_ns, role) for role, stamps_ns in stored.stamps_ns.items() for stamp_ns in stamps_ns)


def _frame(tar: tarfile.TarFile, path: Path, name: str, key: Key, profile: InputProfile) -> CameraFrame:
    member = tar.next()
    if member is None or member.name != name:
        raise InvalidInput(f"{path}: want {name} next, got {member.name if member else 'the end'}")
    image = decoded(content(tar, member))
    if image is None or image.shape != profile.image_shape:
        raise InvalidInput(f"{path} {name}: want a picture {profile.image_shape}, got {None if image is None else image.shape}")
    epoch, stamp_ns, role = key
    return CameraFrame(role, stamp_ns, epoch, image)
