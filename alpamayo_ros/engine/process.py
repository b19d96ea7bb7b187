"""One life of the engine's process as the parent sees it: its socket, its words on stderr, its end."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from alpamayo_ros.engine import wire
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.types import Request

_LOG = logging.getLogger(__name__)

# Loads this very package, whatever interpreter runs it. Neither PYTHONPATH nor `-m`: the package's parent folder is often a
# site-packages, whose numpy another Python version cannot import and would find first.
_START = """
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
sys.path = [folder for folder in sys.path if folder]
folder, arguments = sys.argv[1:]
spec = spec_from_file_location("alpamayo_ros", folder + "/__init__.py", submodule_search_locations=[folder])
package = sys.modules["alpamayo_ros"] = module_from_spec(spec)
spec.loader.exec_module(package)
from alpamayo_ros.engine.worker import Arguments, main
main(Arguments(*json.loads(arguments)))
"""

_LAST_WORDS = 4096  # bytes
_GRACE_MS = 200  # between closing its socket and its end


class EngineProcess:
    """A running engine process. `send` and `kill` may be called from any thread, `receive` and `finish` from one.

    The kernel kills the process when the thread that made this object ends. Raises OSError when it cannot be started,
    InvalidInput when the ring is closed.
    """

    def __init__(self, bundle: str, ring: FrameRing, python: str, requests: Sequence[Request]) -> None:
        ring_fd = ring.fd
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(0.0)
        fds, asked = (theirs.fileno(), ring_fd), list(map(asdict, requests))
        arguments = json.dumps([bundle, *fds, ring.image_shape, ring.slots, os.getpid(), asked])
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-c", _START, str(Path(__file__).parents[1]), arguments],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,  # a group of its own: killed as one, and not by the terminal's Ctrl-C
            )
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()  # or the end of the process would not end the socket
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._poll = select.poll()
        for fd in (self._socket.fileno(), self._output.fileno(), self._pidfd):
            self._poll.register(fd, select.POLLIN)
        # Reentrant: the garbage collector may close a client, and so send, while this very thread sends.
        self._lock = threading.RLock()
        self._finished = False
        self._killed_because = ""
        self._last_words = b""
        self.pid = self._process.pid

    def send(self, packet: bytes) -> bool:
        """Send one packet or nothing, without waiting: False when the process does not listen or is gone."""
        with self._lock:
            if self._finished:
                return False
            try:
                self._socket.send(packet)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                return False
            return True

    def receive(self, timeout_s: float) -> bytes | None:
        """The next packet; None when none came in this time (or only words on stderr); b"" once the process has ended."""
        ready = {fd for fd, _ in self._poll.poll(timeout_s * 1e3)}
        if self._output.fileno() in ready:
            self._hear_words()
        if self._socket.fileno() in ready:
            try:
                return self._socket.recv(wire.MAX_BYTES)
            except ConnectionResetError:
                return b""
        return b"" if self._pidfd in ready else None

    def kill(self, because: str) -> None:
        """Kill the process and everything it started, now. Does nothing when it has ended."""
        with self._lock:
            if not self._finished:
                self._killed_because = self._killed_because or because
                os.killpg(self._process.pid, signal.SIGKILL)

    def finish(self) -> str:
        """Reap the process, and kill what is left of its group; returns why it ended."""
        if not self._killed_because:
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            ended.poll(_GRACE_MS)
        with self._lock:
            self._finished = True  # nobody sends or kills from here on
        os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        self._hear_words()
        self._socket.close()
        self._output.close()
        os.close(self._pidfd)
        return self._killed_because or self._obituary(status)

    def _hear_words(self) -> None:
        try:
            words = os.read(self._output.fileno(), 1 << 16)  # all that a pipe holds
        except BlockingIOError:
            return
        if words:
            self._last_words = (self._last_words + words)[-_LAST_WORDS:]
            _LOG.warning("engine %d: %s", self.pid, _shown(words).rstrip())  # seen without configuration
        else:
            with suppress(KeyError):  # closed, and so for ever readable
                self._poll.unregister(self._output.fileno())

    def _obituary(self, status: int) -> str:
        how = f"was killed by signal {-status} ({signal.strsignal(-status)})" if status < 0 else f"ended with status {status}"
        lines = [line.strip() for line in _shown(self._last_words).splitlines() if line.strip()]
        return f"the engine's process {how}" + (f": {' | '.join(lines[-3:])}" if lines else "")


def _shown(words: bytes) -> str:
    """Lines of printable characters: what an engine writes must not steer the terminal that shows the log."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in words.decode(errors="replace"))
