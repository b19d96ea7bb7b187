"""Our nodes as processes, and a plain node of one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from alpamayo_ros.profile import shared_files


def executable(node: str) -> Path:
    """The installed program of one of our nodes. Raises FileNotFoundError where the package was not built."""
    for parent in Path(__file__).parents:
        if (program := parent / "lib" / "alpamayo_ros" / node).is_file():
            return program
    raise FileNotFoundError(f"no lib/alpamayo_ros/{node} above {__file__}: build the package with `make build` or colcon")


def node_environment() -> dict[str, str]:
    """This process's environment plus what launch/ sets: a Fast DDS segment that holds a burst of seven cameras, and
    an allocator that keeps large blocks (their cost without: docs/performance.md)."""
    return {
        **os.environ,  # noqa: TID251 - a child process inherits its parent's environment
        "FASTDDS_DEFAULT_PROFILES_FILE": str(shared_files() / "config" / "fastdds_shm.xml"),
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "4294967295",
    }


@contextmanager
def node_process(
    node: str, parameters: Mapping[str, object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our nodes as its own process; at the end interrupt it as Ctrl-C would, kill it after 5 s."""
    arguments = [text for key, value in parameters.items() for text in ("-p", f"{key}:={_as_yaml(value)}")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [executable(node), "--ros-args", *arguments],
            env=environment or node_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """Interrupt a process as Ctrl-C would and wait for it; kill it after the grace time."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _as_yaml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def client_node(name: str, use_sim_time: bool = False) -> Iterator[Node]:
    """A plain node in its own rclpy context, shut down at the end."""
    context = rclpy.Context()
    rclpy.init(context=context)
    parameters = [rclpy.parameter.Parameter("use_sim_time", value=use_sim_time)]
    node = Node(name, context=context, parameter_overrides=parameters)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def spin_until(node: Node, done: Callable[[], bool], timeout_s: float) -> bool:
    """Serve a node's callbacks until `done()` or the timeout; True when done."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + timeout_s
    try:
        while not done() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.02)
    finally:
        executor.remove_node(node)
        executor.shutdown()
    return done()
