"""An engine of parts says what the reference says: parts in torch, and in ONNX Runtime."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from engine.contract_checks import check_hints_never_matter
from engine.tensorrt.onnx_session import OnnxSession
from engine.test_eager import released_bundle, seen_by
from model.nano import BUNDLE, observation
from torch import Tensor

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.engine.eager import EagerEngine, open_model
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.tensorrt.export import export
from alpamayo_ros.engine.tensorrt.network import PartsNetwork, Session
from alpamayo_ros.engine.tensorrt.parts import Part, parts
from alpamayo_ros.model.prompt import named_images
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import InvalidInput, Observation, Request

pytestmark = pytest.mark.thorough

REQUESTS = (
    Request(steps=1, max_tokens=12),
    Request(steps=1, reasoning="none", samples=3),
    Request(steps=1, samples=3, greedy=False, seed=5, max_tokens=12),
)


class TorchSession:
    """A part as it is."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        made = self._part.module(*(given[name] for name in self._part.inputs))
        return dict(zip(self._part.outputs, made if isinstance(made, tuple) else (made,), strict=True))


def parts_of(folder: Path) -> list[Part]:
    bundle, config = open_bundle(folder)
    return parts(
        open_model(bundle, config, torch.device("cpu")), named_images(list(bundle.profile.cameras), bundle.profile, config)
    )


def engine_of(folder: Path, sessions: Mapping[str, Session]) -> FastEngine:
    bundle, config = open_bundle(folder)
    network = PartsNetwork(sessions, config, torch.device("cpu"))
    return FastEngine(bundle, config, read_tokenizer(folder, config), network, torch.device("cpu"))


def assert_same(folder: Path, engine: FastEngine, seen: Observation) -> None:
    with closing(EagerEngine(folder)) as reference:
        for request in REQUESTS:
            one, other = engine.infer(seen, request), reference.infer(seen, request)
            assert (one.texts, one.tokens, one.complete) == (other.texts, other.tokens, other.complete)
            np.testing.assert_allclose(one.actions, other.actions, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["nano", "r1"])
def test_parts_in_torch_answer_as_the_reference_does(tmp_path: Path, kind: str) -> None:
    folder, seen = (BUNDLE, observation()) if kind == "nano" else (released_bundle(tmp_path / "bundle", "r1"), None)
    with torch.inference_mode(), closing(engine_of(folder, {p.name: TorchSession(p) for p in parts_of(folder)})) as engine:
        assert_same(folder, engine, seen or seen_by(folder))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = released_bundle(tmp_path_factory.mktemp("r1") / "bundle", "r1")
    export(parts_of(folder), folder / "onnx", torch.float32)
    return folder, folder / "onnx"


def test_parts_in_onnx_runtime_answer_as_the_reference_does(built: tuple[Path, Path]) -> None:
    folder, files = built
    sessions = {path.stem: OnnxSession(path) for path in files.glob("*.onnx")}
    assert sessions.keys() == {"vision", "prefill", "verify", "expert"}
    with closing(engine_of(folder, sessions)) as engine:
        assert_same(folder, engine, seen_by(folder))
        with pytest.raises(InvalidInput, match="no guidance, trajectories as tokens or pruned prompts: want @eager"):
            engine.infer(seen_by(folder), Request(guidance=2.0))


def test_a_part_of_another_network_is_found_out(built: tuple[Path, Path], tmp_path: Path) -> None:
    """The comparison can fail."""
    folder, files = built
    model_parts = parts_of(folder)
    expert = next(part for part in model_parts if part.name == "expert")
    with torch.no_grad():
        expert.module.action_out.weight[0, 0] += 0.5  # type: ignore[union-attr,index,operator]
    sessions: dict[str, Session] = {path.stem: OnnxSession(path) for path in files.glob("*.onnx")}
    with closing(engine_of(folder, sessions | {"expert": TorchSession(expert)})) as engine, pytest.raises(AssertionError):
        assert_same(folder, engine, seen_by(folder))


def test_hints_never_matter(built: tuple[Path, Path]) -> None:
    """The contract's law, for parts in ONNX Runtime, too."""
    folder, files = built
    sessions = {path.stem: OnnxSession(path) for path in files.glob("*.onnx")}
    check_hints_never_matter(lambda: engine_of(folder, sessions), [seen_by(folder)], examples=2)
