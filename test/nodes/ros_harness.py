"""Real DDS for tests: importing this module gives the test process, and every node it starts, a DDS domain of its own."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import lark  # noqa: F401 - every rclpy node imports it, and it imports modules that Python has deprecated

from rclpy.node import Node
from rclpy.qos import QoSProfile

from alpamayo_ros.nodes.client import executable, node_environment, stop


def _claim_domain() -> int:
    """A domain id nobody else on this machine tests in; held by a file lock as long as this process lives.

    Above 101 the UDP ports of a domain overlap with those the kernel gives to clients.
    """
    for domain in range(1, 102):
        lock = os.open(Path(tempfile.gettempdir()) / f"alpamayo_ros_test_domain_{domain}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return domain
    raise RuntimeError("all 101 DDS domains are in use by tests")


DOMAIN = _claim_domain()
_LOGS = tempfile.mkdtemp(prefix="ros_log_")
atexit.register(shutil.rmtree, _LOGS, ignore_errors=True)  # of nodes, which may still write
os.environ.update(  # noqa: TID251 - rclpy reads its domain from there, and so do the nodes that tests start
    ROS_DOMAIN_ID=str(DOMAIN),
    ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
    ROS_LOG_DIR=_LOGS,
    FASTDDS_DEFAULT_PROFILES_FILE=node_environment()["FASTDDS_DEFAULT_PROFILES_FILE"],
)


@contextmanager
def started(node: str, log: Path, *ros_arguments: str, fail_at_bytes: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """One of our nodes as a process whose output goes to `log`; interrupted at the end as Ctrl-C would.

    With `fail_at_bytes` no file it writes can grow further: a full disk.
    """
    limit = ["prlimit", f"--fsize={fail_at_bytes}"] if fail_at_bytes else []
    with log.open("wb") as output:
        command = [*limit, str(executable(node)), "--ros-args", *ros_arguments]
        process = subprocess.Popen(command, env=node_environment(), stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            stop(process)


def refused(node: str, *ros_arguments: str) -> tuple[int, str]:
    """Exit status and the last line on stderr of a node that is expected to refuse its start."""
    command = [str(executable(node)), "--ros-args", *ros_arguments]
    done = subprocess.run(command, env=node_environment(), capture_output=True, timeout=30, text=True, check=False)
    return done.returncode, done.stderr.strip().splitlines()[-1]


def listen(node: Node, kind: type, topic: str, qos: QoSProfile | int = 100) -> list[Any]:
    """A list that grows by every message on a topic."""
    received: list[Any] = []
    node.create_subscription(kind, topic, received.append, qos)
    return received
