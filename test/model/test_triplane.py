"""Triplane: what a camera sees at a pixel reaches the cells whose points project there, and no others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from alpamayo_ros.bundle.config import TriplaneConfig, VisionConfig
from alpamayo_ros.cameras import Camera, Fisheye, Pinhole, base_from_optical, resized
from alpamayo_ros.geometry import apply, inverse
from alpamayo_ros.model.views.triplane import SamplingGrids, Triplane, cell_points, lifted, place, sampling_grids
from alpamayo_ros.model.vision import Images
from alpamayo_ros.profile import Mount
from alpamayo_ros.types import F64, InvalidInput

SMALL = TriplaneConfig((12, 12, 6), (3, 4, 2), 4, 12.0, 40.0, (-1.0, 5.0), points=5, features=8, front_only=False)
PAPER = TriplaneConfig((96, 96, 48), (8, 8, 8), 36, 80.0, 180.0, (-3.0, 45.0), points=4, features=192, front_only=False)
PLANE = SMALL.kept[0] * SMALL.kept[1]  # cells of x-y, the first
HEIGHT, WIDTH = 4, 6  # of a feature map

FRONT = Pinhole(300.0, 280.0, 310.0, 250.0, 640, 480, (-0.2, 0.03, 0.001, 0.002))
LEFT = Fisheye(200.0, 200.0, 319.5, 239.5, 640, 480, (0.02, -0.01, 0.0, 0.0))


def mounted(yaw_deg: float, pitch_deg: float = 5.0, xyz_m: tuple[float, float, float] = (0.0, 0.0, 1.5)) -> F64:
    return base_from_optical(Mount(xyz_m=xyz_m, yaw_deg=yaw_deg, pitch_deg=pitch_deg, hfov_deg=90))


RIG: dict[int, tuple[Camera, F64]] = {1: (FRONT, mounted(0, xyz_m=(1.8, 0.0, 1.5))), 0: (LEFT, mounted(60))}


def painted(row: int, column: int) -> Tensor:
    """A feature map (1, 1, 1, h, w) that is 1 at one pixel and 0 elsewhere."""
    image = torch.zeros(1, 1, 1, HEIGHT, WIDTH)
    image[..., row, column] = 1
    return image


def expected(camera: Camera, base_from_camera: F64, row: int, column: int) -> tuple[F64, F64]:
    """Per cell the sum of bilinear weights of one pixel of the map, and the number of visible points, by the camera model."""
    points = cell_points(SMALL)
    uv, visible = camera.project(apply(inverse(base_from_camera), points.reshape(-1, 3)))
    at = (uv + 0.5) / (camera.width, camera.height) * (WIDTH, HEIGHT) - 0.5
    near = np.clip(1 - np.abs(np.clip(at, 0, (WIDTH - 1, HEIGHT - 1)) - (column, row)), 0, None).prod(axis=1)
    return (near * visible).reshape(points.shape[:2]).sum(axis=1), visible.reshape(points.shape[:2]).sum(axis=1)


@pytest.mark.parametrize("role", RIG)
@pytest.mark.parametrize("pixel", [(0, 0), (1, 2), (2, 3), (3, 5)])
def test_a_painted_pixel_reaches_exactly_the_cells_whose_points_project_there(role: int, pixel: tuple[int, int]) -> None:
    weight, visible = expected(*RIG[role], *pixel)
    reached = lifted(painted(*pixel), [role], sampling_grids(SMALL, RIG))[0, 0].numpy()
    assert (weight > 0).any()
    np.testing.assert_allclose(reached, weight / np.maximum(visible, 1), atol=1e-5)


def test_a_cell_takes_the_mean_over_points_and_cameras_that_see_it_and_nothing_where_none_does() -> None:
    images = torch.stack([torch.full((1, HEIGHT, WIDTH), 2.0), torch.full((1, HEIGHT, WIDTH), 6.0)])[None]
    counts = np.array([expected(*RIG[role], 0, 0)[1] for role in (1, 0)])
    reached = lifted(images, [1, 0], sampling_grids(SMALL, RIG))[0, 0].numpy()
    np.testing.assert_allclose(reached, (2 * counts[0] + 6 * counts[1]) / np.maximum(counts.sum(axis=0), 1), atol=1e-5)
    assert ((reached > 2) & (reached < 6)).any()
    assert (reached == 0).any()


def test_turning_a_camera_around_turns_what_it_sees() -> None:
    """A camera above the origin turned by 180 degrees: the x-y plane is the same with both axes reversed."""

    def ground(yaw_deg: float) -> Tensor:
        grids = sampling_grids(SMALL, {1: (FRONT, mounted(yaw_deg))})
        return lifted(painted(2, 1), [1], grids)[0, 0, :PLANE].view(SMALL.kept[:2])

    ahead, behind = ground(0), ground(180)
    torch.testing.assert_close(behind, ahead.flip(0, 1), rtol=0, atol=1e-5)
    assert ahead[6:].sum() > 0
    assert ahead[:6].sum() == 0


def test_grids_do_not_depend_on_the_resolution() -> None:
    small = {role: (resized(camera, 160, 120), pose) for role, (camera, pose) in RIG.items()}
    for first, second in zip(sampling_grids(SMALL, RIG)[1:], sampling_grids(SMALL, small)[1:], strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize(
    ("axis", "front_only", "cells", "metres"),
    [
        (0, False, [0, 12, 47, 48, 84, 96], [-180, -80, -80 / 36, 0, 80, 180]),
        (1, False, [6, 90], [-130, 130]),
        (0, True, [0, 36, 42, 48], [0, 80, 130, 180]),
        (1, True, [0, 48, 96], [-180, 0, 180]),
        (2, False, [0, 3, 48], [-3, 0, 45]),
    ],
)
def test_cells_are_fine_near_the_vehicle_and_coarse_far_from_it(
    axis: int, front_only: bool, cells: list[float], metres: list[float]
) -> None:
    np.testing.assert_allclose(place(replace(PAPER, front_only=front_only), axis, np.array(cells, float)), metres)


def test_the_points_of_a_cell_run_along_the_normal_of_its_plane() -> None:
    points = cell_points(SMALL)
    x, y, z = SMALL.kept
    spread = [points[start:stop].std(axis=1).max(axis=0) > 0 for start, stop in ((0, x * y), (x * y, x * y + x * z))]
    assert [s.tolist() for s in spread] == [[False, False, True], [False, True, False]]
    np.testing.assert_allclose(points[0, 0, :2], [place(SMALL, 0, np.array(0.5)), place(SMALL, 1, np.array(0.5))])
    assert len(points) == x * y + x * z + y * z


# ------------------------------------------------------------------------------------------------------------------- module


@pytest.fixture
def triplane() -> Triplane:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vision = VisionConfig(2, 16, 24, 2, 16, 2, 2, 16, out_hidden_size=32, deepstack_visual_indexes=())
    module = Triplane(SMALL, vision, width=24).requires_grad_(requires_grad=False)
    module.calibrate(sampling_grids(SMALL, RIG))
    return module


NAMES = [(1, 0), (1, 1), (0, 0), (0, 1)]  # camera, step


def scene(triplane: Triplane, tokens: Tensor, names: list[tuple[int, int]] = NAMES) -> Tensor:
    return triplane(tokens, Images(tokens, (2 * HEIGHT, 2 * WIDTH), *zip(*names, strict=True)))


def seen(observations: int = 1) -> Tensor:
    return torch.randn(observations * len(NAMES), HEIGHT * WIDTH, 32, generator=torch.Generator().manual_seed(1))


def test_each_timestep_has_its_own_planes_oldest_first(triplane: Triplane) -> None:
    tokens = seen()
    changed = tokens.clone()
    changed[[1, 3]] += 1  # the images of step 1
    before, after = scene(triplane, tokens), scene(triplane, changed)
    assert before.shape == (1, 2 * SMALL.tokens, 24)
    assert torch.equal(after[:, : SMALL.tokens], before[:, : SMALL.tokens])
    assert (after[:, SMALL.tokens :] - before[:, SMALL.tokens :]).abs().max() > 1e-3


def test_the_order_of_the_images_does_not_matter(triplane: Triplane) -> None:
    order, tokens = [3, 0, 2, 1], seen()
    moved = scene(triplane, tokens[order], [NAMES[i] for i in order])
    torch.testing.assert_close(moved, scene(triplane, tokens), rtol=0, atol=1e-5)


def test_observations_of_a_batch_do_not_see_each_other(triplane: Triplane) -> None:
    first, second = seen(2).chunk(2)
    alone = torch.cat([scene(triplane, first), scene(triplane, second)])
    torch.testing.assert_close(scene(triplane, seen(2)), alone, rtol=0, atol=1e-5)


def test_a_token_is_its_own_patch_of_cells(triplane: Triplane) -> None:
    """Changing the learned query of one cell changes the token whose patch holds it, in every timestep, and no other."""
    (x, y, z), learned = SMALL.kept, triplane.queries.weight.clone()
    before = scene(triplane, seen())
    for cell, token in ((7 * y + 5, 7 // 3 * 3 + 5 // 4), (x * y + 10 * z + 5, 12 + 10 // 3 * 3 + 5 // 2)):
        triplane.queries.weight.copy_(learned)
        triplane.queries.weight[cell] += 1
        changed = (scene(triplane, seen()) != before).any(dim=-1)[0].view(2, SMALL.tokens)
        assert changed.nonzero()[:, 1].tolist() == [token, token]


def test_a_camera_that_is_absent_leaves_the_same_number_of_tokens(triplane: Triplane) -> None:
    assert scene(triplane, seen()[:2], NAMES[:2]).shape == (1, 2 * SMALL.tokens, 24)


def test_calibration_is_no_weight(triplane: Triplane) -> None:
    names = set(triplane.state_dict())
    assert not names & {"at", "seen"}
    triplane.calibrate(sampling_grids(SMALL, {0: RIG[0], 1: (FRONT, mounted(180))}))
    assert set(triplane.state_dict()) == names


def test_a_camera_without_calibration_and_a_model_without_any_are_refused(triplane: Triplane) -> None:
    with pytest.raises(InvalidInput, match=r"no calibration for cameras \[5\], only for \[0, 1\]"):
        scene(triplane, seen(), [(5, 0), *NAMES[1:]])
    triplane.calibrate(SamplingGrids((), torch.empty(0), torch.empty(0)))
    with pytest.raises(InvalidInput, match=r"only for \[\]"):
        scene(triplane, seen())
    triplane.grids = None
    with pytest.raises(InvalidInput, match=r"not calibrated: want the rig\.yaml"):
        scene(triplane, seen())
