"""A bundle by TensorRT: the plans that were built for this very machine and this very model, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from alpamayo_ros.bundle.config import Config, open_bundle
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.bundle.manifest import (
    BUILD_AGAIN,
    MANIFEST_FILE,
    Manifest,
    check_made_for,
    check_tensors,
    read_manifest,
    verified_bytes,
)
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.tensorrt.build import Here, found_here
from alpamayo_ros.engine.tensorrt.network import PartsNetwork, slots_written
from alpamayo_ros.engine.tensorrt.parts import part_names
from alpamayo_ros.engine.tensorrt.plans import PlanSession
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import InvalidInput, Request


class Room(NamedTuple):
    """What plans have room for."""

    samples: int
    slots: int  # behind the longest prompt


class TensorRtEngine(FastEngine):
    """An engine for one bundle."""

    def __init__(self, folder: Path, here: Here | None = None) -> None:
        """Open the plans of a bundle.

        Raises InvalidInput for plans that are missing, changed, or for another machine or model, and says what to do;
        EngineFailure without TensorRT, and for plans that it does not open.
        """
        here = here or found_here()
        bundle, config = open_bundle(folder)
        manifest, sessions = open_plans(folder, config, here)
        self._room = room_of(manifest)
        network = PartsNetwork(sessions, config, here.device)
        super().__init__(bundle, config, read_tokenizer(folder, config), network, here.device)

    def check(self, request: Request) -> None:
        """As `FastEngine.check`, and for more than the plans have room for."""
        super().check(request)
        check_room(request, self._room)


def open_plans(folder: Path, config: Config, here: Here) -> tuple[Manifest, dict[str, PlanSession]]:
    """A plan for each part of a bundle's network. Raises as `TensorRtEngine`."""
    place = built_for(folder, here.machine.compute_capability)
    manifest, names = read_manifest(place), part_names(config)
    check_made_for(manifest, here.machine, bundle_hash(folder))
    if manifest.files.keys() != (wanted := {f"{name}.plan" for name in names}):
        found = ", ".join(sorted(manifest.files))
        raise InvalidInput(f"{place}: lists {found}, this network wants {', '.join(sorted(wanted))}: {BUILD_AGAIN}")
    if (size := sum(file.bytes for file in manifest.files.values())) > here.memory_bytes:
        raise InvalidInput(f"{place}: plans of {size} bytes, this GPU has {here.memory_bytes}: open @graphed")
    sessions = {name: PlanSession(here.trt, verified_bytes(place, manifest, f"{name}.plan"), name) for name in names}
    described = [session.described() for session in sessions.values()]
    check_tensors(
        manifest, [tensor for ins, _ in described for tensor in ins], [tensor for _, outs in described for tensor in outs]
    )
    return manifest, sessions


def built_for(folder: Path, compute_capability: str) -> Path:
    """The one folder of plans for this kind of GPU. Raises InvalidInput for none and for several."""
    found = sorted(path.parent for path in folder.glob(f"engines/{compute_capability}-*/{MANIFEST_FILE}"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        fix = f"remove all but one from {folder / 'engines'}" if found else f"run `alpamayo build {folder}` here"
        raise InvalidInput(f"{folder}: want one engine for {compute_capability}, got {got}: {fix}")
    return found[0]


def room_of(manifest: Manifest) -> Room:
    """By the largest shapes of inputs, which are those of `parts.parts`."""
    most = {tensor.name: tensor.most for tensor in manifest.made_for.inputs}
    return Room(most["expert.actions"][0], most["verify.keys"][3] - most["prefill.token_ids"][1])


def check_room(request: Request, room: Room) -> None:
    """Raise InvalidInput for a request that these plans have no room for, whatever the prompt."""
    if request.samples > room.samples:
        raise InvalidInput(
            f"{request.samples} samples, these plans take 1 to {room.samples}: ask for fewer, or open @graphed or @eager"
        )
    texts = 1 if request.greedy or request.share_reasoning else request.samples
    needed = 0 if request.reasoning == "none" else slots_written(texts, request.max_tokens)
    if needed > room.slots:
        raise InvalidInput(
            f"{texts} texts of up to {request.max_tokens} tokens take {needed} slots behind the prompt, these plans have "
            f"{room.slots}: lower max_tokens or samples, set share_reasoning or greedy, or open @graphed or @eager"
        )
