from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from simulation.closed_loop.driven import ATTENTIVE, QUICK, bits, short, small_profile, told

from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import AlwaysStop
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
from alpamayo_ros.simulation.closed_loop.suite import Driver, run_suite
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.types import InvalidInput


@pytest.mark.thorough
def test_two_workers_drive_as_one_does(tmp_path: Path) -> None:
    driver = Driver(ATTENTIVE, profile=small_profile(tmp_path))
    scenarios = [short(seed=seed) for seed in range(2)]
    alone, together = (list(run_suite(scenarios, driver, QUICK, workers)) for workers in (1, 2))
    assert [episode.scenario.seed for episode in alone] == [0, 1]
    assert bits(together) == bits(alone)


def test_a_process_that_dies_is_a_failed_drive(tmp_path: Path) -> None:
    driver = Driver(ATTENTIVE, profile=small_profile(tmp_path))
    (dead,) = run_suite([told("kill")], driver, QUICK, workers=2)
    assert dead.failure == "the process that drove it died"
    assert dead.policy == ATTENTIVE


def test_what_others_drove_when_a_process_died_is_driven_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[list[int]] = []

    def breaking(scenarios: Sequence[Scenario], driver: Driver, settings: LoopSettings, workers: int) -> Iterator[Episode]:
        """Scenario 2 takes the pool down, and with it the one that is driven beside it."""
        pools.append([scenario.seed for scenario in scenarios])
        for at, scenario in enumerate(scenarios):
            if 2 in [beside.seed for beside in scenarios[at : at + workers]]:
                raise BrokenProcessPool
            yield run_episode(scenario, AlwaysStop(), settings)

    monkeypatch.setattr("alpamayo_ros.simulation.closed_loop.suite._in_processes", breaking)
    episodes = list(run_suite([short(1.0, seed=seed) for seed in range(5)], Driver("always_stop"), QUICK, workers=2))
    assert [episode.scenario.seed for episode in episodes] == [0, 1, 2, 3, 4]
    assert [bool(episode.failure) for episode in episodes] == [False, False, True, False, False]
    assert pools == [[0, 1, 2, 3, 4], [1], [2, 3, 4], [2], [3, 4]]


def test_who_needs_no_engine_drives_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    expert, stop = (next(run_suite([short()], Driver(name), QUICK)) for name in ("expert", "always_stop"))
    assert (expert.policy, stop.policy) == ("expert", "always_stop")
    assert stop.egos[-1].speed_mps < expert.egos[-1].speed_mps
    assert capsys.readouterr().out == "", "progress is for stderr"


def test_a_suite_is_refused_before_anything_is_driven() -> None:
    with pytest.raises(InvalidInput, match="no engine 'nobody'"):
        run_suite([short()], Driver("nobody"), QUICK)
    with pytest.raises(InvalidInput, match="workers 0: want 1 or more"):
        run_suite([short()], Driver("expert"), QUICK, workers=0)
    with pytest.raises(InvalidInput, match="workers 2: want 1 or more, and 1 over DDS"):
        run_suite([short()], Driver("kinematic", over_ros=True), QUICK, workers=2)
    with pytest.raises(InvalidInput, match="expert has no engine that the planner node could run"):
        run_suite([short()], Driver("expert", over_ros=True), QUICK)
