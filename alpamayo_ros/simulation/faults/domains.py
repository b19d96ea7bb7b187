"""A DDS domain of one's own: shards, tests and whoever else is on this machine do not hear each other."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alpamayo_ros.types import InvalidInput

HIGHEST = 101
"""Above it the UDP ports of a domain overlap with those the kernel gives to clients."""


@contextmanager
def own_domain() -> Iterator[int]:
    """A domain id that no other campaign or test of this machine uses meanwhile. Raises InvalidInput when all are in use."""
    for domain in range(1, HIGHEST + 1):
        lock = os.open(Path(tempfile.gettempdir()) / f"alpamayo_ros_test_domain_{domain}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        try:
            yield domain
        finally:
            os.close(lock)
        return
    raise InvalidInput(f"all {HIGHEST} DDS domains of this machine are in use")


@contextmanager
def in_domain(domain: int) -> Iterator[None]:
    """Nodes of this process, and those it starts, are in this domain of this machine only."""
    ours = {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    before = {name: os.environ.get(name) for name in ours}  # noqa: TID251 - rclpy reads its domain from there
    os.environ.update(ours)  # noqa: TID251
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})  # noqa: TID251
        for name in (name for name, value in before.items() if value is None):
            del os.environ[name]  # noqa: TID251
