"""A small model that was not trained, and observations for it."""

from pathlib import Path

import numpy as np
import torch

from alpamayo_ros.bundle.config import open_bundle, read_config
from alpamayo_ros.engine.eager import open_model
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Mode, Prompt, encode
from alpamayo_ros.model.tokens import Tokenizer, read_tokenizer
from alpamayo_ros.profile import InputProfile, read_profile
from alpamayo_ros.types import CameraFrame, EgoHistory, EgoPose, Navigation, Observation

BUNDLE = Path(__file__).parents[1] / "bundles" / "ar1_untrained"
SHIPPED = Path(__file__).parents[2] / "models" / "ar1_nano"
T0_NS = 5_000_000_000


def nano_model() -> Alpamayo:
    torch.set_num_threads(1)
    return open_model(*open_bundle(BUNDLE), torch.device("cpu"))


def nano_tokenizer(bundle: Path = BUNDLE) -> Tokenizer:
    return read_tokenizer(bundle, read_config(bundle))


def nano_profile() -> InputProfile:
    return read_profile(str(BUNDLE / "profile.yaml"))


def observation(seed: int = 0, speed_mps: float = 8.0, navigation: Navigation | None = None) -> Observation:
    """Noise before all cameras while driving straight on."""
    profile, rng = nano_profile(), np.random.default_rng(seed)
    frames = {
        role: tuple(
            CameraFrame(role, T0_NS + offset, 0, rng.integers(0, 256, profile.image_shape, np.uint8))
            for offset in profile.offsets_ns
        )
        for role in profile.cameras
    }
    xyz = np.zeros((profile.history_steps, 3), np.float32)
    xyz[:, 0] = speed_mps * 0.1 * np.arange(1 - profile.history_steps, 1)
    rot = np.tile(np.eye(3, dtype=np.float32), (profile.history_steps, 1, 1))
    ego = EgoPose(T0_NS, np.zeros(3), np.eye(3), np.array([speed_mps, 0.0, 0.0]), np.zeros(3))
    return Observation(T0_NS, 0, frames, EgoHistory(T0_NS, xyz, rot), ego, navigation)


def prompt(
    mode: Mode = "reason", seed: int = 0, navigation: Navigation | None = None, question: str = "", bundle: Path = BUNDLE
) -> Prompt:
    seen = observation(seed, navigation=navigation)
    return encode(seen, read_profile(str(bundle / "profile.yaml")), nano_tokenizer(bundle), read_config(bundle), mode, question)
