"""A file of limits changes what it says and nothing else; what makes no sense is refused by name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from alpamayo_ros.pipeline.limits import read_limits
from alpamayo_ros.profile import shared_files
from alpamayo_ros.safety.limits import LIMITS, Limit, Limits
from alpamayo_ros.types import InvalidInput

SHIPPED = shared_files() / "config" / "safety.yaml"


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_shipped_file_is_the_defaults_and_names_them_all() -> None:
    assert read_limits(SHIPPED) == LIMITS
    said = yaml.safe_load(SHIPPED.read_text("utf-8"))
    assert [*said["limits"], *said["vehicle"]] == [field.name for field in fields(Limits)]
    for name, line in said["limits"].items():
        limit = getattr(LIMITS, name)
        assert line == {"warn": limit.warn, "reject": limit.reject} | ({"shadow": True} if limit.shadow else {})


@pytest.mark.parametrize("text", ["{}", "limits: {}", "vehicle: {}", "limits: {lat_accel_mps2: {}}"])
def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path, text: str) -> None:
    assert read_limits(written(tmp_path, text)) == LIMITS


def test_a_number_that_changed_has_the_file_as_its_source(tmp_path: Path) -> None:
    text = "limits: {decel_mps2: {reject: 7}, spread_m: {shadow: false}, slope: {warn: null}}\nvehicle: {wheelbase_m: 3.1}"
    read = read_limits(written(tmp_path, text))
    assert read.decel_mps2 == Limit(3.5, 7.0, "m/s^2", "mine.yaml", ceiling=9.8)
    assert read.spread_m == replace(LIMITS.spread_m, shadow=False)
    assert read.slope == Limit(None, 0.3, "of the way", "mine.yaml")
    assert read == replace(LIMITS, decel_mps2=read.decel_mps2, spread_m=read.spread_m, slope=read.slope, wheelbase_m=3.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {speed: {reject: 3}}", "limits: no speed, want any of accel_mps2, .*speed_mps"),
        ("limits: {wheelbase_m: {reject: 3}}", "limits: no wheelbase_m"),
        ("vehicle: {mass_kg: 1}", "vehicle: no mass_kg, want any of stop_decel_mps2, stop_margin_m, wheelbase_m"),
        ("vehicle: {slope: 1}", "vehicle: no slope"),
        ("margin: 3", "margin: Extra inputs are not permitted"),
        ("limits: {slope: {reject: 1, unit: m}}", "limits.slope.unit: Extra inputs"),
        ("limits: {slope: {reject: true}}", "limits.slope.reject: .*got True"),
        ("limits: {slope: {reject: '1'}}", "limits.slope.reject: .*got '1'"),
        ("limits: {slope: {shadow: 1}}", "limits.slope.shadow: .*got 1"),
        ("limits: {slope: {reject: .nan}}", "slope: reject nan"),
        ("limits: {slope: {reject: .inf}}", "slope: reject inf"),
        ("limits: {slope: {warn: -0.1}}", "slope: warn -0.1 of the way: want a finite number >= 0"),
        ("limits: {slope: {warn: 0.4}}", "slope: warn 0.4 is beyond reject 0.3"),
        ("limits: {lat_accel_mps2: {reject: 9.9}}", "lat_accel_mps2: reject 9.9 m/s.2: want at most 9.8"),
        ("vehicle: {wheelbase_m: 0}", "wheelbase_m: 0: want a finite number > 0"),
        ("vehicle: {wheelbase_m: .nan}", "wheelbase_m: nan"),
        ("[1, 2]", "file: "),
        ("{", "not YAML"),
        ("limits: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"mine.yaml: .*{said}"):
        read_limits(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none.yaml: no such file"):
        read_limits(tmp_path / "none.yaml")
