"""Light and weather: what they make of a face's colour, from the sun to the eye."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.simulation.rendering.faces import FAR, GLOSSY, MARKING, MATT, REFLECTS, SHINES, Codes
from alpamayo_ros.simulation.scenario import Daylight, Look, Weather
from alpamayo_ros.types import F64

HAZE_M: dict[Weather, float] = {"clear": 300.0, "overcast": 240.0, "rain": 120.0, "fog": 55.0}
"""Distance at which 63 % of a colour is haze."""

_LAMP_REACH = 3.0  # lamps are seen through as many times more haze
_SUN_HEIGHT_RAD: dict[Daylight, float] = {"day": 0.85, "dusk": 0.16, "night": 0.5}
_SUN: dict[Daylight, tuple[float, float, float]] = {"day": (0.46, 0.44, 0.39), "dusk": (0.52, 0.30, 0.14), "night": (0.0,) * 3}
_SKYLIGHT: dict[Daylight, tuple[float, float, float]] = {
    "day": (0.65, 0.67, 0.70),
    "dusk": (0.40, 0.37, 0.44),
    "night": (0.20, 0.21, 0.26),
}
_CLEAR_SKY: dict[Daylight, tuple[tuple[int, int, int], tuple[int, int, int]]] = {  # at the horizon, above
    "day": ((208, 219, 229), (88, 138, 206)),
    "dusk": ((230, 172, 128), (74, 82, 128)),
    "night": ((38, 41, 54), (10, 12, 24)),
}
_CLOUDED_SKY: dict[Weather, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "overcast": ((208, 212, 216), (162, 170, 180)),
    "rain": ((164, 170, 176), (118, 126, 136)),
    "fog": ((202, 206, 208), (186, 191, 195)),
}
_CLOUDED_SKYLIGHT: dict[Weather, float] = {"overcast": 1.38, "rain": 1.14, "fog": 1.32}
_DIMMED: dict[Daylight, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "dusk": (0.62, 0.54, 0.58),
    "night": (0.18, 0.19, 0.24),
}
_BEAM: dict[Daylight, float] = {"day": 0.0, "dusk": 0.0, "night": 0.8}  # part of a colour that headlights near by show
_BEAM_COLOUR = np.array([1.0, 0.96, 0.88])
_CLOUDED_GREY = np.array([1.03, 1.0, 0.97])
_BEAM_M = 24.0  # farther from the lamps it is half as bright
_LAMPS_M = 3.8  # before the rear axle
_WET: dict[Weather, float] = {"clear": 0.0, "overcast": 0.0, "rain": 0.6, "fog": 0.0}


@dataclass(frozen=True)
class Light:
    """Sun, sky and air at one place and time."""

    horizon: F64  # (3,) RGB, also of the haze
    zenith: F64  # (3,)
    skylight: F64  # (3,) part of a colour that is seen without sun
    sun: F64  # (3,) and what the sun adds where it shines straight on
    to_sun: F64  # (3,) unit vector
    haze_m: float
    beam: F64  # (3,) what the ego's headlights add near by, in parts of the skylight
    wet: float  # 0 dry, 1 a mirror
    lamps_lit: bool

    @property
    def range_m(self) -> float:
        """Nothing farther is drawn."""
        return min(220.0, 4.5 * self.haze_m)

    def shaded(self, colours: F64, normals: F64, finish: Codes) -> F64:
        """Colours (N, 3) of faces with outward normals (N, 3) in the light of sun and sky, not yet in the haze."""
        facing = np.clip(normals @ self.to_sun, 0.0, 1.0) * 0.9 + 0.1 * np.clip(normals[:, 2], 0.0, 1.0)
        lit = colours * (self.skylight + self.sun * facing[:, None])
        return np.where((finish == SHINES)[:, None], colours, lit)

    def on_ground(self, colours: F64) -> F64:
        """Colours (N, 3) of level ground in the light of sun and sky, not yet in the haze."""
        return self.shaded(colours, np.tile((0.0, 0.0, 1.0), (len(colours), 1)), np.full(len(colours), MATT))

    def seen(self, colours: F64, finish: Codes, distance_m: F64, beam: F64 | None, thick_px: F64, asphalt: F64) -> F64:
        """Shaded colours (N, 3) at distances (N,) from the eye: under the beam (N,), wet, in the haze.

        Markings that are thinner than a pixel, `thick_px` (N,), fade into the `asphalt` (3,) that a pixel shows, too.
        """
        thin = np.where(finish == MARKING, np.minimum(thick_px, 1.0), 1.0)[:, None]
        colours = asphalt + (colours - asphalt) * thin
        shines = finish == SHINES
        if beam is not None:
            gain = np.where(shines | (finish == FAR), 0.0, np.where(finish == REFLECTS, 2.0, 1.0)) * beam
            colours = colours * (1.0 + gain[:, None] * self.beam)
        if self.wet:
            mirrored = np.where((finish == GLOSSY) | (finish == MARKING), self.wet, 0.0) * distance_m / (distance_m + 18.0)
            colours = colours + (self.horizon - colours) * mirrored[:, None]
        reach = np.where(shines, _LAMP_REACH * self.haze_m, np.where(finish == FAR, np.inf, self.haze_m))
        clear = np.exp(-distance_m / reach)[:, None]
        return np.minimum(self.horizon + (colours - self.horizon) * clear, 255.0)

    def beam_on(self, ahead_m: F64, left_m: F64) -> F64:
        """How much of the ego's headlights reaches places (N,) before its rear axle: 1 right in front."""
        away = np.maximum(ahead_m - _LAMPS_M, 0.0)
        aside = left_m / (3.5 + 0.35 * away)
        return np.clip(ahead_m, 0.0, 1.0) * np.exp(-(aside**2)) / (1.0 + (away / _BEAM_M) ** 2)

    def sky(self, upwards: F64) -> F64:
        """Colours (N, 3) of the sky where a ray rises by `upwards` (N,) of its length."""
        return self.horizon + (self.zenith - self.horizon) * np.sqrt(np.clip(upwards, 0.0, 0.6) / 0.6)[:, None]


def light_of(look: Look) -> Light:
    """The light of a scenario."""
    clear = look.weather == "clear"
    dimmed = np.array(_DIMMED[look.daylight])
    horizon, zenith = (np.array(c, np.float64) for c in (_CLEAR_SKY[look.daylight] if clear else _CLOUDED_SKY[look.weather]))
    skylight = np.array(_SKYLIGHT[look.daylight]) * (1.0 if clear else _CLOUDED_SKYLIGHT[look.weather] * _CLOUDED_GREY)
    height = _SUN_HEIGHT_RAD[look.daylight]
    yaw = look.sun_yaw_rad
    return Light(
        horizon=horizon if clear else horizon * dimmed,
        zenith=zenith if clear else zenith * dimmed,
        skylight=skylight,
        sun=np.array(_SUN[look.daylight]) * (1.0 if clear else 0.08),
        to_sun=np.array([np.cos(yaw) * np.cos(height), np.sin(yaw) * np.cos(height), np.sin(height)]),
        haze_m=HAZE_M[look.weather],
        beam=_BEAM[look.daylight] * _BEAM_COLOUR / skylight,
        wet=_WET[look.weather],
        lamps_lit=look.daylight != "day" or look.weather in ("rain", "fog"),
    )
