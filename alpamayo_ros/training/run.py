"""The folder of a run: what it was told, what it measured, what it saved. Whoever finds it can tell how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.evaluation.openloop.provenance import file_sha256, git_state
from alpamayo_ros.types import InvalidInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIG, METRICS = "config.json", "metrics.jsonl"

_TOLD_AGAIN = {
    "tokenizer": "bring back the tokenizer.json that it began with",
    "data": "name the data sets that it began with (one that was added to since is another one)",
}
"""How a run can go on that was told something else."""


class Run:
    """An open run. Of several processes the first one writes."""

    def __init__(self, folder: Path, told: Mapping[str, DataclassInstance | str | int], *, writes: bool = True) -> None:
        """Make the folder, or go on in one that was told the same. Raises InvalidInput for one that was told something else.

        What a folder does not say, as one that an older version made, is not compared.
        """
        self.folder = folder
        self._writes = writes
        self._metrics: list[dict[str, float]] = []
        config = json.loads(json.dumps({name: asdict(v) if not isinstance(v, str | int) else v for name, v in told.items()}))
        if (folder / CONFIG).exists():
            _check_same(read_json(folder / CONFIG), config, folder)
        elif writes:
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / CONFIG) as file:
                file.write((json.dumps({**config, "made_by": provenance()}, indent=1) + "\n").encode())
        if (folder / METRICS).exists():
            self._metrics = [json.loads(line) for line in (folder / METRICS).read_text().splitlines() if line.endswith("}")]

    @property
    def checkpoints(self) -> Path:
        """Where they lie."""
        return self.folder / "checkpoints"

    def steps(self, began: int, until: int) -> Iterator[int]:
        """The numbers of the steps that are left, with a bar; what was measured of them before is forgotten."""
        self._metrics = self._metrics[:began]
        if self._writes:
            lines = "".join(json.dumps(line) + "\n" for line in self._metrics)
            (self.folder / METRICS).write_text(lines)
        console = Console(stderr=True, quiet=not self._writes)
        yield from track(range(began, until), self.folder.name, console=console, transient=True)

    def note(self, step: int, values: Mapping[str, float]) -> None:
        """What a step measured."""
        line = {"step": step, **values}
        self._metrics.append(line)
        if self._writes:
            with (self.folder / METRICS).open("a") as file:
                file.write(json.dumps(line) + "\n")

    def history(self, name: str) -> list[float]:
        """A value of every step so far."""
        return [line[name] for line in self._metrics]

    def write_tensorboard(self) -> None:
        """The same curves as TensorBoard reads them."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.folder / "tensorboard")) as writer:
            for line in self._metrics:
                for name in line.keys() - {"step"}:
                    writer.add_scalar(name, line[name], int(line["step"]))


def provenance() -> dict[str, Any]:
    """Of the code and the libraries; the revision is of the checkout in which the sources lie, also where they are linked."""
    package = Path(__file__).resolve().parents[1]
    return {"revision": git_state(package), "torch": torch.__version__, "threads": torch.get_num_threads()}


def tokenizer_sha256(bundle: Path) -> str:
    """Which vocabulary a bundle has: what its weights learned is numbered by it."""
    return file_sha256(bundle / "tokenizer.json")


def check_tokenizer(bundle: Path) -> None:
    """Raise InvalidInput for a bundle whose tokenizer is another than the run that left it was told, where that is known."""
    config = bundle.resolve().parent / CONFIG
    said = read_json(config).get("tokenizer") if config.exists() else None
    found = tokenizer_sha256(bundle)
    if said is not None and said != found:
        raise InvalidInput(
            f"{bundle / 'tokenizer.json'} is not what its weights were trained with: sha256 {found}, {config} says {said}: "
            f"{_TOLD_AGAIN['tokenizer']}"
        )


def _check_same(there: Mapping[str, Any], told: Mapping[str, Any], folder: Path) -> None:
    if not (other := sorted(name for name in told if name in there and there[name] != told[name])):
        return
    sides = [f"{name} was {there[name]}, is {told[name]}" for name in other if isinstance(told[name], str | int)]
    ways = [_TOLD_AGAIN[name] for name in other if name in _TOLD_AGAIN]
    raise InvalidInput(
        f"{folder} is a run that was told something else ({', '.join(other)}): "
        f"{'; '.join([*sides, ', or '.join([*ways, 'choose another folder', 'delete it'])])}"
    )
