"""What a run needs to go on: weights and the optimizer's state, in one folder per step, also of several processes.

Written by torch's distributed checkpoints: what a group of processes saved, a group of another size can go on with.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.optimizers import Optimizers
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.settings import PARTS
from alpamayo_ros.types import InvalidInput

KEPT = 2
"""Checkpoints; a crash while the newest one is written leaves the one before it."""


def save(folder: Path, step: int, student: nn.Module, taking: Optimizers, processes: Processes) -> None:
    """Write the checkpoint of a step, whole or not at all, and delete old ones."""
    written = folder / f"step-{step:07d}.part"
    with _one_process_is_meant():
        save_shards(_state(student, taking), checkpoint_id=written, no_dist=processes.count == 1)
    if processes.is_first:
        written.rename(written.with_suffix(""))
        for old in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old)


def restore(folder: Path, student: nn.Module, taking: Optimizers, processes: Processes) -> int:
    """Take up the newest checkpoint; its step, 0 without one. Raises InvalidInput for one of another network."""
    if not (found := checkpoints(folder)):
        return 0
    state = _state(student, taking)
    try:
        with _one_process_is_meant():
            load_shards(state, checkpoint_id=found[-1], no_dist=processes.count == 1)
    except (CheckpointException, RuntimeError, ValueError) as error:
        raise InvalidInput(f"{found[-1]}: not a checkpoint of this network: {' '.join(str(error).split())[:400]}") from error
    set_state_dict(student, taking, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    return int(found[-1].name.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """Whole ones, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.suffix != ".part") if folder.is_dir() else []


@contextmanager
def _one_process_is_meant() -> Iterator[None]:
    """torch warns of a single process even where it is told so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        yield


def _state(student: nn.Module, taking: Optimizers) -> dict[str, Any]:
    weights, moments = get_state_dict(student, taking)
    return {"model": weights, "optimizer": moments}


def backbone_sha256(model: Alpamayo) -> str:
    """Of everything whose keys and values an expert sees: names and numbers of all weights but the expert's own.

    An expert belongs to the backbone it was trained on. 16 hex digits.
    """
    return _sha256({name: tensor for name, tensor in model.state_dict().items() if not name.startswith(PARTS["expert"])})


def weights_sha256(model: Alpamayo) -> str:
    """Of all names and numbers, 16 hex digits. A file's own hash would tell more: the order of what it says of itself."""
    return _sha256(model.state_dict())


def _sha256(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
