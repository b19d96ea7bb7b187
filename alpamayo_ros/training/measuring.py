"""What a bundle's expert drives, and whether that is what the bundle says: on held-out windows, as the runtime plans them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.folder import BACKBONE_KEY, EXPERT_KEY, WEIGHTS_FILE, read_metadata
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.simulation.suites import Split
from alpamayo_ros.training.dataset.reading import DataSet, read_examples
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.streaming import SPLIT
from alpamayo_ros.types import EngineFailure, InvalidInput, Plan, Request

HELD_OUT: Split = "validation"


class Windows(NamedTuple):
    """What an expert is measured on."""

    split: Split
    examples: tuple[Example, ...]


def windows_of(data: DataSet, most: int) -> Windows:
    """At most so many windows, evenly over the shards: of split validation where there is one, else of what is learned from.

    A shard that is damaged is named on stderr and passed over.
    """
    has_held_out = any(shard.split == HELD_OUT and shard.examples for shard in data.shards)
    split = HELD_OUT if has_held_out else SPLIT
    shards = [shard for shard in data.shards if shard.split == split and shard.examples][:most]
    found: list[Example] = []
    for shard in shards:
        each = math.ceil(most / len(shards))
        try:
            found += islice(read_examples(shard, data), 0, None, math.ceil(shard.examples / each))
        except InvalidInput as error:
            print(f"nothing is measured on a shard: {error}", file=sys.stderr)
    return Windows(split, tuple(found[:most]))


def expert_fits(bundle: Path) -> bool:
    """Whether a bundle's expert was trained on its backbone: what released ones do not say, they are."""
    weights = bundle / WEIGHTS_FILE
    said = read_metadata(weights) if weights.exists() else {}
    return said.get(EXPERT_KEY) == said.get(BACKBONE_KEY)


def expert_figures(bundle: Path, asked: Sequence[Example]) -> dict[str, float]:
    """Of plans for windows, most likely words first: `consistent`, the share whose trajectory does what the words say, and
    `ade_m` over 6.4 s.

    A window without a plan, whose words never asked for a trajectory, is not consistent and has no distance; where there is no
    plan at all there is no `ade_m`. Raises InvalidInput for a bundle that no engine opens.
    """
    space = open_bundle(bundle)[1].action_space
    with _threads_kept(), closing(EagerEngine(bundle)) as engine:
        plans = [_planned(example, engine, space) for example in asked]
    made = [(example, each) for example, each in zip(asked, plans, strict=True) if each is not None]
    figures = {"windows": float(len(asked)), "plans": float(len(made))}
    if asked:
        figures["consistent"] = sum(each.consistent.agrees is True for _, each in made) / len(asked)
    if made:
        figures["ade_m"] = float(np.mean([ade_m(each.trajectory.xyz, example.future.xyz) for example, each in made]))
    return figures


def _planned(example: Example, engine: Engine, space: ActionSpace) -> Plan | None:
    try:
        return plan(example.observation, engine, Request(), space)
    except EngineFailure:
        return None  # counted as a window without a plan


@contextmanager
def _threads_kept() -> Iterator[None]:
    """An engine on a CPU claims one thread for good; training goes on with those it had."""
    count = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(count)
