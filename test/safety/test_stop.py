"""A minimal-risk stop brakes as its profile says, and ends standing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safety.stops import COMFORT, EMERGENCY, HARDEST, SETTINGS, arc_plan, driven, ego, only, straight_path

from alpamayo_ros import dynamics
from alpamayo_ros.safety.contract import STANDSTILL_MPS
from alpamayo_ros.safety.stop import OdomPath, Profile, StopSettings, braking, odom_path, stop
from alpamayo_ros.types import InvalidInput

# Distances m and times s of ../shared/docs/reliability-and-ecosystem.md, table B2.
TABLE = {
    5.0: ((20.3, 6.7), (8.8, 2.8), (5.4, 1.8)),
    10.0: ((66.1, 11.7), (27.9, 4.8), (17.2, 3.0)),
    15.0: ((136.9, 16.7), (57.1, 6.8), (35.3, 4.2)),
    20.0: ((232.7, 21.7), (96.2, 8.8), (59.6, 5.5)),
    30.0: ((499.2, 31.7), (204.4, 12.8), (127.0, 8.0)),
}


@pytest.mark.parametrize("speed_mps", TABLE)
@pytest.mark.parametrize(("column", "profile"), [(0, COMFORT), (1, EMERGENCY), (2, HARDEST)])
def test_distance_and_time_are_those_of_the_published_table(speed_mps: float, column: int, profile: Profile) -> None:
    metres, seconds = TABLE[speed_mps][column]
    stopped = stop(ego(speed_mps), None, 0.0, only(profile))
    assert stopped.xyz[-1, 0] == pytest.approx(metres, rel=0.02)
    at_rest = stopped.t_s[np.argmax(stopped.speed_mps < STANDSTILL_MPS)]
    assert at_rest == pytest.approx(seconds, abs=0.1 + 0.02 * seconds + 0.05)  # a point, or 2 %; the table is rounded
    assert stopped.t_s[np.argmax(stopped.speed_mps == 0)] <= at_rest + 0.2 + 1e-9


def test_a_stop_begins_at_the_ego_and_its_points_are_a_tenth_of_a_second_apart() -> None:
    stopped = stop(ego(10.0, yaw_rad=1.0, xy=(100.0, -40.0)), None, 0.0, SETTINGS)
    assert np.array_equal(stopped.t_s, np.arange(1.0, len(stopped.t_s) + 1) * 0.1)
    assert stopped.xyz[0] == pytest.approx([0.5 * 0.1 * (10.0 + 10.0 - 0.0075), 0.0, 0.0])
    assert (stopped.xyz[:, 2] == 0).all()


def test_the_ramp_is_the_profiles_jerk_and_ends_at_its_deceleration() -> None:
    actions = braking(20.0, 0.0, EMERGENCY, 4.0)
    ramp = actions[: np.argmax(actions == -2.5)]
    assert ramp[0] == pytest.approx(-0.075)  # the mean of a ramp from 0 over its first 0.1 s
    assert np.diff(ramp) == pytest.approx(-0.15)
    assert len(ramp) == 17  # 2.5 / 1.5 s
    end = np.flatnonzero(actions == -2.5)[-1]
    assert (actions[len(ramp) : end] == -2.5).all()
    assert np.diff(actions[end:]).max() <= 0.8 + 1e-9
    assert np.count_nonzero(actions[end + 1 :]) <= 4


def test_braking_that_is_under_way_goes_on_from_where_it_is() -> None:
    actions = braking(20.0, -2.0, EMERGENCY, 4.0)
    assert actions[:5] == pytest.approx([-2.075, -2.225, -2.375, -2.5, -2.5])


def test_braking_that_is_harder_eases_to_the_profile_at_its_jerk() -> None:
    actions = braking(20.0, -3.0, EMERGENCY, 4.0)
    assert actions[:5] == pytest.approx([-2.925, -2.775, -2.625, -2.5, -2.5])


@pytest.mark.parametrize(("accel_mps2", "as_if_mps2"), [(5.0, 0.0), (0.1, 0.0), (-8.0, -4.0), (-4.5, -4.0)])
def test_of_the_initial_acceleration_counts_what_brakes_up_to_the_cap(accel_mps2: float, as_if_mps2: float) -> None:
    counted, as_if = (stop(ego(20.0), None, accel, SETTINGS) for accel in (accel_mps2, as_if_mps2))
    assert np.array_equal(counted.accel_mps2, as_if.accel_mps2)
    easing_mps2 = 0.075 if as_if_mps2 < -2.5 else -0.075
    assert counted.accel_mps2[0] == pytest.approx(as_if_mps2 + easing_mps2)


@pytest.mark.parametrize(("cap_mps2", "hardest_mps2"), [(0.7, -0.7), (2.0, -2.0), (4.0, -4.0), (6.0, -6.0), (9.0, -8.0)])
def test_no_deceleration_passes_the_cap_that_is_configured(cap_mps2: float, hardest_mps2: float) -> None:
    settings = replace(only(Profile(8.0, 5.0)), cap_mps2=cap_mps2)
    assert stop(ego(30.0), None, 0.0, settings).accel_mps2.min() == hardest_mps2


@pytest.mark.parametrize(("speed_mps", "decel_mps2"), [(4.69, 1.0), (4.7, 2.5), (4.71, 2.5), (20.0, 2.5)])
def test_the_speed_chooses_the_profile(speed_mps: float, decel_mps2: float) -> None:
    assert stop(ego(speed_mps), None, 0.0, SETTINGS).accel_mps2.min() == pytest.approx(-decel_mps2)


def test_where_a_comfortable_stop_ends_past_the_path_the_emergencys_is_taken() -> None:
    here = ego(4.0)
    comfortable = stop(here, None, 0.0, SETTINGS)
    needed_m = comfortable.xyz[-1, 0]
    for path_m, decel_mps2 in ((needed_m + 0.1, 1.0), (needed_m - 0.1, 2.5)):
        path = straight_path(path_m)
        assert stop(here, path, 0.0, SETTINGS).accel_mps2.min() == pytest.approx(-decel_mps2)
    # Half a metre of the path is behind it already, whichever way it is heading.
    for turned_rad in (0.0, 0.3, -0.3):
        beside = ego(4.0, yaw_rad=turned_rad, xy=(0.5, 0.3))
        for path_m, decel_mps2 in ((needed_m + 0.6, 1.0), (needed_m + 0.4, 2.5)):
            assert stop(beside, straight_path(path_m), 0.0, SETTINGS).accel_mps2.min() == pytest.approx(-decel_mps2)


@pytest.mark.parametrize(("missing_m", "decel_mps2"), [(0.0, 1.0), (1e-6, 2.5)])
def test_a_path_may_end_where_a_comfortable_stop_does(missing_m: float, decel_mps2: float) -> None:
    settings = replace(SETTINGS, comfort_below_mps=20.0)
    needed_m = stop(ego(10.0), None, 0.0, settings).xyz[-1, 0]
    way = np.array([0.0, needed_m - missing_m])
    path = OdomPath(way, np.stack([way, 0 * way, 0 * way], axis=-1), np.zeros(2), np.zeros(2))
    assert stop(ego(10.0), path, 0.0, settings).accel_mps2.min() == pytest.approx(-decel_mps2)


def test_a_stop_has_as_many_points_as_it_takes_and_no_fewer_than_a_plan() -> None:
    for speed_mps, profile, points in (
        (0.0, EMERGENCY, 64),
        (13.0, EMERGENCY, 64),
        (20.0, EMERGENCY, 90),
        (30.0, COMFORT, 317),
    ):
        assert len(stop(ego(speed_mps), None, 0.0, only(profile)).t_s) == points


def test_a_speed_that_512_points_do_not_stop_is_refused() -> None:
    # 51.2 s at -1.0 m/s^2, of which the ramp takes the first 3.3: 51.2 - 3.33 / 2 = 49.53 m/s.
    longest = stop(ego(49.5), None, 0.0, only(COMFORT))
    assert len(longest.t_s) == 512
    assert longest.speed_mps[-1] == 0
    with pytest.raises(InvalidInput, match=r"stop from 50\.0 m/s at 1\.00 m/s\^2: 0\.[0-9] m/s after 512 points"):
        stop(ego(50.0), None, 0.0, only(COMFORT))


@pytest.mark.parametrize("accel_mps2", [math.nan, math.inf, -math.inf])
def test_an_acceleration_that_is_no_number_is_refused(accel_mps2: float) -> None:
    with pytest.raises(InvalidInput, match=f"initial acceleration {accel_mps2}"):
        stop(ego(), None, accel_mps2, SETTINGS)


@pytest.mark.parametrize(
    "numbers", [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf), (math.inf, 1.0)]
)
def test_a_profile_that_does_not_brake_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match="want a deceleration and a jerk above 0, got Profile"):
        Profile(*numbers)


@pytest.mark.parametrize("cap_mps2", [0.0, -4.0, math.nan, math.inf])
def test_a_cap_that_forbids_braking_is_refused(cap_mps2: float) -> None:
    with pytest.raises(InvalidInput, match=f"above 0, got {cap_mps2} m/s"):
        StopSettings(cap_mps2=cap_mps2)


@given(speed_mps=st.floats(0.0, 40.0), accel_mps2=st.floats(-8.0, 5.0), profile=st.sampled_from([COMFORT, EMERGENCY, HARDEST]))
def test_the_speed_falls_to_exactly_zero_and_never_below(speed_mps: float, accel_mps2: float, profile: Profile) -> None:
    stopped = stop(ego(speed_mps), None, accel_mps2, only(profile))
    speeds = driven(stopped, speed_mps).speed_mps
    assert np.array_equal(speeds[1:], stopped.speed_mps)
    assert (np.diff(speeds) <= 0).all()
    assert speeds[-1] == 0
    standing = stopped.speed_mps == 0
    assert (stopped.accel_mps2[1:][standing[:-1]] == 0).all()  # after standstill nothing acts any more
    assert (np.diff(stopped.xyz[standing], axis=0) == 0).all()


@pytest.mark.parametrize("speed_mps", [5e-324, 1e-300, 1e-17, 1e-9, 1e-3, 0.01, 0.013, 0.1, 0.3, 1.0])
def test_the_slowest_crawl_ends_at_exactly_zero_too(speed_mps: float) -> None:
    for accel_mps2 in (0.0, -1.0, -4.0):
        stopped = stop(ego(speed_mps), None, accel_mps2, SETTINGS)
        assert stopped.speed_mps.min() == stopped.speed_mps[-1] == 0


def test_no_rounding_leaves_a_bit_of_speed_below_zero() -> None:
    rng = np.random.default_rng(0)
    for speed_mps in (*rng.uniform(0.0, 0.09, 1000), *(10.0 ** rng.uniform(-12.0, 0.0, 1000))):
        actions = braking(float(speed_mps), -4.0, HARDEST, 4.0)
        speeds = dynamics.integrate(actions, np.zeros(len(actions)), float(speed_mps)).speed_mps
        assert speeds.min() == speeds[-1] == 0
    assert np.count_nonzero(braking(0.05, -4.0, HARDEST, 4.0)) == 1  # and none where nothing is rounded


def test_standing_stays_standing() -> None:
    for at_rest in (0.0, -0.0):
        stopped = stop(ego(at_rest), odom_path(arc_plan(5.0, 0.1), ego()), -1.0, SETTINGS)
        assert len(stopped.t_s) == 64
        for name in ("xyz", "yaw_rad", "speed_mps", "accel_mps2", "curvature_1pm"):
            assert not getattr(stopped, name).any(), name


@given(speed_mps=st.floats(0.01, 20.0), accel_mps2=st.floats(-8.0, 5.0), yaw_rps=st.floats(-0.3, 0.3))
def test_in_reverse_a_stop_is_the_mirror_image(speed_mps: float, accel_mps2: float, yaw_rps: float) -> None:
    ahead = stop(ego(speed_mps, yaw_rps), None, accel_mps2, SETTINGS)
    path = odom_path(arc_plan(10.0, 0.05), ego())
    back = stop(ego(-speed_mps, yaw_rps), path, -accel_mps2, SETTINGS)  # no valid path leads backwards
    assert np.array_equal(back.speed_mps, -ahead.speed_mps)
    assert np.array_equal(back.accel_mps2, -ahead.accel_mps2)
    assert np.array_equal(back.curvature_1pm, -ahead.curvature_1pm)
    assert np.array_equal(back.yaw_rad, ahead.yaw_rad)  # it turns the same way round
    assert back.xyz == pytest.approx(-ahead.xyz * [1, 1, 1] * [1, -1, 1] * [1, -1, 1])
