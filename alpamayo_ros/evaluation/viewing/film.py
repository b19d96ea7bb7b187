"""Scenes as pictures of one size, and those as an MP4 or a GIF that plays in real time.

A page from top to bottom: the seven cameras in their places with the plan in each, then the view from above, what the plan
says, and its speed, acceleration and curvature, with what was driven beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from PIL import Image

from alpamayo_ros.drawing import (
    LINE_PX,
    MARGIN_PX,
    PAPER,
    SEVEN_ROWS,
    birds_eye,
    metres_across,
    overlay,
    seven_up,
    write_lines,
)
from alpamayo_ros.evaluation.viewing.charts import draw_motion
from alpamayo_ros.evaluation.viewing.scenes import Scene, said
from alpamayo_ros.types import U8, EgoHistory, InvalidInput

FILM_PX, GIF_PX = 1920, 960
GIF_STEP_NS = 200_000_000
"""A GIF shows at most five pictures a second: it stores every pixel that changed."""

COLOURS, PALETTE_SCENES = 128, 12
"""How many colours a GIF has, and the scenes they are chosen from."""

NOMINAL_HZ = 10
"""For the encoder to choose its level by; frames carry their own times."""

LAST_FRAME_NS = 100_000_000
"""How long a film of one scene lasts."""


class Coding(NamedTuple):
    """How frames become a file."""

    codec: str
    pixels: str
    ticks_hz: int
    container: dict[str, str]
    encoder: dict[str, str]


# yuv420p and the index in front: what every browser plays.
MP4 = Coding("libx264", "yuv420p", 1000, {"movflags": "+faststart"}, {"preset": "veryfast", "crf": "23"})
GIF = Coding("gif", "pal8", 100, {"loop": "0", "final_delay": "20"}, {})


class Pages:
    """Draws scenes, `width` px wide and of 16:9. The view from above only ever grows: a changing scale looks like motion."""

    def __init__(self, width: int) -> None:
        self.width, self.height = width, width * 9 // 16
        self._metres = 0.0
        self._first_ns: int | None = None

    def page(self, scene: Scene) -> U8:
        """One picture (height, width, 3)."""
        self._first_ns = scene.t0_ns if self._first_ns is None else self._first_ns
        after_s = (scene.t0_ns - self._first_ns) / 1e9
        cameras = _cameras(scene, self.width)
        page = np.full((self.height, self.width, 3), PAPER, np.uint8)
        page[: len(cameras)] = cameras
        below = page[len(cameras) :]
        side = len(below)
        charts = self.width // 3
        if scene.history is not None:
            below[:, :side] = self._above(scene, scene.history, side)
            draw_motion(below[:, self.width - charts :], scene.plan.trajectory if scene.plan else None, scene.driven)
        left, width = side + MARGIN_PX, self.width - side - charts - 2 * MARGIN_PX
        lines = [f"film at {after_s:.1f} s", *said(scene, width)]
        write_lines(below, _fitting(lines, side), left, MARGIN_PX // 2)
        return page

    def _above(self, scene: Scene, history: EgoHistory, side: int) -> U8:
        path, candidates = (scene.plan.trajectory, scene.plan.candidates) if scene.plan is not None else (None, ())
        self._metres = max(self._metres, metres_across([scene.driven.xyz, *([path.xyz] if path is not None else [])]))
        return birds_eye(path, candidates, history, side, self._metres, scene.driven.xyz)


def write_mp4(scenes: Iterable[Scene], path: Path) -> None:
    """H.264 that browsers play, 1920 x 1080; every scene is shown until the next one's t0."""
    pages = Pages(FILM_PX)
    timed = _timed(scenes)
    encode(
        MP4,
        (pages.width, pages.height),
        ((av.VideoFrame.from_ndarray(pages.page(scene), format="rgb24"), lasts_ns) for scene, lasts_ns in timed),
        path,
    )


def write_gif(scenes: Iterable[Scene], path: Path) -> None:
    """A GIF of 960 x 540 at five pictures a second at most, of one palette chosen from its first scenes."""
    pages = Pages(GIF_PX)
    drawn = ((pages.page(scene), lasts_ns) for scene, lasts_ns in _timed(_thinned(scenes)))
    first = list(islice(drawn, PALETTE_SCENES))
    # The colours furthest apart, not the most frequent: a traffic light and the driven path are few pixels.
    sample = Image.fromarray(np.vstack([page[::2, ::2] for page, _ in first]))
    palette = sample.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
    encode(
        GIF, (pages.width, pages.height), ((_indexed(page, palette), lasts_ns) for page, lasts_ns in chain(first, drawn)), path
    )


def encode(coding: Coding, size: tuple[int, int], frames: Iterable[tuple[av.VideoFrame, int]], path: Path) -> None:
    """Write frames of (width, height) px with how long each lasts, ns."""
    tick = Fraction(1, coding.ticks_hz)
    with av.open(str(path), "w", options=coding.container) as film:
        stream = cast("av.VideoStream", film.add_stream(coding.codec, rate=NOMINAL_HZ, options=coding.encoder))
        (stream.width, stream.height), stream.pix_fmt = size, coding.pixels
        stream.codec_context.time_base = tick
        shown_ns = 0
        for frame, lasts_ns in frames:
            frame.time_base, frame.pts = tick, shown_ns * coding.ticks_hz // 1_000_000_000
            frame.duration = lasts_ns * coding.ticks_hz // 1_000_000_000
            shown_ns += lasts_ns
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


def _indexed(page: U8, palette: Image.Image) -> av.VideoFrame:
    """A page in the colours of a palette; the entries after them are transparent, for what stays as it was."""
    indices = np.asarray(Image.fromarray(page).quantize(palette=palette, dither=Image.Dither.NONE))
    rgb = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    argb = np.zeros((256, 4), np.uint8)
    argb[: len(rgb), 0], argb[: len(rgb), 1:] = 255, rgb
    both: Any = indices, argb  # PyAV's signature knows no pair, its code and documentation do
    return av.VideoFrame.from_ndarray(both, format="pal8")


def _timed(scenes: Iterable[Scene]) -> Iterator[tuple[Scene, int]]:
    """Scenes and how long each lasts, ns: until the next t0; where that is none later, as long as the one before."""
    before: Scene | None = None
    lasts_ns = LAST_FRAME_NS
    for scene in scenes:
        if before is not None:
            step_ns = scene.t0_ns - before.t0_ns
            lasts_ns = step_ns if step_ns > 0 else lasts_ns
            yield before, lasts_ns
        before = scene
    if before is not None:
        yield before, lasts_ns


def _thinned(scenes: Iterable[Scene]) -> Iterator[Scene]:
    """Scenes at least GIF_STEP_NS apart."""
    last_ns: int | None = None
    for scene in scenes:
        if last_ns is None or not 0 <= scene.t0_ns - last_ns < GIF_STEP_NS:
            last_ns = scene.t0_ns
            yield scene


def _cameras(scene: Scene, width: int) -> U8:
    """The cameras with the plan in them, each from where it was; one whose bytes are no picture stays dark and says so."""
    images: dict[str, U8] = {}
    cells = {role: width // len(row) for row in SEVEN_ROWS for role in row}
    labels = {role: f"{role}: no frame" for role in scene.views}
    for role in scene.frames:
        skew = scene.skews[role]
        labels[role] = f"{role}{skew.after}{skew.path if scene.plan else ''}"
        try:
            image, camera = scene.pixels(role, cells[role])
        except InvalidInput as error:
            labels[role] = str(error)
            continue
        images[role] = image
        if scene.plan is not None:
            images[role] = overlay(image, camera, scene.optical_from_ego_t0(role), scene.plan.trajectory)
    return seven_up(images, labels, width)


def _fitting(lines: list[str], height: int) -> list[str]:
    room = (height - MARGIN_PX) // LINE_PX
    return lines if len(lines) <= room else [*lines[: room - 1], f"... and {len(lines) - room + 1} more lines"]
