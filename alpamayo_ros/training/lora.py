"""LoRA (Hu et al., arXiv 2106.09685), by peft: a language model learns through narrow adapters beside frozen projections.

The optimizer holds two moments of the adapters alone, which is what a large backbone needs memory for. What a stage leaves has
no adapters any more: they are merged, so that a bundle has the released layout and runs as fast as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from alpamayo_ros.training.student import Student

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@contextmanager
def adapted(student: Student, seed: int) -> Iterator[None]:
    """While this lasts, what a student learns of the language model it learns by adapters; then they are merged.

    For a student that is not told a `lora_rank` nothing happens. The seed decides how the adapters are drawn. Where something
    is raised they stay, and the network is not to be used.
    """
    if student.learned.lora_rank is None:
        yield
        return
    adapters = put_adapters(student, student.learned.lora_rank, seed)
    yield
    adapters.merge_and_unload()


def put_adapters(student: Student, rank: int, seed: int) -> LoraModel:
    """Adapters of a rank on every projection of the language model's layers, the only thing of it that is trained then.

    At first they change nothing: one of the two factors is 0. Scaled by 2 (alpha is twice the rank), as is usual.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    student.model.vlm.lm_head.requires_grad_(requires_grad=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        told = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(PROJECTIONS))
        return LoraModel(student.model.vlm.model.language_model, told, "default")
