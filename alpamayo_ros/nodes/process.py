"""One node, one process: start it, serve it until it is asked to stop, end with an exit status that tells."""

from __future__ import annotations

import faulthandler
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from alpamayo_ros.types import InvalidInput

N = TypeVar("N", bound=Node)

LEAVE_S = 10
"""Fast DDS 3.2 can wait for itself when it leaves while others join: after this long the process ends without it, status 1."""


def run_node(create: Callable[[], N], work: Callable[[N, SingleThreadedExecutor], None] | None = None) -> None:
    """Make a node and serve it until `work` returns (by default never), SIGINT or SIGTERM; then destroy it.

    Exit status 0 after a clean stop; 1 with one line on stderr when the node refuses its input (InvalidInput) or the
    machine refuses it (OSError: disk full, no such file).
    """
    # rclpy ends its context on SIGINT and SIGTERM alike. Python's own answer to SIGINT, a KeyboardInterrupt at any line,
    # could leave a bag half closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _start_ros()
        _serve(create, work)
    except ExternalShutdownException:
        pass
    except RuntimeError:
        if rclpy.ok():
            raise
        # The context ended between two steps of rclpy, which calls that an RCLError: a clean stop as well.
    except (InvalidInput, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        rclpy.try_shutdown()
        faulthandler.cancel_dump_traceback_later()


def _start_ros() -> None:
    try:
        rclpy.init()
        extra = remove_ros_args(sys.argv)[1:]
    except RuntimeError as error:  # a parameter file that is missing or is not YAML, an unknown ROS argument
        raise InvalidInput(f"{type(error).__name__}: {error}") from error
    if extra:
        raise InvalidInput(f"unknown argument {extra[0]!r}, want --ros-args -p name:=value or --params-file FILE")


def _serve(create: Callable[[], N], work: Callable[[N, SingleThreadedExecutor], None] | None) -> None:
    node = create()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    gc.freeze()  # full collections of what was imported would stop the node for 100 ms now and then
    try:
        if work is None:
            executor.spin()  # EventsExecutor.spin() of the ROS wheels executes nothing
        else:
            work(node, executor)
    finally:
        faulthandler.dump_traceback_later(LEAVE_S, exit=True)
        executor.shutdown()
        node.destroy_node()
