"""A vocabulary of bytes laid out as Qwen3-VL's, and a small config of a checkpoint in the released layout."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.model.config import ActionInConfig, Bins, Config, TextConfig, VisionConfig

QWEN_TOKENS = (
    "endoftext im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end vision_start vision_end "
    "vision_pad image_pad video_pad"
).split()  # fmt: skip
WORDS = 256
TRAJECTORY_IDS = {
    "history": 215,
    "future": 216,
    "history_start": 205,
    "future_start": 212,
    "history_end": 207,
    "future_end": 214,
}  # behind the words, Qwen's tokens and <i*>


def small_config(**changes: Any) -> Config:
    """120 bins of actions and 80 of history after the words of `write_vocabulary`; images of 64x96 pixels, R1."""
    text = TextConfig(64, 128, 2, 4, 2, 16, 1e-6, 5e6, (4, 2, 2))
    start = WORDS + len(QWEN_TOKENS)
    config = Config(
        generation="r1",
        text=text,
        vision=VisionConfig(2, 32, 64, 2, 16, 2, 2, 64, 64, (0,)),
        expert=text,
        action_in=ActionInConfig(48, 2, 20, 100.0),
        action_space=ActionSpace(),
        flow_steps=10,
        history_bins=Bins(80, (-4.0, -4.0, -10.0), (4.0, 4.0, 10.0)),
        future_bins=Bins(120, (-10.0, -10.0), (10.0, 10.0)),
        vocab_size=start + 200 + 28,
        traj_token_start=start,
        traj_vocab_size=200,
        history_tokens=48,
        future_tokens=128,
        token_ids={name: start + token - 15 + 15 for name, token in TRAJECTORY_IDS.items()},
        image_token_id=WORDS + QWEN_TOKENS.index("image_pad"),
        eos_token_id=WORDS + QWEN_TOKENS.index("im_end"),
        min_pixels=2048,
        max_pixels=8192,
        camera_labels=False,
        frame_labels=False,
        dtype="float32",
        views=None,
    )
    return replace(config, **changes)
