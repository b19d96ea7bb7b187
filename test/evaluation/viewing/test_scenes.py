"""Scenes show what was recorded around an instant: the frames of t0, where the vehicle came from and where it then went."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.bags import BagWriter, read_bag
from alpamayo_ros.cameras import nominal_camera
from alpamayo_ros.evaluation.replay import Replay
from alpamayo_ros.evaluation.viewing.scenes import (
    HISTORY_STEPS,
    Scene,
    Stamped,
    Status,
    Surroundings,
    planned_scenes,
    said,
)
from alpamayo_ros.geometry import apply, inverse, odom_from_ego
from alpamayo_ros.profile import Rig

OFFLINE = Status("offline", "kinematic", "none", 1.0)
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def scenes(bag: Path, rig: Rig, profile: str) -> list[Scene]:
    with closing(Replay(bag, rig, "kinematic", profile)) as replay:
        return list(planned_scenes(Surroundings(bag, rig), replay, "kinematic"))


def test_every_anchor_frame_becomes_a_scene_with_the_frames_of_its_t0(scenes: list[Scene], rig: Rig) -> None:
    assert len(scenes) == 20
    assert [scene.plan is None for scene in scenes] == [bool(scene.refused) for scene in scenes]
    for scene in scenes:
        assert set(scene.frames) == set(rig.cameras)
        assert scene.frames[rig.anchor].stamp_ns == scene.t0_ns
        assert max(abs(frame.stamp_ns - scene.t0_ns) for frame in scene.frames.values()) <= 55_000_000


def test_what_was_driven_is_where_the_vehicle_is_seen_later(scenes: list[Scene]) -> None:
    now, later = scenes[5], scenes[12]
    assert now.ego is not None
    assert later.ego is not None
    seen = apply(inverse(odom_from_ego(now.ego)), later.ego.position[None])[0]
    np.testing.assert_allclose(now.driven.xyz[6], seen, atol=1e-9, err_msg="0.7 s later is the seventh step")
    assert now.driven.speed_mps[6] == pytest.approx(later.ego.speed_mps)
    assert len(now.driven.xyz) > len(later.driven.xyz) > 0, "the bag ends"


def test_the_history_is_the_planners_and_goes_back_further(bag: Path, rig: Rig, profile: str, scenes: list[Scene]) -> None:
    with closing(Replay(bag, rig, "kinematic", profile)) as replay:
        observed = {cycle.t0_ns: cycle.observation.history for cycle in replay.cycles() if cycle.observation}
    history, wanted = scenes[-1].history, observed[scenes[-1].t0_ns]
    assert history is not None
    np.testing.assert_allclose(history.xyz[-len(wanted.xyz) :], wanted.xyz, atol=1e-5)
    assert len(wanted.xyz) < len(history.xyz) <= HISTORY_STEPS


def test_a_frame_beside_t0_sees_the_ground_from_where_the_vehicle_was_then(bag: Path, rig: Rig, scenes: list[Scene]) -> None:
    frame_scene = scenes[8]
    t0_ns = frame_scene.t0_ns + 30_000_000
    scene = Surroundings(bag, rig).scene(t0_ns, None, None, "", OFFLINE)
    assert scene.ego is not None
    assert frame_scene.ego is not None
    seen = scene.optical_from_ego_t0(rig.anchor) @ inverse(odom_from_ego(scene.ego))
    wanted = scene.views[rig.anchor].optical_from_ego @ inverse(odom_from_ego(frame_scene.ego))
    np.testing.assert_allclose(seen, wanted, atol=1e-9)
    assert np.abs(wanted - scene.views[rig.anchor].optical_from_ego @ inverse(odom_from_ego(scene.ego))).max() > 0.1
    assert (scene.skews[rig.anchor].after, scene.skews[rig.anchor].path) == (" -30 ms", "")


def test_the_bundle_is_called_by_its_folders_name(scenes: list[Scene]) -> None:
    status = OFFLINE._replace(bundle="/srv/bundles/alpamayo")
    assert said(replace(scenes[-1], status=status))[0] == "alpamayo | offline | 1 ms"


def test_cameras_are_nominal_exactly_where_the_bag_does_not_say(bag: Path, rig: Rig, tmp_path: Path) -> None:
    mute = rig.cameras["rear_left"].info_topic
    with BagWriter(tmp_path / "bag") as writer:
        for record in read_bag(bag):
            if record.topic != mute:
                writer.write(record.topic, record.type_name, record.log_ns, record.cdr)
    views = Surroundings(tmp_path / "bag", rig).views
    assert [role for role, view in views.items() if not view.calibrated] == ["rear_left"]
    assert views["rear_left"].camera == nominal_camera(rig.cameras["rear_left"])


def test_a_message_that_is_none_is_counted_and_the_rest_is_shown(bag: Path, rig: Rig, tmp_path: Path) -> None:
    tele = rig.cameras["front_tele"].topic
    with BagWriter(tmp_path / "bag") as writer:
        for record in read_bag(bag):
            writer.write(record.topic, record.type_name, record.log_ns, record.cdr[:60] if record.topic == tele else record.cdr)
    around = Surroundings(tmp_path / "bag", rig)
    t0_ns = next(r.log_ns for r in read_bag(bag)) + SECOND
    scene = around.scene(t0_ns, None, None, "", OFFLINE)
    assert set(scene.frames) == set(rig.cameras) - {"front_tele"}
    assert all(tele in reason for reason in around.refused)
    assert around.refused


def test_the_words_name_whose_plan_it_is_or_why_there_is_none(scenes: list[Scene]) -> None:
    assert scenes[0].refused in " ".join(said(scenes[0]))
    assert "weights: NONE" in " ".join(said(scenes[-1]))
    assert scenes[-1].plan is not None
    assert any(scenes[-1].plan.reasoning.text in line for line in said(scenes[-1]))


def test_a_stream_gives_what_is_around_an_instant_and_holds_no_more() -> None:
    stream = Stamped(iter([(second * SECOND, second) for second in range(10_000)]), behind_ns=2 * SECOND, ahead_ns=3 * SECOND)
    for t0 in (0, 1, 40, 41, 9000):
        assert stream.around(t0 * SECOND) == [t for t in range(t0 - 2, t0 + 4) if t >= 0]
        assert len(stream._kept) <= 2 + 1 + 3 + 1


def test_a_stream_whose_clock_is_set_back_is_followed_when_the_instants_are() -> None:
    """What `ros2 bag play --loop` does to a recorder."""
    twice = [(second * SECOND, (turn, second)) for turn in (1, 2) for second in range(20)]
    stream = Stamped(iter(twice), behind_ns=SECOND, ahead_ns=2 * SECOND)
    assert stream.around(17 * SECOND) == [(1, 16), (1, 17), (1, 18), (1, 19)]
    assert stream.around(19 * SECOND) == [(1, 18), (1, 19)], "the second turn is not for now"
    assert stream.around(5 * SECOND) == [(2, 4), (2, 5), (2, 6), (2, 7)]
