"""The thresholds of the checks: data with a unit and a source, none of it in code.

Sources: *ISO 11270* and *ISO 15622* as openpilot's safety code applies them; *nuPlan*, the comfort bounds that the released
reward uses; *planning_validator* and *trajectory_validator*, the values that Autoware ships; *R1*, the released action space;
*the incumbent*, the public Alpamayo node for Autoware; *ours*, chosen here and measured on human driving (docs/safety.md).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class Limit:
    """Above which absolute value a plan is worth a warning, and above which it is rejected; None: never."""

    warn: float | None
    reject: float | None
    unit: str
    source: str
    shadow: bool = False  # counted and shown; decides nothing
    ceiling: float | None = None  # no configuration may allow more

    def problem(self) -> str:
        """What is wrong with the numbers, "" when nothing is."""
        for name, value in (("warn", self.warn), ("reject", self.reject)):
            if value is not None and not (isfinite(value) and value >= 0):
                return f"{name} {value:g} {self.unit}: want a finite number >= 0"
        if self.warn is not None and self.reject is not None and self.warn > self.reject:
            return f"warn {self.warn:g} is beyond reject {self.reject:g} {self.unit}"
        if self.ceiling is not None and not (self.reject is not None and self.reject <= self.ceiling):
            return f"reject {self.reject} {self.unit}: want at most {self.ceiling:g}"
        return ""


@dataclass(frozen=True)
class Limits:
    """One limit per quantity, in the order of the checks; raises InvalidInput that names what makes no sense."""

    # V1. The matrix that places the plan in the odometry frame: largest |R R^T - 1| or |det R - 1|.
    rotation: Limit = Limit(None, 1e-3, "", "ours")
    # V3, V4. Where the plan begins, and how far it rolls backwards.
    first_point_m: Limit = Limit(0.5, 2.0, "m", "the incumbent")
    reverse_m: Limit = Limit(0.3, 2.0, "m", "ours; reject: the incumbent")
    # V5. The highest speed of the operating domain; the step from the measured speed is allowed to grow with it.
    speed_mps: Limit = Limit(None, 130 / 3.6, "m/s", "UN R157")
    speed_step_mps: Limit = Limit(1.0, 3.0, "m/s", "ours")
    speed_step_share: Limit = Limit(0.1, 0.2, "of the measured speed", "ours")
    # V6
    accel_mps2: Limit = Limit(2.0, 5.0, "m/s^2", "ISO 15622; reject: trajectory_validator", ceiling=9.8)
    decel_mps2: Limit = Limit(3.5, 6.0, "m/s^2", "ISO 15622; reject: ours", ceiling=9.8)
    # V7, V8, V9
    lat_accel_mps2: Limit = Limit(3.0, 4.9, "m/s^2", "ISO 11270; reject: nuPlan", ceiling=9.8)
    lat_jerk_mps3: Limit = Limit(5.0, 8.4, "m/s^3", "ISO 11270; reject: nuPlan")
    lon_jerk_mps3: Limit = Limit(4.13, 8.4, "m/s^3", "nuPlan")
    # V10
    curvature_1pm: Limit = Limit(0.2, 0.24, "1/m", "R1; reject: full lock, 0.6 rad at 2.85 m")
    steering_rad: Limit = Limit(0.55, 0.6, "rad", "ours, full lock")
    steering_rate_rps: Limit = Limit(0.5, 0.8, "rad/s", "ours, above human driving")
    # V11
    yaw_rate_rps: Limit = Limit(0.95, 1.4, "rad/s", "nuPlan; reject: ours")
    yaw_accel_rps2: Limit = Limit(1.93, 4.0, "rad/s^2", "nuPlan; reject: ours")
    # V12, V13. Between the published points and the actions rolled out again.
    heading_rad: Limit = Limit(0.2, 0.5, "rad", "ours")
    position_m: Limit = Limit(0.05, 0.5, "m", "ours")
    # V14. Between two plans in a row: near is the first second, far is 3 s ahead. Braking harder is never rejected.
    side_shift_near_m: Limit = Limit(0.3, 0.5, "m", "ours; reject: planning_validator")
    side_shift_far_m: Limit = Limit(1.5, 4.0, "m", "ours, more than one lane")
    ahead_shift_near_m: Limit = Limit(1.0, 3.0, "m", "planning_validator; reject: ours, -3.5 to 2.0 m/s^2 in 1 s")
    ahead_shift_far_m: Limit = Limit(25.0, None, "m", "ours, -3.5 to 2.0 m/s^2 in 3 s")
    # V15. What the plan is too short to stop in.
    too_short_m: Limit = Limit(0.0, None, "m", "planning_validator", shadow=True)
    # V16. Height above the ground at t0 over the way.
    slope: Limit = Limit(0.1, 0.3, "of the way", "ours")
    # V17, V18. What the model says about itself.
    spread_m: Limit = Limit(10.0, None, "m", "ours, not calibrated", shadow=True)
    unfinished: Limit = Limit(None, 0.0, "texts", "R1: no trajectory follows")
    contradiction: Limit = Limit(0.0, None, "traces", "Alpamayo-R1 paper, section 5", shadow=True)
    # Of the vehicle and of V15's stop.
    wheelbase_m: float = 2.85  # R1's vehicle; a measured one belongs into the file
    stop_decel_mps2: float = 3.0  # planning_validator
    stop_margin_m: float = 2.0  # planning_validator

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Limit):
                problem = value.problem()
            else:
                problem = "" if isfinite(value) and value > 0 else f"{value:g}: want a finite number > 0"
            if problem:
                raise InvalidInput(f"{field.name}: {problem}")


LIMITS = Limits()
"""The defaults: table B3 of the specification, calibrated on human driving."""
