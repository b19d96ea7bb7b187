"""Pictures for people: the trajectory in a camera image and from above, labelled contact sheets, a plan on one page.

Images are uint8 (H, W, 3) RGB; nothing given is modified. Text is ASCII, the only thing OpenCV's fonts draw everywhere.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.cameras import Camera
from alpamayo_ros.geometry import apply
from alpamayo_ros.types import F64, STEP_S, U8, EgoHistory, InvalidInput, Plan, Trajectory, role_index

Colour = tuple[int, int, int]

VEHICLE_WIDTH_M = 1.9
VEHICLE_CORNERS = np.array([[-1.0, -0.95], [-1.0, 0.95], [3.8, 0.95], [3.8, -0.95]])
"""m, ego frame, whose origin is the rear axle: a passenger car, for scale only."""

RIBBON_STEPS = 256
RIBBON_STRIPS = 6
RIBBON_OPACITY = 0.6

SPEED_COLOURS = ((0.0, (226, 60, 50)), (8.0, (245, 190, 50)), (20.0, (60, 205, 110)))
"""Speed m/s and the colour of a path there, interpolated between: red stands, green drives."""

INK: Colour = (235, 238, 242)
FAINT: Colour = (150, 158, 168)
LINE: Colour = (62, 68, 76)
PAPER: Colour = (24, 27, 32)
CANDIDATE: Colour = (96, 130, 190)
DRIVEN: Colour = (236, 92, 222)
REJECTED: Colour = (255, 70, 60)

SECOND = round(1.0 / STEP_S)  # points

FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_SCALE = 0.5
LINE_PX = 22
MARGIN_PX = 14

SHOWN_CHARACTERS = 512
"""Of a trace, wherever people see it: a model that rambles hides nothing else."""

# ECMA-48: control sequences, strings up to their end (a title, a link), and the escapes of one more character.
ANSI_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]")

CELL_PX = 480
FRONT_PX = 960

SEVEN_ROWS = (("front_left", "front_wide", "front_right"), ("rear_left", "front_tele", "rear_tele", "rear_right"))
"""Where the cameras stand in `seven_up`: what is left of the vehicle is left in the picture."""
SUBPIXEL_BITS = 4


def overlay(image: U8, camera: Camera, optical_from_ego: F64, trajectory: Trajectory) -> U8:
    """The image with the trajectory as a ribbon of the vehicle's width on the ground, coloured by speed.

    `optical_from_ego` (4, 4) takes ego_t0 to the camera's optical frame. Raises InvalidInput when the camera is not of the
    image's size.
    """
    if image.shape != (camera.height, camera.width, 3):
        raise InvalidInput(f"image: want {(camera.height, camera.width, 3)} as its camera, got {image.shape}")
    # The ribbon is cut into cells so small that dropping those with a corner the lens cannot see clips it well: nothing
    # wraps around from behind, whatever the lens. Cells may reach one image size beyond the edges.
    wide = replace(
        camera, cx=camera.cx + camera.width, cy=camera.cy + camera.height, width=3 * camera.width, height=3 * camera.height
    )
    corners, speed_mps = ribbon(trajectory)
    uv, visible = wide.project(apply(optical_from_ego, corners.reshape(-1, 3)))
    pixels = _fixed(uv - (camera.width, camera.height)).reshape(*corners.shape[:2], 2)
    seen = visible.reshape(corners.shape[:2])
    painted = image.copy()
    drawable = seen[:-1, :-1] & seen[1:, :-1] & seen[1:, 1:] & seen[:-1, 1:]
    cells = np.stack([pixels[:-1, :-1], pixels[1:, :-1], pixels[1:, 1:], pixels[:-1, 1:]], axis=2)
    colours = speed_colours(speed_mps)
    for row, cell in zip(np.nonzero(drawable)[0].tolist(), cells[drawable], strict=True):
        cv2.fillConvexPoly(painted, cell, colours[row], lineType=cv2.LINE_8, shift=SUBPIXEL_BITS)
    return np.asarray(cv2.addWeighted(painted, RIBBON_OPACITY, image, 1.0 - RIBBON_OPACITY, 0.0), np.uint8)


def birds_eye(
    trajectory: Trajectory | None,
    candidates: Iterable[Trajectory],
    history: EgoHistory,
    size: int,
    metres: float,
    driven: F64 | None = None,
    baselines: Iterable[tuple[Trajectory, Colour]] = (),
) -> U8:
    """A square picture from above, `size` px and `metres` m a side: x forward is up, y left is left.

    The chosen trajectory, if there is one, is coloured by speed with a dot each second, candidates are thin, the history is
    grey. `driven` is where the vehicle then went: (m, 3) m, ego at t0, each 0.1 s, m may be 0; drawn with a dot each second,
    too. `baselines` are trajectories of other planners and their colours.
    """
    picture = np.full((size, size, 3), PAPER, np.uint8)
    scale = size / metres
    origin = np.array([0.5 * size, 0.75 * size])

    def pixels(xy: F64) -> F64:
        return origin - scale * np.asarray(xy, np.float64)[:, ::-1]

    _grid(picture, scale, origin, metres)
    for candidate in candidates:
        _path(picture, pixels(_from_start(candidate.xyz)[:, :2]), CANDIDATE, 1)
    _path(picture, pixels(history.xyz[:, :2].astype(np.float64)), FAINT, 2)
    _vehicle(picture, pixels(VEHICLE_CORNERS))
    for baseline, colour in baselines:
        _path(picture, pixels(_from_start(baseline.xyz)[:, :2]), colour, 2)
    if trajectory is not None:
        path = pixels(_from_start(trajectory.xyz)[:, :2])
        for i, speed in enumerate(trajectory.speed_mps):
            _path(picture, path[i : i + 2], speed_colour(float(speed)), 3)
        seconds = np.arange(1.0, trajectory.t_s[-1] + 1e-6)
        whole = [int(np.argmin(np.abs(trajectory.t_s - s))) for s in seconds]
        _dots(picture, path[1:][whole], INK)
    if driven is not None:
        way = pixels(_from_start(driven)[:, :2])
        _path(picture, way, DRIVEN, 2)
        _dots(picture, way[SECOND::SECOND], DRIVEN)
    return picture


def metres_across(paths: Iterable[F64]) -> float:
    """The side, m, of the smallest of some bird's-eye views that hold all paths, each (n, 3) m, ego at t0; at most 320."""
    points = np.vstack([np.zeros((1, 3)), *paths])
    ahead_m, behind_m, aside_m = points[:, 0].max(), -points[:, 0].min(), np.abs(points[:, 1]).max()
    reach_m = max(ahead_m / 0.7, behind_m / 0.22, aside_m / 0.47)  # of a side; the ego is at 3/4 of the height
    return next((metres for metres in (40.0, 60.0, 80.0, 120.0, 160.0, 240.0) if metres > reach_m), 320.0)


def contact_sheet(images: Mapping[str, U8], labels: Mapping[str, str]) -> U8:
    """All images in a grid, each above its label (lines separated by a newline, wrapped to the cell).

    Raises InvalidInput when there is no image or one has no label.
    """
    if not images or set(images) - set(labels):
        raise InvalidInput(f"contact sheet: {len(images)} images, without a label: {sorted(set(images) - set(labels))}")
    texts = {name: wrapped(labels[name], CELL_PX - 2 * MARGIN_PX) for name in images}
    thumbnails = {name: _fitted(image, CELL_PX, CELL_PX) for name, image in images.items()}
    tallest = max(len(thumbnail) for thumbnail in thumbnails.values())
    cell_height = tallest + LINE_PX * max(len(lines) for lines in texts.values()) + MARGIN_PX
    columns = math.ceil(math.sqrt(len(images)))
    sheet = np.full((cell_height * math.ceil(len(images) / columns), CELL_PX * columns, 3), PAPER, np.uint8)
    for place, (name, thumbnail) in enumerate(thumbnails.items()):
        top, left = cell_height * (place // columns), CELL_PX * (place % columns)
        height, width = thumbnail.shape[:2]
        inset = (CELL_PX - width) // 2
        sheet[top : top + height, left + inset : left + inset + width] = thumbnail
        write_lines(sheet, texts[name], left + MARGIN_PX, top + tallest + MARGIN_PX // 2)
        cv2.rectangle(sheet, (left, top), (left + CELL_PX - 1, top + cell_height - 1), LINE)
    return sheet


def seven_up(images: Mapping[str, U8], labels: Mapping[str, str], width: int) -> U8:
    """All seven cameras in their places, `width` px wide: the front in three cells of 16:9, tele and rear in four below.

    `images` and `labels` are by role; images are fitted into their cells, and the cell of a role without one stays dark. A
    label is written into the cell's corner. 1920 px wide it is 630 px high. Raises InvalidInput for a role that does not exist.
    """
    for role in (*images, *labels):
        role_index(role)
    rows = []
    for roles in SEVEN_ROWS:
        edges = [round(width * i / len(roles)) for i in range(len(roles) + 1)]
        row = np.full((round(width / len(roles) * 9 / 16), width, 3), PAPER, np.uint8)
        for role, left, right in zip(roles, edges, edges[1:], strict=False):
            if role in images:
                _place(row[:, left:right], images[role])
            _outlined(row, labels.get(role, ""), left + MARGIN_PX // 2, LINE_PX - 4)
            cv2.rectangle(row, (left, 0), (right - 1, len(row) - 1), PAPER)
        rows.append(row)
    return np.vstack(rows)


def plan_picture(
    front: U8,
    camera: Camera,
    optical_from_ego: F64,
    history: EgoHistory,
    plan: Plan,
    weights: str,
    rejected: str = "",
) -> U8:
    """One page about a plan: the trajectory in the front image and from above, the trace, the decision, whose weights.

    `front` (H, W, 3) is the frame at t0 of `camera`. A plan that the checks reject is marked: a red edge, and why. Raises
    InvalidInput when the camera is not of the image's size.
    """
    scene = _fitted(overlay(front, camera, optical_from_ego, plan.trajectory), FRONT_PX, FRONT_PX)
    above = birds_eye(plan.trajectory, plan.candidates, history, len(scene), metres_across([plan.trajectory.xyz]))
    room = FRONT_PX + len(scene) - 2 * MARGIN_PX
    mark = wrapped(f"REJECTED, would not be published: {rejected}", room) if rejected else []
    lines = [*mark, *plan_lines(plan, weights, room)]
    height = len(scene) + LINE_PX * len(lines) + 2 * MARGIN_PX
    page = np.full((height, FRONT_PX + len(scene), 3), PAPER, np.uint8)
    page[: len(scene), :FRONT_PX], page[: len(scene), FRONT_PX:] = scene, above
    write_lines(page, lines, MARGIN_PX, len(scene) + MARGIN_PX // 2)
    _speed_legend(page, FRONT_PX + len(scene) - 200, len(scene) - 34)
    if rejected:
        write_lines(page, mark, MARGIN_PX, len(scene) + MARGIN_PX // 2, REJECTED)
        cv2.rectangle(page, (0, 0), (page.shape[1] - 1, len(scene) - 1), REJECTED, 7)
    return page


def plan_lines(plan: Plan, weights: str, width_px: int) -> list[str]:
    """What a plan says, in lines of ASCII no wider than `width_px`: whose it is, its decision, its motion, its trace."""
    trace, decision = plan.reasoning, plan.reasoning.decision
    lateral = " ".join(part for part in (decision.lateral, decision.direction) if part)
    actions = "; ".join(f"{a.action} {a.start_s:.1f}-{a.end_s:.1f} s" for a in plan.meta_actions)
    agrees = {None: "unknown", True: "yes", False: f"NO, {plan.consistent.why_not}"}[plan.consistent.agrees]
    kind = f"{plan.source}, provisional" if plan.provisional else plan.source
    text = [
        f"t0 {plan.t0_ns / 1e9:.3f} s | source: {kind} | weights: {weights.upper()}",
        f"decision: {decision.longitudinal or '-'} / {lateral or '-'} | consistent with the trajectory: {agrees}",
        f"motion: {actions or '-'}",
        f"trace (unverified model output): {shown_text(trace.text) or '-'}",
    ]
    return [line for paragraph in text for line in wrapped(paragraph, width_px)]


def ribbon(trajectory: Trajectory) -> tuple[F64, F64]:
    """Corners (RIBBON_STEPS, RIBBON_STRIPS + 1, 3) m of the ribbon's cells and the speed (RIBBON_STEPS,) m/s of each row."""
    t_s = np.append(0.0, trajectory.t_s)
    at_s = np.linspace(0.0, t_s[-1], RIBBON_STEPS)
    xyz = np.column_stack([np.interp(at_s, t_s, values) for values in _from_start(trajectory.xyz).T])
    yaw = np.interp(at_s, t_s, np.unwrap(np.append(0.0, trajectory.yaw_rad)))
    left = np.column_stack([-np.sin(yaw), np.cos(yaw), np.zeros_like(yaw)])
    across_m = np.linspace(0.5, -0.5, RIBBON_STRIPS + 1) * VEHICLE_WIDTH_M
    corners: F64 = xyz[:, None] + across_m[None, :, None] * left[:, None]
    return corners, np.interp(at_s, trajectory.t_s, trajectory.speed_mps)


def speed_colour(speed_mps: float) -> Colour:
    """The colour of a path at a speed; reverse is coloured like standing."""
    return speed_colours(np.array([speed_mps]))[0]


def speed_colours(speed_mps: F64) -> list[Colour]:
    """The colours of a path at many speeds (n,)."""
    speeds = [speed for speed, _ in SPEED_COLOURS]
    channels = zip(*(colour for _, colour in SPEED_COLOURS), strict=True)
    red, green, blue = (np.interp(speed_mps, speeds, channel).round().astype(int).tolist() for channel in channels)
    return list(zip(red, green, blue, strict=True))


def shown_text(text: str) -> str:
    """A model's words as people are shown them: no ANSI escapes, no control characters, at most SHOWN_CHARACTERS."""
    printable = "".join(c if c.isprintable() else " " for c in ANSI_ESCAPE.sub(" ", text))
    words = " ".join(printable.split())
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 3]}..."


def ascii_text(text: str) -> str:
    """Printable ASCII: every other character becomes '?', white space becomes one space."""
    return "".join(c if " " <= c <= "~" else "?" for c in " ".join(text.split()))


def wrapped(text: str, width_px: int, scale: float = TEXT_SCALE) -> list[str]:
    """Lines of ASCII no wider than `width_px`, or of one character; newlines stay, words longer than a line are cut."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in ascii_text(paragraph).split(" "):
            extended = f"{line} {word}" if line else word
            if _width(extended, scale) <= width_px:
                line = extended
                continue
            lines += [line] if line else []
            *whole, line = _cut(word, width_px, scale)
            lines += whole
        lines.append(line)
    return lines


def write_lines(picture: U8, lines: Iterable[str], left: int, top: int, colour: Colour = INK) -> None:
    """Write lines of ASCII into a picture, the first one just below `top` px."""
    for i, line in enumerate(lines):
        cv2.putText(picture, line, (left, top + LINE_PX * (i + 1) - 6), FONT, TEXT_SCALE, colour, 1, cv2.LINE_AA)


def _cut(word: str, width_px: int, scale: float) -> list[str]:
    """The word in pieces, each as long as `width_px` allows, but of one character at least."""
    pieces = []
    while len(word) > 1 and _width(word, scale) > width_px:
        fits = bisect_right(range(1, len(word)), width_px, key=lambda n: _width(word[:n], scale))
        pieces.append(word[: max(fits, 1)])
        word = word[max(fits, 1) :]
    return [*pieces, word]


def _place(cell: U8, image: U8) -> None:
    """Draw an image into the middle of a cell, fitted, its proportions kept."""
    fitted = _fitted(image, cell.shape[1], cell.shape[0])
    top, left = (len(cell) - len(fitted)) // 2, (cell.shape[1] - fitted.shape[1]) // 2
    cell[top : top + len(fitted), left : left + fitted.shape[1]] = fitted


def _outlined(picture: U8, text: str, left: int, baseline: int) -> None:
    """Text that can be read on anything."""
    for dx, dy, colour in ((-1, -1, PAPER), (1, -1, PAPER), (-1, 1, PAPER), (1, 1, PAPER), (0, 0, INK)):
        cv2.putText(picture, ascii_text(text), (left + dx, baseline + dy), FONT, TEXT_SCALE, colour, 1, cv2.LINE_AA)


def _from_start(xyz: F64) -> F64:
    """Points of a path with the ego's place at its stamp before them."""
    return np.vstack([np.zeros((1, 3)), xyz])


def _grid(picture: U8, scale: float, origin: F64, metres: float) -> None:
    size = len(picture)
    spacing = 10 if metres <= 120 else 50
    ahead, side = int(0.75 * metres) // spacing, int(0.5 * metres) // spacing
    for step in range(-side, side + 1):
        x = round(origin[0] + step * spacing * scale)
        cv2.line(picture, (x, 0), (x, size - 1), LINE)
    for step in range(-(int(0.25 * metres) // spacing), ahead + 1):
        y = round(origin[1] - step * spacing * scale)
        cv2.line(picture, (0, y), (size - 1, y), LINE)
        if step and LINE_PX < y < size - 6:
            cv2.putText(picture, f"{step * spacing} m", (6, y - 5), FONT, 0.42, FAINT, 1, cv2.LINE_AA)


def _dots(picture: U8, points: F64, colour: Colour) -> None:
    for point in points:
        cv2.circle(picture, _fixed(point).tolist(), 4 << SUBPIXEL_BITS, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _vehicle(picture: U8, corners: F64) -> None:
    cv2.fillConvexPoly(picture, _fixed(corners), LINE, cv2.LINE_AA, SUBPIXEL_BITS)
    _path(picture, np.vstack([corners, corners[:1]]), INK, 1)


def _speed_legend(picture: U8, left: int, top: int) -> None:
    for i in range(120):
        cv2.line(picture, (left + i, top), (left + i, top + 8), speed_colour(20.0 * i / 119))
    for text, x in (("0", left - 14), ("20 m/s", left + 126)):
        cv2.putText(picture, text, (x, top + 9), FONT, 0.42, INK, 1, cv2.LINE_AA)


def _path(picture: U8, points: F64, colour: Colour, thickness: int) -> None:
    cv2.polylines(
        picture, [_fixed(points)], isClosed=False, color=colour, thickness=thickness, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS
    )


def _fixed(pixels: F64) -> NDArray[np.int32]:
    """Pixels as the fixed-point integers OpenCV draws with, kept where 32 bits hold them."""
    return np.round(np.clip(pixels, -2e4, 2e4) * (1 << SUBPIXEL_BITS)).astype(np.int32)


def _fitted(image: U8, width: int, height: int) -> U8:
    """The image resized to fit a box, its proportions kept."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8)


def _width(text: str, scale: float) -> int:
    (width, _), _ = cv2.getTextSize(text, FONT, scale, 1)
    return int(width)
