"""Frames of a film as JPEG files."""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import cv2
import numpy as np
import simplejpeg
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace

from alpamayo_ros.evaluation.conversion.motion import I64
from alpamayo_ros.types import U8, InvalidInput

JPEG_QUALITY = 95

_LEVELS = np.arange(256)
_FULL_LUMA = np.clip(np.rint((_LEVELS - 16) * 255 / 219), 0, 255).astype(np.uint8)
_FULL_CHROMA = np.clip(np.rint((_LEVELS - 128) * 255 / 224 + 128), 0, 255).astype(np.uint8)
_FULL_RANGE = (_FULL_LUMA, _FULL_CHROMA, _FULL_CHROMA)
"""From the limited range of films to the full one of JPEG (ITU-R BT.601, ITU-T T.871)."""


def jpeg_frames(film: bytes, name: str, frames: int, wanted: I64) -> Iterator[bytes]:
    """The frames with the wanted, increasing, indices of a film that has so many `frames`. Raises InvalidInput."""
    indices, decoded = set(wanted.tolist()), 0
    try:
        with av.open(io.BytesIO(film), "r") as container:
            if not container.streams.video:
                raise InvalidInput(f"{name}: no video in it")
            stream = container.streams.video[0]
            if stream.frames not in (0, frames):  # 0: the header does not say
                raise InvalidInput(f"{name}: {stream.frames} frames, but {frames} timestamps")
            stream.thread_count = 1  # the cameras' films are decoded side by side
            for frame in container.decode(stream):
                if decoded in indices:
                    yield _jpeg(frame)
                decoded += 1
    except av.FFmpegError as error:
        raise InvalidInput(f"{name}: cannot be decoded after {decoded} of {frames} frames, is it whole? {error}") from error
    if decoded != frames:
        raise InvalidInput(f"{name}: {decoded} frames, but {frames} timestamps: is it whole?")


def _jpeg(frame: VideoFrame) -> bytes:
    """JPEG halves the colours' resolution as films do: of those the samples are taken over, without a way through RGB."""
    if frame.format.name not in ("yuv420p", "yuvj420p") or frame.colorspace == Colorspace.ITU709:
        return bytes(simplejpeg.encode_jpeg(frame.to_ndarray(format="rgb24"), JPEG_QUALITY, "RGB", "420"))
    planes = [_pixels(plane) for plane in frame.planes]
    if frame.format.name == "yuv420p" and frame.color_range != ColorRange.JPEG:
        planes = [np.asarray(cv2.LUT(plane, levels), np.uint8) for plane, levels in zip(planes, _FULL_RANGE, strict=True)]
    return bytes(simplejpeg.encode_jpeg_yuv_planes(*planes, quality=JPEG_QUALITY))


def _pixels(plane: VideoPlane) -> U8:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return np.ascontiguousarray(rows[:, : plane.width])
