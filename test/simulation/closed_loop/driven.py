"""Short drives for the tests of the closed loop: a policy that does what it is told, a small vehicle, episodes as bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from simulation.made import scenario

from alpamayo_ros import dynamics
from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Command, Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import HORIZON, Trajectory

ATTENTIVE = "simulation.closed_loop.attentive:Attentive"
"""Plans what everything that it is shown decides, or does what the navigation's road name says."""

QUICK = LoopSettings(warm_up_s=0.5, deadline_s=20.0)
"""The small profile looks 0.3 s back."""


def short(duration_s: float = 2.0, **changes: object) -> Scenario:
    """The empty street, for a moment."""
    return scenario(duration_s=duration_s, **changes)


def told(to_do: str, from_m: float = 0.0, duration_s: float = 2.0) -> Scenario:
    """A street on which navigation tells the puppet what to do, from somewhere on the way."""
    return short(duration_s, commands=(Command("continue", from_m, 300.0, road_name=to_do),))


def small_profile(folder: Path, **changes: Any) -> str:
    """One small camera and a short window, as a file."""
    described = read_profile("front_camera").model_dump(mode="json")
    described |= {"image_height": 48, "image_width": 80, "frame_offsets_ms": [-300, -100, 0], "history_steps": 4}
    described |= {"navigation": "text", **changes}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(described))
    return str(path)


def straight(accel_mps2: float, speed_mps: float = 8.0, curvature_1pm: float = 0.0) -> Trajectory:
    """A constant acceleration, from the speed at which the scenario starts."""
    return dynamics.trajectory(np.full(HORIZON, accel_mps2), np.full(HORIZON, curvature_1pm), speed_mps)


class Scripted:
    """A policy whose plan is a function of t0: a trajectory, or why there is none."""

    name = "scripted"
    senses = "the time"

    def __init__(self, script: Callable[[float], Trajectory | str]) -> None:
        self._script = script
        self.seen: list[Snapshot] = []

    def begin(self, of: Scenario) -> None:
        self.seen = []

    def see(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)

    def plan(self) -> Planned:
        now, said = self.seen[-1], self._script(self.seen[-1].t_s)
        return Planned(now.t_s, now.ego, None, refused=said) if isinstance(said, str) else Planned(now.t_s, now.ego, said)

    def close(self) -> None:
        pass


def bits(value: Any) -> Any:
    """Everything that a value is made of, so that two are equal when they are the same to the bit."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return tuple(bits(getattr(value, field.name)) for field in dataclasses.fields(value) if field.compare)
    if isinstance(value, Mapping):
        return {key: bits(held) for key, held in value.items()}
    return tuple(map(bits, value)) if isinstance(value, (tuple, list)) else value
