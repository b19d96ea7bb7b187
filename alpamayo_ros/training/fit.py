"""The loop of every stage: batches in, a trained network out, and a run that can be cut off anywhere.

What a step does depends on the seed and its number alone: after an interruption the same losses follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from alpamayo_ros.training.batch import Batch
from alpamayo_ros.training.checkpoints import restore, save
from alpamayo_ros.training.optimizers import Optimizers, forget_gradients, optimizers, take_step, warm_to
from alpamayo_ros.training.processes import Processes, clip
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.student import Losses, Student, draw_noise, recomputing
from alpamayo_ros.types import InvalidInput

Feed = Callable[[int], Iterator[Batch]]
"""From a pass's number on, the batches of this process without end: the same ones every time, all of as many examples."""


@dataclass(frozen=True)
class Fitted:
    """What became of a stage."""

    steps: int
    loss_first: float  # of the first tenth of the steps, and of the last; weighted
    loss_last: float


def fit(student: Student, feed: Feed, settings: Optimisation, run: Run, processes: Processes) -> Fitted:
    """Train, from the last checkpoint of the run on where there is one. Raises InvalidInput for a loss that is not finite."""
    taking = optimizers(student, settings)
    began = restore(run.checkpoints, student, taking, processes)
    batches = feed(began * settings.accumulate)
    student.train()
    for step in run.steps(began, settings.steps):
        rate = settings.rate_at(step)
        warm_to(taking, rate)
        with recomputing(student) if settings.recompute else nullcontext():
            losses = _update(student, taking, batches, settings, step, processes)
        run.note(step, {**losses, "learning_rate": rate})
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            save(run.checkpoints, step + 1, student, taking, processes)
    student.eval()
    return fitted(run)


def fitted(run: Run) -> Fitted:
    """How far a run's loss has come."""
    losses = run.history("loss")
    return Fitted(len(losses), *ends(losses))


def ends(history: Sequence[float]) -> tuple[float, float]:
    """Means of the first and the last tenth of a history."""
    tenth = max(1, len(history) // 10)
    return sum(history[:tenth]) / tenth, sum(history[-tenth:]) / tenth


def learn(network: nn.Module, taking: Optimizers, loss: float, settings: Optimisation, step: int) -> float:
    """Take the step that the gradients ask for; their norm before it was cut.

    Raises InvalidInput for a loss that is not finite.
    """
    if not math.isfinite(loss):
        raise InvalidInput(f"step {step}: the loss is {loss}; a lower learning rate than {settings.learning_rate} may help")
    norm = clip(network, settings.clip_norm)
    take_step(taking)
    forget_gradients(taking)
    return norm


def _update(
    student: Student,
    taking: Optimizers,
    batches: Iterator[Batch],
    settings: Optimisation,
    step: int,
    processes: Processes,
) -> dict[str, float]:
    """One step over the passes it accumulates; its losses, means over all that is learned in it.

    However an update is split into passes and processes, it is the same: a pass counts as much as it has tokens, for the mean
    of means is not the mean of all, and an example's noise comes from its place in the update. (Distances of
    `sights` are the exception: means over what is near, and examples differ in how much is.)
    """
    passes = [next(batches) for _ in range(settings.accumulate)]
    sums = torch.zeros(len(Losses._fields) + 1, device=processes.device)
    for number, (batch, share) in enumerate(zip(passes, shares(student, passes, processes), strict=True)):
        first = (number * processes.count + processes.rank) * len(batch.actions)
        seeds = [seed_of(settings.seed, step, first + i) for i in range(len(batch.actions))]
        noise = draw_noise(seeds, student.learned)
        with precision(settings, processes.device):
            losses: Losses = student(batch.to(processes.device), type(noise)(*(drawn.to(processes.device) for drawn in noise)))
        parts = Losses(*(loss * part for loss, part in zip(losses, share, strict=True)))
        total = student.weighted(parts)
        (total * processes.count).backward()  # gradients become means over the processes
        sums += torch.stack([*parts, total]).detach()
    told = dict(zip((*Losses._fields, "loss"), processes.sum(sums).tolist(), strict=True))
    return {**told, "gradient": learn(student, taking, told["loss"], settings, step)}


def shares(student: Student, passes: Sequence[Batch], processes: Processes) -> list[tuple[float, ...]]:
    """Of each pass of this process, which part of an update's words, action tokens and examples it has."""
    own = torch.tensor([student.counts(batch) for batch in passes])
    return [tuple(part) for part in (own / processes.sum(own.sum(dim=0)).clamp(min=1)).tolist()]


def precision(settings: Optimisation, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 where that is asked for; weights and their updates stay as they are."""
    return torch.autocast(device.type, torch.bfloat16) if settings.precision == "bfloat16" else nullcontext()


def seed_of(*numbers: int) -> int:
    """A seed for torch that every one of the numbers changes."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
