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

from alpamayo_ros.dynamics import RELEASED, ActionSpace
from alpamayo_ros.engine.contract import Engine
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
    if not Path(bundle).is_dir():
        raise _name_refused(bundle)
    from alpamayo_ros.engine.eager import EagerEngine  # torch takes a second to import, and only this engine needs it

    return EagerEngine(Path(bundle))


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


def bundle_action_space(bundle: str) -> ActionSpace:
    """What the engine's actions mean: a folder's own constants, the released ones for engines without a config.

    Raises InvalidInput.
    """
    from alpamayo_ros.bundle.config import read_config

    return read_config(Path(bundle)).action_space if Path(bundle).is_dir() and bundle not in BUILT_IN else RELEASED


def default_deadline_ms(bundle: str) -> float:
    """How long an answer may take before the engine counts as hung: 500 ms, 5 s for a bundle's network."""
    return 5000.0 if Path(bundle).is_dir() and bundle not in BUILT_IN else 500.0


def _own_engine(name: str) -> Callable[[], Engine]:
    module_name, _, callable_name = name.partition(":")
    try:
        found = getattr(import_module(module_name), callable_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidInput(f"engine {name!r}: {error}") from error
    return cast("Callable[[], Engine]", found)


def _name_refused(bundle: str) -> InvalidInput:
    return InvalidInput(
        f"no engine {bundle!r}: want one of {', '.join(BUILT_IN)}, package.module:callable, or a bundle folder ({BUNDLE_FILES})"
    )
