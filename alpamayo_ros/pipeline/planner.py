"""From an observation to a plan: the one function that vehicle, replay, simulation and benchmark run."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros import dynamics, reasoning
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.types import EngineFailure, ModelOutput, Observation, Plan, Request, Trajectory


def seed_of(t0_ns: int, base: int = 0) -> int:
    """Seed, 32 bits, of a request for this t0: the same t0 samples the same way on the vehicle and on a replay."""
    return zlib.crc32(f"{base} {t0_ns}".encode())


def plan(observation: Observation, engine: Engine, request: Request, space: ActionSpace) -> Plan:
    """Think about an observation and choose one of the trajectories. `stage_ms`: infer, rollout, reasoning.

    Samples whose words did not end in a trajectory are no candidates; of the others, the one nearest to all is chosen.
    Raises EngineFailure when the engine fails, or answers without a candidate or with other than the samples asked for.
    """
    started = time.perf_counter()
    output = engine.infer(observation, request)
    finished = _finished(output, request)
    inferred = time.perf_counter()
    v0_mps = dynamics.estimate_v0(observation.history.xyz, observation.history.rot, space)
    z_m = float(observation.history.xyz[-1, 2])
    candidates = tuple(dynamics.rollout(actions, v0_mps, z_m, space) for actions in output.actions[finished])
    scores = medoid_scores(candidates)
    chosen = int(np.argmax(scores))  # the first of equals
    rolled = time.perf_counter()
    text = finished[chosen] if len(output.texts) > 1 else 0
    stated = output.meta_actions[text] if output.meta_actions else ""
    trace = reasoning.parse_trace(output.texts[text], output.tokens[text], output.complete[text], stated)
    actions = reasoning.meta_actions(candidates[chosen], v0_mps)
    agreement = reasoning.consistent(trace.decision, actions)
    reasoned = time.perf_counter()
    return Plan(
        t0_ns=observation.stamp_ns,
        epoch=observation.epoch,
        source="model",
        provisional=False,  # whoever shows it before a better one says so
        trajectory=candidates[chosen],
        candidates=candidates,
        chosen=chosen,
        scores=scores,
        reasoning=trace,
        meta_actions=actions,
        consistent=agreement,
        stage_ms={
            "infer": (inferred - started) * 1e3,
            "rollout": (rolled - inferred) * 1e3,
            "reasoning": (reasoned - rolled) * 1e3,
        },
    )


def _finished(output: ModelOutput, request: Request) -> list[int]:
    """The samples that have a trajectory."""
    if len(output.actions) != request.samples:
        raise EngineFailure(f"engine output has {len(output.actions)} samples, {request.samples} were asked for")
    complete = output.complete if len(output.complete) > 1 else output.complete * request.samples
    if not any(complete):
        raise EngineFailure(f"engine output is incomplete: no trajectory was asked for after {list(output.tokens)} tokens")
    return [sample for sample, is_complete in enumerate(complete) if is_complete]


def medoid_scores(candidates: Sequence[Trajectory]) -> tuple[float, ...]:
    """1 / (1 + d) per candidate, d its mean x-y distance to the others, m, over all points; the medoid scores highest."""
    return tuple((1.0 / (1.0 + _apart_m(candidates))).tolist())


def spread_m(candidates: Sequence[Trajectory]) -> float:
    """How far candidates are from each other in the mean, m, over all pairs and points; 0 of one."""
    return float(_apart_m(candidates).mean())


def _apart_m(candidates: Sequence[Trajectory]) -> NDArray[np.floating]:
    """(n,) mean x-y distance of each candidate to the others, over all points."""
    xy = np.stack([candidate.xyz[:, :2] for candidate in candidates])
    apart = np.linalg.norm(xy[:, None] - xy[None, :], axis=-1).mean(axis=-1)
    mean_m: NDArray[np.floating] = apart.sum(axis=1) / max(len(candidates) - 1, 1)
    return mean_m
