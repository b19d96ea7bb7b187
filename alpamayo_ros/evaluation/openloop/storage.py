"""Evaluations as files: a bag's windows as .json with .npz beside it, an evaluation's figures as evaluation.json.

Every value is written and read by its own type hints, so a file holds exactly the fields of results.py and summary.py, in
their order. Numbers survive to the bit, and the same value gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Coverage, Evaluation, Measurement, Setup
from alpamayo_ros.evaluation.openloop.summary import Column, Judged, Summary, Timing, columns
from alpamayo_ros.types import InvalidInput

VERSION = 2
"""Of all these files; raised whenever a field changes its name or meaning."""

Array = NDArray[Any]
Value = TypeVar("Value")


@dataclass(frozen=True)
class BagFigures:
    """One bag of evaluation.json: columns have a value per window, in order of t0."""

    bag: str
    sha256: str
    start_ns: int
    duration_s: float
    weights: Mapping[str, str]
    coverage: Coverage
    t0_ns: tuple[int, ...]
    clip: tuple[str, ...]
    driven_points: tuple[int, ...]  # how many points of the driven future are known
    sync_error_ms: tuple[float, ...]
    metrics: Mapping[str, Mapping[str, Column]]  # by contender, by metric


@dataclass(frozen=True)
class EvaluationFile:
    """evaluation.json: all that does not vary from run to run."""

    version: int
    setup: Setup
    provenance: Mapping[str, str]
    broken: Mapping[str, str]
    windows: int
    clips: int
    whole: int
    contenders: tuple[Judged, ...]
    bags: tuple[BagFigures, ...]


@dataclass(frozen=True)
class TimingFile:
    """timing.json: what varies from run to run."""

    version: int
    measured: Mapping[str, Measurement]  # by bag: stored times are as old as the bag's evaluation
    seconds: Mapping[str, float]  # that the parts of this run took
    contenders: Mapping[str, Timing]


@dataclass(frozen=True)
class _BagFile:
    """The .json of a bag; the numbers of arrays are in the .npz: here is where each begins, and its shape."""

    version: int
    key: str  # what the evaluation depends on: see fan_out.py
    arrays_sha256: str  # of the .npz
    measured: Measurement
    evaluation: BagEvaluation


def evaluation_file(evaluation: Evaluation, summary: Summary) -> EvaluationFile:
    """What evaluation.json holds."""
    bags = tuple(_bag_figures(bag) for bag in evaluation.bags)
    counts = summary.windows, summary.clips, summary.whole
    return EvaluationFile(
        VERSION, evaluation.setup, evaluation.provenance, evaluation.broken, *counts, summary.contenders, bags
    )


def _bag_figures(bag: BagEvaluation) -> BagFigures:
    return BagFigures(
        bag=bag.bag,
        sha256=bag.sha256,
        start_ns=bag.start_ns,
        duration_s=bag.duration_s,
        weights=bag.weights,
        coverage=bag.coverage,
        t0_ns=tuple(window.t0_ns for window in bag.windows),
        clip=tuple(window.clip for window in bag.windows),
        driven_points=tuple(len(window.driven.xyz) for window in bag.windows),
        sync_error_ms=tuple(window.sync_error_ms for window in bag.windows),
        metrics={contender: columns(bag.windows, contender) for contender in bag.weights},
    )


def write_file(value: object, path: Path) -> None:
    """Write a value as JSON, whole or not at all; arrays as lists."""
    with whole_file(path) as file:
        file.write((_pretty(to_json(value, lambda array: array.tolist())) + "\n").encode())


def read_file(kind: type[Value], path: Path) -> Value:
    """Read what `write_file` wrote. Raises InvalidInput that names the file and the keys that are missing or unknown."""
    return from_json(kind, _of_this_version(path), np.array, str(path))


def write_bag(evaluation: BagEvaluation, key: str, measured: Measurement, stem: Path) -> None:
    """Write <stem>.npz and <stem>.json. The .json comes last: without it there is no stored bag."""
    json_path, npz_path = _files(stem)
    json_path.unlink(missing_ok=True)
    flat: dict[str, list[Array]] = {"float32": [], "float64": []}
    ends = dict.fromkeys(flat, 0)
    starts: dict[tuple[str, bytes], int] = {}  # the same numbers are kept once: times, the candidate that was chosen

    def keep(array: Array) -> list[int]:
        kind = array.dtype.name
        start = starts.setdefault((kind, hashlib.sha256(array.tobytes()).digest()), ends[kind])
        if start == ends[kind]:
            flat[kind].append(array.ravel())
            ends[kind] += array.size
        return [start, *array.shape]

    stored = to_json(_BagFile(VERSION, key, "", measured, evaluation), keep)
    with whole_file(npz_path) as file:
        np.savez(file, float32=_joined(flat["float32"], np.float32), float64=_joined(flat["float64"], np.float64))
    stored["arrays_sha256"] = file_sha256(npz_path)
    with whole_file(json_path) as file:
        file.write(json.dumps(stored, allow_nan=False, separators=(",", ":")).encode())


def _joined(parts: list[Array], kind: type) -> Array:
    return np.concatenate([np.empty(0, kind), *parts])


def _files(stem: Path) -> tuple[Path, Path]:
    return stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.npz")


def stored_key(stem: Path) -> str | None:
    """The key that a bag was stored with, None where none is stored whole by this version."""
    json_path, npz_path = _files(stem)
    try:
        stored = _of_this_version(json_path)
        whole = stored["arrays_sha256"] == file_sha256(npz_path)
        return str(stored["key"]) if whole else None
    except (InvalidInput, OSError, KeyError):
        return None


def read_bag(stem: Path) -> tuple[BagEvaluation, Measurement]:
    """Read what `write_bag` wrote, equal to the bit. Raises InvalidInput."""
    json_path, npz_path = _files(stem)
    try:
        with npz_path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            flat = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise InvalidInput(f"{npz_path}: not the arrays of {json_path.name}: {error}") from error

    def take(place: Any, dtype: np.dtype[Any]) -> Array:
        start, *shape = place
        size = int(np.prod(shape))
        whole = flat.get(dtype.name, np.empty(0))
        if start + size > len(whole):
            raise InvalidInput(f"{npz_path}: {json_path.name} wants {start + size} numbers of {dtype}, it has {len(whole)}")
        part: Array = whole[start : start + size].reshape(shape)
        return part

    stored = from_json(_BagFile, _of_this_version(json_path), take, str(json_path))
    return stored.evaluation, stored.measured


def to_json(value: object, keep: Callable[[Array], Any]) -> Any:
    """A value of frozen dataclasses, tuples and mappings as JSON's own types; `keep` says what stands for an array."""
    if isinstance(value, np.ndarray):
        return keep(value)
    if is_dataclass(value) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return {name: to_json(getattr(value, name), keep) for name in _hints(value.__class__)}
    if isinstance(value, Mapping):
        return {name: to_json(part, keep) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(part, keep) for part in value]
    return value


def from_json(kind: type[Value], data: Any, take: Callable[[Any, np.dtype[Any]], Array], where: str) -> Value:
    """The value of a type that `to_json` turned into `data`; `take` finds an array by what stands for it.

    Raises InvalidInput that says where in `data` what was expected.
    """
    read: Value = _read(kind, data, take, where)
    return read


def _read(kind: Any, data: Any, take: Callable[[Any, np.dtype[Any]], Array], where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        some = [part for part in inner if part is not NoneType]
        if data is None and len(some) < len(inner):
            return None
        kind = some[0] if len(some) == 1 else Literal[tuple(chain(*map(get_args, some)))]
        return _read(kind, data, take, where)
    if origin is np.ndarray:
        _check(isinstance(data, list), where, "a list", data)
        return take(data, np.dtype(get_args(inner[1])[0]))
    if origin is Literal:
        _check(data in inner, where, f"one of {', '.join(map(str, inner))}", data)
        return data
    if origin is tuple:
        _check(isinstance(data, list) and (inner[-1] is Ellipsis or len(data) == len(inner)), where, str(kind), data)
        parts = [inner[0]] * len(data) if inner[-1] is Ellipsis else inner
        return tuple(_read(part, item, take, f"{where}[{i}]") for i, (part, item) in enumerate(zip(parts, data, strict=True)))
    if origin is not None and issubclass(origin, Mapping):
        _check(isinstance(data, dict), where, "an object", data)
        return {name: _read(inner[1], part, take, f"{where}.{name}") for name, part in data.items()}
    if kind in (str, int, float, bool):
        numbers = (int, float) if kind is float else kind
        _check(isinstance(data, numbers) and (kind is bool) == isinstance(data, bool), where, kind.__name__, data)
        return data
    hints = _hints(kind)
    _check(isinstance(data, dict), where, kind.__name__, data)
    if lacks := [name for name in hints if name not in data]:
        raise InvalidInput(f"{where} lacks {', '.join(lacks)}")
    if unknown := [name for name in data if name not in hints]:
        raise InvalidInput(f"{where} has {', '.join(unknown)}, which {kind.__name__} does not")
    return kind(**{name: _read(hint, data[name], take, f"{where}.{name}") for name, hint in hints.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Fields of a dataclass or NamedTuple, with their types."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields  # type: ignore[attr-defined]
    return {name: hints[name] for name in names}


def _check(fits: bool, where: str, wanted: str, got: object) -> None:
    if not fits:
        raise InvalidInput(f"{where}: want {wanted}, got {str(got)[:80]}")


def _of_this_version(path: Path) -> dict[str, Any]:
    stored = read_json(path)
    if stored.get("version") != VERSION:
        raise InvalidInput(f"{path}: want version {VERSION}, got {stored.get('version')}")
    return stored


def _pretty(value: Any) -> str:
    """JSON with a line per key, and lists of numbers on one line."""
    return "".join(_lines(value, "\n"))


def _lines(value: Any, newline: str) -> Iterator[str]:
    deeper = newline + " "
    if isinstance(value, dict) and value:
        yield "{"
        for i, (name, part) in enumerate(value.items()):
            yield f"{',' if i else ''}{deeper}{json.dumps(name)}: "
            yield from _lines(part, deeper)
        yield newline + "}"
    elif isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value):
        yield "["
        for i, part in enumerate(value):
            yield f"{',' if i else ''}{deeper}"
            yield from _lines(part, deeper)
        yield newline + "]"
    else:
        yield json.dumps(value, allow_nan=False)
