"""`alpamayo build`: a bundle's network as ONNX files that are proven, and from those as TensorRT's plans for this machine.

BUNDLE/engines/onnx-23/            one file per part, float32, each held against torch in ONNX Runtime
BUNDLE/engines/sm_90-11.4-bf16/    plans and manifest.json: what they were built from and for

Above 1.5 GB torch writes NAME.onnx.data beside NAME.onnx. A folder of plans holds nothing of either.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import torch

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.bundle.manifest import EngineFile, Input, Machine, MadeFor, identify, write_manifest
from alpamayo_ros.bundle.manifest import Tensor as Output
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.eager import open_model
from alpamayo_ros.engine.tensorrt.export import Opset, export, export_part
from alpamayo_ros.engine.tensorrt.network import reached, slots_written
from alpamayo_ros.engine.tensorrt.parts import Part, parts
from alpamayo_ros.engine.tensorrt.plans import Limits, PlanSession, build_plan, load_tensorrt
from alpamayo_ros.model.prompt import encode, named_images
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import EngineFailure

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

ROUTE = 128
"""Tokens by which a route's words may lengthen a prompt: at most 80 letters, or a road's 64 with a maneuver and a distance."""

WORDS = 64
SAMPLES = 16
"""Of one answer. More are refused: every plan would set memory aside for them, a layer's keys and values for each."""

WRITTEN = slots_written(texts=6, tokens=256)
"""Slots behind a prompt: six samples with words of their own, as many as a request has where it says nothing else."""


class Here(NamedTuple):
    """What plans are built and run with."""

    trt: Any  # TensorRT's bindings
    machine: Machine
    device: torch.device
    memory_bytes: int  # of the device, all of it


class Built(NamedTuple):
    """A part's plan is written; what it is, and the files it was built from."""

    onnx: dict[str, EngineFile]
    inputs: list[Input]
    outputs: list[Output]


def build_onnx(folder: Path, opset: Opset = 23) -> dict[str, Any]:
    """Export and check every part. Raises InvalidInput for a bundle that is not whole, EngineFailure where a part differs."""
    bundle, made = _parts(folder, torch.float32)
    place = _emptied(bundle.folder / "engines" / f"onnx-{opset}")
    errors = {part.name: part.max_error for part in export(made, place, torch.float32, opset)}
    files = [str(path) for path in sorted(place.iterdir())]
    return {"parts": errors, "max_error": max(errors.values()), "engine": None, "files": files}


def build_plans(folder: Path, precision: Precision = "bf16", opset: Opset = 23, here: Here | None = None) -> dict[str, Any]:
    """Check the parts, then build a plan of each for this GPU. Raises as `build_onnx`, and EngineFailure without TensorRT."""
    here = here or found_here()
    figures = build_onnx(folder, opset)
    place = _emptied(folder / "engines" / engine_key(here.machine, precision))
    bundle, made = _parts(folder, DTYPES[precision])
    limits = _limits(bundle, folder)
    built = [_built(here.trt, part, place, limits, precision, opset) for part in made]
    write_manifest(place, _made_for(bundle, here.machine, precision, built))
    return figures | {"engine": place.name, "files": [*figures["files"], str(place)]}


def found_here() -> Here:
    """TensorRT and the GPU of this machine. Raises EngineFailure without them or a driver's version."""
    trt = load_tensorrt()
    major, minor = torch.cuda.get_device_capability()
    version = Path("/proc/driver/nvidia/version")
    words = version.read_text().split() if version.exists() else []
    driver = next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), None)
    if driver is None or torch.version.cuda is None:
        raise EngineFailure(f"{version} does not say which driver this is: install NVIDIA's driver and torch with CUDA")
    machine = Machine(f"sm_{major}{minor}", str(trt.__version__), torch.version.cuda, driver)
    return Here(trt, machine, torch.device("cuda"), torch.cuda.mem_get_info()[1])


def engine_key(machine: Machine, precision: Precision) -> str:
    """The name of an engine's folder."""
    return f"{machine.compute_capability}-{machine.tensorrt}-{precision}"


def _emptied(place: Path) -> Path:
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    return place


def _built(trt: Any, part: Part, place: Path, limits: Mapping[str, Limits], precision: Precision, opset: Opset) -> Built:
    """Write NAME.plan, and nothing else."""
    with TemporaryDirectory(prefix=".onnx-", dir=place.parent) as work:
        onnx = export_part(part, Path(work) / f"{part.name}.onnx", DTYPES[precision], opset)
        files = {path.name: identify(path) for path in sorted(Path(work).iterdir())}
        plan = build_plan(trt, onnx, part, limits)
    (place / f"{part.name}.plan").write_bytes(plan)
    return Built(files, *PlanSession(trt, plan, part.name).described())


def _made_for(bundle: Bundle, machine: Machine, precision: Precision, built: Sequence[Built]) -> MadeFor:
    weights = [name for name in bundle.present if name.endswith(".safetensors")]
    return MadeFor(
        compute_capability=machine.compute_capability,
        tensorrt=machine.tensorrt,
        cuda=machine.cuda,
        driver_min=machine.driver,
        precision=precision,
        model_revision=bundle_hash(bundle.folder),
        onnx={name: file for each in built for name, file in each.onnx.items()},
        weights={name: identify(bundle.folder / name) for name in weights},
        inputs=tuple(tensor for each in built for tensor in each.inputs),
        outputs=tuple(tensor for each in built for tensor in each.outputs),
    )


def _parts(folder: Path, dtype: torch.dtype) -> tuple[Bundle, list[Part]]:
    bundle, config = open_bundle(folder)
    model = open_model(bundle, config, torch.device("cpu")).to(dtype)
    return bundle, parts(model, named_images(list(bundle.profile.cameras), bundle.profile, config))


def _limits(bundle: Bundle, folder: Path) -> dict[str, Limits]:
    """Sizes for every camera of the profile, or fewer."""
    _, config = open_bundle(folder)
    prompt = encode(blank_observation(bundle.profile), bundle.profile, read_tokenizer(folder, config), config, "reason")
    length, scene = len(prompt.token_ids), int((prompt.token_ids == config.image_token_id).sum())
    return {
        "images": Limits(1, 1, 1),
        "prompt": Limits(1, length, length + ROUTE),
        "scene": Limits(1, scene, scene),
        "before": Limits(1, length + WORDS, reached(length + ROUTE + WRITTEN)),
        "words": Limits(1, 16, WORDS),
        "samples": Limits(1, 1, SAMPLES),
    }
