"""Signs and traffic lights: what is beside the road to be read. They stand at the origin and face backwards, to who comes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alpamayo_ros.simulation.rendering.faces import (
    MATT,
    REFLECTS,
    SHINES,
    Faces,
    Tint,
    box,
    joined,
    plate,
    post,
    rectangle,
    regular,
)
from alpamayo_ros.simulation.scenario import LightColour, Sign
from alpamayo_ros.types import F64

POLE: Tint = (96, 98, 102)
HOUSING: Tint = (24, 26, 28)
LAMPS: dict[LightColour, tuple[Tint, Tint]] = {  # lit, dark; only the lit lamp is saturated
    "red": ((255, 16, 16), (58, 34, 34)),
    "yellow": ((255, 190, 0), (58, 52, 34)),
    "green": ((0, 248, 110), (34, 56, 44)),
}
LAMP_RADIUS_M = 0.45
LAMP_HEIGHTS_M: dict[LightColour, float] = {"green": 2.5, "yellow": 3.45, "red": 4.4}

RED: Tint = (204, 20, 28)
WHITE: Tint = (242, 242, 240)
YELLOW: Tint = (250, 204, 20)
ORANGE: Tint = (252, 128, 18)
GREEN: Tint = (0, 108, 66)
BLACK: Tint = (22, 22, 22)
SIGN_M = 2.35  # height of a sign's middle
_RADIUS_M = 0.62

_X = (-0.04, -0.05, -0.06, -0.07)  # layers of a sign, the last one nearest to who looks at it
_Uv = list[tuple[float, float]]
_STROKES = "abcdef bc abged abgcd fgbc afgcd afgedc abc abcdefg abcdfg afgcd abcdef abefg"  # of seven segments
_SEGMENTS = dict(zip("0123456789SOP", _STROKES.split(), strict=True))


def traffic_light(lit: LightColour) -> Faces:
    """Large, and low so that a narrow lens sees its lamps from near by."""
    pole = post(0.09, 0.0, 1.85, POLE)
    housing = box((-0.12, -0.78, 1.8), (0.2, 0.78, 5.1), HOUSING)
    rim = plate(rectangle(-0.7, 1.88, 0.7, 5.02), -0.125, 0.0, (40, 42, 46))
    return joined([pole, housing, rim, *(_lamp(colour, colour == lit) for colour in LAMPS)])


def _lamp(colour: LightColour, lit: bool) -> Faces:
    shade, finish = (LAMPS[colour][0], SHINES) if lit else (LAMPS[colour][1], MATT)
    return plate(regular(8, LAMP_RADIUS_M, np.pi / 8), -0.13, LAMP_HEIGHTS_M[colour], shade, finish)


def sign(of: Sign) -> Faces:
    """A sign on its post, with what it says."""
    return joined([post(0.04, 0.0, SIGN_M, POLE), _PLATES[of.kind](of)])


def _layer(uv: _Uv | F64, colour: Tint, layer: int, least_px: float = 0.1) -> Faces:
    return plate(uv, _X[layer], SIGN_M, colour, REFLECTS, least_px)


def _stop(_: Sign) -> Faces:
    white, red = (regular(8, radius, np.pi / 8) for radius in (_RADIUS_M, 0.92 * _RADIUS_M))
    return joined([_layer(white, WHITE, 0), _layer(red, RED, 1), *_written("STOP", 0.3, -0.15, WHITE)])


def _yield(_: Sign) -> Faces:
    red, white = (regular(3, radius, -np.pi / 2) for radius in (0.78, 0.46))
    return joined([_layer(red, RED, 0), _layer(white, WHITE, 1)])


def _diamond(colour: Tint) -> list[Faces]:
    black, inside = (regular(4, radius) for radius in (1.12 * _RADIUS_M, 1.02 * _RADIUS_M))
    return [_layer(black, BLACK, 0), _layer(inside, colour, 1)]


def _advisory_speed(of: Sign) -> Faces:
    speed = f"{(of.speed_mps or 0.0) * 3.6:.0f}"
    side = -1.0 if of.side == "left" else 1.0
    arrow: list[_Uv] = [
        [(-0.06 * side - 0.05, 0.1), (-0.06 * side + 0.05, 0.1), (-0.06 * side + 0.05, 0.26), (-0.06 * side - 0.05, 0.26)],
        _turned([(-0.08, 0.22), (0.1, 0.22), (0.1, 0.31), (-0.08, 0.31)], side),
        _turned([(0.1, 0.14), (0.26, 0.265), (0.1, 0.39)], side),
    ]
    return joined([*_diamond(YELLOW), *(_layer(uv, BLACK, 2, 0.5) for uv in arrow), *_written(speed, 0.34, -0.34, BLACK)])


def _roadworks(_: Sign) -> Faces:
    """A man who digs."""
    digging: list[_Uv] = [
        [(u - 0.06, v + 0.27) for u, v in regular(6, 0.08)],
        [(-0.16, -0.08), (0.02, -0.08), (0.06, 0.17), (-0.1, 0.19)],
        [(-0.26, -0.34), (-0.17, -0.34), (-0.04, -0.06), (-0.16, -0.06)],
        [(0.0, -0.34), (0.09, -0.34), (0.03, -0.06), (-0.09, -0.06)],
        [(-0.02, 0.12), (0.2, -0.02), (0.23, 0.03), (0.0, 0.18)],
        [(0.08, 0.06), (0.28, -0.26), (0.33, -0.23), (0.13, 0.1)],
        [(0.16, -0.34), (0.46, -0.34), (0.33, -0.2)],
    ]
    return joined([*_diamond(ORANGE), *(_layer(uv, BLACK, 2, 0.5) for uv in digging)])


def _merge(of: Sign) -> Faces:
    """A straight arrow that a lane from one side joins."""
    side = -1.0 if of.side == "left" else 1.0
    arrow: list[_Uv] = [
        [(-0.06, -0.38), (0.06, -0.38), (0.06, 0.2), (-0.06, 0.2)],
        [(-0.17, 0.18), (0.17, 0.18), (0.0, 0.42)],
        _turned([(0.26, -0.34), (0.37, -0.3), (0.06, 0.12), (0.0, 0.0)], side),
    ]
    return joined([*_diamond(YELLOW), *(_layer(uv, BLACK, 2, 0.5) for uv in arrow)])


def _exit(of: Sign) -> Faces:
    """A large green panel with an arrow to where the exit leaves."""
    side = -1.0 if of.side == "left" else 1.0
    arrow: list[_Uv] = [
        _turned([(-0.5, -0.42), (-0.38, -0.54), (0.3, 0.14), (0.18, 0.26)], side),
        _turned([(0.46, 0.42), (-0.04, 0.36), (0.4, -0.08)], side),
    ]
    panel = [_layer(rectangle(-1.0, -0.7, 1.0, 0.8), WHITE, 0), _layer(rectangle(-0.94, -0.64, 0.94, 0.74), GREEN, 1)]
    return joined([*panel, *(_layer(uv, WHITE, 2) for uv in arrow)])


_PLATES: dict[str, Callable[[Sign], Faces]] = {
    "stop": _stop,
    "yield": _yield,
    "advisory_speed": _advisory_speed,
    "roadworks": _roadworks,
    "merge": _merge,
    "exit": _exit,
}


def _turned(uv: _Uv, side: float) -> _Uv:
    """Mirrored to the left for side -1, still counter-clockwise."""
    return uv if side > 0 else [(-u, v) for u, v in reversed(uv)]


def _written(text: str, height_m: float, v: float, colour: Tint) -> list[Faces]:
    """Letters of seven segments, around u = 0."""
    width, gap = 0.56 * height_m, 0.2 * height_m
    first = -(len(text) * width + (len(text) - 1) * gap) / 2
    strokes = [uv for k, letter in enumerate(text) for uv in _letter(letter, first + k * (width + gap), v, width, height_m)]
    return [_layer(uv, colour, 3, 0.6) for uv in strokes]


def _letter(letter: str, u: float, v: float, width: float, height: float) -> list[_Uv]:
    t = 0.17 * height  # of a stroke
    if letter == "T":
        middle = u + width / 2
        return [rectangle(u, v + height - t, u + width, v + height), rectangle(middle - t / 2, v, middle + t / 2, v + height)]
    half, right, top = v + height / 2, u + width, v + height
    strokes = {
        "a": (u, top - t, right, top),
        "b": (right - t, half, right, top),
        "c": (right - t, v, right, half),
        "d": (u, v, right, v + t),
        "e": (u, v, u + t, half),
        "f": (u, half, u + t, top),
        "g": (u, half - t / 2, right, half + t / 2),
    }
    return [rectangle(*strokes[segment]) for segment in _SEGMENTS[letter]]
