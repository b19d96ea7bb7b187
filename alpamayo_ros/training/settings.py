"""What a stage of training is told: frozen, checked, and written into the folder of its run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.types import InvalidInput

Part = Literal["vision", "views", "language", "expert"]

PARTS: dict[Part, tuple[str, ...]] = {
    "vision": ("vlm.model.visual.",),
    "views": ("views.",),
    "language": ("vlm.model.language_model.", "vlm.lm_head."),
    "expert": ("expert.", "action_in_proj.", "action_out_proj."),
}
"""Parts of the network by how the names of their weights begin."""


@dataclass(frozen=True)
class Learned:
    """What is trained, and the weights of what it learns."""

    parts: tuple[Part, ...]
    words: float = 0.0  # cross-entropy of words, and of what stands between them
    trajectory: float = 0.0  # cross-entropy of action tokens
    flow: float = 0.0  # flow matching of the expert
    sights: float = 0.0  # what is on the newest pictures, told by the language model at the end of the prompt
    draws: int = 1  # noise and times of the flow per example: the expert is small beside what it looks at
    lora_rank: int | None = None  # of adapters through which the language model learns; None: it learns itself

    def __post_init__(self) -> None:
        weights = self.words, self.trajectory, self.flow, self.sights
        if not self.parts or min(weights) < 0 or sum(weights) <= 0:
            raise InvalidInput(f"want one part or more and a loss with a weight above 0, got {self}")
        if not 1 <= self.draws <= 64:
            raise InvalidInput(f"draws {self.draws}, want 1..64")
        if self.lora_rank is not None and not (self.lora_rank >= 1 and "language" in self.parts):
            raise InvalidInput(f"lora_rank {self.lora_rank} of {self.parts}, want 1 or more, and the language model among them")
        if self.flow and "expert" not in self.parts:
            raise InvalidInput("the flow is learned by the expert, which is not among the parts that are trained")

    @property
    def trains_backbone(self) -> bool:
        """Whether anything but the expert is trained."""
        return set(self.parts) != {"expert"}


@dataclass(frozen=True)
class Optimisation:
    """Steps with a warm-up and a cosine down to the least learning rate."""

    steps: int  # updates
    batch: int  # examples of an update, all processes together
    learning_rate: float
    least_learning_rate: float = 0.0
    warmup_steps: int = 0
    vision_factor: float = 1.0  # of the learning rate, for the vision tower
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    matrices: Literal["adam", "muon"] = "adam"  # what moves the matrices of layers; all else is AdamW's
    muon_factor: float = 5.0  # of the learning rate, where Muon takes the step
    clip_norm: float = 1.0
    accumulate: int = 1  # passes of an update
    precision: Literal["float32", "bfloat16"] = "float32"
    recompute: bool = False  # activations of layers in the backward pass: less memory, a third more time
    seed: int = 0
    save_every: int = 500  # steps

    def __post_init__(self) -> None:
        counted = self.steps >= 1 and self.accumulate >= 1 and self.batch % self.accumulate == 0 and self.save_every >= 1
        if not counted or not 0 <= self.least_learning_rate <= self.learning_rate or self.clip_norm <= 0:
            raise InvalidInput(f"want steps >= 1, a batch of whole passes, 0 <= least rate <= rate, a clip above 0; got {self}")

    def rate_at(self, step: int) -> float:
        """Learning rate of an update."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.least_learning_rate + (self.learning_rate - self.least_learning_rate) * (1 + math.cos(math.pi * done)) / 2
