"""One bag to its evaluation: the node's own windows, every contender on the same observation, nothing lost in silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import yaml
from evaluation.openloop.made import SECONDS
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from alpamayo_ros.bags import BagWriter, read_bag
from alpamayo_ros.bags.messages import typestore
from alpamayo_ros.evaluation.metrics import plan_deviation_m
from alpamayo_ros.evaluation.openloop import windows
from alpamayo_ros.evaluation.openloop.provenance import of_inputs
from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, BagEvaluation, Setup
from alpamayo_ros.evaluation.openloop.windows import contenders, evaluate_bag
from alpamayo_ros.evaluation.replay import digest, replay_bag
from alpamayo_ros.evaluation.single import Asked, plan_once
from alpamayo_ros.profile import Rig, read_rig, shared_files
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import EngineFailure, InvalidInput, Request

OWN = "evaluation.openloop.contenders:"


@pytest.fixture(autouse=True)
def _own_engines_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture(scope="module")
def setup(small_rig: tuple[Rig, Path], small_profile: Path) -> Setup:
    return Setup(str(small_rig[1]), (KINEMATIC,), str(small_profile), Request(), 2.0)


@pytest.fixture(scope="module")
def evaluated(bag: Path, setup: Setup) -> BagEvaluation:
    return evaluate_bag(bag, setup)


def plain(value: Any) -> Any:
    """Everything a value says but for what is not part of its equality; arrays to the byte."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def same_windows(one: BagEvaluation, other: BagEvaluation) -> bool:
    """But for the clips, which are named by the bag."""
    return [plain(replace(w, clip="")) for w in one.windows] == [plain(replace(w, clip="")) for w in other.windows]


# ------------------------------------------------------------------------------------------------------------------ windows


def test_two_windows_a_second_from_when_the_history_is_full(evaluated: BagEvaluation) -> None:
    t0s = [window.t0_ns for window in evaluated.windows]
    assert set(np.diff(t0s).tolist()) == {500_000_000}
    assert evaluated.coverage.anchors == SECONDS * 2
    assert len(t0s) == SECONDS * 2 - 1, "at the first instant there is no history"
    assert sum(evaluated.coverage.not_observed.values()) == 1
    assert evaluated.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert {window.clip for window in evaluated.windows} == {"drive/0"}


def test_seconds_and_clips_count_stamps_whatever_clock_recorded_them(
    evaluated: BagEvaluation, bag: Path, setup: Setup, tmp_path: Path
) -> None:
    """A simulation's stamps, recorded on another clock."""
    with BagWriter(tmp_path / "drive") as writer:
        for record in read_bag(bag):
            writer.write(record.topic, record.type_name, record.log_ns + 100_000_000_000_000_000, record.cdr)
    found = evaluate_bag(tmp_path / "drive", setup)
    assert [window.clip for window in found.windows] == ["drive/0"] * len(evaluated.windows)
    assert found.start_ns == evaluated.start_ns == evaluated.windows[0].t0_ns - 500_000_000


def test_a_bag_that_is_refused_does_not_wait_for_its_hash(
    bag: Path, setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine dies while the bag's bytes are still being hashed, which never ends."""
    stopped: list[bool] = []

    def endless(_: Path, stop: Event) -> str:
        stopped.append(stop.wait(10.0))
        return ""

    monkeypatch.setattr(windows, "bag_sha256", endless)
    with pytest.raises(EngineFailure, match="Dying"):
        evaluate_bag(bag, replace(setup, bundles=(OWN + "Dying",)))
    assert stopped == [True]


def test_the_future_is_known_as_far_as_the_bag_goes(evaluated: BagEvaluation) -> None:
    known = [len(window.driven.xyz) for window in evaluated.windows]
    assert known == sorted(known, reverse=True)
    assert known[-1] < 5
    assert evaluated.coverage.future_to_s["6.4"] == known.count(64) > 0
    assert evaluated.coverage.future_to_s["0.5"] == sum(points >= 5 for points in known)
    whole, none = evaluated.windows[0].metrics[KINEMATIC], evaluated.windows[-1].metrics[KINEMATIC]
    assert whole.ade_m[-1] is not None
    assert whole.missed is not None
    assert set(none.ade_m) == {None}
    assert none.missed is None


def test_a_window_is_what_a_replay_plans_at_this_t0(evaluated: BagEvaluation, bag: Path, setup: Setup) -> None:
    replayed = {plan.t0_ns: plan for plan in replay_bag(bag, read_rig(setup.rig), KINEMATIC, setup.profile).plans}
    for window in evaluated.windows:
        assert digest([window.plans[KINEMATIC]]) == digest([replayed[window.t0_ns]])
    first, second = evaluated.windows[:2]
    assert digest([first.plans[KINEMATIC]]) != digest([replayed[second.t0_ns]])


def test_one_plan_has_the_error_of_its_window(evaluated: BagEvaluation, bag: Path, setup: Setup, tmp_path: Path) -> None:
    window = evaluated.windows[0]
    figures = plan_once(Asked(bag, window.t0_ns, read_rig(setup.rig), KINEMATIC, setup.profile), tmp_path)
    assert figures["t0_ns"] == window.t0_ns
    assert figures["ade_m"] == window.metrics[KINEMATIC].ade_m[-1] > 0


def test_a_plan_is_held_against_the_one_before(evaluated: BagEvaluation) -> None:
    assert evaluated.windows[0].deviations_m[KINEMATIC] is None
    for before, window in zip(evaluated.windows, evaluated.windows[1:], strict=False):
        expected = plan_deviation_m(before.plans[KINEMATIC], before.ego_t0, window.plans[KINEMATIC], window.ego_t0)
        assert window.deviations_m[KINEMATIC] == expected is not None


def test_two_runs_are_equal_to_the_byte(evaluated: BagEvaluation, bag: Path, setup: Setup) -> None:
    shares: list[float] = []
    again = evaluate_bag(bag, setup, shares.append)
    assert plain(again) == plain(evaluated)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not same_windows(evaluated, evaluate_bag(bag, replace(setup, rate_hz=1.0)))


@pytest.mark.thorough
def test_the_shipped_bundle_gives_the_same_twice(tmp_path: Path) -> None:
    nano = shared_files() / "models" / "ar1_nano"
    rig = read_rig("seven_camera")
    small = {role: camera.model_copy(update={"width": 160, "height": 96}) for role, camera in rig.cameras.items()}
    rig = rig.model_copy(update={"cameras": small})
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig.model_dump(mode="json")))
    make_bag(tmp_path / "bag", rig, duration_s=2.6, seed=0)
    asked = Setup(str(tmp_path / "rig.yaml"), (str(nano),), "seven_camera", Request(samples=2, reasoning="none"), 2.0)
    one, other = evaluate_bag(tmp_path / "bag", asked), evaluate_bag(tmp_path / "bag", asked)
    assert plain(one) == plain(other)
    assert list(one.weights) == ["ar1_nano", "ar1_nano" + BLANKED, KINEMATIC]
    assert all(set(window.plans) | set(window.refused) == set(one.weights) for window in one.windows)


# --------------------------------------------------------------------------------------------------------------- contenders


def test_a_bundle_is_judged_beside_itself_blindfolded_and_the_baseline(bag: Path, setup: Setup) -> None:
    """The engine answers by what it sees, and keeps the features of frames that it was told of, as engines may."""
    found = evaluate_bag(bag, replace(setup, bundles=(OWN + "Remembering", OWN + "Looking")))
    seeing, looking = OWN + "Remembering", OWN + "Looking"
    assert list(found.weights) == [seeing, looking, seeing + BLANKED, KINEMATIC]
    assert found.weights[KINEMATIC] == "none"
    assert found.weights[seeing + BLANKED] == "untrained"
    for window in found.windows:
        assert set(window.plans) == set(found.weights)
        assert {plan.epoch for plan in window.plans.values()} == {0}
        texts = {name: plan.reasoning.text for name, plan in window.plans.items()}
        assert texts[seeing] == texts[looking] != "black", "the same observation"
        assert texts[seeing + BLANKED] == "black"
        stages = {"observe", "infer", "rollout", "reasoning", "total"}
        assert all(set(plan.stage_ms) == stages for plan in window.plans.values())
    assert len({window.plans[seeing].reasoning.text for window in found.windows}) == len(found.windows)
    assert found.windows[1].deviations_m[seeing + BLANKED] is not None


def test_a_built_in_engine_sees_what_the_first_folder_does(setup: Setup) -> None:
    nano = str(shared_files() / "models" / "ar1_nano")
    for bundles in ((nano, KINEMATIC), (KINEMATIC, nano)):
        assert windows.shared_profile(replace(setup, bundles=bundles)).name == "ar1_nano"
    with_both = of_inputs(replace(setup, bundles=(KINEMATIC, nano)))
    assert with_both[f"profile of {KINEMATIC}"] == with_both[f"profile of {nano}"]
    assert windows.shared_profile(setup).image_height == 48, "of its own it has the one that is asked for"


def test_a_planner_without_cameras_has_no_blindfolded_self(evaluated: BagEvaluation) -> None:
    assert list(evaluated.weights) == [KINEMATIC]


def test_an_engine_without_an_answer_loses_the_window_and_not_the_bag(
    bag: Path, setup: Setup, evaluated: BagEvaluation
) -> None:
    found = evaluate_bag(bag, replace(setup, bundles=(OWN + "Silent", KINEMATIC)))
    silent = OWN + "Silent"
    refused = [window.refused.get(silent, "") for window in found.windows]
    assert [bool(reason) for reason in refused] == [k % 2 == 1 for k in range(len(refused))]
    assert "incomplete" in refused[1]
    assert [window.deviations_m.get(silent, "no plan") for window in found.windows[:3]] == [None, "no plan", None]
    for window, alone in zip(found.windows, evaluated.windows, strict=True):
        assert digest([window.plans[KINEMATIC]]) == digest([alone.plans[KINEMATIC]])


def test_a_plan_that_the_checks_reject_is_scored_and_says_which(bag: Path, setup: Setup) -> None:
    """Wild actions; the vehicle's own motion carried on does so at most where it would stop."""
    wild = OWN + "Wild"
    found = evaluate_bag(bag, replace(setup, bundles=(wild,)))
    for window in found.windows:
        for name, plan in window.plans.items():
            failing = [one for one in findings(plan, window.ego_t0, LIMITS) if one.rejects]
            assert window.rejected.get(name, ()) == tuple(f"{one.check} {one.name}" for one in failing)
        assert "V6 acceleration" in window.rejected[wild]
        assert wild in window.metrics
    assert any(KINEMATIC not in window.rejected for window in found.windows)


def test_an_engine_that_dies_ends_the_bag(bag: Path, setup: Setup) -> None:
    with pytest.raises(EngineFailure, match=r"Dying.* at \d+ ns: the engine's process ended with status 3"):
        evaluate_bag(bag, replace(setup, bundles=(OWN + "Dying",)))


def test_contenders_that_cannot_be_compared_are_refused(bag: Path, setup: Setup, tmp_path: Path) -> None:
    nano = shared_files() / "models" / "ar1_nano"
    other = tmp_path / "ar1_nano"
    other.mkdir()
    (other / "profile.yaml").write_text((nano / "profile.yaml").read_text())
    by_engine = contenders(replace(setup, bundles=(str(nano), f"{nano}@graphed", KINEMATIC)))
    assert [each.name for each in by_engine if not each.is_blind] == ["ar1_nano@eager", "ar1_nano@graphed", KINEMATIC]
    with pytest.raises(InvalidInput, match="both would be called ar1_nano@eager"):
        evaluate_bag(bag, replace(setup, bundles=(str(nano), str(other))))
    with pytest.raises(InvalidInput, match="both would be called kinematic"):
        evaluate_bag(bag, replace(setup, bundles=(KINEMATIC, KINEMATIC)))
    with pytest.raises(
        InvalidInput, match=r"has the profile ar1_nano, .*Looking has seven_camera.* differ in .*image_height 64"
    ):
        evaluate_bag(bag, replace(setup, bundles=(str(nano), OWN + "Looking")))
    with pytest.raises(InvalidInput, match="want one or more"):
        evaluate_bag(bag, replace(setup, bundles=()))
    with pytest.raises(InvalidInput, match="want more than 0 windows per second, got 0"):
        evaluate_bag(bag, replace(setup, rate_hz=0.0))


# ------------------------------------------------------------------------------------------------------------------ storages


def rewritten(bag: Path, out: Path, plugin: StoragePlugin, compression: CompressionMode | None = None) -> None:
    """The bag in another storage, by rosbags' own writer."""
    writer = Writer(out, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    connections: dict[str, Any] = {}
    with writer:
        for record in read_bag(bag):
            if record.topic not in connections:
                connections[record.topic] = writer.add_connection(record.topic, record.type_name, typestore=typestore())
            writer.write(connections[record.topic], record.log_ns, record.cdr)


def split(bag: Path, out: Path) -> None:
    """The bag in two files that overlap in time: every third message is in the second one."""
    out.mkdir()
    parts = [out.parent / "first", out.parent / "second"]
    with BagWriter(parts[0]) as first, BagWriter(parts[1]) as second:
        for number, record in enumerate(read_bag(bag)):
            (second if number % 3 == 2 else first).write(record.topic, record.type_name, record.log_ns, record.cdr)
    one, two = (yaml.safe_load((part / "metadata.yaml").read_text())["rosbag2_bagfile_information"] for part in parts)
    one["topics_with_message_count"] += two["topics_with_message_count"]
    one["message_count"] += two["message_count"]
    one["relative_file_paths"] += two["relative_file_paths"]
    (out / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": one}))
    for part in parts:
        (part / f"{part.name}.mcap").rename(out / f"{part.name}.mcap")


def shuffled(bag: Path, out: Path) -> None:
    """The same records, written in any order: their log times say when they came."""
    records = [*read_bag(bag)]
    with BagWriter(out) as writer:
        for k in np.random.default_rng(0).permutation(len(records)).tolist():
            writer.write(records[k].topic, records[k].type_name, records[k].log_ns, records[k].cdr)


STORED: dict[str, Callable[[Path, Path], None]] = {
    "sqlite3": partial(rewritten, plugin=StoragePlugin.SQLITE3),
    "compressed file": partial(rewritten, plugin=StoragePlugin.MCAP, compression=CompressionMode.FILE),
    "compressed messages": partial(rewritten, plugin=StoragePlugin.SQLITE3, compression=CompressionMode.MESSAGE),
    "split": split,
    "out of order in the file": shuffled,
}


@pytest.mark.parametrize("stored", STORED)
def test_the_storage_does_not_matter(stored: str, evaluated: BagEvaluation, bag: Path, setup: Setup, tmp_path: Path) -> None:
    STORED[stored](bag, tmp_path / "other")
    found = evaluate_bag(tmp_path / "other", setup)
    assert same_windows(found, evaluated)
    assert found.coverage == evaluated.coverage
    assert found.sha256 != evaluated.sha256


def test_other_topic_names_come_with_the_rig(
    evaluated: BagEvaluation, bag: Path, setup: Setup, small_rig: tuple[Rig, Path], tmp_path: Path
) -> None:
    rig = small_rig[0]
    names = {camera.topic: f"/cam_{k}/image" for k, camera in enumerate(rig.cameras.values())} | {rig.odometry.topic: "/ego"}
    with BagWriter(tmp_path / "bag") as writer:
        for record in read_bag(bag):
            writer.write(names.get(record.topic, record.topic), record.type_name, record.log_ns, record.cdr)
    cameras = {role: camera.model_copy(update={"topic": names[camera.topic]}) for role, camera in rig.cameras.items()}
    renamed = rig.model_copy(
        update={"cameras": cameras, "odometry": rig.odometry.model_copy(update={"topic": names[rig.odometry.topic]})}
    )
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(renamed.model_dump(mode="json")))
    found = evaluate_bag(tmp_path / "bag", replace(setup, rig=str(tmp_path / "rig.yaml")))
    assert same_windows(found, evaluated)
    assert found.coverage.messages["/ego"] > 0


def test_raw_images_are_read_as_well(setup: Setup, small_rig: tuple[Rig, Path], tmp_path: Path) -> None:
    cameras = {role: camera.model_copy(update={"transport": "raw"}) for role, camera in small_rig[0].cameras.items()}
    rig = small_rig[0].model_copy(update={"cameras": cameras})
    make_bag(tmp_path / "bag", rig, duration_s=1.5, seed=2)
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(rig.model_dump(mode="json")))
    found = evaluate_bag(tmp_path / "bag", replace(setup, rig=str(tmp_path / "rig.yaml"), bundles=(OWN + "Looking",)))
    assert len(found.windows) == 2
    assert all(window.plans[OWN + "Looking"].reasoning.text != "black" for window in found.windows)
