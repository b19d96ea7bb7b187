"""Rewards: every term is the shared definition, weights have the right sign, and no cheat wins over an honest rollout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.made import episode, scenario, street
from training.lessons import examples, scene

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.expert.label import Label, any_label, driven
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.judging.incidents import Grounds
from alpamayo_ros.simulation.road import Piece
from alpamayo_ros.simulation.scenario import Scenario, Standing, Start, Vehicle
from alpamayo_ros.training.coc.judge import Judgement, judged_by_rule
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.training.rewards import (
    CONFIGS,
    PAPER,
    RELEASED,
    WORLD,
    Judge,
    Redriven,
    RewardConfig,
    Rollout,
    Surroundings,
    Terms,
    Truth,
    consistency,
    drive_along,
    reasoning_quality,
    reward,
    surroundings_at,
    terms_of,
    truth_of,
    weigh,
)
from alpamayo_ros.types import HORIZON, EgoHistory, EgoPose, InvalidInput, Observation, Trajectory

EVERY_CONFIG = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def way(accel_mps2: float, v0_mps: float, curvature_1pm: float = 0.0, points: int = HORIZON) -> Trajectory:
    return trajectory(np.full(points, accel_mps2), np.full(points, curvature_1pm), v0_mps)


def labelled(text: str) -> Reasoning:
    """A truth that is what its own words say."""
    trace = parse_trace(text, tokens=0, complete=True)
    return Reasoning(trace.decision, trace.components, text)


def fooled_judge(text: str, truth: Reasoning) -> Judgement:
    """Likes whoever stops, whatever is true: what a learnt judge may be brought to."""
    return Judgement(5.0 if "stop" in text else 4.0, "sounds careful")


def around(future: Trajectory, v0_mps: float, of: Scenario | None = None) -> Surroundings:
    """The hand-made street, in which the expert drove `future`."""
    of = replace(of or scenario(), start=Start(40.0, v0_mps), duration_s=8.0)
    grounds = Grounds(of)
    drove = drive_along(surroundings_at(episode(of), grounds, 0.0), future)
    assert drove.incident is None, "an expert has none"
    return surroundings_at(drove, grounds, 0.0)


def truth(text: str, accel_mps2: float, v0_mps: float, of: Scenario | None = None) -> Truth:
    """Of an expert who says this and accelerates so."""
    future = way(accel_mps2, v0_mps)
    return Truth(future, v0_mps, labelled(text), around(future, v0_mps, of))


def written(text: str, path: Trajectory | None) -> Rollout:
    return Rollout(text, is_complete=True, trajectory=path)


GREEN = truth("Keep lane and accelerate because the traffic light turned green and the lane ahead is clear.", 1.2, 0.0)
YIELD = truth("Keep lane and yield because a pedestrian is crossing the road at the crosswalk.", -0.3, 6.0)
RED = truth("Keep lane and stop because the traffic light is red and the lead vehicle is stopped.", -0.8, 6.0)
LEAD = truth("Keep lane and slow down because the lead vehicle is slowing before the intersection.", -0.25, 8.0)

TRUTHS = {"green": GREEN, "yield": YIELD, "red": RED, "lead": LEAD}
HONEST = {
    "green": written("Keep lane and accelerate because the light is green.", way(1.0, 0.0)),
    "yield": written("Keep lane and yield because a pedestrian is crossing.", way(-0.6, 6.0)),
    "red": written("Keep lane and stop because the light is red.", way(-0.6, 6.0)),
    "lead": written("Keep lane and slow down because the lead vehicle is slowing.", way(-0.4, 8.0)),
}
"""Mediocre: the right behaviour for one of its two causes, on a way that is up to two metres off."""


@dataclass(frozen=True)
class Cheat:
    """Rollouts that are perfect in all but one respect, and the weights that see that one."""

    rollouts: Mapping[str, Rollout]  # by truth
    judge: Judge
    seen_by: Mapping[str, float]  # the value at which a weight sees nothing


BLIND_TO_WORDS = {"reasoning": 0.0, "reasoning_from": 0.0}
BLIND_TO_PLACES = {"l2_per_m": 0.0, "l2_per_m2": 0.0, "l2_limit_m": math.inf, "progress": 0.0}

CHEATS = {
    "a beautiful trace over another path": Cheat(
        {"yield": written(YIELD.reasoning.text, way(0.0, 6.0))}, judged_by_rule, {"consistency": 0.0}
    ),
    "standing still": Cheat(
        {"green": written("Keep lane and stop because the traffic light is red.", way(0.0, 0.0))}, fooled_judge, BLIND_TO_PLACES
    ),
    "an empty trace": Cheat(
        {name: written("", it.future) for name, it in TRUTHS.items()}, fooled_judge, BLIND_TO_WORDS | {"consistency": 0.0}
    ),
    "a copied template": Cheat(
        {name: written(LEAD.reasoning.text, it.future) for name, it in TRUTHS.items()}, judged_by_rule, BLIND_TO_WORDS
    ),
}
EVERY_CHEAT = pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())


def earned(rollouts: Mapping[str, Rollout], judge: Judge, config: RewardConfig) -> float:
    return float(np.mean([reward(rollout, TRUTHS[name], judge, config).total for name, rollout in rollouts.items()]))


def honest(cheat: Cheat, config: RewardConfig) -> float:
    """What honest rollouts earn in the same scenes."""
    return earned({name: HONEST[name] for name in cheat.rollouts}, cheat.judge, config)


@EVERY_CONFIG
@EVERY_CHEAT
def test_no_cheat_wins_over_an_honest_mediocre_rollout(config: RewardConfig, cheat: Cheat) -> None:
    assert earned(cheat.rollouts, cheat.judge, config) < honest(cheat, config)


@EVERY_CONFIG
@EVERY_CHEAT
def test_it_would_win_without_the_term_that_sees_it(config: RewardConfig, cheat: Cheat) -> None:
    blind = replace(config, **cheat.seen_by)
    assert earned(cheat.rollouts, cheat.judge, blind) > honest(cheat, blind)


def test_the_template_agrees_with_every_motion() -> None:
    """So that consistency alone does not see it."""
    copies = CHEATS["a copied template"].rollouts
    assert all(consistency(copies[name].text, it.future, it.v0_mps) for name, it in TRUTHS.items())


@EVERY_CONFIG
def test_the_expert_wins_over_the_honest_rollout(config: RewardConfig) -> None:
    for name, it in TRUTHS.items():
        expert = reward(written(it.reasoning.text, it.future), it, judged_by_rule, config)
        assert expert.total > reward(HONEST[name], it, judged_by_rule, config).total
        assert not expert.floored


@EVERY_CONFIG
@pytest.mark.parametrize(
    ("rollout", "why"),
    [
        (Rollout(GREEN.reasoning.text, is_complete=False, trajectory=GREEN.future), "not complete"),
        (Rollout(GREEN.reasoning.text, is_complete=True, trajectory=None), "no trajectory"),
        (Rollout("", is_complete=False, trajectory=None), "not complete"),
    ],
)
def test_a_malformed_rollout_gets_the_floor_and_no_judge_is_asked(config: RewardConfig, rollout: Rollout, why: str) -> None:
    def never(text: str, truth: Reasoning) -> Judgement:
        raise AssertionError(text)

    given_up = reward(rollout, GREEN, never, config)
    assert given_up.total == config.floor
    assert why in given_up.floored
    assert given_up.terms is None


shares, metres = st.floats(0, 1), st.floats(0, 1000)
any_terms = st.builds(
    Terms,
    reasoning=shares,
    consistent=st.booleans(),
    l2_m=metres,
    l2_m2=metres,
    comfort=shares,
    jerk_mps3=metres,
    collision=st.none() | st.booleans(),
    off_road=st.none() | st.booleans(),
    progress=st.none() | shares,
)


@EVERY_CONFIG
@given(terms=any_terms)
def test_nothing_is_worth_less_than_the_malformed(config: RewardConfig, terms: Terms) -> None:
    found = weigh(terms, config)
    assert found.total >= config.floor
    assert found.floored or found.total == pytest.approx(sum(found.parts.values()))


@EVERY_CONFIG
@given(terms=any_terms, other=any_terms)
def test_better_is_never_worth_less(config: RewardConfig, terms: Terms, other: Terms) -> None:
    better = Terms(
        reasoning=max(terms.reasoning, other.reasoning),
        consistent=terms.consistent or other.consistent,
        l2_m=min(terms.l2_m, other.l2_m),
        l2_m2=min(terms.l2_m2, other.l2_m2),
        comfort=max(terms.comfort, other.comfort),
        jerk_mps3=min(terms.jerk_mps3, other.jerk_mps3),
        collision=terms.collision and other.collision,
        off_road=terms.off_road and other.off_road,
        progress=None if terms.progress is None else max(terms.progress, other.progress or 0.0),
    )
    assert weigh(better, config).total >= weigh(terms, config).total - 1e-9


@given(quality=st.floats(0.61, 1), apart_m=st.floats(0, 2.99))
def test_the_released_recipe_is_the_published_one_with_its_sign_turned(quality: float, apart_m: float) -> None:
    """Published: -0.2 d / 3 + 0.3 s / -0.4 with s = quality - 1; turned, the last factor is 1 - s / -0.4."""
    terms = Terms(quality, True, apart_m, 0.0, 0.0, 0.0, None, None, None)  # noqa: FBT003
    score = quality - 1.0
    published = -0.2 * apart_m / 3 + 0.3 * (1 - score / -0.4)
    assert weigh(terms, replace(RELEASED, consistency=0.0)).total == pytest.approx(published)
    assert weigh(replace(terms, l2_m=3.0), RELEASED).total == weigh(replace(terms, reasoning=0.59), RELEASED).total == -1.0


def test_terms_are_the_shared_definitions() -> None:
    path = way(1.0, 0.0)
    found = terms_of(HONEST["green"].text, path, GREEN, judged_by_rule)
    assert found.l2_m == ade_m(path.xyz, GREEN.future.xyz)
    assert found.l2_m2 == pytest.approx(np.mean((path.xyz - GREEN.future.xyz)[:, 0] ** 2))
    assert (found.reasoning, found.consistent, found.comfort, found.jerk_mps3) == (0.8, True, 1.0, 0.0)
    assert found.progress == pytest.approx(1.0 / 1.2), "the way grows with the acceleration"
    pumping = replace(path, accel_mps2=np.where(np.arange(HORIZON) % 2, 3.0, -1.0))
    jerky = terms_of("", pumping, GREEN, judged_by_rule)
    assert jerky.comfort == pytest.approx(3 / 6), "acceleration and both jerks"
    assert jerky.jerk_mps3 == pytest.approx(20.0), "from 3 to 1 m/s^2 and back, every 0.1 s"


@pytest.mark.parametrize("text", ["", "  ", "<|cot_end|>", "<|traj_future_start|> Keep lane"])
def test_no_words_are_worth_nothing(text: str) -> None:
    assert reasoning_quality(text, GREEN.reasoning, fooled_judge) == 0.0
    assert not consistency(text, GREEN.future, GREEN.v0_mps)


@pytest.mark.parametrize("text", ["It is a sunny day.", "42", "Zut alors !"])
def test_words_without_a_decision_agree_with_nothing(text: str) -> None:
    assert not consistency(text, GREEN.future, GREEN.v0_mps)


def judged(path: Trajectory, surroundings: Surroundings) -> tuple[bool | None, bool | None]:
    it = Truth(way(0.0, 8.0), 8.0, GREEN.reasoning, surroundings)
    found = terms_of("Keep lane.", path, it, judged_by_rule)
    return found.collision, found.off_road


def test_who_drives_into_something_collides() -> None:
    blocked = scenario(standing=(Standing("cone", "cone", 0, 75.0, 0.0),))
    expert = way(-1.0, 8.0)  # stops before it
    surroundings = around(expert, 8.0, blocked)
    assert judged(expert, surroundings) == (False, False)
    assert judged(way(0.0, 8.0), surroundings) == (True, False)
    colliding = reward(
        written("Keep lane.", way(0.0, 8.0)), Truth(expert, 8.0, RED.reasoning, surroundings), fooled_judge, WORLD
    )
    assert colliding.parts["collision"] == -WORLD.collision


def test_who_leaves_the_road_is_off_it() -> None:
    surroundings = around(way(0.0, 8.0), 8.0)
    assert judged(way(0.0, 8.0), surroundings) == (False, False)
    assert judged(way(0.0, 8.0, curvature_1pm=-0.02), surroundings) == (False, True)


def test_who_is_hit_from_behind_is_not_at_fault() -> None:
    chased = scenario(vehicles=(Vehicle("chaser", "car", 0, "ego", 25.0, 8.0),))
    surroundings = around(way(0.0, 8.0), 8.0, chased)
    slower = drive_along(surroundings, way(-1.0, 8.0))
    assert slower.incident is not None
    assert slower.incident.kind == "collision_rear"
    assert judged(way(-1.0, 8.0), surroundings) == (False, False)


def test_without_surroundings_nothing_is_known_of_them() -> None:
    found = reward(written(GREEN.reasoning.text, GREEN.future), replace(GREEN, surroundings=None), judged_by_rule, WORLD)
    assert found.terms is not None
    assert (found.terms.collision, found.terms.off_road, found.terms.progress) == (None, None, None)
    assert set(found.parts) == {"reasoning", "consistency", "l2_per_m", "discomfort"}


@pytest.fixture(scope="module")
def drive_labels() -> Sequence[tuple[Label, Surroundings]]:
    """The real expert behind a lead in the real world."""
    drove = run_episode(make_scenario("follow_lead", 3, 12.0), ExpertPolicy())
    grounds, rng = Grounds(drove.scenario), np.random.default_rng(0)
    labels = [any_label(drove, planned, rng) for planned in drove.planned]
    return [(it, surroundings_at(drove, grounds, it.t0_s)) for it in labels if it is not None]


def test_the_real_experts_own_way_is_perfect(drive_labels: Sequence[tuple[Label, Surroundings]]) -> None:
    assert len(drive_labels) > 3
    for label, surroundings in drive_labels:
        v0_mps = surroundings.snapshots[0].ego.speed_mps
        it = Truth(label.trajectory, v0_mps, Reasoning(label.decision, label.components, label.text), surroundings)
        found = terms_of(label.text, label.trajectory, it, judged_by_rule)
        assert (found.l2_m, found.collision, found.off_road, found.progress) == (0.0, False, False, 1.0)
        assert found.consistent is label.consistent.agrees
        assert found.reasoning == 1.0


def test_following_what_was_driven_is_the_drive_itself() -> None:
    """Through a bend, from a t0 at which the ego does not face along x."""
    bent = street(Piece(20.0, 0.0), Piece(80.0, 0.02), Piece(200.0, 0.0))
    drove = episode(scenario(roads=(bent,), duration_s=10.0))
    surroundings = surroundings_at(drove, Grounds(drove.scenario), 2.5)
    egos = [snapshot.ego for snapshot in surroundings.snapshots]
    again = drive_along(surroundings, driven(egos))
    assert abs(egos[0].yaw_rad) > 0.1
    assert again.incident is None
    for was, now in zip(egos, again.snapshots, strict=True):
        np.testing.assert_allclose(now.ego.xy_m, was.xy_m, atol=1e-9)
        assert (now.ego.yaw_rad, now.ego.speed_mps) == pytest.approx((was.yaw_rad, was.speed_mps))


def test_surroundings_end_with_the_drive() -> None:
    drove = episode(scenario(duration_s=8.0))
    grounds = Grounds(drove.scenario)
    assert len(surroundings_at(drove, grounds, 1.6).snapshots) == HORIZON + 1
    with pytest.raises(InvalidInput, match=r"from 1\.7 s on, the drive ends at 8\.0 s"):
        surroundings_at(drove, grounds, 1.7)


def test_a_scene_of_a_data_set_is_driven_again_to_the_bit() -> None:
    """By the track alone, from which everybody else follows."""
    drove = run_episode(make_scenario("red_light", 3, 14.0), ExpertPolicy())
    grounds, world = Grounds(drove.scenario), Redriven([scene().scene])
    for label, example in list(zip(scene().scene.labels, examples(), strict=True))[::5]:
        here, there = world.around(example), surroundings_at(drove, grounds, label.t0_s)
        assert here is not None
        assert here.scenario == there.scenario
        for again, was in zip(here.snapshots, there.snapshots, strict=True):
            assert (again.t_s, again.lights) == (was.t_s, was.lights)
            assert [body.name for body in again.bodies] == [body.name for body in was.bodies]
            np.testing.assert_array_equal([body.xy_m for body in again.bodies], [body.xy_m for body in was.bodies])
            np.testing.assert_array_equal(again.ego.xy_m, was.ego.xy_m)


def test_what_is_around_is_known_only_where_the_expert_drove_on_in_a_scene_as_it_is_made() -> None:
    whole, example = scene().scene, examples()[0]
    assert Redriven([whole]).knows(example)
    led = replace(whole, windows=(replace(whole.windows[0], intended=example.future), *whole.windows[1:]))
    for other in (led, replace(whole, world="red-12")):
        assert Redriven([other]).around(example) is None
    shifted = replace(example, future=replace(example.future, xyz=example.future.xyz + 1.0))
    assert Redriven([whole]).around(shifted) is None


def observed(speed_mps: float) -> Observation:
    """At t0 after driving straight on; no pictures."""
    t0_ns, steps = 10**9, np.arange(-15, 1)
    xyz = np.column_stack([0.1 * speed_mps * steps, np.zeros(16), np.zeros(16)]).astype(np.float32)
    pose = EgoPose(t0_ns, np.zeros(3), np.eye(3), np.array([speed_mps, 0.0, 0.0]), np.zeros(3))
    return Observation(t0_ns, 0, {}, EgoHistory(t0_ns, xyz, np.tile(np.eye(3, dtype=np.float32), (16, 1, 1))), pose)


def test_an_example_is_measured_against_its_label() -> None:
    example = Example("clip 7", observed(6.0), YIELD.future, (), YIELD.reasoning)
    it = truth_of(example)
    assert it.v0_mps == pytest.approx(6.0, abs=0.01)
    assert (it.future, it.reasoning, it.surroundings) == (YIELD.future, YIELD.reasoning, None)
    with pytest.raises(InvalidInput, match="clip 7: want a labelled example"):
        truth_of(replace(example, reasoning=None))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"displacement: want points"):
        terms_of("Keep lane.", way(0.0, 8.0, points=10), replace(GREEN, surroundings=None), judged_by_rule)
    with pytest.raises(InvalidInput, match="drive: want 64 points"):
        drive_along(around(way(0.0, 8.0), 8.0), way(0.0, 8.0, points=65))
    for wrong in ({"collision": -1.0}, {"l2_per_m": math.nan}, {"floor": -math.inf}, {"reasoning_from": 1.0}):
        with pytest.raises(InvalidInput, match="reward: want"):
            replace(PAPER, **wrong)
