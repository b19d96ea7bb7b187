"""The long bag of the benchmark is one drive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.bags import bag_topics, deserialize, read_bag
from alpamayo_ros.evaluation.openloop import benchmark
from alpamayo_ros.evaluation.openloop.benchmark import lengthen
from alpamayo_ros.evaluation.replay import replay_bag
from alpamayo_ros.pipeline.decode import ego_pose
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.data.bag import make_bag


def test_a_bag_of_one_file_is_lengthened_without_what_has_no_stamp(
    tmp_path: Path, small_rig: tuple[Rig, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """/tf begins with the length of an array, where others have a stamp."""
    rig, _ = small_rig
    make_bag(tmp_path / "short", rig, duration_s=0.5)

    def evaluated(bag: Path, *_: object) -> dict[str, Any]:
        assert {*bag_topics(bag), "/tf"} == set(bag_topics(tmp_path / "short"))
        return {"windows": 9, "seconds": {"bags": 1.0, "summary": 0.1, "report": 0.1}}

    monkeypatch.setattr(benchmark, "_evaluated", evaluated)
    figures = benchmark.bench_evaluate(tmp_path / "short" / "short.mcap", rig, "seven_camera", 0.0, tmp_path / "out")
    assert figures["bag_s"] > 0.4
    assert "left out of the long bag, not being of rig seven_camera: /tf\n" in capsys.readouterr().err


def test_a_repeated_stretch_goes_on_where_it_ended(tmp_path: Path, small_rig: tuple[Rig, Path], small_profile: Path) -> None:
    rig, _ = small_rig
    make_bag(tmp_path / "short", rig, duration_s=1.0)
    lengthen(tmp_path / "short", rig, tmp_path / "long", repeats=3)
    once, thrice = bag_topics(tmp_path / "short"), bag_topics(tmp_path / "long")
    assert {name: topic.count for name, topic in thrice.items()} == {
        name: topic.count * (1 if name == "/tf_static" else 3) for name, topic in once.items() if name != "/tf"
    }
    poses = [ego_pose(deserialize(r.cdr, r.type_name), rig) for r in read_bag(tmp_path / "long", [rig.odometry.topic])]
    steps_ns = np.diff([pose.stamp_ns for pose in poses])
    assert set(steps_ns.tolist()) == {10_000_000}
    steps_m = np.linalg.norm(np.diff([pose.position for pose in poses], axis=0), axis=1)
    speeds_mps = np.array([pose.speed_mps for pose in poses])
    # At the two seams the first pose of the stretch stands where the last one was.
    assert np.count_nonzero(np.abs(steps_m - 0.01 * speeds_mps[1:]) > 0.01) == 2
    replayed = replay_bag(tmp_path / "long", rig, "kinematic", str(small_profile))
    assert {plan.epoch for plan in replayed.plans} == {0}, "no jump"
    assert len(replayed.plans) == 27, "30 anchor frames, less those without 300 ms of history"
