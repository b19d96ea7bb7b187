"""Where figures come from: hashes that see every file that counts, and no other."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event

import pytest

from alpamayo_ros.evaluation.openloop.provenance import GIT, bag_sha256, bundle_sha256, git_state, gpu, provenance
from alpamayo_ros.evaluation.openloop.results import Setup
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput, Request

NANO = str(shared_files() / "models" / "ar1_nano")


def test_it_is_the_same_twice_and_says_code_libraries_rig_and_bundles() -> None:
    setup = Setup("seven_camera", (NANO, "kinematic"), "seven_camera", Request(), 2.0)
    said = provenance(setup)
    assert said == provenance(setup)
    assert {"alpamayo_ros", "code", GIT, "python", "numpy", "gpu", "rig seven_camera", "bundle kinematic"} <= set(said)
    assert said["bundle kinematic"] == "built in"
    assert len(said[f"bundle {NANO}"]) == 64
    assert said[f"profile of {NANO}"] != "", "a bundle's own"
    assert all(said.values())


def test_a_bundle_hash_sees_its_files_and_engines_and_not_its_golden_plans(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(NANO, bundle)
    before = bundle_sha256(str(bundle))
    (bundle / "golden.json").write_text("{}")
    assert bundle_sha256(str(bundle)) == before
    (bundle / "engines" / "key").mkdir(parents=True)
    (bundle / "engines" / "key" / "manifest.json").write_text("{}")
    with_engine = bundle_sha256(str(bundle))
    (bundle / "tokenizer.json").write_text("{}")
    assert len({before, with_engine, bundle_sha256(str(bundle))}) == 3


def test_a_bag_hash_sees_names_and_bytes_of_its_files_wherever_it_lies(tmp_path: Path) -> None:
    for name, content in {"one": b"a", "two": b"a", "three": b"b"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "bag_0.mcap").write_bytes(content)
    one, two, three = (bag_sha256(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two != three
    (tmp_path / "two" / "bag_0.mcap").rename(tmp_path / "two" / "bag_1.mcap")
    assert bag_sha256(tmp_path / "two") != one
    assert bag_sha256(tmp_path / "one" / "bag_0.mcap") == one, "a bag of one file"
    with pytest.raises(InvalidInput, match="no such bag"):
        bag_sha256(tmp_path / "four")


def test_a_hash_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    (tmp_path / "bag.mcap").write_bytes(b"a")
    stopped = Event()
    assert bag_sha256(tmp_path / "bag.mcap", stopped)
    stopped.set()
    with pytest.raises(CancelledError):
        bag_sha256(tmp_path / "bag.mcap", stopped)


def test_git_says_commit_and_changes_of_that_folder(tmp_path: Path) -> None:
    program = shutil.which("git") or pytest.skip("no git here")

    def git(*words: str) -> None:
        subprocess.run([program, "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    assert git_state(tmp_path) == "not a checkout"
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert git_state(tmp_path / "package").endswith("(clean)")
    (tmp_path / "outside.md").write_text("")
    assert git_state(tmp_path / "package").endswith("(clean)")
    (tmp_path / "package" / "a.py").write_text("1")
    assert git_state(tmp_path / "package").endswith("(1 files changed)")


def test_the_gpu_is_what_nvidia_smi_says_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu() == "none"
    said = tmp_path / "nvidia-smi"
    said.write_text("#!/bin/sh\necho 'NVIDIA A, 580.1'\necho 'NVIDIA B, 580.1'\n")
    said.chmod(0o755)
    assert gpu() == "NVIDIA A, 580.1; NVIDIA B, 580.1"
    said.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert gpu() == "none"
