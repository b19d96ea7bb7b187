"""The dependency rule of the README, read from the imports of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alpamayo_ros"

VALUES = {"types", "profile"}
ROOTS = {"geometry", "cameras", "dynamics", "reasoning", "bags", "drawing"}
NUMPY_ROOTS = {"types", "geometry", "dynamics", "reasoning"}
MAY_IMPORT = {
    "types": set(),
    "profile": VALUES,
    **dict.fromkeys(ROOTS, VALUES | ROOTS),
    "bundle": VALUES | ROOTS,
    "model": VALUES | ROOTS | {"bundle"},
    "engine": VALUES | ROOTS | {"bundle", "model"},
    "safety": NUMPY_ROOTS,
    "pipeline": VALUES | ROOTS | {"bundle", "model", "engine", "safety"},
    "nodes": VALUES | ROOTS | {"bundle", "engine", "safety", "pipeline"},
    "evaluation": VALUES | ROOTS | {"bundle", "model", "engine", "safety", "pipeline", "nodes.client"},
    "simulation": VALUES | ROOTS | {"bundle", "model", "engine", "safety", "pipeline", "evaluation", "nodes.client"},
    "training": VALUES | ROOTS | {"bundle", "model", "engine", "safety", "pipeline", "evaluation", "simulation"},
}
ROS = {
    "rclpy",
    "builtin_interfaces",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_srvs",
    "tf2_msgs",
}
ROOMS_OF_LIBRARY = {library: frozenset({"nodes"}) for library in ROS} | {
    "tensorrt": {"engine"},
    "torch": {"model", "engine", "training"},
    "safetensors": {"engine"},
    "huggingface_hub": {"bundle"},
    "rosbags": {"bags"},
    "grpc": {"simulation"},
    "highway_env": {"simulation"},
    "shapely": {"simulation"},
}


def imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a line points"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def breaches(room: str, source: str) -> list[str]:
    found = []
    for name in imports_of(source):
        top, *rest = name.split(".")
        if top == "alpamayo_ros":
            allowed = MAY_IMPORT[room] | {room} | ({"msg"} if room == "nodes" else set())
            if rest and rest[0] not in allowed and ".".join(rest[:2]) not in allowed:
                found.append(f"{room} imports {name}")
        elif room not in ROOMS_OF_LIBRARY.get(top, {room}):
            found.append(f"{room} imports {top}")
        elif room in NUMPY_ROOTS | {"safety"} and top not in sys.stdlib_module_names | {"numpy"}:
            found.append(f"{room} imports {top}: numpy only")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room not in ("cli", "__init__"):  # cli composes everything; the package itself stays empty
        assert breaches(room, path.read_text()) == []


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("pipeline", "import rclpy"),
        ("nodes", "from alpamayo_ros.evaluation import replay"),
        ("evaluation", "from alpamayo_ros.nodes import planner_node"),
        ("engine", "from alpamayo_ros.pipeline.observe import observe"),
        ("dynamics", "import scipy"),
        ("nodes", "import torch"),
        ("bundle", "import torch"),
        ("profile", "from alpamayo_ros.bundle.folder import read_bundle"),
    ],
)
def test_the_rule_can_be_broken(room: str, line: str) -> None:
    assert breaches(room, line)


def test_the_package_itself_is_empty() -> None:
    assert (PACKAGE / "__init__.py").read_text() == "", "the generated alpamayo_ros.msg lands beside our modules"
    assert not (PACKAGE / "msg").exists()


def test_help_imports_no_heavy_library() -> None:
    """`alpamayo --help` answers at once: each command imports what it needs inside its function."""
    code = (
        "import sys\nfrom alpamayo_ros.cli import main\nsys.argv = ['alpamayo', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "heavy = {'torch', 'rclpy', 'ray', 'cv2', 'rosbags', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, f'imported {heavy}'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "make-bag" in done.stdout
