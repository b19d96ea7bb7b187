"""A model from nothing: all stages of a size one after another, and the bundle that comes out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from alpamayo_ros.bundle.folder import EXPERT_KEY, WEIGHTS_FILE, has_weights, read_metadata
from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.profile import InputProfile, read_rig
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.coc.judge import judged_by_rule
from alpamayo_ros.training.dataset.reading import described
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.export import export, figured, model_card
from alpamayo_ros.training.measuring import expert_figures
from alpamayo_ros.training.objectives import ClippedRatio
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.reinforce import Reinforcement, Task
from alpamayo_ros.training.reinforcing import reinforce_bundle, without_surroundings
from alpamayo_ros.training.rewards import WORLD, Redriven, reward, truth_of
from alpamayo_ros.training.rollouts import question_of
from alpamayo_ros.training.run import Run, check_tokenizer, provenance, tokenizer_sha256
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import Shelf, blinded, shelve
from alpamayo_ros.training.sizes import SIZES, SizeName, begin_bundle, check_size, open_codec, trained_model
from alpamayo_ros.training.stages import AGAIN, ORDER, STAGES, Scenes, begun_model, train_stage
from alpamayo_ros.types import InvalidInput, Request

DEBUG_SCENES = (SceneId("red_light", 3), SceneId("curve", 1))
DEBUG_DURATION_S = 12.0

MEASURED_SCENES, PER_SCENE = 4, 4
"""Scenes, and windows of each, on which the expert is measured before and after reinforcement."""

REINFORCEMENTS: Mapping[str, Reinforcement] = {
    "debug": Reinforcement(
        Optimisation(steps=2, batch=2, learning_rate=1e-4),
        ClippedRatio(),
        Request(samples=4, greedy=False, temperature=1.0, top_p=1.0, max_tokens=48),
        pool=2,
    )
}
"""By size."""


def debug_scenes(profile: InputProfile) -> list[SceneSamples]:
    """Two short drives, made on the spot."""
    return [scene_samples(scene, read_rig("seven_camera"), profile, DEBUG_DURATION_S) for scene in DEBUG_SCENES]


def train_all(
    size: SizeName,
    scenes: Scenes,
    base: Path,
    out: Path,
    processes: Processes,
    data: Sequence[Path] = (),
    *,
    blind: bool = False,
    again: bool = False,
) -> dict[str, Any]:
    """Train a size by its stages into `out`/NAME, and leave the model in `out`/bundle; figures per stage.

    `base` has the profile, the config and the tokenizer; with `again`, the weights to begin with, too; `data` are the data sets
    that the scenes are of. What is done already is not done again. A control is trained blind: it has what everybody has but
    pictures, no stages that learn to see, and all of its own motion, as that is what it has. Raises InvalidInput as the stages
    do, and for a size that has no stages for `again`.
    """
    if again and size not in AGAIN:
        raise InvalidInput(f"size {size} has no stages for a trained bundle: want one of {', '.join(AGAIN)}")
    if again and not has_weights(base):
        raise InvalidInput(f"{base} has no weights to be trained again: want a trained bundle, or no --begin")
    if again:
        check_size(base, size)
    check_tokenizer(base)
    Run(out, {"size": size, "blind": blind, "data": described(data), "tokenizer": tokenizer_sha256(base)})
    if not again and not (out / "begin").exists():
        begin_bundle(out / "begin", base, SIZES[size])
    stages, begin = (AGAIN[size], base) if again else (STAGES[size], out / "begin")
    done: dict[str, Mapping[str, float]] = {}
    if not blind:
        done["see"] = asdict(train_stage("see", stages["see"], scenes, begin, out / "see", processes, None, data))
        begin = out / "see" / "bundle"
    codec = open_codec(begin)
    tower = begun_model(codec, begin, stages["see"].optimisation.seed).vlm.model.visual
    shelf = shelve(map(blinded, scenes()) if blind else scenes(), tower, codec)
    for name in [name for name in ORDER if name in stages][2 if blind else 1 :]:
        stage = replace(stages[name], forgets=0.0) if blind else stages[name]
        done[name] = asdict(train_stage(name, stage, scenes, begin, out / name, processes, shelf, data))
        begin = out / name / "bundle"
    if size in REINFORCEMENTS and not again:
        begin = _reinforced(size, scenes, shelf, begin, out, processes, done, data)
    begun = {"begun with": f"{base.name}, {WEIGHTS_FILE} {file_sha256(base / WEIGHTS_FILE)}"} if again else {}
    _leave(size + (", trained blind" if blind else ""), begun, begin, out / "bundle", done)
    return {"stages": done, "files": [str(out / "bundle")]}


def _reinforced(
    size: SizeName,
    scenes: Scenes,
    shelf: Shelf,
    begin: Path,
    out: Path,
    processes: Processes,
    done: dict[str, Mapping[str, float]],
    data: Sequence[Path],
) -> Path:
    """Reinforce a bundle and train its expert again; the bundle that is left. What the expert drives is measured before and
    after."""
    windows = _windows(scenes, open_codec(begin).profile)
    done["expert before reinforce"] = expert_figures(begin, windows)
    world = Redriven(taken.scene for taken in scenes())
    done["reinforce"] = reinforce_stage(REINFORCEMENTS[size], shelf, world, begin, out / "reinforce", processes)
    again, stage = out / "expert_again", STAGES[size]["expert"]
    fitted = train_stage("expert", stage, scenes, out / "reinforce" / "bundle", again, processes, shelf, data)
    done["expert again"] = asdict(fitted)
    done["expert after reinforce"] = figures = expert_figures(again / "bundle", windows)
    Run(again, {}).note(stage.optimisation.steps, {f"expert_{name}": value for name, value in figures.items()})
    return again / "bundle"


def _windows(scenes: Scenes, profile: InputProfile) -> list[Example]:
    """The first ones of a few scenes, of those that are learned from: a chain has no others."""
    return [each for taken in islice(scenes(), MEASURED_SCENES) for each in islice(scene_examples(taken, profile), PER_SCENE)]


def reinforce_stage(
    settings: Reinforcement, shelf: Shelf, world: Redriven, begin: Path, out: Path, processes: Processes
) -> dict[str, float]:
    """Reinforce the backbone of a bundle on what is on a shelf; mean rewards of the first and last steps."""
    codec = open_codec(begin)
    without_surroundings(WORLD, [lesson.example for lesson in shelf.lessons], world)
    tasks = [_task(shelf, index, codec, world) for index in range(len(shelf.lessons))]
    return reinforce_bundle(begin, tasks, settings, out, processes)


def _task(shelf: Shelf, index: int, codec: Codec, world: Redriven) -> Task:
    """A lesson's question, and what an answer to it is worth in the world around it."""
    lesson = shelf.lessons[index]
    question = question_of(lesson.example, codec, lesson.encoded, shelf.features_of([index]))
    truth = truth_of(lesson.example, world.around(lesson.example))
    return Task(question, partial(reward, truth=truth, judge=judged_by_rule, config=WORLD))


def _leave(size: str, begun: Mapping[str, str], trained: Path, out: Path, done: Mapping[str, Mapping[str, float]]) -> None:
    if out.exists():
        return  # an earlier call came to its end
    model = trained_model(open_codec(trained), trained)
    told = {"size": size, **begun, **{name: str(value) for name, value in provenance().items()}}
    losses = {name: figured(each) for name, each in done.items()}
    export(
        model,
        trained,
        out,
        str(read_metadata(trained / WEIGHTS_FILE)[EXPERT_KEY]),
        model_card(f"alpamayo {size}", told, losses),
    )
