"""Flex: learned scene tokens that look at all cameras and times; only the labels of an image say where and when it is."""

import pytest
import torch
from torch import Tensor

from alpamayo_ros.bundle.config import FlexConfig, VisionConfig
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.vision import Images
from alpamayo_ros.types import InvalidInput

TOKENS, SIZE, WIDTH, SCENE = 6, 32, 24, 5
LABELS = [(camera, step) for camera in (0, 1, 4) for step in (0, 1)]


@pytest.fixture(scope="module")
def flex() -> Flex:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vision = VisionConfig(2, 16, 24, 2, 16, 2, 2, 16, out_hidden_size=SIZE, deepstack_visual_indexes=())
    return Flex(FlexConfig(SCENE, layers=2, heads=4, timesteps=2), vision, WIDTH).requires_grad_(requires_grad=False)


def seen(observations: int = 1, seed: int = 0) -> Tensor:
    """Tokens (n, T, D) of single images, as the vision tower would give them."""
    return torch.randn(observations * len(LABELS), TOKENS, SIZE, generator=torch.Generator().manual_seed(seed))


def labelled(tokens: Tensor, labels: list[tuple[int, int]]) -> Images:
    return Images(tokens, (4, 6), *zip(*labels, strict=True))  # what the patches hold does not matter here


def scene(flex: Flex, tokens: Tensor, labels: list[tuple[int, int]] = LABELS) -> Tensor:
    return flex(tokens, labelled(tokens, labels))


def test_only_the_scene_tokens_stay(flex: Flex) -> None:
    assert scene(flex, seen()).shape == (1, SCENE, WIDTH)


def test_what_is_not_wanted_of_the_last_layer_is_not_computed_and_the_rest_is_the_same(flex: Flex) -> None:
    images = labelled(seen(2), LABELS)
    named = (
        seen(2).unflatten(0, (2, -1))
        + (flex.camera(torch.tensor(images.cameras)) + flex.step(torch.tensor(images.steps)))[:, None]
    )
    x = torch.cat([flex.scene.weight.expand(2, -1, -1), named.flatten(1, 2)], dim=1)
    for layer in flex.layers:
        x = layer(x, None)
    torch.testing.assert_close(flex(seen(2), images), flex.proj(flex.norm(x))[:, :SCENE], rtol=0, atol=1e-6)


def test_the_order_of_the_images_does_not_matter_and_their_labels_do(flex: Flex) -> None:
    order = [4, 0, 3, 5, 1, 2]
    tokens, moved = seen(), [LABELS[i] for i in order]
    torch.testing.assert_close(scene(flex, tokens[order], moved), scene(flex, tokens), rtol=0, atol=1e-5)
    assert (scene(flex, tokens[order]) - scene(flex, tokens)).abs().max() > 1e-2


@pytest.mark.parametrize(
    "relabelled", [[(2, step) if camera == 1 else (camera, step) for camera, step in LABELS], LABELS[::-1]]
)
def test_camera_and_time_act(flex: Flex, relabelled: list[tuple[int, int]]) -> None:
    assert (scene(flex, seen(), relabelled) - scene(flex, seen())).abs().max() > 1e-2


def test_every_scene_token_looks_at_every_token_of_every_image(flex: Flex) -> None:
    tokens = seen().requires_grad_()
    for token in range(SCENE):
        (looks,) = torch.autograd.grad(scene(flex, tokens)[0, token, 0], tokens)
        assert looks.abs().amax(dim=-1).min() > 0


def test_a_camera_that_is_absent_is_absent_tokens(flex: Flex) -> None:
    tokens, labels = seen()[:4], LABELS[:4]
    assert scene(flex, tokens, labels).shape == (1, SCENE, WIDTH)
    assert (scene(flex, tokens, labels) - scene(flex, seen())).abs().max() > 1e-3


def test_observations_of_a_batch_do_not_see_each_other(flex: Flex) -> None:
    both = torch.cat([seen(seed=1), seen(seed=2)])
    alone = torch.cat([scene(flex, seen(seed=1)), scene(flex, seen(seed=2))])
    torch.testing.assert_close(scene(flex, both), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([(0, 0), (0, 2)], "image of step 2, the model knows 2 timesteps"),
        ([(0, 0), (0, 0)], r"6 images cannot be observations of \(camera, step\) \[\(0, 0\), \(0, 0\)\]"),
        ([(0, 0), (0, 1), (1, 0), (1, 1)], "6 images cannot be observations of"),
    ],
)
def test_images_that_are_no_observation_are_refused(flex: Flex, labels: list[tuple[int, int]], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        scene(flex, seen(), labels)
