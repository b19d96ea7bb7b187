"""One process that trains, or several that share the work: `torchrun` says which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from alpamayo_ros.model.language import Layer as LanguageLayer
from alpamayo_ros.model.vision import Layer as VisionLayer


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

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Of every process's value."""
        told = torch.stack([value.float() for value in values.values()])
        if self.count > 1:
            dist.all_reduce(told)
        return dict(zip(values, (told / self.count).tolist(), strict=True))


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

    Gradients are means over the processes. With bfloat16 layers compute in it, and gradients are summed in float32.
    """
    if processes.count == 1:
        return
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bfloat16 else MixedPrecisionPolicy()
    for module in student.modules():
        if isinstance(module, LanguageLayer | VisionLayer):
            fully_shard(module, mp_policy=policy)
    fully_shard(student, mp_policy=policy)
