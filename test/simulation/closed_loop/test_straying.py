"""Drives that leave the expert's way once: they come back, and only honest windows become samples."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.straying import (
    LASTS_S,
    SIDEWAYS_MPS2,
    Straying,
    StrayingExpert,
    straying_of,
)
from alpamayo_ros.simulation.data.samples import samples_of
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.types import HORIZON, STEP_S

DURATION_S = 16.0
SCENARIO = make_scenario("free_road", 3, DURATION_S)


@pytest.fixture(scope="module")
def strayed() -> Episode:
    return run_episode(SCENARIO, StrayingExpert())


@pytest.fixture(scope="module")
def held() -> Episode:
    return run_episode(SCENARIO, ExpertPolicy())


def apart_m(one: Episode, other: Episode, t_s: float) -> float:
    ego, there = (episode.egos[round(100 * t_s)] for episode in (one, other))
    left = np.array([-np.sin(ego.yaw_rad), np.cos(ego.yaw_rad)])
    return float(abs(left @ (there.xy_m - ego.xy_m)))


def test_it_leaves_the_way_once_and_comes_back(strayed: Episode, held: Episode) -> None:
    begins_s = straying_of(SCENARIO).begins_s
    cycles = [planned.t0_s for planned in strayed.planned if planned.has_strayed]
    assert all(begins_s <= t_s < begins_s + LASTS_S for t_s in cycles)
    assert all(round(after - before, 3) == 0.5 for before, after in pairwise(cycles)), "once"
    assert strayed.incident is None
    assert apart_m(held, strayed, begins_s) < 0.01
    assert apart_m(held, strayed, begins_s + 1.5) > 0.1
    assert apart_m(held, strayed, begins_s + 8.0) < 0.05
    assert not any(planned.has_strayed for planned in held.planned)


def test_what_the_expert_intended_meanwhile_is_its_own(strayed: Episode) -> None:
    for planned in (each for each in strayed.planned if each.has_strayed):
        assert planned.intention is not None
        assert planned.trajectory is not None
        assert abs(planned.trajectory.curvature_1pm - planned.intention.trajectory.curvature_1pm).max() > 1e-4


def test_where_it_strays_the_intended_way_is_the_sample_and_never_one_that_it_left(strayed: Episode, held: Episode) -> None:
    profile = read_profile("ar1_nano").model_copy(update={"image_height": 32, "image_width": 48})
    scene = samples_of(strayed, small_rig_of(160, 96), profile).scene
    intended = {planned.t0_s: planned.intention for planned in strayed.planned if planned.has_strayed}
    assert {label.t0_s for label in scene.labels if label.t0_s <= max(intended)} == set(intended), "too early for one before"
    for window, label in zip(scene.windows, scene.labels, strict=True):
        assert (window.intended is not None) == (label.t0_s in intended)
        if (wanted := intended.get(label.t0_s)) is not None:
            assert label.trajectory.xyz.tobytes() == wanted.trajectory.xyz.tobytes()
            assert label.surprise_m == 0.0
    all_of_them = [planned for planned in held.planned if 2.0 <= planned.t0_s < DURATION_S - HORIZON * STEP_S]
    followed = [label for label in scene.labels if label.t0_s not in intended]
    lost = scene.dropped["strayed"] + scene.dropped.get("surprise", 0)
    assert lost + len(intended) + len(followed) == len(all_of_them)
    assert scene.dropped["strayed"] > 0


def drawn() -> Iterator[Straying]:
    return (straying_of(make_scenario("free_road", seed, DURATION_S)) for seed in range(1, 60))


def test_it_strays_to_both_sides_and_the_same_every_time() -> None:
    turns = [each.turns_rad for each in drawn()]
    assert turns == [each.turns_rad for each in drawn()]
    assert 15 < sum(turn > 0 for turn in turns) < 45
    assert len({each.begins_s for each in drawn()}) > 50


@pytest.mark.parametrize("speed_mps", [2.0, 10.0, 35.0])
def test_it_is_never_thrown_sideways(held: Episode, speed_mps: float) -> None:
    wanted = held.planned[0].trajectory
    assert wanted is not None
    bent = Straying(3.0, 0.15, 0.0).bent(wanted, speed_mps)
    more_1pm = bent.curvature_1pm - wanted.curvature_1pm
    assert 0 < more_1pm.max() * speed_mps**2 <= SIDEWAYS_MPS2 + 1e-9
