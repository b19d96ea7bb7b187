from __future__ import annotations

import numpy as np
import pytest

from alpamayo_ros.simulation.rendering.grain import grainy

GREY = np.full((64, 96, 3), 120, np.uint8)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 9.0])
def test_noise_is_white_with_the_stated_sigma(sigma: float) -> None:
    noise = grainy(np.full((360, 640, 3), 120, np.uint8), sigma, (3, 1, 500)).astype(float) - 120.0
    assert noise.mean() == pytest.approx(0.0, abs=0.03)
    assert noise.std() == pytest.approx(np.hypot(sigma, np.sqrt(1 / 12)), rel=0.01)  # and rounding to whole grey levels
    neighbours = [noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[..., 1:] * noise[..., :-1]]
    for product in neighbours:
        assert abs(product.mean()) < 0.02 * sigma**2


def test_noise_is_a_function_of_its_key_alone() -> None:
    np.testing.assert_array_equal(grainy(GREY.copy(), 5.0, (3, 1, 500)), grainy(GREY.copy(), 5.0, (3, 1, 500)))
    for other in ((4, 1, 500), (3, 2, 500), (3, 1, 600)):
        assert (grainy(GREY.copy(), 5.0, other) != grainy(GREY.copy(), 5.0, (3, 1, 500))).mean() > 0.8


def test_without_noise_and_rain_nothing_changes() -> None:
    np.testing.assert_array_equal(grainy(GREY.copy(), 0.0, (3, 1, 500)), GREY)


def test_noise_saturates_instead_of_wrapping() -> None:
    dark = grainy(np.zeros_like(GREY), 5.0, (1,))
    bright = grainy(np.full_like(GREY, 255), 5.0, (1,))
    assert dark.max() < 60
    assert bright.min() > 195


def test_rain_adds_bright_streaks_that_are_taller_than_wide() -> None:
    wet = grainy(np.full((360, 640, 3), 120, np.uint8), 0.0, (1,), rain=True).astype(int) - 120
    assert wet.min() == 0
    streaks = wet[..., 0] > 10
    assert 0.001 < streaks.mean() < 0.1
    down, aside = (streaks[1:] & streaks[:-1]).sum(), (streaks[:, 1:] & streaks[:, :-1]).sum()
    assert down > 2 * aside
