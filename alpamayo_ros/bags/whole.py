"""Files and bags that are either complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from alpamayo_ros.types import InvalidInput


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """What is written gets the name `path` once all of it is on disk; until then a file of that name stays as it was.

    Raises OSError when the disk refuses.
    """
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


@contextmanager
def whole_bag(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path with the name of `out` in a hidden folder beside it: the bag written there takes the place of `out`.

    Whatever ends the `with` before deletes the hidden folder. Raises InvalidInput as `check_room` does, and OSError.
    """
    check_room(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        part, replaced = Path(folder) / out.name, Path(folder) / f"{out.name}-replaced"
        yield part
        check_room(out, overwrite)
        if out.exists():
            out.rename(replaced)
        part.rename(out)


def check_room(out: Path, overwrite: bool) -> None:
    """Raise InvalidInput unless a bag can be written as `out`: it does not exist, or is a bag and may be replaced."""
    if not out.exists():
        return
    if not overwrite:
        raise InvalidInput(f"{out} exists: choose another place or pass --overwrite")
    if not (out / "metadata.yaml").is_file():
        recordings = [*out.glob("*.mcap"), *out.glob("*.db3")]
        remedy = f"; it has {recordings[0].name}: `alpamayo recover {out} OUT` makes a bag of it" if recordings else ""
        raise InvalidInput(f"{out} exists and is not a bag: it is not deleted{remedy}")
