"""Headers are believed only when they agree, and pixels are those of a reference conversion."""

from __future__ import annotations

import array
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline.pictures import jpeg_frame, png, refused_somewhere, smooth
from pipeline.vehicle import decoded

from alpamayo_ros.pipeline import images
from alpamayo_ros.pipeline.images import check_raw, compressed_header, pixels_into, pixels_of_width
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

cv2.setNumThreads(1)


def raw_frame(encoding: str, image: U8, step: int | None = None, height: int | None = None) -> EncodedFrame:
    rows, width = image.shape[:2]
    return EncodedFrame(
        "front_wide", 1, 0, encoding, height or rows, width, step or image.strides[0], memoryview(image).cast("B")
    )


# ------------------------------------------------------------------------------------------------------------ raw encodings

RAMP = np.stack(np.broadcast_arrays(np.arange(24)[:, None] * 5 + 10, np.arange(32) * 4 + 20, 128), axis=-1).astype(np.uint8)


def test_a_width_gives_a_picture_of_the_same_proportions_and_never_of_no_rows() -> None:
    assert pixels_of_width(raw_frame("rgb8", RAMP), 16).shape == (12, 16, 3)
    thin = np.full((1, 40, 3), 90, np.uint8)
    np.testing.assert_array_equal(pixels_of_width(raw_frame("rgb8", thin), 10), thin[:, :10])


@pytest.mark.parametrize(
    ("encoding", "channels"), [("rgb8", (0, 1, 2)), ("bgr8", (2, 1, 0)), ("rgba8", (0, 1, 2, 0)), ("bgra8", (2, 1, 0, 0))]
)
def test_colour_orders_are_honoured_exactly(encoding: str, channels: tuple[int, ...]) -> None:
    packed = np.ascontiguousarray(RAMP[:, :, channels])
    assert np.array_equal(decoded(raw_frame(encoding, packed), 24, 32), RAMP)


def test_mono_is_grey() -> None:
    grey = np.ascontiguousarray(RAMP[:, :, 0])
    assert np.array_equal(decoded(raw_frame("mono8", grey), 24, 32), np.repeat(grey[:, :, None], 3, axis=2))


def yuv_of(rgb: U8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ITU-R BT.601, limited range."""
    r, g, b = (rgb[:, :, i].astype(float) for i in range(3))
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return y, u, v


def blocks(height: int, width: int) -> U8:
    """Every 2x2 block has one colour, so that subsampled chroma loses nothing."""
    small = np.random.default_rng(1).integers(30, 220, (height // 2, width // 2, 3), dtype=np.uint8)
    return np.kron(small, np.ones((2, 2, 1), np.uint8))


@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", "uyvy"), ("yuv422", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")]
)
def test_yuv422_is_bt601(encoding: str, order: str) -> None:
    image = blocks(8, 12)
    y, u, v = yuv_of(image)
    parts = {"y": iter([y[:, 0::2], y[:, 1::2]]), "u": iter([u[:, ::2]]), "v": iter([v[:, ::2]])}
    packed = np.stack([next(parts[name]) for name in order], axis=-1).round().astype(np.uint8).reshape(8, 12, 2)
    # 8-bit y, u, v are off by half a level, which the matrix makes up to 1.7 levels of blue.
    assert np.abs(decoded(raw_frame(encoding, packed), 8, 12).astype(int) - image).max() <= 3


def test_nv12_is_bt601() -> None:
    image = blocks(8, 12)
    y, u, v = yuv_of(image)
    chroma = np.stack([u[::2, ::2], v[::2, ::2]], axis=-1).reshape(4, 12)
    planes = np.concatenate([y, chroma]).round().astype(np.uint8)
    assert np.abs(decoded(raw_frame("nv12", planes, height=8), 8, 12).astype(int) - image).max() <= 3


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_start_with_the_colours_they_name(pattern: str) -> None:
    mosaic = np.empty(RAMP.shape[:2], np.uint8)
    for i, colour in enumerate(pattern):
        mosaic[i // 2 :: 2, i % 2 :: 2] = RAMP[i // 2 :: 2, i % 2 :: 2, "rgb".index(colour)]
    pixels = decoded(raw_frame(f"bayer_{pattern}8", mosaic), 24, 32)
    # Bilinear interpolation of a linear ramp is exact but for rounding, where it has all its neighbours.
    assert np.abs(pixels[2:-2, 2:-2].astype(int) - RAMP[2:-2, 2:-2]).max() <= 1


@pytest.mark.parametrize("encoding", sorted(images.RAW_ENCODINGS))
def test_padded_rows_give_the_same_pixels(encoding: str) -> None:
    layout = images.RAW_ENCODINGS[encoding]
    rows = round(24 * (1 + layout.extra_rows))
    tight = np.random.default_rng(2).integers(0, 256, (rows, 32 * layout.channels), dtype=np.uint8)
    padded = np.pad(tight, ((0, 0), (0, 13)), constant_values=99)
    a, b = (EncodedFrame("front_wide", 1, 0, encoding, 24, 32, x.shape[1], x.tobytes()) for x in (tight, padded))
    check_raw(encoding, 24, 32, padded.shape[1], memoryview(padded.tobytes()))
    assert np.array_equal(decoded(a, 12, 16), decoded(b, 12, 16))


def test_every_encoding_of_the_messages_is_tested_here() -> None:
    assert set(images.RAW_ENCODINGS) == {
        *("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12"),
        *("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
    }


@pytest.mark.parametrize(
    ("encoding", "size", "step", "data_bytes", "says"),
    [
        ("mono16", (4, 4), 8, 32, "want one of rgb8"),
        ("16UC1", (4, 4), 8, 32, "want one of rgb8"),
        ("", (4, 4), 12, 48, "want one of rgb8"),
        ("rgb8", (4, 4), 11, 44, "step 11 is below the 12 bytes"),
        ("rgb8", (4, 4), 12, 47, "want 48 bytes, got 47"),
        ("rgb8", (4, 4), 12, 49, "want 48 bytes, got 49"),
        ("rgb8", (4, 4), 12, 0, "want 48 bytes, got 0"),
        ("nv12", (4, 4), 4, 16, "want 24 bytes, got 16"),
        ("nv12", (5, 4), 4, 30, "even size"),
        ("yuyv", (4, 5), 10, 40, "even size"),
    ],
)
def test_raw_numbers_that_disagree_are_refused(
    encoding: str, size: tuple[int, int], step: int, data_bytes: int, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_raw(encoding, *size, step, memoryview(bytes(data_bytes)))


# ------------------------------------------------------------------------------------------------------------------ resizing


def test_reduction_is_the_mean_over_each_pixels_area() -> None:
    image = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mean = image.reshape(16, 3, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(decoded(raw_frame("rgb8", image), 16, 16) - mean).max() <= 0.5 + 1e-6


def test_enlarging_keeps_a_flat_picture_flat() -> None:
    image = np.full((16, 16, 3), (10, 120, 230), np.uint8)
    assert np.array_equal(decoded(raw_frame("rgb8", image), 33, 50), np.full((33, 50, 3), (10, 120, 230), np.uint8))


def test_pixels_are_drawn_in_place() -> None:
    memory = np.full((3, 16, 24, 3), 5, np.uint8)
    pixels_into(jpeg_frame(simplejpeg.encode_jpeg(smooth(48, 64))), memory[1])
    assert (memory[0] == 5).all()
    assert (memory[2] == 5).all()
    assert memory[1].std() > 10


# ---------------------------------------------------------------------------------------------------------------------- JPEG


@pytest.mark.parametrize(("size", "divisor"), [((96, 128), 2), ((97, 131), 2), ((95, 129), 2), ((40, 50), 1), ((200, 300), 4)])
@pytest.mark.parametrize("colours", ["RGB", "GRAY"])
def test_jpeg_pixels_are_those_of_a_full_decode(size: tuple[int, int], divisor: int, colours: str) -> None:
    image = smooth(*size)
    if colours == "GRAY":
        image = np.ascontiguousarray(image[:, :, :1])
    pixels = decoded(jpeg_frame(simplejpeg.encode_jpeg(image, quality=98, colorspace=colours)), 30, 44)
    # A reduced pixel at the edge of an odd size covers one column that is not there.
    covered = np.pad(np.broadcast_to(image, (*size, 3)), ((0, -size[0] % divisor), (0, -size[1] % divisor), (0, 0)), "edge")
    reference = cv2.resize(covered, (44, 30), interpolation=cv2.INTER_AREA)
    # Quantisation at quality 98 and the reduction inside the DCT: a level or two on a smooth picture, more at no pixel.
    error = np.abs(pixels.astype(int) - reference)
    assert error.mean() < 1.0
    assert error.max() <= 8
    if colours == "GRAY":
        assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])


@pytest.mark.parametrize(
    ("divisor", "flag"),
    [(1, cv2.IMREAD_COLOR), (2, cv2.IMREAD_REDUCED_COLOR_2), (4, cv2.IMREAD_REDUCED_COLOR_4), (8, cv2.IMREAD_REDUCED_COLOR_8)],
)
@pytest.mark.parametrize("size", [(256, 320), (255, 319), (257, 321)])
def test_jpeg_is_decoded_at_the_largest_reduction_that_is_enough(divisor: int, flag: int, size: tuple[int, int]) -> None:
    data = simplejpeg.encode_jpeg(np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8))
    reduced = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), flag), cv2.COLOR_BGR2RGB)
    height, width = reduced.shape[:2]
    assert (height, width) == (-(-size[0] // divisor), -(-size[1] // divisor))
    assert np.array_equal(decoded(jpeg_frame(data), height, width), reduced)
    if divisor > 1:  # a pixel more is not enough any more
        wider = decoded(jpeg_frame(data), height, width + 1)
        assert not np.array_equal(wider, cv2.resize(reduced, (width + 1, height), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("kind", [bytes, bytearray, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8)])
def test_every_kind_of_buffer_gives_the_same_pixels(kind: type) -> None:
    data = simplejpeg.encode_jpeg(smooth(48, 64))
    assert compressed_header(memoryview(kind(data)), "jpeg") == ("jpeg", 48, 64)
    assert np.array_equal(decoded(jpeg_frame(memoryview(kind(data))), 16, 24), decoded(jpeg_frame(data), 16, 24))


def test_a_jpeg_cut_anywhere_is_refused() -> None:
    data = simplejpeg.encode_jpeg(smooth(48, 64))
    assert not refused_somewhere(data, "jpeg")
    assert [cut for cut in range(len(data)) if not refused_somewhere(data[:cut], "jpeg")] == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_drawn_and_nothing_else(data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from(["jpeg", "png"]))
    good = simplejpeg.encode_jpeg(smooth(24, 32)) if fmt == "jpeg" else png(smooth(24, 32))
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    refused_somewhere(bytes(damaged), fmt)


def test_progressive_jpeg_is_drawn_and_one_of_many_scans_is_refused() -> None:
    image = smooth(48, 64)
    progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    assert progressive.count(b"\xff\xda") > 1
    assert decoded(jpeg_frame(progressive), 16, 24).std() > 10
    with pytest.raises(InvalidInput, match=r"front_wide: jpeg of \d+ bytes cannot be decoded: \d+ scans, limit 16"):
        decoded(jpeg_frame(progressive[:-2] + scan * 16 + progressive[-2:]), 16, 24)


def test_a_jpeg_whose_comments_fill_all_that_is_allowed_costs_no_more_than_its_picture() -> None:
    plain = simplejpeg.encode_jpeg(smooth(24, 32))
    comment = b"\xff\xfe\xff\xff" + b"x" * 65533
    data = plain[:2] + comment * 120 + plain[2:]
    assert len(data) < 8_000_000
    assert np.array_equal(decoded(jpeg_frame(data), 12, 16), decoded(jpeg_frame(plain), 12, 16))


def test_a_jpeg_in_printing_colours_is_refused() -> None:
    data = simplejpeg.encode_jpeg(np.zeros((16, 16, 4), np.uint8), colorspace="CMYK", colorsubsampling="444")
    with pytest.raises(InvalidInput, match="want YCbCr, Gray or RGB"):
        compressed_header(memoryview(data), "jpeg")


# ------------------------------------------------------------------------------------------------------------------- formats

JPEG, PNG = simplejpeg.encode_jpeg(smooth(24, 32)), png(smooth(24, 32))


@pytest.mark.parametrize(
    "fmt",
    [
        *("jpeg", "jpg", "JPEG", " jpeg ", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"),
        *(
            "bgr8;jpeg compressed bgr8",
            "bayer_rggb8; jpeg compressed bgr8",
            "mono8; jpeg compressed ",
            "mono8; jpeg compressed mono8",
        ),
    ],
)
def test_formats_that_publishers_use_are_accepted(fmt: str) -> None:
    assert compressed_header(memoryview(JPEG), fmt)[0] == "jpeg"
    assert compressed_header(memoryview(PNG), fmt.lower().replace("jpeg", "png").replace("jpg", "png"))[0] == "png"


@pytest.mark.parametrize(
    "fmt",
    [
        *("", "webp", "rgb8", "h264", "jpeg2000", "16UC1; compressedDepth png", "jpeg; png"),
        # image_transport would swap red and blue of this one; others write it and mean no swap: not decidable
        *("rgb8; jpeg compressed rgb8", "rgb8; jpeg compressed ", "bayer_rggb8; jpeg compressed "),
        "x" * 100_000,
    ],
)
def test_formats_that_mean_something_else_are_refused(fmt: str) -> None:
    with pytest.raises(InvalidInput, match="want jpeg, png") as refusal:
        compressed_header(memoryview(JPEG), fmt)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(("data", "fmt"), [(PNG, "jpeg"), (JPEG, "png"), (PNG, "bgr8; jpeg compressed bgr8")])
def test_a_format_must_agree_with_the_bytes(data: bytes, fmt: str) -> None:
    with pytest.raises(InvalidInput, match="names another kind of file"):
        compressed_header(memoryview(data), fmt)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8\xff", b"RIFF....WEBP", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + b"x" * 99]
)
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    for fmt in ("jpeg", "png"):
        with pytest.raises(InvalidInput):
            compressed_header(memoryview(data), fmt)


# --------------------------------------------------------------------------------------------------------- recorded pictures


@pytest.mark.shared
def test_recorded_pictures_are_those_of_opencv() -> None:
    folder = (Path(__file__).parents[2] / "../shared/data/images").resolve()
    paths = sorted(folder.rglob("*.jpg"))[:8]
    if not paths:
        pytest.skip(f"no pictures in {folder}")
    for path in paths:
        data = path.read_bytes()
        full = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)
        reference = cv2.resize(full, (288, 160), interpolation=cv2.INTER_AREA).astype(int)
        error = np.abs(decoded(jpeg_frame(data), 160, 288) - reference)
        assert error.mean() < 2.0, path  # the DCT's reduction is another low-pass than the mean of an area
