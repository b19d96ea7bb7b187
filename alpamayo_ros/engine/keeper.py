"""Keeps one engine process running: hears it, notices when it dies or hangs, and starts the next one."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.engine import wire
from alpamayo_ros.engine.process import EngineProcess
from alpamayo_ros.types import EngineFailure, InvalidInput

State = Literal["starting", "ready", "busy", "restarting", "failed", "closed"]


@dataclass(frozen=True)
class Limits:
    """How patient the parent is with the engine's process."""

    ready_timeout_s: float = 60.0  # from its start until the engine is open and warm
    silence_s: float = 1.0  # without a heartbeat, or at work on a hint, while nothing was asked
    settled_s: float = 10.0  # a process that was ready for less failed quickly, however long it took to get there
    quick_failures: int = 5  # in a row, then it is not started again
    longest_delay_s: float = 5.0  # before a start; none before the first restart, then 0.1 s, doubling
    bad_answers: int = 3  # within bad_answers_s, then the process is killed and started again
    bad_answers_s: float = 10.0


class Keeper:
    """One engine process at a time, in the care of a thread. `ask` is for one caller at a time.

    When the first process does not get ready it is not started again: a wrong bundle does not heal.
    """

    def __init__(self, start: Callable[[], EngineProcess], limits: Limits) -> None:
        self.state: State = "starting"
        self.weights = ""
        self.restarts = 0
        self.bad_answers = 0
        self.last_failure = ""
        self.last_bad_answer = ""
        self.process: EngineProcess | None = None
        self._start = start
        self._limits = limits
        self._changed = threading.Condition()  # guards everything above and below
        self._ready_at_s = math.inf  # of the process
        self._asked = 0  # id of the request that is waited for, 0: none
        self._reply: wire.Message | None = None
        self._bad_answers_s: deque[float] = deque(maxlen=limits.bad_answers)  # when they came, of the process that runs
        self._closing = threading.Event()
        # Daemon: the interpreter may exit without close(). The process dies with this thread (see worker.py).
        self._thread = threading.Thread(target=self._keep, name="engine keeper", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the engine can be asked. Raises EngineFailure when it failed for good or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.state not in ("starting", "restarting"), timeout_s)
            if self.state not in ("ready", "busy"):
                raise EngineFailure(self._why_not())

    def tell(self, packet: bytes) -> bool:
        """Send without waiting; False when it could not be sent. Never raises."""
        process = self.process
        return process is not None and process.send(packet)

    def ask(self, request_id: int, packet: bytes, deadline_s: float) -> wire.Message:
        """Send a request and wait for its reply until `deadline_s` of the monotonic clock; then the process is killed.

        Raises EngineFailure: not ready, died, hung, or answered nonsense.
        """
        process = self._expect_reply(request_id)
        while not process.send(packet) and self._waits_for(request_id) and time.monotonic() < deadline_s:
            time.sleep(0.001)  # only when the process reads nothing, which is about to kill it
        with self._changed:
            self._changed.wait_for(lambda: self._asked != request_id, deadline_s - time.monotonic())
            if self._reply is not None:
                return self._reply
            if self._asked != request_id:
                raise EngineFailure(self.last_failure)
            because = "no answer before the deadline, the engine's process was killed"
            process.kill(because)
            self._lost(because)
        raise EngineFailure(because)

    def count_bad_answer(self, because: str) -> None:
        """The last reply was a failure or no answer at all, an exhausted memory among them. Too many end the process.

        A process that fails again and again may hold what makes it fail: a broken device, memory in pieces.
        """
        many, within_s = self._limits.bad_answers, self._limits.bad_answers_s
        with self._changed:
            self.bad_answers += 1
            self.last_bad_answer = because
            self._bad_answers_s.append(time.monotonic())
            soon = len(self._bad_answers_s) == many and self._bad_answers_s[-1] - self._bad_answers_s[0] <= within_s
            if soon and self.process is not None:
                because = f"{many} bad answers within {within_s:g} s, the engine's process was killed; the last one: {because}"
                self.process.kill(because)
                self._lost(because)

    def close(self) -> None:
        """End the process: ask it, wait at most a second, then kill it. May be called twice, from any thread."""
        self._closing.set()
        self.tell(wire.encode("close", {}))
        for _ in range(2):
            if threading.current_thread() is not self._thread:  # it may be the thread that collects the garbage
                self._thread.join(1.0)
            process = self.process
            if process is not None:
                process.kill("the engine was closed")

    def _why_not(self) -> str:
        return f"engine {self.state}" + (f": {self.last_failure}" if self.last_failure else "")

    def _expect_reply(self, request_id: int) -> EngineProcess:
        with self._changed:
            if self.state != "ready" or self.process is None:
                raise EngineFailure(self._why_not())
            self.state, self._asked, self._reply = "busy", request_id, None
            return self.process

    def _waits_for(self, request_id: int) -> bool:
        with self._changed:
            return self._asked == request_id

    def _keep(self) -> None:
        quick_failures = 0
        try:
            while not self._closing.wait(self._delay_s(quick_failures)):
                self._ready_at_s = math.inf
                self._one_life()
                quick_failures = quick_failures + 1 if time.monotonic() - self._ready_at_s < self._limits.settled_s else 1
                if not self.weights or quick_failures >= self._limits.quick_failures:
                    break
                with self._changed:
                    self.restarts += 1
        finally:
            with self._changed:
                self.state = "closed" if self._closing.is_set() else "failed"
                self._changed.notify_all()

    def _delay_s(self, quick_failures: int) -> float:
        return min(0.1 * 2.0 ** (quick_failures - 2), self._limits.longest_delay_s) if quick_failures > 1 else 0.0

    def _one_life(self) -> None:
        """Serve one process from its start to its end."""
        try:
            process = self._start()
        except (OSError, InvalidInput) as error:
            return self._lost(f"cannot start the engine's process: {error}")
        with self._changed:
            self.process = process
        if self._closing.is_set():  # close() may have looked for a process a moment ago
            process.kill("the engine was closed")
        self._listen(process)
        return self._lost(process.finish())

    def _listen(self, process: EngineProcess) -> None:
        ready_by = time.monotonic() + self._limits.ready_timeout_s
        silent_s = 0.0
        while True:
            began = time.monotonic()
            packet = process.receive(wire.HEARTBEAT_S)
            if packet == b"":
                return
            if packet:
                silent_s = 0.0
                self._hear(process, packet)
            else:  # counted in own turns: when the whole machine stalls, the process must not be blamed
                silent_s += min(time.monotonic() - began, wire.HEARTBEAT_S)
            if self.state in ("starting", "restarting") and time.monotonic() > ready_by:
                process.kill(f"not ready within {self._limits.ready_timeout_s:g} s, the engine's process was killed")
            elif self.state == "ready" and silent_s > self._limits.silence_s:
                process.kill(f"silent for {silent_s:.1f} s, the engine's process was killed")

    def _hear(self, process: EngineProcess, packet: bytes) -> None:
        try:
            kind, fields, _ = message = wire.decode(packet)
        except InvalidInput as error:
            return process.kill(f"nonsense from the engine's process, it was killed: {error}")
        with self._changed:
            if self.process is not process:
                return None  # last words of a process that was given up
            if kind == "heartbeat":
                if self.state == "ready" and fields["busy_ms"] > self._limits.silence_s * 1e3:
                    process.kill(f"at work for {fields['busy_ms']} ms on a hint, the engine's process was killed")
            elif kind == "ready" and self.state in ("starting", "restarting"):
                self.state, self.weights, self._ready_at_s = "ready", fields["weights"], time.monotonic()
            elif kind in ("output", "failure") and self._asked and fields["id"] == self._asked:
                self.state, self._asked, self._reply = "ready", 0, message
            elif kind == "failure" and fields["id"] == 0:
                process.kill(fields["text"])
            else:
                process.kill(f"unexpected {kind} {fields!r:.80} in state {self.state}, the engine's process was killed")
            self._changed.notify_all()
        return None

    def _lost(self, because: str) -> None:
        with self._changed:
            self.last_failure, self.process, self._asked = because, None, 0
            self._bad_answers_s.clear()
            if self.state != "starting":
                self.state = "restarting"
            self._changed.notify_all()
