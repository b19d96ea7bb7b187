"""The tiny checkpoint of the recorded reference vectors, in the released layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from alpamayo_ros.bundle.config import Config, parse_config
from alpamayo_ros.model.network import Alpamayo

VECTORS = Path(__file__).parents[2].parent / "shared" / "data" / "reference_vectors"

needs_vectors = [
    pytest.mark.shared,
    pytest.mark.skipif(not VECTORS.is_dir(), reason="the recorded reference vectors are not on this machine"),
]


def vectors(name: str) -> dict[str, np.ndarray]:
    with np.load(VECTORS / name, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in vectors(name).items()}


def tiny_json() -> dict[str, object]:
    """config.json as a released checkpoint would store it, the backbone's config under `vlm_config`."""
    stored = json.loads((VECTORS / "model" / "config.json").read_text())
    return stored["config"] | {
        "model_type": "alpamayo_r1",
        "vocab_size": stored["len_tokenizer"],
        "traj_token_start_idx": stored["traj_token_start_idx"],
        "traj_token_ids": stored["traj_token_ids"],
        "vlm_config": stored["vlm_config"],
    }


def tiny_config() -> Config:
    stored = tiny_json()
    return parse_config(stored, stored["vlm_config"], "tiny")


def tiny_model() -> Alpamayo:
    model = Alpamayo(tiny_config())
    weights = load_file(VECTORS / "model" / "state_dict.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not missing, missing
    assert all("freqs" in key or key.startswith("action_space.") for key in unexpected), unexpected
    return model.eval()
