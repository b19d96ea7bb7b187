"""How images become tokens of the scene: each by itself (released), through Flex, or through triplanes."""

from __future__ import annotations

from math import prod

import torch

from alpamayo_ros.bundle.config import Config, FlexConfig, TriplaneConfig
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.views.triplane import Triplane
from alpamayo_ros.model.vision import Images, image_blocks
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import InvalidInput, role_index


def views_of(config: Config) -> Flex | Triplane | None:
    """What stands between vision tower and language model; None where single images do."""
    if isinstance(config.views, FlexConfig):
        return Flex(config.views, config.vision, config.text.hidden_size)
    if isinstance(config.views, TriplaneConfig):
        return Triplane(config.views, config.vision, config.text.hidden_size)
    return None


def check_views(profile: InputProfile, config: Config) -> None:
    """Raise InvalidInput, with both sides, unless the profile's views, timesteps and number of tokens are the network's."""
    views, times = config.views, len(profile.frame_offsets_ms)
    found = {type(None): "single_image", FlexConfig: "flex", TriplaneConfig: "triplane"}[type(views)]
    if profile.views != found:
        raise InvalidInput(f"profile {profile.name} says views {profile.views}, config.json {found}")
    if isinstance(views, FlexConfig) and views.timesteps != times:
        raise InvalidInput(f"profile {profile.name} has {times} timesteps, config.json {views.timesteps}")
    names = [(role_index(role), step) for role in profile.cameras for step in range(times)]
    grid = (profile.image_height // config.vision.patch_size, profile.image_width // config.vision.patch_size)
    cameras, steps = zip(*names, strict=True)
    tokens = sum(prod(block.grid) for block in image_blocks(Images(torch.empty(0), grid, cameras, steps), config))
    if profile.scene_tokens != tokens:
        raise InvalidInput(f"profile {profile.name} says {profile.scene_tokens} scene tokens, config.json makes {tokens}")
