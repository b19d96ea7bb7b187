from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alpasim_grpc.v0 import common_pb2, egodriver_pb2
from simulation.alpasim.runtime import recorded, small_profile, timed

from alpamayo_ros import geometry
from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.alpasim import incoming
from alpamayo_ros.types import ROLES, EgoPose, InvalidInput

NAN = float("nan")


def submitted(times_us: Sequence[int], *velocity: float, before: Sequence[EgoPose] = ()) -> list[EgoPose]:
    poses = [timed(time_us, recorded(time_us / 1e6)) for time_us in times_us]
    state = common_pb2.DynamicState(linear_velocity=common_pb2.Vec3(**dict(zip("xyz", velocity, strict=False))))
    return [*incoming.ego_poses(common_pb2.Trajectory(poses=poses), [state] * len(poses), before)]


def test_a_moving_vehicle_that_says_it_stands_is_believed_to_move() -> None:
    poses = submitted([0, 100_000, 200_000])
    assert [pose.velocity_mps[0] for pose in poses] == pytest.approx([9.025, 9.025, 9.075], abs=1e-3)
    assert [np.abs(pose.velocity_mps[1:]).max() for pose in poses] == pytest.approx([0, 0, 0], abs=1e-3)
    assert poses[2].angular_rps == pytest.approx([0, 0, 0.008 * 9.075], abs=1e-4)


def test_motion_goes_on_from_the_pose_before() -> None:
    known = submitted([0, 100_000])
    assert submitted([200_000], before=known)[0].velocity_mps[0] == pytest.approx(9.075, abs=1e-3)
    assert submitted([200_000])[0].velocity_mps[0] == 0.0, "a single pose says nothing of motion"


def test_what_explains_the_motion_is_taken_as_it_is() -> None:
    assert submitted([0, 100_000], 9.3)[1].velocity_mps.tolist() == [pytest.approx(9.3), 0.0, 0.0]


def test_a_velocity_of_another_frame_is_not_believed() -> None:
    in_local = recorded(0.1)[:3, :3] @ [9.05, 0.0, 0.0]
    assert submitted([0, 100_000], *in_local)[1].velocity_mps[0] == pytest.approx(9.025, abs=1e-3)


def test_a_leap_is_no_motion() -> None:
    poses = [timed(0, recorded(0.0)), timed(100_000, recorded(5.0))]
    states = [common_pb2.DynamicState()] * 2
    assert [*incoming.ego_poses(common_pb2.Trajectory(poses=poses), states, ())][1].velocity_mps.tolist() == [0.0, 0.0, 0.0]


def test_poses_come_in_order_and_once() -> None:
    known = submitted([0, 100_000])
    found = submitted([300_000, 100_000, 200_000, 300_000, 0], before=known)
    assert [incoming.time_us(pose.stamp_ns) for pose in found] == [200_000, 300_000]
    assert submitted([0, 100_000], before=known) == []


def test_the_rig_frame_is_the_ego_frame() -> None:
    (pose,) = submitted([300_000])
    assert geometry.odom_from_ego(pose) == pytest.approx(recorded(0.3), abs=1e-4)


def bent(leftwards: float, count: int = 12) -> list[tuple[float, float]]:
    return [(4.0 * k, leftwards * max(0.0, k - 2) ** 2) for k in range(count)]


@pytest.mark.parametrize(
    ("waypoints", "maneuver", "distance_m"),
    [
        (bent(0.0), "continue", 44.0),
        (bent(0.5), "turn_left", np.hypot(20.0, 4.5)),
        (bent(-0.5), "turn_right", np.hypot(20.0, 4.5)),
        (bent(2.0), "turn_left", np.hypot(16.0, 8.0)),
        ([(20.0, 3.0)], "continue", np.hypot(20.0, 3.0)),
        ([(19.0, 5.0)], "continue", np.hypot(19.0, 5.0)),  # too near to tell, as there
        ([(NAN, NAN), *bent(0.5), (NAN, NAN)], "turn_left", np.hypot(20.0, 4.5)),
    ],
)
def test_a_route_says_turn_where_alpasims_own_driver_would(waypoints: Any, maneuver: str, distance_m: float) -> None:
    route = egodriver_pb2.Route(timestamp_us=9, waypoints=[common_pb2.Vec3(x=x, y=y, z=0.0) for x, y in waypoints])
    found = incoming.command(route)
    assert found is not None
    assert found.maneuver == maneuver
    assert found.distance_m == pytest.approx(distance_m, rel=1e-6)
    assert found.expires_ns == incoming.stamp_ns(1_000_009)


def test_no_route_is_no_command() -> None:
    assert incoming.command(egodriver_pb2.Route()) is None
    assert incoming.command(egodriver_pb2.Route(waypoints=[common_pb2.Vec3(x=NAN, y=NAN, z=NAN)])) is None


def test_a_scene_may_begin_at_0_and_times_come_back_as_they_were() -> None:
    assert incoming.stamp_ns(0) > 0
    assert [incoming.time_us(incoming.stamp_ns(us)) for us in (0, 1, 1_700_000_000_123_457)] == [0, 1, 1_700_000_000_123_457]


def test_every_role_has_its_camera() -> None:
    assert sorted(map(incoming.role_of, incoming.ROLES_BY_CAMERA)) == sorted(ROLES)


def test_the_vehicle_is_hyperion_8_at_the_rate_of_alpasim() -> None:
    rig = incoming.alpasim_rig("", read_profile("seven_camera"))
    assert (rig.name, rig.anchor) == ("hyperion8", "front_wide")
    assert {camera.rate_hz for camera in rig.cameras.values()} == {10.0}
    assert [camera.frame_id for camera in rig.cameras.values()] == [
        next(f"{name}_optical" for name, role in incoming.ROLES_BY_CAMERA.items() if role == own) for own in rig.cameras
    ]
    assert incoming.alpasim_rig("seven_camera", read_profile("seven_camera")).name == "seven_camera"


def test_a_profile_that_needs_what_nobody_submits_is_refused(tmp_path: Path) -> None:
    profile = read_profile(small_profile(tmp_path, ego_signals=["speed", "steering_angle"]))
    with pytest.raises(InvalidInput, match="needs steering_angle, which AlpaSim does not submit"):
        incoming.alpasim_rig("", profile)
    assert incoming.alpasim_rig("", read_profile(small_profile(tmp_path, ego_signals=["speed"]))).name == "hyperion8"
