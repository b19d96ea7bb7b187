"""Where the figures of an evaluation come from: code, libraries, bundles, rig, profile and accelerator, as words and hashes.

What is here is the same in every run on one machine with the same files. Hashes are SHA-256.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import CancelledError
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event

from alpamayo_ros import types
from alpamayo_ros.bundle.folder import read_bundle
from alpamayo_ros.engine.loading import BUILT_IN, bundle_folder, bundle_profile
from alpamayo_ros.evaluation.openloop.results import Setup
from alpamayo_ros.profile import Described, InputProfile, read_rig
from alpamayo_ros.types import InvalidInput

GIT = "git"
LIBRARIES = ("numpy", "opencv-python-headless", "simplejpeg", "rosbags", "torch")
"""Those that pixels, messages and plans go through."""

_NOT_ASKED = ("cli", "nodes", "simulation", "training", "evaluation/report", "evaluation/viewing", "evaluation/conversion")
"""Of the package: neither plans nor their figures go through it."""

_PACKAGE = Path(types.__file__).resolve().parent  # of the sources, where they are linked to
_CHUNK = 1 << 20
_NEVER = Event()


def provenance(setup: Setup) -> dict[str, str]:
    """By name, what an evaluation was made with. Raises InvalidInput for a rig, profile or bundle that cannot be read."""
    return {
        **of_code(),
        GIT: git_state(_PACKAGE),
        "gpu": gpu(),
        **of_inputs(setup),
        **{f"bundle {bundle}": bundle_sha256(bundle) for bundle in setup.bundles},
    }


def of_code() -> dict[str, str]:
    """Version of this package, hash of its sources that plans and figures go through, versions of interpreter and LIBRARIES."""
    return {
        "alpamayo_ros": _version("alpamayo_ros"),
        "code": files_sha256(_PACKAGE, (path for path in _PACKAGE.rglob("*.py") if not _is_elsewhere(path))),
        "python": platform.python_version(),
        **{library: _version(library) for library in LIBRARIES},
    }


def of_inputs(setup: Setup) -> dict[str, str]:
    """Hashes of the rig and of each bundle's profile. Raises InvalidInput."""
    of_bundles = {f"profile of {bundle}": profile for bundle, profile in profiles(setup).items()}
    return {name: described_sha256(said) for name, said in {f"rig {setup.rig}": read_rig(setup.rig), **of_bundles}.items()}


def profiles(setup: Setup) -> dict[str, InputProfile]:
    """By bundle. A built-in engine takes what it is given: the profile of the first folder, where there is one.

    Raises InvalidInput.
    """
    folder = next((bundle for bundle in setup.bundles if bundle_folder(bundle) is not None), None)
    sees = {bundle: folder if bundle in BUILT_IN and folder is not None else bundle for bundle in setup.bundles}
    return {bundle: bundle_profile(whose, setup.profile) for bundle, whose in sees.items()}


def _is_elsewhere(path: Path) -> bool:
    return any(path.is_relative_to(_PACKAGE / part) for part in _NOT_ASKED)


def git_state(folder: Path) -> str:
    """Commit of the checkout that a folder lies in, and whether files of that folder differ; or that it lies in none."""
    commit = _said(["git", "-C", str(folder), "rev-parse", "HEAD"])
    changes = _said(["git", "-C", str(folder), "status", "--porcelain", "--", "."])
    if commit is None or changes is None:
        return "not a checkout"
    return f"{commit} ({f'{len(changes.splitlines())} files changed' if changes else 'clean'})"


def gpu() -> str:
    """Names and driver of this machine's NVIDIA GPUs; "none" without them."""
    said = _said(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    return "; ".join(said.splitlines()) if said else "none"


def bundle_sha256(bundle: str) -> str:
    """Hash of the files of a bundle that its plans depend on, engines included. Raises InvalidInput.

    Built-in engines and engines of your own have no files: "built in" says that the code is what counts, of which the
    package's own is hashed.
    """
    folder = bundle_folder(bundle)
    if folder is None:
        return "built in" if ":" not in bundle else "your own code"
    names = {"profile.yaml", "source.yaml", "rig.yaml", "backbone.json", *read_bundle(folder).present}
    present = [folder / name for name in names if (folder / name).is_file()]
    return files_sha256(folder, [*present, *(path for path in folder.glob("engines/**/*") if path.is_file())])


def bag_sha256(bag: Path, stopped: Event = _NEVER) -> str:
    """Hash of a rosbag2 folder's files, or of a bag that is one file. Raises InvalidInput when there is none.

    Raises CancelledError soon after `stopped` is set.
    """
    files = _bag_files(bag)
    return files_sha256(files[0].parent, files, stopped)


def bag_state(bag: Path) -> str:
    """Names, sizes and times of change of a bag's files: tells, without reading, that it is the same. Raises InvalidInput."""
    states = ((path.name, path.stat()) for path in _bag_files(bag))
    return ", ".join(f"{name} {state.st_size} bytes {state.st_mtime_ns} ns" for name, state in states)


def _bag_files(bag: Path) -> list[Path]:
    files = sorted(path for path in bag.iterdir() if path.is_file()) if bag.is_dir() else [bag]
    if not files or not files[0].is_file():
        raise InvalidInput(f"{bag}: no such bag")
    return files


def files_sha256(root: Path, files: Iterable[Path], stopped: Event = _NEVER) -> str:
    """Hash over the names below `root` and the contents of files, in the order of their names; `stopped` as in `bag_sha256`."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.relative_to(root).as_posix()}\0{file_sha256(path, stopped)}\n".encode())
    return total.hexdigest()


def described_sha256(described: Described) -> str:
    """Hash of what a rig or profile says, whatever file it stands in."""
    return hashlib.sha256(described.model_dump_json().encode()).hexdigest()


def file_sha256(path: Path, stopped: Event = _NEVER) -> str:
    """Hash of a file's content; `stopped` as in `bag_sha256`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if stopped.is_set():
                raise CancelledError
            digest.update(chunk)
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _said(command: list[str]) -> str | None:
    """What a program says; None where there is no such program or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
