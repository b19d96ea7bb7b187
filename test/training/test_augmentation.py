"""Forgotten motion is unknown, and nothing else changes."""

import numpy as np
import pytest
import torch
from model.nano import BUNDLE
from model.vocabulary import small_config

from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.model.tokens import history_tokens
from alpamayo_ros.training.augmentation import forget_motion


def test_forgotten_motion_leaves_the_newest_step_and_other_rows() -> None:
    config = small_config(history_tokens=6)
    start, end, unknown = (config.token_ids[name] for name in ("history_start", "history_end", "history"))
    row = [7, start, 400, 401, 402, 403, 404, 405, 900, end, 400, 8]
    ids = torch.tensor([row, row])
    forgot = forget_motion(ids, config, 1.0, np.random.default_rng(0))
    assert forgot.tolist() == [[7, start, unknown, unknown, unknown, 403, 404, 405, unknown, end, 400, 8]] * 2
    assert forget_motion(ids, config, 0.0, np.random.default_rng(0)).equal(ids)
    changed = forget_motion(ids.repeat(500, 1), config, 0.3, np.random.default_rng(0)).ne(ids.repeat(500, 1)).any(1)
    assert int(changed.sum()) == pytest.approx(300, abs=60)  # 4 standard deviations


def test_what_is_forgotten_is_what_the_runtime_writes_into_a_prompt() -> None:
    config, history = read_config(BUNDLE), np.zeros((21, 3), np.float32)
    history[:, 0] = np.cumsum(np.linspace(1.0, 0.4, 21)) - np.cumsum(np.linspace(1.0, 0.4, 21))[-1]  # it brakes
    inside = history_tokens(history, config)
    ids = torch.tensor([[config.token_ids["history_start"], *inside, config.token_ids["history_end"]]])
    forgot = forget_motion(ids, config, 1.0, np.random.default_rng(0))[0, 1:-1].tolist()
    assert forgot[-3:] == inside[-3:]
    assert set(forgot[:-3]) == {config.token_ids["history"]}
