"""The stages that make a small model of ours, each in a run of its own, from the bundle that the stage before it left.

`see` teaches the vision tower on single pictures and `gather` the scene's tokens on all of an observation (ours: the paper
begins with a trained backbone), `inject` what follows a scene as action tokens, `sft` the Chain of Causation, meta-actions and
action tokens, and `expert` flow matching on the keys and values of the backbone, which is frozen (Alpamayo-R1 paper, section
5). After `reinforce` the expert is trained once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import BACKBONE_KEY, EXPERT_KEY, WEIGHTS_FILE, WEIGHTS_KEY, has_weights, read_metadata
from alpamayo_ros.engine.weights import save_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.training.augmentation import forget_motion
from alpamayo_ros.training.batch import Batch
from alpamayo_ros.training.checkpoints import backbone_sha256, weights_sha256
from alpamayo_ros.training.dataset.reading import described
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.training.export import copy_layout
from alpamayo_ros.training.fit import Feed, Fitted, fit
from alpamayo_ros.training.gathering import Gatherer, gather
from alpamayo_ros.training.lora import adapted
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.run import Run, check_tokenizer, tokenizer_sha256
from alpamayo_ros.training.seeing import Seer, see, shots_of
from alpamayo_ros.training.settings import Learned, Optimisation, Part
from alpamayo_ros.training.shelf import Shelf, shelve
from alpamayo_ros.training.sizes import new_model, open_codec, trained_model
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

Scenes = Callable[[], Iterable[SceneSamples]]
"""Scenes from the beginning, as often as they are asked for: they need not all be in memory."""

StageName = Literal["see", "gather", "inject", "sft", "expert"]
ORDER: tuple[StageName, ...] = ("see", "gather", "inject", "sft", "expert")
SIGHTED: tuple[StageName, ...] = ("see", "gather")
"""Stages that learn what is on pictures, and nothing else."""

UNTRAINED = "nothing"
"""What an expert learned to read that was not trained at all."""


@dataclass(frozen=True)
class Stage:
    """What a stage learns, and how."""

    optimisation: Optimisation
    learned: Learned | None = None  # None: what is on pictures
    asks_reasons: bool = True
    forgets: float = 0.0  # how often an example knows of its past motion the newest step alone

    def __post_init__(self) -> None:
        if not 0.0 <= self.forgets <= 1.0:
            raise InvalidInput(f"forgets {self.forgets}, want a probability, 0 .. 1")


_BACKBONE: tuple[Part, ...] = ("views", "language")
"""The vision tower is trained before, and looked through once."""

_TOKENS = Learned(_BACKBONE, words=1.0, trajectory=1.0, sights=1.0)
_WHOLE = Learned((*_BACKBONE, "expert"), words=1.0, trajectory=1.0, flow=1.0, sights=1.0, draws=2)
"""The expert learns beside a backbone that it does not move, from the same pass; when that rests it learns alone."""

_QUICK = Optimisation(steps=20, batch=8, learning_rate=3e-3, warmup_steps=2)


def _small(steps: int, batch: int, learning_rate: float) -> Optimisation:
    return Optimisation(
        steps, batch, learning_rate, learning_rate / 50, warmup_steps=max(20, steps // 50), precision="bfloat16", save_every=200
    )


def _driving(steps: int, batch: int = 16, learning_rate: float = 4e-3) -> Optimisation:
    return replace(_small(steps, batch, learning_rate), matrices="muon")


STAGES: Mapping[str, Mapping[StageName, Stage]] = {
    "debug": {
        "see": Stage(Optimisation(steps=20, batch=32, learning_rate=3e-3, warmup_steps=2)),
        "gather": Stage(Optimisation(steps=20, batch=8, learning_rate=3e-3, warmup_steps=2)),
        "inject": Stage(_QUICK, _TOKENS, asks_reasons=False),
        "sft": Stage(_QUICK, _TOKENS),
        "expert": Stage(_QUICK, Learned(("expert",), flow=1.0, draws=4)),
    },
    "micro": {
        "see": Stage(_small(1500, 64, 2e-3)),
        "gather": Stage(_driving(300, batch=64)),
        "inject": Stage(_driving(100), _TOKENS, asks_reasons=False),
        "sft": Stage(_driving(600), _WHOLE),
        "expert": Stage(_driving(200, learning_rate=1e-3), Learned(("expert",), flow=1.0, draws=4)),
    },
    "nano": {
        "see": Stage(_small(9000, 64, 2e-3)),
        "gather": Stage(_driving(400, batch=64)),
        "inject": Stage(_driving(200), _TOKENS, asks_reasons=False),
        "sft": Stage(_driving(4000), _WHOLE, forgets=0.5),
        "expert": Stage(_driving(500, learning_rate=1e-3), Learned(("expert",), flow=1.0, draws=6)),
    },
}
"""By size. "debug" shows in seconds that everything runs; it learns nothing worth driving by."""

AGAIN: Mapping[str, Mapping[StageName, Stage]] = {
    "debug": {name: stage for name, stage in STAGES["debug"].items() if name != "inject"},
    "nano": {
        "see": Stage(_small(8000, 64, 1e-3)),
        "gather": Stage(_driving(150, batch=64, learning_rate=1e-3)),
        "sft": Stage(_driving(3200, learning_rate=2e-3), _WHOLE, forgets=0.3),
        "expert": Stage(_driving(200, learning_rate=1e-4), Learned(("expert",), flow=1.0, draws=6)),
    },
}
"""By size, what a trained bundle goes through once more with more data, such as drives of its own that the expert put right:
smaller steps, and nothing from the beginning."""


def train_stage(
    name: StageName,
    stage: Stage,
    scenes: Scenes,
    begin: Path,
    out: Path,
    processes: Processes,
    shelf: Shelf | None = None,
    data: Sequence[Path] = (),
) -> Fitted:
    """Train one stage from the bundle `begin`, and leave its own in `out`/bundle, with the run beside it.

    `shelf`: the scenes as the bundle's tower sees them, where somebody looked already; `data`: the data sets that the scenes
    are of. A run that was cut off goes on. Raises InvalidInput for a folder of another run, be it of other data or another
    tokenizer, as `check_tokenizer` does, for too little data, and for a loss that is not finite.
    """
    if processes.count > 1:
        raise InvalidInput(f"a stage shares no shelf between processes yet: want 1, got {processes.count}")
    codec = open_codec(begin)
    check_tokenizer(begin)
    model = begun_model(codec, begin, stage.optimisation.seed)
    begun = weights_sha256(model) if has_weights(begin) else UNTRAINED
    learned_from = {"data": described(data), "tokenizer": tokenizer_sha256(begin)}
    run = Run(out, {"stage": name, "settings": stage, "begin": begun, **learned_from}, writes=processes.is_first)
    if name == "see":
        seer = Seer(model.vlm.model.visual, codec)
        fitted = see(seer, shots_of(list(scenes())), stage.optimisation, run, processes)
    else:
        shelf = shelve(scenes(), model.vlm.model.visual, codec) if shelf is None else shelf
        fitted = _with_shelf(model, stage, shelf if stage.asks_reasons else shelf.without_reasons(codec), run, processes)
    if processes.is_first:
        settled = stage.learned is not None and not stage.learned.trains_backbone
        leave_bundle(model, begin, out / "bundle", trains_expert=settled)
        run.write_tensorboard()
    return fitted


def begun_model(codec: Codec, begin: Path, seed: int) -> Alpamayo:
    """The network of a bundle: with its weights, or drawn ones where it has none yet."""
    return trained_model(codec, begin) if has_weights(begin) else new_model(codec, seed)


def _with_shelf(model: Alpamayo, stage: Stage, shelf: Shelf, run: Run, processes: Processes) -> Fitted:
    settings = stage.optimisation
    if stage.learned is not None:
        student = Student(model, stage.learned)
        with adapted(student, settings.seed):
            return fit(student, _feed(shelf, stage, model.config), settings, run, processes)
    if not isinstance(model.views, Flex):
        raise InvalidInput(f"only scene tokens of Flex can gather what was seen, this network has {type(model.views).__name__}")
    return gather(Gatherer(model.views, len(shelf.lessons[0].rows)), shelf, settings, run, processes)


def _feed(shelf: Shelf, stage: Stage, config: Config) -> Feed:
    settings = stage.optimisation

    def feed(begin: int) -> Iterator[Batch]:
        batches = shelf.shuffled(settings.batch // settings.accumulate, settings.seed, begin)
        for number, batch in enumerate(batches, begin):
            rng = np.random.default_rng([settings.seed, number])
            yield batch._replace(token_ids=forget_motion(batch.token_ids, config, stage.forgets, rng))

    return feed


def leave_bundle(model: Alpamayo, begin: Path, out: Path, *, trains_expert: bool) -> None:
    """Write what a stage leaves, in bfloat16 as released weights are, so that the next stage begins with what would be shipped.

    An engine opens it once the expert has learned to read this very backbone. The model is rounded, too.
    """
    backbone = backbone_sha256(model.to(torch.bfloat16))
    copy_layout(begin, out)
    reads = backbone if trains_expert else _expert_of(begin)
    save_weights(model, out / WEIGHTS_FILE, {WEIGHTS_KEY: "trained", BACKBONE_KEY: backbone, EXPERT_KEY: reads})


def _expert_of(begin: Path) -> str:
    return str(_metadata(begin).get(EXPERT_KEY, UNTRAINED))


def _metadata(begin: Path) -> Mapping[str, object]:
    return read_metadata(begin / WEIGHTS_FILE) if (begin / WEIGHTS_FILE).exists() else {}
