import math

import pytest
import torch
from model.reference import needs_vectors, tensors

from alpamayo_ros.bundle.config import ActionInConfig
from alpamayo_ros.model.expert import ActionIn, fourier


def test_fourier_features_repeat_with_the_period_of_the_slowest_one_at_whole_frequencies() -> None:
    x = torch.linspace(-1, 1, 9)
    torch.testing.assert_close(fourier(x, 4, 100.0), fourier(x + 1.0, 4, 100.0), rtol=0, atol=2e-4)
    torch.testing.assert_close(fourier(x, 20, 100.0).pow(2).sum(-1), torch.full((9,), 20.0))


def test_fourier_features_are_float32_whatever_comes_in() -> None:
    x = torch.tensor([0.123456789], dtype=torch.float64)
    features = fourier(x, 20, 100.0)
    assert features.dtype == torch.float32
    assert features[0, 10].item() == pytest.approx(math.sqrt(2) * torch.cos(x.float() * 2 * math.pi).item(), rel=1e-6)


class TestTheReference:
    pytestmark = needs_vectors

    def test_fourier(self) -> None:
        stored = tensors("fourier.npz")
        torch.testing.assert_close(fourier(stored["x"], 20, 100.0), stored["y"], rtol=0, atol=1e-5)

    def test_action_in(self) -> None:
        stored = tensors("action_in_proj_tiny.npz")
        module = ActionIn(ActionInConfig(48, 2, 20, 100.0), 32)
        weights = {key.removeprefix("sd."): value for key, value in stored.items() if key.startswith("sd.")}
        missing, unexpected = module.load_state_dict(weights, strict=False)
        assert not missing
        assert all(key.endswith("freqs") for key in unexpected)
        y = module(stored["x"], stored["t"].flatten())
        torch.testing.assert_close(y, stored["y"], rtol=0, atol=1e-5)
        later = module(stored["x"], stored["t"].flatten() + 0.01)
        assert (later - stored["y"]).abs().max() > 1e-2, "time is seen"
