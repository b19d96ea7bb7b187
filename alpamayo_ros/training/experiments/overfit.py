"""Whether a small network can learn 32 moments by heart, through the stages that train every network of ours.

What cannot remember what it was shown a hundred times has a mistake in its labels, masks, losses or in how it is sampled. It is
examined as a vehicle runs it: the exported bundle behind the engine, from pictures to a plan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from alpamayo_ros.bundle.folder import EXPERT_KEY, WEIGHTS_FILE, read_metadata
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.engine.loading import bundle_action_space, bundle_profile, open_engine
from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.profile import InputProfile, read_rig
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.suites import TRAINED, SceneId
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.experiments.curves import draw_losses
from alpamayo_ros.training.export import export, model_card
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import METRICS, provenance
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.shelf import shelve
from alpamayo_ros.training.sizes import Size, begin_bundle, open_codec, trained_model
from alpamayo_ros.training.stages import Stage, StageName, begun_model, train_stage
from alpamayo_ros.types import EngineFailure, InvalidInput, Request

SIZE = Size(vision=(32, 1), views=1, language=(96, 192, 2), expert=(64, 192), scene_tokens=8)
"""Its vision tower is drawn and never trained: what it makes of pictures differs from picture to picture, which is enough."""

STAGES: dict[StageName, Stage] = {
    "sft": Stage(
        Optimisation(steps=400, batch=16, learning_rate=4e-3, warmup_steps=20, weight_decay=0.0, matrices="muon"),
        Learned(("views", "language"), words=1.0, trajectory=1.0),
    ),
    "expert": Stage(
        Optimisation(steps=600, batch=16, learning_rate=4e-3, warmup_steps=20, weight_decay=0.0, matrices="muon"),
        Learned(("expert",), flow=1.0, draws=8),
    ),
}

SCENES, WINDOWS, DURATION_S = 8, 4, 16.0


@dataclass(frozen=True)
class Memory:
    """How well it remembers."""

    samples: int
    exact: float  # share of greedy traces that are the shown ones, letter by letter
    ade_1_m: float  # mean over the samples, of the expert's only trajectory to the driven one, at 6.4 s
    worst_ade_1_m: float
    without_plan: int


class Asked(NamedTuple):
    """What was shown and what came back."""

    clip: str
    shown: str
    said: str
    ade_1_m: float


def moments(profile: InputProfile) -> list[SceneSamples]:
    """A few moments each of drives of different families, made on the spot."""
    families = [TRAINED[i] for i in np.linspace(0, len(TRAINED) - 1, SCENES).round().astype(int)]
    drives = [scene_samples(SceneId(family, 1), read_rig("seven_camera"), profile, DURATION_S) for family in families]
    return [with_windows(drive, WINDOWS) for drive in drives]


def with_windows(drive: SceneSamples, count: int) -> SceneSamples:
    """So many windows of a drive, evenly. Raises InvalidInput for a drive with fewer."""
    windows = drive.scene.windows
    if len(windows) < count:
        raise InvalidInput(f"{drive.scene.id}: want {count} windows, it has {len(windows)}")
    places = np.linspace(0, len(windows) - 1, count).round().astype(int)
    return replace(drive, scene=replace(drive.scene, windows=tuple(windows[place] for place in places)))


def overfit(base: Path, out: Path) -> dict[str, Any]:
    """Learn the moments by heart, from a bundle's profile, config and tokenizer, and examine what is left in `out`/bundle.

    Writes `out`/overfit.json and .png. What is done already is not done again. Raises InvalidInput as the stages do.
    """
    if not (out / "begin").exists():
        begin_bundle(out / "begin", base, SIZE)
    codec = open_codec(out / "begin")
    shown = moments(codec.profile)
    drawn = begun_model(codec, out / "begin", STAGES["sft"].optimisation.seed)
    tower = drawn.vlm.model.visual.to(torch.bfloat16).float()  # as bundles hold it
    shelf = shelve(shown, tower, codec, untold=0.0)  # what was shown is what is asked
    chain: tuple[tuple[str, StageName], ...] = (("begin", "sft"), ("sft/bundle", "expert"))
    for before, name in chain:
        train_stage(name, STAGES[name], lambda: shown, out / before, out / name, ALONE, shelf)
    if not (out / "bundle").exists():
        _export(out / "expert" / "bundle", out / "bundle")
    asked = examined(out / "bundle", shown)
    found = memory(asked)
    told = {**vars(found), "size": SIZE, "made_by": provenance(), "asked": [each._asdict() for each in asked]}
    (out / "overfit.json").write_text(json.dumps(told, indent=1, default=vars) + "\n")
    draw_losses({name: losses(out / name) for name in STAGES}, out / "overfit.png")
    return vars(found) | {"files": [str(out / "overfit.json"), str(out / "overfit.png")]}


def losses(run: Path) -> dict[str, list[float]]:
    """What a stage's run folder says of its losses, those that it has."""
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return {
        name: [line[name] for line in lines] for name in ("words", "trajectory", "flow") if any(line[name] for line in lines)
    }


def _export(trained: Path, out: Path) -> None:
    reads = str(read_metadata(trained / WEIGHTS_FILE)[EXPERT_KEY])
    export(trained_model(open_codec(trained), trained), trained, out, reads, model_card("32 moments by heart", {}, {}))


def examined(bundle: Path, shown: Sequence[SceneSamples]) -> list[Asked]:
    """Greedy plans of a bundle's engine for every moment."""
    profile, space = bundle_profile(str(bundle)), bundle_action_space(str(bundle))
    with closing(open_engine(str(bundle))) as engine:
        return [_asked(example, engine, space) for drive in shown for example in scene_examples(drive, profile)]


def _asked(example: Example, engine: Engine, space: ActionSpace) -> Asked:
    shown = example.reasoning.text if example.reasoning else ""
    try:
        made = plan(example.observation, engine, Request(), space)
    except EngineFailure:
        return Asked(example.clip, shown, "", float("nan"))  # counted: `without_plan`
    return Asked(example.clip, shown, made.reasoning.text, ade_m(made.trajectory.xyz, example.future.xyz))


def memory(asked: Sequence[Asked]) -> Memory:
    """How well it remembers; a moment without a plan is not exact, and has no distance."""
    away_m = np.array([each.ade_1_m for each in asked])
    exact = np.mean([each.said == each.shown for each in asked])
    return Memory(len(asked), float(exact), float(np.nanmean(away_m)), float(np.nanmax(away_m)), int(np.isnan(away_m).sum()))
