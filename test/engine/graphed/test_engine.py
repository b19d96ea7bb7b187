"""The fast engine says what the reference says."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from engine.contract_checks import check_hints_never_matter
from engine.graphed import narrow
from engine.test_eager import released_bundle, seen_by
from model.nano import BUNDLE, T0_NS, observation
from model.released import Generation

from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.engine.fast import sight
from alpamayo_ros.engine.graphed import network
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.engine.graphed.passes import Store
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.types import EngineFailure, ModelOutput, Navigation, Observation, Request

REQUESTS = (
    Request(steps=1, max_tokens=12),
    Request(steps=1, reasoning="none", samples=3),
    Request(steps=1, samples=3, greedy=False, seed=5, max_tokens=12),
    Request(steps=1, samples=3, greedy=False, share_reasoning=True, max_tokens=12),
)
"""One step of the flow: an untrained network multiplies the rounding of each step by hundreds (frequencies up to 100)."""

SELDOM = (Request(steps=1, reasoning="none", guidance=2.0), Request(reasoning="none", trajectory="tokens"))


@pytest.fixture(scope="module", params=["nano", "r1", "1.5"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EagerEngine, GraphedEngine, list[Observation]]]:
    if request.param == "nano":
        folder, seen = BUNDLE, [observation(), observation(3, navigation=Navigation("turn_left", 40.0, "", T0_NS))]
    else:
        generation: Generation = request.param
        folder = released_bundle(tmp_path_factory.mktemp(generation) / "bundle", generation)
        seen = [seen_by(folder)]
        if generation == "1.5":
            seen.append(seen_by(folder, "front_tele"))
    with closing(EagerEngine(folder)) as reference, closing(GraphedEngine(folder)) as fast:
        yield reference, fast, seen


def assert_same(one: ModelOutput, other: ModelOutput) -> None:
    assert (one.texts, one.tokens, one.complete, one.meta_actions) == (
        other.texts,
        other.tokens,
        other.complete,
        other.meta_actions,
    )
    np.testing.assert_allclose(one.actions, other.actions, rtol=0, atol=1e-5)


@pytest.mark.parametrize("request_", [*REQUESTS, *SELDOM], ids=str)
def test_it_answers_as_the_reference_does(
    pair: tuple[EagerEngine, GraphedEngine, list[Observation]], request_: Request
) -> None:
    reference, fast, observations = pair
    for seen in observations:
        assert_same(fast.infer(seen, request_), reference.infer(seen, request_))


def test_the_comparison_can_fail(pair: tuple[EagerEngine, GraphedEngine, list[Observation]]) -> None:
    reference, fast, observations = pair
    expected = reference.infer(observations[0], REQUESTS[1])
    with pytest.raises(AssertionError):
        assert_same(fast.infer(observations[0], replace(REQUESTS[1], seed=1)), expected)
    weight = fast.model.expert.layers[0].mlp.down_proj.weight
    before = weight.clone()
    with torch.no_grad():
        weight[0, 0] += 0.5
    with pytest.raises(AssertionError):
        assert_same(fast.infer(observations[0], REQUESTS[1]), expected)
    with torch.no_grad():
        weight.copy_(before)
    assert_same(fast.infer(observations[0], REQUESTS[1]), expected)


def test_words_that_end_are_followed_by_the_same_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network never asks for its trajectory by itself; here the likeliest of its words means that."""
    seen, request = observation(), Request(steps=1, max_tokens=40, samples=2)
    with closing(EagerEngine(BUNDLE)) as reference, closing(GraphedEngine(BUNDLE)) as fast:
        written = "".join(reference.infer(seen, request).texts)
        assert written
        start = reference._tokenizer.id("<|traj_future_start|>")
        for model in (reference._model, fast.model):
            head = model.vlm.lm_head.weight
            with torch.no_grad():
                head[start] = head[start] * 30
        expected = reference.infer(seen, request)
        assert expected.complete == (True,)
        assert_same(fast.infer(seen, request), expected)
        assert_same(fast.infer(seen, request), expected)


def test_hints_never_matter() -> None:
    later = observation(2)
    frames = {role: tuple(replace(frame, epoch=1) for frame in frames) for role, frames in later.frames.items()}
    seen = [observation(0), observation(1), replace(later, epoch=1, frames=frames)]
    check_hints_never_matter(talkative, seen, examples=4)


def test_the_check_finds_a_picture_that_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "key_of", lambda frame: (frame.epoch, frame.role, frame.stamp_ns, 0))
    with pytest.raises(AssertionError):
        check_hints_never_matter(lambda: GraphedEngine(BUNDLE), [observation(0), observation(1)], examples=8)


def talkative() -> GraphedEngine:
    """An engine whose texts end, and are remembered then: an untrained network's never do."""
    engine = GraphedEngine(BUNDLE)
    with torch.no_grad():
        engine.model.vlm.lm_head.weight[engine._tokenizer.id("<|traj_future_start|>")] *= 30
    return engine


def test_warming_up_is_forgotten() -> None:
    """What a GPU does when an engine opens: it says nothing about what is answered then."""
    seen = observation()
    with closing(GraphedEngine(BUNDLE)) as cold, closing(GraphedEngine(BUNDLE)) as warm:
        warm.warm_up(REQUESTS)
        assert not warm._sight._known
        assert warm.memory.tree(64) == cold.memory.tree(64)
        assert_same(warm.infer(seen, REQUESTS[0]), cold.infer(seen, REQUESTS[0]))


def test_a_frame_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = observation()
    frames = [frame for frames in seen.frames.values() for frame in frames]
    with closing(GraphedEngine(BUNDLE)) as engine:
        looks: list[int] = []
        look = engine._sight._look_at
        monkeypatch.setattr(engine._sight, "_look_at", lambda new: (looks.append(len(new)), look(new))[1])
        for frame in frames:
            engine.add_frame(frame)
        assert sum(looks) == len(frames)
        engine.infer(seen, Request(reasoning="none"))
        assert sum(looks) == len(frames)
        pixels = frames[0].image.copy()
        pixels[0, 0] ^= 255
        role = frames[0].role
        other = replace(seen, frames={**seen.frames, role: (replace(frames[0], image=pixels), *seen.frames[role][1:])})
        engine.infer(other, Request(reasoning="none"))
        assert sum(looks) == len(frames) + 1, "of the same camera and time, but with other pixels"
        engine.reset(1)
        engine.infer(seen, Request(reasoning="none"))
        assert sum(looks) == 2 * len(frames) + 1, "frames of an earlier epoch are forgotten"


def test_images_are_looked_at_in_batches_of_one_size_whenever_that_is(
    pair: tuple[EagerEngine, GraphedEngine, list[Observation]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU another size may be other bits. One image where prompts are read as they come, else those of a time."""
    _, fast, observations = pair
    tower, sizes = fast.model.vlm.model.visual, set[int]()
    look = tower.forward
    monkeypatch.setattr(tower, "forward", lambda patches, grid: (sizes.add(len(patches)), look(patches, grid))[1])
    hint_all(fast, shown_again(observations[0], epoch=1))
    later = shown_again(observations[0], epoch=2)
    fast._sight.features(next(iter(later.frames.values()))[:2])
    fast.infer(later, REQUESTS[1])
    assert sizes == {fast._network.batch}
    assert fast._network.batch == (1 if fast.model.config.views is None else len(fast._profile.cameras))


def shown_again(seen: Observation, epoch: int) -> Observation:
    """As if nobody had looked at it."""
    frames = {role: tuple(replace(frame, epoch=epoch) for frame in frames) for role, frames in seen.frames.items()}
    return replace(seen, epoch=epoch, frames=frames)


@pytest.mark.parametrize("kind", [EagerEngine, GraphedEngine])
def test_logits_that_are_no_numbers_are_no_words(kind: type[EagerEngine | GraphedEngine]) -> None:
    """One damaged weight of the last matrix: keys, values and actions are what they were."""
    with closing(kind(BUNDLE)) as engine:
        engine.infer(observation(), REQUESTS[0])
        model = engine._model if isinstance(engine, EagerEngine) else engine.model
        with torch.inference_mode():
            model.vlm.lm_head.weight[7, 0] = float("nan")
        with pytest.raises(EngineFailure, match="logits are not finite"):
            engine.infer(observation(), REQUESTS[0])
        assert engine.infer(observation(), REQUESTS[1]).complete == (True,), "without words nothing is wrong"


def test_a_frame_for_which_there_is_no_memory_is_looked_at_later(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = observation()
    with closing(GraphedEngine(BUNDLE)) as engine:
        expected = engine.infer(seen, REQUESTS[0])
        engine.reset(1)
        with monkeypatch.context() as full:
            full.setattr(engine._sight, "_look_at", _no_memory)
            with pytest.raises(EngineFailure, match="out of memory for a frame that came early"):
                hint_all(engine, seen)
        assert_same(engine.infer(seen, REQUESTS[0]), expected)


def test_a_store_that_could_not_grow_grows_later(monkeypatch: pytest.MonkeyPatch) -> None:
    more = replace(REQUESTS[2], samples=6, max_tokens=60)
    with closing(GraphedEngine(BUNDLE)) as engine, closing(GraphedEngine(BUNDLE)) as other:
        expected = other.infer(observation(), more)
        engine.infer(observation(), REQUESTS[0])
        with monkeypatch.context() as full:
            full.setattr(network, "Store", lambda keys, values: _no_memory() if keys.numel() else Store(keys, values))
            with pytest.raises(EngineFailure, match="out of memory for 6 samples"):
                engine.infer(observation(), more)
        assert_same(engine.infer(observation(), more), expected)


@pytest.mark.parametrize("kind", [EagerEngine, GraphedEngine])
def test_actions_that_are_no_numbers_are_no_plan(kind: type[EagerEngine | GraphedEngine]) -> None:
    with closing(kind(BUNDLE)) as engine:
        model = engine._model if isinstance(engine, EagerEngine) else engine.model
        with torch.inference_mode():
            model.action_out_proj.weight[0, 0] = float("nan")
        with pytest.raises(EngineFailure, match="actions are not finite"):
            engine.infer(observation(), REQUESTS[1])


def hint_all(engine: GraphedEngine, seen: Observation) -> None:
    for frame in (frame for frames in seen.frames.values() for frame in frames):
        engine.add_frame(frame)


def _no_memory(*_: object) -> torch.Tensor:
    raise torch.OutOfMemoryError("tried to allocate 2 GiB")


@torch.inference_mode()
def test_memory_that_holds_no_numbers_spoils_one_answer_and_no_other() -> None:
    """Nobody looks at the slots behind the prompt, and 0 times NaN is NaN: it would stay there."""
    with closing(GraphedEngine(BUNDLE)) as engine:
        expected = engine.infer(observation(), REQUESTS[1])
        for held in cast(GraphedNetwork, engine._network)._store:
            held.fill_(float("nan"))
        with pytest.raises(EngineFailure, match=r"actions are not finite: 384 of 384 numbers"):
            engine.infer(observation(), REQUESTS[1])
        assert_same(engine.infer(observation(), REQUESTS[1]), expected)


@torch.inference_mode()
@pytest.mark.parametrize(("asked", "says"), [(REQUESTS[0], "logits are not"), (REQUESTS[1], "actions are not")])
def test_a_frame_whose_features_are_no_numbers_is_looked_at_again(asked: Request, says: str) -> None:
    with closing(GraphedEngine(BUNDLE)) as engine:
        expected = engine.infer(observation(), asked)
        next(iter(engine._sight._known.values())).tokens.fill_(float("nan"))
        with pytest.raises(EngineFailure, match=says):
            engine.infer(observation(), asked)
        assert_same(engine.infer(observation(), asked), expected)


def test_engines_of_a_bundle_are_asked_for_by_name(tmp_path: Path) -> None:
    with closing(open_engine(f"{BUNDLE}@graphed")) as engine:
        assert isinstance(engine, GraphedEngine)
    with pytest.raises(Exception, match="no engine 'quick' for a bundle: want FOLDER@ENGINE, one of eager, graphed"):
        open_engine(f"{BUNDLE}@quick")


def test_it_may_be_closed_twice_and_holds_no_weights_then() -> None:
    engine = GraphedEngine(BUNDLE)
    engine.infer(observation(), REQUESTS[1])
    engine.close()
    engine.close()
    assert not engine._network._layers
    assert all(parameter.is_meta for parameter in engine.model.parameters())


@pytest.mark.parametrize("kind", narrow.KINDS)
def test_in_bfloat16_it_answers_as_the_reference_but_for_rounding(kind: narrow.Kind, tmp_path: Path) -> None:
    engine, seen = narrow.narrow(kind, tmp_path / "bundle")
    with closing(engine):
        assert engine.dtype == torch.bfloat16
        assert all(narrow.apart(engine, seen, request) <= narrow.APART[kind] for request in narrow.REQUESTS)
        assert narrow.apart_when_wrong(engine, seen, narrow.REQUESTS[0]) > narrow.APART[kind]
