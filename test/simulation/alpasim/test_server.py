from __future__ import annotations

import importlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.alpasim.runtime import small_profile

from alpamayo_ros.simulation.alpasim.server import Asked, check_address, serving
from alpamayo_ros.types import InvalidInput


@pytest.mark.parametrize("address", ["0.0.0.0:6789", "192.168.1.7:6789", "[::]:6789", "car.example.com:6789"])
def test_an_address_that_others_reach_is_refused_unless_asked_for(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"neither a password nor encryption.* 127.0.0.1 .*--allow-remote"):
        check_address(address, allow_remote=False)
    check_address(address, allow_remote=True)


@pytest.mark.parametrize("address", ["127.0.0.1:6789", "localhost:0", "[::1]:6789", "127.8.9.10:1"])
def test_this_machine_is_no_other(address: str) -> None:
    check_address(address, allow_remote=False)


@pytest.mark.parametrize("address", ["6789", "127.0.0.1", "127.0.0.1:99999", "unix:/tmp/x", "::1:6789", "", "a b:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="want HOST:PORT"):
        check_address(address, allow_remote=True)


def test_a_port_is_not_shared(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen at {address}"), serving(Asked("kinematic", address)):
            pass


def test_a_bundle_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    asked = Asked("engine.own_engines:dies_opening", "127.0.0.1:0", profile=small_profile(tmp_path))
    with pytest.raises(InvalidInput, match=r"cannot be opened: .*no such weights"), serving(asked):
        pass


def command(before: str = "pass", *more: str) -> list[str]:
    own = ["alpamayo", "alpasim", "--bundle", "kinematic", "--address", "127.0.0.1:0", *more]
    return [sys.executable, "-c", f"import sys; {before}; sys.argv = {own}; from alpamayo_ros.cli import main; main()"]


@pytest.mark.parametrize(
    ("library", "before", "remedy"),
    [
        ("grpc", "sys.modules['grpc'] = None", 'pip install "alpamayo_ros[alpasim]"'),
        ("alpasim_grpc", "pass", "it is part of AlpaSim's checkout, pip install <alpasim>/src/grpc"),
    ],
)
def test_what_is_not_installed_is_named_with_its_remedy(library: str, before: str, remedy: str) -> None:
    done = subprocess.run(command(before), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"needs {library}, which is not here: {remedy}" in done.stderr


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    there = str(Path(importlib.import_module("alpasim_grpc").__path__[0]).parent)
    code = command(f"sys.path.insert(0, {there!r})", "--profile", small_profile(tmp_path))
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "kinematic drives for AlpaSim at 127.0.0.1:" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    figures = json.loads(out)
    assert {name: figures[name] for name in ("bundle", "sessions", "drives", "plans", "refused")} == {
        "bundle": "kinematic",
        "sessions": 0,
        "drives": 0,
        "plans": 0,
        "refused": 0,
    }
