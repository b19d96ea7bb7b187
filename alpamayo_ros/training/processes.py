"""One process that trains, or several that share the work: `torchrun` says which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grad_norm_

from alpamayo_ros.training.student import layers


@dataclass(frozen=True)
class Processes:
    """This process among all."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Of every process's values, in float64 on the CPU."""
        told = values.detach().to(self.device, torch.float64, copy=True)
        if self.count > 1:
            dist.all_reduce(told)
        return told.cpu()


ALONE = Processes(0, 1, torch.device("cpu"))


@contextmanager
def joined(rank: int, count: int, local_rank: int) -> Iterator[Processes]:
    """This process in its group: NCCL where there are GPUs, gloo on CPUs. The group's address is in torchrun's environment."""
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    dist.init_process_group("nccl" if has_gpu else "gloo", rank=rank, world_size=count)
    try:
        yield Processes(rank, count, device)
    finally:
        dist.destroy_process_group()


def shard(student: nn.Module, processes: Processes, *, bfloat16: bool) -> None:
    """FSDP2: weights, gradients and the optimizer's state lie spread over the processes, a layer is whole while it computes.

    Gradients are means over the processes. With bfloat16 weights are gathered in it and gradients are summed in float32; what
    goes into a layer stays as it is, for actions, times and rotations want float32: autocast says what is rounded.
    """
    if processes.count == 1:
        return
    gathered, summed = (torch.bfloat16, torch.float32) if bfloat16 else (None, None)
    policy = MixedPrecisionPolicy(gathered, summed, cast_forward_inputs=False)
    for layer in layers(student):
        fully_shard(layer, mp_policy=policy)
    fully_shard(student, mp_policy=policy)


def clip(network: nn.Module, most: float) -> float:
    """Scale gradients, also sharded ones, to a norm of at most `most` over all of them; the norm they had."""
    norm = clip_grad_norm_([parameter for parameter in network.parameters() if parameter.grad is not None], most)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()
