"""The fast engine in CUDA graphs answers as the reference does on the same device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine.contract_checks import check_hints_never_matter
from engine.graphed import narrow
from engine.graphed.test_engine import talkative
from engine.test_eager import released_bundle, seen_by
from model.nano import BUNDLE, observation
from model.released import Generation

from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.types import Observation, Request

pytestmark = pytest.mark.gpu

REQUESTS = (
    Request(steps=1, max_tokens=12),
    Request(steps=1, reasoning="none", samples=6),
    Request(steps=1, samples=3, greedy=False, seed=5, max_tokens=12),
)


@pytest.fixture(scope="module", params=["nano", "r1", "1.5"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EagerEngine, GraphedEngine, Observation]]:
    if request.param == "nano":
        folder, seen = BUNDLE, observation()
    else:
        generation: Generation = request.param
        folder = released_bundle(tmp_path_factory.mktemp(generation) / "bundle", generation)
        seen = seen_by(folder)
    with closing(EagerEngine(folder)) as reference, closing(GraphedEngine(folder)) as fast:
        yield reference, fast, seen


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_it_answers_as_the_reference_does(pair: tuple[EagerEngine, GraphedEngine, Observation], request_: Request) -> None:
    """Twice: the second time every stage is a recorded one."""
    reference, fast, seen = pair
    expected = reference.infer(seen, request_)
    for _ in range(2):
        found = fast.infer(seen, request_)
        assert (found.texts, found.tokens, found.complete) == (expected.texts, expected.tokens, expected.complete)
        np.testing.assert_allclose(found.actions, expected.actions, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", narrow.KINDS)
def test_in_bfloat16_it_answers_as_the_reference_but_for_rounding(kind: narrow.Kind, tmp_path: Path) -> None:
    """Twice, as above: scores, products and attention have ways of their own there, which float32 does not take."""
    engine, seen = narrow.narrow(kind, tmp_path / "bundle")
    with closing(engine):
        assert engine.dtype == torch.bfloat16
        assert all(narrow.apart(engine, seen, request) <= narrow.APART[kind] for request in 2 * narrow.REQUESTS)
        assert narrow.apart_when_wrong(engine, seen, narrow.REQUESTS[0]) > narrow.APART[kind]


def test_stages_are_replayed(pair: tuple[EagerEngine, GraphedEngine, Observation]) -> None:
    _, fast, seen = pair
    fast.infer(seen, REQUESTS[0])
    stages = [held._stage for held in (*fast._network._passes.values(), *fast._network._flows.values(), fast._network._vision)]
    assert stages
    assert all(stage._graph is not None for stage in stages)


def test_hints_never_matter() -> None:
    later = observation(2)
    frames = {role: tuple(replace(frame, epoch=1) for frame in frames) for role, frames in later.frames.items()}
    seen = [observation(0), observation(1), replace(later, epoch=1, frames=frames)]
    check_hints_never_matter(talkative, seen, examples=4)


def test_engines_may_be_opened_one_after_another() -> None:
    """What they record shares memory, and when one is closed the next one records."""
    answers = []
    for _ in range(3):
        with closing(GraphedEngine(BUNDLE)) as engine:
            answers.append(engine.infer(observation(), REQUESTS[0]))
    for answer in answers[1:]:
        assert answer.texts == answers[0].texts
        np.testing.assert_array_equal(answer.actions, answers[0].actions)


def test_a_closed_engine_gives_its_memory_back() -> None:
    with closing(GraphedEngine(BUNDLE)) as engine:  # libraries keep workspaces, one for all engines
        engine.infer(observation(), REQUESTS[0])
    del engine
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    engine = GraphedEngine(BUNDLE)
    engine.infer(observation(), REQUESTS[0])
    engine.close()
    del engine
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() - before < 2**24
