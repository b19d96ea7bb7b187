"""Small networks in bfloat16 that do look: how far the fast engine's actions may lie from the reference's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from engine.test_eager import released_bundle, seen_by
from model.nano import SHIPPED

from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.types import Observation, Request

Kind = Literal["nano", "r1", "1.5"]
KINDS: tuple[Kind, ...] = ("nano", "r1", "1.5")

APART: dict[Kind, float] = {"nano": 0.004, "r1": 0.001, "1.5": 0.001}
"""Mean over normalised actions, at most: half of it or less is measured on a CPU, and half as much again or more where a
matrix of the expert is larger by a tenth."""

REQUESTS = (
    Request(steps=1, max_tokens=32),
    Request(steps=1, max_tokens=32, samples=3),
    Request(steps=1, reasoning="none", samples=6),
)


def narrow(kind: Kind, folder: Path) -> tuple[GraphedEngine, Observation]:
    """What ships, or a drawn network of a released layout, in bfloat16; it is told what to say."""
    if kind == "nano":
        shutil.copytree(SHIPPED, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_dtype": "bfloat16"}))
    else:
        released_bundle(folder, kind, "bfloat16")
    engine = GraphedEngine(folder)
    if kind != "nano":
        _make_loud(engine)
    engine.told = [*range(30, 50), engine._tokenizer.id("<|traj_future_start|>")]
    return engine, seen_by(folder)


@torch.inference_mode()
def _make_loud(engine: GraphedEngine) -> None:
    """Drawn weights are so small that actions are hardly more than their noise, whatever is seen."""
    model = engine.model
    for part in (model.vlm.model.language_model.layers, model.expert, model.action_in_proj, model.action_out_proj):
        for weight in part.parameters():
            if weight.ndim == 2:
                weight *= 6


def apart(engine: GraphedEngine, seen: Observation, request: Request) -> float:
    """Mean distance of the fast engine's actions from those of the reference on the same weights."""
    return float(np.abs(engine.infer(seen, request).actions - engine.as_the_reference(seen, request).actions).mean())


@torch.inference_mode()
def apart_when_wrong(engine: GraphedEngine, seen: Observation, request: Request) -> float:
    """The same where the fast engine's expert is another one; it is spoilt then."""
    expected = engine.as_the_reference(seen, request).actions
    engine.model.expert.layers[0].mlp.down_proj.weight *= 1.1
    return float(np.abs(engine.infer(seen, request).actions - expected).mean())
