"""A recording shows what the planner published: its own messages, read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation.viewing.conftest import PLANNER, TRACE, Recorded, outputs, same_plan
from rclpy.serialization import deserialize_message, serialize_message

from alpamayo_ros import msg
from alpamayo_ros.bags import BagWriter, read_bag
from alpamayo_ros.evaluation.viewing.recorded import holds_plans, recorded_scenes
from alpamayo_ros.evaluation.viewing.scenes import Scene, Surroundings, said
from alpamayo_ros.geometry import apply, odom_from_ego
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import InvalidInput

pytestmark = pytest.mark.thorough

Said = list[tuple[int, str, str, bytes]]


def scenes_of(bag: Path, rig: Rig) -> list[Scene]:
    return list(recorded_scenes(Surroundings(bag, rig), bag, PLANNER))


def with_outputs(bag: Path, said: Said, out: Path) -> Path:
    """The bag's inputs and these outputs."""
    with BagWriter(out) as writer:
        inputs = [(r.log_ns, r.topic, r.type_name, r.cdr) for r in read_bag(bag) if not r.topic.startswith(PLANNER)]
        for log_ns, topic, type_name, cdr in sorted(inputs + said, key=lambda record: record[0]):
            writer.write(topic, type_name, log_ns, cdr)
    return out


def test_every_cycle_is_shown_with_the_plan_that_was_published(recorded: Recorded, rig: Rig) -> None:
    scenes = scenes_of(recorded.bag, rig)
    assert [scene.t0_ns for scene in scenes] == [cycle.t0_ns for cycle in recorded.cycles]
    for scene, cycle in zip(scenes, recorded.cycles, strict=True):
        if cycle.plan is None:
            assert (scene.plan, scene.refused, scene.status.state) == (None, "odometry: no pose at t-0.3 s", "warmup")
            continue
        assert scene.plan is not None
        assert same_plan(scene.plan, cycle.plan)
        assert [a.action for a in scene.plan.meta_actions] == [a.action for a in cycle.plan.meta_actions]
        assert scene.status == ("nominal", "made_up", "none", 40.0, False, ())
        assert cycle.observation is not None
        assert scene.ego is not None
        np.testing.assert_allclose(odom_from_ego(scene.ego), odom_from_ego(cycle.observation.ego_t0), atol=1e-12)
    assert scenes[-1].plan is not None
    assert scenes[-1].plan.reasoning == TRACE
    assert not same_plan(scenes[-1].plan, replace(scenes[-1].plan, trajectory=scenes[-1].plan.candidates[0]))


def test_a_refined_plan_takes_the_place_of_its_provisional_one(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    cycle = recorded.cycles[-1]
    assert cycle.plan is not None
    first = outputs(replace(cycle, plan=replace(cycle.plan, provisional=True)), 1, rig)
    refined = [(log_ns + 10_000_000, *rest) for log_ns, *rest in outputs(cycle, 2, rig)]
    alone, both = (
        with_outputs(recorded.bag, said, tmp_path / name) for name, said in {"a": first, "b": first + refined}.items()
    )
    assert [scene.plan and scene.plan.provisional for scene in scenes_of(alone, rig)] == [True]
    assert [scene.plan and scene.plan.provisional for scene in scenes_of(both, rig)] == [False]


def test_a_held_plan_is_shown_where_the_vehicle_is_when_it_is_held(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    cycle = recorded.cycles[8]
    assert cycle.plan is not None
    assert cycle.observation is not None
    held = replace(cycle, plan=replace(cycle.plan, source="hold"))
    [scene] = scenes_of(with_outputs(recorded.bag, outputs(held, 1, rig), tmp_path / "bag"), rig)
    assert scene.t0_ns == cycle.t0_ns + 80_000_000, "its age when it was published"
    assert scene.plan is not None
    assert scene.ego is not None
    in_odom = apply(odom_from_ego(cycle.observation.ego_t0), cycle.plan.trajectory.xyz)
    np.testing.assert_allclose(apply(odom_from_ego(scene.ego), scene.plan.trajectory.xyz), in_odom, atol=1e-9)
    assert np.abs(scene.plan.trajectory.xyz - cycle.plan.trajectory.xyz).max() > 0.1, "it moved, or nothing was shown"


def test_shadow_topics_are_shown_and_say_so_with_what_is_wrong(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    cycle = recorded.cycles[-1]
    found = [
        (log_ns, topic if topic.endswith("status") else topic.replace(PLANNER, f"{PLANNER}/shadow"), kind, cdr)
        for log_ns, topic, kind, cdr in outputs(cycle, 7, rig)
    ]
    status = deserialize_message(found[0][3], msg.PlanStatus)
    status.state, status.reasons = msg.PlanStatus.STATE_DEGRADED, ["V7 lateral acceleration: 3.4 m/s^2, warn limit 3"]
    found[0] = (*found[0][:3], serialize_message(status))
    bag = with_outputs(recorded.bag, found, tmp_path / "bag")
    assert holds_plans(bag, PLANNER)
    [scene] = scenes_of(bag, rig)
    assert scene.plan is not None
    assert cycle.plan is not None
    assert same_plan(scene.plan, cycle.plan)
    lines = said(scene)
    assert lines[0] == "made_up | SHADOW | degraded | 40 ms"
    assert "V7 lateral acceleration: 3.4 m/s^2, warn limit 3" in lines
    [driven] = scenes_of(with_outputs(recorded.bag, outputs(cycle, 7, rig), tmp_path / "driven"), rig)
    assert "SHADOW" not in said(driven)[0]


def test_a_plan_its_holds_and_a_stop_along_its_path_are_each_shown(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    """A hold has number and stamp of its plan, and is published again and again."""
    cycle = recorded.cycles[8]
    assert cycle.plan is not None
    hold, stop = (replace(cycle, plan=replace(cycle.plan, source=source)) for source in ("hold", "stop"))
    messages: Said = [*outputs(cycle, 1, rig)]
    for times, one in ((1, hold), (2, hold), (3, stop)):
        messages += [(log_ns + times * 100_000_000, *rest) for log_ns, *rest in outputs(one, 1, rig)[:2]]
    scenes = scenes_of(with_outputs(recorded.bag, messages, tmp_path / "bag"), rig)
    assert [scene.plan.source for scene in scenes if scene.plan] == ["model", "hold", "hold", "stop"]
    assert len(scenes) == 4


def test_lost_messages_are_told(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    cycle = recorded.cycles[-1]
    said = [record for record in outputs(cycle, 7, rig) if not record[1].endswith("trajectory")]
    bare = [record for record in outputs(recorded.cycles[-2], 6, rig) if record[1].endswith("trajectory")]
    scenes = scenes_of(with_outputs(recorded.bag, said + bare, tmp_path / "bag"), rig)
    assert [scene.status.state for scene in scenes] == ["unknown", "nominal"]
    assert scenes[0].plan is not None
    assert scenes[0].plan.reasoning.text == ""
    assert scenes[1].refused == "the recording lacks the trajectory of plan 7"


def test_a_topic_of_another_type_is_refused(recorded: Recorded, rig: Rig, tmp_path: Path) -> None:
    said = outputs(recorded.cycles[-1], 7, rig)
    status = next(record for record in said if record[1].endswith("status"))
    wrong = (status[0], f"{PLANNER}/trajectory", status[2], status[3])
    with pytest.raises(InvalidInput, match=r"trajectory of alpamayo_ros/msg/PlanStatus, want alpamayo_ros/msg/UnicycleTraj"):
        scenes_of(with_outputs(recorded.bag, [wrong], tmp_path / "bag"), rig)


DAMAGE: list[tuple[str, Callable[[Any], None], str]] = [
    ("PlanStatus", lambda m: setattr(m, "state", 99), "PlanStatus.state: want one of .*6, got 99"),
    ("PlanStatus", lambda m: setattr(m, "stages", []), "PlanStatus: 0 stages, but 1 stage_ms"),
    ("UnicycleTrajectory", lambda m: setattr(m, "source", 9), "UnicycleTrajectory.source: .* got 9"),
    ("UnicycleTrajectory", lambda m: setattr(m, "points", []), "0 times"),
    ("TrajectoryCandidates", lambda m: setattr(m, "chosen_index", 2), "chosen_index: 2 of 2 candidates"),
    ("ReasoningTrace", lambda m: setattr(m, "longitudinal", 99), "ReasoningTrace.longitudinal: .* got 99"),
    ("ReasoningTrace", lambda m: setattr(m, "lateral", 99), "ReasoningTrace.lateral: .* got 99"),
    ("ReasoningTrace", lambda m: setattr(m, "lateral_direction", 3), "ReasoningTrace.lateral_direction: .* got 3"),
    ("ReasoningTrace", lambda m: setattr(m, "consistent", 3), "ReasoningTrace.consistent: want one of 0, 1, 2, got 3"),
    ("ReasoningTrace", lambda m: setattr(m.components[0], "category", 7), "CriticalComponent.category: .* got 7"),
    ("ReasoningTrace", lambda m: setattr(m.meta_actions[0], "axis", 9), "MetaAction.axis: want one of 0, 1, got 9"),
    ("ReasoningTrace", lambda m: setattr(m.meta_actions[0], "action", 7), "MetaAction.action of .* motion: .* got 7"),
]


@pytest.mark.parametrize(("kind", "damage", "expected"), DAMAGE, ids=[expected[:40] for *_, expected in DAMAGE])
def test_numbers_that_mean_nothing_are_refused_by_their_field(
    recorded: Recorded, rig: Rig, tmp_path: Path, kind: str, damage: Callable[[Any], None], expected: str
) -> None:
    """They come from a file, which anything may have written."""
    calibration = [(r.log_ns, r.topic, r.type_name, r.cdr) for r in read_bag(recorded.bag, ["/tf_static"])]
    said: Said = calibration
    for log_ns, topic, type_name, cdr in outputs(recorded.cycles[-1], 7, rig):
        message = deserialize_message(cdr, getattr(msg, type_name.rsplit("/", 1)[1]))
        if type_name.endswith(kind):
            damage(message)
        said.append((log_ns, topic, type_name, serialize_message(message)))
    with BagWriter(tmp_path / "bag") as writer:
        for log_ns, topic, type_name, cdr in said:
            writer.write(topic, type_name, log_ns, cdr)
    with pytest.raises(InvalidInput, match=expected):
        scenes_of(tmp_path / "bag", rig)
