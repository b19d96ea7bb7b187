"""A plan is a rollout of the engine's actions, the medoid of them, with its words parsed; never half an answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from pipeline.vehicle import TWO_CAMERAS, T, buffers, drive

from alpamayo_ros.dynamics import RELEASED, estimate_v0, rollout
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.pipeline.planner import medoid_scores, plan, seed_of
from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Observation, Request

WORDS = "Stop because the traffic light ahead is red."


@dataclass
class Answers:
    """An engine that says what it is told to."""

    output: ModelOutput
    weights: Weights = "none"
    asked: list[Request] = field(default_factory=list)

    def add_frame(self, frame: CameraFrame) -> None: ...

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        self.asked.append(request)
        return self.output

    def reset(self, epoch: int) -> None: ...

    def close(self) -> None: ...


def steady(curvature_1pm: float, accel_mps2: float = 0.0) -> np.ndarray:
    """Normalised actions of constant curvature and acceleration."""
    return RELEASED.normalised(np.full(64, accel_mps2), np.full(64, curvature_1pm)).astype(np.float32)


def answers(*curvatures: float, complete: bool = True, texts: tuple[str, ...] = (WORDS,)) -> Answers:
    return Answers(ModelOutput(np.stack([steady(c) for c in curvatures]), texts, (7,) * len(texts), (complete,) * len(texts)))


@pytest.fixture(scope="module")
def observation() -> Observation:
    filled = buffers(TWO_CAMERAS)
    return observe(filled, drive(filled, speed_mps=10.0))


def test_a_plan_follows_the_actions_from_the_speed_of_the_history(observation: Observation) -> None:
    made = plan(observation, answers(0.01), Request(), RELEASED)
    v0 = estimate_v0(observation.history.xyz, observation.history.rot, RELEASED)
    assert v0 == pytest.approx(10.0, abs=0.05)
    assert np.array_equal(made.trajectory.xyz, rollout(steady(0.01), v0, 0.0, RELEASED).xyz)
    assert made.trajectory is made.candidates[0]
    assert (made.t0_ns, made.epoch, made.source, made.provisional) == (observation.stamp_ns, 0, "model", False)
    assert (made.chosen, made.scores) == (0, (1.0,))
    assert made.trajectory.xyz[-1, 1] > 1  # positive curvature turns left
    assert set(made.stage_ms) == {"infer", "rollout", "reasoning"}


def test_the_words_are_parsed_and_compared_with_the_motion(observation: Observation) -> None:
    made = plan(observation, answers(0.0), Request(), RELEASED)
    assert made.reasoning.text == WORDS
    assert made.reasoning.tokens == 7
    assert made.reasoning.decision.longitudinal == "stop_for_static_constraints"
    assert {action.axis for action in made.meta_actions} == {"longitudinal", "lateral"}
    assert made.consistent.agrees is False  # it says stop and drives on
    to_a_stand = np.concatenate([steady(0.0, -2.0)[:50], steady(0.0)[50:]])
    braking = Answers(ModelOutput(to_a_stand[None], (WORDS,), (7,), (True,)))
    assert plan(observation, braking, Request(), RELEASED).consistent.agrees is True


def test_the_candidate_nearest_to_all_others_is_chosen(observation: Observation) -> None:
    made = plan(observation, answers(-0.02, 0.001, 0.0, 0.1, -0.001), Request(samples=5), RELEASED)
    end_y = [candidate.xyz[-1, 1] for candidate in made.candidates]
    assert made.chosen == 2
    assert made.trajectory is made.candidates[2]
    assert made.scores[2] == max(made.scores)
    assert np.argmin(made.scores) == 3
    assert sorted(end_y)[2] == end_y[2]


def test_the_choice_is_the_medoid_by_hand_and_ties_go_to_the_first(observation: Observation) -> None:
    candidates = plan(observation, answers(0.0, 0.03, -0.01, 0.02), Request(samples=4), RELEASED).candidates
    for i, score in enumerate(medoid_scores(candidates)):
        apart = [np.hypot(*(candidates[i].xyz - other.xyz)[:, :2].T).mean() for other in candidates]
        assert score == pytest.approx(1 / (1 + sum(apart) / 3), rel=1e-12)
    for twins in ((0.02, 0.0), (0.0, 0.0, 0.0), (0.0, 0.05, 0.05, 0.0)):
        assert plan(observation, answers(*twins), Request(samples=len(twins)), RELEASED).chosen == 0


def test_each_samples_own_words_go_with_it(observation: Observation) -> None:
    texts = ("Keep lane.", "Turn left because the route goes left.", "Keep lane since the road is clear.")
    made = plan(observation, answers(0.2, 0.001, 0.0, texts=texts), Request(samples=3), RELEASED)
    assert made.reasoning.text == texts[made.chosen]
    assert made.chosen != 0


def test_half_an_answer_is_no_plan(observation: Observation) -> None:
    with pytest.raises(EngineFailure, match=r"engine output is incomplete: no trajectory was asked for after \[7\] tokens"):
        plan(observation, answers(0.0, complete=False), Request(), RELEASED)
    with pytest.raises(EngineFailure, match="engine output has 2 samples, 1 were asked for"):
        plan(observation, answers(0.0, 0.0), Request(), RELEASED)


def test_a_sample_whose_words_have_no_end_is_no_candidate(observation: Observation) -> None:
    actions = np.stack([steady(c) for c in (0.0, 0.05, 0.01)])
    texts = ("Keep lane.", "Turn left", "Keep lane.")
    engine = Answers(ModelOutput(actions, texts, (7, 256, 7), (True, False, True)))
    made = plan(observation, engine, Request(samples=3), RELEASED)
    assert len(made.candidates) == 2
    assert made.reasoning.complete
    assert np.array_equal(made.candidates[1].curvature_1pm, rollout(actions[2], 1.0, 0.0).curvature_1pm)


def test_the_request_reaches_the_engine_as_it_is(observation: Observation) -> None:
    engine, request = answers(0.0), Request(greedy=False, seed=seed_of(observation.stamp_ns, 3))
    plan(observation, engine, request, RELEASED)
    assert engine.asked == [request]


def test_the_seed_is_a_function_of_t0_and_of_the_base() -> None:
    seeds = [seed_of(T + n * 100_000_000, base) for n in range(1000) for base in (0, 1)]
    assert seeds == [seed_of(T + n * 100_000_000, base) for n in range(1000) for base in (0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_kinematic_engine_plans_straight_on(observation: Observation) -> None:
    made = plan(observation, KinematicEngine(), Request(), RELEASED)
    assert np.allclose(made.trajectory.xyz[:, 0], 10.0 * made.trajectory.t_s, atol=0.5)
    assert np.abs(made.trajectory.xyz[:, 1]).max() < 0.1
    again = plan(observation, KinematicEngine(), Request(), RELEASED)
    assert np.array_equal(made.trajectory.xyz, again.trajectory.xyz)
