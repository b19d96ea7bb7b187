"""What an engine's folder holds and what it was built for; its bytes, once they are proven to be those.

`engines/KEY/manifest.json` lies beside the files it lists. A built engine is code: whoever can change it runs what they like.
So nothing is deserialised but the very bytes that were hashed, and folder and manifest must belong to us or to root. A manifest
does not say who built the engine: build it on the machine that runs it, or fetch it over a way that is trusted.

What is compared when an engine opens: all bytes of the built files with their sha256, the machine, every input and output with
its limits, and the bundle's `identity.bundle_hash`, which takes milliseconds. What is not: the full sha256 of ONNX files and of
weights. They say for good what the engine was built from; the weights that run are those in the built files.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from alpamayo_ros.profile import Described
from alpamayo_ros.types import InvalidInput

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 1_000_000
BUILD_AGAIN = "run `alpamayo build` for this bundle again"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=128)]
Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$", max_length=32)]
Shape = tuple[Annotated[int, Field(ge=0)], ...]


class EngineFile(Described):
    """The bytes that one file must have."""

    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Tensor(Described):
    """One input or output of an engine."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    dtype: Literal["float32", "float16", "bfloat16", "float8", "int64", "int32", "int8", "uint8", "bool"]
    shape: tuple[Annotated[int, Field(ge=-1)], ...]  # -1: any size


class Input(Tensor):
    """One input of an engine, and the shapes it was built for: from the least to the most, and the usual one, made fastest."""

    least: Shape
    usual: Shape
    most: Shape

    @model_validator(mode="after")
    def _is_within_its_limits(self) -> Input:
        sizes = zip(self.shape, self.least, self.usual, self.most, strict=False)
        one_rank = len({len(self.shape), len(self.least), len(self.usual), len(self.most)}) == 1
        if not one_rank or not all(a <= b <= c and size in (-1, a) and (size < 0 or a == c) for size, a, b, c in sizes):
            raise InvalidInput(f"{self.name}: limits {self.least}, {self.usual}, {self.most} of shape {self.shape}")
        return self


class MadeFor(Described):
    """What an engine was built from and for. Nothing else may run it."""

    compute_capability: Annotated[str, Field(pattern=r"^sm_\d{2,3}$")]  # of the GPU, "sm_89"
    tensorrt: Version  # an engine opens in the version that built it
    cuda: Version  # at least this one, of the same major version
    driver_min: Version
    precision: Literal["fp32", "tf32", "fp16", "bf16", "fp8", "nvfp4", "int8"]
    model_revision: Annotated[str, Field(min_length=1, max_length=64)]  # `identity.bundle_hash` of the bundle it was built from
    onnx: Annotated[dict[Name, EngineFile], Field(min_length=1)]  # that it was built from, with their data beside them
    weights: dict[Name, EngineFile]  # of the bundle; none where they are drawn from a seed
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]


class Manifest(Described):
    """What an engine's folder holds, by file name, and what it was built for."""

    made_for: MadeFor
    files: Annotated[dict[Name, EngineFile], Field(min_length=1)]


@dataclass(frozen=True)
class Machine:
    """What this machine would run an engine with."""

    compute_capability: str  # "sm_86"
    tensorrt: str
    cuda: str
    driver: str


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an engine's folder. Raises InvalidInput: no folder, no manifest, one that others can write, or wrong."""
    with _opened(folder) as directory:
        text = _read(directory, folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    if len(text) > MAX_MANIFEST_BYTES:
        raise InvalidInput(f"{folder / MANIFEST_FILE}: more than {MAX_MANIFEST_BYTES} bytes: {BUILD_AGAIN}")
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"{folder / MANIFEST_FILE}: {problems:.1000}: {BUILD_AGAIN}") from error
    if MANIFEST_FILE in manifest.files:
        raise InvalidInput(f"{folder / MANIFEST_FILE} lists itself: {BUILD_AGAIN}")
    return manifest


def write_manifest(folder: Path, made_for: MadeFor) -> Manifest:
    """Describe every file of a folder that an engine was just built into, and write that beside them.

    Raises InvalidInput for a folder or file that a manifest cannot describe.
    """
    with _opened(folder) as directory:
        names = sorted(_names(directory) - {MANIFEST_FILE})
        files = {name: _identified(_read(directory, folder / name, None)) for name in names}
    try:
        manifest = Manifest(made_for=made_for, files=files)
    except ValidationError as error:
        raise InvalidInput(f"{folder}: {' '.join(str(error).split()):.1000}: {BUILD_AGAIN}") from error
    written = folder / f".{MANIFEST_FILE}.part"  # a crash leaves no half manifest
    written.write_text(manifest.model_dump_json(indent=2) + "\n")
    written.replace(folder / MANIFEST_FILE)
    return manifest


def identify(path: Path) -> EngineFile:
    """Size and sha256 of a file, all of which is read, a block at a time: for a build, not for a start."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return EngineFile(bytes=size, sha256=digest.hexdigest())


def verified_bytes(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of one file of an engine's folder, read once, and proven to be those that the manifest lists.

    Use these bytes: the file may be another one a moment later. Raises InvalidInput for a file that is missing, changed, cut
    short, a link or not in the manifest, and for a folder that holds anything else.
    """
    path = folder / name
    if name not in manifest.files:
        listed = ", ".join(sorted(manifest.files))
        raise InvalidInput(f"{path} is not in the manifest, which lists {listed}: {BUILD_AGAIN}")
    wanted = manifest.files[name]
    with _opened(folder) as directory:
        _check_listing(folder, _names(directory), manifest)
        data = _read(directory, path, wanted.bytes)
    if len(data) != wanted.bytes:
        found = f"{len(data)} bytes" if len(data) < wanted.bytes else f"more than {wanted.bytes} bytes"
        raise InvalidInput(f"{path} has {found}, the manifest says {wanted.bytes}: {BUILD_AGAIN}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted.sha256:
        raise InvalidInput(f"{path} has sha256 {digest}, the manifest says {wanted.sha256}: {BUILD_AGAIN}")
    return data


def check_made_for(manifest: Manifest, machine: Machine, model_revision: str) -> None:
    """Raise InvalidInput that lists everything about this machine and this bundle that the engine was not built for."""
    made, problems = manifest.made_for, []
    if made.compute_capability != machine.compute_capability:
        problems.append(f"built for {made.compute_capability}, this GPU is {machine.compute_capability}")
    if made.tensorrt != machine.tensorrt:
        problems.append(f"built by TensorRT {made.tensorrt}, here is {machine.tensorrt}")
    cuda, here = _numbers(made.cuda), _numbers(machine.cuda)
    if cuda[:1] != here[:1] or here < cuda:
        problems.append(f"built with CUDA {made.cuda}, here is {machine.cuda}")
    if made.model_revision != model_revision:
        problems.append(f"built from model {made.model_revision}, this bundle is {model_revision}")
    fixes = ["run `alpamayo build` for this bundle on this machine"] if problems else []
    if _numbers(machine.driver) < _numbers(made.driver_min):
        problems.append(f"needs driver {made.driver_min}, here is {machine.driver}")
        fixes.append(f"install driver {made.driver_min} or newer")
    if problems:
        raise InvalidInput(f"engine: {'; '.join(problems)}: {', and '.join(fixes)}")


def check_tensors(manifest: Manifest, inputs: Sequence[Input], outputs: Sequence[Tensor]) -> None:
    """Raise InvalidInput that lists every input, limits and all, and output in which an engine is not as its manifest says."""
    problems = []
    for kind, wanted, found in (("input", manifest.made_for.inputs, inputs), ("output", manifest.made_for.outputs, outputs)):
        want, have = ({tensor.name: _described(tensor) for tensor in tensors} for tensors in (wanted, found))
        differ = [name for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]
        problems += [f"{kind} {name}: manifest {want.get(name, 'none')}, engine {have.get(name, 'none')}" for name in differ]
    if problems:
        raise InvalidInput(f"engine: {'; '.join(problems)}: {BUILD_AGAIN}")


def _described(tensor: Tensor) -> str:
    limits = [list(each) for each in (tensor.least, tensor.usual, tensor.most)] if isinstance(tensor, Input) else []
    return " ".join((f"{tensor.dtype}{list(tensor.shape)}", *map(str, limits)))


def _identified(data: bytes) -> EngineFile:
    return EngineFile(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError as error:
        raise InvalidInput(
            f"version {version!r}: want numbers and dots: install a released TensorRT, CUDA and driver"
        ) from error


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Descriptor of a folder that nobody else can write. What is opened in it by name stays in it."""
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{folder}: no engine: {error.strerror}: run `alpamayo build` for this bundle") from error
    try:
        _check_owner(folder, os.fstat(directory))
        yield directory
    finally:
        os.close(directory)


def _read(directory: int, path: Path, limit: int | None) -> bytes:
    """The whole file of this name, or one byte more than `limit`. Raises InvalidInput for what is no file of ours."""
    try:
        # Non-blocking: a pipe of that name must not make us wait.
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}: want a file, and no link: {BUILD_AGAIN}") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput(f"{path}: want a file: {BUILD_AGAIN}")
        _check_owner(path, status)
        with open(file, "rb", closefd=False) as stream:
            return stream.read() if limit is None else stream.read(limit + 1)
    finally:
        os.close(file)


def _names(directory: int) -> set[str]:
    with os.scandir(directory) as entries:
        return {entry.name for entry in entries}


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        raise InvalidInput(
            f"{path} belongs to user {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}: "
            f"want user {os.geteuid()} or 0, and nobody else allowed to write: {BUILD_AGAIN} as this user, "
            f"or, if you know who wrote it, `chown {os.geteuid()} {path} && chmod o-w {path}`"
        )


def _check_listing(folder: Path, found: set[str], manifest: Manifest) -> None:
    wanted = {MANIFEST_FILE, *manifest.files}
    for kind, names in (("lacks", wanted - found), ("holds what the manifest does not list:", found - wanted)):
        if names:
            raise InvalidInput(f"{folder} {kind} {', '.join(sorted(names)[:3])}: {BUILD_AGAIN}")
