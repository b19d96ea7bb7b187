"""How images become tokens of the scene: as many as the paper says, and as many as the prompt has placeholders for."""

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from model.nano import BUNDLE, nano_model, prompt
from model.released import Generation, released_config, small_config, small_json

from alpamayo_ros.bundle.config import Config, FlexConfig, TriplaneConfig, check_profile, parse_config, read_config
from alpamayo_ros.cameras import base_from_optical, nominal_camera
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.views.triplane import Triplane, sampling_grids
from alpamayo_ros.model.vision import Block, Images, image_blocks
from alpamayo_ros.profile import read_profile, read_rig
from alpamayo_ros.types import InvalidInput, role_index

PAPER_TOKENS_PER_IMAGE = 160  # of a single image: 448 x 280 pixels in patches of 14, merged 2 x 2
PLANES = TriplaneConfig((96, 96, 48), (8, 8, 8), 36, 80.0, 180.0, (-3.0, 45.0), points=4, features=8, front_only=False)
FRONT = replace(PLANES, front_only=True)
FINE = replace(FRONT, patch=(4, 6, 6))


def flex(scene_tokens: int, timesteps: int = 4) -> FlexConfig:
    return FlexConfig(scene_tokens, layers=1, heads=2, timesteps=timesteps)


def named(cameras: int, steps: int) -> Images:
    """Images of 576 x 320 pixels in patches of 16, without their patches."""
    names = [(camera, step) for camera in range(cameras) for step in range(steps)]
    return Images(torch.empty(0), (20, 36), *zip(*names, strict=True))


@pytest.mark.parametrize(
    ("views", "cameras", "steps", "tokens", "per_image", "ratio"),
    [
        (None, 4, 4, 2880, 180, None),
        (None, 7, 4, 5040, 180, None),
        (None, 7, 5, 6300, 180, None),
        (PLANES, 7, 1, 288, 41.1, 3.9),
        (PLANES, 3, 1, 288, 96, None),
        (PLANES, 7, 5, 1440, 41.1, 3.9),
        (FRONT, 4, 1, 180, 45, 3.6),
        (FINE, 4, 1, 416, 104, 1.5),
        (flex(50 * 16), 4, 4, 800, 50, 3.2),
        (flex(32 * 16), 4, 4, 512, 32, 5),
        (flex(16 * 16), 4, 4, 256, 16, 10),
        (flex(8 * 16), 4, 4, 128, 8, 20),
        (flex(900), 6, 3, 900, 50, 3.2),
    ],
)
def test_token_counts_and_compression_are_the_papers(
    views: FlexConfig | TriplaneConfig | None, cameras: int, steps: int, tokens: int, per_image: float, ratio: float | None
) -> None:
    blocks = image_blocks(named(cameras, steps), replace(released_config("1.5"), views=views))
    assert sum(prod(block.grid) for block in blocks) == tokens
    assert tokens / (cameras * steps) == pytest.approx(per_image, abs=0.05)
    if ratio is not None:
        assert PAPER_TOKENS_PER_IMAGE / per_image == pytest.approx(ratio, abs=0.05)


def test_blocks_name_the_image_or_the_timestep_they_belong_to() -> None:
    config = released_config("1.5")
    assert image_blocks(named(2, 2), config) == [Block((1, 10, 18), c, s) for c, s in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    planes = image_blocks(named(2, 2), replace(config, views=PLANES))
    assert planes == [Block((1, 1, 288), None, 0), Block((1, 1, 288), None, 1)]
    assert image_blocks(named(2, 2), replace(config, views=flex(64))) == [Block((1, 1, 64), None, None)]


# ------------------------------------------------------------------------------------------------------------------- network


def with_views(views: FlexConfig | TriplaneConfig | None) -> Config:
    config = small_config("1.5")
    if views is None:
        return config
    return replace(config, views=views, vision=replace(config.vision, deepstack_visual_indexes=()))


SMALL_PLANES = replace(PLANES, cells=(8, 8, 4), patch=(2, 4, 4), inner_cells=2, points=2)
KINDS = pytest.mark.parametrize("views", [None, flex(10), SMALL_PLANES], ids=["single_image", "flex", "triplane"])


def built(views: FlexConfig | TriplaneConfig | None) -> Alpamayo:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Alpamayo(with_views(views)).requires_grad_(requires_grad=False)
    if isinstance(model.views, Triplane):
        rig = read_rig("seven_camera")
        cameras = {role_index(r): (nominal_camera(c), base_from_optical(c.mount)) for r, c in rig.cameras.items()}
        model.views.calibrate(sampling_grids(model.views.config, cameras))
    return model


def random_images(observations: int) -> Images:
    """Two cameras at two times, 3 x 2 tokens each."""
    images = named(2, 2)._replace(grid=(6, 4))
    generator = torch.Generator().manual_seed(observations)
    return images._replace(patches=torch.rand(observations * 4, 24, 1536, generator=generator) * 2 - 1)


@KINDS
@pytest.mark.parametrize("observations", [1, 3])
def test_a_scene_fills_the_placeholders_of_every_observation(
    views: FlexConfig | TriplaneConfig | None, observations: int
) -> None:
    model, images = built(views), random_images(observations)
    scene = model.see(images)
    tokens = sum(prod(block.grid) for block in image_blocks(images, model.config))
    assert scene.tokens.shape == (observations * tokens, model.config.text.hidden_size)
    assert len(scene.deepstack) == len(model.config.vision.deepstack_visual_indexes)
    for alone, together in zip(images.patches.chunk(observations), scene.tokens.chunk(observations), strict=True):
        torch.testing.assert_close(model.see(images._replace(patches=alone)).tokens, together, rtol=0, atol=1e-5)


@KINDS
def test_views_add_their_own_weights_and_rename_none(views: FlexConfig | TriplaneConfig | None) -> None:
    released = {name for name in Alpamayo(with_views(None)).state_dict() if "deepstack" not in name}
    names = {name for name in built(views).state_dict() if "deepstack" not in name}
    added = names - released
    assert released <= names
    assert bool(added) == (views is not None)
    assert all(name.startswith("views.") for name in added)


def test_the_shipped_flex_model_sees_its_scene() -> None:
    model, encoded = nano_model(), prompt()
    assert len(model.see(encoded.images).tokens) == sum(prod(block.grid) for block in encoded.blocks) == 64


# -------------------------------------------------------------------------------------------------------------------- config


def views_json(**views: Any) -> dict[str, Any]:
    stored = small_json("1.5")
    stored["vlm_config"]["vision_config"]["deepstack_visual_indexes"] = []
    return stored | {"views": views}


PLANES_JSON = {
    "kind": "triplane",
    "cells": [96, 96, 48],
    "patch": [8, 8, 8],
    "inner_cells": 36,
    "inner_m": 80.0,
    "reach_m": 180.0,
    "z_m": [-3.0, 45.0],
    "points": 4,
    "features": 8,
    "front_only": False,
}
FLEX_JSON = {"kind": "flex", "scene_tokens": 128, "layers": 1, "heads": 2, "timesteps": 4}


@pytest.mark.parametrize(("views", "found"), [(FLEX_JSON, flex(128)), (PLANES_JSON, PLANES)])
def test_views_are_read_from_the_config(views: dict[str, Any], found: FlexConfig | TriplaneConfig) -> None:
    stored = views_json(**views)
    assert parse_config(stored, stored["vlm_config"], "given").views == found


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"kind": "panorama"}, "given: views of kind 'panorama', want one of flex, triplane"),
        ({**PLANES_JSON, "patch": [8, 8, 7]}, r"triplane: \(96, 96, 48\) cells do not divide into patches of \(8, 8, 7\)"),
        ({**PLANES_JSON, "patch": [32, 8, 8], "front_only": True}, r"triplane: \(48, 96, 48\) cells do not divide"),
        ({**PLANES_JSON, "inner_cells": 48}, r"the fine part \(48 cells to 80.0 m\) must lie inside"),
        ({**PLANES_JSON, "inner_m": 200.0}, r"the fine part \(36 cells to 200.0 m\) must lie inside"),
        ({key: value for key, value in FLEX_JSON.items() if key != "heads"}, "no key 'heads'"),
    ],
)
def test_views_that_cannot_be_are_refused(views: dict[str, Any], said: str) -> None:
    stored = views_json(**views)
    with pytest.raises(InvalidInput, match=said):
        parse_config(stored, stored["vlm_config"], "given")


@pytest.mark.parametrize("views", [FLEX_JSON, PLANES_JSON])
def test_deepstack_belongs_to_single_images(views: dict[str, Any]) -> None:
    stored = views_json(**views)
    stored["vlm_config"]["vision_config"]["deepstack_visual_indexes"] = [0]
    with pytest.raises(InvalidInput, match=r"deepstack \(0,\) is of single images, and views want none"):
        parse_config(stored, stored["vlm_config"], "given")


# ------------------------------------------------------------------------------------------------------------------- profile


@pytest.mark.parametrize(("name", "generation"), [("alpamayo_r1_10b", "r1"), ("alpamayo_1_5_10b", "1.5")])
def test_released_profiles_count_the_tokens_of_the_released_networks(name: str, generation: Generation) -> None:
    check_profile(read_profile(name), released_config(generation))


def test_the_shipped_models_profile_counts_its_networks_tokens() -> None:
    check_profile(read_profile(str(BUNDLE / "profile.yaml")), read_config(BUNDLE))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda config: replace(config, views=None), "profile ar1_nano says views flex, config.json single_image"),
        (lambda config: replace(config, views=PLANES), "profile ar1_nano says views flex, config.json triplane"),
        (
            lambda config: replace(config, views=flex(32, timesteps=5)),
            "profile ar1_nano says 64 scene tokens, config.json makes 32",
        ),
        (lambda config: replace(config, views=flex(64)), "profile ar1_nano has 5 timesteps, config.json 4"),
    ],
)
def test_a_profile_of_another_network_is_refused(changed: Callable[[Config], Config], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_profile(read_profile(str(BUNDLE / "profile.yaml")), changed(read_config(BUNDLE)))


@pytest.mark.parametrize(
    ("pruning", "said"),
    [
        ({"prefill_keep": 0.5, "decode_keep": 1.0}, "prefill_keep 0.5 is for single_image, views are flex"),
        ({"prefill_keep": 1.0, "decode_keep": 0.0}, "pruning.decode_keep: Input should be greater than 0"),
        ({"prefill_keep": 1.5, "decode_keep": 1.0}, "pruning.prefill_keep: Input should be less than or equal to 1"),
    ],
)
def test_a_profile_that_prunes_what_it_cannot_is_refused(tmp_path: Path, pruning: dict[str, float], said: str) -> None:
    content = yaml.safe_load((BUNDLE / "profile.yaml").read_text()) | {"pruning": pruning}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidInput, match=said):
        read_profile(str(tmp_path / "profile.yaml"))
