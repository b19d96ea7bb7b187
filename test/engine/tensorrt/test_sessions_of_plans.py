"""A plan is built and run, or refused with what to do: on a fake of TensorRT's objects, which test_plans.py cannot run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from engine.tensorrt.fake_tensorrt import DataType, Fake, Flag
from torch import Tensor, nn
from torch.onnx._internal.exporter import _onnx_program

from alpamayo_ros.engine.tensorrt.export import export_part
from alpamayo_ros.engine.tensorrt.parts import Part
from alpamayo_ros.engine.tensorrt.plans import Limits, PlanSession, build_plan
from alpamayo_ros.types import EngineFailure

OTHERWISE = "build with the other --opset, or open @graphed"
LIMITS = {"samples": Limits(1, 2, 4), "before": Limits(2, 3, 8)}


class Small(nn.Module):
    """Two inputs of which both sizes are free, and a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 99)  # large enough for its weight to lie beside the file

    def forward(self, actions: Tensor, keys: Tensor) -> Tensor:
        made: Tensor = self.line(actions) + keys.sum()
        return made


torch.manual_seed(0)
PART = Part("small", Small().eval(), {"actions": ("samples", 3), "keys": ("before", 2)}, ("made",))


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_part(PART, tmp_path_factory.mktemp("onnx") / "small.onnx", torch.float32, 23)


@pytest.fixture(scope="module")
def plan(onnx: Path) -> bytes:
    return build_plan(Fake(), onnx, PART, LIMITS)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The caller's stream: torch has none without CUDA."""
    stream = SimpleNamespace(cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream if device == torch.device("cpu") else None)
    return stream


def given(samples: int = 2, before: int = 3) -> dict[str, Tensor]:
    return {"actions": torch.rand(samples, 3), "keys": torch.rand(before, 2)}


@pytest.mark.usefixtures("now")
def test_a_plan_computes_what_its_part_does_at_every_size_within_its_limits(plan: bytes) -> None:
    session = PlanSession(Fake(), plan, "small")
    for samples, before in ((2, 3), (1, 2), (4, 8)):
        asked = given(samples, before)
        torch.testing.assert_close(session(asked)["made"], PART.module(*asked.values()))
    turned = {"actions": torch.rand(3, 2).T, "keys": torch.rand(3, 2)}
    torch.testing.assert_close(session(turned)["made"], PART.module(*turned.values()))


def test_a_plan_runs_on_the_stream_that_is_the_callers_at_that_time(plan: bytes, now: SimpleNamespace) -> None:
    fake = Fake()
    session = PlanSession(fake, plan, "small")
    for stream in (7, 8, 7):
        now.cuda_stream = stream
        session(given())
    assert fake.streams == [7, 8, 7]


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize(
    ("samples", "before", "says"),
    [
        (5, 3, r"small: actions \(5, 3\), this plan takes \(1, 3\) to \(4, 3\): ask for fewer samples, .* or open @graphed"),
        (2, 9, r"small: keys \(9, 2\), this plan takes \(2, 2\) to \(8, 2\): ask for fewer"),
        (2, 1, r"small: keys \(1, 2\), this plan takes \(2, 2\) to \(8, 2\): ask for fewer"),
    ],
)
def test_sizes_beyond_the_limits_are_refused_and_nothing_runs(plan: bytes, samples: int, before: int, says: str) -> None:
    fake = Fake()
    session = PlanSession(fake, plan, "small")
    with pytest.raises(EngineFailure, match=says):
        session(given(samples, before))
    assert fake.streams == []
    session(given())
    assert len(fake.streams) == 1, "a refusal spoils nothing"


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize(
    ("refuses", "says"),
    [
        ("deserialize_cuda_engine", "small: TensorRT does not open this plan; .*: run `alpamayo build` for this bundle again"),
        ("create_execution_context", "small: no memory for an execution context: end what else uses this GPU"),
        ("infer_shapes", "small: shapes of actions are not known: run `alpamayo build`"),
        ("shapes", "small: these shapes do not fit together: 3 and 4 along axis 1: run `alpamayo build`"),
        ("keys", "small: keys is refused where it lies: open @graphed"),
        ("made", "small: made is refused where it lies: open @graphed"),
        ("execute_async_v3", "small: TensorRT did not run; .*: open @graphed"),
    ],
)
def test_every_call_that_says_no_is_a_failure_with_what_to_do(plan: bytes, refuses: str, says: str) -> None:
    with pytest.raises(EngineFailure, match=says):
        PlanSession(Fake(refuses), plan, "small")(given())


@pytest.mark.parametrize("broken", [lambda p: b"", lambda p: p[:-1], lambda p: p[:100] + bytes([p[100] ^ 1]) + p[101:]])
def test_bytes_that_are_no_plan_are_not_opened(plan: bytes, broken: type[bytes]) -> None:
    with pytest.raises(EngineFailure, match="small: TensorRT does not open this plan"):
        PlanSession(Fake(), broken(plan), "small")


@pytest.mark.usefixtures("now")
def test_inputs_that_a_plan_does_not_take_are_refused(plan: bytes) -> None:
    session = PlanSession(Fake(), plan, "small")
    with pytest.raises(EngineFailure, match=r"small: actions is torch\.float64, this plan takes torch\.float32: run `alpamayo"):
        session(given() | {"actions": torch.rand(2, 3).double()})
    with pytest.raises(EngineFailure, match="small: this plan takes keys too, which nobody gives: run `alpamayo build`"):
        session({"actions": torch.rand(2, 3)})
    fake = Fake()
    fake.dtypes["keys"] = DataType.FP8
    with pytest.raises(EngineFailure, match=r"small: keys is DataType\.FP8, which nobody here gives or takes: run `alpamayo"):
        PlanSession(fake, plan, "small").described()


def test_a_plan_says_its_limits(plan: bytes) -> None:
    [actions, keys], [made] = PlanSession(Fake(), plan, "small").described()
    assert (actions.name, actions.shape) == ("small.actions", (-1, 3))
    assert (actions.least, actions.usual, actions.most) == ((1, 3), (2, 3), (4, 3))
    assert (keys.least, keys.usual, keys.most) == ((2, 2), (3, 2), (8, 2))
    assert (made.name, made.dtype, made.shape) == ("small.made", "float32", (-1, 99))


# -------------------------------------------------------------------------------------------------------------- building


def test_a_plan_of_float32_is_not_rounded_to_tf32(onnx: Path) -> None:
    fake = Fake()
    build_plan(fake, onnx, PART, LIMITS)
    assert [Flag.TF32 in config.flags for config in fake.configs] == [False]


def test_what_the_parser_or_builder_refuses_is_told(onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(EngineFailure, match=rf"none.onnx: TensorRT does not parse it: .+; nothing was parsed: {OTHERWISE}"):
        build_plan(Fake(), tmp_path / "none.onnx", PART, LIMITS)
    with pytest.raises(EngineFailure, match=rf"small.onnx: TensorRT built nothing; .*: {OTHERWISE}"):
        build_plan(Fake("build_serialized_network"), onnx, PART, LIMITS)
    with pytest.raises(
        EngineFailure, match=r"small.onnx: TensorRT takes no such sizes: .*'samples': Limits\(least=3.*: open @graphed"
    ):
        build_plan(Fake(), onnx, PART, LIMITS | {"samples": Limits(3, 2, 4)})


@pytest.mark.usefixtures("now")
def test_weights_that_lie_beside_the_file_are_found_there_and_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 0)
    onnx = export_part(PART, tmp_path / "small.onnx", torch.float32, 23)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.onnx", "small.onnx.data"]
    asked, session = given(), PlanSession(Fake(), build_plan(Fake(), onnx, PART, LIMITS), "small")
    torch.testing.assert_close(session(asked)["made"], PART.module(*asked.values()))
    (tmp_path / "small.onnx.data").unlink()
    with pytest.raises(EngineFailure, match=r"TensorRT does not parse it: .*small\.onnx\.data"):
        build_plan(Fake(), onnx, PART, LIMITS)
