"""How the planner node starts, refuses to start, is taken through its states, survives its engine, and ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from engine.processes import gone
from lifecycle_msgs.msg import Transition
from nodes.planner_harness import (
    TEST_FOLDER,
    Vehicle,
    command,
    driving,
    fds,
    planner,
    small_profile,
    small_rig,
    threads,
)
from nodes.ros_harness import refused

from alpamayo_ros.nodes.messages import stamp_ns
from alpamayo_ros.simulation.faults.station import engines_of

pytestmark = [pytest.mark.ros, pytest.mark.patient]

PUPPET = "engine.own_engines:Driver"
ENDS_WITHIN_S = 3.0


def changed(folder: Path, file: str, old: str, new: str) -> Path:
    """A good rig and profile in a folder of their own, one word of one of them changed."""
    folder.mkdir()
    small_rig(folder)
    small_profile(folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder / file


START_REFUSALS = {
    "unknown parameter": ("rigg:=seven_camera", "unknown parameter 'rigg', did you mean 'rig'?"),
    "missing bundle": ("bundle:=models/nowhere", "no engine 'models/nowhere': want one of kinematic"),
    "empty bundle folder": ("bundle:={tmp}", "profile.yaml: no such file"),
    "more than the engine takes": ("bundle:=engine.own_engines:Picky samples:=5", "this engine takes 4 samples at most"),
    "engine that does not open": ("bundle:=engine.own_engines:dies_opening", "ValueError: no such weights"),
    "unknown role": ("rig:={role}", "unknown camera role 'front_telephoto'"),
    "camera too slow for the profile": ("rig:={slow}", "front_left at 1.5 Hz is too slow for frames 500 ms apart"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Exit status and last words of every start above, two at a time."""
    tmp = tmp_path_factory.mktemp("refused")
    files = {
        "tmp": tmp,
        "role": changed(tmp / "role", "rig.yaml", "front_tele:", "front_telephoto:"),
        "slow": changed(tmp / "slow", "rig.yaml", "rate_hz: 10.0", "rate_hz: 1.5"),
    }
    arguments = [argument.format(**files) for argument, _ in START_REFUSALS.values()]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("PYTHONPATH", str(TEST_FOLDER))
        done = pool.map(lambda given: refused("planner_node", *f"-p {' -p '.join(given.split())}".split()), arguments)
        return dict(zip(START_REFUSALS, done, strict=True))


@pytest.mark.parametrize("name", START_REFUSALS)
def test_a_wrong_start_is_refused_with_what_was_expected(refusals: dict[str, tuple[int, str]], name: str) -> None:
    status, last_words = refusals[name]
    assert status == 1
    assert START_REFUSALS[name][1] in last_words


def ends(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> int:
    """Exit status of a process that is asked to stop; its engine is gone then. Fails when it takes too long."""
    running = engines_of(process.pid)
    process.send_signal(with_signal)
    status = process.wait(ENDS_WITHIN_S)
    assert running, "an engine was there to be ended"
    assert all(map(gone, running))
    return status


def test_without_autostart_it_waits_for_the_services_and_may_go_round_again(tmp_path: Path) -> None:
    with planner(tmp_path, autostart=False) as (vehicle, process):
        counts = []
        for _ in range(2):
            assert engines_of(process.pid) == []
            assert vehicle.transition(Transition.TRANSITION_CONFIGURE)
            assert len(engines_of(process.pid)) == 1
            assert vehicle.transition(Transition.TRANSITION_ACTIVATE)
            assert vehicle.wait(vehicle.is_heard)
            vehicle.drive_until_plan()
            assert vehicle.transition(Transition.TRANSITION_DEACTIVATE)
            said = len(vehicle.plans.order)
            vehicle.tick()
            assert len(vehicle.plans.order) == said, "an inactive node plans nothing"
            assert vehicle.transition(Transition.TRANSITION_CLEANUP)
            counts.append((fds(process.pid), threads(process.pid)))
        assert counts[0] == counts[1], "file descriptors and threads"
        ids = [plan.plan_id for plan in vehicle.plans.trajectory]
        assert ids == sorted(set(ids)), "ids go on"

        rig = (tmp_path / "rig.yaml").read_text()
        (tmp_path / "rig.yaml").write_text(rig.replace("anchor: front_wide", "anchor: front_tall"))
        assert not vehicle.transition(Transition.TRANSITION_CONFIGURE)
        assert "anchor 'front_tall' is not among the cameras" in vehicle.log.read_text()
        assert engines_of(process.pid) == []
        (tmp_path / "rig.yaml").write_text(rig)
        assert vehicle.transition(Transition.TRANSITION_CONFIGURE), "a refusal leaves a node that can be asked again"
        assert vehicle.transition(Transition.TRANSITION_ACTIVATE)
        assert ends(process, signal.SIGTERM) == 0
        assert "Traceback" not in vehicle.log.read_text()


def test_it_can_be_stopped_while_a_large_model_loads(tmp_path: Path) -> None:
    with planner(tmp_path, bundle="engine.own_engines:slow_to_open") as (vehicle, process):
        assert vehicle.wait(lambda: bool(engines_of(process.pid)))
        assert ends(process, signal.SIGINT) == 0
        assert "Traceback" not in vehicle.log.read_text()


def test_a_2_hz_rig_with_10_hz_odometry_is_healthy_at_its_own_rate(tmp_path: Path) -> None:
    profile = {"frame_offsets_ms": [-1000, -500, 0], "history_steps": 11}
    with driving(tmp_path, camera_hz=2.0, odometry_hz=10.0, profile=profile) as (vehicle, process):
        for _ in range(3):
            vehicle.tick()
            assert vehicle.planned_at(vehicle.t0_ns), "every frame of the anchor gets its plan"
        assert "2.0 Hz" in vehicle.diagnostic("camera front_wide")
        assert {status.level for status in vehicle.plans.diagnostics.values()} == {b"\0"}, vehicle.plans.diagnostics
        assert vehicle.plans.values("camera front_wide")["missing"] == "0"
        assert ends(process, signal.SIGINT) == 0
        assert "Traceback" not in vehicle.log.read_text()


def reasons(vehicle: Vehicle) -> str:
    return "; ".join(vehicle.status_at(vehicle.t0_ns).reasons)


def test_it_can_be_stopped_while_an_engine_with_a_long_deadline_hangs(tmp_path: Path) -> None:
    with driving(tmp_path, bundle=PUPPET, deadline_ms=60_000.0, profile={"navigation": "text"}) as (vehicle, process):
        command(vehicle, "hang", for_ms=60_000)
        vehicle.tick()
        assert ends(process, signal.SIGINT) == 0
        assert "Traceback" not in vehicle.log.read_text()


@pytest.fixture(scope="module")
def puppet_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """A node whose profile takes navigation, and whose engine does what the road name says; for the rest of this module."""
    folder = tmp_path_factory.mktemp("puppet")
    with driving(folder, bundle=PUPPET, deadline_ms=300.0, profile={"navigation": "text"}) as (vehicle, process):
        yield vehicle, process


@pytest.fixture
def puppet(puppet_node: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    vehicle, process = puppet_node
    vehicle.drive_until_plan()
    yield vehicle
    assert process.poll() is None, "the node died"


def is_nonsense(vehicle: Vehicle) -> bool:
    """Whether the newest plan was what the command `nonsense` asks for."""
    return any(result.check == "V6" for result in vehicle.status_at(vehicle.t0_ns).findings)


def test_navigation_counts_until_it_expires(puppet: Vehicle) -> None:
    expires_ns = command(puppet, "nonsense", for_ms=1000)
    while puppet.next_t0_ns < expires_ns:
        puppet.tick()
        assert is_nonsense(puppet)
    puppet.tick()
    assert not is_nonsense(puppet)


def test_a_new_command_and_a_jump_of_the_clock_end_an_old_one(puppet: Vehicle) -> None:
    command(puppet, "nonsense", for_ms=60_000)
    puppet.tick()
    assert is_nonsense(puppet)
    command(puppet, "", for_ms=100)
    puppet.drive_until_plan()
    command(puppet, "nonsense", for_ms=60_000)
    puppet.jump(3.0)
    puppet.drive_until_plan()


@pytest.mark.parametrize(
    ("doing", "reason"),
    [
        ("crash", "ended with status 3"),
        ("hang", "no answer before the deadline"),
        ("junk", "nonsense from the engine"),
    ],
)
def test_an_engine_that_fails_costs_the_plans_it_was_asked_for_and_no_more(puppet: Vehicle, doing: str, reason: str) -> None:
    command(puppet, doing, for_ms=100)
    puppet.tick()
    assert reason in reasons(puppet)
    asked_at_ns = puppet.t0_ns
    again = puppet.drive_until_plan()
    assert stamp_ns(again.header.stamp) > asked_at_ns
    assert puppet.planned_at(asked_at_ns) is None


def test_an_engine_that_keeps_failing_is_given_up_and_comes_back_when_configured(puppet: Vehicle) -> None:
    command(puppet, "crash", for_ms=600_000)
    for _ in range(200):
        puppet.tick()
        puppet.pause(0.05)
        if "engine failed" in reasons(puppet):
            break
    said = puppet.diagnostic("engine", "given up, clean up and configure the node to try again")
    assert "ended with status 3" in said
    for transition in ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE"):
        assert puppet.transition(getattr(Transition, f"TRANSITION_{transition}"))
    assert puppet.wait(puppet.is_heard)
    puppet.drive_until_plan()
