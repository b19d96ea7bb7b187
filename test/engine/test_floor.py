"""The least time: weights read once, products made."""

from __future__ import annotations

import pytest
import torch
from model.nano import nano_model

from alpamayo_ros.engine.floor import (
    Rates,
    Weights,
    Work,
    bandwidth,
    fractions,
    fractions_of_floor,
    products,
    stage_floors_ms,
    weights_of,
)

STEPS = 10


def test_the_floor_of_a_token_is_reading_its_weights_once() -> None:
    model = nano_model()
    text = model.config.text
    attention = 2 * text.hidden_size * text.head_dim * (text.num_attention_heads + text.num_key_value_heads)
    norms = 2 * text.hidden_size + 2 * text.head_dim
    layer = attention + 3 * text.hidden_size * text.intermediate_size + norms
    numbers = text.num_hidden_layers * layer + model.config.vocab_size * text.hidden_size
    measured = {stage: {"p50_ms": 2.0} for stage in ("token", "flow")}
    found = fractions_of_floor(model, measured, 4.0 * numbers, STEPS)  # float32: a token in one millisecond
    assert found["token"] == pytest.approx(0.5)
    expert = sum(parameter.numel() for parameter in model.expert.parameters())
    assert found["flow"] == pytest.approx(0.5 * STEPS * expert / numbers)
    weights = weights_of(model, patches=24)
    assert (weights.word_bytes, weights.layers) == (4 * numbers, text.num_hidden_layers * layer)
    assert (weights.expert, weights.expert_bytes) == (expert, 4 * expert)
    assert weights.image_flop == 48.0 * sum(p.numel() for p in model.vlm.model.visual.blocks.parameters())


def test_a_stage_is_bound_by_memory_or_by_products_whichever_takes_longer() -> None:
    weights = Weights(image_flop=1000.0, layers=50, expert=10, word_bytes=200, expert_bytes=40)
    few = stage_floors_ms(weights, Rates(100.0, 1e5), Work(images=3, tokens=1, passes=4, samples=1, steps=10))
    assert few == {"look": 0.03, "begin": 2.0, "go_on": 8.0, "denoise": 4.0}
    many = stage_floors_ms(weights, Rates(1e9, 1000.0), Work(images=3, tokens=70, passes=4, samples=6, steps=10))
    assert many["begin"] == pytest.approx(2 * 50 * 70 / 1000)
    assert many["denoise"] == pytest.approx(10 * 2 * 10 * 64 * 6 / 1000)


def test_a_stage_that_had_nothing_to_do_has_no_fraction() -> None:
    found = fractions({"look": 0.0, "begin": 2.0, "go_on": 3.0}, {"look": 1.0, "begin": 4.0, "go_on": 0.0, "scene": 1.0})
    assert found == {"begin": 0.5}


def test_rates_are_measured() -> None:
    assert bandwidth(torch.device("cpu"), size=2**20) > 0
    assert products(torch.device("cpu"), torch.float32, side=64) > 0
