"""Values that cross modules: checked where they are born, read-only afterwards, refusals say numbers."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import numpy as np
import pytest

from alpamayo_ros.types import (
    HORIZON,
    ROLES,
    CameraFrame,
    EgoHistory,
    EgoPose,
    EgoSignals,
    InvalidInput,
    ModelOutput,
    Observation,
    Request,
    Trajectory,
    checked,
    role_index,
)

T0 = 5_000_000_000


def frame(role: str = "front_wide", value: int = 7, epoch: int = 0, stamp_ns: int = T0) -> CameraFrame:
    return CameraFrame(role, stamp_ns, epoch, np.full((4, 6, 3), value, np.uint8))


def history(t0_ns: int = T0, steps: int = 3) -> EgoHistory:
    xyz = np.stack([np.array([i - steps + 1, 0, 0], np.float32) for i in range(steps)])
    return EgoHistory(t0_ns, xyz, np.broadcast_to(np.eye(3, dtype=np.float32), (steps, 3, 3)).copy())


def pose(stamp_ns: int = T0, speed: float = 4.0) -> EgoPose:
    return EgoPose(stamp_ns, np.zeros(3), np.eye(3), np.array([speed, 0.1, 0.0]), np.zeros(3))


def observation(**changes: Any) -> Observation:
    fields: dict[str, Any] = {
        "stamp_ns": T0, "epoch": 0, "frames": {"front_wide": (frame(),)}, "history": history(), "ego_t0": pose(),
    }  # fmt: skip
    return Observation(**{**fields, **changes})


def path(n: int = 4, **changes: np.ndarray) -> Trajectory:
    fields = {name: np.zeros(n) for name in ("yaw_rad", "speed_mps", "accel_mps2", "curvature_1pm")}
    return Trajectory(**{"t_s": np.arange(1.0, n + 1) / 10, "xyz": np.zeros((n, 3)), **fields, **changes})


# ------------------------------------------------------------------------------------------------------------------- arrays


def test_a_role_is_its_place_in_the_released_models() -> None:
    assert [role_index(role) for role in ROLES] == list(range(7))
    assert role_index("front_tele") == 6


def test_an_unknown_role_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(InvalidInput, match=r"unknown camera role 'front', want one of front_left, front_wide, .*front_tele"):
        role_index("front")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((16, 3)), r"xyz: want float32\(N, 3\), got float64\(16, 3\)"),
        (np.zeros((16, 2), np.float32), r"xyz: want float32\(N, 3\), got float32\(16, 2\)"),
        (np.zeros(3, np.float32), r"xyz: want float32\(N, 3\), got float32\(3,\)"),
        ([[0.0, 0.0, 0.0]], r"xyz: want float32\(N, 3\), got list"),
        (np.array([[0, np.nan, np.inf]], np.float32), r"xyz: 2 of 3 numbers are not finite"),
    ],
)
def test_a_wrong_array_is_refused_with_what_was_wanted_and_what_came(value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        checked("xyz", value, np.float32, "N", 3)


def test_equal_names_are_equal_sizes() -> None:
    checked("square", np.zeros((3, 3)), np.float64, "N", "N")
    with pytest.raises(InvalidInput, match=r"square: want float64\(N, N\), got float64\(3, 4\)"):
        checked("square", np.zeros((3, 4)), np.float64, "N", "N")


def test_a_checked_array_is_a_read_only_view_and_the_original_stays_writable() -> None:
    original = np.zeros((2, 3))
    view = checked("xyz", original, np.float64, "N", 3)
    assert np.shares_memory(view, original)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1.0
    original[0, 0] = 2.0


VALUES: dict[str, tuple[Any, str]] = {
    "frame": (frame(), "image"),
    "history": (history(), "rot"),
    "pose": (pose(), "odom_from_ego"),
    "signals": (EgoSignals(None, None, np.zeros(3, np.float32), None), "steering_angle_rad"),
    "trajectory": (path(), "speed_mps"),
    "output": (ModelOutput(np.zeros((2, HORIZON, 2), np.float32), ("a", "b"), (1, 1), (True, True)), "actions"),
    "observation": (observation(), "frames"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_frozen_and_what_they_hold_is_read_only(kind: str) -> None:
    value, field = VALUES[kind]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
    held = getattr(value, field)
    with pytest.raises((ValueError, TypeError), match=r"read-only|does not support item assignment"):
        held["front_wide" if kind == "observation" else 0] = 1


# ------------------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize(("shape", "dtype"), [((4, 6), np.uint8), ((4, 6, 4), np.uint8), ((4, 6, 3), np.float32)])
def test_a_frame_is_rgb_bytes(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(InvalidInput, match=r"image: want uint8\(H, W, 3\), got"):
        CameraFrame("rear_tele", 0, 0, np.zeros(shape, dtype))


def test_a_frame_of_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown camera role"):
        frame(role="periscope")


def test_a_frames_checksum_is_of_its_pixels_whatever_their_layout() -> None:
    image = np.arange(4 * 12 * 3, dtype=np.uint8).reshape(4, 12, 3)
    strided = CameraFrame("rear_tele", 0, 0, image[:, ::2])
    assert strided.crc32 == zlib.crc32(image[:, ::2].tobytes())


# ---------------------------------------------------------------------------------------------------------------- ego motion


def test_speed_is_forward_and_negative_in_reverse() -> None:
    assert pose(speed=-1.5).speed_mps == -1.5


def test_a_pose_of_numbers_that_are_not_finite_is_refused() -> None:
    with pytest.raises(InvalidInput, match="velocity_mps: 1 of 3 numbers are not finite"):
        pose(speed=float("nan"))


def test_a_history_ends_at_t0_itself() -> None:
    moved = history().xyz + np.array([0.5, 0, 0], np.float32)
    with pytest.raises(InvalidInput, match=r"last pose must be ego_t0 itself, got xyz \[0\.5"):
        EgoHistory(T0, moved, history().rot)


def test_a_history_has_as_many_rotations_as_positions_and_at_least_two() -> None:
    with pytest.raises(InvalidInput, match="got xyz 3 and rot 2"):
        EgoHistory(T0, history().xyz, history().rot[1:])
    with pytest.raises(InvalidInput, match="got xyz 1 and rot 1"):
        history(steps=1)


SPEED = np.array([3.0, 4.0, 5.0], np.float32)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((SPEED.astype(float), None, None, None), r"speed_mps: want float32\(N\), got float64\(3,\)"),
        ((None, None, SPEED[None], None), r"steering_angle_rad: want float32\(N\), got float32\(1, 3\)"),
        ((None, SPEED * np.nan, None, None), "acceleration_mps2: 3 of 3 numbers are not finite"),
        ((None, None, None, ("off", "up")), r"turn_indicator: want any of off, left, right, hazard, got \['up'\]"),
        ((SPEED, None, None, ("off", "off")), r"of the same N instants, got {'speed_mps': 3, 'turn_indicator': 2}"),
        ((None, None, None, None), "want one or more, of the same N instants, got {}"),
    ],
)
def test_signals_that_are_none_are_refused(fields: tuple[Any, Any, Any, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        EgoSignals(*fields)


# --------------------------------------------------------------------------------------------------------------- observation


@pytest.mark.parametrize("changes", [{"history": history(T0 - 1)}, {"ego_t0": pose(T0 + 1)}])
def test_everything_in_an_observation_is_at_t0(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"t0 {T0}: history at .*, ego pose at"):
        observation(**changes)


def test_signals_are_at_the_instants_of_the_history() -> None:
    assert observation(signals=EgoSignals(SPEED, None, None, None)).signals is not None
    with pytest.raises(InvalidInput, match="ego signals at 2 instants, ego history at 3"):
        observation(signals=EgoSignals(SPEED[:2], None, None, None))


@pytest.mark.parametrize("strange", [frame(epoch=1), frame(role="rear_tele")])
def test_frames_of_another_epoch_or_role_are_refused(strange: CameraFrame) -> None:
    with pytest.raises(InvalidInput, match=r"front_wide: frames of .* in epoch 0"):
        observation(frames={"front_wide": (frame(), strange)})


def test_an_observation_does_not_follow_later_changes_of_the_mapping_it_came_from() -> None:
    frames = {"front_wide": (frame(),)}
    seen = observation(frames=frames)
    frames["rear_tele"] = (frame("rear_tele"),)
    assert list(seen.frames) == ["front_wide"]


def test_the_checksum_runs_over_frames_by_role_index_and_oldest_first() -> None:
    wide = (frame(value=1, stamp_ns=T0 - 1), frame(value=2))
    tele = (frame("front_tele", 3),)
    expected = zlib.crc32(b"".join(zlib.crc32(bytes([v]) * 72).to_bytes(4, "little") for v in (1, 2, 3)))
    assert observation(frames={"front_wide": wide, "front_tele": tele}).pixels_crc32 == expected
    assert observation(frames={"front_tele": tele, "front_wide": wide}).pixels_crc32 == expected
    assert observation(frames={"front_tele": tele, "front_wide": wide[::-1]}).pixels_crc32 != expected


# ---------------------------------------------------------------------------------------------------- requests and answers


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 0},
        {"samples": 65},
        {"steps": -1},
        {"steps": 101},
        {"max_tokens": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"guidance": -1.0},
        {"guidance": 11.0},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_a_request_out_of_range_is_refused_with_itself(changes: dict[str, Any]) -> None:
    (name, value), *_ = changes.items()
    with pytest.raises(InvalidInput, match=f"request out of range .*{name}={value}"):
        Request(**changes)


def test_a_model_answers_with_one_text_or_one_per_sample() -> None:
    actions = np.zeros((3, HORIZON, 2), np.float32)
    ModelOutput(actions, ("shared",), (5,), (True,))
    with pytest.raises(InvalidInput, match=r"3 samples, texts, .*: got \(2, 2, 2, 0\)"):
        ModelOutput(actions, ("a", "b"), (1, 1), (True, True))
    with pytest.raises(InvalidInput, match=r"3 samples, texts, .*: got \(1, 2, 1, 0\)"):
        ModelOutput(actions, ("a",), (1, 1), (True,))


def test_actions_have_the_horizon_of_the_paper() -> None:
    with pytest.raises(InvalidInput, match=r"actions: want float32\(S, 64, 2\), got float32\(1, 63, 2\)"):
        ModelOutput(np.zeros((1, 63, 2), np.float32), ("",), (0,), (True,))


@pytest.mark.parametrize("times", [[0.0, 0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.1]])
def test_times_of_a_trajectory_are_positive_and_increasing(times: list[float]) -> None:
    with pytest.raises(InvalidInput, match="2 times must be positive and increasing"):
        path(2, t_s=np.array(times))


def test_a_trajectory_without_points_or_of_uneven_lengths_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 times"):
        path(0)
    with pytest.raises(InvalidInput, match=r"speed_mps: want float64\(4\), got float64\(3,\)"):
        path(4, speed_mps=np.zeros(3))
