"""One plan from a bag: made as the vehicle makes it, printed, drawn, and held against what was driven."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.bags import bag_span, bag_topics, deserialize, read_bag
from alpamayo_ros.drawing import plan_picture, shown_text
from alpamayo_ros.engine.contract import AnswersQuestions
from alpamayo_ros.engine.loading import bundle_profile, open_engine
from alpamayo_ros.evaluation import metrics
from alpamayo_ros.evaluation.calibration import calibration
from alpamayo_ros.evaluation.metrics import Driven
from alpamayo_ros.evaluation.openloop.truth import driven
from alpamayo_ros.evaluation.replay import BagPass, Replay, rejecting
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.profile import Rig
from alpamayo_ros.reasoning import clean
from alpamayo_ros.types import U8, EgoPose, InvalidInput, Maneuver, Navigation, Observation, Plan, Request, StaleInput

LAST_NS = 2_000_000_000
"""How long before a bag's end its last anchor frame is looked for."""


class Asked(NamedTuple):
    """What to plan, how, and with what."""

    bag: Path
    t0_ns: int  # the first anchor frame at or after this instant is meant
    rig: Rig
    bundle: str
    profile: str  # of an engine without its own
    request: Request = Request()
    navigation: Navigation | None = None


def instant(bag: Path, rig: Rig, at_s: float) -> int:
    """Stamp, ns, of an instant after the bag's first anchor frame, by its stamp. Raises InvalidInput outside of the bag.

    A bag recorded during a replay has log times of another clock than its stamps.
    """
    camera = rig.cameras[rig.anchor]
    log_ns = bag_span(bag)
    first_ns = next(_stamps(bag, rig, log_ns[0]), None)
    if first_ns is None:
        raise InvalidInput(f"{bag}: no frame of the anchor camera on {camera.topic} to count seconds from")
    last_ns = max(_stamps(bag, rig, log_ns[1] - LAST_NS), default=first_ns)
    # A clock that was set back has later stamps before the last ones: then the log says how long the bag is.
    length_s = max(last_ns - first_ns, log_ns[1] - log_ns[0]) / 1e9
    if not 0 <= at_s <= length_s:
        raise InvalidInput(f"{bag} is {length_s:.1f} s long, got {at_s:g} s after its first {rig.anchor} frame")
    return first_ns + round(at_s * 1e9)


def _stamps(bag: Path, rig: Rig, from_log_ns: int) -> Iterator[int]:
    """Exposure times, ns, of the anchor frames from a log time on, but for those that no planner could read."""
    camera = rig.cameras[rig.anchor]
    for record in read_bag(bag, [camera.topic], start_ns=from_log_ns):
        with suppress(InvalidInput):
            yield decode.exposure_ns(deserialize(record.cdr, record.type_name), rig.anchor, camera)


def navigation_of(route: str, t0_ns: int) -> Navigation:
    """A navigation command from words such as "turn_left 40 Main St": maneuver, metres to it, road. Raises InvalidInput."""
    maneuver, _, rest = route.partition(" ")
    metres, _, road_name = rest.partition(" ")
    known = get_args(Maneuver)
    if maneuver not in known or not metres.isdecimal():
        raise InvalidInput(f"route {route!r}: want MANEUVER METRES [ROAD], the maneuver one of {', '.join(known)}")
    return Navigation(cast("Maneuver", maneuver), float(metres), road_name, t0_ns + 60_000_000_000)


def plan_at(asked: Asked) -> tuple[Cycle, str]:
    """The cycle of the first anchor frame at or after an instant, and whose weights planned. Raises InvalidInput."""
    with closing(Replay(asked.bag, asked.rig, asked.bundle, asked.profile, asked.request, asked.navigation)) as replay:
        for cycle in replay.cycles(asked.t0_ns):
            return cycle, replay.engine.weights
    raise InvalidInput(f"{asked.bag} has no anchor frame at or after {asked.t0_ns} ns")


def plan_once(asked: Asked, out: Path) -> dict[str, Any]:
    """Plan, print trace and trajectory, draw a picture. Raises InvalidInput, StaleInput."""
    cycle, weights = plan_at(asked)
    if cycle.plan is None or cycle.observation is None:
        raise StaleInput(f"no plan at {cycle.t0_ns} ns: {cycle.refused}")
    out.mkdir(parents=True, exist_ok=True)
    picture = out / "plan.jpg"
    draw_plan(asked.bag, cycle, asked.rig, weights, picture)
    print_plan(cycle.plan, asked, weights)
    if cycle.rejected:
        print(f"REJECTED by the checks, would not be published: {cycle.rejected}")
    print(f"picture: {picture}")
    return {
        "t0_ns": cycle.t0_ns,
        "rejected_by": list(rejecting(cycle.findings)),
        "weights": weights,
        "trace": cycle.plan.reasoning.text,
        "tokens": cycle.plan.reasoning.tokens,
        "candidates": len(cycle.plan.candidates),
        "ade_m": _ade_m(cycle.plan, _driven(asked, cycle.observation)),
        "latency_ms": round(cycle.stage_ms["total"], 3),
        "files": [str(picture)],
    }


def answer_once(asked: Asked, question: str) -> dict[str, Any]:
    """Ask the model about what it sees and print the answer. Raises InvalidInput, StaleInput."""
    engine = open_engine(asked.bundle)  # here, not in a process of its own: nobody drives by an answer
    if not isinstance(engine, AnswersQuestions):
        raise InvalidInput(f"{asked.bundle} answers no questions: want a model bundle's folder")
    with closing(engine), closing(Replay(asked.bag, asked.rig, "kinematic", f"{asked.bundle}/profile.yaml")) as replay:
        for cycle in replay.cycles(asked.t0_ns):
            if cycle.observation is None:
                raise StaleInput(f"no observation at {cycle.t0_ns} ns: {cycle.refused}")
            answer = clean(engine.ask(cycle.observation, question, replace(asked.request, seed=seed_of(cycle.t0_ns))))
            print(f"answer (weights: {engine.weights}): {answer}")
            return {"t0_ns": cycle.t0_ns, "weights": engine.weights, "question": question, "answer": answer}
    raise InvalidInput(f"{asked.bag} has no anchor frame at or after {asked.t0_ns} ns")


def print_plan(plan: Plan, asked: Asked, weights: str) -> None:
    """Trace, what it decides, and every eighth point of the trajectory."""
    trace, decision = plan.reasoning, plan.reasoning.decision
    agreement = {True: "yes", False: f"no, {plan.consistent.why_not}", None: "the trace names no decision"}
    lines = {
        "trace": shown_text(trace.text)
        or ("empty" if asked.request.reasoning == "full" else "none: no reasoning was asked for"),
        "decision": ", ".join(filter(None, (decision.longitudinal, decision.lateral, decision.direction))) or "none",
        "meta-actions, stated": shown_text(trace.meta_actions) or "none",
        "meta-actions, driven": ", ".join(f"{m.action} {m.start_s:.1f}-{m.end_s:.1f} s" for m in plan.meta_actions),
        "consistent": agreement[plan.consistent.agrees],
        "candidates": f"{len(plan.candidates)} of {asked.request.samples} samples, number {plan.chosen} is taken",
    }
    print(f"{asked.bundle}, weights: {weights}")
    for name, text in lines.items():
        print(f"{name + ':':<22}{text}")
    table = Table(*("t s", "x m", "y m", "yaw deg", "speed m/s", "accel m/s2", "curvature 1/m"), title="trajectory, ego at t0")
    path = plan.trajectory
    for i in range(7, len(path.t_s), 8):
        values = (path.t_s[i], *path.xyz[i, :2], np.degrees(path.yaw_rad[i]), path.speed_mps[i], path.accel_mps2[i])
        table.add_row(*(f"{value:.2f}" for value in values), f"{path.curvature_1pm[i]:.4f}")
    Console(width=100).print(table)


def draw_plan(bag: Path, cycle: Cycle, rig: Rig, weights: str, picture: Path) -> None:
    """Draw the cycle's plan over the anchor camera's full-size frame at t0, marked when the checks reject it.

    Raises InvalidInput when it has no plan.
    """
    if cycle.plan is None or cycle.observation is None:
        raise InvalidInput(f"nothing to draw at {cycle.t0_ns} ns: {cycle.refused}")
    view = calibration(bag, rig, bag_topics(bag))[0][rig.anchor]
    front, history = _anchor_image(bag, rig, cycle.t0_ns), cycle.observation.history
    page = plan_picture(front, view.camera, view.optical_from_ego, history, cycle.plan, weights, cycle.rejected)
    if not cv2.imwrite(str(picture), cv2.cvtColor(page, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {picture}")


def _anchor_image(bag: Path, rig: Rig, t0_ns: int) -> U8:
    camera = rig.cameras[rig.anchor]
    for record in read_bag(bag, [camera.topic]):
        frame = decode.camera_frame(deserialize(record.cdr, record.type_name), rig.anchor, camera, 0)
        if frame.stamp_ns == t0_ns:
            image = np.empty((camera.height, camera.width, 3), np.uint8)
            decode.pixels_into(frame, image)
            return image
    raise InvalidInput(f"{bag} has no {rig.anchor} frame stamped {t0_ns} ns")


def _driven(asked: Asked, observation: Observation) -> Driven:
    """What was driven after t0, by another pass over odometry and transforms alone."""
    poses: list[EgoPose] = []

    def keep(pose: EgoPose, epoch: int) -> None:
        if epoch == observation.epoch:
            poses.append(pose)

    profile = bundle_profile(asked.bundle, asked.profile)
    with closing(BagPass(asked.bag, asked.rig, profile, (), lambda _topic, _reason: None, keep)) as again:
        topics = [topic for topic in (asked.rig.odometry.topic, "/tf_static") if again.counts[topic]]
        for record in read_bag(asked.bag, topics):
            again.take(record)
    return driven(sorted(poses, key=lambda pose: pose.stamp_ns), observation.ego_t0)


def _ade_m(plan: Plan, truth: Driven) -> float | None:
    """The plan's `metrics.ade_m`; None where the bag ends before the plan does."""
    return metrics.ade_m(plan.trajectory.xyz, truth.xyz) if len(truth.xyz) == len(plan.trajectory.t_s) else None
