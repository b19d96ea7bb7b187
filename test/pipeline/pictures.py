"""Pictures as bytes, and the frames that hold them: what the image tests share."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg
from pipeline.vehicle import decoded

from alpamayo_ros.pipeline.images import compressed_header
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput


def smooth(height: int, width: int, seed: int = 0) -> U8:
    """A picture without fine detail, so that chroma subsampling and scaling lose little."""
    coarse = np.random.default_rng(seed).integers(20, 235, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg_frame(data: bytes | memoryview) -> EncodedFrame:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    return EncodedFrame("front_wide", 1, 0, "jpeg", height, width, 0, data)


def png_frame(data: bytes, height: int, width: int) -> EncodedFrame:
    return EncodedFrame("front_wide", 1, 0, "png", height, width, 0, data)


def png(image: U8) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def refused_somewhere(data: bytes, fmt: str, shape: tuple[int, int] = (16, 24)) -> bool:
    try:
        encoding, height, width = compressed_header(memoryview(data), fmt)
        if height * width > 1_000_000:
            return True  # the rig's declared size refuses it
        decoded(EncodedFrame("front_wide", 1, 0, encoding, height, width, 0, data), *shape)
    except InvalidInput:
        return True
    return False
