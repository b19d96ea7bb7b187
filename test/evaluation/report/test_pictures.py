"""Worst windows: the right ones, spread over clips, with what the cameras saw there or the reason why not."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation.openloop.made import START_NS, made_evaluation

from alpamayo_ros.bags import deserialize, read_bag
from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.evaluation.report.pictures import ABOVE_PX, CAMERAS_PX, CASES, FRONT_PX, Case, worst, worst_cases
from alpamayo_ros.pipeline.decode import camera_frame, pixels_into
from alpamayo_ros.profile import Rig


def picture(uri: str) -> np.ndarray:
    """RGB pixels of a data URI."""
    data = np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def cases(evaluation: Evaluation, recorded: Path) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {"bag_0": [], "bag_1": []}
    for case in worst_cases(evaluation, {"bag_0": recorded}):
        found[case.bad.bag.bag].append(case)
    return found


def test_the_worst_windows_come_first_and_at_most_two_of_a_clip() -> None:
    made = made_evaluation(bags=2, windows=45)
    bads = worst(made)
    errors = {w.clip + str(w.t0_ns): w.metrics["made"].ade_m[-1] for w in made.windows}
    assert bads[0].ade_m == max(e for e in errors.values() if e is not None)
    assert [bad.ade_m for bad in bads] == sorted((bad.ade_m for bad in bads), reverse=True)
    assert len({bad.window.t0_ns for bad in bads}) <= len(bads) <= CASES
    assert max(Counter(bad.window.clip for bad in bads).values()) == 2
    for bad in bads:
        better = [e for key, e in errors.items() if key.startswith(bad.window.clip) and e is not None and e > bad.ade_m]
        assert len(better) < 2, "a worse window of the same clip was passed over"


def test_bags_of_one_name_have_clips_of_their_own() -> None:
    made = made_evaluation(bags=1, windows=20)
    same = replace(made, bags=tuple(replace(made.bags[0], bag=f"/day_{day}/drive") for day in range(3)))
    assert Counter(bad.bag.bag for bad in worst(same)) == {f"/day_{day}/drive": len(worst(made)) for day in range(3)}


def test_a_bag_without_a_long_future_is_judged_at_the_longest_horizon_it_has() -> None:
    bads = worst(made_evaluation(bags=1, windows=6))
    assert {bad.horizon_s for bad in bads} == {3.0}
    assert bads[0].bag.windows.index(bads[0].window) == 0, "the only one whose future is known for 3 s"


def test_the_front_camera_shows_the_plan_on_the_road_and_nowhere_else(
    cases: dict[str, list[Case]], recorded: Path, small_rig: Rig
) -> None:
    case = cases["bag_0"][0]
    camera = small_rig.cameras["front_wide"]
    raw = np.empty((FRONT_PX * camera.height // camera.width, FRONT_PX, 3), np.uint8)
    for record in read_bag(recorded, [camera.topic]):
        frame = camera_frame(deserialize(record.cdr, record.type_name), "front_wide", camera, 0)
        if frame.stamp_ns == case.bad.window.t0_ns:
            pixels_into(frame, raw)
    shown = picture(case.front)
    assert shown.shape == raw.shape
    apart = np.abs(shown.astype(int) - raw).max(axis=2)
    assert np.median(apart[: len(apart) // 3]) < 8, "the sky is that of the frame at t0, but for JPEG"
    assert (apart[-10:, 300:660] > 25).mean() > 0.5, "the ribbon begins under the camera"


def test_all_cameras_and_the_view_from_above_are_there(cases: dict[str, list[Case]]) -> None:
    for case in cases["bag_0"]:
        assert not case.missing
        assert picture(case.cameras).shape[1] == CAMERAS_PX
        assert picture(case.above).shape == (ABOVE_PX, ABOVE_PX, 3)


def test_a_bag_that_is_not_there_is_named_and_the_view_from_above_stays(
    evaluation: Evaluation, cases: dict[str, list[Case]], tmp_path: Path
) -> None:
    assert {case.missing for case in cases["bag_1"]} == {"nobody said where bag_1 is"}
    (case, *_) = worst_cases(evaluation, dict.fromkeys(("bag_0", "bag_1"), tmp_path / "gone"))
    assert "no such bag" in case.missing
    assert not case.front
    assert picture(case.above).any()


def test_a_bag_without_the_frame_says_what_it_lacks(evaluation: Evaluation, recorded: Path) -> None:
    only = replace(evaluation, bags=evaluation.bags[1:])
    missing = [case.missing for case in worst_cases(only, {"bag_1": recorded})]
    assert any(f"no front_wide frame at {START_NS // 10**11}" in reason for reason in missing)
