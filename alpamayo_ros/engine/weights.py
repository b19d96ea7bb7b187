"""Weights: from safetensors files into a model built on the meta device, drawn from a seed, and back into a file.

Safetensors only: a pickle runs code of its author when it is opened. Strict: every tensor fits, or nothing is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import INDEX_FILE, WEIGHTS_FILE, WEIGHTS_KEY, read_index
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.types import InvalidInput

FLOATS = ("F64", "F32", "F16", "BF16")
INIT_STD = 0.02  # initializer_range of Qwen3-VL
ROUNDING = 2.0**-8  # relative, of a number that once was a bfloat16
NAMED = 3  # how many problems of a kind an error names

Files = Mapping[str, Any]  # by tensor, the open file that holds it


class Problems(dict[str, list[str]]):
    """Everything wrong with the files, by kind, to be told at once."""

    def add(self, kind: str, *found: str) -> None:
        if found:
            self.setdefault(kind, []).extend(found)

    def __str__(self) -> str:
        named = {kind: ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "") for kind, found in self.items()}
        return "; ".join(f"{len(self[kind])} {kind}: {names}" for kind, names in named.items())


def load_weights(model: Alpamayo, folder: Path, device: torch.device | str, dtype: torch.dtype) -> None:
    """Give a model built on the meta device its weights. On the CPU, in the stored dtype, they stay in the mapped files.

    Released R1 files also store seven constants; they are held against the config and not loaded.
    Raises InvalidInput that lists every problem: what is missing, unexpected or misshaped, broken and absent shards.
    """
    problems = Problems()
    wanted = model.state_dict()
    with ExitStack() as stack:
        files = _open(folder, str(device), wanted, stack, problems)
        constants = stored_constants(model.config)
        problems.add("unexpected", *sorted(files.keys() - wanted.keys() - constants.keys()))
        if constants.keys() & files.keys():
            problems.add("missing", *sorted(constants.keys() - files.keys()))
        _compare_tensors({name: tensor for name, tensor in wanted.items() if name in files}, files, problems)
        _compare_constants({name: values for name, values in constants.items() if name in files}, files, problems)
        if problems:
            asked = f"{len(wanted)} tensors of {sum(t.numel() for t in wanted.values()):,} numbers"
            held = f"{len(files)} of {sum(math.prod(files[n].get_slice(n).get_shape()) for n in files):,}"
            raise InvalidInput(f"{folder}: config.json makes {asked}, the weight files hold {held}; {problems}")
        loaded = {name: files[name].get_tensor(name).to(device, dtype) for name in wanted}
    model.load_state_dict(loaded, assign=True)


def draw_weights(model: Alpamayo, seed: int, device: torch.device | str, dtype: torch.dtype) -> None:
    """Give a model built on the meta device random weights: the same ones for a seed, whatever the device and dtype."""
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, like in model.state_dict().items():
        if like.ndim > 1:
            std = 1.0 if name.endswith("embed_tokens.weight") else INIT_STD  # as wide as torch makes embeddings
            value = torch.empty(like.shape).normal_(0.0, std, generator=generator)
        else:
            value = torch.zeros(like.shape) if name.endswith("bias") else torch.ones(like.shape)
        drawn[name] = value.to(device, dtype)
    model.load_state_dict(drawn, assign=True)


def save_weights(model: Alpamayo, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model's weights in their dtype. The metadata must say under "weights" whether they are trained."""
    if metadata.get(WEIGHTS_KEY) not in ("untrained", "trained"):
        raise InvalidInput(f"{path}: metadata must say weights untrained or trained, got {metadata.get(WEIGHTS_KEY)!r}")
    written = path.with_suffix(".part")  # a crash leaves no half file under the final name
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, written, dict(metadata))
    written.chmod(0o644)  # safetensors leaves what only its owner can read, and bundles are installed for others
    written.replace(path)


def write_state(model: Alpamayo, path: Path) -> None:
    """A model's weights as they are, for another process of the same run."""
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)


def read_state(model: Alpamayo, path: Path, device: str) -> None:
    """Give a model what another process wrote."""
    model.load_state_dict(load_file(path, device), assign=True)


def stored_constants(config: Config) -> dict[str, Tensor]:
    """What released R1 files store beside the weights, as the config has it, float64."""
    space, action_in = config.action_space, config.action_in
    top = math.log10(action_in.max_freq)
    freqs = torch.logspace(0, top, action_in.num_fourier_feats // 2, dtype=torch.float64)[None]
    scalars = {
        "accel_mean": space.accel_mean_mps2,
        "accel_std": space.accel_std_mps2,
        "curvature_mean": space.curvature_mean_1pm,
        "curvature_std": space.curvature_std_1pm,
    }
    encoders = ("sinus.0", "sinus.1", "timestep_fourier_encoder")
    return {f"action_space.{name}": torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()} | {
        f"action_in_proj.{name}.freqs": freqs for name in encoders
    }


def _open(folder: Path, device: str, wanted: Mapping[str, Tensor], stack: ExitStack, problems: Problems) -> dict[str, Any]:
    """The open file of every tensor; absent and broken files, and those that hold other tensors than listed, are problems."""
    files: dict[str, Any] = {}
    blamed: set[str] = set()  # on a file, so not missing as well
    for shard, listed in _shards(folder).items():
        file = _open_shard(folder / shard, device, stack, problems)
        if file is None:
            blamed |= listed or wanted.keys()
            continue
        there = set(file.keys())
        files |= dict.fromkeys(sorted(there), file)
        if listed:
            problems.add("in the index, not in their file", *(f"{name} ({shard})" for name in sorted(listed - there)))
            problems.add("in a file, not in the index", *(f"{name} ({shard})" for name in sorted(there - listed)))
        blamed |= listed - there
    problems.add("missing", *sorted(wanted.keys() - files.keys() - blamed))
    return files


def _open_shard(path: Path, device: str, stack: ExitStack, problems: Problems) -> Any | None:
    try:
        return stack.enter_context(safe_open(path, "pt", device))
    except FileNotFoundError:
        problems.add("absent", path.name)
    except SafetensorError as error:
        problems.add("broken", f"{path.name} ({path.stat().st_size} bytes: {error})")
    return None


def _shards(folder: Path) -> dict[str, set[str]]:
    """Files, and the tensors that the index says they hold; without an index, the one file and no tensors."""
    if (folder / INDEX_FILE).is_file():
        shards: dict[str, set[str]] = {}
        for name, shard in read_index(folder).items():
            shards.setdefault(shard, set()).add(name)
        return shards
    return {WEIGHTS_FILE: set()}


def _compare_tensors(wanted: Mapping[str, Tensor], files: Files, problems: Problems) -> None:
    for name, tensor in wanted.items():
        stored = files[name].get_slice(name)
        if tuple(stored.get_shape()) != tuple(tensor.shape):
            problems.add("misshaped", f"{name} {tuple(stored.get_shape())}, want {tuple(tensor.shape)}")
        if stored.get_dtype() not in FLOATS:
            problems.add("of a wrong dtype", f"{name} {stored.get_dtype()}, want one of {', '.join(FLOATS)}")


def _compare_constants(constants: Mapping[str, Tensor], files: Files, problems: Problems) -> None:
    for name, values in constants.items():
        stored = files[name].get_tensor(name).cpu().double()
        if stored.shape != values.shape or not torch.allclose(stored, values, rtol=ROUNDING, atol=0):
            problems.add("unlike config.json", f"{name} {stored.tolist()}, want {values.tolist()}")
