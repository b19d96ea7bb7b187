"""Weights: both released layouts load, exactly and from mapped files; whatever does not fit is told at once."""

from __future__ import annotations

import hashlib
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from model.reference import VECTORS, tiny_config
from model.released import BACKBONE, Generation, released_config, small_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import INDEX_FILE, Source, read_header
from alpamayo_ros.engine.weights import draw_weights, load_weights, save_weights, stored_constants
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import read_described, shared_files
from alpamayo_ros.types import InvalidInput

torch.set_num_threads(1)
UNTRAINED = {"weights": "untrained"}


def on_meta(config: Config) -> Alpamayo:
    with torch.device("meta"):
        return Alpamayo(config)


def drawn(generation: Generation, width: int = 32) -> dict[str, Tensor]:
    """Random weights of the small model, with what R1 stores beside them."""
    model = on_meta(small_config(generation, width))
    draw_weights(model, 1, "cpu", torch.float32)
    tensors = dict(model.state_dict())
    if generation == "r1":
        tensors |= {
            name: value.to(torch.bfloat16 if "freqs" in name else torch.float32)
            for name, value in stored_constants(model.config).items()
        }
    return tensors


def write_shards(folder: Path, tensors: dict[str, Tensor], count: int = 3) -> dict[str, str]:
    """Write tensors as shards with an index; returns the shard of each tensor."""
    names = list(tensors)
    shards = {name: f"model-{1 + i * count // len(names):05d}-of-{count:05d}.safetensors" for i, name in enumerate(names)}
    for shard in set(shards.values()):
        save_file({name: tensors[name].contiguous() for name in names if shards[name] == shard}, folder / shard, UNTRAINED)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    return shards


# ------------------------------------------------------------------------------------------------------------------ loading


@pytest.mark.parametrize("generation", ["r1", "1.5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_layouts_load_from_shards(tmp_path: Path, generation: Generation, dtype: torch.dtype) -> None:
    tensors = drawn(generation)
    write_shards(tmp_path, tensors)
    model = on_meta(small_config(generation))
    load_weights(model, tmp_path, "cpu", dtype)
    loaded = model.state_dict()
    assert tensors.keys() - loaded.keys() == (stored_constants(model.config).keys() if generation == "r1" else set())
    for name, value in loaded.items():
        assert torch.equal(value, tensors[name].to(dtype)), name
    assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cpu"}


def test_weights_in_the_stored_dtype_stay_in_the_mapped_file(tmp_path: Path) -> None:
    save_file(drawn("1.5"), tmp_path / "model.safetensors")
    model = on_meta(small_config("1.5"))
    load_weights(model, tmp_path, "cpu", torch.float32)
    ends = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    mapped = [range(int(start, 16), int(end, 16)) for start, end in ends]
    assert mapped
    assert all(any(tensor.data_ptr() in place for place in mapped) for tensor in model.parameters())


@pytest.mark.shared
@pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no reference vectors at {VECTORS}")
def test_the_recorded_reference_checkpoint_loads(tmp_path: Path) -> None:
    recorded = VECTORS / "model" / "state_dict.safetensors"
    (tmp_path / "model.safetensors").symlink_to(recorded)
    model = on_meta(tiny_config())
    load_weights(model, tmp_path, "cpu", torch.float32)
    wanted = load_file(recorded)
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


# ----------------------------------------------------------------------------------------------------------------- released


def as_released(generation: Generation) -> dict[str, tuple[str, list[int], int]]:
    """Tensors of the 10B shape in the order that transformers saves them: (dtype, shape, bytes)."""
    model = on_meta(released_config(generation))
    assert sum(p.numel() for p in model.parameters()) == 11_078_526_194
    order = ("vlm.model.visual", "vlm.model.language_model.embed", "vlm.model.language_model", "vlm.lm_head", "expert")
    state = model.state_dict()
    names = sorted(state, key=lambda n: next((i for i, part in enumerate(order) if n.startswith(part)), len(order)))
    tensors = {name: ("BF16", list(state[name].shape), 2 * state[name].numel()) for name in names}
    if generation == "r1":
        for name, value in stored_constants(model.config).items():
            dtype, size = ("BF16", 2) if "freqs" in name else ("F32", 4)
            tensors[name] = (dtype, list(value.shape), size * value.numel())
    return tensors


@pytest.mark.parametrize(("generation", "name"), [("r1", "alpamayo_r1_10b"), ("1.5", "alpamayo_1_5_10b")])
def test_the_released_shape_gives_the_released_index_and_shards_to_the_byte(generation: Generation, name: str) -> None:
    """The index's digest pins every name and shard; a shard's size pins its header: names, dtypes and shapes."""
    tensors = as_released(generation)
    limit = 5 * 10**9  # bytes of a shard, transformers' default
    shards: list[dict[str, tuple[str, list[int], int]]] = [{}]
    for key, value in tensors.items():
        if sum(size for _, _, size in shards[-1].values()) + value[2] > limit:
            shards.append({})
        shards[-1][key] = value
    files = {f"model-{i:05d}-of-{len(shards):05d}.safetensors": shard for i, shard in enumerate(shards, 1)}
    metadata = {"total_parameters": 11_078_526_194, "total_size": sum(size for _, _, size in tensors.values())}
    weight_map = {key: file for file, shard in files.items() for key in shard}
    index = json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=2, sort_keys=True) + "\n"

    released = read_described(Source, shared_files() / "models" / name / "source.yaml").repositories
    pinned = {file.name: file for repository in released for file in repository.files}
    assert hashlib.sha256(index.encode()).hexdigest() == pinned[INDEX_FILE].sha256
    assert {file: file_size(shard) for file, shard in files.items()} == {file: pinned[file].bytes for file in files}
    backbone = json.dumps(BACKBONE, indent=2) + "\n"
    assert hashlib.sha256(backbone.encode()).hexdigest() == pinned["backbone.json"].sha256


def file_size(shard: dict[str, tuple[str, list[int], int]]) -> int:
    """Bytes of a safetensors file, from the format's definition: wider numbers first, then by name; header padded to 8."""
    names = sorted(shard, key=lambda key: (shard[key][0] != "F32", key))
    ends = list(accumulate(shard[name][2] for name in names))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, end in zip(names, ends, strict=True):
        dtype, shape, size = shard[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end - size, end]}
    length = len(json.dumps(header, separators=(",", ":")))
    return 8 + length + -length % 8 + ends[-1]


# ------------------------------------------------------------------------------------------------------------------ refused


def refusal(folder: Path, config: Config) -> str:
    with pytest.raises(InvalidInput) as refused:
        load_weights(on_meta(config), folder, "cpu", torch.float32)
    return str(refused.value)


def test_every_problem_is_told_in_one_error(tmp_path: Path) -> None:
    tensors = drawn("1.5")
    bias, norm, head = "action_out_proj.bias", "expert.norm.weight", "vlm.lm_head.weight"
    tensors[norm] = torch.zeros(25)
    tensors[head] = tensors[head].to(torch.int32)
    tensors["expert.embed_tokens.weight"] = torch.zeros(600, 24)
    del tensors["action_in_proj.norm.bias"]
    shards = write_shards(tmp_path, tensors, count=6)
    shards[bias] = shards[head]  # where it is not
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": shards}))
    first, second, *_ = sorted(set(shards.values()))
    (tmp_path / first).unlink()
    (tmp_path / second).write_bytes((tmp_path / second).read_bytes()[:-1])

    said = refusal(tmp_path, small_config("1.5"))
    size = (tmp_path / second).stat().st_size
    assert f"{tmp_path}: config.json makes {len(drawn('1.5'))} tensors of " in said
    assert f"1 absent: {first}" in said
    assert f"1 broken: {second} ({size} bytes" in said
    assert f"1 in the index, not in their file: {bias} ({shards[head]})" in said
    assert "1 missing: action_in_proj.norm.bias" in said
    assert "1 unexpected: expert.embed_tokens.weight" in said
    assert f"1 misshaped: {norm} (25,), want (24,)" in said
    assert f"1 of a wrong dtype: {head} I32, want one of F64, F32, F16, BF16" in said


def test_a_config_of_another_model_is_refused_with_both_sides(tmp_path: Path) -> None:
    tensors = drawn("1.5", width=32)
    save_file(tensors, tmp_path / "model.safetensors")
    said = refusal(tmp_path, small_config("1.5", width=40))
    assert f"the weight files hold {len(tensors)} of {sum(t.numel() for t in tensors.values()):,}" in said
    assert "linear_fc2.weight (32, 64), want (40, 64)" in said
    assert ", ..." in said, "only the first few are named"


def test_constants_of_another_model_are_refused_with_both_numbers(tmp_path: Path) -> None:
    tensors = drawn("r1")
    name = "action_space.accel_std"
    tensors[name] = tensors[name] * 1.01
    save_file(tensors, tmp_path / "model.safetensors")
    said = refusal(tmp_path, small_config("r1"))
    assert f"1 unlike config.json: {name} 0.68785" in said
    assert "want 0.68104" in said
    tensors[name] = (tensors[name] / 1.01).bfloat16()  # a model that was cast before it was saved
    save_file(tensors, tmp_path / "model.safetensors")
    load_weights(on_meta(small_config("r1")), tmp_path, "cpu", torch.float32)
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors")
    assert f"1 missing: {name}" in refusal(tmp_path, small_config("r1"))


def test_a_truncated_file_is_refused_with_its_size(tmp_path: Path) -> None:
    save_file(drawn("1.5"), tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    said = refusal(tmp_path, small_config("1.5"))
    assert f"1 broken: model.safetensors ({len(whole) // 2} bytes" in said
    assert "missing" not in said


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert "1 absent: model.safetensors" in refusal(tmp_path, small_config("1.5"))


# ----------------------------------------------------------------------------------------------------------- saved and drawn


def test_saved_weights_load_again_and_say_what_they_are(tmp_path: Path) -> None:
    model = on_meta(small_config("1.5"))
    draw_weights(model, 2, "cpu", torch.bfloat16)
    with pytest.raises(InvalidInput, match="metadata must say weights untrained or trained, got None"):
        save_weights(model, tmp_path / "model.safetensors", {})
    save_weights(model, tmp_path / "model.safetensors", {"weights": "trained", "step": "7"})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert read_header(tmp_path / "model.safetensors")["__metadata__"] == {"weights": "trained", "step": "7"}
    again = on_meta(small_config("1.5"))
    load_weights(again, tmp_path, "cpu", torch.bfloat16)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_seed_gives_the_same_weights_in_every_dtype_and_another_seed_others() -> None:
    models = [on_meta(small_config("1.5")) for _ in range(3)]
    for model, seed, dtype in zip(models, (5, 5, 6), (torch.float32, torch.bfloat16, torch.float32), strict=True):
        draw_weights(model, seed, "cpu", dtype)
    wide, narrow, other = (model.vlm.lm_head.weight for model in models)
    assert torch.equal(wide.bfloat16(), narrow)
    assert not torch.equal(wide, other)
    assert wide.std().item() == pytest.approx(0.02, rel=0.05)
    assert models[0].expert.norm.weight.eq(1).all()
    assert models[0].action_out_proj.bias.eq(0).all()
