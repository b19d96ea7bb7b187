"""The server of the service: where it listens, what it opens, and how it ends."""

from __future__ import annotations

import ipaddress
import re
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc
from alpasim_grpc.v0 import egodriver_pb2_grpc

from alpamayo_ros.engine.loading import bundle_name, bundle_profile
from alpamayo_ros.evaluation.replay import DEFAULT
from alpamayo_ros.pipeline.buffers import ring_slots
from alpamayo_ros.simulation.alpasim.engine import SharedEngine
from alpamayo_ros.simulation.alpasim.incoming import alpasim_rig
from alpamayo_ros.simulation.alpasim.service import EgodriverService
from alpamayo_ros.simulation.alpasim.session import Setup
from alpamayo_ros.types import InvalidInput, Request

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A PNG of a camera is larger than gRPC's own limit of 4 MiB."""

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.\-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Asked:
    """What is to be served."""

    bundle: str
    address: str = "127.0.0.1:6789"
    rig: str = ""  # Hyperion 8 at AlpaSim's rate
    profile: str = "seven_camera"
    allow_remote: bool = False
    max_sessions: int = 4
    deadline_s: float = 30.0  # of one plan
    request: Request = DEFAULT


def check_address(address: str, *, allow_remote: bool) -> None:
    """Raise InvalidInput for what is not HOST:PORT, and for a host that others can reach unless that was asked for."""
    matched = _ADDRESS.fullmatch(address)
    if matched is None or int(matched[2]) > 65535:
        raise InvalidInput(f"address {address!r}: want HOST:PORT such as 127.0.0.1:6789")
    if not (allow_remote or _is_loopback(matched[1].strip("[]"))):
        raise InvalidInput(
            f"address {address} can be reached from other machines, and the channel has neither a password nor encryption: "
            "whoever reaches it can drive and fill the memory. Want 127.0.0.1 (with an SSH tunnel to it), or --allow-remote"
        )


@contextmanager
def serving(asked: Asked) -> Iterator[tuple[EgodriverService, int]]:
    """The service and its port while it listens. Raises InvalidInput, OSError when the address is taken."""
    check_address(asked.address, allow_remote=asked.allow_remote)
    if not (1 <= asked.max_sessions <= 256 and asked.deadline_s > 0):
        raise InvalidInput(f"want 1..256 sessions and a deadline above 0 s, got {asked.max_sessions} and {asked.deadline_s}")
    profile = bundle_profile(asked.bundle, asked.profile)
    rig = alpasim_rig(asked.rig, profile)
    # Every session can be waiting for the engine while pictures still come in.
    pool = ThreadPoolExecutor(asked.max_sessions + 8, thread_name_prefix="alpasim")
    limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("receive", "send")]
    # Two servers must not share a port without knowing it.
    server = grpc.server(pool, options=[*limits, ("grpc.so_reuseport", 0)])
    port = _bound(server, asked.address)
    engine = SharedEngine(asked.bundle, profile, asked.max_sessions * ring_slots(profile, rig, threads=0), asked.deadline_s)
    try:
        setup = Setup(profile, rig, engine, asked.request)
        service = EgodriverService(setup, f"alpamayo_ros {_version()} {bundle_name(asked.bundle)}", asked.max_sessions)
        egodriver_pb2_grpc.add_EgodriverServiceServicer_to_server(service, server)
        server.start()
        yield service, port
    finally:
        server.stop(grace=None).wait()
        engine.close()
        pool.shutdown()


def serve(asked: Asked) -> dict[str, Any]:
    """Drive in AlpaSim until Ctrl-C or SIGTERM; how many sessions, drives and plans there were."""
    ended = threading.Event()
    with serving(asked) as (service, port):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        host = asked.address.rpartition(":")[0]
        print(f"{bundle_name(asked.bundle)} drives for AlpaSim at {host}:{port}; Ctrl-C ends it", file=sys.stderr, flush=True)
        ended.wait()
        return {"bundle": asked.bundle, "address": f"{host}:{port}", **service.counts}


def _bound(server: Any, address: str) -> int:
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise OSError(f"cannot listen at {address}: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _version() -> str:
    try:
        return version("alpamayo_ros")
    except PackageNotFoundError:
        return "unknown"
