"""Bundles: what a folder holds and lacks, where its weights come from, and every wrong source refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from alpamayo_ros.bundle.folder import INDEX_FILE, Source, read_bundle, read_header
from alpamayo_ros.profile import read_described, shared_files
from alpamayo_ros.types import InvalidInput

MODELS = shared_files() / "models"
RELEASED = ("alpamayo_r1_10b", "alpamayo_1_5_10b")
FILE = {"name": "config.json", "bytes": 3, "sha256": "0" * 64}
REPOSITORY = {"repository": "maker/model", "revision": "0" * 40, "files": [FILE]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's folder with everything but weights."""
    shutil.copy(MODELS / "alpamayo_r1_10b" / "profile.yaml", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "alpamayo_r1", "vlm_config": {}}')
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def save(path: Path, **metadata: str) -> None:
    save_file({"a": np.zeros(3, np.float32)}, path, metadata or None)


# ------------------------------------------------------------------------------------------------------------------ shipped


@pytest.mark.parametrize("name", sorted(path.parent.name for path in MODELS.glob("*/profile.yaml")))
def test_every_shipped_bundle_reads_and_is_named_as_its_profile(name: str) -> None:
    bundle = read_bundle(MODELS / name)
    assert bundle.profile.name == name
    assert bundle.weights == "released" if name in RELEASED else bundle.weights in ("untrained", "trained")


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_bundle_names_what_it_lacks_and_the_command_that_brings_it(name: str, tmp_path: Path) -> None:
    for file in ("profile.yaml", "source.yaml"):
        shutil.copy(MODELS / name / file, tmp_path)
    bundle = read_bundle(tmp_path)
    assert bundle.present == ()
    assert {"config.json", "backbone.json", "tokenizer.json", INDEX_FILE} < set(bundle.missing)
    assert len(bundle.missing) == 4 + 5
    with pytest.raises(InvalidInput, match=rf"lacks config.json, .*; run: alpamayo fetch {tmp_path}"):
        bundle.require_complete()


# ------------------------------------------------------------------------------------------------------------------ weights


def test_weights_are_what_the_file_says(folder: Path) -> None:
    assert read_bundle(folder).missing == ("model.safetensors",)
    with pytest.raises(InvalidInput, match=f"{folder} lacks model.safetensors$"):
        read_bundle(folder).require_complete()
    for said in ("untrained", "trained"):
        save(folder / "model.safetensors", weights=said)
        assert read_bundle(folder).weights == said
    read_bundle(folder).require_complete()


@pytest.mark.parametrize("metadata", [{}, {"format": "pt"}, {"weights": "excellent"}, {"weights": "released"}])
def test_weights_that_do_not_say_what_they_are_are_refused_with_how_to_say_it(folder: Path, metadata: dict[str, str]) -> None:
    save(folder / "model.safetensors", **metadata)
    how = r'.*save_file\(tensors, path, {"weights": "trained"}\)'
    with pytest.raises(InvalidInput, match=f"says weights {metadata.get('weights')!r}, want untrained or trained; {how}"):
        read_bundle(folder)


def test_weights_in_shards_are_what_every_shard_says(folder: Path) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    assert read_bundle(folder).weights == "none", "nobody knows yet"
    for shard in ("model-1.safetensors", "model-2.safetensors"):
        save(folder / shard, weights="untrained")
    assert read_bundle(folder).weights == "untrained"
    save(folder / "model-2.safetensors", weights="trained")
    with pytest.raises(InvalidInput, match=r"weights are untrained in model-1.safetensors, trained in model-2.safetensors"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_a_pickle_is_refused_by_name_and_never_opened(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"whatever")
    with pytest.raises(InvalidInput, match=f"{name} refused: opening a pickle runs code of its author; want model.safetensors"):
        read_bundle(folder)
    save(folder / "model.safetensors", weights="trained")
    read_bundle(folder).require_complete()


def test_another_kind_of_model_is_told_before_what_is_missing(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidInput, match=r"config.json: model_type 'llama', want one of alpamayo_r1"):
        read_bundle(folder)


def test_a_seed_stands_in_for_weights_that_are_not_there(folder: Path) -> None:
    (folder / "source.yaml").write_text("seed: 3\n")
    bundle = read_bundle(folder)
    assert (bundle.weights, bundle.missing, bundle.fetch_command) == ("untrained", (), None)
    save(folder / "model.safetensors", weights="trained")
    with pytest.raises(InvalidInput, match=r"model.safetensors and source.yaml with a seed: which weights"):
        read_bundle(folder)


def test_an_index_says_which_shards_are_needed(folder: Path) -> None:
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": shards}))
    save(folder / "model-2.safetensors", weights="trained")
    assert read_bundle(folder).missing == ("model-1.safetensors",)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/model.safetensors", "pytorch_model.bin"])
def test_an_index_that_leads_elsewhere_is_refused(folder: Path, shard: str) -> None:
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(InvalidInput, match=f"want .safetensors files in the same folder, got {shard}"):
        read_bundle(folder)


@pytest.mark.parametrize("config", ['{"model_type": "alpamayo_r1"}', '{"model_type": "alpamayo_r1", "vlm_config": {}}'])
def test_the_backbones_config_is_in_config_json_or_beside_it(folder: Path, config: str) -> None:
    save(folder / "model.safetensors", weights="trained")
    (folder / "config.json").write_text(config)
    assert read_bundle(folder).missing == (() if "vlm_config" in config else ("backbone.json",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a safetensors file: 0 bytes"),
        (b"\x10" + bytes(7) + b"{}", "not a safetensors file: 10 bytes, header of 16"),
        (b"\xff" * 16, "not a safetensors file: 16 bytes"),
        (b"\x02" + bytes(7) + b"[]", "want a JSON object, got list"),
        (b"\x02" + bytes(7) + b"{{", "not JSON"),
        (b"\x08" + bytes(7) + b'{"a":{}}', "want data_offsets of every tensor, got KeyError"),
        (b"\x07" + bytes(7) + b'{"a":1}', "want data_offsets of every tensor, got TypeError"),
    ],
)
def test_a_file_that_is_no_safetensors_is_refused(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidInput, match=f"model.safetensors: {said}"):
        read_bundle(folder)


def test_weights_that_are_cut_short_or_grown_behind_their_header_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    save(path, weights="trained")
    whole = path.read_bytes()
    for held in (whole[:-1], whole + b"0"):
        path.write_bytes(held)
        with pytest.raises(InvalidInput, match=f"model.safetensors: {len(held)} bytes where its header describes {len(whole)}"):
            read_bundle(folder)


def test_a_header_tells_tensors_without_reading_them(tmp_path: Path) -> None:
    save(tmp_path / "w.safetensors", weights="trained")
    header = read_header(tmp_path / "w.safetensors")
    assert header["__metadata__"] == {"weights": "trained"}
    assert (header["a"]["dtype"], header["a"]["shape"]) == ("F32", [3])


# ------------------------------------------------------------------------------------------------------------------ sources


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "want either repositories or a seed"),
        ({"seed": 1, "repositories": [REPOSITORY]}, "want either repositories or a seed"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"sead": 1}, "sead: Extra inputs are not permitted"),
        ({"repositories": [REPOSITORY | {"revision": "main"}]}, "revision: String should match pattern"),
        ({"repositories": [REPOSITORY | {"repository": "model"}]}, "repository: String should match pattern"),
        ({"repositories": [REPOSITORY | {"files": []}]}, "files: Tuple should have at least 1 item"),
        ({"repositories": [REPOSITORY, REPOSITORY]}, r"two files of one name: \['config.json'\]"),
        ({"repositories": [REPOSITORY | {"files": [FILE | {"name": "../x"}]}]}, "name: String should match pattern"),
        ({"repositories": [REPOSITORY | {"files": [FILE | {"sha256": "0"}]}]}, "sha256: String should match pattern"),
        ({"repositories": [REPOSITORY | {"files": [{"name": "a", "bytes": 1}]}]}, "a: want one of sha256 and git_sha1"),
        ({"repositories": [REPOSITORY | {"files": [FILE | {"git_sha1": "0" * 40}]}]}, "want one of sha256 and git_sha1"),
    ],
)
def test_a_source_that_pins_too_little_or_too_much_is_refused(tmp_path: Path, source: object, said: str) -> None:
    path = tmp_path / "source.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(source))))  # without aliases, which are refused
    with pytest.raises(InvalidInput, match=f"source.yaml: .*{said}"):
        read_described(Source, path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nowhere: no such bundle folder"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"profile.yaml: no such file"):
        read_bundle(tmp_path)
