"""The engine in its process: the same answers as in this one, refusals, and an end that leaves nothing behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine.observations import PROFILE, SECOND, frame, observation
from engine.processes import PATIENT_MS, PUPPET, gone, pid_of, soon, told, usual

from alpamayo_ros.engine import wire
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.keeper import Limits
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.engine.process import EngineProcess
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import EngineFailure, InvalidInput, Request


def test_the_answer_is_the_one_the_engine_gives_in_process(small_ring: FrameRing) -> None:
    seen, request = observation(), Request(samples=3)
    expected = KinematicEngine().infer(seen, request)
    with EngineClient("kinematic", PROFILE, small_ring, PATIENT_MS) as client:
        assert (client.weights, client.state, client.alive) == ("none", "ready", True)
        output = client.infer(seen, request)
    assert output.actions.tobytes() == expected.actions.tobytes()
    assert (output.texts, output.tokens, output.complete) == (expected.texts, expected.tokens, expected.complete)


def test_pixels_arrive_from_the_ring_from_another_ring_and_from_private_memory(
    puppet: EngineClient, small_ring: FrameRing
) -> None:
    other = FrameRing(PROFILE.image_shape, 24)
    for source in (small_ring, other, None):
        seen = observation(ring=source)
        assert puppet.infer(seen, Request()).texts == (usual(seen),)
    relabelled = {
        role: tuple(replace(f, epoch=4) for f in frames) for role, frames in observation(ring=small_ring).frames.items()
    }
    seen = replace(observation(), epoch=4, frames=relabelled)  # slots of this ring whose headers say something else
    assert puppet.infer(seen, Request()).texts == (usual(seen),)
    other.close()


def test_slots_are_free_again_after_a_request(puppet: EngineClient, small_ring: FrameRing) -> None:
    for _ in range(10):
        told(puppet)
    assert small_ring.free_slots == small_ring.slots


def test_hints_resets_and_requests_from_several_threads_do_not_disturb_each_other(
    puppet: EngineClient, small_ring: FrameRing
) -> None:
    done = threading.Event()

    def hint() -> None:
        while not done.is_set():
            puppet.add_frame(frame("front_tele", 1, 0, small_ring))
            puppet.reset(0)

    threads = [threading.Thread(target=hint) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = [observation(stamp_ns) for stamp_ns in range(3 * SECOND, 3 * SECOND + 30)]
    answers = [puppet.infer(one, Request()).texts[0] for one in seen]
    done.set()
    for thread in threads:
        thread.join()
    assert answers == [usual(one) for one in seen]
    assert puppet.restarts == 0


def test_the_child_imports_no_ros(puppet: EngineClient) -> None:
    modules = set(told(puppet, "modules").split())
    assert {"numpy", "alpamayo_ros"} <= modules
    assert not {name for name in modules if name.startswith(("rcl", "rosbag", "rosidl", "ament", "sensor_msgs", "std_msgs"))}


def test_another_interpreter_runs_this_package_with_its_own_numpy(small_ring: FrameRing, tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    packages = tmp_path / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    numpy_folder = Path(np.__file__).parent
    for folder in (numpy_folder, numpy_folder.with_name("numpy.libs")):
        (packages / folder.name).symlink_to(folder)
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, engine_python=str(tmp_path / "bin" / "python")) as client:
        prefix, numpy_file, our_file = json.loads(told(client, "interpreter"))
        assert prefix == str(tmp_path)
        assert numpy_file.startswith(str(packages))
        assert Path(our_file).samefile(Path(sys.modules[EngineClient.__module__].__file__ or "").with_name("wire.py"))
        assert "pydantic" not in told(client, "modules").split()


def test_the_child_does_not_import_from_the_working_directory(
    small_ring: FrameRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('this is not numpy')")
    monkeypatch.chdir(tmp_path)
    with EngineClient("kinematic", PROFILE, small_ring, PATIENT_MS) as client:
        assert client.alive


# Refusals, which the process survives


def test_an_engine_that_refuses_is_heard_and_goes_on(puppet: EngineClient) -> None:
    with pytest.raises(EngineFailure, match="out of luck"):
        told(puppet, "refuse")
    assert told(puppet) == usual(observation())
    assert puppet.restarts == 0


@pytest.mark.parametrize(
    ("say", "words"),
    [
        ("not_finite", "128 of 128 numbers are not finite"),
        ("too_short", r"want float32\(S, 64, 2\), got float32\(1, 63, 2\)"),
        ("another_sample", "2 samples where 1 were asked for"),
        ("wordless", "texts, token counts"),
    ],
)
def test_an_answer_that_cannot_be_one_is_a_failure(puppet: EngineClient, say: str, words: str) -> None:
    with pytest.raises(EngineFailure, match=words):
        told(puppet, say)
    assert told(puppet) == usual(observation())


def test_a_full_ring_and_a_wrong_image_are_failures_with_numbers(puppet: EngineClient, small_ring: FrameRing) -> None:
    held = [frame("front_wide", stamp_ns, 0, small_ring) for stamp_ns in range(20)]
    with pytest.raises(EngineFailure, match="none of the 24 slots"):
        told(puppet)
    del held
    told(puppet)
    seen = observation()
    small = replace(seen.frames["rear_tele"][0], image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(EngineFailure, match=r"rear_tele: image \(4, 4, 3\), the engine wants \(16, 24, 3\)"):
        puppet.infer(replace(seen, frames={"rear_tele": (small,)}), Request())


def test_a_client_that_cannot_work_is_refused(small_ring: FrameRing) -> None:
    small = FrameRing((8, 8, 3), 4)
    with pytest.raises(InvalidInput, match=r"\(8, 8, 3\).*seven_camera wants \(16, 24, 3\)"):
        EngineClient("kinematic", PROFILE, small, PATIENT_MS)
    with pytest.raises(InvalidInput, match="deadline_ms"):
        EngineClient("kinematic", PROFILE, small_ring, 0.0)
    small.close()


# An engine that does not open


def test_a_bundle_that_cannot_be_opened_is_refused_before_a_process_starts(small_ring: FrameRing) -> None:
    with pytest.raises(InvalidInput, match="no engine 'kinematik'"):
        EngineClient("kinematik", PROFILE, small_ring, PATIENT_MS)
    released = str(shared_files() / "models" / "alpamayo_r1_10b")
    with pytest.raises(InvalidInput, match=r"alpamayo_r1_10b lacks config.json, .*; run: alpamayo fetch .*alpamayo_r1_10b"):
        EngineClient(released, PROFILE, small_ring, PATIENT_MS)


def test_a_process_that_is_refused_its_engine_ends_without_a_traceback(small_ring: FrameRing) -> None:
    process = EngineProcess("kinematik", small_ring, "", ())
    told = list(iter(lambda: process.receive(10.0), b""))
    failures = [wire.decode(packet) for packet in told if packet and wire.decode(packet).kind == "failure"]
    assert [failure.fields["id"] for failure in failures] == [0]
    assert failures[0].fields["text"].startswith("no engine 'kinematik'")
    assert process.finish() == "the engine's process ended with status 1"


def test_an_engine_that_does_not_open_says_why_and_is_not_started_again(
    small_ring: FrameRing, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineFailure, match=r"status 1: .*ValueError: no such weights"):
        EngineClient("engine.own_engines:dies_opening", PROFILE, small_ring, PATIENT_MS)
    processes = {record.args[0] for record in caplog.records if isinstance(record.args, tuple)}
    assert len(processes) <= 1  # each process that prints a traceback is logged with its id


def test_an_engine_that_is_not_ready_in_time_is_killed(small_ring: FrameRing) -> None:
    with pytest.raises(EngineFailure, match=r"not ready within 0\.5 s"):
        EngineClient("engine.own_engines:slow_to_open", PROFILE, small_ring, PATIENT_MS, limits=Limits(ready_timeout_s=0.5))


def test_an_engine_is_told_what_it_will_be_asked_for_and_may_refuse_it_before_anybody_drives(small_ring: FrameRing) -> None:
    picky, words = "engine.own_engines:Picky", Request(samples=3, greedy=False)
    asked = (words, Request(reasoning="none", samples=4))
    with EngineClient(picky, PROFILE, small_ring, PATIENT_MS, requests=asked) as client:
        heard = told(client, "told")
        assert heard == "[(3, 'full', False), (4, 'none', True)]"
        os.kill(pid_of(client), signal.SIGKILL)
        assert soon(lambda: client.restarts == 1)
        client.wait_ready(30.0)
        assert told(client, "told") == heard, "the next process is told as well"
    with pytest.raises(EngineFailure, match="this engine takes 4 samples at most"):
        EngineClient(picky, PROFILE, small_ring, PATIENT_MS, requests=(words, Request(samples=5)))


def test_an_interpreter_that_is_not_there_is_named(small_ring: FrameRing) -> None:
    with pytest.raises(EngineFailure, match="/no/such/python"):
        EngineClient("kinematic", PROFILE, small_ring, PATIENT_MS, engine_python="/no/such/python")


# The end


@pytest.mark.parametrize("state", ["idle", "stopped", "hung"])
def test_close_leaves_no_process(small_ring: FrameRing, state: str) -> None:
    client = EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS)
    pid = pid_of(client)
    if state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    if state == "hung":
        client.add_frame(frame("front_wide", 0, 0, small_ring))
    client.close()
    client.close()
    assert gone(pid)
    assert (client.state, client.alive) == ("closed", False)
    with pytest.raises(EngineFailure, match="engine closed"):
        told(client)
    client.add_frame(frame("front_wide", 1, 0, small_ring))


def test_close_ends_a_request_that_another_thread_waits_for(puppet: EngineClient) -> None:
    threading.Timer(0.2, puppet.close).start()
    with pytest.raises(EngineFailure, match="the engine was closed"):
        told(puppet, "hang")


def test_a_forgotten_client_closes_itself(small_ring: FrameRing) -> None:
    client = EngineClient("kinematic", PROFILE, small_ring, PATIENT_MS)
    pid = pid_of(client)
    del client
    gc.collect()
    assert gone(pid)


def parent_program(then: str) -> str:
    return f"""
import os, signal, sys, time
from engine.observations import PROFILE, observation, frame
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.types import Request
ring = FrameRing(PROFILE.image_shape, 24)
client = EngineClient({PUPPET!r}, PROFILE, ring, 30_000.0)
print(client.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("how", ["exits", "raises"])
def test_an_interpreter_that_ends_without_close_leaves_no_process_and_no_warning(how: str) -> None:
    program = parent_program("client.infer(observation(), Request())" + ("\nraise SystemExit(5)" if how == "raises" else ""))
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (5 if how == "raises" else 0, "")
    assert gone(int(ended.stdout))


@pytest.mark.parametrize("child", ["idle", "stopped", "hung with the GIL"])
def test_kill_9_of_the_parent_leaves_no_process(child: str) -> None:
    hang = "client.infer(observation(say='hang_with_gil'), Request())"
    program = parent_program({"idle": "time.sleep(60)", "hung with the GIL": hang}.get(child, "time.sleep(60)"))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if child == "stopped":
            os.kill(pid, signal.SIGSTOP)
        time.sleep(0.2)  # for the request to arrive; an idle child passes as well
        assert not gone(pid)
        parent.kill()
    assert soon(lambda: gone(pid))
