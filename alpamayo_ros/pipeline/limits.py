"""A YAML file -> the limits of the checks; what the file leaves out keeps its default."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from alpamayo_ros.profile import Described, read_described
from alpamayo_ros.safety.limits import LIMITS, Limit, Limits
from alpamayo_ros.types import InvalidInput

_Number = Annotated[float, Field(strict=True)]


class LimitLine(Described):
    """One limit of a file: null is no such level, and what is not said keeps its default."""

    warn: _Number | None = None
    reject: _Number | None = None
    shadow: Annotated[bool, Field(strict=True)] = False


class LimitsFile(Described):
    """A file of limits: config/safety.yaml explains it."""

    vehicle: dict[str, _Number] = Field(default_factory=dict)
    limits: dict[str, LimitLine] = Field(default_factory=dict)


def read_limits(path: Path) -> Limits:
    """The defaults with a file's numbers in their place; a limit whose numbers changed has the file as its source.

    Raises InvalidInput, which names the file, for a key that does not exist and for numbers that make no sense: NaN, negative,
    a warning beyond its rejection, more than a ceiling.
    """
    said = read_described(LimitsFile, path)
    known = {field.name: getattr(LIMITS, field.name) for field in fields(Limits)}
    limits = {name: value for name, value in known.items() if isinstance(value, Limit)}
    _refuse_unknown(path, "limits", set(said.limits) - set(limits), sorted(limits))
    _refuse_unknown(path, "vehicle", set(said.vehicle) - (set(known) - set(limits)), sorted(set(known) - set(limits)))
    changed: dict[str, Any] = {name: _changed(limits[name], line, path.name) for name, line in said.limits.items()}
    try:
        return replace(LIMITS, **(changed | said.vehicle))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def _refuse_unknown(path: Path, section: str, unknown: set[str], known: list[str]) -> None:
    if unknown:
        raise InvalidInput(f"{path}: {section}: no {', '.join(sorted(unknown))}, want any of {', '.join(known)}")


def _changed(default: Limit, line: LimitLine, file: str) -> Limit:
    numbers: dict[str, Any] = {name: getattr(line, name) for name in line.model_fields_set}
    said = replace(default, **numbers)
    same = (said.warn, said.reject) == (default.warn, default.reject)
    return said if same else replace(said, source=file)
