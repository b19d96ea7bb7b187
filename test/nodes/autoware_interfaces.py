"""Autoware's message packages as far as we publish them, made from their field lists and built like any interface package.

The lists are those of autoware_msgs@7025d8f and autoware_internal_msgs@1856e5b. Run as a program it prints what is published
(see `main`): the test's own process was started before the packages existed and cannot load them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BUILD = Path(__file__).parents[2] / "build"
POINT = """builtin_interfaces/Duration time_from_start
geometry_msgs/Pose pose
float32 longitudinal_velocity_mps
float32 lateral_velocity_mps
float32 acceleration_mps2
float32 heading_rate_rps
float32 front_wheel_angle_rad
float32 rear_wheel_angle_rad
"""
PACKAGES = {
    "autoware_planning_msgs": {
        "Trajectory": "std_msgs/Header header\nautoware_planning_msgs/TrajectoryPoint[] points\n",
        "TrajectoryPoint": POINT,
    },
    "autoware_internal_planning_msgs": {
        "CandidateTrajectories": "CandidateTrajectory[] candidate_trajectories\nGeneratorInfo[] generator_info\n",
        "CandidateTrajectory": "std_msgs/Header header\nunique_identifier_msgs/UUID generator_id\n"
        "autoware_planning_msgs/TrajectoryPoint[] points\n",
        "GeneratorInfo": "unique_identifier_msgs/UUID generator_id\nstd_msgs/String generator_name\n",
        "ScoredCandidateTrajectories": "ScoredCandidateTrajectory[] scored_candidate_trajectories\n"
        "GeneratorInfo[] generator_info\n",
        "ScoredCandidateTrajectory": "CandidateTrajectory candidate_trajectory\nfloat32 score\n",
    },
}
TOPICS = {
    "output/trajectory": "autoware_planning_msgs/Trajectory",
    "output/trajectories": "autoware_internal_planning_msgs/CandidateTrajectories",
    "output/scored_trajectories": "autoware_internal_planning_msgs/ScoredCandidateTrajectories",
}


def stand_ins(package: str) -> SimpleNamespace:
    """Message classes with these fields and no others, for tests of conversions without a build."""
    fields = {name: [line.split()[1] for line in text.splitlines()] for name, text in PACKAGES[package].items()}
    return SimpleNamespace(
        **{name: make_dataclass(name, [(each, Any, field(default=None)) for each in names]) for name, names in fields.items()}
    )


def missing_tool() -> str:
    """Why interface packages cannot be built here; empty when they can."""
    if not shutil.which("cmake"):
        return "interface packages are built with cmake, and there is none"
    wanted = Path("share") / "rosidl_default_generators" / "cmake"
    if not any((prefix / wanted).is_dir() for prefix in _prefixes()):
        return f"no rosidl_default_generators in {', '.join(map(str, _prefixes()))}"
    return ""


def environment_with(packages: Sequence[str]) -> dict[str, str]:
    """What to add to a process's environment so that it finds these packages, which are built on the first call."""
    folders = [built(package) for package in packages]
    python = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")  # noqa: TID251 - as ROS's setup files do
    return {
        "PYTHONPATH": ":".join(str(folder / python) for folder in folders),
        "LD_LIBRARY_PATH": ":".join([*(str(folder / "lib") for folder in folders), *filter(None, libraries)]),
    }


def built(package: str) -> Path:
    """Where the package is installed, a folder of build/ named by its content; built there unless it is there already."""
    depends = [built(other) for other in PACKAGES if f"{other}/" in "".join(PACKAGES[package].values()) and other != package]
    files = _source(package)
    key = hashlib.sha256(json.dumps([files, sys.prefix, sys.version, *map(str, depends)]).encode()).hexdigest()[:16]
    folder = BUILD / f"{package}-{key}"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name, text in files.items():
                (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "source" / name).write_text(text)
            _build(folder, [*depends, *_prefixes()])
            (folder / "complete").touch()
    return folder


def _prefixes() -> list[Path]:
    given = os.environ.get("AMENT_PREFIX_PATH", "").split(":")  # noqa: TID251 - where a sourced ROS 2 is
    return [Path(sys.prefix), *map(Path, filter(None, given))]


def _source(package: str) -> Mapping[str, str]:
    messages = PACKAGES[package]
    text = "".join(messages.values())
    known = ("builtin_interfaces", "geometry_msgs", "std_msgs", "unique_identifier_msgs", *PACKAGES)
    depends = [other for other in known if f"{other}/" in text and other != package]
    cmake = [
        f"cmake_minimum_required(VERSION 3.16)\nproject({package})\nfind_package(ament_cmake REQUIRED)",
        "find_package(rosidl_default_generators REQUIRED)",
        *(f"find_package({other} REQUIRED)" for other in depends),
        f"rosidl_generate_interfaces({package} {' '.join(f'msg/{name}.msg' for name in messages)}",
        f"  DEPENDENCIES {' '.join(depends)})\nament_package()",
    ]
    xml = [
        f'<package format="3"><name>{package}</name><version>0.0.0</version><description>for tests</description>',
        '<maintainer email="maintainers@alpamayo-ros.dev">alpamayo_ros</maintainer><license>Apache-2.0</license>',
        "<buildtool_depend>ament_cmake</buildtool_depend><buildtool_depend>rosidl_default_generators</buildtool_depend>",
        *(f"<depend>{other}</depend>" for other in depends),
        "<member_of_group>rosidl_interface_packages</member_of_group></package>",
    ]
    files = {"CMakeLists.txt": "\n".join(cmake), "package.xml": "\n".join(xml)}
    return files | {f"msg/{name}.msg": text for name, text in messages.items()}


def _build(folder: Path, prefixes: Sequence[Path]) -> None:
    python = ":".join(str(p) for prefix in prefixes for p in prefix.glob("lib/python3*/site-packages"))
    environment = os.environ | {  # noqa: TID251 - a child process inherits its parent's environment
        "AMENT_PREFIX_PATH": ":".join(map(str, prefixes)),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # noqa: TID251
        "PYTHONPATH": python,
    }
    configure = [
        *("cmake", "-S", str(folder / "source"), "-B", str(folder / "cmake"), "-Wno-dev"),
        *(f"-DCMAKE_INSTALL_PREFIX={folder}", f"-DCMAKE_PREFIX_PATH={';'.join(map(str, prefixes))}"),
        *(f"-DPython3_EXECUTABLE={sys.executable}", "-DPython3_FIND_VIRTUALENV=ONLY"),
    ]
    for command in (configure, ["cmake", "--build", str(folder / "cmake"), "--parallel", "2", "--target", "install"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def plain(value: Any) -> Any:
    """A message as what JSON can hold."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, list) else value


def main(node_name: str) -> None:
    """Print every message on a node's Autoware topics as one line of JSON: its topic and its fields."""
    import rclpy
    from rclpy.executors import ExternalShutdownException

    rclpy.init()
    node = rclpy.create_node("autoware_listener")
    for topic, kind in TOPICS.items():
        package, name = kind.split("/")

        def show(message: Any, topic: str = topic) -> None:
            print(json.dumps([topic, plain(message)]), flush=True)

        node.create_subscription(getattr(importlib.import_module(f"{package}.msg"), name), f"{node_name}/{topic}", show, 100)
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(node)


if __name__ == "__main__":
    main(sys.argv[1])
