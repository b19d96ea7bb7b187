"""`alpamayo bench training`: how many samples and tokens a second a stage learns, and how much of the machine it uses.

Work is counted, not guessed: `torch.utils.flop_counter` adds up every matrix product of an update, forward and backward. On a
device whose peak is known the share of it that is used is told, too (model FLOPs utilisation, without what is recomputed).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from alpamayo_ros.training.batch import Batch
from alpamayo_ros.training.chain import debug_scenes
from alpamayo_ros.training.fit import precision
from alpamayo_ros.training.optimizers import Optimizers, forget_gradients, optimizers, take_step
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import USUAL, Shelf, shelve
from alpamayo_ros.training.sizes import SIZES, SizeName, begin_bundle, new_model, open_codec
from alpamayo_ros.training.stages import STAGES, StageName
from alpamayo_ros.training.student import Student, draw_noise

TIMED: tuple[StageName, ...] = ("inject", "sft", "expert")
PEAK_TFLOPS: Mapping[str, float] = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bfloat16, by a part of the device's name (NVIDIA data sheets)."""


@dataclass(frozen=True)
class Throughput:
    """Of one stage, on one process."""

    stage: str
    precision: str
    batch: int
    tokens: int  # of a sample, padded
    samples_per_s: float  # median over updates
    tokens_per_s: float
    gflop_per_sample: float
    gflop_per_s: float
    mfu: float | None  # share of the device's peak; None: it is not known


def bench_training(size: SizeName, base: Path, out: Path, updates: int = 12) -> dict[str, Any]:
    """Time updates of every stage that reads a prompt, on two short drives; prints the table, writes training.json."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        begin_bundle(Path(folder) / "begin", base, SIZES[size])
        codec = open_codec(Path(folder) / "begin")
    model = new_model(codec, 0)
    shelf = shelve(debug_scenes(codec.profile), model.vlm.model.visual, codec)
    model.to(device)
    rows = []
    for name in TIMED:
        stage = STAGES[size][name]
        assert stage.learned is not None
        own = shelf if stage.asks_reasons else shelf.without_reasons(codec)
        rows.append(measure(name, Student(model, stage.learned), own, stage.optimisation, device, updates))
    found: dict[str, Any] = {"size": size, "parameters": sum(p.numel() for p in model.parameters()), "device": _named(device)}
    found |= {"threads": torch.get_num_threads(), "updates": updates, "stages": [asdict(row) for row in rows]}
    out.mkdir(parents=True, exist_ok=True)
    (out / "training.json").write_text(json.dumps(found, indent=1) + "\n")
    _print(size, rows)
    return found | {"files": [str(out / "training.json")]}


def measure(
    name: str, student: Student, shelf: Shelf, settings: Optimisation, device: torch.device, updates: int
) -> Throughput:
    """Median over updates, after two that warm up; the first of them is counted."""
    # Two short drives are fewer lessons than a batch, and an epoch leaves most of the usual ones out.
    shelf = replace(shelf, lessons=shelf.lessons * math.ceil(settings.batch / USUAL / len(shelf.lessons)))
    batches, taking = shelf.shuffled(settings.batch, 0, 0), optimizers(student, settings)
    batch = next(batches).to(device)
    with FlopCounterMode(display=False) as counter:
        _update(student, taking, batch, settings, device)
    took_s = [_update(student, taking, batch, settings, device) for _ in range(updates + 1)][1:]
    samples_per_s = settings.batch / float(np.median(took_s))
    gflop = counter.get_total_flops() / settings.batch / 1e9
    peak = next((tflops for part, tflops in PEAK_TFLOPS.items() if part in _named(device)), None)
    return Throughput(
        stage=name,
        precision=settings.precision,
        batch=settings.batch,
        tokens=batch.token_ids.shape[1],
        samples_per_s=samples_per_s,
        tokens_per_s=samples_per_s * batch.token_ids.shape[1],
        gflop_per_sample=gflop,
        gflop_per_s=gflop * samples_per_s,
        mfu=None if peak is None else gflop * samples_per_s / (peak * 1e3),
    )


def _update(student: Student, taking: Optimizers, batch: Batch, settings: Optimisation, device: torch.device) -> float:
    """Seconds that an update takes, until the device is done."""
    noise = draw_noise(range(len(batch.actions)), student.learned)
    noise = type(noise)(*(drawn.to(device) for drawn in noise))
    began_s = time.perf_counter()
    with precision(settings, device):
        losses = student(batch, noise)
    student.weighted(losses).backward()
    take_step(taking)
    forget_gradients(taking)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began_s


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _print(size: str, rows: Sequence[Throughput]) -> None:
    columns = ("stage", "batch", "tokens", "samples/s", "tokens/s", "GFLOP/sample", "GFLOP/s", "MFU")
    table = Table(*columns, title=f"Training, size {size}, {rows[0].precision}")
    for row in rows:
        numbers = (f"{value:.3g}" for value in (row.samples_per_s, row.tokens_per_s, row.gflop_per_sample, row.gflop_per_s))
        used = "peak not known" if row.mfu is None else f"{row.mfu:.1%}"
        table.add_row(row.stage, str(row.batch), str(row.tokens), *numbers, used)
    Console(width=110, stderr=True).print(table)
