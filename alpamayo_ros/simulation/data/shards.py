"""Scenes in tar files, the same bytes for the same scenes: a JSON per scene, a PNG per instant beside it, what is on them.

A PNG has the pictures of all cameras below each other, in the order of the scene's roles. Members of one scene follow each
other and have its name up to the first dot, as in WebDataset: `town-000012.json`, `town-000012.002500.png` (ms), ...,
`town-000012.sights.npz`.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.evaluation.openloop.storage import from_json, to_json
from alpamayo_ros.simulation.data.samples import Scene, SceneSamples
from alpamayo_ros.types import U8, InvalidInput

PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
"""Fast: with the noise of a sensor in them, pictures hardly become smaller with more."""


def write_shard(path: Path, scenes: Iterable[SceneSamples]) -> tuple[Scene, ...]:
    """Write scenes into one tar file, whole or not at all. Raises OSError when the disk refuses."""
    written: list[Scene] = []
    with whole_file(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for taken in scenes:
            about = json.dumps(to_json(taken.scene, lambda array: array.tolist()), allow_nan=False, separators=(",", ":"))
            add_member(tar, f"{_name(taken.scene)}.json", about.encode())
            for ms, pictures in zip(taken.scene.instants_ms, taken.pictures, strict=True):
                add_member(tar, f"{_name(taken.scene)}.{ms:06d}.png", png(pictures))
            add_member(tar, f"{_name(taken.scene)}.sights.npz", _sights(taken))
            written.append(taken.scene)
    return tuple(written)


def read_shard(path: Path) -> Iterator[SceneSamples]:
    """The scenes of a file that `write_shard` wrote, equal to the bit. Raises InvalidInput for what is not one."""
    with opened(path) as tar:
        while member := tar.next():
            yield _scene(tar, member, path)


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar file. Raises InvalidInput for what is not one."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield tar
    except (tarfile.TarError, OSError) as error:
        raise InvalidInput(f"{path}: not a shard of scenes: {error}") from error


def _about(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Scene:
    where = f"{path} {member.name}"
    try:
        data = json.loads(content(tar, member))
    except ValueError as error:
        raise InvalidInput(f"{where}: not JSON: {error}") from error
    return from_json(Scene, data, np.array, where)


def _scene(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> SceneSamples:
    scene = _about(tar, member, path)
    pictures = np.empty((len(scene.instants_ms), len(scene.roles), scene.height, scene.width, 3), np.uint8)
    for index, ms in enumerate(scene.instants_ms):
        name = f"{_name(scene)}.{ms:06d}.png"
        column = decoded(_next(tar, name, path))
        if column is None or column.size != pictures[index].size:
            raise InvalidInput(
                f"{path} {name}: not the pictures of {len(scene.roles)} cameras at {scene.width} x {scene.height}"
            )
        pictures[index] = column.reshape(pictures.shape[1:])
    name = f"{_name(scene)}.sights.npz"
    try:
        with np.load(io.BytesIO(_next(tar, name, path)), allow_pickle=False) as stored:
            return SceneSamples(scene, pictures, stored["kinds"], stored["nearest_m"], stored["course_rad"])
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} {name}: {error}") from error


def _next(tar: tarfile.TarFile, name: str, path: Path) -> bytes:
    """The next member, which is to have this name. Raises InvalidInput."""
    found = tar.next()
    if found is None or found.name != name:
        raise InvalidInput(f"{path}: want {name} next, got {found.name if found else 'the end'}")
    return content(tar, found)


def _sights(taken: SceneSamples) -> bytes:
    """What is on the pictures, as npz: numpy dates its members 1980, so the same content is the same bytes."""
    file = io.BytesIO()
    np.savez_compressed(file, kinds=taken.kinds, nearest_m=taken.nearest_m, course_rad=taken.course_rad)
    return file.getvalue()


def read_scenes(path: Path) -> Iterator[Scene]:
    """The scenes of a shard without their pictures, which is much faster. Raises InvalidInput."""
    with opened(path) as tar:
        for member in tar:
            if member.name.endswith(".json"):
                yield _about(tar, member, path)


def _name(scene: Scene) -> str:
    return f"{scene.id.family}-{scene.id.seed:06d}" + (f"-{scene.world}" if scene.world else "")


def add_member(tar: tarfile.TarFile, name: str, held: bytes) -> None:
    """Write a member of a name and these bytes."""
    member = tarfile.TarInfo(name)  # of nobody, at the beginning of time
    member.size = len(held)
    tar.addfile(member, io.BytesIO(held))


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member. Raises InvalidInput for what is not a file."""
    file = tar.extractfile(member)
    if file is None:
        raise InvalidInput(f"{member.name}: not a file")
    return file.read()


def png(pictures: U8) -> bytes:
    """Pictures (roles, H, W, 3) below each other."""
    column = pictures.reshape(-1, *pictures.shape[2:])
    _, encoded = cv2.imencode(".png", cv2.cvtColor(column, cv2.COLOR_RGB2BGR), PNG)
    return bytes(encoded)


def decoded(column: bytes) -> U8 | None:
    """What `png` wrote; None for what is not a picture."""
    return cv2.imdecode(np.frombuffer(column, np.uint8), cv2.IMREAD_COLOR_RGB)  # type: ignore[return-value]
