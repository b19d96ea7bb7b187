"""From the name of an engine to an engine: built-in names, bundle folders, and engines of your own.

`kinematic`                  the built-in baseline
`package.module:callable`    your own engine: a callable without arguments that returns one (see contract.py), found on
                             the import path of the engine's interpreter
a folder                     a model bundle: profile.yaml, config.json, model.safetensors or source.yaml, tokenizer.json
`folder@engine`              the same, run by one of ENGINES
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

ENGINES = ("eager", "graphed", "graphed-fp8", "tensorrt")
"""What runs a bundle: the reference, what says the same token for token, and what does so as far as its precision goes."""

BUNDLE_FILES = "profile.yaml, config.json, model.safetensors or source.yaml, tokenizer.json"


def open_engine(bundle: str) -> Engine:
    """Open an engine on this machine, in this process. Raises InvalidInput, or whatever an engine of your own raises."""
    if bundle in BUILT_IN:
        return BUILT_IN[bundle]()
    folder = bundle_folder(bundle)
    if folder is None:
        return _own_engine(bundle)()
    if bundle_engine(bundle) == "eager":
        from alpamayo_ros.engine.eager import EagerEngine  # torch takes a second to import, and only these engines need it

        return EagerEngine(folder)
    if bundle_engine(bundle) == "tensorrt":
        from alpamayo_ros.engine.tensorrt.engine import TensorRtEngine

        return TensorRtEngine(folder)
    if bundle_engine(bundle) == "graphed-fp8":
        from alpamayo_ros.engine.graphed.eight import EightBitEngine

        return EightBitEngine(folder)
    from alpamayo_ros.engine.graphed.engine import GraphedEngine

    return GraphedEngine(folder)


def bundle_folder(bundle: str) -> Path | None:
    """The folder that a name stands for, None for a built-in engine or one of your own. Raises InvalidInput for neither."""
    if bundle in BUILT_IN or ":" in bundle:
        return None
    bundle_engine(bundle)
    folder = Path(bundle.partition("@")[0])
    if not folder.is_dir():
        raise InvalidInput(
            f"no engine {bundle!r}: want one of {', '.join(BUILT_IN)}, package.module:callable, "
            f"or a bundle folder ({BUNDLE_FILES})"
        )
    return folder


def bundle_engine(bundle: str) -> str:
    """What runs a bundle's folder: what its name says behind an @, or the reference. Raises InvalidInput for another one."""
    _, at, engine = bundle.partition("@")
    if at and engine not in ENGINES:
        raise InvalidInput(
            f"no engine {engine!r} for a bundle: want FOLDER@ENGINE, one of {', '.join(ENGINES)}; got {bundle!r}"
        )
    return engine or "eager"


def bundle_name(bundle: str) -> str:
    """What a bundle is called where people read it: its folder's own name. Raises InvalidInput as `bundle_folder`."""
    folder = bundle_folder(bundle)
    return bundle if folder is None else folder.resolve().name  # also of "."


def resolved(bundle: str) -> str:
    """The same name for processes that work elsewhere. Raises InvalidInput as `bundle_folder`."""
    folder = bundle_folder(bundle)
    return bundle if folder is None else "@".join(filter(None, (str(folder.resolve()), bundle.partition("@")[2])))


def bundle_profile(bundle: str, otherwise: str = "seven_camera") -> InputProfile:
    """What the engine of this name expects to see: a folder's own profile, or `otherwise` for engines without one.

    Raises InvalidInput.
    """
    from alpamayo_ros.profile import read_profile  # pydantic takes longer to import than the engine's process to start

    folder = bundle_folder(bundle)
    return read_profile(otherwise if folder is None else str(folder / "profile.yaml"))


def bundle_action_space(bundle: str) -> ActionSpace:
    """What the engine's actions mean: a folder's own constants, the released ones for engines without a config.

    Raises InvalidInput, also for a bundle that is incomplete or does not fit together.
    """
    from alpamayo_ros.bundle.config import open_bundle

    folder = bundle_folder(bundle)
    return RELEASED if folder is None else open_bundle(folder)[1].action_space


def default_deadline_ms(bundle: str) -> float:
    """How long an answer may take before the engine counts as hung: 500 ms, 5 s for a bundle's network.

    Raises InvalidInput.
    """
    return 500.0 if bundle_folder(bundle) is None else 5000.0


def _own_engine(name: str) -> Callable[[], Engine]:
    module_name, _, callable_name = name.partition(":")
    try:
        found = getattr(import_module(module_name), callable_name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidInput(f"engine {name!r}: {error}") from error
    return cast("Callable[[], Engine]", found)
