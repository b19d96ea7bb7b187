"""What a camera's bytes claim to be, checked before anything is allocated, and their pixels, decoded once.

The claim of a header costs microseconds; believing it can cost gigabytes (a JPEG of 689 bytes may declare 32000x32000).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg

from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

# Several threads decode already: OpenCV's own pool would only fight with them for the same cores.
cv2.setNumThreads(1)

MAX_JPEG_SCANS = 16
"""Scans of one JPEG. Baseline has 1, libjpeg's default progressive script 10; each scan costs a pass over all pixels."""

MAX_PNG_CHUNKS = 8192
"""Chunks of one PNG. libpng writes one for each 8 kB of compressed rows, so that 8 MB have 1000."""

PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by colour type: grey, RGB, palette, grey and alpha, RGB and alpha."""

# Compressed texts and profiles (zTXt, iTXt, iCCP) are not here: 2 MB of them took the decoder 9 s, and a picture needs none.
_PNG_CHUNKS = set(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT bKGD pHYs tIME tEXt eXIf".split())
_INFLATE_BYTES = 1 << 20  # at a time


class Raw(NamedTuple):
    """Memory layout of a sensor_msgs image encoding and OpenCV's conversion of it to RGB."""

    channels: int  # bytes per pixel in a row
    conversion: int | None  # None: it is RGB already
    extra_rows: float = 0.0  # rows after the image, per image row


# sensor_msgs/image_encodings.hpp. The names "yuv422" and "yuv422_yuy2" are deprecated there but still published.
RAW_ENCODINGS = {
    "rgb8": Raw(3, None),
    "bgr8": Raw(3, cv2.COLOR_BGR2RGB),
    "rgba8": Raw(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Raw(4, cv2.COLOR_BGRA2RGB),
    "mono8": Raw(1, cv2.COLOR_GRAY2RGB),
    "uyvy": Raw(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": Raw(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": Raw(2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": Raw(2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": Raw(1, cv2.COLOR_YUV2RGB_NV12, extra_rows=0.5),
    "bayer_rggb8": Raw(1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": Raw(1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": Raw(1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": Raw(1, cv2.COLOR_BayerGRBG2RGB),
}

# "jpeg", or image_transport's "<source>; jpeg compressed <stored>". Its convention: only "bgr8" means that the file's
# colours are right; with any other colour order red and blue are swapped inside the file, so those are refused.
_FORMAT = re.compile(r"(\w+; ?)?(jpe?g|png)(?(1) compressed bgr8)|mono8; ?(jpe?g|png) compressed ?(mono8)?")
_JPEG_MAGIC, _PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def compressed_header(data: memoryview, declared_format: str) -> tuple[str, int, int]:
    """Encoding ("jpeg" or "png"), height and width that compressed bytes declare. Decodes no pixel; raises InvalidInput."""
    wanted = declared_format.strip().lower()
    if not _FORMAT.fullmatch(wanted):
        raise InvalidInput(
            f"format {declared_format[:80]!r}: want jpeg, png, '<encoding>; jpeg compressed bgr8' or 'mono8; jpeg compressed'"
        )
    start = bytes(data[:8])
    if start.startswith(_JPEG_MAGIC):
        encoding, size = "jpeg", _jpeg_size(data)
    elif start == _PNG_MAGIC:
        encoding, size = "png", _png_size(data)
    else:
        raise InvalidInput(f"format {declared_format!r}: {len(data)} bytes that start with {start.hex(' ') or 'nothing'}")
    if (encoding == "png") != ("png" in wanted):
        raise InvalidInput(f"format {declared_format!r} names another kind of file than the {encoding} that came")
    return encoding, *size


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise InvalidInput(f"JPEG of {len(data)} bytes: {error}") from error
    if colours not in ("YCbCr", "Gray", "RGB"):
        raise InvalidInput(f"JPEG of {colours} colours: want YCbCr, Gray or RGB")
    return height, width


def _png_size(data: memoryview) -> tuple[int, int]:
    """The first chunk must be IHDR (PNG specification, section 11.2.2)."""
    if len(data) < 33 or bytes(data[8:16]) != b"\0\0\0\rIHDR":
        raise InvalidInput(f"PNG of {len(data)} bytes does not start with its header chunk")
    width, height, bits, _, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if bits != 8:
        raise InvalidInput(f"PNG of {bits} bits per channel: want 8")
    if interlaced:
        raise InvalidInput("PNG with interlaced rows: want them in order")
    return height, width


def _check_png(data: memoryview) -> None:
    """Raise InvalidInput unless a PNG's chunks are those of a picture, and inflate to no more rows than its header declares.

    The decoder would inflate everything that came: 8 MB may hold 8 GB. Inflates once, keeping one megabyte at a time.
    """
    width, height, _, colours = struct.unpack(">IIBB", data[16:26])
    left = height * (1 + width * PNG_CHANNELS.get(colours, 4))  # each row has a byte for its filter
    inflater = zlib.decompressobj()
    for body in _png_rows(data):
        feed: bytes | memoryview = body
        while feed and not inflater.eof:
            left -= len(inflater.decompress(feed, min(_INFLATE_BYTES, left + 1)))
            if left < 0:
                raise InvalidInput(f"PNG of {width}x{height}: its rows inflate to more than its header declares")
            feed = inflater.unconsumed_tail


def _png_rows(data: memoryview) -> Iterator[memoryview]:
    """Contents of the chunks with rows, in order. Raises InvalidInput for chunks that a picture does not need, or cut short.

    A PNG of 47 bytes whose chunk claims 4 GB made the decoder allocate them.
    """
    at = 8
    for _ in range(MAX_PNG_CHUNKS):
        if at + 12 > len(data):
            raise InvalidInput(f"PNG of {len(data)} bytes has no end chunk")
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind not in _PNG_CHUNKS:
            raise InvalidInput(f"PNG with a chunk {kind!r}: want a plain picture without compressed texts or profiles")
        if at + 12 + size > len(data):
            raise InvalidInput(f"PNG whose chunk {kind!r} claims {size} bytes where {len(data) - at - 12} are left")
        if kind == b"IEND":
            return
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + size]
        at += 12 + size
    raise InvalidInput(f"PNG of more than {MAX_PNG_CHUNKS} chunks")


def check_raw(encoding: str, height: int, width: int, step: int, data: memoryview) -> None:
    """Raise InvalidInput unless a raw image's encoding is known and its numbers agree with the bytes that came."""
    if encoding not in RAW_ENCODINGS:
        raise InvalidInput(f"encoding {encoding[:80]!r}: want one of {', '.join(RAW_ENCODINGS)}")
    raw = RAW_ENCODINGS[encoding]
    if (raw.channels == 2 and width % 2) or (raw.extra_rows and (width % 2 or height % 2)):
        raise InvalidInput(f"{encoding} of {width}x{height}: the subsampled colours need an even size")
    if step < width * raw.channels:
        raise InvalidInput(f"{encoding} of {width}x{height}: step {step} is below the {width * raw.channels} bytes of a row")
    want = step * round(height * (1 + raw.extra_rows))
    if len(data) != want:
        raise InvalidInput(f"{encoding} of {width}x{height}, step {step}: want {want} bytes, got {len(data)}")


def pixels_into(encoded: EncodedFrame, out: U8) -> None:
    """Decode a frame and draw it, resized, into `out`: (H, W, 3) uint8 RGB, C-contiguous, may be shared memory.

    JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that is not below the size asked for, then reduced by area
    averaging. Raises InvalidInput for bytes that are corrupt or cut short; `out` is undefined then.
    """
    data = memoryview(encoded.data)
    try:
        if encoding_is_raw(encoded):
            rgb = _raw_pixels(encoded, data)
        else:
            rgb = _jpeg_pixels(data, encoded, out) if encoded.encoding == "jpeg" else _png_pixels(data)
    except (ValueError, zlib.error, cv2.error) as error:
        text = str(error).strip().splitlines()[0]
        raise InvalidInput(f"{encoded.role}: {encoded.encoding} of {len(data)} bytes cannot be decoded: {text}") from error
    _resize_into(rgb, out)


def pixels_of_width(encoded: EncodedFrame, width: int) -> U8:
    """A frame decoded `width` px wide, its proportions kept: (H, W, 3) RGB, H >= 1. Raises InvalidInput as `pixels_into`."""
    image = np.empty((max(round(width * encoded.height / encoded.width), 1), width, 3), np.uint8)
    pixels_into(encoded, image)
    return image


def encoding_is_raw(encoded: EncodedFrame) -> bool:
    """Whether the frame's bytes are pixels already, in one of RAW_ENCODINGS."""
    return encoded.encoding in RAW_ENCODINGS


def _jpeg_pixels(data: memoryview, encoded: EncodedFrame, out: U8) -> U8:
    values = np.frombuffer(data, np.uint8)
    scans = np.count_nonzero(values[1:][values[:-1] == 0xFF] == 0xDA)
    if scans > MAX_JPEG_SCANS:
        raise InvalidInput(f"{scans} scans, limit {MAX_JPEG_SCANS}")
    height, width = _reduced_size(encoded.height, encoded.width, *out.shape[:2])
    # strict: a JPEG that is cut short is an error, where cv2.imdecode fills the rest with grey.
    rgb: U8 = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, strict=True)
    return rgb


def _reduced_size(height: int, width: int, out_height: int, out_width: int) -> tuple[int, int]:
    """The exact size of the largest reduction by a power of two, at most 8, that does not go below `out`.

    Anything between would make the decoder choose an odd scale such as 3/8, which has no fast path. A size that the divisor
    does not divide is stretched by less than one of the reduced pixels.
    """
    for divisor in (8, 4, 2):
        reduced = (-(-height // divisor), -(-width // divisor))
        if reduced[0] >= out_height and reduced[1] >= out_width:
            return reduced
    return height, width


def _png_pixels(data: memoryview) -> U8:
    _check_png(data)
    # A wrong checksum, a missing IEND or missing rows make libpng fail, and imdecode return None.
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if rgb is None:
        raise InvalidInput("broken PNG")
    return np.asarray(rgb, np.uint8)


def _raw_pixels(encoded: EncodedFrame, data: memoryview) -> U8:
    raw = RAW_ENCODINGS[encoded.encoding]
    rows = round(encoded.height * (1 + raw.extra_rows))
    shape = (rows, encoded.width) if raw.channels == 1 else (rows, encoded.width, raw.channels)
    strides = (encoded.step, 1) if raw.channels == 1 else (encoded.step, raw.channels, 1)
    image: U8 = np.ndarray(shape, np.uint8, buffer=data, strides=strides)
    return image if raw.conversion is None else np.asarray(cv2.cvtColor(image, raw.conversion), np.uint8)


def _resize_into(rgb: U8, out: U8) -> None:
    height, width = out.shape[:2]
    if rgb.shape == out.shape:
        np.copyto(out, rgb)
        return
    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    drawn: Any = cv2.resize(rgb, (width, height), dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    assert drawn is out, "cv2 drew elsewhere: `out` must be C-contiguous uint8"
