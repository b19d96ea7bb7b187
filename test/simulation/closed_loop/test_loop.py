from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from simulation.closed_loop.driven import QUICK, Scripted, bits, short, straight
from simulation.made import busy

from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import COMFORTABLE_BRAKE_MPS2, AlwaysStop, ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings, start_ns
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.expert.intention import Intention
from alpamayo_ros.simulation.scenario import Start
from alpamayo_ros.types import Decision, InvalidInput, Trajectory


def first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    return next(at for at, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1])


def test_the_expert_drives_until_the_policy_does() -> None:
    policy = Scripted(lambda _: straight(-3.0))
    episode, expert = run_episode(short(4.0), policy), run_episode(short(4.0), ExpertPolicy())
    assert [plan.t0_s for plan in episode.planned] == pytest.approx([2.0, 2.5, 3.0, 3.5])
    assert first_difference(bits(episode.egos), bits(expert.egos)) == 201, "the first hundredth of a second after 2 s"
    assert [seen.t_s for seen in policy.seen] == pytest.approx(np.arange(40) / 10), "who takes over must know the past"


@pytest.mark.parametrize("latency_s", [0.0, 0.1, 0.25, 0.5])
def test_a_plan_is_followed_exactly_its_latency_after_t0(latency_s: float) -> None:
    def brake(t0_s: float) -> Trajectory | str:
        return straight(-3.0) if t0_s < 0.6 else "one is enough"

    late = LoopSettings(warm_up_s=0.5, latency_s=latency_s, silence_s=5.0)
    never = LoopSettings(warm_up_s=0.5, latency_s=5.0, silence_s=5.0)
    episode, without = (run_episode(short(), Scripted(brake), settings) for settings in (late, never))
    assert first_difference(bits(episode.egos), bits(without.egos)) == round((0.5 + latency_s) * 100) + 1
    assert episode.latency_s == latency_s


@pytest.mark.parametrize("latency_s", [0.0, 0.5])
def test_the_time_of_a_plan_runs_from_its_t0_however_late_it_is_followed(latency_s: float) -> None:
    settings = LoopSettings(warm_up_s=0.5, latency_s=latency_s, silence_s=10.0)
    policy = Scripted(lambda t0_s: straight(0.0, 8.0) if t0_s < 0.6 else "one is enough")
    episode = run_episode(short(6.0), policy, settings)
    driven_m = np.linalg.norm(episode.egos[600].xy_m - episode.planned[0].ego.xy_m)
    assert driven_m == pytest.approx(8.0 * 5.5, abs=0.1), "a tenth of a second is 0.8 m"


def test_the_newest_plan_in_effect_is_followed() -> None:
    plans = {0.5: straight(-3.0), 1.0: straight(1.0)}
    first_only = Scripted(lambda t0_s: plans[0.5] if t0_s < 0.6 else "no more")
    both = Scripted(lambda t0_s: plans.get(round(t0_s, 1), "no more"))
    one, two = (run_episode(short(), policy, LoopSettings(warm_up_s=0.5, latency_s=0.3)) for policy in (first_only, both))
    assert first_difference(bits(one.egos), bits(two.egos)) == 131


def test_the_turn_indicator_is_the_plans() -> None:
    def indicated(of: Scripted) -> Scripted:
        plan = of.plan

        def changing_lane() -> Planned:
            planned = plan()
            assert planned.trajectory is not None
            intention = Intention(planned.trajectory, Decision(lateral="lane_change", direction="left"), (), "left")
            return replace(planned, intention=intention if planned.t0_s < 0.6 else None)

        of.plan = changing_lane  # type: ignore[method-assign]
        return of

    episode = run_episode(short(), indicated(Scripted(lambda _: straight(0.0))), LoopSettings(warm_up_s=0.5, latency_s=0.2))
    shown = [ego.indicator for ego in episode.egos]
    assert shown == ["off"] * 71 + ["left"] * 50 + ["off"] * 80


def test_a_refused_cycle_leaves_the_course_as_it_was() -> None:
    def some(t0_s: float) -> Trajectory | str:
        return "nothing to see" if 0.9 < t0_s < 1.1 else straight(-1.0, 8.0 - max(t0_s - 0.5, 0.0))

    episode = run_episode(short(), Scripted(some), QUICK)
    assert [plan.refused for plan in episode.planned] == ["", "nothing to see", ""]
    assert episode.planned[1].trajectory is None
    assert episode.failure == ""
    assert episode.egos[-1].speed_mps < 7.0, "the brake went on through the second cycle"


def test_who_is_silent_for_too_long_has_failed() -> None:
    episode = run_episode(short(5.0), Scripted(lambda t0_s: straight(0.0) if t0_s < 0.6 else "blind"), QUICK)
    assert episode.failure == "at 3.0 s: no plan for 2.5 s, limit 2; the last reason: blind"
    assert episode.snapshots[-1].t_s == pytest.approx(3.0)
    assert len(episode.egos) == 301


def test_who_misses_the_deadline_has_failed() -> None:
    def slow(_: float) -> Trajectory | str:
        time.sleep(0.06)
        return straight(0.0)

    episode = run_episode(short(), Scripted(slow), LoopSettings(warm_up_s=0.5, deadline_s=0.05))
    assert re.fullmatch(r"at 0.5 s: a plan took \d.\d s, the deadline is 0.05", episode.failure)


def test_an_incident_ends_the_drive() -> None:
    episode = run_episode(short(8.0), Scripted(lambda t0_s: straight(0.0, curvature_1pm=-0.05)), QUICK)
    assert episode.incident is not None
    assert episode.incident.kind == "offroad"
    assert episode.snapshots[-1].t_s == pytest.approx(episode.incident.t_s)
    assert len(episode.egos) == 10 * (len(episode.snapshots) - 1) + 1
    assert episode.failure == ""


def test_an_experts_drive_is_the_same_to_the_byte() -> None:
    once, again = (run_episode(replace(busy(), duration_s=6.0), ExpertPolicy()) for _ in range(2))
    assert bits(once) == bits(again)
    assert once.failure == ""
    assert [bits(snapshot.ego) for snapshot in once.snapshots] == [bits(ego) for ego in once.egos[::10]]


def test_a_policy_starts_every_drive_afresh() -> None:
    policy, scenario = ExpertPolicy(), replace(busy(), duration_s=3.0)
    run_episode(short(), policy, QUICK)
    assert bits(run_episode(scenario, policy, QUICK)) == bits(run_episode(scenario, ExpertPolicy(), QUICK))


def test_always_stop_brakes_comfortably_to_a_stand_and_stays() -> None:
    episode = run_episode(short(9.0), AlwaysStop(), QUICK)
    assert episode.egos[-1].speed_mps == 0.0
    assert min(ego.accel_mps2 for ego in episode.egos) > -1.3 * COMFORTABLE_BRAKE_MPS2
    assert all(bits(ego.xy_m) == bits(episode.egos[-1].xy_m) for ego in episode.egos[-200:])


def test_always_stop_stops_from_a_stand() -> None:
    episode = run_episode(short(1.5, start=Start(40.0, 0.0)), AlwaysStop(), QUICK)
    assert episode.failure == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plan_hz": 3.0}, "plan_hz 3.0: want 10 Hz divided by a whole number"),
        ({"plan_hz": 20.0}, "plan_hz 20.0"),
        ({"latency_s": 0.005}, "latency_s 0.005: want 0..5 s in steps of 0.01 s"),
        ({"latency_s": float("nan")}, "latency_s nan"),
        ({"warm_up_s": 0.0}, "warm_up_s 0.0: want 0.1..60 s in steps of 0.1 s"),
        ({"deadline_s": 0.0}, "deadline_s and silence_s above 0"),
    ],
)
def test_settings_that_the_worlds_ticks_cannot_serve_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        LoopSettings(**changes)


def test_two_scenarios_have_times_of_their_own() -> None:
    starts = {start_ns(short(seed=seed)) for seed in range(100)}
    assert len(starts) == 100
    assert max(starts) < 2**31 * 1_000_000_000 - 3600 * 1_000_000_000, "a stamp has 31 bits of seconds"
