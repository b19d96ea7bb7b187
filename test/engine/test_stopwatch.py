"""Durations: until the device is done, and on a GPU between its own events."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from alpamayo_ros.engine.stopwatch import Stopwatch, gpu_state, percentiles, state_of


def test_a_stage_on_a_gpu_ends_when_the_device_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            happened.append("event")

        def elapsed_time(self, end: Event) -> float:
            return 1.5

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: happened.append("done"))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    on_cpu, on_gpu = (Stopwatch(torch.device(kind)) for kind in ("cpu", "cuda"))
    assert on_cpu.time("look", lambda: "seen") == "seen"
    assert not happened
    assert not on_cpu.device_ms
    on_gpu.time("look", lambda: happened.append("work"))
    assert happened == ["done", "event", "work", "event", "done"]
    assert on_gpu.device_ms == {"look": [1.5]}


def test_percentiles() -> None:
    numbers = count()
    watch = Stopwatch(torch.device("cpu"))
    watch.ms["flow"] = [float(next(numbers)) for _ in range(101)]
    assert watch.percentiles() == {"flow": percentiles(watch.ms["flow"])}
    assert watch.percentiles() == {"flow": {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0}}


def test_clocks_are_those_of_the_gpu_that_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/asked\necho '1980, 2619, 41, [N/A]'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1234"))
    found = gpu_state(torch.device("cuda"))
    assert found == {"sm_mhz": 1980.0, "memory_mhz": 2619.0, "temperature_c": 41.0, "power_w": None}
    assert "--id=GPU-1234" in (tmp_path / "asked").read_text()
    command.write_text("#!/bin/sh\nexit 6\n")
    assert gpu_state(torch.device("cuda")) is None
    assert gpu_state(torch.device("cpu")) is None


def test_a_field_too_few_is_no_state() -> None:
    with pytest.raises(ValueError, match="shorter"):
        state_of("1980, 2619, 41")
