"""A bundle's hash: the same for the same files, another one for any other, and cheap."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from model.nano import BUNDLE
from safetensors.numpy import save_file

from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

MODELS = shared_files() / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(BUNDLE, copy)
    return copy


def test_shipped_bundles_have_hashes_of_their_own() -> None:
    hashes = {path.parent.name: bundle_hash(path.parent) for path in MODELS.glob("*/profile.yaml")}
    assert all(re.fullmatch("[0-9a-f]{16}", found) for found in hashes.values())
    assert len(set(hashes.values())) == len(hashes) >= 3


def test_a_copy_has_the_same_hash_and_a_change_of_any_file_another(folder: Path) -> None:
    original = bundle_hash(BUNDLE)
    assert bundle_hash(folder) == original
    (folder / "notes.txt").write_text("no part of the model")
    assert bundle_hash(folder) == original
    for name in ("profile.yaml", "config.json", "tokenizer.json", "source.yaml"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept + b"\n")
        assert bundle_hash(folder) != original, name
        (folder / name).write_bytes(kept)
    assert bundle_hash(folder) == original


def test_weights_of_the_same_shapes_are_told_apart(folder: Path) -> None:
    (folder / "source.yaml").unlink()
    hashes = []
    for seed in range(2):
        values = np.random.default_rng(seed).normal(size=(600, 1000)).astype(np.float32)
        save_file({"a": values}, folder / "model.safetensors", {"weights": "trained"})
        hashes.append(bundle_hash(folder))
    values[-1, -1] += 1
    save_file({"a": values}, folder / "model.safetensors", {"weights": "trained"})
    hashes.append(bundle_hash(folder))
    assert len(set(hashes)) == 3


def bytes_read() -> int:
    """By this process since its start, from the cache or not (proc(5), rchar)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_large_bundle_costs_no_more_than_a_small_one(folder: Path) -> None:
    (folder / "source.yaml").unlink()
    large = 50 << 30
    tensor = {"dtype": "U8", "shape": [large], "data_offsets": [0, large]}
    header = json.dumps({"__metadata__": {"weights": "trained"}, "a": tensor}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + large)  # a hole: 50 GB that take no room
    before = bytes_read()
    bundle_hash(folder)
    assert 0 < bytes_read() - before < 10_000_000


def test_what_is_no_bundle_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file"):
        bundle_hash(tmp_path)
