"""The engine's process: opens one engine, answers its messages, and never outlives its parent.

Two threads: the main thread is the engine's; the other one listens to the socket and sends heartbeats, so that a busy
engine, a hung engine and a dead process look different from outside. Imports no ROS, and numpy only before the engine.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from alpamayo_ros.engine import wire
from alpamayo_ros.engine.contract import Engine, Prepares
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.engine.ring import FrameReader
from alpamayo_ros.types import CameraFrame, EngineFailure, InvalidInput, Request

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class Arguments(NamedTuple):
    """What the parent passes on the command line, as JSON."""

    bundle: str
    socket_fd: int
    ring_fd: int
    image_shape: tuple[int, int, int]
    slots: int
    parent: int  # process id
    requests: Sequence[Mapping[str, Any]]  # what will be asked for, where that is known


class Link:
    """The socket to the parent, heard by a thread of its own. The process ends at once when the parent is gone."""

    def __init__(self, fd: int) -> None:
        self.inbox: SimpleQueue[wire.Message] = SimpleQueue()
        self._socket = socket.socket(fileno=fd)
        self._sending = threading.Lock()
        self._busy_since: float | None = time.monotonic()
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def next_message(self) -> wire.Message:
        """Wait for the next message; the engine counts as busy from then until the next call or reply."""
        self._busy_since = None
        message = self.inbox.get()
        self._busy_since = time.monotonic()
        return message

    def reply(self, packet: bytes) -> None:
        """Send the result of the engine's work."""
        self._busy_since = None  # before the send: no heartbeat after this reply may tell of the work before it
        with self._sending:
            self._socket.send(packet)

    def _listen(self) -> None:
        heartbeat_s = time.monotonic()
        try:
            while True:
                if select.select([self._socket], [], [], max(0.0, heartbeat_s - time.monotonic()))[0]:
                    packet = self._socket.recv(wire.MAX_BYTES)
                    if not packet:
                        break
                    self.inbox.put(wire.decode(packet))
                if time.monotonic() >= heartbeat_s:
                    self._send_heartbeat()
                    heartbeat_s = time.monotonic() + wire.HEARTBEAT_S
        except (BrokenPipeError, ConnectionResetError):
            pass  # as an end of file
        os._exit(0)  # not sys.exit: the main thread may hang in the engine

    def _send_heartbeat(self) -> None:
        with self._sending:
            since = self._busy_since
            busy_ms = round((time.monotonic() - since) * 1e3) if since is not None else 0
            self._socket.send(wire.encode("heartbeat", {"busy_ms": busy_ms}))


def main(arguments: Arguments) -> None:
    """Serve one engine until the parent says close or goes away."""
    _die_with(arguments.parent)
    keep_freed_memory()
    link = Link(arguments.socket_fd)
    reader = FrameReader(arguments.ring_fd, arguments.image_shape, arguments.slots)
    try:
        engine = open_engine(arguments.bundle)
        if arguments.requests and isinstance(engine, Prepares):
            engine.prepare([Request(**request) for request in arguments.requests])
    except (InvalidInput, EngineFailure) as error:
        link.reply(wire.encode("failure", {"id": 0, "text": str(error)}))
        sys.exit(1)  # without a traceback: the reply says it all
    link.reply(wire.encode("ready", {"weights": engine.weights}))
    serve(engine, link, reader)
    engine.close()


def serve(engine: Engine, link: Link, reader: FrameReader) -> None:
    """Give the engine one message after the other, until close. The first of hints that fail one after another is told."""
    failed = ""
    while True:
        message = link.next_message()
        if message.kind == "hint":
            before, failed = failed, _hint(engine, message, reader)
            if failed and not before:
                print(f"a frame that came early was of no use: {failed}", file=sys.stderr, flush=True)
        elif message.kind == "infer":
            link.reply(_answer(engine, message, reader))
        elif message.kind == "reset":
            engine.reset(message.fields["epoch"])
        else:
            return


def _hint(engine: Engine, message: wire.Message, reader: FrameReader) -> str:
    """Why it was of no use, "" where it was: a hint may do nothing. Whether the engine still answers, an answer will tell."""
    role, stamp_ns, epoch = message.fields["role"], message.fields["stamp_ns"], message.fields["epoch"]
    image = reader.read(message.fields["slot"], role, stamp_ns, epoch)
    if image is None:
        return ""  # the parent has dropped the frame by now
    try:
        engine.add_frame(CameraFrame(role, stamp_ns, epoch, image))
    except EngineFailure as error:
        return str(error)
    return ""


def _answer(engine: Engine, message: wire.Message, reader: FrameReader) -> bytes:
    request_id = message.fields["id"]
    try:
        observation, request = wire.read_infer(message, reader.read)
        return wire.output_packet(request_id, engine.infer(observation, request))
    except (EngineFailure, InvalidInput) as error:
        return wire.encode("failure", {"id": request_id, "text": str(error)})


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends: also when the engine hangs."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(0)  # it was gone before the kernel knew


def keep_freed_memory() -> None:
    """Let malloc keep up to 128 MB: fresh pages for the 35 images of an observation cost 10 ms, used ones 1 ms."""
    libc = ctypes.CDLL(None)
    if not (libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20) and libc.mallopt(_M_TRIM_THRESHOLD, 128 << 20)):
        raise OSError("mallopt refused its thresholds")
