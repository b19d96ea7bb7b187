"""The way from a bundle to plans and back to an engine, on a fake of TensorRT: what lies there, what opens, what is refused."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine.tensorrt.fake_tensorrt import Fake
from engine.tensorrt.test_network import assert_same, parts_of
from engine.test_eager import released_bundle, seen_by
from model.nano import BUNDLE
from torch.onnx._internal.exporter import _onnx_program

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.manifest import MANIFEST_FILE, Machine, read_manifest, write_manifest
from alpamayo_ros.engine.fast import engine as fast
from alpamayo_ros.engine.fast.prompt import PADDED, Prompt
from alpamayo_ros.engine.tensorrt import build
from alpamayo_ros.engine.tensorrt.build import Here, build_plans
from alpamayo_ros.engine.tensorrt.engine import Room, TensorRtEngine, check_room
from alpamayo_ros.engine.tensorrt.network import slots_written
from alpamayo_ros.engine.tensorrt.parts import part_names
from alpamayo_ros.types import EngineFailure, InvalidInput, Request

pytestmark = pytest.mark.thorough

KEY = "sm_90-11.4.0.106-fp32"


def here(compute_capability: str = "sm_90", *refuses: str) -> Here:
    return Here(
        Fake(*refuses),
        Machine(compute_capability, Fake.__version__, "13.0", "580.1"),
        torch.device("cpu"),
        memory_bytes=1 << 34,
    )


@pytest.fixture(autouse=True)
def _stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch has none without CUDA."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=1))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of R1's layout with plans in float32, whose weights torch wrote beside every ONNX file."""
    folder = released_bundle(tmp_path_factory.mktemp("r1") / "bundle", "r1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
        patch.setattr(build, "build_onnx", lambda folder, opset: {"files": []})  # test_build.py has it
        assert build_plans(folder, "fp32", here=here()) == {"engine": KEY, "files": [str(folder / "engines" / KEY)]}
    return folder


def test_a_built_folder_holds_plans_and_says_in_full_what_they_were_built_from(built: Path) -> None:
    names = ["expert", "prefill", "verify", "vision"]
    assert [path.name for path in (built / "engines").iterdir()] == [KEY]
    assert sorted(path.name for path in (built / "engines" / KEY).iterdir()) == sorted(
        [MANIFEST_FILE, *(f"{name}.plan" for name in names)]
    )
    made = read_manifest(built / "engines" / KEY).made_for
    assert sorted(made.onnx) == sorted([f"{name}.onnx" for name in names] + [f"{name}.onnx.data" for name in names])
    shards = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.glob("*.safetensors")}
    assert {name: file.sha256 for name, file in made.weights.items()} == shards
    assert len(shards) >= 1
    limits = {tensor.name: (tensor.least, tensor.most) for tensor in made.inputs}
    assert limits["expert.actions"] == ((1, 64, 2), (16, 64, 2))


def test_an_engine_of_plans_answers_as_the_reference_does(built: Path) -> None:
    on = here()
    with closing(TensorRtEngine(built, on)) as engine:
        assert_same(built, engine, seen_by(built))
    assert set(on.trt.streams) == {1}


def test_plans_have_run_once_before_anybody_asks(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "WARMED", ("cpu",))
    on = here()
    with closing(TensorRtEngine(built, on)) as engine:
        ran = len(on.trt.streams)
        assert ran > len(part_names(open_bundle(built)[1])), "every part, the expert in every step"
        assert not engine._sight._known, "nothing of it is remembered"


def test_a_closed_engine_holds_no_plan(built: Path) -> None:
    engine = TensorRtEngine(built, here())
    plans = [weakref.ref(session) for session in engine._network._sessions.values()]  # type: ignore[attr-defined]
    assert len(plans) == len(part_names(open_bundle(built)[1]))
    engine.infer(seen_by(built), Request(steps=1, reasoning="none"))
    engine.close()
    gc.collect()
    assert [plan() for plan in plans] == [None] * len(plans)
    assert not engine._sight._known


def test_plans_that_do_not_run_are_a_failure_and_the_next_answer_is_whole(built: Path) -> None:
    """As a device that is lost may tell it: by a call that says no."""
    on, request = here(), Request(steps=1, reasoning="none")
    with closing(TensorRtEngine(built, on)) as engine:
        expected = engine.infer(seen_by(built), request)
        on.trt.refuses.add("execute_async_v3")
        with pytest.raises(EngineFailure, match=r"prefill: TensorRT did not run; .*: open @graphed"):
            engine.infer(seen_by(built), request)
        on.trt.refuses.clear()
        assert engine.infer(seen_by(built), request).actions.tobytes() == expected.actions.tobytes()


def test_a_request_beyond_the_plans_is_refused_before_anything_runs(built: Path) -> None:
    on = here()
    with closing(TensorRtEngine(built, on)) as engine:
        with pytest.raises(InvalidInput, match="17 samples, these plans take 1 to 16: ask for fewer, or open @graphed"):
            engine.infer(seen_by(built), Request(samples=17))
        with pytest.raises(InvalidInput, match=r"6 texts of up to 400 tokens take \d+ slots .*: lower max_tokens or samples"):
            engine.infer(seen_by(built), Request(samples=6, greedy=False, max_tokens=400))
        with pytest.raises(InvalidInput, match="17 samples, these plans take 1 to 16"):
            engine.prepare([Request(), Request(samples=17)])
        with pytest.raises(InvalidInput, match="this engine has no guidance"):
            engine.prepare([Request(guidance=1.0)])
    assert on.trt.streams == []


def test_the_slots_that_are_counted_are_those_that_writing_asks_for(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    with closing(TensorRtEngine(built, here())) as engine:
        begin = engine._network.begin

        def counted(prompt: Prompt, words: Any, width: int, room: int) -> torch.Tensor:
            asked.append(room)
            return begin(prompt, words, width, room)

        monkeypatch.setattr(engine._network, "begin", counted)
        engine.infer(seen_by(built), Request(samples=3, greedy=False, steps=1, max_tokens=2))
        engine.infer(seen_by(built), Request(samples=3, steps=1, max_tokens=5))
    assert asked == [slots_written(3, 2) - PADDED, slots_written(1, 5) - PADDED]


def test_six_samples_with_words_of_their_own_have_room_and_the_last_slot_counts() -> None:
    six = Request(samples=6, greedy=False)
    check_room(six, Room(16, build.WRITTEN))
    with pytest.raises(InvalidInput, match="6 texts of up to 256 tokens"):
        check_room(six, Room(16, build.WRITTEN - 1))
    for short in (
        Request(samples=6),
        Request(samples=6, greedy=False, share_reasoning=True),
        Request(samples=16, reasoning="none"),
    ):
        check_room(short, Room(16, slots_written(1, 256)))
    with pytest.raises(InvalidInput, match="16 samples, these plans take 1 to 15"):
        check_room(Request(samples=16, reasoning="none"), Room(15, 9999))


@pytest.mark.parametrize("kind", ["nano", "r1"])
def test_parts_are_called_as_they_are_without_making_them(built: Path, kind: str) -> None:
    folder = BUNDLE if kind == "nano" else built
    assert part_names(open_bundle(folder)[1]) == [part.name for part in parts_of(folder)]


def spoiled(place: Path) -> None:
    data = bytearray((place / "verify.plan").read_bytes())
    data[1000] ^= 1
    (place / "verify.plan").write_bytes(data)


def listed_again(place: Path) -> None:
    """Whatever lies there, as if it had been built."""
    write_manifest(place, read_manifest(place).made_for)


def with_external_data(place: Path) -> None:
    (place / "vision.onnx.data").write_bytes(b"weights")
    listed_again(place)


def wider(place: Path) -> None:
    stored = json.loads((place / MANIFEST_FILE).read_text())
    [actions] = [tensor for tensor in stored["made_for"]["inputs"] if tensor["name"] == "expert.actions"]
    actions["most"][0] = 64
    (place / MANIFEST_FILE).write_text(json.dumps(stored))


AGAIN = "run `alpamayo build` for this bundle again"
BREAKS: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "missing": (lambda p: (p / "verify.plan").unlink(), InvalidInput, f"lacks verify.plan: {AGAIN}"),
    "missing and unlisted": (
        lambda p: ((p / "verify.plan").unlink(), listed_again(p)),
        InvalidInput,
        f"lists expert.plan, prefill.plan, vision.plan, this network wants expert.plan, .*: {AGAIN}",
    ),
    "corrupt": (spoiled, InvalidInput, f"verify.plan has sha256 .*: {AGAIN}"),
    "corrupt when it was listed": (
        lambda p: (spoiled(p), listed_again(p)),
        EngineFailure,
        f"verify: TensorRT does not open this plan; .*: {AGAIN}",
    ),
    "with external data": (with_external_data, InvalidInput, f"lists .*vision.onnx.data.*, this network wants .*: {AGAIN}"),
    "other limits": (wider, InvalidInput, rf"expert.actions: manifest .*\[64, 64, 2\], engine .*\[16, 64, 2\]: {AGAIN}"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_plans_that_are_not_those_that_were_built_are_refused_with_what_to_do(built: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(built, tmp_path / "bundle")
    breaking, refusal, says = BREAKS[name]
    breaking(folder / "engines" / KEY)
    with pytest.raises(refusal, match=says):
        TensorRtEngine(folder, here())


def test_plans_larger_than_the_gpu_are_refused_before_they_are_read(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "alpamayo_ros.engine.tensorrt.engine.verified_bytes",
        lambda *_: pytest.fail("a file may be larger than this machine's memory"),
    )
    size = sum(path.stat().st_size for path in (built / "engines" / KEY).glob("*.plan"))
    with pytest.raises(InvalidInput, match=f"plans of {size} bytes, this GPU has {size - 1}: open @graphed"):
        TensorRtEngine(built, here()._replace(memory_bytes=size - 1))


def test_a_folder_that_no_manifest_describes_is_refused_with_what_to_do(built: Path, tmp_path: Path) -> None:
    place = shutil.copytree(built / "engines" / KEY, tmp_path / KEY)
    (place / ".hidden").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=f"{KEY}: .*String should match pattern.*: {AGAIN}"):
        listed_again(place)


def test_plans_for_another_machine_or_model_are_refused_with_what_to_do(built: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="want one engine for sm_89, got none: run `alpamayo build"):
        TensorRtEngine(built, here("sm_89"))
    newer = here()._replace(machine=Machine("sm_90", "11.5", "13.0", "580.1"))
    with pytest.raises(InvalidInput, match=r"built by TensorRT 11\.4\.0\.106, here is 11\.5: run `alpamayo build`"):
        TensorRtEngine(built, newer)
    folder = shutil.copytree(built, tmp_path / "bundle")
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    with pytest.raises(InvalidInput, match=r"built from model .*, this bundle is .*: run `alpamayo build`"):
        TensorRtEngine(folder, here())
