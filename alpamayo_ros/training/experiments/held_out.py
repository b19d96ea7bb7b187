"""What a network says of scenes it never saw, and whether it then does so: by its own action tokens, and by its expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from alpamayo_ros.dynamics import rollout
from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.model.flow import euler
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.batch import batch_of, read, velocity
from alpamayo_ros.training.coc.judge import judged_by_rule
from alpamayo_ros.training.encoding import Codec, with_answer
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.fit import seed_of
from alpamayo_ros.training.rewards import Rollout, consistency, reasoning_quality, truth_of
from alpamayo_ros.training.rollouts import Group, Question, question_of, roll_out_all
from alpamayo_ros.training.shelf import Shelf
from alpamayo_ros.types import HORIZON, InvalidInput, Request, Trajectory

SIDE_BY_SIDE = 8
"""Windows that are answered at a time."""


@dataclass(frozen=True)
class Measured:
    """Means over all rollouts of all windows; what never asks for a trajectory is not consistent, and has no distance."""

    rollouts: int
    complete: float  # share
    reasoning: float  # 0 .. 1, by rule, of the words
    consistent_tokens: float  # share whose action tokens do what the words say
    consistent_expert: float  # the same of the expert's trajectory behind the same words
    ade_tokens_m: float  # ADE at 6.4 s of single rollouts
    ade_expert_m: float

    def told(self) -> dict[str, float | int]:
        """As JSON."""
        return asdict(self)


def evenly(shelf: Shelf, most: int) -> list[int]:
    """Places of at most so many lessons of a shelf, from the whole of it."""
    count = len(shelf.lessons)
    places: list[int] = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    return places


def measured(model: Alpamayo, shelf: Shelf, which: Sequence[int], drawing: Request, codec: Codec) -> Measured:
    """Let a network answer lessons of a shelf as often as the request has samples; its seed and the lesson decide the draws.

    Raises InvalidInput where nothing is complete: there is no distance then.
    """
    rows: list[tuple[float, ...]] = []
    for at in range(0, len(which), SIDE_BY_SIDE):
        part = which[at : at + SIDE_BY_SIDE]
        asked = [lesson_question(shelf, place, codec) for place in part]
        seeds = [seed_of(drawing.seed, place) for place in part]
        groups = roll_out_all(model, asked, drawing, seeds, codec.tokenizer)
        for place, question, group, seed in zip(part, asked, groups, seeds, strict=True):
            example, ways = shelf.lessons[place].example, iter(expert_ways(model, question, group, seed))
            rows += [_row(said, next(ways) if said.is_complete else None, example, question) for said in group.rollouts]
    found = np.array(rows)
    if not found[:, 0].any():
        raise InvalidInput(f"none of {len(found)} rollouts is complete: this network has not learned to answer")
    return Measured(len(found), *np.nanmean(found, axis=0).tolist())


def lesson_question(shelf: Shelf, place: int, codec: Codec) -> Question:
    """What a lesson asks. Raises InvalidInput as `question_of` does."""
    lesson = shelf.lessons[place]
    return question_of(lesson.example, codec, lesson.encoded, shelf.features_of([place]))


@torch.no_grad()
def expert_ways(model: Alpamayo, question: Question, group: Group, seed: int) -> list[Trajectory]:
    """The expert's trajectory behind the words of each complete rollout, by the flow as the runtime samples it."""
    start = model.config.token_ids["future_start"]
    written = [ids[chosen].tolist() for ids, chosen in zip(group.token_ids, group.written, strict=True)]
    words = [ids[: ids.index(start) + 1] for ids in written if start in ids]
    if not words:
        return []
    features = None if question.features is None else question.features.repeat(len(words), 1, 1)
    batch = batch_of([with_answer(question.encoded, each) for each in words], start, features)
    seen = read(model, batch)
    noise = torch.randn(len(words), HORIZON, 2, generator=torch.Generator().manual_seed(seed))
    path = euler(lambda x, t: velocity(model, seen, batch, x, torch.full((len(x),), t)), noise, model.config.flow_steps)
    space = model.config.action_space
    return [rollout(actions, question.v0_mps, question.z_m, space) for actions in path[-1].numpy()]


def _row(said: Rollout, way: Trajectory | None, example: Example, question: Question) -> tuple[float, ...]:
    """Of one rollout, the fields of `Measured` behind the first."""
    truth = truth_of(example)
    ways = (said.trajectory, way)
    agrees = [each is not None and consistency(said.text, each, question.v0_mps) for each in ways]
    away_m = [np.nan if each is None else ade_m(each.xyz, example.future.xyz) for each in ways]
    return said.is_complete, reasoning_quality(said.text, truth.reasoning, judged_by_rule), *agrees, *away_m
