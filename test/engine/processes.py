"""Engines in real processes: what the client tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engine.observations import SECOND, observation

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.types import Observation, Request

PUPPET = "engine.own_engines:Puppet"
PATIENT_MS = 30_000.0
"""A deadline that a loaded machine keeps; how fast faults are noticed is measured by the benchmark."""

SHORT_MS = 300.0
"""A deadline to run past."""


def told(client: EngineClient, say: str = "", stamp_ns: int = 10 * SECOND) -> str:
    """What the engine says to an observation, told what to do (see own_engines.Puppet)."""
    return client.infer(observation(stamp_ns, say=say), Request()).texts[0]


def usual(seen: Observation) -> str:
    """What the puppet says when it is told nothing."""
    return f"{seen.stamp_ns} {seen.pixels_crc32}"


def soon(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait for something that other threads and processes bring about."""
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
    """Process id of a running engine."""
    assert client.pid is not None
    return client.pid
