from __future__ import annotations

from pathlib import Path

import pytest
from simulation.closed_loop.driven import ATTENTIVE, QUICK, bits, short, small_profile, told

from alpamayo_ros.simulation.closed_loop.suite import Driver, run_suite
from alpamayo_ros.types import InvalidInput


def test_two_workers_drive_as_one_does_and_a_dead_one_is_one_failed_drive(tmp_path: Path) -> None:
    driver = Driver(ATTENTIVE, profile=small_profile(tmp_path))
    scenarios = [short(seed=seed) for seed in range(2)]
    alone = list(run_suite(scenarios, driver, QUICK))
    dead, *together = run_suite([told("kill"), *scenarios], driver, QUICK, workers=2)
    assert [episode.scenario.seed for episode in alone] == [0, 1]
    assert bits(together) == bits(alone)
    assert dead.failure == "the process that drove it died"
    assert dead.policy == ATTENTIVE


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
