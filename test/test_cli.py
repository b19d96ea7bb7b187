"""The installed `alpamayo` program: its last line is JSON, its refusals are one line, and it gives the same twice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nodes.planner_harness import small_profile, small_rig
from typed import typed

from alpamayo_ros.nodes.client import executable
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import ROLES

PROGRAM = executable("planner_node").parents[2] / "bin" / "alpamayo"


@dataclass(frozen=True)
class Place:
    """A folder with a small rig, a profile with a short window, and a bag of one second of each of two seeds."""

    folder: Path

    @property
    def bag(self) -> Path:
        return self.folder / "bag"

    @property
    def vehicle(self) -> list[str]:
        """Options of every command that plans."""
        return ["--rig", str(self.folder / "rig.yaml"), "--profile", str(self.folder / "profile.yaml")]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def figures(*arguments: object, cwd: Path) -> dict[str, Any]:
    """What a command that must succeed says in its last line."""
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(said, dict)
    return said


Ran = Callable[..., dict[str, Any]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    """The same in this process, of a command that another test runs in its own."""

    def ran(*arguments: object, cwd: Path) -> dict[str, Any]:
        monkeypatch.chdir(cwd)
        said = typed(monkeypatch, capsys, *arguments)
        assert said.status == 0, said.err
        found = json.loads(said.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    return ran


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that must be refused says."""

    def said(*arguments: object, cwd: Path) -> str:
        monkeypatch.chdir(cwd)
        status, out, err = typed(monkeypatch, capsys, *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert err.startswith("alpamayo: ")
        return err

    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("cli")
    small_rig(folder)
    small_profile(folder)
    for seed, name in enumerate(("bag", "other_bag")):
        made = figures("make-bag", name, "--rig", "rig.yaml", "--duration-s", 1, "--seed", seed, cwd=folder)
        # 7 cameras at 10 Hz with a camera_info each; odometry with its /tf, and ego signals, at 50 Hz; one /tf_static
        assert (made["messages"], made["duration_s"]) == (7 * 10 * 2 + 50 * 3 + 1, 1.0)
        assert made["bytes"] == sum(file.stat().st_size for file in (folder / name).iterdir())
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("not a bag")
    return Place(folder)


def test_doctor_finds_all_seven_cameras_of_a_made_bag_and_nothing_wrong(place: Place) -> None:
    said = figures("doctor", "bag", "--rig", "rig.yaml", "--out", "doctor", cwd=place.folder)
    assert tuple(said["roles"]) == ROLES
    assert said["problems"] == []
    assert [Path(place.folder, file).stat().st_size > 0 for file in said["files"]] == [True]


def test_plan_says_whose_weights_planned_and_draws_a_picture(place: Place) -> None:
    said = figures("plan", "--bag", place.bag, "--at", 0.7, *place.vehicle, "--out", "plan", cwd=place.folder)
    assert said["weights"] == "none"
    assert said["ade_m"] is None, "6.4 s ahead are not in a bag of 1 s"
    assert said["latency_ms"] > 0
    assert [Path(place.folder, file).stat().st_size > 0 for file in said["files"]] == [True]


def test_a_bundle_plans_prints_and_answers(place: Place, here: Ran) -> None:
    """The README's commands, on a small rig and 3 s: the window of `ar1_nano` is 2 s long."""
    nano = shared_files() / "models" / "ar1_nano"
    here("make-bag", "longer", "--rig", "rig.yaml", "--duration-s", 3, cwd=place.folder)
    asked = ("plan", "--bag", "longer", "--at", 2.5, "--bundle", nano, "--rig", "rig.yaml")
    done = run(*asked, "--samples", 2, "--route", "turn_left 40 Main St", "--guidance", 2, "--out", "nano", cwd=place.folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["weights"], said["candidates"]) == ("trained", 2)
    assert said["trace"] in done.stdout
    assert "│ 6.40 │" in done.stdout
    reply = here(*asked, "--ask", "Is the road clear?", "--max-tokens", 4, cwd=place.folder)
    assert reply["question"] == "Is the road clear?"
    assert isinstance(reply["answer"], str)


def test_replays_of_one_bag_are_the_same_and_of_another_bag_are_not(place: Place, here: Ran) -> None:
    one, same = (ran("replay", place.bag, *place.vehicle, cwd=place.folder) for ran in (figures, here))
    other = here("replay", "other_bag", *place.vehicle, cwd=place.folder)
    assert one["plans"] > 0
    assert one["plans"] + one["rejected"] == 10, "one cycle for each frame of the anchor camera"
    assert one == same
    assert len(one["sha256"]) == 64
    assert one["sha256"] != other["sha256"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("doctor no_bag", "no_bag: no such bag"),
        ("doctor empty", "empty: not a bag"),
        ("doctor notes.txt", "notes.txt: not a bag"),
        ("doctor bag --rig no_rig", "no rig 'no_rig'"),
        ("doctor bag --rig no_rig.yaml", "no_rig.yaml: no such file"),
        ("doctor --seconds 0", "want 0 < seconds"),
        ("replay no_bag", "no_bag: no such bag"),
        ("replay bag --bundle no_engine", "no engine 'no_engine'"),
        ("replay bag --profile no_profile", "no profile 'no_profile'"),
        ("plan --bag bag --at 1.5", "bag is 1.0 s long, got 1.5"),
        ("plan --bag bag --at 0.7 --guidance 2", "want --route as well"),
        ("plan --bag bag --at 0.7 --ask why --samples 2", "--ask goes without"),
        ("plan --bag bag --at 0.7 --route left", "route 'left': want MANEUVER METRES"),
        ("plan --bag bag --at 0.7 --ask why", "kinematic answers no questions"),
        ("make-bag bag --rig rig.yaml", "bag exists"),
        ("make-bag empty --rig rig.yaml --overwrite", "empty exists and is not a bag"),
        ("record bag", "bag exists"),
        ("info no_bundle", "no_bundle: no such bundle folder"),
        ("fetch empty", "profile.yaml: no such file"),
    ],
)
def test_wrong_input_ends_with_status_2_and_one_line(
    refusal: Callable[..., str], place: Place, arguments: str, words: str
) -> None:
    assert words in refusal(*arguments.split(), cwd=place.folder)


def test_the_installed_program_refuses_wrong_input_as_well(place: Place) -> None:
    done = run("replay", "no_bag", cwd=place.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("alpamayo: no_bag: no such bag.*\n", done.stderr)


@pytest.mark.parametrize("arguments", ["recover typo kept", "make-bag kept --duration-s -1", "convert typo kept --kind kitti"])
def test_nothing_is_overwritten_by_what_cannot_be_made(
    refusal: Callable[..., str], place: Place, tmp_path: Path, arguments: str
) -> None:
    shutil.copytree(place.bag, tmp_path / "kept")
    refusal(*arguments.split(), "--overwrite", cwd=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["kept"]
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == ["bag.mcap", "metadata.yaml"]


@pytest.mark.parametrize("arguments", ["--help", "doctor bag --out doctor"])
def test_a_reader_that_goes_away_is_no_traceback(place: Place, arguments: str) -> None:
    """As in `alpamayo X | head`."""
    command = [str(PROGRAM), *arguments.split()]
    with subprocess.Popen(command, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("library", "arguments", "remedy"),
    [
        ("rclpy", "doctor", "source your ROS 2 installation"),
        ("matplotlib", "evaluate bag", 'pip install "alpamayo_ros[evaluation]"'),
        ("rerun", "view bag --bundle kinematic --out view.rrd", 'pip install "alpamayo_ros[evaluation]"'),
        ("av", "view bag --bundle kinematic --out view.mp4", 'pip install "alpamayo_ros[evaluation]"'),
    ],
)
def test_a_library_that_is_not_here_is_named_with_its_remedy(place: Place, library: str, arguments: str, remedy: str) -> None:
    own = ["--rig", "rig.yaml", "--profile", "profile.yaml"] if arguments != "doctor" else []
    code = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = ['alpamayo', *{[*arguments.split(), *own]!r}];"
        "from alpamayo_ros.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"needs {library}, which is not here: {remedy}" in done.stderr
