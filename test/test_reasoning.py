"""Traces parsed, trajectories named, and the one rule that compares the two."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.reasoning import consistent, meta_actions, parse_trace, shuffled_consistency
from alpamayo_ros.reasoning.trace import clean
from alpamayo_ros.types import (
    HORIZON,
    STEP_S,
    Decision,
    InvalidInput,
    Lateral,
    LateralAction,
    Longitudinal,
    LongitudinalAction,
    MetaAction,
    ReasoningTrace,
    Trajectory,
)

PAIRS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "reasoning_pairs.yaml").read_text())


def series(pieces: Sequence[tuple[float, float]]) -> np.ndarray:
    """64 values of (seconds, value) pieces, 0 after the last."""
    values = np.concatenate([[], *[np.full(round(seconds / STEP_S), value) for seconds, value in pieces]])
    return np.pad(values, (0, HORIZON))[:HORIZON]


def drive(
    v0: float,
    accel: Sequence[tuple[float, float]] = (),
    curvature: Sequence[tuple[float, float]] = (),
    reverse: bool = False,
) -> Trajectory:
    """The motion of a pair; braking holds at standstill unless it may reverse."""
    accels, speed = series(accel), v0
    for i, a in enumerate(accels):
        if not reverse:
            accels[i] = max(a, -speed / STEP_S)
        speed += accels[i] * STEP_S
    return trajectory(accels, series(curvature), v0)


def motion(pair: dict[str, Any]) -> tuple[MetaAction, ...]:
    path = drive(pair["v0"], pair.get("accel", ()), pair.get("curvature", ()), pair.get("reverse", False))
    return meta_actions(path, pair["v0"])


def read(text: str) -> ReasoningTrace:
    return parse_trace(text, tokens=40, complete=True)


def labelled(pair: dict[str, Any]) -> Decision:
    return Decision(pair.get("long"), pair.get("lat"), pair.get("side"))


def mirrored(text: str) -> str:
    return re.sub("left|right", lambda m: "right" if m[0] == "left" else "left", text)


def name(pair: dict[str, Any]) -> str:
    return pair["trace"][:60]


# ------------------------------------------------------------------------------------------------------ the hand-labelled set


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_the_decision_of_a_trace_is_the_one_a_reader_takes(pair: dict[str, Any]) -> None:
    assert read(pair["trace"]).decision == labelled(pair)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_words_and_motion_agree_as_labelled_by_hand(pair: dict[str, Any]) -> None:
    verdict = consistent(read(pair["trace"]).decision, motion(pair))
    assert verdict.agrees is pair["agrees"], verdict.why_not


@pytest.mark.parametrize("pair", [p for p in PAIRS if "side" in p], ids=name)
def test_a_mirrored_pair_is_judged_alike(pair: dict[str, Any]) -> None:
    other = drive(pair["v0"], pair.get("accel", ()), [(s, -k) for s, k in pair.get("curvature", ())])
    decision = read(mirrored(pair["trace"])).decision
    assert decision == Decision(pair.get("long"), pair["lat"], mirrored(pair["side"]))
    assert consistent(decision, meta_actions(other, pair["v0"])).agrees is pair["agrees"]


def test_the_labelled_set_has_every_decision_both_agreeing_and_contradicted() -> None:
    for agrees in (True, False):
        chosen = [p for p in PAIRS if p["agrees"] is agrees]
        assert {p.get("long") for p in chosen} - {None} == set(get_args(Longitudinal))
        assert {p.get("lat") for p in chosen} - {None} == set(get_args(Lateral))
    sided = {(p["lat"], p["side"]) for p in PAIRS if "side" in p}
    assert sided == {(lat, side) for lat in set(get_args(Lateral)) - {"lane_keeping"} for side in ("left", "right")}


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_pairs_mostly_disagree(seed: int) -> None:
    # A score of consistency is worth something only where strangers score low.
    assert shuffled_consistency([labelled(p) for p in PAIRS], [motion(p) for p in PAIRS], seed) <= 0.4


# ------------------------------------------------------------------------------------------------------------- meta-actions

ONE_KIND: dict[str, Trajectory] = {
    "maintain_speed": drive(10),
    "gentle_accelerate": drive(10, [(6.4, 1.3)]),
    "strong_accelerate": drive(10, [(6.4, 1.5)]),
    "gentle_decelerate": drive(20, [(6.4, -1.3)]),
    "strong_decelerate": drive(20, [(6.4, -1.5)]),
    "stop": drive(0),
    "reverse": drive(-1, reverse=True),
    "go_straight": drive(10),
    "steer_left": drive(10, (), [(6.4, 0.01)]),
    "steer_right": drive(10, (), [(6.4, -0.01)]),
    "sharp_steer_left": drive(5, (), [(6.4, 0.06)]),
    "sharp_steer_right": drive(5, (), [(6.4, -0.06)]),
    "reverse_left": drive(-1.5, (), [(6.4, -0.05)], reverse=True),
    "reverse_right": drive(-1.5, (), [(6.4, 0.05)], reverse=True),
}


def start_speed(path: Trajectory) -> float:
    return float(path.speed_mps[0] - path.accel_mps2[0] * STEP_S)


@pytest.mark.parametrize("action", get_args(LongitudinalAction) + get_args(LateralAction))
def test_steady_motion_is_one_meta_action(action: str) -> None:
    path = ONE_KIND[action]
    axis = "longitudinal" if action in get_args(LongitudinalAction) else "lateral"
    found = [m for m in meta_actions(path, start_speed(path)) if m.axis == axis]
    assert [(m.action, m.start_s, round(m.end_s, 9)) for m in found] == [(action, 0.0, 6.4)]


def actions(axis: str, path: Trajectory, v0: float) -> list[tuple[str, float, float]]:
    return [(m.action, round(m.start_s, 6), round(m.end_s, 6)) for m in meta_actions(path, v0) if m.axis == axis]


def test_braking_to_a_stop_and_setting_off_again_is_three_actions() -> None:
    path = drive(4, [(2.0, -2.0), (2.0, 0.0), (2.4, 1.0)])
    found = actions("longitudinal", path, 4.0)
    assert [action for action, _, _ in found] == ["strong_decelerate", "stop", "gentle_accelerate"]
    # Smoothing over 5 ticks and the 0.3 m/s cut move an edge by at most 0.4 s.
    assert [start for _, start, _ in found] == pytest.approx([0.0, 2.0, 4.0], abs=0.4)


def test_acceleration_that_trembles_around_a_threshold_is_not_cut_to_pieces() -> None:
    path = drive(10, [(0.5, a) for a in (1.3, 1.2) * 6])
    assert [action for action, _, _ in actions("longitudinal", path, 10.0)] == ["gentle_accelerate"]


def test_a_lane_change_steers_one_way_and_back_at_any_speed() -> None:
    for v0 in (8.0, 15.0, 22.0, 30.0):
        k = 3.5 / (2.5 * v0) ** 2  # 3.5 m in two halves of 2.5 s
        found = actions("lateral", drive(v0, (), [(2.5, k), (2.5, -k)]), v0)
        assert [action for action, _, _ in found][:2] == ["steer_left", "steer_right"], v0


def test_an_action_too_short_to_matter_is_absorbed() -> None:
    path = drive(10, [(3.0, 0.0), (0.3, -3.0), (3.1, 0.0)])
    assert actions("longitudinal", path, 10.0) == [("maintain_speed", 0.0, 6.4)]


def test_a_held_trajectory_covers_only_what_is_still_ahead() -> None:
    path = drive(10)
    ahead = Trajectory(*(getattr(path, f)[20:] for f in ("t_s", "xyz", "yaw_rad", "speed_mps", "accel_mps2", "curvature_1pm")))
    assert actions("longitudinal", ahead, 10.0) == [("maintain_speed", 2.0, 6.4)]


def test_points_that_are_not_a_tenth_of_a_second_apart_are_refused() -> None:
    path = trajectory(np.zeros(8), np.zeros(8), 5.0, dt_s=0.2)
    with pytest.raises(InvalidInput, match=r"want points 0\.1 s apart"):
        meta_actions(path, 5.0)


# Pieces of a drive: ticks, acceleration, curvature.
DRIVES = st.lists(
    st.tuples(st.integers(1, 30), st.floats(-6, 4, allow_nan=False), st.floats(-0.2, 0.2, allow_nan=False)), max_size=6
)


def pieces_drive(v0: float, pieces: list[tuple[int, float, float]], side: float = 1.0) -> Trajectory:
    accel = [(ticks * STEP_S, a) for ticks, a, _ in pieces]
    return drive(v0, accel, [(ticks * STEP_S, side * k) for ticks, _, k in pieces], reverse=True)


@settings(deadline=None, max_examples=60)
@given(v0=st.floats(-3, 30), pieces=DRIVES)
def test_meta_actions_cover_the_horizon_and_never_overlap(v0: float, pieces: list[tuple[int, float, float]]) -> None:
    for axis in ("longitudinal", "lateral"):
        found = actions(axis, pieces_drive(v0, pieces), v0)
        assert (found[0][1], found[-1][2]) == (0.0, 6.4)
        assert all(a[2] == b[1] and a[0] != b[0] for a, b in pairwise(found))
        assert all(end - start > 0.75 for _, start, end in found), "the shortest action is 8 ticks"


@settings(deadline=None, max_examples=60)
@given(v0=st.floats(-3, 30), pieces=DRIVES)
def test_a_mirrored_trajectory_mirrors_left_and_right(v0: float, pieces: list[tuple[int, float, float]]) -> None:
    # A rate that falls exactly on a threshold may go either way: the pieces are nudged off it.
    pieces = [(ticks, a, k + 1e-7) for ticks, a, k in pieces]
    here, there = pieces_drive(v0, pieces), pieces_drive(v0, pieces, side=-1.0)
    assert [(mirrored(a), s, e) for a, s, e in actions("lateral", here, v0)] == actions("lateral", there, v0)
    assert actions("longitudinal", here, v0) == actions("longitudinal", there, v0)


# ------------------------------------------------------------------------------------------------------------------- traces


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=300) | st.text("stop yield left right lane. because<|>\n\x00", max_size=200))
def test_any_text_parses_and_comes_out_clean(text: str) -> None:
    parsed = parse_trace(text, tokens=3, complete=False)
    assert (parsed.tokens, parsed.complete) == (3, False)
    assert clean(parsed.text) == parsed.text
    assert parsed.text.isprintable()
    assert len(parsed.text.encode("utf-8")) <= 2048


def test_special_tokens_and_control_characters_are_removed_and_length_is_bounded() -> None:
    assert read("<|cot_start|>Stop\x07 for the\nred light.<|im_end|><|im_end|>Turn left").text == ("Stop for the red light.")
    assert read("<\x00|im_end|>Stop.").text == "", "a token hidden by a control character is still one"
    assert len(read("é" * 3000).text.encode()) == 2048


@pytest.mark.parametrize(
    ("text", "category", "description", "attributes"),
    [
        ("Keep distance to the lead vehicle because it is slowing ahead.", "critical_object", "lead vehicle",
         {"type": "vehicle", "role": "lead", "motion": "slowing", "position": "ahead"}),
        ("Nudge left to pass the parked white car on the right.", "critical_object", "parked white car",
         {"type": "vehicle", "motion": "stopped", "side": "right", "colour": "white"}),
        ("Yield to the pedestrian in the crosswalk.", "critical_object", "pedestrian",
         {"type": "pedestrian"}),
        ("Stop since the straight traffic light is red.", "traffic_light", "straight traffic light",
         {"colour": "red", "arrow": "straight"}),
        ("Turn left because the left-turn traffic light turns green.", "traffic_light", "left-turn traffic light",
         {"colour": "green", "arrow": "left"}),
        ("Stop for the stop sign.", "yield_stop_control", "stop sign", {"kind": "stop"}),
        ("Adapt speed for the sharp right curve ahead.", "road_event", "sharp right curve",
         {"side": "right", "sharpness": "sharp"}),
        ("Merge left because the right lane is closed.", "lane", "right lane", {"side": "right", "state": "closed"}),
        ("Lane change to the right to take the upcoming exit.", "routing_intent", "upcoming exit", {}),
        ("Slow down for the work zone.", "odd_constraint", "work zone", {}),
    ],
)  # fmt: skip
def test_critical_components_are_read_with_what_the_words_say_of_them(
    text: str, category: str, description: str, attributes: dict[str, str]
) -> None:
    found = {(c.category, c.description): dict(c.attributes) for c in read(text).components}
    assert found[category, description] == attributes


def test_things_that_are_absent_are_no_components() -> None:
    parsed = read("Keep lane to continue driving since no lead vehicle is present.")
    assert parsed.components == ()


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("Adapt speed for the curveAdjust speed curvature", Decision("speed_adaptation")),
        ("The road is wet. Stop for the red traffic light. Turn left.", Decision("stop_for_static_constraints")),
        ("Keep lane since the merging vehicle on the right is yielding.", Decision(lateral="lane_keeping")),
        ("Keep lane and keep speed due to no lead vehicle ahead.", Decision("set_speed_tracking", "lane_keeping")),
        ("Nudge around the parked car on the right.", Decision(lateral="in_lane_nudge")),
        ("Adapt speed for the pedestrian crossing warning ahead.", Decision("speed_adaptation")),
        ("Slow down for the pedestrian crossing the road.", Decision("yield")),
    ],
)
def test_causes_and_places_are_not_taken_for_decisions(text: str, decision: Decision) -> None:
    assert read(text).decision == decision


# -------------------------------------------------------------------------------------------------------------- consistency


def acts(*names: str) -> tuple[MetaAction, ...]:
    def axis(names: Sequence[str], kind: Any) -> list[MetaAction]:
        which = "longitudinal" if kind is LongitudinalAction else "lateral"
        chosen = [n for n in names if n in get_args(kind)]
        return [MetaAction(which, n, 3.2 * i, 3.2 * (i + 1)) for i, n in enumerate(chosen)]

    return (*axis(names, LongitudinalAction), *axis(names, LateralAction))


def test_a_contradiction_says_what_was_allowed_and_what_came() -> None:
    verdict = consistent(Decision("stop_for_static_constraints"), acts("maintain_speed", "strong_accelerate", "go_straight"))
    assert verdict.agrees is False
    assert verdict.why_not == (
        "stop_for_static_constraints allows gentle_decelerate, strong_decelerate, stop; trajectory strong_accelerate 3.2-6.4 s"
    )


def test_a_stop_fulfils_a_decision_to_stop() -> None:
    decision = Decision("stop_for_static_constraints")
    assert consistent(decision, acts("stop", "gentle_accelerate", "go_straight")).agrees
    assert not consistent(decision, acts("gentle_decelerate", "gentle_accelerate", "go_straight")).agrees


def test_an_axis_left_unnamed_must_go_on_uneventfully() -> None:
    assert not consistent(Decision(lateral="lane_keeping"), acts("strong_decelerate", "go_straight")).agrees
    assert not consistent(Decision("set_speed_tracking"), acts("maintain_speed", "sharp_steer_left")).agrees
    assert consistent(Decision(lateral="turn", direction="left"), acts("strong_decelerate", "sharp_steer_left")).agrees


def test_without_a_decision_nothing_agrees_or_contradicts() -> None:
    verdict = consistent(Decision(), acts("stop", "go_straight"))
    assert (verdict.agrees, verdict.why_not) == (None, "")


def test_a_trajectory_without_meta_actions_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no meta-actions"):
        consistent(Decision("yield"), ())


def test_every_explanation_fits_its_message() -> None:
    longest = 0
    for long in (None, *get_args(Longitudinal)):
        for lat in (None, *get_args(Lateral)):
            for side in (None, "left", "right") if lat else (None,):
                for a in get_args(LongitudinalAction):
                    for b in get_args(LateralAction):
                        longest = max(longest, len(consistent(Decision(long, lat, side), acts(a, b)).why_not))
    assert 0 < longest <= 256


def test_a_rule_that_always_agrees_would_be_seen_by_shuffling() -> None:
    same = [acts("maintain_speed", "go_straight")] * 5
    assert shuffled_consistency([Decision(lateral="lane_keeping")] * 5, same, seed=0) == 1.0
    assert shuffled_consistency([Decision("yield")] * 5, same, seed=0) == 0.0
    with pytest.raises(InvalidInput, match="none of 5 traces"):
        shuffled_consistency([Decision()] * 5, same, seed=0)
    with pytest.raises(InvalidInput, match="want >= 2 pairs, got 5 decisions and 1"):
        shuffled_consistency([Decision("yield")] * 5, same[:1], seed=0)


def test_a_shuffle_depends_on_its_seed_alone() -> None:
    decisions, motions = [labelled(p) for p in PAIRS], [motion(p) for p in PAIRS]
    assert shuffled_consistency(decisions, motions, 3) == shuffled_consistency(decisions, motions, 3)
    assert len({shuffled_consistency(decisions, motions, seed) for seed in range(4)}) > 1


REAL = (Path(__file__).parents[1] / "../shared/data/ar1_traces/consecutive_windows.json").resolve()


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_file(), reason=f"no recorded traces at {REAL}")
def test_real_traces_name_a_decision() -> None:
    texts = {text for clip in json.loads(REAL.read_text()).values() for text in clip}
    parsed = [read(text) for text in texts]
    worded = [p for p in parsed if len(p.text.split()) >= 3]  # the rest is empty or cut by the sampler
    assert len(worded) > 2000
    assert sum(p.decision != Decision() for p in worded) / len(worded) >= 0.95
