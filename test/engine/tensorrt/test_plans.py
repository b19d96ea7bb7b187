"""Calls of TensorRT are those that its bindings have. Nothing is built or run: that takes a GPU and NVIDIA's libraries."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alpamayo_ros.engine.tensorrt import plans
from alpamayo_ros.engine.tensorrt.plans import load_tensorrt
from alpamayo_ros.types import EngineFailure

BINDINGS = ("tensorrt_cu13_bindings==10.14.1.48.post1", "tensorrt_cu13_bindings==11.4.0.106")
"""The oldest that takes attention of opset 23 as a single node, and the newest."""

IS = {  # what variables of plans.py hold
    "builder": "Builder", "network": "INetworkDefinition", "parser": "OnnxParser", "profile": "IOptimizationProfile",
    "config": "IBuilderConfig", "engine": "ICudaEngine", "context": "IExecutionContext", "_runtime": "Runtime",
    "_engine": "ICudaEngine", "_context": "IExecutionContext",
}  # fmt: skip

TELL = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
trt = importlib.util.module_from_spec(spec); sys.modules["tensorrt"] = trt; spec.loader.exec_module(trt)
told = {}
for name in json.loads(sys.argv[2]):
    thing = trt
    for part in name.split("."):
        thing = getattr(thing, part, None)
    told[name] = None if thing is None else (thing.__doc__ or "")
print(json.dumps(told))
"""


@pytest.fixture(scope="module", params=BINDINGS)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real bindings over libraries that hold nothing but the few symbols they want."""
    folder = tmp_path_factory.mktemp("bindings")
    if sys.version_info[:2] != (3, 11) or shutil.which("gcc") is None:
        pytest.skip("wants Python 3.11 and gcc, for the wheel and for empty libraries under it")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), request.param]
    if subprocess.run(pip, capture_output=True, timeout=300, check=False).returncode:
        pytest.skip(f"pip has no {request.param} here")
    [wheel] = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder, "zip")
    made = "createInferBuilder createInferRefitter createInferRuntime createNvOnnxParserRefitter createNvOnnxParser"
    wanted = {
        "nvinfer": "getBuilderPluginRegistry getPluginRegistry " + made.replace(" ", "_INTERNAL ") + "_INTERNAL",
        "nvonnxparser": "getNvOnnxParserVersion " + made.replace(" ", "_INTERNAL ") + "_INTERNAL",
        "nvinfer_plugin": "initLibNvInferPlugins",
    }
    for library, symbols in wanted.items():
        source = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols.split())
        name = f"lib{library}.so.{request.param.partition('==')[2].partition('.')[0]}"
        gcc = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / name), f"-Wl,-soname,{name}"]
        subprocess.run(gcc, input=source.encode(), check=True)
    return folder


def told_of(bindings: Path, names: list[str]) -> dict[str, str | None]:
    """Docstring of each name of the bindings; None for one that is not there."""
    module = bindings / "tensorrt_bindings" / "tensorrt.so"
    command = [sys.executable, "-c", TELL, str(module), json.dumps(names)]
    done = subprocess.run(
        command, env={"LD_LIBRARY_PATH": str(bindings)}, capture_output=True, text=True, timeout=60, check=True
    )
    told: dict[str, str | None] = json.loads(done.stdout)
    return told


def used(source: str) -> dict[str, int | None]:
    """Every name of the bindings that a source uses, with the number of arguments where it is called."""
    found: dict[str, int | None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and (name := _spelled(node)):
            found.setdefault(name, None)
        if isinstance(node, ast.Call) and (name := _spelled(node.func)):
            found[name] = len(node.args) + len(node.keywords)
    return found


def _spelled(node: ast.AST) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    base = node.id if isinstance(node, ast.Name) else ""
    if base == "self" and parts and parts[0] in IS:
        base, parts = parts[0], parts[1:]
    if base == "self" and parts[:1] == ["_trt"]:
        base, parts = "trt", parts[1:]
    if base == "trt" and parts:
        return ".".join(parts)
    return f"{IS[base]}.{'.'.join(parts)}" if base in IS and parts else None


def wrong(told: dict[str, str | None], calls: dict[str, int | None]) -> list[str]:
    """Names that are not there, and calls with a number of arguments that no overload takes."""
    problems = [name for name, doc in told.items() if doc is None]
    for name, count in calls.items():
        doc = told[name]
        signatures = re.findall(rf"\b{name.rpartition('.')[2]}\(self[^)]*\)", doc or "")
        if count is not None and signatures and count not in {n for text in signatures for n in _counts(text)}:
            problems.append(f"{name} with {count} arguments, want {signatures}")
    return problems


def _counts(signature: str) -> range:
    arguments = signature.rstrip(")").split(", ")[1:]
    return range(sum("=" not in argument for argument in arguments), len(arguments) + 1)


def test_every_call_is_one_that_the_bindings_have(bindings: Path) -> None:
    calls = used(Path(plans.__file__).read_text())
    assert {"Builder.build_serialized_network", "IExecutionContext.execute_async_v3", "DataType.BF16"} <= calls.keys()
    assert len(calls) >= 25
    assert wrong(told_of(bindings, list(calls)), calls) == []


def test_a_name_or_argument_that_is_not_there_is_found(bindings: Path) -> None:
    source = Path(plans.__file__).read_text()
    source = source.replace("execute_async_v3(", "execute_async_v9(").replace("infer_shapes()", "infer_shapes(1, 2)")
    calls = used(source)
    problems = wrong(told_of(bindings, list(calls)), calls)
    assert problems[0] == "IExecutionContext.execute_async_v9"
    assert problems[1].startswith("IExecutionContext.infer_shapes with 2 arguments")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_before_anything_can_crash() -> None:
    with pytest.raises(
        EngineFailure,
        match="TensorRT: torch finds no CUDA device here: install NVIDIA's driver and torch with CUDA, or open @graphed",
    ):
        load_tensorrt()
