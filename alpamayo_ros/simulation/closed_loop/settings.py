"""When things happen in a closed loop: ticks of 0.1 s, and what of them is planned at."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.contract import Timing, timing
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.types import STEP_S, InvalidInput

TICK_NS = round(STEP_S * 1e9)
_EPOCH_S, _SLOT_S, _SLOTS = 1_700_000_000, 1000, 400_000  # all slots end before 2038


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-9


@dataclass(frozen=True)
class LoopSettings:
    """How a policy is run. Raises InvalidInput for what the world's ticks cannot serve.

    The expert drives the warm-up, as AlpaSim forces the recorded motion for its first 1.7 s: what a policy is shown of the
    past is then a past that it could have had, and the same for all.
    """

    plan_hz: float = 2.0
    latency_s: float = 0.0  # from t0 until its plan is followed, in simulated time
    warm_up_s: float = 2.0
    deadline_s: float = 30.0  # of one planning step, wall clock
    silence_s: float = 2.0  # longest time from one plan to the next, simulated: then an engine's vehicle stops

    def __post_init__(self) -> None:
        if not (0 < self.plan_hz <= 10 and _is_whole(10 / self.plan_hz)):
            raise InvalidInput(f"plan_hz {self.plan_hz}: want 10 Hz divided by a whole number, for the world's steps of 0.1 s")
        if not (0 <= self.latency_s <= 5 and _is_whole(self.latency_s * 100)):
            raise InvalidInput(f"latency_s {self.latency_s}: want 0..5 s in steps of 0.01 s")
        if not (0.1 <= self.warm_up_s <= 60 and _is_whole(self.warm_up_s * 10)):
            raise InvalidInput(f"warm_up_s {self.warm_up_s}: want 0.1..60 s in steps of 0.1 s")
        if not (0 < self.deadline_s <= 3600 and 0 < self.silence_s <= 3600):
            raise InvalidInput(
                f"want deadline_s and silence_s above 0 and up to 3600, got {self.deadline_s} and {self.silence_s}"
            )

    @property
    def period_ticks(self) -> int:
        """From one t0 to the next."""
        return round(10 / self.plan_hz)

    @property
    def warm_up_ticks(self) -> int:
        """The first t0 of the policy."""
        return round(self.warm_up_s * 10)

    def plans_at(self, tick: int) -> bool:
        """Whether a tick is a t0 of the policy."""
        return tick >= self.warm_up_ticks and (tick - self.warm_up_ticks) % self.period_ticks == 0


DEFAULTS = LoopSettings()


def timing_of(rig: Rig, settings: LoopSettings) -> Timing:
    """What the supervisor of an engine goes by, for the rig as the world has it: it stops within `silence_s`."""
    camera_ns, odometry_ns = rig.cameras[rig.anchor].period_ns, round(1e9 / rig.odometry.rate_hz)
    derived = timing(camera_ns, odometry_ns, settings.plan_hz)
    return replace(derived, stop_after_ns=min(derived.stop_after_ns, round(settings.silence_s * 1e9)))


def tick_of(t_s: float) -> int:
    """Ticks since the start of the world."""
    return round(t_s / STEP_S)


def start_ns(scenario: Scenario) -> int:
    """Stamp of t = 0, from the scenario alone: a plan's seed depends on its t0, and must not on what was driven before."""
    slot = zlib.crc32(f"{scenario.family} {scenario.seed}".encode()) % _SLOTS
    return (_EPOCH_S + _SLOT_S * slot) * 1_000_000_000
