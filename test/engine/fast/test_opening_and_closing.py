"""A fast engine is warm when it is open, and holds nothing when it is closed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from engine.fast.test_writing import tiny
from engine.tensorrt.test_network import TorchSession
from model.nano import BUNDLE, T0_NS, observation
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from alpamayo_ros.engine.fast import engine as fast
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.graphed import network
from alpamayo_ros.engine.graphed.eight import EightBitEngine
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.tensorrt.network import PartsNetwork
from alpamayo_ros.engine.tensorrt.parts import parts
from alpamayo_ros.model.vision import Images
from alpamayo_ros.types import EngineFailure, Navigation, Request

Opened = Callable[[Path], FastEngine]
BOTH = pytest.mark.parametrize("opened", [GraphedEngine, EightBitEngine.unchecked])
FIRST = (Request(), Request(reasoning="none"))


def stages(engine: FastEngine) -> set[object]:
    """What a GPU has recorded."""
    return {*engine._network._passes, *engine._network._flows}  # type: ignore[attr-defined]


@BOTH
def test_where_a_first_answer_takes_seconds_everything_is_recorded_before_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    with closing(opened(BUNDLE)) as engine:
        recorded = stages(engine)
        assert recorded
        assert not engine._sight._known, "nothing of it is remembered"
        for request in FIRST:
            engine.infer(observation(), request)
        assert stages(engine) == recorded


def test_texts_that_are_guessed_find_their_passes_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows another first word is guessed in blocks, which no text of an untrained network would be."""
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    with closing(GraphedEngine(BUNDLE)) as engine:
        recorded, start = stages(engine), engine._tokenizer.id("<|traj_future_start|>")
        for first in (21, 22):
            engine.told = [first, *range(30, 70), start]
            engine.infer(observation(), FIRST[0])
        assert len(engine.memory.tree(99).tokens) > 40, "it was remembered"
        assert stages(engine) == recorded
    monkeypatch.setattr(fast, "_OTHER_WORD", fast._ANY_WORD)
    with closing(GraphedEngine(BUNDLE)) as engine:
        assert stages(engine) < recorded, "a block is a pass of its own"


def test_a_route_in_words_drops_nothing_that_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompt is longer, and may be a stage of its own: that one is recorded then."""
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    route = Navigation("turn_left", 40.0, "Wilhelm-Leuschner-Strasse" * 3, T0_NS)
    with closing(GraphedEngine(BUNDLE)) as engine:
        recorded = stages(engine)
        engine.infer(observation(navigation=route), FIRST[0])
        assert stages(engine) > recorded
    monkeypatch.setattr(network, "ROUTE", 0)
    with closing(GraphedEngine(BUNDLE)) as engine:
        recorded = stages(engine)
        engine.infer(observation(navigation=route), FIRST[0])
        assert not stages(engine) >= recorded, "without room for it everything is recorded anew"


def test_a_request_for_more_words_drops_nothing_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    asked = [Request(max_tokens=20), Request(samples=3, greedy=False, max_tokens=300)]
    with closing(GraphedEngine(BUNDLE)) as engine:
        engine.prepare(asked)
        recorded = stages(engine)
        engine.told = [*range(30, 40), engine._tokenizer.id("<|traj_future_start|>")]
        for request in asked:
            engine.infer(observation(), request)
        assert stages(engine) == recorded


def test_what_is_known_to_be_asked_for_is_recorded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    asked = [Request(samples=3, greedy=False, max_tokens=40), Request(samples=4, reasoning="none")]
    with closing(GraphedEngine(BUNDLE)) as engine:
        engine.prepare(asked)
        recorded = stages(engine)
        assert not engine._sight._known
        for request in asked:
            engine.infer(observation(), request)
        assert stages(engine) == recorded
    with closing(GraphedEngine(BUNDLE)) as engine:
        assert not stages(engine) >= recorded, "several samples are passes of their own"


def test_nothing_runs_ahead_where_a_first_answer_is_as_quick_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(GraphedEngine(BUNDLE)) as engine:
        monkeypatch.setattr(engine, "infer", lambda *_: pytest.fail("an answer on a CPU may take a minute"))
        engine.prepare([Request(samples=3)])


def storages() -> set[int]:
    """Of every tensor that Python can reach, by the address of what keeps its numbers."""
    gc.collect()  # on a CPU a stage and its pass hold each other
    found = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    return {StorageWeakRef(each.untyped_storage()).cdata for each in found if each.device.type != "meta" and each.numel()}


@BOTH
@torch.inference_mode()
def test_a_closed_engine_holds_no_tensor_and_no_frame(opened: Opened) -> None:
    before = storages()
    engine = opened(BUNDLE)
    seen = observation()
    for role in seen.frames:
        engine.add_frame(seen.frames[role][-1])
    engine.infer(seen, Request(steps=1, max_tokens=4))
    engine.infer(seen, Request(steps=1, reasoning="none"))
    frame = weakref.ref(seen.frames["rear_tele"][-1])
    del seen
    assert len(storages() - before) > 50, "weights, slots, features, stages"
    engine.close()
    assert storages() - before == set()
    assert frame() is None
    with pytest.raises(EngineFailure, match="this engine is closed: open another one"):
        engine.infer(observation(), FIRST[1])


def test_closed_parts_hold_no_session_and_no_slots() -> None:
    model = tiny(torch.float32)
    sessions = {part.name: TorchSession(part) for part in parts(model, Images(torch.empty(2, 0), (4, 4), (1, 1), (0, 1)))}
    network = PartsNetwork(sessions, model.config, torch.device("cpu"))
    network._reserve(100, torch.zeros(1, 1, 1, 1, 4))
    held = [weakref.ref(each) for each in (*sessions.values(), network._keys, network._values)]
    del sessions
    assert all(each() is not None for each in held)
    network.close()
    network.close()
    assert [each() for each in held] == [None] * len(held)
