from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from evaluation.conversion import drive, made

from alpamayo_ros.bags import BagWriter
from alpamayo_ros.evaluation.conversion.convert import Kind, convert
from alpamayo_ros.types import InvalidInput

pytestmark = pytest.mark.thorough

FRONT = "camera_front_wide_120fov"
EGOMOTION = "labels/egomotion/egomotion.chunk_0003.zip"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole data sets; of the films only the front one."""
    folder = tmp_path_factory.mktemp("sources")
    return {
        "physical-ai-av": made.physical_ai_av(folder / "av", ("front_wide",)),
        "nuscenes": made.nuscenes(folder / "nuscenes"),
        "kitti": made.kitti(folder / "kitti"),
    }


def copied(sources: dict[str, Path], kind: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sources[kind], tmp_path / "source"))


# --- which scene, which frames -----------------------------------------------------------------------------------------------


def test_the_only_scene_needs_no_name_and_several_are_listed(sources: dict[str, Path], tmp_path: Path) -> None:
    assert convert("kitti", sources["kitti"], None, tmp_path / "bag").scene == made.KITTI_DRIVE
    with pytest.raises(InvalidInput, match="2 scenes, choose one: scene-0103, scene-0061"):
        convert("nuscenes", sources["nuscenes"], None, tmp_path / "none")
    many = [f"scene-{i:04d}" for i in range(30)]
    made.nuscenes(tmp_path / "many", tuple(many))
    with pytest.raises(InvalidInput, match=r"30 scenes.*scene-0010 and 10 more$"):
        convert("nuscenes", tmp_path / "many", None, tmp_path / "none")


def test_an_unknown_scene_is_refused_with_the_names_near_it(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"no scene '{made.AV_OTHER}' among the 1 here; near: {made.AV_CLIP}"):
        convert("physical-ai-av", sources["physical-ai-av"], made.AV_OTHER, tmp_path / "bag")  # in the index, not downloaded
    with pytest.raises(InvalidInput, match="no scene 'x' among the 2 here; scene-0103, scene-0061"):
        convert("nuscenes", sources["nuscenes"], "x", tmp_path / "bag")


def test_a_folder_of_one_version_or_drive_is_taken_as_well(sources: dict[str, Path], tmp_path: Path) -> None:
    nuscenes = convert("nuscenes", sources["nuscenes"] / "v1.0-mini", "scene-0061", tmp_path / "nuscenes")
    assert len(nuscenes.cameras) == 6
    drive = sources["kitti"] / made.KITTI_DATE / made.KITTI_DRIVE
    assert convert("kitti", drive, None, tmp_path / "kitti").cameras == ("front_wide",)


@pytest.mark.parametrize(
    ("rate_hz", "kept_hz"), [(30.0, 30.0), (31.0, 30.0), (15.0, 15.0), (10.0, 10.0), (7.0, 7.5), (2.0, 2.0)]
)
def test_fast_cameras_keep_every_nth_frame(sources: dict[str, Path], tmp_path: Path, rate_hz: float, kept_hz: float) -> None:
    bag = drive.Bag(convert("physical-ai-av", sources["physical-ai-av"], None, tmp_path / "bag", rate_hz))
    every = round(made.AV_FPS / kept_hz)
    assert bag.stamps_ns("front_wide") == (1_700_000_000_000_000_000 + made.av_stamps_us("front_wide")[::every] * 1000).tolist()
    assert bag.rig.cameras["front_wide"].rate_hz == pytest.approx(kept_hz, rel=1e-3)


@pytest.mark.parametrize(
    ("rate_hz", "expected"), [(0.0, "above 0 Hz, got 0.0"), (0.1, "at 0.1 Hz fewer than 2 frames of front_w")]
)
def test_a_rate_that_leaves_nothing_is_refused(sources: dict[str, Path], tmp_path: Path, rate_hz: float, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        convert("physical-ai-av", sources["physical-ai-av"], None, tmp_path / "bag", rate_hz)


def test_frames_that_stay_are_those_of_one_instant(sources: dict[str, Path], tmp_path: Path) -> None:
    """The front tele camera begins two frames later: its third is the front wide camera's fifth."""
    source = copied(sources, "physical-ai-av", tmp_path)
    eye, late_us = made.av_eye("front_tele"), made.av_stamps_us("front_tele")[2:]
    disc = eye.disc(made.AV_SECONDS / 2)
    made.av_camera(source, "front_tele", made.film([eye.image(disc, t / 1e6) for t in late_us]), late_us)
    bag = drive.Bag(convert("physical-ai-av", source, None, tmp_path / "bag"))
    wide, tele = (np.array(bag.stamps_ns(role)) for role in ("front_wide", "front_tele"))
    assert abs(tele[1:] - wide[1:]).max() < 5_000_000


# --- the films ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tagged",
    [
        None,
        (Colorspace.ITU601, ColorRange.MPEG),
        (Colorspace.ITU601, ColorRange.JPEG),
        (Colorspace.ITU709, ColorRange.MPEG),
        (Colorspace.ITU709, ColorRange.JPEG),
    ],
)
def test_jpegs_of_a_film_have_its_colours(
    sources: dict[str, Path], tmp_path: Path, tagged: tuple[Colorspace, ColorRange] | None
) -> None:
    colours = np.zeros((made.AV_SIZE[1], made.AV_SIZE[0], 3), np.uint8)
    for i, colour in enumerate([(200, 30, 40), (30, 160, 60), (40, 60, 220), (250, 250, 250), (5, 5, 5), (128, 128, 128)]):
        colours[:, i * 53 : (i + 1) * 53] = colour
    source = copied(sources, "physical-ai-av", tmp_path)
    made.av_camera(source, "front_wide", made.film([colours] * len(made.av_stamps_us("front_wide")), tagged))
    bag = drive.Bag(convert("physical-ai-av", source, None, tmp_path / "bag"))
    for image in bag.images("front_wide")[::10]:
        seen = cv2.imdecode(image.data, cv2.IMREAD_COLOR_RGB)
        for i in range(6):
            middle = np.s_[60:120, i * 53 + 16 : i * 53 + 36]
            # Another range or matrix is off by 11 levels and more.
            assert np.abs(seen[middle].mean(axis=(0, 1)) - colours[middle].mean(axis=(0, 1))).max() < 4.0


# --- what is refused ---------------------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def cut(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def film_of(count: int, size: tuple[int, int] = made.AV_SIZE) -> bytes:
    return made.film([np.full((size[1], size[0], 3), i % 200, np.uint8) for i in range(count)])


def broken_film(source: Path) -> None:
    """A film whose header is whole and whose frames are not."""
    data = bytearray(film_of(120))
    begin = data.index(b"mdat") + 400
    data[begin : begin + 20_000] = bytes(len(data[begin : begin + 20_000]))
    made.av_camera(source, "front_wide", bytes(data))


def egomotion(source: Path, change: Callable[[dict[str, float]], dict[str, float]]) -> None:
    made.zipped(
        source / EGOMOTION, {f"{made.AV_CLIP}.egomotion.parquet": made.parquet([change(r) for r in made.av_egomotion()])}
    )


def swapped_stamps(source: Path) -> None:
    stamps = made.av_stamps_us("front_wide")
    stamps[[7, 8]] = stamps[[8, 7]]
    made.av_camera(source, "front_wide", film_of(len(stamps)), stamps)


def another_camera(source: Path) -> None:
    shutil.rmtree(source / "camera")
    made.av_camera(source, "front_tele", film_of(120))


def renamed(rows: list[dict[str, Any]], filename: str) -> None:
    for row in rows:
        if "CAM_FRONT/" in row["filename"]:
            row["filename"] = filename


def features_at(source: Path, chunk_path: str) -> None:
    text = (source / "features.csv").read_text()
    (source / "features.csv").write_text(re.sub(r"labels/egomotion/[^,]*", chunk_path, text))


SAMPLES = "v1.0-mini/sample_data.json"
DRIVE = f"{made.KITTI_DATE}/{made.KITTI_DRIVE}"
CALIBRATIONS, CAM_TO_CAM = "v1.0-mini/calibrated_sensor.json", f"{made.KITTI_DATE}/calib_cam_to_cam.txt"


def calibration(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["token"].endswith("-CAM_FRONT"))


def placed(source: Path, **changes: Any) -> None:
    numbers = {"R": made.CAM0_FROM_VELO[:3, :3].ravel(), "T": made.CAM0_FROM_VELO[:3, 3]}
    made.write_numbers(source / f"{made.KITTI_DATE}/calib_velo_to_cam.txt", numbers | changes)


def rewritten_text(path: Path, pattern: str, replacement: str) -> None:
    path.write_text(re.sub(pattern, replacement, path.read_text(), count=1))


def emptied(source: Path) -> None:
    shutil.rmtree(source / DRIVE / "oxts/data")
    (source / DRIVE / "oxts/timestamps.txt").write_text("")


REFUSED: list[tuple[Kind, Callable[[Path], object], str]] = [
    (
        "physical-ai-av",
        lambda s: (s / "features.csv").unlink(),
        "features.csv: no such file; .* has calibration, camera, clip_ind",
    ),
    ("physical-ai-av", lambda s: (s / "clip_index.parquet").unlink(), "clip_index.parquet: no such file"),
    ("physical-ai-av", lambda s: cut(s / "clip_index.parquet"), "clip_index.parquet: not a readable parquet file"),
    ("physical-ai-av", lambda s: (s / EGOMOTION).unlink(), "2 clips in the index, but the egomotion of none, .*chunk_0003.zip"),
    ("physical-ai-av", lambda s: cut(s / EGOMOTION), "egomotion.chunk_0003.zip: not a whole zip file"),
    (
        "physical-ai-av",
        lambda s: made.zipped(s / EGOMOTION, {"other": b""}),
        "no 0a948f59.*egomotion.parquet among its 1 files",
    ),
    (
        "physical-ai-av",
        lambda s: egomotion(s, lambda row: {key: value for key, value in row.items() if key != "vz"}),
        "no column vz; it has timestamp, qx, .*curvature",
    ),
    (
        "physical-ai-av",  # velocities of the ego frame instead of the anchor frame
        lambda s: egomotion(s, lambda row: row | {"vx": drive.SPEED_MPS, "vy": 0.0}),
        "poses and twists differ by .* m/s .* poses move by .* twists say",
    ),
    ("physical-ai-av", lambda s: egomotion(s, lambda row: row | {"x": float("nan")}), "430 of 430 positions are not finite"),
    ("physical-ai-av", lambda s: made.av_calibration(s, fw_poly_0=2.5), "fw_poly_0 is 2.5 px, want at most 0.1"),
    (
        "physical-ai-av",
        lambda s: made.av_calibration(s, height=200),
        f"front_wide: .*{FRONT}.mp4, frame 0: the image is 320x180, its calibration is of 320x200",
    ),
    ("physical-ai-av", lambda s: made.av_camera(s, "front_wide", film_of(90)), f"{FRONT}.mp4: 90 frames, but 120 timestamps"),
    (
        "physical-ai-av",
        lambda s: made.av_camera(s, "front_wide", film_of(120)[:2000]),
        f"{FRONT}.mp4: cannot be decoded after 0 of",
    ),
    ("physical-ai-av", broken_film, f"{FRONT}.mp4: cannot be decoded after"),
    ("physical-ai-av", swapped_stamps, "front_wide: images: times must increase: number 8 is .* ns, the one before it"),
    ("physical-ai-av", lambda s: shutil.rmtree(s / "camera"), "no images of any camera; .*not in the folder: camera_cross"),
    ("physical-ai-av", another_camera, "no front_wide camera, whose frames time everything; it has front_tele"),
    ("nuscenes", lambda s: shutil.rmtree(s / "v1.0-mini"), "one v1.0-.*; found samples, sweeps"),
    ("nuscenes", lambda s: shutil.copytree(s / "v1.0-mini", s / "v1.0-trainval"), "found v1.0-mini, v1.0-trainval"),
    (
        "nuscenes",
        lambda s: (s / "v1.0-mini/ego_pose.json").unlink(),
        "ego_pose.json: no such file; found calibrated_sensor.json, ",
    ),
    ("nuscenes", lambda s: cut(s / "v1.0-mini/sample_data.json"), "sample_data.json: not whole JSON"),
    (
        "nuscenes",
        lambda s: (s / "v1.0-mini/sensor.json").write_text("{}"),
        r"sensor.json: want a JSON list, it begins with '\{\}'",
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / "v1.0-mini/calibrated_sensor.json", lambda rows: rows[2].pop("rotation")),
        "calibrated_sensor.json: a row has no rotation; it has token, sensor_token",
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / "v1.0-mini/sensor.json", lambda rows: rows.pop()),
        "sensor.json: no row k-CAM_FRONT_LEFT",
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / "v1.0-mini/ego_pose.json", lambda rows: rows.pop(0)),
        "119 of the 120 ego poses of LIDAR",
    ),
    ("nuscenes", lambda s: shutil.rmtree(s / "sweeps/CAM_FRONT"), r"CAM_FRONT: 60 of 72 images are missing, such as .*sweeps"),
    (
        "nuscenes",
        lambda s: rewritten(s / SAMPLES, lambda rows: renamed(rows, "/etc/passwd")),
        "the file '/etc/passwd', want a path",
    ),
    ("nuscenes", lambda s: rewritten(s / SAMPLES, lambda rows: renamed(rows, "samples/../../x.jpg")), "want a path below"),
    ("physical-ai-av", lambda s: features_at(s, "../elsewhere/{chunk_id:04d}.zip"), "want a path below the folder"),
    ("kitti", lambda s: shutil.rmtree(s / DRIVE), "_sync folders .* found 2011_09_26"),
    (
        "kitti",
        lambda s: (s / f"{made.KITTI_DATE}/calib_velo_to_cam.txt").unlink(),
        "calib_velo_to_cam.txt: no such file; .*calib_cam",
    ),
    (
        "kitti",
        lambda s: made.write_numbers(s / f"{made.KITTI_DATE}/calib_cam_to_cam.txt", {"P_rect_00": range(12)}),
        "calib_cam_to_cam.txt: no R_rect_00; it has calib_time, P_rect_00",
    ),
    ("kitti", lambda s: shutil.rmtree(s / DRIVE / "image_02"), "image_02/timestamps.txt: no such file; .* has oxts"),
    ("kitti", lambda s: (s / DRIVE / "image_02/data/0000000007.png").unlink(), "49 .png files, but 50 timestamps"),
    ("kitti", lambda s: (s / DRIVE / "oxts/timestamps.txt").write_text("soon\n"), "want a date and time per line"),
    ("kitti", lambda s: (s / DRIVE / "oxts/data/0000000003.txt").write_text("1 2"), "2 finite numbers of 2, want 30"),
    ("kitti", lambda s: cut(s / DRIVE / "image_02/data/0000000003.png", 0.02), "image_02/data/0000000003.png: .*bytes"),
    (
        "nuscenes",
        lambda s: next((s / "samples/CAM_FRONT").iterdir()).write_bytes(b"no image"),
        "front_wide: .*/samples/CAM_FRONT/n015-.*jpg: format 'jpeg': 8 bytes that start with",
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / SAMPLES, lambda rows: rows[5].update(timestamp="abc")),
        "sample_data.json: row d-.*: timestamp is 'abc', want a whole number of microseconds",
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / SAMPLES, lambda rows: rows[5].update(filename=None)),
        "sample_data.json: row d-.*: filename is None, want text",
    ),
    *(
        (
            "nuscenes",
            lambda s, changes=changes: rewritten(s / CALIBRATIONS, lambda rows: calibration(rows).update(changes)),
            f"calibrated_sensor.json: row c-CAM_FRONT: {expected}",
        )
        for changes, expected in (
            ({"camera_intrinsic": [["a", 0, 0]] * 3}, r"camera_intrinsic is \[\['a', 0, 0\], .*, want 3 x 3 numbers, or none"),
            ({"rotation": "abcd"}, "rotation is 'abcd', want 4 numbers"),
            ({"translation": [1.7, 0.0, float("nan")]}, r"translation is \[1.7, 0.0, nan\], want 3 numbers"),
        )
    ),
    (
        "nuscenes",
        lambda s: rewritten(s / CALIBRATIONS, lambda rows: calibration(rows).update(rotation=[2, 0, 0, 0])),
        r"row c-CAM_FRONT: rotation \[2, 0, 0, 0\]: quaternion: want 4 numbers of norm 1",
    ),
    (
        "nuscenes",  # millimetres
        lambda s: rewritten(s / CALIBRATIONS, lambda rows: calibration(rows).update(translation=[1700.0, 16.0, 1510.0])),
        r"front_wide: its calibration places it 2274 m from .* at \(1700, 16, 1510\): want metres, and at most 10",
    ),
    ("kitti", lambda s: placed(s, T=1e3 * made.CAM0_FROM_VELO[:3, 3]), r"places it 28\d.\d m from the vehicle's .*want metres"),
    (
        "kitti",
        lambda s: placed(s, R=1.01 * made.CAM0_FROM_VELO[:3, :3].ravel()),
        r"calib_velo_to_cam.txt: R: not a rotation: R R\^T is 0.0201 off the identity \(limit 0.001\)",
    ),
    ("kitti", lambda s: placed(s, R=-made.CAM0_FROM_VELO[:3, :3].ravel()), "R: not a rotation: .* determinant is -1, want 1"),
    (
        "kitti",
        lambda s: rewritten_text(s / CAM_TO_CAM, r"(P_rect_02:) \S+", r"\1 0"),
        "P_rect_02 has the focal lengths 0, 240.5 and .*: want both above 0 px",
    ),
    ("kitti", lambda s: (s / CAM_TO_CAM).write_bytes(b"\xff\xfe"), "calib_cam_to_cam.txt: not text: .* 0xff in position 0"),
    ("kitti", lambda s: (s / DRIVE / "oxts/data/0000000003.txt").write_bytes(b"\xff"), "0000000003.txt: not text: .* 0xff"),
    ("kitti", emptied, "oxts: no packets: its timestamps.txt and its data folder are empty"),
]


@pytest.mark.parametrize(("kind", "damage", "expected"), REFUSED, ids=[f"{k}-{e[:40]}" for k, _, e in REFUSED])
def test_damage_is_refused_by_name_and_nothing_is_left(
    sources: dict[str, Path], tmp_path: Path, kind: Kind, damage: Callable[[Path], object], expected: str
) -> None:
    source = copied(sources, kind, tmp_path)
    damage(source)
    scene = "scene-0061" if kind == "nuscenes" else None
    with pytest.raises(InvalidInput, match=re.compile(expected, re.DOTALL)):
        convert(kind, source, scene, tmp_path / "bag")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def an_older_bag(folder: Path) -> Path:
    (folder / "bag").mkdir(parents=True)
    (folder / "bag" / "metadata.yaml").write_text("mine")
    return folder / "bag"


def test_a_bag_that_is_there_is_left_alone(sources: dict[str, Path], tmp_path: Path) -> None:
    bag = an_older_bag(tmp_path / "bags")
    with pytest.raises(InvalidInput, match="exists: choose another place or pass --overwrite"):
        convert("kitti", sources["kitti"], None, bag)
    for kind, scene, damaged in (("kitti", "x", False), ("kitti", None, True)):
        source = copied(sources, kind, tmp_path / f"{damaged}")
        cut(source / DRIVE / "image_02/data/0000000049.png", 0.02 if damaged else 1.0)
        with pytest.raises(InvalidInput, match="PNG|bytes" if damaged else "no scene 'x'"):
            convert("kitti", source, scene, bag, overwrite=True)
    assert (bag / "metadata.yaml").read_text() == "mine"
    assert list(bag.parent.iterdir()) == [bag], "nothing else is left there"
    (bag / "metadata.yaml").rename(bag / "notes.txt")
    with pytest.raises(InvalidInput, match="exists and is not a bag: it is not deleted"):
        convert("kitti", sources["kitti"], None, bag, overwrite=True)


def test_a_folder_that_holds_the_data_set_is_not_replaced(sources: dict[str, Path], tmp_path: Path) -> None:
    source = copied(sources, "kitti", an_older_bag(tmp_path))
    with pytest.raises(InvalidInput, match="holds what is to be converted"):
        convert("kitti", source, None, tmp_path / "bag", overwrite=True)
    assert source.is_dir()


def test_a_whole_clip_takes_the_place_of_an_older_bag(sources: dict[str, Path], tmp_path: Path) -> None:
    bag = an_older_bag(tmp_path / "bags")
    converted = convert("kitti", sources["kitti"], None, bag, overwrite=True)
    assert {path.name for path in bag.iterdir()} == {"bag.mcap", "metadata.yaml", "rig.yaml"}
    assert (list(bag.parent.iterdir()), converted.rig) == ([bag], str(bag / "rig.yaml"))
    assert (bag.stat().st_mode & 0o777) == (bag.parent.stat().st_mode & 0o777), "others may read it as any new folder"


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError])
def test_what_ends_a_conversion_leaves_no_part_of_it(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException]
) -> None:
    written: list[int] = []

    def write(self: BagWriter, *_: object) -> None:
        written.append(1)
        if len(written) > 5:
            raise ending

    monkeypatch.setattr(BagWriter, "write", write)
    with pytest.raises(ending):
        convert("kitti", sources["kitti"], None, tmp_path / "bags" / "bag")
    assert list((tmp_path / "bags").iterdir()) == []


def test_cameras_that_are_not_there_are_named(sources: dict[str, Path], tmp_path: Path) -> None:
    result = convert("physical-ai-av", sources["physical-ai-av"], None, tmp_path / "bag")
    assert result.cameras == ("front_wide",)
    assert any("not in the folder: camera_cross_left_120fov, " in note for note in result.notes)
