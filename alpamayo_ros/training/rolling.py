"""Who writes the rollouts of a step: this process, or workers of a Ray, which are told the weights of the step first.

Writing them is most of the time of reinforcement, and needs nothing of what learns from them but its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch

from alpamayo_ros.engine.weights import read_state, write_state
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.tokens import Tokenizer
from alpamayo_ros.training.rollouts import Group, Question, roll_out_all
from alpamayo_ros.training.sizes import open_codec
from alpamayo_ros.training.workers import HERE, Failure, Workers, hired, in_order
from alpamayo_ros.types import InvalidInput, Request


class Asked(NamedTuple):
    """Questions that are answered side by side, each with a seed of its own."""

    questions: tuple[Question, ...]
    seeds: tuple[int, ...]
    drawing: Request


Rolling = Callable[[Alpamayo, Sequence[Asked]], Iterator[Group]]
"""(network, parts of a pool) -> the group of every question, in their order, where the network is."""


def roll_here(model: Alpamayo, parts: Sequence[Asked], tokenizer: Tokenizer) -> Iterator[Group]:
    """A `Rolling` of this process."""
    for part in parts:
        yield from roll_out_all(model, part.questions, part.drawing, part.seeds, tokenizer)


@contextmanager
def rolling(bundle: Path, told: Path, workers: Workers = HERE) -> Iterator[Rolling]:
    """A `Rolling` by workers, for as many steps as the block has; they write what this process would.

    `bundle`: config, profile and tokenizer; `told`: a folder that all machines see, in which weights lie while they are in use.
    Raises InvalidInput where workers cannot be had, and for a part whose worker refused it or died.
    """
    if workers.ray is None:
        yield partial(roll_here, tokenizer=open_codec(bundle).tokenizer)
        return
    told.mkdir(parents=True, exist_ok=True)
    numbers = count()
    with hired(partial(_begin, bundle.resolve(), "cuda" if workers.gpus else "cpu"), workers) as crew:

        def roll(model: Alpamayo, parts: Sequence[Asked]) -> Iterator[Group]:
            weights = told.resolve() / f"{next(numbers)}.safetensors"
            write_state(model, weights)
            try:
                for groups in in_order(crew([(weights, part) for part in parts])):
                    if isinstance(groups, Failure):
                        raise InvalidInput(f"rollouts: {groups.reason}")
                    yield from (_moved(group, model.device) for group in groups)
            finally:
                weights.unlink()

        yield roll


def _begin(bundle: Path, device: str) -> Callable[[tuple[Path, Asked]], list[Group]]:
    """A worker: its network has the weights that it was told last."""
    codec = open_codec(bundle)
    with torch.device("meta"):
        model = Alpamayo(codec.config)
    held = Path()

    def write(item: tuple[Path, Asked]) -> list[Group]:
        nonlocal held
        weights, part = item
        if weights != held:
            read_state(model, weights, device)
            held = weights
        groups = roll_out_all(model, part.questions, part.drawing, part.seeds, codec.tokenizer)
        return [_moved(group, torch.device("cpu")) for group in groups]

    return write


def _moved(group: Group, device: torch.device) -> Group:
    return Group(group.token_ids.to(device), group.log_probs.to(device), group.written.to(device), group.rollouts)
