"""What is answered: a plan for every window, from an engine in this process or from several processes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.engine.loading import bundle_action_space, open_engine
from alpamayo_ros.evaluation.metrics import Driven, WindowMetrics, window_metrics
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.training.exam.asked import Sitting, led_elsewhere, with_eyes_shut
from alpamayo_ros.types import EngineFailure, Plan, Request


class Answer(NamedTuple):
    """What somebody planned for a window; None where no plan came."""

    sitting: Sitting
    plan: Plan | None
    metrics: WindowMetrics | None


class Paper(NamedTuple):
    """Windows that one engine is asked about in one way."""

    title: str
    bundle: str
    asked: Sequence[Sitting]
    request: Request
    eyes_shut: bool = False

    def shown(self, place: int) -> Sitting:
        """A window as the engine gets to see it."""
        return with_eyes_shut(self.asked[place]) if self.eyes_shut else self.asked[place]


def answers(engine: Engine, asked: Iterable[Sitting], request: Request, space: ActionSpace) -> Iterator[Answer]:
    """Let an engine plan every window. A window without a plan is an answer, too."""
    for sitting in asked:
        yield answer(sitting, _planned(engine, sitting, request, space))


def answer(sitting: Sitting, made: Plan | None) -> Answer:
    """With what it is worth."""
    if made is None:
        return Answer(sitting, None, None)
    way = sitting.example.future
    return Answer(sitting, made, window_metrics(made, Driven(way.xyz, way.yaw_rad, way.speed_mps)))


def led(asked: Iterable[Sitting]) -> list[Sitting]:
    """Those windows that turn, commanded to the other side."""
    return [other for sitting in asked if (other := led_elsewhere(sitting)) is not None]


def answered(paper: Paper, workers: int) -> list[Answer]:
    """All answers in the order of the windows, the same for any number of processes; how far it is is told on stderr."""
    if workers == 1:
        with closing(open_engine(paper.bundle)) as engine:
            plans = list(_told(paper, _plans(engine, paper)))
    else:
        # Forked: the windows are there already. No engine is open yet, and every process opens its own.
        with ProcessPoolExecutor(workers, get_context("fork"), _begin, (paper,)) as pool:
            plans = list(_told(paper, pool.map(_plan_at, range(len(paper.asked)))))
    return [answer(sitting, made) for sitting, made in zip(paper.asked, plans, strict=True)]


def _told(paper: Paper, plans: Iterator[Plan | None]) -> Iterator[Plan | None]:
    return iter(track(plans, paper.title, total=len(paper.asked), console=Console(stderr=True)))


def _plans(engine: Engine, paper: Paper) -> Iterator[Plan | None]:
    space = bundle_action_space(paper.bundle)
    for place in range(len(paper.asked)):
        yield _planned(engine, paper.shown(place), paper.request, space)


def _planned(engine: Engine, sitting: Sitting, request: Request, space: ActionSpace) -> Plan | None:
    try:
        return plan(sitting.example.observation, engine, request, space)
    except EngineFailure:
        return None  # counted in the figures as a window without a plan


class _Desk(NamedTuple):
    """What a process of the pool works with."""

    engine: Engine
    paper: Paper
    space: ActionSpace


_desk: list[_Desk] = []


def _begin(paper: Paper) -> None:
    _desk.append(_Desk(open_engine(paper.bundle), paper, bundle_action_space(paper.bundle)))


def _plan_at(place: int) -> Plan | None:
    engine, paper, space = _desk[0]
    return _planned(engine, paper.shown(place), paper.request, space)
