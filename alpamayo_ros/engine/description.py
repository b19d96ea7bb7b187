"""What a bundle is, in numbers: for people and scripts, also before its weights are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from alpamayo_ros.bundle.config import check_profile, read_config
from alpamayo_ros.bundle.folder import Bundle, read_bundle
from alpamayo_ros.engine.loading import BUILT_IN, bundle_engine
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame, EgoHistory, EgoPose, EgoSignals, Observation, TurnIndicator

OF_THE_NETWORK = ("parameters", "dtype", "memory_bytes", "generation", "vocabulary", "prompt_tokens")


def describe(name: str) -> dict[str, Any]:
    """Figures of a bundle's folder, or of a built-in engine, which has no network. What needs missing files is None.

    Tokens are those with every camera of the profile and without a route. Memory is that of the weights alone, as stored.
    Raises InvalidInput for files that cannot be read or do not fit together.
    """
    if name in BUILT_IN:
        nothing = dict.fromkeys(("parameters", "memory_bytes", "prompt_tokens", "tokens_per_image"), 0)
        return {"bundle": name, "weights": BUILT_IN[name].weights, **nothing, "missing": []}
    bundle_engine(name)  # refuses one that nobody has
    bundle = read_bundle(Path(name.partition("@")[0]))
    profile = bundle.profile
    images = len(profile.cameras) * len(profile.frame_offsets_ms)
    readable = not {"config.json", "backbone.json", "tokenizer.json"} & set(bundle.missing)
    return {
        "bundle": name,
        "weights": bundle.weights,
        **(_network(bundle) if readable else dict.fromkeys(OF_THE_NETWORK)),
        "scene_tokens": profile.scene_tokens,
        "tokens_per_image": round(profile.scene_tokens / images, 3),
        "cameras": dict(profile.cameras),
        "frame_offsets_ms": list(profile.frame_offsets_ms),
        "images": images,
        "image_size": [profile.image_height, profile.image_width],
        "navigation": profile.navigation,
        "meta_actions": profile.meta_actions,
        "present": list(bundle.present),
        "missing": list(bundle.missing),
        "fetch": bundle.fetch_command,
    }


def _network(bundle: Bundle) -> dict[str, Any]:
    """What config.json and tokenizer.json say, without any weight."""
    config = read_config(bundle.folder)
    check_profile(bundle.profile, config)
    with torch.device("meta"):
        model = Alpamayo(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    prompt = encode(blank_observation(bundle.profile), bundle.profile, read_tokenizer(bundle.folder, config), config, "reason")
    return {
        "parameters": parameters,
        "dtype": config.dtype,
        "memory_bytes": parameters * getattr(torch, config.dtype).itemsize,
        "generation": config.generation,
        "vocabulary": config.vocab_size,
        "prompt_tokens": len(prompt.token_ids),
    }


def blank_observation(profile: InputProfile) -> Observation:
    """Black images of every camera, from a vehicle that stands still."""
    image, steps, zero = np.zeros(profile.image_shape, np.uint8), profile.history_steps, np.zeros(3)
    frames = {role: tuple(CameraFrame(role, 0, 0, image) for _ in profile.frame_offsets_ms) for role in profile.cameras}
    history = EgoHistory(0, np.zeros((steps, 3), np.float32), np.tile(np.eye(3, dtype=np.float32), (steps, 1, 1)))
    return Observation(0, 0, frames, history, EgoPose(0, zero, np.eye(3), zero, zero), signals=_still(profile))


def _still(profile: InputProfile) -> EgoSignals | None:
    """The ego signals that a profile declares, of a vehicle that stands."""
    if not profile.ego_signals:
        return None
    zeros = {name: np.zeros(profile.history_steps, np.float32) for name in profile.ego_signals}
    off: TurnIndicator = "off"
    indicator = (off,) * profile.history_steps if "turn_indicator" in zeros else None
    return EgoSignals(zeros.get("speed"), zeros.get("acceleration"), zeros.get("steering_angle"), indicator)
