"""Pictures of snapshots: what is in them, what hides what, and what light and state make of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from simulation.made import busy, scenario, snapshot

from alpamayo_ros.cameras import FORWARD_FROM_OPTICAL, Pinhole, base_from_optical, nominal_camera
from alpamayo_ros.geometry import apply, inverse, rotation_z, transform
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import rig_at
from alpamayo_ros.simulation.rendering.signs import LAMP_HEIGHTS_M
from alpamayo_ros.simulation.rendering.solids import BRAKE_LIT, HEAD_LIT, INDICATOR_LIT, TAIL_LIT
from alpamayo_ros.simulation.scenario import Daylight, LightColour, Look, Scenario, Scenery, Sign, TrafficLight, Weather
from alpamayo_ros.simulation.state import Body, BodyKind, Snapshot
from alpamayo_ros.types import F64, U8, InvalidInput, TurnIndicator

RIG = read_rig("seven_camera")
STILL = Look("day", "overcast", noise_sigma=0.0)
PLAIN = scenario(look=STILL)
RED_PAINT, BLUE_PAINT = (210, 30, 30), (30, 60, 210)


def camera(role: str = "front_wide", height: int = 360, width: int = 640) -> Pinhole:
    return nominal_camera(rig_at(RIG, height, width).cameras[role])


def pose(now: Snapshot, role: str = "front_wide") -> F64:
    ego = transform(rotation_z(now.ego.yaw_rad), np.append(now.ego.xy_m, 0.0))
    return ego @ base_from_optical(RIG.cameras[role].mount)


def body(kind: BodyKind = "car", along_m: float = 60.0, left_m: float = 0.0, yaw_rad: float = 0.0, **state: Any) -> Body:
    return replace(Body(f"{kind} {along_m} {left_m}", kind, np.array([along_m, left_m]), yaw_rad, 5.0), **state)


def with_bodies(of: Scenario, *bodies: Body, t_s: float = 0.0) -> Snapshot:
    return replace(snapshot(of, t_s), bodies=bodies)


def picture(of: Scenario, now: Snapshot, role: str = "front_wide", height: int = 360, width: int = 640) -> U8:
    return Stage(of).picture(now, camera(role, height, width), pose(now, role), (0, 1, 2))


def close_to(image: U8, colour: tuple[int, int, int], tolerance: int = 40) -> int:
    return int((np.abs(image.astype(int) - colour).max(axis=-1) <= tolerance).sum())


def outline(of: Body, lens: Pinhole, odom_from_optical: F64) -> np.ndarray:
    """Mask of the pixels of a body's box, a centimetre larger for its lamps."""
    half = np.array([of.size.length_m, of.size.width_m]) / 2 + 0.015
    corners = np.array(list(product((-half[0], half[0]), (-half[1], half[1]), (0.0, of.size.height_m))))
    odom = corners @ rotation_z(of.yaw_rad).T + np.append(of.xy_m, 0.0)
    uv, _ = lens.project(apply(inverse(odom_from_optical), odom))
    mask = np.zeros((lens.height, lens.width), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(uv.astype(np.float32)).astype(np.int32), 1)
    return mask


@pytest.mark.parametrize("size", [(360, 640), (64, 96)])
@pytest.mark.parametrize("kind", get_args(BodyKind))
def test_a_body_changes_the_pixels_within_its_projected_box_and_no_others(kind: BodyKind, size: tuple[int, int]) -> None:
    thing = body(kind, 50.0, 0.8, 0.5, speed_mps=0.0)
    with_it, without = with_bodies(PLAIN, thing), with_bodies(PLAIN)
    changed = (picture(PLAIN, with_it, "front_wide", *size) != picture(PLAIN, without, "front_wide", *size)).any(axis=-1)
    box = outline(thing, camera("front_wide", *size), pose(with_it))
    assert not (changed & (cv2.dilate(box, np.ones((5, 5))) == 0)).any()
    assert changed[box > 0].mean() > (
        0.25 if kind in ("cone", "barrier", "pedestrian", "child", "cyclist", "motorcycle") else 0.7
    )


@pytest.mark.parametrize("along", [(50.0, 64.0), (64.0, 50.0)])
def test_the_nearer_vehicle_hides_the_farther(along: tuple[float, float]) -> None:
    near = body("truck", along_m=50.0, colour=RED_PAINT)
    far = body(along_m=64.0, colour=BLUE_PAINT)
    both = picture(PLAIN, with_bodies(PLAIN, *sorted((near, far), key=lambda b: along.index(float(b.xy_m[0])))))
    alone = picture(PLAIN, with_bodies(PLAIN, near))
    np.testing.assert_array_equal(both, alone)
    assert (picture(PLAIN, with_bodies(PLAIN, far)) != alone).any()


def test_a_building_hides_who_is_behind_it() -> None:
    house = Scenery("building", 0, 55.0, -6.0, 6.0, 6.0, 6.0, (160, 150, 140))
    walled = replace(PLAIN, scenery=(house,))
    hidden, seen = body("pedestrian", 66.0, -10.0), body("pedestrian", 48.0, -4.0)
    np.testing.assert_array_equal(picture(walled, with_bodies(walled, hidden)), picture(walled, with_bodies(walled)))
    assert (picture(walled, with_bodies(walled, seen)) != picture(walled, with_bodies(walled))).any()
    assert (picture(PLAIN, with_bodies(PLAIN, hidden)) != picture(PLAIN, with_bodies(PLAIN))).any()


def test_the_cab_hides_the_load_from_in_front_and_the_load_the_cab_from_behind() -> None:
    truck = body("truck", 60.0, colour=RED_PAINT)
    for yaw_rad, brakes in ((0.0, True), (np.pi, False)):
        now = with_bodies(PLAIN, replace(truck, yaw_rad=yaw_rad, accel_mps2=-2.0))
        assert (close_to(picture(PLAIN, now), BRAKE_LIT) > 20) is brakes


def test_brake_lights_are_lit_exactly_while_braking() -> None:
    seen = {
        a: close_to(picture(PLAIN, with_bodies(PLAIN, body(accel_mps2=a, colour=(90, 90, 90)))), BRAKE_LIT) for a in (-2.0, 0.0)
    }
    assert seen[-2.0] > 30
    assert seen[0.0] == 0


@pytest.mark.parametrize(("indicator", "sides"), [("off", ""), ("left", "l"), ("right", "r"), ("hazard", "lr")])
@pytest.mark.parametrize("yaw_rad", [0.0, np.pi])
def test_indicators_blink_on_their_side(indicator: TurnIndicator, sides: str, yaw_rad: float) -> None:
    turning = body(along_m=50.0, indicator=indicator, yaw_rad=yaw_rad, colour=(90, 90, 90))
    lit = np.abs(picture(PLAIN, with_bodies(PLAIN, turning)).astype(int) - INDICATOR_LIT).max(axis=-1) < 40
    halves = {"l": lit[:, :320].sum(), "r": lit[:, 320:].sum()}
    if yaw_rad:  # it comes towards us: its left is our right
        halves = {"l": halves["r"], "r": halves["l"]}
    assert {side for side, count in halves.items() if count > 2} == set(sides)
    assert close_to(picture(PLAIN, with_bodies(PLAIN, turning, t_s=0.5)), INDICATOR_LIT) == 0


def test_a_broken_down_car_has_its_hazard_lights_on_and_a_parked_one_is_dark() -> None:
    night = replace(PLAIN, look=Look("night", noise_sigma=0.0))
    broken, parked = (
        picture(night, with_bodies(night, body(kind, speed_mps=0.0))) for kind in ("broken_down_car", "parked_car")
    )
    assert close_to(broken, INDICATOR_LIT) > 10
    assert close_to(parked, INDICATOR_LIT) == 0
    assert close_to(broken, TAIL_LIT, 25) > 10
    assert close_to(parked, TAIL_LIT, 25) == 0


LIGHT = TrafficLight(0, 60.0, ("ego",), (("red", 8.0),), 0.0, (66.8, -4.5))
JUNCTION = replace(PLAIN, lights=(LIGHT,))
COLOURS: tuple[LightColour, ...] = ("red", "yellow", "green")


def lamp_pixel(role: str, height: int, width: int, colour: LightColour, now: Snapshot) -> tuple[int, int]:
    lens = camera(role, height, width)
    uv, visible = lens.project(apply(inverse(pose(now, role)), np.array([[*LIGHT.lamp_m, LAMP_HEIGHTS_M[colour]]])))
    assert visible[0]
    return int(np.rint(uv[0, 1])), int(np.rint(uv[0, 0]))


@pytest.mark.parametrize("lit", COLOURS)
@pytest.mark.parametrize(
    ("role", "height", "width"), [("front_wide", 1080, 1920), ("front_wide", 360, 640), ("front_tele", 64, 96)]
)
def test_the_lit_lamp_is_where_the_camera_model_says_and_the_others_are_dark(
    lit: LightColour, role: str, height: int, width: int
) -> None:
    now = replace(snapshot(JUNCTION), lights=(lit,))
    image = picture(JUNCTION, now, role, height, width)
    spread = {colour: int(np.ptp(image[lamp_pixel(role, height, width, colour, now)].astype(int))) for colour in COLOURS}
    assert spread.pop(lit) > 200
    assert max(spread.values()) < 40


@pytest.mark.parametrize("lit", COLOURS)
@pytest.mark.parametrize(
    "look", [Look(), Look("dusk"), Look("night"), Look("day", "rain"), Look("night", "rain"), Look("day", "fog")]
)
def test_the_lamp_can_be_read_from_25_m_in_the_smallest_wide_picture(lit: LightColour, look: Look) -> None:
    """With noise: the lamp's colour stands out around its pixel by more than any noise does."""
    of = replace(JUNCTION, look=look)
    now = replace(snapshot(of), lights=(lit,))
    assert np.hypot(*(np.array(LIGHT.lamp_m) - pose(now)[:2, 3])) >= 25.0
    v, u = lamp_pixel("front_wide", 64, 96, lit, now)
    red, green, blue = picture(of, now, "front_wide", 64, 96)[v - 1 : v + 2, u - 1 : u + 2].astype(int).reshape(-1, 3).T
    signal = {"red": red - np.maximum(green, blue), "yellow": np.minimum(red, green) - blue, "green": green - red}
    assert signal[lit].max() > 6 * look.noise_sigma
    if lit != "yellow":
        assert signal["yellow"].max() < 4 * look.noise_sigma + 20
    for other in {"red", "green"} - {lit}:
        assert signal[other].max() < signal[lit].max() / 2


def test_a_light_is_not_seen_from_behind() -> None:
    behind = replace(LIGHT, lanes=("oncoming",))
    for light, seen in ((LIGHT, True), (behind, False)):
        of = replace(PLAIN, lights=(light,))
        assert (close_to(picture(of, snapshot(of)), (255, 16, 16)) > 3) is seen


SIGNS: dict[str, tuple[int, int, int]] = {
    "stop": (204, 20, 28),
    "yield": (204, 20, 28),
    "advisory_speed": (250, 204, 20),
    "roadworks": (252, 128, 18),
    "merge": (250, 204, 20),
    "exit": (0, 108, 66),
}


@pytest.mark.parametrize("kind", SIGNS)
def test_a_sign_shows_its_colour_to_who_comes(kind: str) -> None:
    sign = Sign(kind, 0, 52.0, -4.0, speed_mps=8.3, side="left")  # type: ignore[arg-type]
    facing, away = (replace(PLAIN, signs=(replace(sign, left_m=left),)) for left in (-4.0, 10.5))
    assert close_to(picture(facing, snapshot(facing))[:175], SIGNS[kind]) > 40
    assert close_to(picture(away, snapshot(away))[:175], SIGNS[kind]) == 0  # that one is for the oncoming


def test_an_advisory_speed_shows_its_number() -> None:
    slow, fast = (replace(PLAIN, signs=(Sign("advisory_speed", 0, 50.0, -4.0, speed_mps=v, side="left"),)) for v in (8.3, 11.1))
    assert (picture(slow, snapshot(slow)) != picture(fast, snapshot(fast))).any()


@pytest.mark.parametrize("kind", ["advisory_speed", "merge", "exit"])
def test_the_side_of_a_sign_is_mirrored(kind: str) -> None:
    def seen(side: str) -> U8:
        sign = Sign(kind, 0, 46.0, -4.0, speed_mps=24.5, side=side)  # type: ignore[arg-type]  # "88" is symmetric
        of = replace(PLAIN, signs=(sign,))
        straight = transform(FORWARD_FROM_OPTICAL, np.array([44.0, -4.0, 2.35]))  # in front of it
        return Stage(of).picture(snapshot(of), Pinhole(150.0, 150.0, 99.5, 99.5, 200, 200), straight, (0,))[:130, 50:150]

    left, right = seen("left").astype(int), seen("right").astype(int)
    assert (np.abs(left - right).max(axis=-1) > 100).sum() > 50
    assert (np.abs(left - right[:, ::-1]).max(axis=-1) > 100).mean() < 0.01


def test_night_is_darker_than_dusk_and_dusk_than_day_but_for_the_lamps() -> None:
    brightness, lamps = {}, {}
    for daylight in get_args(Daylight):
        of = replace(busy(), look=Look(daylight, noise_sigma=0.0))
        now = replace(with_bodies(of, body(along_m=62.0, accel_mps2=-3.0)), lights=("red",))
        image = picture(of, now)
        brightness[daylight] = image.mean()
        lamps[daylight] = close_to(image, BRAKE_LIT)
    assert brightness["night"] < 0.6 * brightness["dusk"] < 0.6 * brightness["day"]
    assert min(lamps.values()) > 0.9 * max(lamps.values()) > 20


def test_headlights_are_lit_at_night_and_light_the_road_ahead() -> None:
    night, day = (replace(PLAIN, look=Look(daylight, noise_sigma=0.0)) for daylight in ("night", "day"))
    coming = body(along_m=60.0, left_m=7.0, yaw_rad=np.pi)
    assert close_to(picture(night, with_bodies(night, coming)), HEAD_LIT, 15) > 8
    assert close_to(picture(day, with_bodies(day, coming)), HEAD_LIT, 15) == 0
    ahead = picture(night, snapshot(night))[300:].mean()
    behind = (
        Stage(night)
        .picture(snapshot(night), camera("rear_tele", 360, 640), pose(snapshot(night), "rear_tele"), (0,))[300:]
        .mean()
    )
    assert ahead > 2 * behind


def test_the_side_towards_the_sun_is_brighter() -> None:
    bright, dark = (replace(PLAIN, look=Look(sun_yaw_rad=yaw, noise_sigma=0.0)) for yaw in (np.pi, 0.0))
    board = body("truck", 60.0, colour=(150, 150, 150))
    rows, columns = slice(150, 175), slice(305, 335)
    from_behind, from_ahead = (picture(of, with_bodies(of, board))[rows, columns].mean() for of in (bright, dark))
    assert from_behind > from_ahead + 20


@pytest.mark.parametrize("sun_from_left", [True, False])
def test_shadows_fall_away_from_the_sun(sun_from_left: bool) -> None:
    of = replace(PLAIN, look=Look(sun_yaw_rad=np.pi / 2 if sun_from_left else -np.pi / 2, noise_sigma=0.0))
    darker = picture(of, with_bodies(of)).mean(axis=-1) - picture(of, with_bodies(of, body(along_m=50.0))).mean(axis=-1) > 15
    box = outline(body(along_m=50.0), camera(), pose(snapshot(of)))
    aside = np.flatnonzero((darker & (cv2.dilate(box, np.ones((7, 7))) == 0)).any(axis=0)) - 319.5
    assert len(aside) > 5
    assert ((aside > 0) == sun_from_left).all()


def test_haze_hides_far_things_and_fog_near_ones() -> None:
    contrast: dict[Weather, list[float]] = {}
    for weather in get_args(Weather):
        of = replace(PLAIN, look=Look("day", weather, noise_sigma=0.0))
        empty = picture(of, with_bodies(of), "front_tele").astype(float)
        contrast[weather] = []
        for away in (20.0, 80.0):
            black = body("truck", 40.0 + away, 0.0, colour=(0, 0, 0))
            mask = outline(black, camera("front_tele"), pose(with_bodies(of), "front_tele")) > 0
            contrast[weather].append(float(np.abs(picture(of, with_bodies(of, black), "front_tele") - empty)[mask].mean()))
        assert contrast[weather][1] < contrast[weather][0]
    far = {weather: values[1] for weather, values in contrast.items()}
    assert far["fog"] < 0.7 * far["rain"] < 0.7 * far["clear"]


@pytest.mark.parametrize("look", [Look(), Look("night", "rain", texture_seed=4), Look("dusk", "fog")])
def test_the_same_scene_gives_the_same_bytes(look: Look) -> None:
    of = replace(busy(), look=look)
    first, second = (picture(of, snapshot(of)) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    other = picture(of, snapshot(of, along_m=of.start.along_m + 0.5))
    assert (first != other).any()


def test_the_place_of_the_ego_moves_the_ground() -> None:
    """Each half metre changes much of the picture below the horizon: there is texture to see motion by."""
    images = [picture(PLAIN, snapshot(PLAIN, along_m=40.0 + 0.5 * k)) for k in range(3)]
    for first, second in pairwise(images):
        assert (first[200:] != second[200:]).any(axis=-1).mean() > 0.03


def test_small_pictures_are_large_ones_made_small() -> None:
    of = replace(busy(), look=STILL)
    now = with_bodies(of, body(along_m=55.0, colour=RED_PAINT), body("truck", 70.0, 7.0, np.pi))
    for role in ("front_wide", "front_tele", "rear_left"):
        small = picture(of, now, role, 54, 96).astype(float)
        large = cv2.resize(picture(of, now, role, 1080, 1920), (96, 54), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(small - large).mean() < 5.0


def test_a_lens_far_from_everything_still_sees_sky_above_ground() -> None:
    now = snapshot(PLAIN)
    image = Stage(PLAIN).picture(now, camera(), transform(pose(now)[:3, :3], np.array([9000.0, 9000.0, 1.5])), (0,))
    assert (image[:150, :, 2] >= image[:150, :, 1]).all()  # never greener than blue; hills begin below
    assert (image[250:, :, 1].astype(int) > image[250:, :, 2].astype(int)).all()


def test_a_snapshot_with_other_traffic_lights_is_refused_with_numbers() -> None:
    with pytest.raises(InvalidInput, match="1 traffic lights, a snapshot with 0"):
        picture(JUNCTION, replace(snapshot(JUNCTION), lights=()))
