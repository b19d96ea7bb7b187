"""`alpamayo build`: a bundle's network as ONNX files that are proven, and from those as TensorRT's plans for this machine.

BUNDLE/engines/onnx-23/            one file per part, float32, each held against torch in ONNX Runtime
BUNDLE/engines/sm_90-11.4-bf16/    plans and manifest.json: what they were built from and for
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.bundle.manifest import Machine, MadeFor, write_manifest
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.eager import open_model
from alpamayo_ros.engine.tensorrt.export import Opset, export, export_part
from alpamayo_ros.engine.tensorrt.parts import Part, parts
from alpamayo_ros.engine.tensorrt.plans import Limits, PlanSession, build_plan, load_tensorrt
from alpamayo_ros.model.prompt import encode, named_images
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import EngineFailure

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

ROUTE = 64
"""Tokens by which a route's words may lengthen a prompt."""

WORDS = 64
SAMPLES = 16
WRITTEN = 512
"""Tokens that may be written behind a prompt, with those that were guessed wrong."""


def build_onnx(folder: Path, opset: Opset = 23) -> dict[str, Any]:
    """Export and check every part. Raises InvalidInput for a bundle that is not whole, EngineFailure where a part differs."""
    bundle, made = _parts(folder, torch.float32)
    exported = export(made, bundle.folder / "engines" / f"onnx-{opset}", torch.float32, opset)
    errors = {part.name: part.max_error for part in exported}
    return {"parts": errors, "max_error": max(errors.values()), "engine": None, "files": [str(part.path) for part in exported]}


def build_plans(folder: Path, precision: Precision = "bf16", opset: Opset = 23) -> dict[str, Any]:
    """Check the parts, then build a plan of each for this GPU. Raises as `build_onnx`, and EngineFailure without TensorRT."""
    trt = load_tensorrt()
    figures = build_onnx(folder, opset)
    machine = this_machine(trt)
    place = folder / "engines" / engine_key(machine, precision)
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    bundle, made = _parts(folder, DTYPES[precision])
    limits, sessions = _limits(bundle, folder), []
    for part in made:
        onnx = export_part(part, place / f"{part.name}.onnx", DTYPES[precision], opset)
        plan = build_plan(trt, onnx, part, limits)
        onnx.unlink()
        (place / f"{part.name}.plan").write_bytes(plan)
        sessions.append(PlanSession(trt, plan, part.name))
    inputs, outputs = zip(*(session.described() for session in sessions), strict=True)
    write_manifest(
        place,
        MadeFor(
            compute_capability=machine.compute_capability,
            tensorrt=machine.tensorrt,
            cuda=machine.cuda,
            driver_min=machine.driver,
            precision=precision,
            model_revision=bundle_hash(folder),
            inputs=tuple(tensor for each in inputs for tensor in each),
            outputs=tuple(tensor for each in outputs for tensor in each),
        ),
    )
    return figures | {"engine": place.name, "files": [*figures["files"], str(place)]}


def this_machine(trt: Any) -> Machine:
    """What plans are built and opened with here. Raises EngineFailure where the driver does not say what it is."""
    major, minor = torch.cuda.get_device_capability()
    version = Path("/proc/driver/nvidia/version")
    words = version.read_text().split() if version.exists() else []
    driver = next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), None)
    if driver is None or torch.version.cuda is None:
        raise EngineFailure(f"{version} does not say which driver this is")
    return Machine(f"sm_{major}{minor}", str(trt.__version__), torch.version.cuda, driver)


def engine_key(machine: Machine, precision: Precision) -> str:
    """The name of an engine's folder."""
    return f"{machine.compute_capability}-{machine.tensorrt}-{precision}"


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
        "before": Limits(1, length + WORDS, length + ROUTE + WRITTEN),
        "words": Limits(1, 16, WORDS),
        "samples": Limits(1, 1, SAMPLES),
    }
