"""Sizes, pixels and patches of the reference processor, and how far the vehicle's own pictures are from them."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from model.reference import needs_vectors, tiny_config, vectors
from model.vocabulary import small_config

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model.pixels import patches, resized, smart_size
from alpamayo_ros.pipeline.images import pixels_into
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

RELEASED = small_config(min_pixels=163840, max_pixels=196608)
PHOTOGRAPHS = sorted((Path(__file__).parents[2].parent / "shared" / "data" / "images" / "surround_6cam").glob("*.jpg"))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1080, 1920), (320, 576)),
        ((720, 1280), (320, 576)),
        ((480, 640), (384, 512)),
        ((320, 512), (320, 512)),
        ((600, 960), (320, 544)),
        ((240, 352), (352, 512)),
    ],
)
def test_sizes_of_the_released_processor(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert smart_size(*size, RELEASED) == wanted
    assert smart_size(*wanted, RELEASED) == wanted, "an image of the right size keeps it"


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert resized(image, (64, 96)) is image


def test_patches_are_colour_time_row_column_with_the_four_of_a_token_together() -> None:
    rows, columns = np.meshgrid(np.arange(64), np.arange(96), indexing="ij")
    image = np.stack([rows, columns, rows // 16 * 16 + columns // 16], axis=-1).astype(np.uint8)
    found = patches([image, 255 - image], small_config())
    assert found.shape == (2, 24, 1536)
    levels = (found * 127.5 + 127.5).round().view(2, 24, 3, 2, 16, 16)
    assert levels[0, :, 2, 0, 0, 0].tolist()[:8] == [0, 1, 16, 17, 2, 3, 18, 19]  # 16 x row of patches + column of patches
    assert (levels[0, 1, 0, 0] == levels[0, 1, 0, 0, :, :1]).all(), "rows run along the last but one axis"
    assert levels[0, 1, 1, 0, 0].tolist() == list(range(16, 32))
    assert (levels[:, :, :, 0] == levels[:, :, :, 1]).all(), "a still image fills both moments"
    assert (levels[0] + levels[1] == 255).all()


@pytest.mark.parametrize("shape", [(64, 80, 3), (32, 32, 3), (96, 96, 3)])
def test_images_of_a_size_that_the_model_would_not_take_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInput, match=rf"images of {shape[0]}x{shape[1]}: the model takes \("):
        patches([np.zeros(shape, np.uint8)], small_config())


# ---------------------------------------------------------------------------------------- pixels of the public reference code

PIXELS = Path(__file__).parent / "vectors" / "pixels.npz"
"""Every 7th patch and 53rd number of transformers 4.57.1's Qwen2VLImageProcessorFast on images made by `drawn`."""


def drawn(seed: int, height: int, width: int, smooth: bool) -> U8:
    """A mosaic with noise, its edges hard or blurred; integers only."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, -(-height // 24), -(-width // 24))).repeat(24, 1).repeat(24, 2)[:, :height, :width]
    noise = rng.integers(-12, 13, (3, height, width)) // (6 if smooth else 1)
    for axis in (1, 2) if smooth else ():
        padding = [(12, 12) if a == axis else (0, 0) for a in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, padding, mode="edge"), 25, axis)
        image = windows.sum(-1) // 25
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("case", ["t270x480", "t40x72_up", "t63x97", "r600x960", "r240x352_up"])
def test_pixels_of_the_reference_exactly(case: str) -> None:
    with np.load(PIXELS) as stored:
        seed, height, width, smooth, least, most, *size = stored[f"{case}/recipe"].tolist()
        sample, thumbnail = stored[f"{case}/sample"], stored[f"{case}/input"]
    image = drawn(seed, height, width, bool(smooth))
    assert (image[:, :: max(1, height // 12), :: max(1, width // 12)] == thumbnail).all(), "the same image"
    config = small_config(min_pixels=least, max_pixels=most)
    assert smart_size(height, width, config) == tuple(size)
    found = patches([resized(image.transpose(1, 2, 0), tuple(size))], config)
    assert (found[0].numpy()[::7, ::53] == sample).all()


class TestReference:
    pytestmark = needs_vectors

    def test_patches_exactly(self) -> None:
        stored = vectors("model/prefill.npz")
        found = patches(list(stored["frames"][0].transpose(0, 2, 3, 1)), tiny_config())
        assert (found.flatten(0, 1).numpy() == stored["pixel_values"]).all()


def difference(photograph: Path, config: Config, offset_px: int = 0) -> np.ndarray:
    """Levels between the vehicle's picture of a JPEG and the reference's, moved by so many pixels."""
    data = photograph.read_bytes()
    rgb = simplejpeg.decode_jpeg(data)
    size = smart_size(*rgb.shape[:2], config)
    reference = resized(rgb, size).astype(int)
    picture = np.empty((*size, 3), np.uint8)
    pixels_into(EncodedFrame("front_wide", 0, 0, "jpeg", *rgb.shape[:2], 0, data), picture)
    return picture - np.roll(reference, offset_px, axis=1)


@pytest.mark.shared
@pytest.mark.skipif(not PHOTOGRAPHS, reason="the recorded photographs are not on this machine")
def test_the_vehicles_pictures_stay_near_the_references() -> None:
    """The module's docstring states the measured numbers."""
    levels = np.stack([difference(photograph, RELEASED) for photograph in PHOTOGRAPHS])
    assert np.abs(levels).mean() < 0.8
    assert np.percentile(np.abs(levels), 99) <= 5
    assert np.abs(levels.mean(axis=(1, 2, 3))).max() < 0.02, "neither is brighter"
    assert np.abs(difference(PHOTOGRAPHS[0], RELEASED, offset_px=1)).mean() > 4, "one pixel to the side is another picture"
