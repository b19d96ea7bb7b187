"""Every way the engine's process can die or hang, with real processes."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest
from engine.observations import PROFILE, frame, observation
from engine.processes import PATIENT_MS, PUPPET, gone, pid_of, soon, told, usual

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.keeper import Limits
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.types import EngineFailure, Request

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
    with pytest.raises(EngineFailure, match=r"killed by signal 9 \(Killed\)"):
        told(puppet, "hang")
    assert time.monotonic() - began < PATIENT_MS / 1e3 / 2
    puppet.wait_ready(10.0)
    assert told(puppet) == usual(observation())


def test_kill_9_while_idle_is_noticed_and_the_frames_survive(puppet: EngineClient, small_ring: FrameRing) -> None:
    seen = observation(ring=small_ring)
    first = pid_of(puppet)
    os.kill(first, signal.SIGKILL)
    assert soon(lambda: puppet.restarts == 1 and puppet.alive)
    assert puppet.last_failure == "the engine's process was killed by signal 9 (Killed)"
    assert puppet.infer(seen, Request()).texts == (usual(seen),)
    assert puppet.pid != first
    assert gone(first)


def test_an_engine_that_keeps_dying_is_given_up_and_requests_fail_at_once(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(quick_failures=3)) as client:
        for _ in range(3):
            client.wait_ready(10.0)
            with pytest.raises(EngineFailure, match="status 3"):
                told(client, "crash")
        assert soon(lambda: client.state == "failed")
        assert (client.alive, client.restarts, client.pid) == (False, 2, None)
        with pytest.raises(EngineFailure, match="engine failed: the engine's process ended with status 3"):
            told(client)
        client.add_frame(frame("front_wide", 1, 0, small_ring))
        client.reset(1)


@pytest.mark.parametrize(
    ("say", "words"),
    [("refuse", "out of luck"), ("out_of_memory", "out of memory for 1 samples"), ("not_finite", "not finite")],
)
def test_an_engine_that_fails_three_times_in_ten_seconds_is_started_again(puppet: EngineClient, say: str, words: str) -> None:
    first = pid_of(puppet)
    for _ in range(3):
        with pytest.raises(EngineFailure, match=words):
            told(puppet, say)
    assert (puppet.bad_answers, puppet.pid == first) == (3, False)
    assert re.match(
        rf"3 bad answers within 10 s, the engine's process was killed; the last one: .*{words}", puppet.last_failure
    )
    with pytest.raises(EngineFailure, match="engine restarting: 3 bad answers"):
        told(puppet)
    puppet.wait_ready(10.0)
    assert told(puppet) == usual(observation())
    assert puppet.restarts == 1
    assert gone(first)
    for _ in range(2):  # counted anew
        with pytest.raises(EngineFailure, match=words):
            told(puppet, say)
    assert told(puppet) == usual(observation())
    assert (puppet.restarts, puppet.bad_answers) == (1, 5)


def test_bad_answers_that_are_far_apart_restart_nothing(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(bad_answers_s=0.0)) as client:
        for _ in range(5):
            with pytest.raises(EngineFailure, match="out of luck"):
                told(client, "refuse")
        assert told(client) == usual(observation())
        assert (client.restarts, client.bad_answers) == (0, 5)


def test_a_hint_that_fails_costs_no_more_than_a_line_in_the_log(
    puppet: EngineClient, small_ring: FrameRing, caplog: pytest.LogCaptureFixture
) -> None:
    first = pid_of(puppet)
    for _ in range(3):
        puppet.add_frame(frame("front_wide", 2, 0, small_ring))
    assert told(puppet) == usual(observation())
    assert (puppet.pid, puppet.restarts) == (first, 0)
    assert soon(lambda: "a frame that came early was of no use: out of memory for a hint" in caplog.text)
    assert caplog.text.count("of no use") == 1, "70 frames a second would fill a log"


def test_an_engine_that_fails_after_every_start_is_given_up(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(quick_failures=2, settled_s=600.0)) as client:
        for _ in range(2):
            client.wait_ready(10.0)
            for _ in range(3):
                with pytest.raises(EngineFailure, match="out of luck"):
                    told(client, "refuse")
        assert soon(lambda: client.state == "failed")
        with pytest.raises(EngineFailure, match=r"engine failed: 3 bad answers .*out of luck"):
            told(client)


def test_time_that_an_engine_took_to_open_is_not_taken_for_a_long_life(small_ring: FrameRing) -> None:
    slow, limits = "engine.own_engines:SlowToOpen", Limits(quick_failures=2, settled_s=0.9)
    with EngineClient(slow, PROFILE, small_ring, PATIENT_MS, limits=limits) as client:
        for _ in range(2):
            client.wait_ready(10.0)
            with pytest.raises(EngineFailure, match="status 3"):
                told(client, "crash")
        assert soon(lambda: client.state == "failed")


def test_what_an_engine_writes_cannot_steer_a_terminal(puppet: EngineClient, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(EngineFailure, match=r"status 3: .*owned .*red .*gone") as failure:
        told(puppet, "paint")
    for text in (str(failure.value), caplog.text):
        assert "red" in text
        assert all(c.isprintable() or c == "\n" for c in text)


def test_a_ring_that_was_closed_too_early_is_named(puppet: EngineClient, small_ring: FrameRing) -> None:
    small_ring.close()
    os.kill(pid_of(puppet), signal.SIGKILL)
    assert soon(lambda: puppet.last_failure == "cannot start the engine's process: the frame ring is closed")
    assert not puppet.alive


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


def test_ten_thousand_hints_to_a_stopped_process_block_nothing(hasty: EngineClient, small_ring: FrameRing) -> None:
    seen = frame("front_wide", 1, 0, small_ring)
    os.kill(pid_of(hasty), signal.SIGSTOP)
    hints = threading.Thread(target=lambda: [hasty.add_frame(seen) for _ in range(10_000)], daemon=True)
    hints.start()
    hints.join(20.0)
    assert not hints.is_alive()
    with pytest.raises(EngineFailure, match=r"no answer before the deadline|silent"):
        told(hasty)
    hasty.wait_ready(10.0)
    assert hasty.restarts == 1


def test_a_process_stopped_while_idle_is_noticed_by_its_silence(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(silence_s=0.3)) as client:
        os.kill(pid_of(client), signal.SIGSTOP)
        assert soon(lambda: client.restarts >= 1)
        assert client.last_failure.startswith("silent for ")
        client.wait_ready(10.0)


def test_an_engine_that_hangs_on_a_hint_is_noticed_while_idle(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(silence_s=0.3)) as client:
        hint = frame("front_wide", 0, 0, small_ring)
        client.add_frame(hint)
        assert soon(lambda: client.restarts >= 1)
        assert client.last_failure.endswith("ms on a hint, the engine's process was killed")
        client.wait_ready(10.0)


@pytest.mark.parametrize("say", ["late", "late_with_gil"])
def test_a_busy_engine_is_not_taken_for_a_hung_one(small_ring: FrameRing, say: str) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(silence_s=0.4)) as client:
        assert told(client, say) == "late"  # takes 0.5 s, with the GIL without a heartbeat
        assert client.restarts == 0


def test_an_idle_engine_that_hears_hints_all_the_time_still_sends_heartbeats(small_ring: FrameRing) -> None:
    with EngineClient(PUPPET, PROFILE, small_ring, PATIENT_MS, limits=Limits(silence_s=1.0)) as client:
        hint = frame("front_wide", 1, 0, small_ring)
        until = time.monotonic() + 1.4
        while time.monotonic() < until:
            client.add_frame(hint)
            time.sleep(0.01)
        assert client.restarts == 0
        assert told(client) == usual(observation())


def test_a_talkative_engine_does_not_block_on_its_words(puppet: EngineClient) -> None:
    assert told(puppet, "chatter") == "done"
