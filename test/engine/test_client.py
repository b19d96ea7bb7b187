"""The engine in its process: the same answers, and every way it can fail, with real processes.

Deadlines here are generous because the machine may be loaded; how fast faults are noticed is measured by the benchmark.
"""

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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine.observations import PROFILE, SECOND, frame, observation

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.keeper import Limits
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.types import EngineFailure, InvalidInput, Observation, Request

PUPPET = "engine.own_engines:Puppet"
TESTS = str(Path(__file__).parents[1])
PATIENT_MS = 30_000.0
SHORT_MS = 300.0


@pytest.fixture(autouse=True)
def _own_engines_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS)


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(PROFILE.image_shape, 24)
    yield ring
    ring.close()


@pytest.fixture
def puppet(ring: FrameRing) -> Iterator[EngineClient]:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS) as client:
        yield client


@pytest.fixture
def hasty(ring: FrameRing) -> Iterator[EngineClient]:
    with EngineClient(PUPPET, PROFILE, ring, SHORT_MS) as client:
        yield client


def told(client: EngineClient, say: str = "", stamp_ns: int = 10 * SECOND) -> str:
    return client.infer(observation(stamp_ns, say=say), Request()).texts[0]


def usual(seen: Observation) -> str:
    return f"{seen.stamp_ns} {seen.pixels_crc32}"


def soon(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    until = time.monotonic() + within_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.005)
    return condition()


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pid_of(client: EngineClient) -> int:
    assert client.pid is not None
    return client.pid


# The same answers


def test_the_answer_is_the_one_the_engine_gives_in_process(ring: FrameRing) -> None:
    seen, request = observation(), Request(samples=3)
    expected = KinematicEngine().infer(seen, request)
    with EngineClient("kinematic", PROFILE, ring, PATIENT_MS) as client:
        assert (client.weights, client.state, client.alive) == ("none", "ready", True)
        output = client.infer(seen, request)
    assert output.actions.tobytes() == expected.actions.tobytes()
    assert (output.texts, output.tokens, output.complete) == (expected.texts, expected.tokens, expected.complete)


def test_pixels_arrive_from_the_ring_from_another_ring_and_from_private_memory(puppet: EngineClient, ring: FrameRing) -> None:
    other = FrameRing(PROFILE.image_shape, 24)
    for source in (ring, other, None):
        seen = observation(ring=source)
        assert puppet.infer(seen, Request()).texts == (usual(seen),)
    relabelled = {role: tuple(replace(f, epoch=4) for f in frames) for role, frames in observation(ring=ring).frames.items()}
    seen = replace(observation(), epoch=4, frames=relabelled)  # slots of this ring whose headers say something else
    assert puppet.infer(seen, Request()).texts == (usual(seen),)
    other.close()


def test_slots_are_free_again_after_a_request(puppet: EngineClient, ring: FrameRing) -> None:
    for _ in range(10):
        told(puppet)
    assert ring.free_slots == ring.slots


def test_hints_resets_and_requests_from_several_threads_do_not_disturb_each_other(
    puppet: EngineClient, ring: FrameRing
) -> None:
    done = threading.Event()

    def hint() -> None:
        while not done.is_set():
            puppet.add_frame(frame("front_tele", 1, 0, ring))
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


def test_another_interpreter_runs_this_package_with_its_own_numpy(ring: FrameRing, tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    packages = tmp_path / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    numpy_folder = Path(np.__file__).parent
    for folder in (numpy_folder, numpy_folder.with_name("numpy.libs")):
        (packages / folder.name).symlink_to(folder)
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, engine_python=str(tmp_path / "bin" / "python")) as client:
        prefix, numpy_file, our_file = json.loads(told(client, "interpreter"))
        assert prefix == str(tmp_path)
        assert numpy_file.startswith(str(packages))
        assert Path(our_file).samefile(Path(sys.modules[EngineClient.__module__].__file__ or "").with_name("wire.py"))
        assert "pydantic" not in told(client, "modules").split()


def test_the_child_does_not_import_from_the_working_directory(
    ring: FrameRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('this is not numpy')")
    monkeypatch.chdir(tmp_path)
    with EngineClient("kinematic", PROFILE, ring, PATIENT_MS) as client:
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
        ("wordless", "texts and token counts"),
    ],
)
def test_an_answer_that_cannot_be_one_is_a_failure(puppet: EngineClient, say: str, words: str) -> None:
    with pytest.raises(EngineFailure, match=words):
        told(puppet, say)
    assert told(puppet) == usual(observation())


def test_a_full_ring_and_a_wrong_image_are_failures_with_numbers(puppet: EngineClient, ring: FrameRing) -> None:
    held = [frame("front_wide", stamp_ns, 0, ring) for stamp_ns in range(20)]
    with pytest.raises(EngineFailure, match="none of the 24 slots"):
        told(puppet)
    del held
    told(puppet)
    seen = observation()
    small = replace(seen.frames["rear_tele"][0], image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(EngineFailure, match=r"rear_tele: image \(4, 4, 3\), the engine wants \(16, 24, 3\)"):
        puppet.infer(replace(seen, frames={"rear_tele": (small,)}), Request())


def test_a_client_that_cannot_work_is_refused(ring: FrameRing) -> None:
    small = FrameRing((8, 8, 3), 4)
    with pytest.raises(InvalidInput, match=r"\(8, 8, 3\).*seven_camera wants \(16, 24, 3\)"):
        EngineClient("kinematic", PROFILE, small, PATIENT_MS)
    with pytest.raises(InvalidInput, match="deadline_ms"):
        EngineClient("kinematic", PROFILE, ring, 0.0)
    small.close()


# An engine that does not open


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        ("kinematik", "no engine 'kinematik'"),
        ("engine.own_engines:dies_opening", "status 1: .*ValueError: no such weights"),
    ],
)
def test_an_engine_that_does_not_open_says_why_and_is_not_started_again(
    ring: FrameRing, bundle: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EngineFailure, match=words):
        EngineClient(bundle, PROFILE, ring, PATIENT_MS)
    processes = {record.args[0] for record in caplog.records if isinstance(record.args, tuple)}
    assert len(processes) <= 1  # each process that prints a traceback is logged with its id


def test_an_engine_that_is_not_ready_in_time_is_killed(ring: FrameRing) -> None:
    with pytest.raises(EngineFailure, match=r"not ready within 0\.5 s"):
        EngineClient("engine.own_engines:slow_to_open", PROFILE, ring, PATIENT_MS, limits=Limits(ready_timeout_s=0.5))


def test_an_interpreter_that_is_not_there_is_named(ring: FrameRing) -> None:
    with pytest.raises(EngineFailure, match="/no/such/python"):
        EngineClient("kinematic", PROFILE, ring, PATIENT_MS, engine_python="/no/such/python")


# A process that dies


@pytest.mark.parametrize(
    ("say", "words"),
    [
        ("crash", "ended with status 3"),
        ("bug", "status 1: .*ZeroDivisionError: a bug in the engine"),
        ("memory", "status 1: .*MemoryError"),
        ("junk", "nonsense from the engine's process"),
        ("wrong_id", "unexpected output .*1000000"),
    ],
)
def test_an_engine_that_dies_or_talks_nonsense_is_a_failure_and_comes_back(puppet: EngineClient, say: str, words: str) -> None:
    with pytest.raises(EngineFailure, match=words):
        told(puppet, say)
    puppet.wait_ready(10.0)
    assert told(puppet) == usual(observation())
    assert puppet.restarts == 1


def test_kill_9_during_a_request_is_noticed_long_before_the_deadline(puppet: EngineClient) -> None:
    threading.Timer(0.2, os.kill, (pid_of(puppet), signal.SIGKILL)).start()
    began = time.monotonic()
    with pytest.raises(EngineFailure, match="killed by SIGKILL"):
        told(puppet, "hang")
    assert time.monotonic() - began < PATIENT_MS / 1e3 / 2
    puppet.wait_ready(10.0)
    assert told(puppet) == usual(observation())


def test_kill_9_while_idle_is_noticed_and_the_frames_survive(puppet: EngineClient, ring: FrameRing) -> None:
    seen = observation(ring=ring)
    first = pid_of(puppet)
    os.kill(first, signal.SIGKILL)
    assert soon(lambda: puppet.restarts == 1 and puppet.alive)
    assert puppet.last_failure == "the engine's process was killed by SIGKILL"
    assert puppet.infer(seen, Request()).texts == (usual(seen),)
    assert puppet.pid != first
    assert gone(first)


def test_an_engine_that_keeps_dying_is_given_up_and_requests_fail_at_once(ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, limits=Limits(quick_failures=3)) as client:
        for _ in range(3):
            client.wait_ready(10.0)
            with pytest.raises(EngineFailure, match="status 3"):
                told(client, "crash")
        assert soon(lambda: client.state == "failed")
        assert (client.alive, client.restarts, client.pid) == (False, 2, None)
        with pytest.raises(EngineFailure, match="engine failed: the engine's process ended with status 3"):
            told(client)
        client.add_frame(frame("front_wide", 1, 0, ring))
        client.reset(1)


def test_what_a_killed_engine_started_dies_with_it(puppet: EngineClient) -> None:
    helper = int(told(puppet, "helper"))
    assert not gone(helper)
    os.kill(pid_of(puppet), signal.SIGKILL)
    assert soon(lambda: gone(helper))


# A process that hangs


@pytest.mark.parametrize("say", ["hang", "hang_with_gil"])
def test_a_hang_is_a_failure_at_the_deadline_and_the_engine_comes_back(hasty: EngineClient, say: str) -> None:
    first = pid_of(hasty)
    with pytest.raises(EngineFailure, match="no answer before the deadline"):
        told(hasty, say)
    with pytest.raises(EngineFailure, match="engine restarting: no answer before the deadline"):
        told(hasty)
    assert soon(lambda: gone(first))
    hasty.wait_ready(10.0)
    assert hasty.restarts == 1


def test_a_late_answer_is_never_taken_for_the_next_one(hasty: EngineClient) -> None:
    with pytest.raises(EngineFailure, match="deadline"):
        told(hasty, "late")  # would be answered 0.2 s later
    hasty.wait_ready(10.0)
    time.sleep(0.3)
    assert told(hasty, "refuse_politely") == "no"


def test_ten_thousand_hints_to_a_stopped_process_block_nothing(hasty: EngineClient, ring: FrameRing) -> None:
    seen = frame("front_wide", 1, 0, ring)
    os.kill(pid_of(hasty), signal.SIGSTOP)
    hints = threading.Thread(target=lambda: [hasty.add_frame(seen) for _ in range(10_000)], daemon=True)
    hints.start()
    hints.join(20.0)
    assert not hints.is_alive()
    with pytest.raises(EngineFailure, match=r"no answer before the deadline|silent"):
        told(hasty)
    hasty.wait_ready(10.0)
    assert hasty.restarts == 1


def test_a_process_stopped_while_idle_is_noticed_by_its_silence(ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, limits=Limits(silence_s=0.3)) as client:
        os.kill(pid_of(client), signal.SIGSTOP)
        assert soon(lambda: client.restarts >= 1)
        assert client.last_failure.startswith("silent for ")
        client.wait_ready(10.0)


def test_an_engine_that_hangs_on_a_hint_is_noticed_while_idle(ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, limits=Limits(silence_s=0.3)) as client:
        hint = frame("front_wide", 0, 0, ring)
        client.add_frame(hint)
        assert soon(lambda: client.restarts >= 1)
        assert client.last_failure.endswith("ms on a hint, the engine's process was killed")
        client.wait_ready(10.0)


@pytest.mark.parametrize("say", ["late", "late_with_gil"])
def test_a_busy_engine_is_not_taken_for_a_hung_one(ring: FrameRing, say: str) -> None:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, limits=Limits(silence_s=0.4)) as client:
        assert told(client, say) == "late"  # takes 0.5 s, with the GIL without a heartbeat
        assert client.restarts == 0


def test_an_idle_engine_that_hears_hints_all_the_time_still_sends_heartbeats(ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, ring, PATIENT_MS, limits=Limits(silence_s=1.0)) as client:
        hint = frame("front_wide", 1, 0, ring)
        until = time.monotonic() + 1.4
        while time.monotonic() < until:
            client.add_frame(hint)
            time.sleep(0.01)
        assert client.restarts == 0
        assert told(client) == usual(observation())


def test_a_talkative_engine_does_not_block_on_its_words(puppet: EngineClient) -> None:
    assert told(puppet, "chatter") == "done"


# The end


@pytest.mark.parametrize("state", ["idle", "stopped", "hung"])
def test_close_leaves_no_process(ring: FrameRing, state: str) -> None:
    client = EngineClient(PUPPET, PROFILE, ring, PATIENT_MS)
    pid = pid_of(client)
    if state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    if state == "hung":
        client.add_frame(frame("front_wide", 0, 0, ring))
    client.close()
    client.close()
    assert gone(pid)
    assert (client.state, client.alive) == ("closed", False)
    with pytest.raises(EngineFailure, match="engine closed"):
        told(client)
    client.add_frame(frame("front_wide", 1, 0, ring))


def test_close_ends_a_request_that_another_thread_waits_for(puppet: EngineClient) -> None:
    threading.Timer(0.2, puppet.close).start()
    with pytest.raises(EngineFailure, match="the engine was closed"):
        told(puppet, "hang")


def test_a_forgotten_client_closes_itself(ring: FrameRing) -> None:
    client = EngineClient("kinematic", PROFILE, ring, PATIENT_MS)
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
