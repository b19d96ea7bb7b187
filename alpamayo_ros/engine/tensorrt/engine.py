"""A bundle by TensorRT: the plans that were built for this very machine and this very model, and no others."""

from __future__ import annotations

from pathlib import Path

import torch

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.bundle.manifest import MANIFEST_FILE, check_made_for, check_tensors, read_manifest, verified_bytes
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.tensorrt.build import this_machine
from alpamayo_ros.engine.tensorrt.network import PartsNetwork
from alpamayo_ros.engine.tensorrt.plans import PlanSession, load_tensorrt
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import InvalidInput


class TensorRtEngine(FastEngine):
    """An engine for one bundle."""

    def __init__(self, folder: Path) -> None:
        """Open the plans of a bundle.

        Raises InvalidInput for plans that are missing, changed, or for another machine or model, and says what to do;
        EngineFailure without TensorRT.
        """
        trt = load_tensorrt()
        bundle, config = open_bundle(folder)
        machine = this_machine(trt)
        place = built_for(folder, machine.compute_capability)
        manifest = read_manifest(place)
        check_made_for(manifest, machine, bundle_hash(folder))
        names = [name.removesuffix(".plan") for name in manifest.files]
        sessions = {name: PlanSession(trt, verified_bytes(place, manifest, f"{name}.plan"), name) for name in names}
        described = [session.described() for session in sessions.values()]
        inputs, outputs = ([tensor for each in described for tensor in each[i]] for i in range(2))
        check_tensors(manifest, inputs, outputs)
        network = PartsNetwork(sessions, config, torch.device("cuda"))
        super().__init__(bundle, config, read_tokenizer(folder, config), network)


def built_for(folder: Path, compute_capability: str) -> Path:
    """The one folder of plans for this kind of GPU. Raises InvalidInput for none and for several."""
    found = sorted(path.parent for path in folder.glob(f"engines/{compute_capability}-*/{MANIFEST_FILE}"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise InvalidInput(f"{folder}: want one engine for {compute_capability}, got {got}: run `alpamayo build {folder}` here")
    return found[0]
