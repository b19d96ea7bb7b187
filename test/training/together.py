"""What a process of torchrun trains beside the others: `together.py FOLDER`. A test does the same alone.

Examples come as a file: a process that need not make them starts in half the time.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.encoding import Encoded
from alpamayo_ros.training.fit import fit
from alpamayo_ros.training.processes import Processes, joined, shard
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.sizes import new_model, open_codec
from alpamayo_ros.training.student import Student

EVERYTHING = Learned(("vision", "views", "language", "expert"), words=1.0, trajectory=1.0, flow=1.0, draws=2)
EXAMPLES = 4  # of an update
SETTINGS = Optimisation(
    steps=4, batch=EXAMPLES, learning_rate=1e-3, least_learning_rate=1e-3, warmup_steps=2, clip_norm=0.5, save_every=2
)
HALF = replace(SETTINGS, steps=2)
BFLOAT16 = replace(SETTINGS, steps=10, learning_rate=3e-3, precision="bfloat16", recompute=True, save_every=10)


class Material(NamedTuple):
    """What is learned from."""

    bundle: Path
    lessons: Sequence[Encoded]

    def parts(self, number: int, count: int) -> list[Batch]:
        """The examples of an update, split."""
        future_start = open_codec(self.bundle).config.token_ids["future_start"]
        update = [self.lessons[(7 * number + i) % len(self.lessons)] for i in range(EXAMPLES)]
        own = EXAMPLES // count
        return [batch_of(update[first : first + own], future_start) for first in range(0, EXAMPLES, own)]


def trained(folder: Path, settings: Optimisation, processes: Processes, material: Material) -> dict[str, Tensor]:
    """The whole weights, after training on this process's part of every update."""

    def feed(begin: int) -> Iterator[Batch]:
        passes = settings.accumulate
        for number in count(begin):
            update = material.parts(number // passes, processes.count * passes)
            yield update[number % passes * processes.count + processes.rank]

    student = Student(new_model(open_codec(material.bundle), 0), EVERYTHING)
    shard(student, processes, bfloat16=settings.precision == "bfloat16")
    fit(student, feed, settings, Run(folder, {"stage": "test"}, writes=processes.is_first), processes)
    return get_model_state_dict(student, options=StateDictOptions(full_state_dict=True, cpu_offload=True))  # type: ignore[return-value]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank, of = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))  # noqa: TID251
    material = Material(folder / "bundle", torch.load(folder / "lessons.pt", weights_only=False))
    with joined(rank, of, local_rank=rank) as processes:
        weights = trained(folder / "two", SETTINGS, processes, material)
        if processes.is_first:
            torch.save(weights, folder / "two.pt")
        for name in ("two_then_one", "two_then_two"):
            trained(folder / name, HALF, processes, material)
        for name in ("two_then_two", "one_then_two"):
            trained(folder / name, SETTINGS, processes, material)
        trained(folder / "bfloat16", BFLOAT16, processes, material)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
