"""Pictures: the ribbon at analytically known pixels, nothing from behind, every image and every word on the page."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safety.plans import plan as plan_of

from alpamayo_ros import drawing
from alpamayo_ros.cameras import Camera, Fisheye, Pinhole, base_from_optical
from alpamayo_ros.drawing import birds_eye, contact_sheet, overlay, plan_picture, seven_up, speed_colour, wrapped
from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.geometry import inverse
from alpamayo_ros.profile import Mount
from alpamayo_ros.types import ROLES, Decision, EgoHistory, InvalidInput, Plan, ReasoningTrace, Trajectory

cv2.setNumThreads(1)

HEIGHT_M, FOCAL_PX = 1.5, 400.0
PINHOLE = Pinhole(FOCAL_PX, FOCAL_PX, 319.5, 119.5, 640, 360)
FISHEYE = Fisheye(200.0, 200.0, 319.5, 179.5, 640, 360)
GREY = np.full((360, 640, 3), 90, np.uint8)


def straight(speed_mps: float = 8.0) -> Trajectory:
    """51.2 m ahead at the default speed: after 6.4 s."""
    return trajectory(np.zeros(64), np.zeros(64), speed_mps)


def optical_from_ego(yaw_deg: float = 0.0, x_m: float = 0.0) -> np.ndarray:
    mount = Mount(xyz_m=(x_m, 0.0, HEIGHT_M), yaw_deg=yaw_deg, pitch_deg=0.0, hfov_deg=90.0)
    return inverse(base_from_optical(mount))


def painted(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Which pixels (H, W) differ."""
    return (before != after).any(axis=2)


def a_plan(text: str = "Keep the lane.") -> Plan:
    trace = ReasoningTrace(text, Decision("set_speed_tracking", "lane_keeping"), (), 3, complete=True)
    return plan_of(straight(), 12_345_000_000, reasoning=trace)


def a_history() -> EgoHistory:
    xyz = np.zeros((16, 3), np.float32)
    xyz[:, 0] = np.linspace(-12.0, 0.0, 16)
    return EgoHistory(0, xyz, np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)))


@pytest.mark.parametrize("row", [150, 200, 300])
def test_the_ribbon_is_as_wide_as_the_vehicle_at_its_analytic_columns(row: int) -> None:
    # Flat ground: the row of a point fixes its depth, and the depth fixes how many pixels 0.95 m are.
    changed = painted(GREY, overlay(GREY, PINHOLE, optical_from_ego(), straight()))
    depth_m = FOCAL_PX * HEIGHT_M / (row - PINHOLE.cy)
    half_px = FOCAL_PX * (drawing.VEHICLE_WIDTH_M / 2) / depth_m
    columns = np.flatnonzero(changed[row])
    assert columns[0] == pytest.approx(PINHOLE.cx - half_px, abs=2.0)
    assert columns[-1] == pytest.approx(PINHOLE.cx + half_px, abs=2.0)
    assert len(columns) == columns[-1] - columns[0] + 1


def test_the_ribbon_ends_at_the_row_of_its_last_point_and_reaches_the_bottom() -> None:
    changed = painted(GREY, overlay(GREY, PINHOLE, optical_from_ego(), straight()))
    rows = np.flatnonzero(changed.any(axis=1))
    assert rows[0] == pytest.approx(PINHOLE.cy + FOCAL_PX * HEIGHT_M / 51.2, abs=1.5)
    assert rows[-1] == 359


def test_a_path_to_the_left_is_drawn_on_the_left() -> None:
    bend = trajectory(np.zeros(64), np.full(64, 0.03), 8.0)
    columns = np.flatnonzero(painted(GREY, overlay(GREY, PINHOLE, optical_from_ego(), bend))[:200].any(axis=0))
    assert columns.mean() < PINHOLE.cx - 50


def test_the_ribbon_has_the_colour_of_its_speed() -> None:
    drawn = overlay(GREY, PINHOLE, optical_from_ego(), straight(8.0))[250, 320]
    expected = drawing.RIBBON_OPACITY * np.array(speed_colour(8.0)) + (1 - drawing.RIBBON_OPACITY) * 90.0
    np.testing.assert_allclose(drawn, expected, atol=1.0)
    assert speed_colour(0.0) == speed_colour(-3.0)
    assert len({speed_colour(v) for v in (0.0, 4.0, 8.0, 14.0, 20.0)}) == 5


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_nothing_is_drawn_of_a_path_behind_the_camera(camera: Camera) -> None:
    np.testing.assert_array_equal(overlay(GREY, camera, optical_from_ego(yaw_deg=180.0, x_m=-2.0), straight()), GREY)
    np.testing.assert_array_equal(overlay(GREY, PINHOLE, optical_from_ego(), straight(-5.0)), GREY)


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_a_path_that_passes_under_the_camera_does_not_wrap_around(camera: Camera) -> None:
    changed = painted(GREY, overlay(GREY, camera, optical_from_ego(x_m=20.0), straight()))
    (end,), _ = camera.project(np.array([[0.0, HEIGHT_M, 51.2 - 20.0]]))
    rows = np.flatnonzero(changed.any(axis=1))
    # A point behind a pinhole would land above the horizon, one left on the axis between the horizon and the end.
    assert rows[0] == pytest.approx(end[1], abs=1.5)
    assert rows[-1] == 359


def test_a_camera_beside_the_path_sees_it_on_its_proper_side() -> None:
    changed = painted(GREY, overlay(GREY, PINHOLE, optical_from_ego(yaw_deg=50.0), straight()))
    assert changed[:, 400:].any()
    assert not changed[:, :300].any()


def test_a_standing_vehicle_has_no_ribbon_in_its_own_camera() -> None:
    np.testing.assert_array_equal(overlay(GREY, PINHOLE, optical_from_ego(x_m=1.8), straight(0.0)), GREY)


def test_no_input_image_is_modified() -> None:
    image = GREY.copy()
    image.flags.writeable = False
    overlay(image, PINHOLE, optical_from_ego(), straight())
    contact_sheet({"a": image}, {"a": "label"})
    plan_picture(image, PINHOLE, optical_from_ego(), a_history(), a_plan(), "none")
    np.testing.assert_array_equal(image, GREY)


def test_an_image_of_another_size_than_its_camera_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\(360, 640, 3\)"):
        overlay(GREY[:100], PINHOLE, optical_from_ego(), straight())


def test_birds_eye_shows_forward_up_and_left_left() -> None:
    size, metres = 600, 60.0
    bend = trajectory(np.zeros(64), np.full(64, 0.03), 5.0)
    right = trajectory(np.zeros(64), np.full(64, -0.03), 5.0)
    picture = birds_eye(bend, (right,), a_history(), size, metres)

    def pixel(xy: np.ndarray) -> np.ndarray:
        column, row = round(size / 2 - xy[1] * size / metres), round(0.75 * size - xy[0] * size / metres)
        return picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3)

    assert (pixel(bend.xyz[44]) == speed_colour(5.0)).all(axis=1).any()
    assert np.abs(pixel(right.xyz[44]).astype(int) - drawing.CANDIDATE).sum(axis=1).min() < 60  # thin, so anti-aliased
    assert (pixel(np.array([-8.0, 0.0])) == drawing.FAINT).all(axis=1).any()
    assert (pixel(bend.xyz[29]) == drawing.INK).all(axis=1).any()  # the dot at 3 s


def test_birds_eye_shows_what_was_driven_and_other_planners_in_their_colours() -> None:
    size, metres, orange = 600, 60.0, (224, 123, 26)
    driven, other = trajectory(np.zeros(64), np.full(64, 0.03), 5.0), trajectory(np.zeros(64), np.full(64, -0.03), 5.0)
    picture = birds_eye(straight(5.0), (), a_history(), size, metres, driven.xyz, [(other, orange)])
    for xy, colour in ((driven.xyz[44], drawing.DRIVEN), (other.xyz[44], orange)):
        column, row = round(size / 2 - xy[1] * size / metres), round(0.75 * size - xy[0] * size / metres)
        assert (picture[row - 1 : row + 2, column - 1 : column + 2] == colour).all(axis=2).any()
    without = birds_eye(straight(5.0), (), a_history(), size, metres, np.zeros((0, 3)))
    np.testing.assert_array_equal(without, birds_eye(straight(5.0), (), a_history(), size, metres))


@given(st.floats(-20.0, 220.0), st.floats(-140.0, 140.0))
def test_a_view_as_wide_as_said_holds_the_path(ahead_m: float, left_m: float) -> None:
    metres = drawing.metres_across([np.array([[ahead_m, left_m, 0.0]])])
    assert -0.25 * metres < ahead_m < 0.75 * metres
    assert abs(left_m) < 0.5 * metres


def test_a_contact_sheet_contains_each_image() -> None:
    colours = {f"camera {i}": (30 * i + 20, 250 - 30 * i, 60 + 20 * i) for i in range(7)}
    images = {name: np.full((90, 160, 3), colour, np.uint8) for name, colour in colours.items()}
    sheet = contact_sheet(images, {name: f"{name}\n/topic" for name in images})
    for colour in colours.values():
        area = np.count_nonzero((sheet == colour).all(axis=2))
        # 480 x 270 in the cell, less the line around it.
        assert area == pytest.approx(480 * 270, rel=0.02)


def test_images_of_different_shapes_keep_their_proportions_and_labels_stay_off_them() -> None:
    images = {"tall": np.full((200, 100, 3), (200, 10, 10), np.uint8), "wide": np.full((50, 200, 3), (10, 200, 10), np.uint8)}
    sheet = contact_sheet(images, {"tall": "word " * 60, "wide": "x"})
    assert np.count_nonzero((sheet == (200, 10, 10)).all(axis=2)) == pytest.approx(240 * 480, rel=0.02)
    assert np.count_nonzero((sheet == (10, 200, 10)).all(axis=2)) == pytest.approx(480 * 120, rel=0.02)


def test_a_contact_sheet_without_an_image_or_label_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 images"):
        contact_sheet({}, {})
    with pytest.raises(InvalidInput, match="'a'"):
        contact_sheet({"a": GREY}, {})


def test_the_page_of_a_plan_grows_with_its_trace_and_cuts_nothing_off() -> None:
    short = plan_picture(GREY, PINHOLE, optical_from_ego(), a_history(), a_plan(), "none")
    long = plan_picture(GREY, PINHOLE, optical_from_ego(), a_history(), a_plan("because " * 120), "none")
    assert long.shape[0] > short.shape[0]
    for page in (short, long):
        text = page[540:]
        margin = drawing.MARGIN_PX // 2
        assert (text[:, -margin:] == drawing.PAPER).all()
        assert (text[-margin:] == drawing.PAPER).all()
        assert (text != drawing.PAPER).any()


def test_the_page_says_whose_weights_and_what_was_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(drawing, "write_lines", lambda picture, lines, *_: written.extend(lines))
    plan_picture(GREY, PINHOLE, optical_from_ego(), a_history(), a_plan("Keep the lane."), "untrained")
    page = " ".join(written)
    for words in ("12.345 s", "source: model", "UNTRAINED", "set_speed_tracking / lane_keeping", "Keep the lane."):
        assert words in page


@given(text=st.text(max_size=300), width_px=st.integers(20, 400))
def test_wrapped_text_is_ascii_fits_and_loses_no_letter(text: str, width_px: int) -> None:
    lines = wrapped(text, width_px)
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert all(drawing._width(line, drawing.TEXT_SCALE) <= width_px for line in lines)
    assert "".join("".join(lines).split()) == "".join(drawing.ascii_text(text).split())


def test_a_long_word_is_cut_without_measuring_every_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model writes 2048 characters without a space; measuring them takes a hundred microseconds."""
    measured: list[int] = []
    width = drawing._width
    monkeypatch.setattr(drawing, "_width", lambda text, scale: (measured.append(len(text)), width(text, scale))[1])
    lines = wrapped("x" * 2048, 452)
    assert {len(line) for line in lines[:-1]} == {len(lines[0])}
    assert "".join(lines) == "x" * 2048
    assert len(measured) < 16 * len(lines)
    assert wrapped("xy", 1) == ["x", "y"], "no line is narrower than a character"


def test_characters_opencv_cannot_draw_become_question_marks() -> None:
    assert wrapped("a — b\té", 400) == ["a ? b ?"]


def test_seven_cameras_stand_in_their_places_and_a_missing_one_stays_dark() -> None:
    shades = {role: 30 * i + 40 for i, role in enumerate(ROLES) if role != "rear_tele"}
    page = seven_up({role: np.full((90, 160, 3), shade, np.uint8) for role, shade in shades.items()}, {}, 960)
    assert page.shape == (180 + 135, 960, 3)
    places = {role: page[90, 160 + 320 * i] for i, role in enumerate(("front_left", "front_wide", "front_right"))}
    places |= {role: page[250, 120 + 240 * i] for i, role in enumerate(("rear_left", "front_tele", "rear_tele", "rear_right"))}
    assert {role: tuple(colour) for role, colour in places.items()} == {
        role: (shades[role],) * 3 if role in shades else drawing.PAPER for role in ROLES
    }
    assert painted(page, seven_up({}, {"front_tele": "silent"}, 960))[190:200, 245:300].any(), "a label without an image"
    with pytest.raises(InvalidInput, match="unknown camera role 'front'"):
        seven_up({"front": GREY}, {}, 960)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Keep the lane.", "Keep the lane."),
        ("\x1b[31mStop\x1b[0m", "Stop"),
        ("\x1b]8;;http://x.y\x1b\\link\x1b]8;;\x1b\\ end", "link end"),
        ("\x1b]0;title\x07words", "words"),
        ("a\x9b2Jb", "a b"),
        ("\x1bcreset", "reset"),
        ("two\n\tlines\x00\x7f\u202e!", "two lines !"),
        ("\x1b]never ended", ""),
        ("grün 停", "grün 停"),
        ("", ""),
    ],
)
def test_words_are_shown_without_what_a_terminal_would_act_upon(text: str, shown: str) -> None:
    assert drawing.shown_text(text) == shown


@given(st.text())
def test_words_that_are_shown_are_printable_and_at_most_512_characters(text: str) -> None:
    shown = drawing.shown_text(text * 3)
    assert shown.isprintable()
    assert len(shown) <= 512
    assert drawing.shown_text(shown) == shown


def test_words_of_513_characters_end_in_dots() -> None:
    assert drawing.shown_text("x" * 512) == "x" * 512
    assert drawing.shown_text("x" * 513) == "x" * 509 + "..."


def test_a_plan_that_the_checks_reject_is_marked_with_why_and_the_others_are_not() -> None:
    asked = (GREY, PINHOLE, optical_from_ego(), a_history(), a_plan(), "none")
    plain, marked = plan_picture(*asked), plan_picture(*asked, rejected="V7 lateral acceleration: 5.25 m/s^2, reject limit 4.9")
    assert len(marked) == len(plain) + drawing.LINE_PX, "one line more"
    red = (marked == drawing.REJECTED).all(axis=2)
    assert red[0].all()
    assert red[drawing.FRONT_PX * 360 // 640 :].sum() > 100, "the words below the pictures are red, too"
    assert not (plain == drawing.REJECTED).all(axis=2).any()
