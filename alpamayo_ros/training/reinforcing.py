"""A bundle that is reinforced: on drives that somebody labelled, or on what a stage before had on its shelf.

The expert of what comes out reads a backbone that is no longer its own: engines refuse it until the expert was trained on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from alpamayo_ros.simulation.data.shards import read_scenes
from alpamayo_ros.training.coc.client import Client
from alpamayo_ros.training.coc.endpoint import Endpoint
from alpamayo_ros.training.coc.judge import judged_by_model, judged_by_rule
from alpamayo_ros.training.dataset.labels import labelled
from alpamayo_ros.training.dataset.reading import DataSet, examples, open_dataset
from alpamayo_ros.training.dataset.world import clip_of
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.export import check_round_trip
from alpamayo_ros.training.fit import ends
from alpamayo_ros.training.measuring import expert_figures, expert_fits, windows_of
from alpamayo_ros.training.posttraining import digests, leave_card, opened, opened_codec, weights_told
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.reinforce import Reinforcement, Task, Tasks, reinforce
from alpamayo_ros.training.rewards import (
    Judge,
    Redriven,
    Reward,
    RewardConfig,
    Rollout,
    Surroundings,
    Truth,
    reward,
    truth_of,
)
from alpamayo_ros.training.rolling import rolling
from alpamayo_ros.training.rollouts import question_of
from alpamayo_ros.training.run import Run, check_tokenizer, tokenizer_sha256
from alpamayo_ros.training.sizes import open_codec, trained_model
from alpamayo_ros.training.stages import leave_bundle
from alpamayo_ros.training.streaming import SPLIT
from alpamayo_ros.training.workers import HERE, Workers
from alpamayo_ros.types import InvalidInput

HELD = 16
"""Tasks that are kept prepared: those of a pool are asked for twice."""


class Worth(Protocol):
    """`reward` with a judge and weights."""

    def __call__(self, rollout: Rollout, *, truth: Truth) -> Reward:
        """Of a rollout."""
        ...


class Judged(NamedTuple):
    """Who scores words, and what it is called: a run with another judge is another run."""

    name: str
    judge: Judge


def judge_of(url: str, model: str, key: str, cache: Path) -> Judged:
    """A model behind an OpenAI-compatible endpoint, its answers kept in a folder; without a URL the rule.

    Raises InvalidInput for one of URL and model without the other.
    """
    if bool(url) != bool(model):
        raise InvalidInput(f"a judge has a URL and a model: --judge https://host/v1 --model NAME, got {url!r} and {model!r}")
    if not url:
        return Judged("by rule", judged_by_rule)
    return Judged(f"{model} at {url}", partial(judged_by_model, Client(Endpoint(url, model, key), cache)))


@dataclass(frozen=True)
class Reinforcing:
    """What is asked for."""

    bundle: Path  # with weights
    data: tuple[Path, ...]
    labels: tuple[Path, ...]  # reasoning for examples that have none
    out: Path
    examples: int  # labelled ones of the split train that are asked about, at most
    settings: Reinforcement
    rewards: RewardConfig
    judge: Judged  # of words
    windows: int = 0  # on which the expert of the bundle is measured before, at most

    def __post_init__(self) -> None:
        if self.windows < 0:
            raise InvalidInput(f"want 0 windows to measure on, or more, got {self.windows}")


def reinforce_on_drives(asked: Reinforcing, processes: Processes, workers: Workers = HERE) -> dict[str, Any]:
    """GRPO of a bundle; leaves `out`/bundle and says what came of it. The seed says which examples are taken.

    Raises InvalidInput for a bundle without weights, for data of another profile, for less labelled examples than a pool wants.
    """
    codec = opened_codec(asked.bundle)
    material = opened(asked.bundle, asked.data, asked.labels, codec)
    every = examples(material.data, SPLIT, seed=asked.settings.optimisation.seed, epoch=0)
    known = (example for example in (labelled(each, material.labels) for each in every) if example.reasoning is not None)
    asked_about = tuple(islice(known, asked.examples))
    world = _world_of(material.data, asked_about) if asked.rewards.of_the_world else Redriven(())
    worth = partial(reward, judge=asked.judge.judge, config=asked.rewards)
    tasks = Questions(asked_about, codec, worth, world.around)
    left_out = without_surroundings(asked.rewards, asked_about, world)
    told = {"rewards": asked.rewards, "without_surroundings": left_out, "judge": asked.judge.name, "examples": len(tasks)}
    told |= digests(asked.data, asked.labels)
    before = _measured_before(asked)
    figures = reinforce_bundle(asked.bundle, tasks, asked.settings, asked.out, processes, workers, told, before)
    counted = {"examples": len(tasks), "without_surroundings": left_out}
    return {**figures, **before, **counted, "files": [str(asked.out / "bundle")]}


def _world_of(data: DataSet, asked: Sequence[Example]) -> Redriven:
    """The scenes of examples, where data are of the driving world."""
    clips = {example.clip for example in asked}
    of_world = (shard for shard in data.shards if shard.ids is None)
    return Redriven(scene for shard in of_world for scene in read_scenes(shard.path) if clip_of(scene.id) in clips)


def without_surroundings(rewards: RewardConfig, asked: Sequence[Example], world: Redriven) -> int:
    """How many examples are rewarded without terms that count, because nobody knows what was around; stderr says so."""
    if not (terms := rewards.of_the_world):
        return 0
    count = sum(not world.knows(example) for example in asked)
    if count:
        where = (
            "what was around is not known of recorded drives, pairs and windows in which the expert did not drive on, "
            "and `experiment swapped` does not ask"
        )
        print(f"rewards: {', '.join(terms)} are left out for {count} of {len(asked)} examples: {where}", file=sys.stderr)
    return count


def _measured_before(asked: Reinforcing) -> dict[str, dict[str, float]]:
    """What the bundle's expert drives before its backbone is reinforced; nothing where it does not fit it already."""
    if not (asked.windows and expert_fits(asked.bundle)):
        return {}
    windows = windows_of(open_dataset(*asked.data), asked.windows)
    return {f"expert before, on {windows.split}": expert_figures(asked.bundle, windows.examples)}


def reinforce_bundle(
    begin: Path,
    tasks: Tasks,
    settings: Reinforcement,
    out: Path,
    processes: Processes,
    workers: Workers = HERE,
    told: Mapping[str, Any] | None = None,
    before: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """Reinforce the backbone of a bundle and leave `out`/bundle; mean rewards of the first and last steps.

    `told`: what else makes this run what it is; `before`: what was measured of the bundle, for the card. Raises InvalidInput
    as `check_tokenizer`, `reinforce` and `rolling` do, and for a bundle that does not read back.
    """
    check_tokenizer(begin)
    model = trained_model(open_codec(begin), begin).to(processes.device)
    begun = {"begin": weights_told(begin), "tokenizer": tokenizer_sha256(begin)}
    run = Run(out, {"stage": "reinforce", "settings": settings, **begun, **(told or {})})
    with rolling(begin, out / "told", workers) as roll:
        reinforce(model, tasks, settings, roll, run, processes)
    leave_bundle(model, begin, out / "bundle", trains_expert=False)
    check_round_trip(model, out / "bundle")
    run.write_tensorboard()
    first, last = ends(run.history("reward"))
    unjudged = sum(run.history("unjudged"))
    figures = {"steps": settings.optimisation.steps, "reward_first": first, "reward_last": last, "unjudged": unjudged}
    leave_card(out / "bundle", begin, "`alpamayo reinforce`", run, {"run": figures, **(before or {})})
    return figures


class Questions:
    """Examples as tasks. Their pictures are prepared when they are asked for: prepared ones take eight times the memory."""

    def __init__(
        self, asked: Sequence[Example], codec: Codec, worth: Worth, around: Callable[[Example], Surroundings | None]
    ) -> None:
        """`around` an example: what incidents and progress of its rollouts are measured in."""
        self._asked, self._codec, self._worth, self._around = asked, codec, worth, around
        self._held = lru_cache(HELD)(self._prepared)

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, index: int) -> Task:
        return self._held(index)

    def _prepared(self, index: int) -> Task:
        example = self._asked[index]
        truth = truth_of(example, self._around(example))
        return Task(question_of(example, self._codec), partial(self._worth, truth=truth))
