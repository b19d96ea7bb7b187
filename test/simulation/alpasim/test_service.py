from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from alpasim_grpc.v0 import common_pb2, egodriver_pb2, egodriver_pb2_grpc
from simulation.alpasim.runtime import (
    CAMERAS,
    START_US,
    STEP_US,
    Rollout,
    matrix,
    recorded,
    said,
    small_profile,
    straight_route,
    timed,
)

from alpamayo_ros import geometry
from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.observe import history_of
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.simulation.alpasim import service as service_module
from alpamayo_ros.simulation.alpasim.server import MAX_MESSAGE_BYTES, Asked, serving
from alpamayo_ros.types import EgoPose, Observation, Request, Trajectory

NUMBERS = count()
BRITTLE = "simulation.alpasim.brittle:Brittle"


class Place:
    """A service and how it is called."""

    def __init__(self, service: Any, port: int, stub: Any) -> None:
        self.service, self.port, self.stub = service, port, stub

    def rollout(self, **arguments: Any) -> Rollout:
        return Rollout(self.stub, f"rollout {next(NUMBERS)}", **arguments)


@contextmanager
def served(folder: Path, bundle: str) -> Iterator[Place]:
    asked = Asked(bundle, "127.0.0.1:0", profile=small_profile(folder), max_sessions=3)
    options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]
    with serving(asked) as (service, port), grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield Place(service, port, egodriver_pb2_grpc.EgodriverServiceStub(channel))


@pytest.fixture(scope="module")
def kinematic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("kinematic"), "kinematic") as place:
        yield place


@pytest.fixture(scope="module")
def brittle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("brittle"), BRITTLE) as place:
        yield place


@pytest.fixture(autouse=True)
def _no_session_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"kinematic", "brittle"} & set(request.fixturenames):
        place = request.getfixturevalue(name)
        for uuid in list(place.service._sessions):
            place.stub.close_session(egodriver_pb2.DriveSessionCloseRequest(session_uuid=uuid))


def in_process(rollout: Rollout, at: int) -> Trajectory:
    """What the kinematic engine plans from the submitted poses up to a step, in the ego frame of that step."""
    poses = [
        EgoPose(pose.timestamp_us * 1000, local[:3, 3], local[:3, :3], np.zeros(3), np.zeros(3))
        for pose in rollout.poses[at - 15 : at + 1]
        for local in [matrix(pose)]
    ]
    observation = Observation(poses[-1].stamp_ns, 0, {}, history_of(poses), poses[-1])
    return plan(observation, KinematicEngine(), Request(), RELEASED).trajectory


def test_plans_in_the_local_frame_are_those_of_the_planner_in_process(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    responses = rollout.run(50)
    assert all(len(response.trajectory.poses) == 65 for response in responses[15:])
    for at, response in enumerate(responses[15:], 15):
        first, *ahead = response.trajectory.poses
        now_us = START_US + at * STEP_US
        assert [pose.timestamp_us for pose in ahead] == [now_us + STEP_US * k for k in range(1, 65)]
        assert first.timestamp_us == now_us
        local_from_ego = matrix(rollout.poses[at])
        assert matrix(first) == pytest.approx(local_from_ego, abs=1e-6)
        planned = in_process(rollout, at)
        for pose, xyz, yaw in zip(ahead, planned.xyz, planned.yaw_rad, strict=True):
            expected = local_from_ego @ geometry.transform(geometry.rotation_z(yaw), xyz)
            assert matrix(pose) == pytest.approx(expected, abs=2e-4)  # m; the messages hold float32
    driven = matrix(rollout.poses[-1])
    assert np.linalg.norm(driven[:3, 3] - matrix(rollout.poses[0])[:3, 3]) > 40.0, "it stood still"


def test_what_is_waited_for_in_the_beginning_is_said_beside_an_empty_trajectory(kinematic: Place) -> None:
    responses = kinematic.rollout().run(16)
    assert [len(response.trajectory.poses) for response in responses] == [0] * 15 + [65]
    assert said(responses[0])["waiting"].startswith("front_left: nearest frame 100 ms after t0-100 ms, limit 55")
    assert "odometry: oldest pose 100 ms after the instant asked for (t0-1.5 s)" in said(responses[14])["waiting"]
    assert not any(response.terminate_session for response in responses)


def test_a_camera_that_never_comes_is_waited_for_no_longer_than_a_window(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    for _ in range(16):
        assert not rollout.step(CAMERAS[:3]).trajectory.poses
    with pytest.raises(grpc.RpcError, match="front_right: no frames") as refused:
        rollout.step(CAMERAS[:3])
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_after_the_first_plan_what_is_missing_is_told_with_its_numbers(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.submit(CAMERAS[:1])
    with pytest.raises(grpc.RpcError, match="front_left: newest frame 100 ms before t0, limit 55") as refused:
        rollout.drive()
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.RpcError, match="odometry: newest pose 300 ms before the instant asked for, limit 50"):
        rollout.drive(later_us=300_000)
    for k in (100, 200, 300):
        rollout.advance(egodriver_pb2.DriveResponse())
        rollout.submit()
        with pytest.raises(grpc.RpcError, match=f"front_left: nearest frame 100 ms before t0-{k} ms, limit 55"):
            rollout.drive()
    rollout.advance(egodriver_pb2.DriveResponse())
    assert rollout.step().trajectory.poses, "the window is whole again"


def test_nothing_is_waited_for_after_the_first_plan(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    for _ in range(15):
        rollout.submit()
        rollout.advance(egodriver_pb2.DriveResponse())
    assert rollout.step().trajectory.poses, "the first drive"
    with pytest.raises(grpc.RpcError, match="front_left: newest frame 100 ms before t0"):
        rollout.step(CAMERAS[:1])


def test_pictures_are_of_when_their_exposure_ended(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    assert said(rollout.step())["t0_us"] == START_US + 16 * STEP_US


def test_a_plan_that_is_asked_for_late_begins_at_the_pose_of_now(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.submit()
    in_time = rollout.drive()
    late = rollout.drive(later_us=40_000)
    assert said(late)["t0_us"] == rollout.now_us
    assert [pose.timestamp_us for pose in late.trajectory.poses][:3] == [
        rollout.now_us + us for us in (40_000, 100_000, 200_000)
    ]
    assert late.trajectory.poses[1:] == in_time.trajectory.poses[1:]
    moved = matrix(late.trajectory.poses[0])[:3, 3] - matrix(in_time.trajectory.poses[0])[:3, 3]
    assert np.linalg.norm(moved) == pytest.approx(0.04 * said(late)["speed_mps"], rel=0.02)


def test_points_that_are_behind_now_are_left_out(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.submit()
    in_time = rollout.drive()
    t0_us = rollout.now_us
    rollout.advance(in_time)
    rollout.egomotion(rollout.poses[-1:])
    late = rollout.drive(later_us=10_000)
    assert said(late)["t0_us"] == t0_us
    assert [pose.timestamp_us for pose in late.trajectory.poses][:2] == [t0_us + 110_000, t0_us + 200_000]
    assert late.trajectory.poses[1:] == in_time.trajectory.poses[2:]


def test_a_picture_of_later_is_no_picture_of_now(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.submit()
    rollout.image(CAMERAS[0], rollout.now_us + STEP_US)
    assert said(rollout.drive())["t0_us"] == rollout.now_us


def test_the_order_of_submissions_does_not_matter(brittle: Place) -> None:
    plain = brittle.rollout().run(19)
    shuffled = brittle.rollout(order=reversed)
    found = [shuffled.step(new_poses=min(3, at + 1)) for at in range(19)]  # and some poses come again, newest first
    assert [response.trajectory for response in found] == [response.trajectory for response in plain]
    assert found[-1].trajectory.poses
    assert brittle.rollout(scene=1).run(19)[-1].trajectory != plain[-1].trajectory, "nobody looked at the pictures"


def test_sessions_do_not_mix(brittle: Place) -> None:
    alone = []
    for scene in (0, 1):
        rollout = brittle.rollout(scene=scene)
        alone.append(rollout.run(18))
        rollout.close()
    pair = [brittle.rollout(scene=scene) for scene in (0, 1)]
    together = [[rollout.step() for rollout in pair] for _ in range(18)]
    for own, found in zip(alone, zip(*together, strict=True), strict=True):
        assert [response.trajectory for response in found] == [response.trajectory for response in own]
    assert alone[0][-1].trajectory != alone[1][-1].trajectory


def test_sessions_at_the_same_time_are_as_one_after_the_other(brittle: Place) -> None:
    rollouts = [brittle.rollout(scene=scene) for scene in (0, 1, 0)]
    with ThreadPoolExecutor(3) as pool:
        found = [[response.trajectory for response in run] for run in pool.map(lambda rollout: rollout.run(18), rollouts)]
    assert found[0] == found[2] != found[1]
    assert all(run[-1].poses for run in found)


def test_a_pose_of_long_ago_does_not_turn_time_back(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.submit()
    rollout.egomotion([timed(START_US + 50_000, recorded(0.05)), rollout.poses[0], rollout.poses[-1]])
    assert rollout.drive().trajectory.poses


def test_a_route_holds_until_there_is_none(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    rollout.route = [(4.0 * k, 0.05 * k**3) for k in range(1, 12)]
    assert said(rollout.step())["navigation"] == "turn_left"
    rollout.route = []
    assert said(rollout.step())["navigation"] is None


def test_a_plan_depends_on_the_seed_of_its_session(brittle: Place) -> None:
    first, again, other = (brittle.rollout(seed=seed).run(16)[-1].trajectory for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_the_recorded_future_changes_nothing(brittle: Place) -> None:
    plain, told = brittle.rollout(), brittle.rollout()
    for _ in range(17):
        future = egodriver_pb2.GroundTruth(timestamp_us=told.now_us, trajectory=common_pb2.Trajectory(poses=told.poses))
        told.stub.submit_recording_ground_truth(egodriver_pb2.GroundTruthRequest(session_uuid=told.uuid, ground_truth=future))
        response = told.step()
        assert plain.step().trajectory == response.trajectory
    assert response.trajectory.poses


def test_reasons_are_json_and_nothing_is_pickled(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    rollout.warm()
    response = rollout.step()
    found = said(response)
    assert found["text"].startswith("Kinematic baseline: keeps")
    assert found["meta_actions"]
    assert {"axis", "action", "start_s", "end_s"} == set(found["meta_actions"][0])
    assert {"decision", "components", "consistent", "stage_ms"} <= set(found)
    assert found["navigation"] == "continue"
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(response.debug_info.unstructured_debug_info)  # noqa: S301 - it must not be one
    assert list(response.debug_info.sampled_trajectories) == [response.trajectory]


def test_an_engine_that_died_is_replaced_for_the_next_drive(brittle: Place) -> None:
    rollout, other = brittle.rollout(), brittle.rollout()
    rollout.warm()
    other.warm()
    rollout.route = [(4.0 * k, 0.05 * k**3) for k in range(1, 12)]
    rollout.submit()
    with pytest.raises(grpc.RpcError, match="the engine's process ended with status 3") as died:
        rollout.drive()
    assert died.value.code() == grpc.StatusCode.INTERNAL
    assert other.step().trajectory.poses, "the other session went on"
    rollout.route = [(4.0 * k, -0.05 * k**3) for k in range(1, 12)]
    rollout.submit_route()
    with pytest.raises(grpc.RpcError, match="no right turns today") as refused:
        rollout.drive()
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    rollout.route = straight_route()
    rollout.submit_route()
    assert rollout.drive().trajectory.poses


def test_cameras_unknown_are_refused_and_cameras_unused_are_left_alone(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    with pytest.raises(grpc.RpcError, match="unknown camera 'camera_roof', want one of camera_cross_left_120fov") as refused:
        rollout.image("camera_roof")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    rollout.image("camera_rear_tele_30fov", data=b"no picture at all")
    with pytest.raises(grpc.RpcError, match="format 'jpeg': 20 bytes that start with") as refused:
        rollout.image(CAMERAS[0], data=b"no picture of a road")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_picture_is_as_large_as_it_is_and_its_camera_keeps_its_size(kinematic: Place) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1916, 3), np.uint8)
    png = cv2.imencode(".png", noise, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    assert len(png) > 4 * 1024 * 1024, "as large as gRPC allows by itself"
    rollout = kinematic.rollout()
    rollout.image(CAMERAS[0], data=png)
    with pytest.raises(grpc.RpcError, match="front_wide: the rig declares 1916x1080 pixels, got 64x48"):
        rollout.image(CAMERAS[0], START_US + STEP_US)


def test_sessions_are_known_once_and_only_until_they_are_closed(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    with pytest.raises(grpc.RpcError, match="is there already") as refused:
        Rollout(kinematic.stub, rollout.uuid)
    assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
    rollout.close()
    for call in (
        rollout.close,
        rollout.submit_route,
        rollout.drive,
        lambda: rollout.image(CAMERAS[0]),
        lambda: rollout.egomotion([]),
    ):
        with pytest.raises(grpc.RpcError, match="no session") as refused:
            call()
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_closed_session_holds_nothing(kinematic: Place) -> None:
    ring = kinematic.service._setup.engine.ring
    rollout = kinematic.rollout()
    rollout.warm()
    assert ring.free_slots < ring.slots
    rollout.close()
    assert ring.free_slots == ring.slots


def test_there_are_only_so_many_sessions_and_a_quiet_one_gives_way(kinematic: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts = [kinematic.rollout() for _ in range(3)]
    with pytest.raises(grpc.RpcError, match="3 sessions, limit 3; the quietest was heard 0 s ago, limit 600") as refused:
        kinematic.rollout()
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    rollouts[0].submit()
    monkeypatch.setattr(service_module, "QUIET_S", 0.0)
    kinematic.rollout()
    rollouts[0].submit()
    with pytest.raises(grpc.RpcError, match="no session"):
        rollouts[1].submit()


def test_a_session_is_driven_by_one_at_a_time(kinematic: Place) -> None:
    rollout = kinematic.rollout()
    with kinematic.service._sessions[rollout.uuid].driving, pytest.raises(grpc.RpcError, match="is being driven") as refused:
        rollout.drive()
    assert refused.value.code() == grpc.StatusCode.ABORTED
    assert not rollout.drive().trajectory.poses


def test_a_vehicle_without_a_camera_of_the_profile_is_refused(kinematic: Place) -> None:
    with pytest.raises(
        grpc.RpcError, match=r"the vehicle has no camera_cross_left_120fov, .*, which profile alpamayo_r1_10b requires"
    ):
        kinematic.stub.start_session(egodriver_pb2.DriveSessionRequest(session_uuid="blind"))


@pytest.mark.parametrize(
    ("time_us", "states", "words"),
    [(2**63, 1, "time 9223372036854775808 us: want 0"), (5, 0, "1 poses with 0 dynamic states"), (5, 1, "quaternion: want")],
)
def test_motion_that_cannot_be_is_refused(kinematic: Place, time_us: int, states: int, words: str) -> None:
    rollout = kinematic.rollout()
    request = egodriver_pb2.RolloutEgoTrajectory(session_uuid=rollout.uuid, dynamic_states=[common_pb2.DynamicState()] * states)
    request.trajectory.poses.add(timestamp_us=time_us)
    with pytest.raises(grpc.RpcError, match=words) as refused:
        rollout.stub.submit_egomotion_observation(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_version_names_the_bundle_and_the_interface(kinematic: Place) -> None:
    version = kinematic.stub.get_version(common_pb2.Empty())
    assert version.version_id.startswith("alpamayo_ros ")
    assert version.version_id.endswith(" kinematic")
    assert (version.grpc_api_version.major, version.grpc_api_version.minor) == (0, 54)
