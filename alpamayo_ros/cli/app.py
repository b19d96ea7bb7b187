"""What the commands share: the program that they are part of, and arguments that mean the same everywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import arg

Figures = dict[str, Any]
Rig = Annotated[str, arg(metavar="NAME|FILE", help="rig: a name from config/rigs or a .yaml file")]
Bundle = Annotated[str, arg(metavar="NAME|DIR", help="a built-in engine (kinematic) or a model bundle's folder")]
Base = Annotated[
    Path | None,
    arg(metavar="DIR", help="bundle whose profile, config and tokenizer are used; none named: the shipped ar1_nano"),
]
Profile = Annotated[str, arg(metavar="NAME|FILE", help="input profile for a built-in engine")]

MISSING = {
    "rclpy": "source your ROS 2 installation",
    "alpasim_grpc": "it is part of AlpaSim's checkout, pip install <alpasim>/src/grpc",
} | {
    library: f'pip install "alpamayo_ros[{extra}]"'
    for extra, libraries in {
        "evaluation": ("matplotlib", "jinja2", "av", "PIL", "rerun"),
        "simulation": ("highway_env", "shapely"),
        "alpasim": ("grpc",),
        "ray": ("ray",),
        "physical_ai_av": ("pyarrow",),
        "training": ("tensorboard", "peft"),
    }.items()
    for library in libraries
}
"""What to do about a library that only some commands need."""

app = tyro.extras.SubcommandApp()


def shipped_nano() -> Path:
    """The bundle that comes with the package, wherever the command is typed."""
    from alpamayo_ros.profile import shared_files

    return shared_files() / "models" / "ar1_nano"


def endpoint_key(variable: str) -> str:
    """The key that an environment variable holds, none where none is named. Raises InvalidInput for one that is not there."""
    from alpamayo_ros.types import InvalidInput

    key = os.getenv(variable) if variable else ""
    if key is None:
        raise InvalidInput(f"no environment variable {variable}: it is to hold the endpoint's key")
    return key


def unless_failed(figures: Figures, *, failed: bool) -> Figures:
    """The figures; what failed says them, too, and ends with status 1."""
    if failed:
        print(json.dumps(figures))
        raise SystemExit(1)
    return figures


def make_room(folder: Path, overwrite: bool) -> None:
    """Make the parents of a folder that must not exist yet; with `overwrite`, delete an older bag there."""
    import shutil

    from alpamayo_ros.bags.whole import check_room

    check_room(folder, overwrite)
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
