"""How long something took: by the wall until the device is done, on a GPU by its own events too, and what its clocks were."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch

Result = TypeVar("Result")

STATE = {"sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "temperature_c": "temperature.gpu", "power_w": "power.draw"}
"""What is told of a GPU beside its figures, and how nvidia-smi calls it."""


class Stopwatch:
    """Durations by stage, ms. A stage ends when the device is done with it."""

    def __init__(self, where: torch.device) -> None:
        self.ms: dict[str, list[float]] = defaultdict(list)
        self.device_ms: dict[str, list[float]] = defaultdict(list)
        """Between a GPU's own events: without what the processor does before its first kernel. Empty elsewhere."""
        self._on_gpu = where.type == "cuda"

    def now_ms(self) -> float:
        """When everything that was asked of the device is done."""
        if self._on_gpu:
            torch.cuda.synchronize()
        return perf_counter() * 1e3

    def time(self, stage: str, work: Callable[[], Result]) -> Result:
        """What `work` returns."""
        began = self.now_ms()
        event_of: Callable[..., torch.cuda.Event] = torch.cuda.Event  # torch leaves it untyped
        events = [event_of(enable_timing=True) for _ in range(2)] if self._on_gpu else []
        for event in events[:1]:
            event.record()
        result = work()
        for event in events[1:]:
            event.record()
        self.ms[stage].append(self.now_ms() - began)
        if events:
            self.device_ms[stage].append(events[0].elapsed_time(events[1]))
        return result

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Of every stage, by the wall."""
        return {stage: percentiles(ms) for stage, ms in self.ms.items()}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The three that are told of all durations, ms."""
    return {f"p{p}_ms": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}


def gpu_state(where: torch.device) -> dict[str, float | None] | None:
    """Clocks, temperature and power of a GPU at this moment, None for what it does not tell; None without nvidia-smi."""
    command = shutil.which("nvidia-smi")
    if where.type != "cuda" or command is None:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(where).uuid}"  # its number is another one where some are hidden
    query = [command, f"--query-gpu={','.join(STATE.values())}", "--format=csv,noheader,nounits", f"--id={uuid}"]
    told = subprocess.run(query, capture_output=True, text=True, check=False)
    return state_of(told.stdout) if told.returncode == 0 else None


def state_of(line: str) -> dict[str, float | None]:
    """ "1980, 2619, 41, [N/A]" as figures, in the order of STATE."""
    fields = [field.strip() for field in line.split(",")]
    return {name: _number(field) for name, field in zip(STATE, fields, strict=True)}


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None
