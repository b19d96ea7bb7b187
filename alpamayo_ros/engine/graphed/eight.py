"""A bundle with its language model in FP8: faster, nearly the same, and only where somebody has looked how near.

Its gate: `alpamayo build BUNDLE --fp8 BAG` holds it against the exact engine on windows of a drive and writes down what it
found. Without that, or where it strays too far, or for other weights than those, the engine does not open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.dynamics import ActionSpace, estimate_v0, rollout
from alpamayo_ros.engine.eager import claim_device, open_model
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import InvalidInput, ModelOutput, Observation, Request

PARITY = Path("engines") / "graphed-fp8" / "parity.json"

LEAST_SAME_WORDS = 0.9
"""Of the windows: their sentence is that of the exact engine."""

MOST_APART_M = 0.3
"""Trajectories without words in the mean, over all points: another seed of the noise moves the released model's by 1.3 m."""

ASKED = (Request(), Request(reasoning="none"))


@dataclass(frozen=True)
class Parity:
    """How near FP8 is to the exact engine, on windows of a drive."""

    model: str  # `bundle_hash`
    device: str
    windows: int
    same_words: float  # share
    apart_m: float  # mean, of trajectories without words
    apart_p95_m: float

    @property
    def too_far(self) -> str:
        """Why this model must not be run so; empty: it may."""
        found = []
        if not self.same_words >= LEAST_SAME_WORDS:
            found.append(f"{self.same_words:.2f} of the sentences are the same, want {LEAST_SAME_WORDS:.2f}")
        if not self.apart_m <= MOST_APART_M:
            found.append(f"trajectories are {self.apart_m:.2f} m apart, want at most {MOST_APART_M:.2f}")
        return "; ".join(found)


class EightBitEngine(FastEngine):
    """An engine for one bundle, which has passed the gate."""

    def __init__(self, folder: Path) -> None:
        """Open a bundle. Raises InvalidInput, also for one that nobody has held against the exact engine."""
        checked(folder)
        self._open(folder, lambda network: network)

    @classmethod
    def unchecked(cls, folder: Path, watched: Callable[[GraphedNetwork], Network] = lambda network: network) -> EightBitEngine:
        """For whoever checks, or times. Raises InvalidInput for a bundle that is none. `watched`: as of `GraphedEngine`."""
        engine = cls.__new__(cls)
        engine._open(folder, watched)
        return engine

    def _open(self, folder: Path, watched: Callable[[GraphedNetwork], Network]) -> None:
        bundle, config = open_bundle(folder)
        model = open_model(bundle, config, claim_device())
        head, self.dtype = model.vlm.lm_head.weight, model.vlm.lm_head.weight.dtype
        network = GraphedNetwork(
            model, bundle.profile.image_height, bundle.profile.image_width, len(bundle.profile.cameras), in_fp8=True
        )
        super().__init__(bundle, config, read_tokenizer(folder, config), watched(network), head.device)


def checked(folder: Path) -> Parity:
    """What was found of a bundle. Raises InvalidInput where nobody looked, or at other weights, and where it is too far off."""
    path, model = folder / PARITY, bundle_hash(folder)
    look = f"alpamayo build {folder} --fp8 BAG"
    if not path.is_file():
        raise InvalidInput(f"{folder}: nobody has held FP8 against the exact engine: {look}")
    try:
        parity = Parity(**read_json(path))
    except TypeError as error:
        raise InvalidInput(f"{path}: {error}: {look}") from error
    if parity.model != model:
        raise InvalidInput(f"{path} is of model {parity.model}, this is {model}: {look}")
    if parity.too_far:
        raise InvalidInput(f"{folder}: not in FP8: {parity.too_far}: open @graphed")
    return parity


@torch.inference_mode()
def hold(folder: Path, seen: Iterable[Observation]) -> Parity:
    """Hold FP8 against the exact engine and write down what was found, good or bad. Raises InvalidInput for nothing seen."""
    bundle, config = open_bundle(folder)
    windows = list(seen)
    if not windows:
        raise InvalidInput(f"{folder}: no window to hold FP8 against the exact engine on: take a longer bag")
    exact = _answers(GraphedEngine(folder), windows)
    eight = _answers(EightBitEngine.unchecked(folder), windows)
    same = [one[0].texts == other[0].texts for one, other in zip(exact, eight, strict=True)]
    apart = [
        apart_m(window, one[1], other[1], config.action_space) for window, one, other in zip(windows, exact, eight, strict=True)
    ]
    device = claim_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    found = (len(windows), float(np.mean(same)), float(np.mean(apart)), float(np.quantile(apart, 0.95)))
    parity = Parity(bundle_hash(bundle.folder), name, *found)
    (folder / PARITY).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / PARITY) as file:
        file.write((json.dumps(asdict(parity), indent=1) + "\n").encode())
    return parity


def _answers(engine: FastEngine, windows: Iterable[Observation]) -> list[tuple[ModelOutput, ...]]:
    with closing(engine):
        return [tuple(engine.infer(window, request) for request in ASKED) for window in windows]


def apart_m(seen: Observation, one: ModelOutput, other: ModelOutput, space: ActionSpace) -> float:
    """Mean distance of two answers' first trajectories, over all points."""
    v0_mps = estimate_v0(seen.history.xyz, seen.history.rot, space)
    ours, theirs = (rollout(answer.actions[0], v0_mps, 0.0, space).xyz for answer in (one, other))
    return float(np.linalg.norm(ours - theirs, axis=-1).mean())
