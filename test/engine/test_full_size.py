"""The bundle with which `make gpu-test` measures has the released size and layout, as far as it can be told without weights."""

from pathlib import Path

import pytest
import torch
from gpu.full_size import full_size_bundle
from model.released import Generation

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.tokens import read_tokenizer


@pytest.mark.parametrize("generation", ["r1", "1.5"])
def test_it_fits_together_and_has_the_released_tokens(generation: Generation, tmp_path: Path) -> None:
    folder = full_size_bundle(tmp_path / "bundle", generation)
    bundle, config = open_bundle(folder)
    assert (bundle.weights, config.dtype) == ("untrained", "bfloat16")
    tokenizer = read_tokenizer(folder, config)
    assert tokenizer.id("<|traj_future_start|>") == config.token_ids["future_start"] == 155681
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in Alpamayo(config).parameters())
    assert 1.0e10 < numbers < 1.2e10
