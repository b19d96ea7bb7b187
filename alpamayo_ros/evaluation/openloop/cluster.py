"""Ray, started here or found at an address, while something runs on it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from alpamayo_ros.types import InvalidInput

LOCAL = "local"
OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Shared memory of a Ray that is started here: what is handed over is small. Containers often have 64 MB, Ray wants 75."""

CONNECT_S = 10.0


@contextmanager
def cluster(address: str) -> Iterator[None]:
    """Ray is there: one of this machine for "local", which ends with the block, or the one at an address.

    Raises InvalidInput where there is none, ModuleNotFoundError where Ray is not installed.
    """
    import ray

    _check_answers(address)
    try:
        if address == LOCAL:
            store = OBJECT_STORE_BYTES
            ray.init(
                LOCAL, include_dashboard=False, object_store_memory=store, log_to_driver=False, logging_level=logging.ERROR
            )
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise InvalidInput(f"no Ray cluster at {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself waits for a cluster without end."""
    host, found, port = address.removeprefix("ray://").rpartition(":")
    if not found:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"no Ray cluster at {address!r}: {error}") from error
