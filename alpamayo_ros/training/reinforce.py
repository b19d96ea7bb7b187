"""Stage 3: the backbone writes several rollouts of a sample, and learns from those that are worth more than the others.

Group-relative policy optimisation as in the Alpamayo-R1 paper, section 5: no critic, a KL to the network that it began as, and
the samples on which policy and reward disagree first. The expert is not trained here, and has to learn the new keys and values
afterwards. What a step does depends on the seed and its number alone: after an interruption the same rewards follow.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.checkpoints import restore, save
from alpamayo_ros.training.coc.judge import NoJudgement
from alpamayo_ros.training.curation import RANDOM_SHARE, disagreement, select
from alpamayo_ros.training.fit import precision, seed_of
from alpamayo_ros.training.objectives import Loss, Objective, TokenLogProbs
from alpamayo_ros.training.optimizers import Optimizers, forget_gradients, optimizers, take_step, warm_to
from alpamayo_ros.training.processes import Processes, clip
from alpamayo_ros.training.rewards import Reward, Rollout
from alpamayo_ros.training.rolling import Asked, Rolling
from alpamayo_ros.training.rollouts import Group, Question, log_probs_of
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation, Part
from alpamayo_ros.training.student import Student, recomputing
from alpamayo_ros.types import InvalidInput, Request


class Task(NamedTuple):
    """What is asked, and what an answer is worth: `partial(reward, truth=..., judge=..., config=...)`."""

    question: Question
    worth: Callable[[Rollout], Reward]


class Tasks(Protocol):
    """Tasks by their number; they need not all be in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Task: ...


@dataclass(frozen=True)
class Reinforcement:
    """How a backbone is reinforced."""

    optimisation: Optimisation  # a batch is of samples; each is a pass of its own, so that nothing is accumulated
    objective: Objective
    drawing: Request  # of the rollouts of a sample; its seed is not used
    pool: int  # samples that are rolled out in a step, from which a batch is selected
    beta: float = 1.0  # of the selection: the reward's distribution is softmax(beta r)
    random_share: float = RANDOM_SHARE  # of a batch
    parts: tuple[Part, ...] = ("views", "language")
    updates: int = 1  # from the same rollouts
    side_by_side: int = 4  # samples that are rolled out at a time: more are faster and take more memory, all write the same

    def __post_init__(self) -> None:
        batch = self.optimisation.batch
        if self.drawing.greedy or self.drawing.samples < 2:
            raise InvalidInput(f"want 2 drawn rollouts of a sample or more, got {self.drawing}")
        if not (self.pool >= batch >= 1 and 0 < self.beta < math.inf and 0 <= self.random_share <= 1):
            wanted = "pool >= batch >= 1, a finite beta > 0, random_share 0 .. 1"
            raise InvalidInput(f"reinforcement: want {wanted}, got {self}")
        if self.updates < 1 or self.side_by_side < 1:
            raise InvalidInput(f"want updates >= 1 and side_by_side >= 1, got {self}")
        if self.optimisation.accumulate != 1:
            raise InvalidInput(f"accumulate {self.optimisation.accumulate}: here every sample is a pass of its own, want 1")
        if not self.parts or "expert" in self.parts:
            raise InvalidInput(f"parts {self.parts}: want parts of the backbone, the expert does not write")


class Graded(NamedTuple):
    """A sample's rollouts and what each is worth."""

    question: Question
    group: Group
    rewards: tuple[Reward, ...]
    unjudged: int = 0  # rollouts that were left out, because the judge had no score for them

    @property
    def totals(self) -> Tensor:
        """(K,) float64."""
        return torch.tensor([each.total for each in self.rewards], dtype=torch.float64)

    @property
    def teaches(self) -> bool:
        """Whether any rollout is worth more than another."""
        return bool((self.totals != self.totals[0]).any())

    def disagreement(self, beta: float) -> float:
        """Of the policy with its rewards."""
        whole = self.group.log_probs.where(self.group.written, 0.0).double().sum(dim=-1)
        return disagreement(whole.cpu().numpy(), self.totals.numpy(), beta)


def reinforce(model: Alpamayo, tasks: Tasks, settings: Reinforcement, roll: Rolling, run: Run, processes: Processes) -> None:
    """Train a model in place, from the last checkpoint of the run on where there is one; as it is given it is the reference.

    Raises InvalidInput for fewer tasks than the pool wants, for more than one process, for a loss that is not finite, and as
    `grade` does: a run that is started again goes on from its last checkpoint.
    """
    asked = settings.optimisation
    if len(tasks) < settings.pool or processes.count > 1:
        raise InvalidInput(f"want {settings.pool} tasks and 1 process, got {len(tasks)} and {processes.count}")
    reference = deepcopy(model)
    student = Student(model, Learned(settings.parts, words=1.0, trajectory=1.0))
    taking = optimizers(student, asked)
    for step in run.steps(restore(run.checkpoints, student, taking, processes), asked.steps):
        rate = asked.rate_at(step)
        warm_to(taking, rate)
        pool = rolled_out(model, tasks, settings, roll, step)
        values = np.array([graded.disagreement(settings.beta) for graded in pool])
        chosen = select(values, asked.batch, seed_of(asked.seed, step, 1), settings.random_share)
        with recomputing(student) if asked.recompute else nullcontext():
            told = learn(model, reference, taking, [pool[i] for i in chosen.indices], settings)
        run.note(step, {**measured(pool), "disagreement": float(values.mean()), **told, "learning_rate": rate})
        if (step + 1) % asked.save_every == 0 or step + 1 == asked.steps:
            save(run.checkpoints, step + 1, student, taking, processes)


def rolled_out(model: Alpamayo, tasks: Tasks, settings: Reinforcement, roll: Rolling, step: int) -> list[Graded]:
    """The pool of a step: samples drawn by its number, each with its rollouts and what they are worth."""
    seed, together = settings.optimisation.seed, settings.side_by_side
    which = np.random.default_rng(seed_of(seed, step, 0)).choice(len(tasks), settings.pool, replace=False).tolist()
    parts = []
    for part in (which[at : at + together] for at in range(0, len(which), together)):
        questions, seeds = tuple(tasks[i].question for i in part), tuple(seed_of(seed, step, 2, i) for i in part)
        parts.append(Asked(questions, seeds, settings.drawing))
    drawn = zip((tasks[i] for i in which), roll(model, parts), strict=True)
    return [grade(task, group) for task, group in drawn]


def grade(task: Task, group: Group) -> Graded:
    """Rollouts with what each is worth. Those that the judge has no score for are told on stderr, counted and left out.

    Raises NoJudgement where fewer than 2 are left: nothing can be said of one alone.
    """
    found = [_worth(task, rollout) for rollout in group.rollouts]
    rewards = {row: each for row, each in enumerate(found) if not isinstance(each, NoJudgement)}
    if not (unjudged := [each for each in found if isinstance(each, NoJudgement)]):
        return Graded(task.question, group, tuple(rewards.values()))
    told = f"{len(unjudged)} of {len(found)} rollouts of a sample are left out; the last: {unjudged[-1]}"
    if len(rewards) < 2:
        raise NoJudgement(f"{told}; want 2 with a score: start the run again, which asks again")
    print(told, file=sys.stderr)
    return Graded(task.question, group.rows(list(rewards)), tuple(rewards.values()), len(unjudged))


def _worth(task: Task, rollout: Rollout) -> Reward | NoJudgement:
    try:
        return task.worth(rollout)
    except NoJudgement as error:
        return error


def learn(
    model: Alpamayo, reference: Alpamayo, taking: Optimizers, batch: Sequence[Graded], settings: Reinforcement
) -> dict[str, float]:
    """Update the model from graded rollouts; loss, KL in nats per token and gradient, means over the updates.

    Where no rollout is worth more than another of its sample nothing is learned: no update, nor its decay of weights.
    Raises InvalidInput for a loss that is not finite.
    """
    with torch.no_grad():
        references = [log_probs_of(reference, each.question, each.group.token_ids) for each in batch]
    told = [_update(model, taking, batch, references, settings) for _ in range(settings.updates)]
    return {name: sum(each[name] for each in told) / len(told) for name in told[0]}


def _update(
    model: Alpamayo,
    taking: Optimizers,
    batch: Sequence[Graded],
    references: Sequence[Tensor],
    settings: Reinforcement,
) -> dict[str, float]:
    """One step, over all samples."""
    losses = []
    for graded, reference in zip(batch, references, strict=True):
        with precision(settings.optimisation, model.device):
            policy = log_probs_of(model, graded.question, graded.group.token_ids)
        losses.append(_loss(graded, policy, reference, settings.objective))
        (losses[-1].total * losses[-1].count).backward()
    count = sum(loss.count for loss in losses)
    told = {"loss": sum(loss.count * float(loss.total.detach()) for loss in losses) / count}
    told["kl"] = sum(float(loss.kl) for loss in losses) / len(losses)
    if not math.isfinite(told["loss"]):
        raise InvalidInput(f"the loss is {told['loss']}; a lower rate than {settings.optimisation.learning_rate} may help")
    for gradient in [parameter.grad for parameter in model.parameters() if parameter.grad is not None]:
        gradient.div_(count)
    told["gradient"] = clip(model, settings.optimisation.clip_norm)
    if any(graded.teaches for graded in batch):
        take_step(taking)
    forget_gradients(taking)
    return told


def _loss(graded: Graded, policy: Tensor, reference: Tensor, objective: Objective) -> Loss:
    """Of one sample: its rollouts count against each other only."""
    group = graded.group
    log_probs = TokenLogProbs(policy[None], group.log_probs[None], reference[None], group.written[None])
    return objective.loss(log_probs, objective.advantages(graded.totals.float()[None]).to(policy.device))


def measured(pool: Sequence[Graded]) -> dict[str, float]:
    """Means over all rollouts: reward, share that is complete, share whose trajectory does what its words say, tokens; and how
    many were left out."""
    rewards = [reward for graded in pool for reward in graded.rewards]
    rollouts = [rollout for graded in pool for rollout in graded.group.rollouts]
    return {
        "reward": sum(each.total for each in rewards) / len(rewards),
        "complete": sum(each.is_complete for each in rollouts) / len(rollouts),
        "consistent": sum(each.terms is not None and each.terms.consistent for each in rewards) / len(rewards),
        "tokens": sum(int(graded.group.written.sum()) for graded in pool) / len(rollouts),
        "unjudged": sum(graded.unjudged for graded in pool),
    }
