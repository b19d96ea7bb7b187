"""Evaluations that were made up: a vehicle on a bent road, and planners that are wrong by a known amount."""

from __future__ import annotations

import numpy as np

from alpamayo_ros import dynamics, reasoning
from alpamayo_ros.evaluation.metrics import Driven, plan_deviation_m
from alpamayo_ros.evaluation.openloop.results import (
    BLANKED,
    CLIP_S,
    KINEMATIC,
    BagEvaluation,
    Coverage,
    Evaluation,
    Measurement,
    Setup,
    Window,
)
from alpamayo_ros.simulation.closed_loop.settings import start_ns
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.types import EgoHistory, EgoPose, Plan, Request, Trajectory

BUNDLE = "made"
SECONDS = 8.0  # of the recorded drive that the tests of this folder share
START_NS = start_ns(make_scenario("town", 0))
"""As `make_bag` stamps its first message."""

STAGES = ("observe", "infer", "rollout", "reasoning", "total")
TRACES = (
    "Keep the lane since the road ahead is clear.",
    "Stop for the red light ahead.",
    "Turn left at the junction because the route goes left.",
)


REJECTED_BY = ("V7 lateral acceleration", "V8 lateral jerk")
"""Of every fifth window, by the evaluated bundle."""

MEASURED = Measurement("made", "none", "2026-01-01T00:00:00+00:00")


def trajectory(speed_mps: float, curvature_1pm: float, accel_mps2: float = 0.0) -> Trajectory:
    return dynamics.trajectory(np.full(64, accel_mps2), np.full(64, curvature_1pm), speed_mps)


def plan(t0_ns: int, candidates: tuple[Trajectory, ...], text: str, rng: np.random.Generator) -> Plan:
    trace = reasoning.parse_trace(text, len(text.split()), complete=True)
    actions = reasoning.meta_actions(candidates[0], float(candidates[0].speed_mps[0]))
    times = {stage: float(rng.gamma(4.0, 5.0)) for stage in STAGES}
    return Plan(
        t0_ns=t0_ns,
        epoch=0,
        source="model",
        provisional=False,
        trajectory=candidates[0],
        candidates=candidates,
        chosen=0,
        scores=(1.0,) * len(candidates),
        reasoning=trace,
        meta_actions=actions,
        consistent=reasoning.consistent(trace.decision, actions),
        stage_ms=times,
    )


def made_bag(name: str, windows: int, seed: int, known_points: int = 64) -> BagEvaluation:
    """The last windows of a bag know less of the future; the blanked bundle and the baseline are worse than the bundle."""
    rng, start_ns = np.random.default_rng(seed), START_NS
    made: list[Window] = []
    for i in range(windows):
        t0_ns = start_ns + 2_000_000_000 + i * 500_000_000
        speed, bend = 8.0 + 2.0 * rng.random(), 0.02 * rng.standard_normal()
        true = trajectory(speed, bend)
        known = min(known_points, 5 * (windows - i))
        driven = Driven(true.xyz[:known], true.yaw_rad[:known], true.speed_mps[:known])
        ego = EgoPose(
            t0_ns, np.array([4.0 * i, 0.0, 0.0]), np.eye(3), np.array([speed, 0.0, 0.0]), np.array([0.0, 0.0, speed * bend])
        )
        back = np.zeros((21, 3), np.float32)
        back[:, 0] = np.linspace(-2.0 * speed, 0.0, 21)
        history = EgoHistory(t0_ns, back, np.tile(np.eye(3, dtype=np.float32), (21, 1, 1)))
        wrong = {BUNDLE: 0.002, BUNDLE + BLANKED: 0.006, KINEMATIC: 0.01}
        plans = {}
        for contender, error in wrong.items():
            drawn = 6 if contender != KINEMATIC else 1
            bends = bend + error * rng.standard_normal(drawn)
            text = "" if contender == KINEMATIC else TRACES[i % len(TRACES)]
            plans[contender] = plan(t0_ns, tuple(trajectory(speed, float(b), 0.3 * error / 0.002) for b in bends), text, rng)
        refused = {}
        if i % 7 == 5:
            refused[BUNDLE + BLANKED] = "engine output is incomplete: no trajectory was asked for after [256] tokens"
            del plans[BUNDLE + BLANKED]
        before = made[-1] if made else None
        deviations = {
            contender: plan_deviation_m(before.plans[contender], before.ego_t0, it, ego)
            if before is not None and contender in before.plans
            else None
            for contender, it in plans.items()
        }
        rejected = {BUNDLE: REJECTED_BY} if i % 5 == 2 else {}
        clip = f"{name}/{int((t0_ns - start_ns) / 1e9 // CLIP_S)}"
        made.append(Window(t0_ns, clip, history, ego, driven, 12.5, plans, refused, deviations, rejected))
    coverage = Coverage(
        messages={"/sensing/camera/front_wide/image/compressed": 10 * windows, "/localization/kinematic_state": 100 * windows},
        frames_refused={"front_tele: jpeg of # bytes cannot be decoded: premature end": 2},
        messages_refused={},
        anchors=windows + 4,
        not_observed={"odometry: no pose at t# s": 4},
        future_to_s={
            h: sum(len(w.driven.xyz) >= round(float(h) * 10) for w in made) for h in ("0.5", "1", "2.5", "3", "5", "6.4")
        },
        examples={"odometry: no pose at t# s": "odometry: no pose at t-2.0 s"},
    )
    weights = {BUNDLE: "untrained", BUNDLE + BLANKED: "untrained", KINEMATIC: "none"}
    return BagEvaluation(name, f"{seed:064x}", start_ns, windows / 2 + 2.0, weights, tuple(made), coverage)


def made_evaluation(bags: int = 2, windows: int = 50, seed: int = 0) -> Evaluation:
    setup = Setup("seven_camera", (BUNDLE,), "seven_camera", Request(samples=6), 2.0)
    made = tuple(made_bag(f"bag_{i}", windows, seed + i) for i in range(bags))
    broken = {"bag_broken": "bag_broken.mcap: want a complete rosbag2 recording, this one is damaged or cut short"}
    provenance = {"alpamayo_ros": "0.1.0", "git": "0123456 (clean)", "gpu": "none"}
    return Evaluation(setup, made, broken, provenance, {bag.bag: MEASURED for bag in made})
