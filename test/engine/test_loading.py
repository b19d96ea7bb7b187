"""Names of engines: what opens, and what is refused in which words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engine.own_engines import FeatureCache

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.engine.loading import bundle_action_space, bundle_profile, open_engine, resolved
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput


def test_the_built_in_engine_opens_with_a_profile_of_choice() -> None:
    assert isinstance(open_engine("kinematic"), KinematicEngine)
    assert bundle_profile("kinematic").name == "seven_camera"
    assert bundle_profile("kinematic", "alpamayo_r1_10b").name == "alpamayo_r1_10b"
    assert bundle_action_space("kinematic") is RELEASED


def test_an_engine_of_ones_own_opens_by_module_and_callable() -> None:
    assert isinstance(open_engine("engine.own_engines:FeatureCache"), FeatureCache)
    assert bundle_profile("engine.own_engines:FeatureCache").name == "seven_camera"


@pytest.mark.parametrize("name", ["no_such_module:engine", "engine.own_engines:NoSuchEngine"])
def test_an_engine_of_ones_own_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}.*(No module named|has no attribute)"):
        open_engine(name)


def test_an_unknown_name_is_answered_with_what_there_is() -> None:
    for refuse in (open_engine, bundle_profile):
        with pytest.raises(InvalidInput, match=r"'kinematik'.*kinematic, package.module:callable, or a bundle folder"):
            refuse("kinematik")


def test_a_bundle_that_lacks_its_weights_is_refused_with_the_command_that_brings_them(tmp_path: Path) -> None:
    bundle = shutil.copytree(shared_files() / "models" / "alpamayo_r1_10b", tmp_path / "r1")
    with pytest.raises(InvalidInput, match=r"r1 lacks .*model-00001-of-00005.safetensors.*; run: alpamayo fetch"):
        open_engine(str(bundle))


def test_a_bundle_folder_has_its_own_profile(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"profile\.yaml: no such file"):
        bundle_profile(str(tmp_path))
    (tmp_path / "profile.yaml").write_text((shared_files() / "models" / "alpamayo_1_5_10b" / "profile.yaml").read_text())
    assert bundle_profile(str(tmp_path)).name == "alpamayo_1_5_10b"


def test_opening_the_built_in_engine_imports_numpy_and_nothing_heavier() -> None:
    program = "import sys, alpamayo_ros.engine.worker; print(*{name.split('.')[0] for name in sys.modules})"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in modules
    assert not {"pydantic", "yaml", "rclpy", "torch", "cv2", "rosbags", "scipy"} & set(modules)


def test_a_name_that_is_resolved_means_the_same_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolved("models/own") == str(tmp_path / "models" / "own")
    assert resolved("models/own@graphed") == f"{tmp_path / 'models' / 'own'}@graphed"
    assert resolved("kinematic") == "kinematic"
    assert resolved("package.module:engine") == "package.module:engine"
    with pytest.raises(InvalidInput, match="no engine 'models/none'"):
        resolved("models/none")
