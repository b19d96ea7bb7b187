"""Sideways motion between two places across a road: a polynomial of the fifth degree, smooth in yaw and yaw rate."""

from __future__ import annotations

from dataclasses import dataclass

STEEPEST = 0.35  # m sideways per m ahead

_MIDDLE_RATE = 1.875  # of the polynomial from rest to rest over a unit


@dataclass(frozen=True)
class Swerve:
    """From one place across the road to another; its progress `u` runs from 0 to 1."""

    from_m: float  # left of the reference line
    to_m: float
    duration_s: float  # at speed; a slow vehicle takes longer, it cannot move sideways
    rate_m: float  # sideways per u, at its start

    def per_m(self, speed_mps: float) -> float:
        """How much of `u` is done per metre driven."""
        steepest = STEEPEST / (_MIDDLE_RATE * max(abs(self.to_m - self.from_m), 0.5))
        return min(1.0 / (self.duration_s * max(speed_mps, 0.1)), steepest)

    def left_m(self, u: float) -> float:
        """Place across the road."""
        a, b, c = self._powers
        return self.from_m + u * (self.rate_m + u**2 * (a + u * (b + u * c)))

    def slope(self, u: float, speed_mps: float) -> float:
        """Metres sideways per metre ahead."""
        a, b, c = self._powers
        return (self.rate_m + u**2 * (3 * a + u * (4 * b + u * 5 * c))) * self.per_m(speed_mps)

    @property
    def _powers(self) -> tuple[float, float, float]:
        """Coefficients of u^3, u^4, u^5: it ends at its place without slope and curvature, and starts without curvature."""
        way, rate = self.to_m - self.from_m - self.rate_m, self.rate_m
        return 10 * way + 4 * rate, -15 * way - 7 * rate, 6 * way + 3 * rate


def swerve(from_m: float, to_m: float, duration_s: float, slope: float, speed_mps: float) -> Swerve:
    """A swerve that begins with a slope, m sideways per m ahead."""
    level = Swerve(from_m, to_m, duration_s, 0.0)
    return Swerve(from_m, to_m, duration_s, slope / level.per_m(speed_mps))
