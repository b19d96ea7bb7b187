"""Folders of data sets: what they have, and files in them that other files name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from alpamayo_ros.types import InvalidInput

LISTED = 20


def has(folder: Path) -> str:
    """The first names in a folder, in words, for a refusal that says what was found instead."""
    return listed(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else "nothing: it does not exist"


def listed(names: list[str]) -> str:
    """The first of some names, in words."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more or "nothing"


def below(folder: Path, name: str) -> Path:
    """The file that a data set's own table names. Raises InvalidInput for a name that leads out of the folder.

    Only the name is looked at: where images lie on another disk, links lead there.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise InvalidInput(f"{folder}: a table names the file {name!r}, want a path below the folder")
    return folder / parts
