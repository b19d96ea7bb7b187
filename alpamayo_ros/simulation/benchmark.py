"""`alpamayo bench simulate`: how fast the world turns with seven cameras, and how fast labelled samples are made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.simulation.suites import TRAINED, chosen

WANTED = 20_000  # samples that the time is told for


class _Watched(ExpertPolicy):
    """The expert, with pictures of all cameras at every step, which it does not need."""

    def __init__(self, cameras: SceneCameras) -> None:
        super().__init__()
        self._cameras = cameras
        self.picture_ms: list[float] = []
        self.steps = 0

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        super().begin(scenario)
        self._stage = Stage(scenario)

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        super().see(snapshot)
        began = time.process_time()
        pictures(self._stage, snapshot, self._cameras, tuple(self._cameras.lenses))
        self.picture_ms.append((time.process_time() - began) * 1e3)
        self.steps += 1


def bench_simulate(rig: Rig, profile: InputProfile, samples: int, workers: int, out: Path) -> dict[str, Any]:
    """Steps per second of one process with a picture of every camera at every step, and a data set of so many samples."""
    policy = _Watched(SceneCameras(rig, (profile.image_height, profile.image_width)))
    began, cpu = time.perf_counter(), time.process_time()
    for scene in chosen("smoke", ("town", "red_light", "on_ramp", "turn_left", "parked_cars")):
        run_episode(make_scenario(scene.family, scene.seed), policy)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    made = make_dataset(out, Recipe("train", rig, profile, TRAINED), samples, workers)
    rate = made["samples"] / made["seconds"]
    return {
        "steps": policy.steps,
        "steps_per_s": policy.steps / wall_s,
        "steps_per_cpu_s": policy.steps / cpu_s,
        "picture_ms_p50": float(np.median(policy.picture_ms)),
        "samples": made["samples"],
        "samples_per_s": rate,
        "minutes_for_20000": WANTED / rate / 60,
        "consistency": made["consistency"],
        "balanced": made["balanced"],
        "workers": workers,
    }
