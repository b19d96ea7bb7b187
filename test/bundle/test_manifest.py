"""An engine's bytes are handed out only when they are those of its manifest, and only to what it was built for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpamayo_ros.bundle import manifest as module
from alpamayo_ros.bundle.manifest import (
    MANIFEST_FILE,
    EngineFile,
    Input,
    Machine,
    MadeFor,
    Manifest,
    Tensor,
    check_made_for,
    check_tensors,
    identify,
    read_manifest,
    verified_bytes,
    write_manifest,
)
from alpamayo_ros.types import InvalidInput

PLAN = b"a plan is code " * 1000
PIXELS = Input(name="pixels", dtype="float16", shape=(-1, 1536), least=(1, 1536), usual=(4, 1536), most=(16, 1536))
MADE_FOR = MadeFor(
    compute_capability="sm_89",
    tensorrt="10.9.0.34",
    cuda="12.8",
    driver_min="570.86",
    precision="fp16",
    model_revision="0123456789abcdef",
    onnx={"vision.onnx": EngineFile(bytes=10, sha256="a" * 64)},
    weights={"model.safetensors": EngineFile(bytes=20, sha256="b" * 64)},
    inputs=(PIXELS,),
    outputs=(Tensor(name="logits", dtype="float32", shape=(-1, 151_936)),),
)
MACHINE = Machine("sm_89", "10.9.0.34", "12.8", "570.86")
REVISION = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """engines/KEY with two files and their manifest."""
    engine = tmp_path / "engines" / "vision"
    engine.mkdir(parents=True, mode=0o755)
    (engine / "vision.plan").write_bytes(PLAN)
    (engine / "cache.bin").write_bytes(b"timings")
    write_manifest(engine, MADE_FOR)
    return engine


def test_what_was_written_is_read_and_its_bytes_are_handed_out(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.made_for == MADE_FOR
    assert {name: file.bytes for name, file in manifest.files.items()} == {"vision.plan": len(PLAN), "cache.bin": 7}
    assert verified_bytes(folder, manifest, "vision.plan") == PLAN
    check_made_for(manifest, MACHINE, REVISION)
    check_tensors(manifest, MADE_FOR.inputs, MADE_FOR.outputs)
    assert write_manifest(folder, MADE_FOR) == manifest, "the same files, the same manifest"


def changed(data: bytes) -> bytes:
    return data[:500] + bytes([data[500] ^ 1]) + data[501:]


def as_link(folder: Path, target: str) -> None:
    (folder / "vision.plan").rename(folder.parent / "elsewhere.plan")
    (folder / "vision.plan").symlink_to(target)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (lambda f: (f / "vision.plan").write_bytes(changed(PLAN)), "has sha256 .* the manifest says"),
    "cut short": (lambda f: (f / "vision.plan").write_bytes(PLAN[:-1]), "has 14999 bytes, the manifest says 15000"),
    "empty": (lambda f: (f / "vision.plan").write_bytes(b""), "has 0 bytes"),
    "longer": (lambda f: (f / "vision.plan").write_bytes(PLAN * 1000), "has more than 15000 bytes"),
    "missing": (lambda f: (f / "vision.plan").unlink(), "lacks vision.plan"),
    "another missing": (lambda f: (f / "cache.bin").unlink(), "lacks cache.bin"),
    "extra": (lambda f: (f / "plugin.so").write_bytes(b"x"), "holds what the manifest does not list: plugin.so"),
    "link inside": (lambda f: as_link(f, "cache.bin"), "want a file, and no link"),
    "link outside": (lambda f: as_link(f, "../elsewhere.plan"), "want a file, and no link"),
    "folder": (lambda f: ((f / "vision.plan").unlink(), (f / "vision.plan").mkdir()), "want a file"),
    "pipe": (lambda f: ((f / "vision.plan").unlink(), os.mkfifo(f / "vision.plan")), "want a file"),
    "others write": (lambda f: (f / "vision.plan").chmod(0o646), "nobody else allowed to write"),
    "others write the folder": (lambda f: f.chmod(0o777), "nobody else allowed to write"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_an_engine_that_is_not_the_one_of_its_manifest_is_refused(folder: Path, name: str) -> None:
    manifest = read_manifest(folder)
    breaking, says = BREAKS[name]
    breaking(folder)
    with pytest.raises(InvalidInput, match=f"{folder}.*{says}.*: run `alpamayo build` for this bundle again"):
        verified_bytes(folder, manifest, "vision.plan")


def test_whoever_trusts_a_folder_that_others_can_write_is_told_how_to_take_it(folder: Path) -> None:
    manifest = read_manifest(folder)
    folder.chmod(0o777)
    with pytest.raises(InvalidInput, match=f"`chown {os.geteuid()} {folder} && chmod o-w {folder}`"):
        verified_bytes(folder, manifest, "vision.plan")


@pytest.mark.parametrize("name", ["../elsewhere.plan", "/etc/passwd", "", ".", "..", MANIFEST_FILE, "vision.plan\0"])
def test_only_names_of_the_manifest_are_opened(folder: Path, name: str) -> None:
    (folder.parent / "elsewhere.plan").write_bytes(PLAN)
    with pytest.raises(InvalidInput, match=r"is not in the manifest, which lists cache\.bin, vision\.plan"):
        verified_bytes(folder, read_manifest(folder), name)


def test_a_folder_that_is_a_link_or_nobody_built_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for path in (tmp_path / "link", tmp_path / "nothing"):
        with pytest.raises(InvalidInput, match=f"{path}: no engine: .*run `alpamayo build`"):
            read_manifest(path)


def test_the_bytes_are_those_that_were_hashed_whatever_happens_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gap between check and use: the file is exchanged at the moment its hash is taken."""
    manifest, sha256 = read_manifest(folder), module.hashlib.sha256

    def exchanging(data: bytes) -> Any:
        (folder / "vision.plan").write_bytes(b"evil" * 3750)
        return sha256(data)

    monkeypatch.setattr(module.hashlib, "sha256", exchanging)
    assert verified_bytes(folder, manifest, "vision.plan") == PLAN


def test_an_engine_of_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, owner = read_manifest(folder), folder.stat().st_uid
    if owner == 0:
        os.chown(folder / "vision.plan", 12345, -1)
    monkeypatch.setattr(module.os, "geteuid", lambda: owner + 1)
    with pytest.raises(InvalidInput, match=r"belongs to user \d+ with mode"):
        verified_bytes(folder, manifest, "vision.plan")


# ------------------------------------------------------------------------------------------------------------ the manifest


def edited(**changes: Any) -> dict[str, Any]:
    values = Manifest(made_for=MADE_FOR, files={"a.plan": module.EngineFile(bytes=1, sha256="0" * 64)}).model_dump(mode="json")
    return values | changes


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "file: Invalid JSON"),
        (b"\x80\x04K\x01.", "file: Invalid JSON"),
        (b" " * 1_000_001, "more than 1000000 bytes"),
        (edited(extra=1), "extra: Extra inputs"),
        (edited(files={}), "files: Dictionary should have at least 1 item"),
        (edited(files={"../a": {"bytes": 1, "sha256": "0" * 64}}), "String should match pattern"),
        (edited(files={".a": {"bytes": 1, "sha256": "0" * 64}}), "String should match pattern"),
        (edited(files={"a": {"bytes": 0, "sha256": "0" * 64}}), "greater than or equal to 1"),
        (edited(files={"a": {"bytes": 1, "sha256": "0" * 63}}), "String should match pattern"),
        (edited(files={"manifest.json": {"bytes": 1, "sha256": "0" * 64}}), "lists itself"),
        (edited(made_for=MADE_FOR.model_dump(mode="json") | {"tensorrt": "ten"}), "String should match pattern"),
        (edited(made_for=MADE_FOR.model_dump(mode="json") | {"inputs": []}), "at least 1 item"),
        (edited(made_for=MADE_FOR.model_dump(mode="json") | {"onnx": {}}), "made_for.onnx: Dictionary should have at least 1"),
        (edited(made_for=MADE_FOR.model_dump(mode="json", exclude={"weights"})), "made_for.weights: Field required"),
        (edited(made_for=MADE_FOR.model_dump(mode="json", exclude={"inputs": {0: {"most"}}})), "most: Field required"),
    ],
)
def test_a_manifest_that_says_too_little_is_refused(folder: Path, content: Any, says: str) -> None:
    (folder / MANIFEST_FILE).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(InvalidInput, match=f"{folder / MANIFEST_FILE}.*{says}.*: run `alpamayo build` for this bundle again"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("shape", "least", "usual", "most"),
    [
        ((-1, 8), (5, 8), (4, 8), (16, 8)),
        ((-1, 8), (1, 8), (4, 8), (3, 8)),
        ((-1, 8), (1, 8), (4, 8), (16, 8, 1)),
        ((-1, 8), (1, 7), (4, 8), (16, 8)),
        ((-1, 8), (1, 8), (4, 8), (16, 9)),
    ],
)
def test_limits_that_no_engine_has_are_refused(shape: Any, least: Any, usual: Any, most: Any) -> None:
    with pytest.raises(ValueError, match=r"x: limits .* of shape \(-1, 8\)"):
        Input(name="x", dtype="int64", shape=shape, least=least, usual=usual, most=most)


def test_a_file_is_identified_by_all_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than two blocks, and a part of one
    (tmp_path / "w").write_bytes(data)
    assert identify(tmp_path / "w") == EngineFile(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_manifest_that_is_missing_a_link_or_open_to_others_is_refused(folder: Path) -> None:
    path = folder / MANIFEST_FILE
    path.chmod(0o666)
    with pytest.raises(InvalidInput, match="nobody else allowed to write"):
        read_manifest(folder)
    path.rename(folder.parent / "kept.json")
    with pytest.raises(InvalidInput, match="No such file"):
        read_manifest(folder)
    path.symlink_to(folder.parent / "kept.json")
    with pytest.raises(InvalidInput, match="no link"):
        read_manifest(folder)


def test_a_name_that_could_lead_elsewhere_cannot_be_described(folder: Path) -> None:
    (folder / ".hidden").write_bytes(b"x")
    with pytest.raises(InvalidInput, match="String should match pattern"):
        write_manifest(folder, MADE_FOR)


# ------------------------------------------------------------------------------------------------------------ what it is for


@pytest.mark.parametrize(
    ("machine", "revision", "says"),
    [
        (("sm_86", "10.9.0.34", "12.8", "570.86"), REVISION, "built for sm_89, this GPU is sm_86: run `alpamayo build`"),
        (("sm_89", "10.9.0.35", "12.8", "570.86"), REVISION, "built by TensorRT 10.9.0.34, here is 10.9.0.35: run"),
        (("sm_89", "10.9.0.34", "12.6", "570.86"), REVISION, "built with CUDA 12.8, here is 12.6: run"),
        (("sm_89", "10.9.0.34", "13.0", "570.86"), REVISION, "built with CUDA 12.8, here is 13.0: run"),
        (
            ("sm_89", "10.9.0.34", "12.8", "570.86"),
            "f" * 16,
            "built from model 0123456789abcdef, this bundle is f{16}: run",
        ),
        (("sm_89", "10.9.0.34", "12.8", "570.9"), REVISION, "needs driver 570.86, here is 570.9: install driver 570.86"),
        (("sm_86", "9.0", "11.8", "470"), "x", "sm_86; .* 9.0; .* 11.8; .* x; needs .* 470: run .*, and install driver"),
        (("sm_89", "10.9.0.34", "12.x", "570.86"), REVISION, "version '12.x': want numbers and dots"),
    ],
)
def test_a_machine_that_an_engine_was_not_built_for_is_told_all_and_the_fix(
    folder: Path, machine: tuple[str, str, str, str], revision: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_made_for(read_manifest(folder), Machine(*machine), revision)


def test_a_newer_driver_and_cuda_of_the_same_major_version_will_do(folder: Path) -> None:
    check_made_for(read_manifest(folder), Machine("sm_89", "10.9.0.34", "12.9.1", "600.1"), REVISION)


def test_inputs_and_outputs_that_drifted_are_all_named(folder: Path) -> None:
    renamed = PIXELS.model_copy(update={"name": "images"})
    narrower = Tensor(name="logits", dtype="float16", shape=(-1, 151_936))
    with pytest.raises(InvalidInput) as refusal:
        check_tensors(read_manifest(folder), (renamed,), (narrower,))
    for words in (
        "input images: manifest none, engine float16[-1, 1536] [1, 1536] [4, 1536] [16, 1536]",
        "input pixels: manifest float16[-1, 1536] [1, 1536] [4, 1536] [16, 1536], engine none",
        "output logits: manifest float32[-1, 151936], engine float16[-1, 151936]",
    ):
        assert words in str(refusal.value)


@pytest.mark.parametrize("limit", ["least", "usual", "most"])
def test_an_engine_with_other_limits_than_its_manifest_is_refused(folder: Path, limit: str) -> None:
    other = PIXELS.model_copy(update={limit: (2, 1536)})
    with pytest.raises(InvalidInput, match=r"input pixels: .*\[2, 1536\].*: run `alpamayo build` for this bundle again"):
        check_tensors(read_manifest(folder), (other,), MADE_FOR.outputs)
