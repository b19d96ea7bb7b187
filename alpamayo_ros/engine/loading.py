"""From the name of an engine to an engine: built-in names, bundle folders, and engines of your own.

`kinematic`                  the built-in baseline
`package.module:callable`    your own engine: a callable without arguments that returns one (see contract.py), found on
                             the import path of the engine's interpreter
a folder                     a model bundle: profile.yaml, config.json, model.safetensors or source.yaml, tokenizer.json
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alpamayo_ros.engine.contract import Engine, Weights
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from alpamayo_ros.profile import InputProfile

BUILT_IN: dict[str, type[KinematicEngine]] = {"kinematic": KinematicEngine}

BUNDLE_FILES = "profile.yaml, config.json, model.safetensors or source.yaml, tokenizer.json"


def open_engine(bundle: str) -> Engine:
    """Open an engine on this machine, in this process. Raises InvalidInput, or whatever an engine of your own raises."""
    if bundle in BUILT_IN:
        return BUILT_IN[bundle]()
    if ":" in bundle:
        return _own_engine(bundle)()
    raise _folder_refused(bundle) if Path(bundle).is_dir() else _name_refused(bundle)


def bundle_profile(bundle: str, otherwise: str = "seven_camera") -> InputProfile:
    """What the engine of this name expects to see: a folder's own profile, or `otherwise` for engines without one.

    Raises InvalidInput.
    """
    from alpamayo_ros.profile import read_profile  # pydantic takes longer to import than the engine's process to start

    if Path(bundle).is_dir() and bundle not in BUILT_IN:
        return read_profile(str(Path(bundle) / "profile.yaml"))
    if bundle not in BUILT_IN and ":" not in bundle:
        raise _name_refused(bundle)
    return read_profile(otherwise)


def bundle_weights(bundle: str) -> Weights:
    """Where the weights of a built-in engine come from; any other engine says so once it is open. Raises InvalidInput."""
    if bundle not in BUILT_IN:
        raise _name_refused(bundle)
    return BUILT_IN[bundle].weights


def _own_engine(name: str) -> Callable[[], Engine]:
    module_name, _, callable_name = name.partition(":")
    try:
        found = getattr(import_module(module_name), callable_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidInput(f"engine {name!r}: {error}") from error
    return cast("Callable[[], Engine]", found)


def _folder_refused(bundle: str) -> InvalidInput:
    missing = [name for name in ("profile.yaml", "config.json", "tokenizer.json") if not (Path(bundle) / name).is_file()]
    return InvalidInput(
        f"{bundle}: model bundles cannot be opened yet; a bundle folder holds {BUNDLE_FILES}"
        + (f", this one lacks {', '.join(missing)}" if missing else "")
    )


def _name_refused(bundle: str) -> InvalidInput:
    return InvalidInput(
        f"no engine {bundle!r}: want one of {', '.join(BUILT_IN)}, package.module:callable, or a bundle folder ({BUNDLE_FILES})"
    )
