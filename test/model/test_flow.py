import pytest
import torch
from model.reference import needs_vectors, tensors
from torch import Tensor

from alpamayo_ros.model import flow


def field(stored: dict[str, Tensor], dtype: torch.dtype) -> flow.Velocity:
    """The recorded linear velocity field."""
    a, b, c = (stored[name].to(dtype) for name in ("A", "b", "c"))
    return lambda x, t: x @ a.T + t * b + c


@pytest.mark.parametrize("steps", [1, 2, 10, 37])
def test_a_straight_path_is_exact_whatever_the_steps(steps: int) -> None:
    noise, action = torch.randn(2, 3, 64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    path = flow.euler(lambda x, t: action - noise, noise, steps)
    assert torch.equal(path[0], noise)
    torch.testing.assert_close(path[-1], action, rtol=0, atol=1e-12)


def test_a_noisy_action_goes_from_noise_to_action() -> None:
    noise, action = torch.randn(2, 3, 64, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flow.noisy(action, noise, torch.zeros(3)), noise)
    assert torch.equal(flow.noisy(action, noise, torch.ones(3)), action)
    assert flow.loss(action - noise, action, noise) == 0


def test_guidance_of_weight_1_is_none_and_0_is_the_unguided_velocity() -> None:
    x = torch.randn(1, 64, 2)
    to, away = (lambda x, t: 2 * x + t), (lambda x, t: -x)
    assert torch.equal(flow.guided(to, away, 1.0)(x, 0.5), to(x, 0.5))
    assert torch.equal(flow.guided(to, away, 0.0)(x, 0.5), away(x, 0.5))
    torch.testing.assert_close(flow.guided(to, away, 3.0)(x, 0.5), 3 * to(x, 0.5) - 2 * away(x, 0.5))


def test_times_lie_near_the_noise() -> None:
    t = flow.training_times(200_000, torch.Generator().manual_seed(0))
    assert t.min() >= 0
    assert t.max() <= 0.999
    assert t.mean().item() == pytest.approx(0.999 * (1 - 1.5 / 2.5), abs=2e-3), "the mean of Beta(1.5, 1) is 0.6"


class TestTheReference:
    pytestmark = needs_vectors

    @pytest.mark.parametrize(("dtype", "prefix"), [(torch.float64, "f64"), (torch.float32, "f32")])
    @pytest.mark.parametrize("steps", [1, 5, 10, 16])
    def test_euler(self, steps: int, dtype: torch.dtype, prefix: str) -> None:
        stored = tensors("flow_matching.npz")
        path = flow.euler(field(stored, dtype), stored["x0"].to(dtype), steps)
        # The reference's grid is float32, also for float64 values.
        torch.testing.assert_close(path.transpose(0, 1), stored[f"{prefix}_n{steps}_all"], rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("weight", [0, 1, 3])
    def test_guidance(self, weight: int) -> None:
        stored = tensors("flow_matching.npz")
        velocity = flow.guided(field(stored, torch.float64), lambda x, t: x @ stored["A_unguided"].T - t * stored["b"], weight)
        path = flow.euler(velocity, 0.5 * stored["x0"], 10)
        torch.testing.assert_close(path[-1], stored[f"f64_cfg_w{weight}_temp0.5"], rtol=1e-6, atol=1e-6)

    def test_training_pair_and_loss(self) -> None:
        stored = tensors("flow_matching.npz")
        x, noise, t = stored["tr_x"], stored["tr_noise"], stored["tr_t"].flatten()
        torch.testing.assert_close(flow.noisy(x, noise, t), stored["tr_noisy_x"], rtol=0, atol=1e-6)
        torch.testing.assert_close(flow.loss(stored["tr_pred"], x, noise), stored["tr_loss"], rtol=1e-6, atol=0)

    def test_distribution_of_times(self) -> None:
        stored = tensors("flow_matching.npz")
        ours = flow.training_times(100_000, torch.Generator().manual_seed(1)).double()
        quantiles = torch.quantile(ours, stored["tr_t_quantiles_q"])
        torch.testing.assert_close(quantiles, stored["tr_t_quantiles_100k"], rtol=0, atol=0.01)
