"""Words that contradict what is driven, learned from damaged data, and what reinforcement makes of them.

All seeds begin with one network that learned what follows a scene, without words. Then, in a share of the training data, the
trace is swapped with another sample's that contradicts the motion. Supervised fine-tuning learns to say such things;
reinforcement, whose reward has consistency in it, is to unlearn them on held-out scenes, without driving worse. The expert is
trained on each of the two backbones, from the same weights and with the same noise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.reasoning import consistent
from alpamayo_ros.training.coc.judge import judged_by_rule
from alpamayo_ros.training.encoding import Codec, encoded
from alpamayo_ros.training.experiments.curves import draw_seeds
from alpamayo_ros.training.experiments.held_out import evenly, lesson_question, measured
from alpamayo_ros.training.fit import fit
from alpamayo_ros.training.objectives import ClippedRatio
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.reinforce import Reinforcement, Task, reinforce
from alpamayo_ros.training.reinforcing import without_surroundings
from alpamayo_ros.training.rewards import WORLD, Redriven, reward, truth_of
from alpamayo_ros.training.rolling import roll_here
from alpamayo_ros.training.run import Run, provenance
from alpamayo_ros.training.settings import PARTS, Learned, Optimisation
from alpamayo_ros.training.shelf import Lesson, Shelf, shelve
from alpamayo_ros.training.sizes import SIZES, begin_bundle, new_model, open_codec, trained_model
from alpamayo_ros.training.stages import Scenes
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput, Request

SIZE = SIZES["micro"]
"""1.9 million parameters: "micro" with a layer less."""


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how long; every seed takes the place of those named here."""

    inject: Optimisation  # once for all seeds
    sft: Optimisation
    expert: Optimisation
    draws: int  # of the flow
    reinforcement: Reinforcement
    tasks: int  # samples that are reinforced on, at most, evenly over all
    share: float  # of the traces, swapped
    windows: int  # held out, at most, evenly over all
    drawing: Request  # of what is measured


DRAWN = Request(samples=16, greedy=False, temperature=1.0, top_p=1.0, max_tokens=80)

RECIPE = Recipe(
    inject=Optimisation(steps=400, batch=8, learning_rate=3e-3, warmup_steps=30, precision="bfloat16", save_every=100),
    sft=Optimisation(steps=240, batch=8, learning_rate=2e-3, warmup_steps=20, precision="bfloat16", save_every=80),
    expert=Optimisation(steps=80, batch=8, learning_rate=2e-3, warmup_steps=10, precision="bfloat16"),
    draws=8,
    reinforcement=Reinforcement(
        Optimisation(steps=20, batch=4, learning_rate=6e-4, least_learning_rate=1e-4, warmup_steps=2, save_every=5),
        ClippedRatio(kl_beta=0.01),
        DRAWN,
        pool=4,
    ),
    tasks=400,
    share=0.3,
    windows=96,
    drawing=replace(DRAWN, samples=2),
)


def swapped(shelf: Shelf, codec: Codec, share: float, seed: int) -> Shelf:
    """A share of the traces, in each case replaced by the next of another order that contradicts the motion.

    Raises InvalidInput for a share outside 0 .. 1 and where no trace contradicts.
    """
    if not 0 <= share <= 1:
        raise InvalidInput(f"share {share} of the traces, want 0 .. 1")
    rng = np.random.default_rng(seed)
    lessons = list(shelf.lessons)
    others = [shelf.lessons[i] for i in rng.permutation(len(lessons))]
    for place in rng.choice(len(lessons), round(share * len(lessons)), replace=False).tolist():
        lessons[place] = _contradicted(lessons[place], others[place:] + others[:place], codec)
    return replace(shelf, lessons=tuple(lessons))


def _contradicted(lesson: Lesson, others: Sequence[Lesson], codec: Codec) -> Lesson:
    own = lesson.example
    for each in others:
        said = each.example.reasoning
        if said is not None and consistent(said.decision, own.meta_actions).agrees is False:
            told = replace(own, reasoning=said)
            return replace(lesson, example=told, encoded=encoded(told, codec, seen=lesson.encoded.images))
    raise InvalidInput(f"{own.clip}: of {len(others)} traces none contradicts its motion")


class Taught(NamedTuple):
    """What all seeds share."""

    begun: Alpamayo  # it has learned what follows a scene, without words
    train: Shelf  # what its tower sees in training scenes
    held_out: Shelf
    codec: Codec


def swap_and_reinforce(
    data: tuple[Scenes, Scenes], tower: Path, base: Path, out: Path, seeds: Sequence[int], recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """The experiment on scenes to learn from and held-out ones, seed by seed; writes `out`/swapped.json and .png.

    `tower` is the bundle whose vision tower is looked through, `base` has profile, config and tokenizer. What is done already
    is not done again. Raises InvalidInput as the stages do.
    """
    if not (out / "begin").exists():
        begin_bundle(out / "begin", base, SIZE)
    shared_s: dict[str, float] = {}
    taught = _begin(data, tower, open_codec(out / "begin"), recipe, out / "inject", shared_s)
    asked = [taught.train.lessons[place].example for place in evenly(taught.train, recipe.tasks)]
    left_out = without_surroundings(WORLD, asked, Redriven(()))
    results = [run_seed(seed, taught, recipe, out / f"seed-{seed}") for seed in seeds]
    found = [changes(each) for each in results]
    told = {
        "changes": found,
        "recipe": asdict(recipe),
        "size": asdict(SIZE),
        "lessons": {"train": len(taught.train.lessons), "held_out": len(taught.held_out.lessons)},
        "without_surroundings": left_out,
        "consistency_of_traces": {"train": own_consistency(taught.train), "held_out": own_consistency(taught.held_out)},
        "shared_cpu_s": shared_s,
        "made_by": provenance(),
        "seeds": results,
    }
    (out / "swapped.json").write_text(json.dumps(told, indent=1) + "\n")
    draw_seeds(results, out / "swapped.png")
    return {"changes": found, "files": [str(out / "swapped.json"), str(out / "swapped.png")]}


def _begin(
    data: tuple[Scenes, Scenes], tower: Path, codec: Codec, recipe: Recipe, out: Path, cpu_s: dict[str, float]
) -> Taught:
    """Look at all scenes, and learn what follows them."""
    model, seer = new_model(codec, 0), trained_model(open_codec(tower), tower).vlm.model.visual
    model.vlm.model.visual.load_state_dict(seer.state_dict())
    with _timed(cpu_s, "shelve"):
        train, held_out = (shelve(scenes(), seer, codec) for scenes in data)
    with _timed(cpu_s, "inject"):
        learned = Learned(("views", "language", "expert"), words=1.0, trajectory=1.0, flow=1.0, draws=recipe.draws)
        _fit(model, learned, recipe.inject, train.without_reasons(codec), out)
    return Taught(model, train, held_out, codec)


def changes(result: Mapping[str, Any]) -> dict[str, float]:
    """What reinforcement changed, relative to what was before."""
    before, after = result["before"], result["after"]
    names = ("consistent_tokens", "consistent_expert", "ade_tokens_m", "ade_expert_m")
    return {name: round(after[name] / before[name] - 1.0, 4) for name in names}


def own_consistency(shelf: Shelf) -> float:
    """Share of the lessons whose trace agrees with their own motion."""
    own = [each.example for each in shelf.lessons]
    return float(
        np.mean([each.reasoning and consistent(each.reasoning.decision, each.meta_actions).agrees is True for each in own])
    )


def run_seed(seed: int, taught: Taught, recipe: Recipe, out: Path) -> dict[str, Any]:
    """All stages of one seed, and what was measured: `out`/result.json.

    A seed that was cut off goes on, one that is done is read. Raises InvalidInput as the stages do.
    """
    if (out / "result.json").exists():
        return dict(json.loads((out / "result.json").read_text()))
    figures: dict[str, Any] = {"seed": seed, "cpu_s": {}}
    model = deepcopy(taught.begun)
    begun = {name: value.clone() for name, value in model.state_dict().items() if name.startswith(PARTS["expert"])}
    damaged = swapped(taught.train, taught.codec, recipe.share, seed)
    figures["consistency_of_damaged"] = own_consistency(damaged)
    with _timed(figures["cpu_s"], "sft"):
        _fit(model, Learned(("views", "language"), words=1.0, trajectory=1.0), _seeded(recipe.sft, seed), damaged, out / "sft")
    figures["before"] = _with_expert("before", model, damaged, taught, recipe, seed, figures["cpu_s"], out)
    with _timed(figures["cpu_s"], "reinforce"):
        figures["reinforce"] = _reinforce(model, taught, recipe, seed, out / "reinforce")
    model.load_state_dict(begun, strict=False)
    figures["after"] = _with_expert("after", model, damaged, taught, recipe, seed, figures["cpu_s"], out)
    (out / "result.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


@contextmanager
def _timed(cpu_s: dict[str, float], name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    cpu_s[name] = round(time.process_time() - began, 1)


def _seeded(optimisation: Optimisation, seed: int) -> Optimisation:
    return replace(optimisation, seed=seed)


def _fit(model: Alpamayo, learned: Learned, settings: Optimisation, shelf: Shelf, out: Path) -> None:
    run = Run(out, {"settings": settings, "learned": learned})
    fit(Student(model, learned), partial(shelf.shuffled, settings.batch, settings.seed), settings, run, ALONE)


def _with_expert(
    when: str, model: Alpamayo, shelf: Shelf, taught: Taught, recipe: Recipe, seed: int, cpu_s: dict[str, float], out: Path
) -> dict[str, float | int]:
    """Train the expert on the backbone as it is, and measure both on held-out scenes."""
    with _timed(cpu_s, f"expert {when}"):
        learned = Learned(("expert",), flow=1.0, draws=2 * recipe.draws)
        _fit(model, learned, _seeded(recipe.expert, seed), shelf, out / f"expert_{when}")
    with _timed(cpu_s, f"measure {when}"):
        which = evenly(taught.held_out, recipe.windows)
        return measured(model, taught.held_out, which, recipe.drawing, taught.codec).told()


def _reinforce(model: Alpamayo, taught: Taught, recipe: Recipe, seed: int, out: Path) -> dict[str, list[float]]:
    """Mean reward, consistency and KL of every step's rollouts, of training scenes, by traces that nobody swapped."""
    settings = replace(recipe.reinforcement, optimisation=_seeded(recipe.reinforcement.optimisation, seed))
    tasks = [_task(taught, place) for place in evenly(taught.train, recipe.tasks)]
    run = Run(out, {"settings": settings})
    reinforce(model, tasks, settings, partial(roll_here, tokenizer=taught.codec.tokenizer), run, ALONE)
    return {name: [round(value, 4) for value in run.history(name)] for name in ("reward", "consistent", "complete", "kl")}


def _task(taught: Taught, place: int) -> Task:
    truth = truth_of(taught.train.lessons[place].example)
    worth = partial(reward, truth=truth, judge=judged_by_rule, config=WORLD)
    return Task(lesson_question(taught.train, place, taught.codec), worth)
