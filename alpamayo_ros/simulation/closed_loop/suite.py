"""Many scenarios, one driver: in the order given, in as many processes as asked for, with the same episodes either way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process

from rich.console import Console
from rich.progress import track

from alpamayo_ros.engine.loading import bundle_action_space, bundle_name, bundle_profile
from alpamayo_ros.evaluation.replay import DEFAULT
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.closed_loop.engines import EnginePolicy
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import AlwaysStop, ExpertPolicy, Policy
from alpamayo_ros.simulation.closed_loop.sensors import Sensors
from alpamayo_ros.simulation.closed_loop.settings import DEFAULTS, LoopSettings
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.world.world import World
from alpamayo_ros.types import InvalidInput, Request

WITHOUT_ENGINE: dict[str, type[ExpertPolicy | AlwaysStop]] = {"expert": ExpertPolicy, "always_stop": AlwaysStop}


@dataclass(frozen=True)
class Driver:
    """Who drives, by name: "expert", "always_stop", or an engine as everywhere, with the rig and profile that it sees by."""

    bundle: str
    rig: str = "seven_camera"  # a name or a file
    profile: str = "seven_camera"  # of an engine that has none of its own
    over_ros: bool = False  # the real planner node, over DDS
    request: Request = DEFAULT

    @property
    def name(self) -> str:
        """What tables call it. Raises InvalidInput for nobody."""
        return self.bundle if self.bundle in WITHOUT_ENGINE else bundle_name(self.bundle)

    def check(self, settings: LoopSettings) -> None:
        """Raise InvalidInput for a driver that cannot drive here; no engine is opened for it."""
        if self.bundle not in WITHOUT_ENGINE:
            Sensors(bundle_profile(self.bundle, self.profile), read_rig(self.rig), settings)
            bundle_action_space(self.bundle)
        elif self.over_ros:
            raise InvalidInput(f"{self.bundle} has no engine that the planner node could run")


def open_policy(driver: Driver, settings: LoopSettings = DEFAULTS) -> Policy:
    """The policy of a driver, to be closed. Raises InvalidInput for one that cannot drive here."""
    driver.check(settings)
    if driver.bundle in WITHOUT_ENGINE:
        return WITHOUT_ENGINE[driver.bundle]()
    rig = read_rig(driver.rig)
    if driver.over_ros:
        from alpamayo_ros.simulation.closed_loop.over_ros import NodePolicy  # the only one that needs ROS

        return NodePolicy(driver.bundle, rig, driver.profile, settings, driver.request)
    return EnginePolicy(driver.bundle, rig, driver.profile, settings, driver.request)


def run_suite(
    scenarios: Sequence[Scenario], driver: Driver, settings: LoopSettings = DEFAULTS, workers: int = 1
) -> Iterator[Episode]:
    """An episode of every scenario, in their order, with a progress bar on stderr. Over DDS there is one planner node.

    Raises InvalidInput, before anything is driven, for a driver that cannot drive here.
    """
    if workers < 1 or (driver.over_ros and workers > 1):
        raise InvalidInput(f"workers {workers}: want 1 or more, and 1 over DDS, where there is one planner node")
    driver.check(settings)
    episodes = _one_by_one(scenarios, driver, settings) if workers == 1 else _apart(scenarios, driver, settings, workers)
    return iter(track(episodes, driver.name, total=len(scenarios), console=Console(stderr=True), transient=True))


def _one_by_one(scenarios: Sequence[Scenario], driver: Driver, settings: LoopSettings) -> Iterator[Episode]:
    with closing(open_policy(driver, settings)) as policy:
        for scenario in scenarios:
            yield run_episode(scenario, policy, settings)


def _apart(scenarios: Sequence[Scenario], driver: Driver, settings: LoopSettings, workers: int) -> Iterator[Episode]:
    """In processes. One that dies takes with it what the others were at: the first of those is driven again alone."""
    left = list(scenarios)
    while left:
        at_once = min(workers, len(left))
        try:
            for episode in _in_processes(tuple(left), driver, settings, at_once):
                yield episode
                left.pop(0)
        except BrokenProcessPool:
            scenario = left.pop(0)
            yield from [_dead(scenario, driver)] if at_once == 1 else _apart([scenario], driver, settings, 1)


def _dead(scenario: Scenario, driver: Driver) -> Episode:
    start = World(scenario).now
    return Episode(scenario, driver.name, (start,), (start.ego,), (), failure="the process that drove it died")


def _in_processes(scenarios: Sequence[Scenario], driver: Driver, settings: LoopSettings, workers: int) -> Iterator[Episode]:
    with ProcessPoolExecutor(workers, get_context("spawn"), _Worker.start, (driver, settings)) as pool:
        yield from pool.map(_Worker.drive, scenarios)


class _Worker:
    """What a process of the pool has: its settings from the start on, its policy from the first drive on."""

    driver: Driver
    settings: LoopSettings
    policy: Policy | None = None

    @classmethod
    def start(cls, driver: Driver, settings: LoopSettings) -> None:
        """Nothing that may fail: what an initializer raises is lost. A killed parent takes its workers with it."""
        cls.driver, cls.settings = driver, settings
        threading.Thread(target=_end_with_parent, daemon=True).start()

    @classmethod
    def drive(cls, scenario: Scenario) -> Episode:
        """One after the other. Raises InvalidInput for a bundle that does not open."""
        if cls.policy is None:
            cls.policy = open_policy(cls.driver, cls.settings)
        return run_episode(scenario, cls.policy, cls.settings)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # the main thread waits for work that never comes
