"""What rolls: cars, trucks, motorcycles and bicycles as faces around the centre of their footprint."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.simulation.rendering.faces import (
    BRAKE,
    DETAIL_PX,
    GLOSSY,
    HEAD,
    LACQUER,
    LEFT,
    RIGHT,
    Faces,
    Tint,
    box,
    flank,
    hull,
    joined,
    plate,
    rectangle,
    regular,
)

GLASS: Tint = (40, 50, 62)
TYRE: Tint = (26, 26, 28)
RIM: Tint = (128, 130, 134)
LEATHER: Tint = (50, 52, 60)
GAP: Tint = (20, 20, 22)
CHROME: Tint = (196, 198, 202)
NUMBER_PLATE: Tint = (226, 226, 216)
FULL: Tint = (1, 1, 1)  # of a face whose colour comes from the body's state


def wheels(along_m: float, radius_m: float, half_width_m: float, rim: Tint = RIM) -> Faces:
    """A wheel on either side of a thing, seen from outside."""
    x, z = along_m + regular(8, radius_m, np.pi / 8)[:, 0], radius_m + regular(8, radius_m, np.pi / 8)[:, 1]
    hub_x, hub_z = along_m + regular(6, 0.58 * radius_m)[:, 0], radius_m + regular(6, 0.58 * radius_m)[:, 1]
    tyre = flank(list(zip(x, z, np.full(8, half_width_m), strict=True)), TYRE)
    return joined([tyre, flank(list(zip(hub_x, hub_z, np.full(6, half_width_m), strict=True)), rim, least_px=DETAIL_PX)])


def pair(u0: float, v0: float, u1: float, v1: float, x: float, colour: Tint, finish: int, ahead: bool = False) -> Faces:
    """A rectangle and its mirror image at the two sides of a back or a front."""
    rectangles = (rectangle(u0, v0, u1, v1), rectangle(-u1, v0, -u0, v1))
    return joined([plate(uv, x, 0.0, colour, finish, ahead=ahead) for uv in rectangles])


def indicators(u0: float, v0: float, u1: float, v1: float, x: float, ahead: bool = False) -> Faces:
    """Both indicators of a back, or of a front, where right and left change places."""
    codes = (LEFT, RIGHT) if ahead else (RIGHT, LEFT)
    uv = (rectangle(u0, v0, u1, v1), rectangle(-u1, v0, -u0, v1))
    return joined([plate(where, x, 0.0, FULL, code, ahead=ahead) for where, code in zip(uv, codes, strict=True)])


def car() -> Faces:
    """A saloon of 4.8 x 1.84 x 1.47 m."""
    w, roof = 0.92, 0.64
    profile = [
        (2.38, 0.2, 0.86), (2.40, 0.66, 0.88), (1.10, 0.93, w), (0.30, 1.44, roof),
        (-1.20, 1.47, roof), (-1.95, 1.00, 0.88), (-2.38, 0.95, 0.88), (-2.40, 0.22, 0.86),
    ]  # fmt: skip
    finishes = [LACQUER, LACQUER, GLOSSY, LACQUER, GLOSSY, LACQUER, LACQUER]
    body = hull(profile, [GLASS if finish == GLOSSY else FULL for finish in finishes], finishes)
    sides = [
        flank([(-2.4, 0.22, 0.87), (1.1, 0.2, w), (1.1, 0.93, w), (-1.95, 1.0, w), (-2.38, 0.95, 0.88)], FULL, LACQUER),
        flank([(1.1, 0.2, w), (2.38, 0.2, 0.87), (2.4, 0.66, 0.88), (1.1, 0.93, w)], FULL, LACQUER),
        flank([(-1.95, 1.0, 0.88), (1.1, 0.93, w), (0.3, 1.44, roof), (-1.2, 1.47, roof)], FULL, LACQUER),
        flank([(-1.6, 1.02, 0.89), (0.85, 0.98, 0.9), (0.26, 1.39, 0.67), (-1.1, 1.41, 0.67)], GLASS, GLOSSY, DETAIL_PX),
    ]
    back = [
        pair(0.42, 0.66, 0.86, 0.9, -2.41, FULL, BRAKE),
        indicators(0.6, 0.5, 0.86, 0.64, -2.41),
        plate(rectangle(-0.26, 0.56, 0.26, 0.72), -2.41, 0.0, NUMBER_PLATE, least_px=DETAIL_PX),
        plate(rectangle(-0.58, 0.26, 0.58, 0.38), -2.41, 0.0, GAP, least_px=DETAIL_PX),
        plate(rectangle(-0.34, 1.3, 0.34, 1.38), -1.62, 0.0, FULL, BRAKE),
    ]
    front = [
        pair(0.44, 0.52, 0.84, 0.68, 2.41, FULL, HEAD, ahead=True),
        indicators(0.66, 0.4, 0.86, 0.5, 2.41, ahead=True),
        plate(rectangle(-0.4, 0.46, 0.4, 0.64), 2.41, 0.0, GAP, least_px=DETAIL_PX, ahead=True),
        plate(rectangle(-0.26, 0.3, 0.26, 0.42), 2.41, 0.0, NUMBER_PLATE, least_px=DETAIL_PX, ahead=True),
    ]
    floor = box((-2.2, -0.84, 0.0), (2.2, 0.84, 0.27), GAP)
    return joined([floor, body, *sides, wheels(1.42, 0.34, 0.925), wheels(-1.4, 0.34, 0.925), *back, *front])


def truck() -> tuple[Faces, Faces]:
    """A box truck of 8.5 x 2.5 x 3.2 m: its box and its cab."""
    w = 1.25
    load = joined(
        [
            box((-4.1, -1.1, 0.4), (1.9, 1.1, 1.0), GAP),
            box((-4.24, -w, 0.95), (1.9, w, 3.2), FULL, LACQUER),
            flank([(x, z, 1.255) for x, z in rectangle(-4.2, 0.95, 1.9, 1.12)], CHROME, least_px=DETAIL_PX),
            wheels(-2.9, 0.5, 1.24), wheels(-1.75, 0.5, 1.24),
            plate(rectangle(-0.02, 1.0, 0.02, 3.15), -4.25, 0.0, GAP, least_px=0.6),
            plate(rectangle(-1.15, 0.42, 1.15, 0.72), -4.25, 0.0, GAP),
            pair(0.62, 0.66, 1.2, 0.94, -4.25, FULL, BRAKE),
            indicators(0.82, 0.44, 1.2, 0.64, -4.25),
            plate(rectangle(-0.26, 0.5, 0.26, 0.66), -4.25, 0.0, NUMBER_PLATE, least_px=DETAIL_PX),
        ]
    )  # fmt: skip
    profile = [(4.24, 0.4, 1.2), (4.25, 1.35, 1.22), (4.0, 2.45, 1.15), (3.7, 2.75, 1.12), (2.05, 2.8, 1.12), (2.0, 0.5, 1.2)]
    cab = joined(
        [
            box((2.1, -1.1, 0.25), (4.2, 1.1, 0.5), GAP),
            hull(profile, [FULL, GLASS, FULL, FULL, FULL], [LACQUER, GLOSSY, LACQUER, LACQUER, LACQUER]),
            flank(profile, FULL, LACQUER),
            flank([(2.75, 1.5, 1.21), (4.05, 1.5, 1.21), (3.85, 2.35, 1.16), (2.75, 2.35, 1.16)], GLASS, GLOSSY, DETAIL_PX),
            wheels(3.2, 0.5, 1.24),
            pair(0.7, 0.6, 1.12, 0.86, 4.26, FULL, HEAD, ahead=True),
            indicators(0.9, 0.88, 1.15, 1.0, 4.26, ahead=True),
            plate(rectangle(-0.6, 0.55, 0.6, 0.95), 4.26, 0.0, GAP, least_px=DETAIL_PX, ahead=True),
        ]
    )
    return load, cab


def two_wheels(radius_m: float, along_m: float, half_width_m: float, rim: Tint) -> Faces:
    """The wheels of a motorcycle or bicycle, which are seen edge on from behind."""
    tread = [
        box((x - 0.5 * radius_m, -half_width_m, 0.02), (x + 0.5 * radius_m, half_width_m, 1.9 * radius_m), TYRE)
        for x in (-along_m, along_m)
    ]
    return joined([*tread, *(wheels(x, radius_m, half_width_m, rim) for x in (-along_m, along_m))])


def motorcycle() -> tuple[Faces, ...]:
    """A motorcycle of 2.2 x 0.8 x 1.5 m: the machine, its rider's legs, trunk and helmet."""
    machine = joined(
        [
            two_wheels(0.32, 0.76, 0.07, GAP),
            box((-0.9, -0.12, 0.62), (-0.1, 0.12, 0.8), GAP),
            box((-0.15, -0.16, 0.35), (0.6, 0.16, 0.92), FULL, LACQUER),
            box((0.5, -0.38, 0.98), (0.62, 0.38, 1.05), GAP),
            plate(rectangle(-0.2, 0.64, 0.2, 0.82), -0.91, 0.0, FULL, BRAKE),
            indicators(0.22, 0.66, 0.36, 0.8, -0.91),
            plate(rectangle(-0.12, 0.7, 0.12, 0.92), 0.66, 0.0, FULL, HEAD, ahead=True),
        ]
    )
    legs = joined([box((-0.3, y - 0.09, 0.35), (0.22, y + 0.09, 0.8), LEATHER) for y in (0.2, -0.2)])
    trunk = joined([box((-0.35, -0.22, 0.78), (0.0, 0.22, 1.24), LEATHER), box((-0.1, -0.3, 1.02), (0.5, 0.3, 1.12), LEATHER)])
    helmet = box((-0.2, -0.13, 1.24), (0.1, 0.13, 1.5), FULL, LACQUER)
    return machine, legs, trunk, helmet


def bicycle() -> Faces:
    """A bicycle of 1.8 m; its frame is seen from both sides."""
    tube: Tint = (52, 54, 60)
    bars = [
        [(-0.56, 0.33), (-0.5, 0.3), (-0.14, 0.8), (-0.2, 0.83)],
        [(0.0, 0.3), (0.06, 0.28), (-0.12, 0.92), (-0.2, 0.9)],
        [(0.0, 0.28), (0.06, 0.26), (0.46, 0.84), (0.4, 0.88)],
        [(-0.18, 0.82), (-0.16, 0.76), (0.44, 0.8), (0.44, 0.86)],
        [(0.52, 0.33), (0.58, 0.33), (0.46, 1.04), (0.4, 1.04)],
    ]
    frame = [flank([(x, z, 0.02) for x, z in bar], tube, least_px=0.5) for bar in bars]
    handlebar = box((0.38, -0.26, 1.0), (0.44, 0.26, 1.05), tube)
    tail = plate(rectangle(-0.05, 0.62, 0.05, 0.72), -0.42, 0.0, (170, 30, 30))
    return joined([two_wheels(0.34, 0.55, 0.03, (150, 152, 156)), *frame, handlebar, tail])
