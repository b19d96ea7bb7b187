"""The stages that make a small model of ours, each in a run of its own, from the bundle that the stage before it left.

`see` teaches the vision tower on single pictures (ours: the paper begins with a trained backbone), `inject` what follows a
scene as action tokens, `sft` the Chain of Causation, meta-actions and action tokens, and `expert` flow matching on the keys and
values of the backbone, which is frozen (Alpamayo-R1 paper, section 5). After `reinforce` the expert is trained once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alpamayo_ros.bundle.folder import BACKBONE_KEY, EXPERT_KEY, WEIGHTS_FILE, WEIGHTS_KEY, read_metadata
from alpamayo_ros.engine.weights import save_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.training.batch import Batch
from alpamayo_ros.training.checkpoints import backbone_sha256
from alpamayo_ros.training.export import copy_layout
from alpamayo_ros.training.fit import Feed, Fitted, fit
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.seeing import Seer, see, shots_of
from alpamayo_ros.training.settings import Learned, Optimisation, Part
from alpamayo_ros.training.shelf import Shelf, shelve
from alpamayo_ros.training.sizes import new_model, open_codec, trained_model
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

StageName = Literal["see", "inject", "sft", "expert"]
ORDER: tuple[StageName, ...] = ("see", "inject", "sft", "expert")

UNTRAINED = "nothing"
"""What an expert learned to read that was not trained at all."""


@dataclass(frozen=True)
class Stage:
    """What a stage learns, and how."""

    optimisation: Optimisation
    learned: Learned | None = None  # None: the vision tower, what is where on single pictures
    asks_reasons: bool = True
    is_balanced: bool = False  # of the data takes the balanced part alone


_BACKBONE: tuple[Part, ...] = ("views", "language")
"""The vision tower is trained before, and looked through once."""

_QUICK = Optimisation(steps=20, batch=8, learning_rate=3e-3, warmup_steps=2)

STAGES: Mapping[str, Mapping[StageName, Stage]] = {
    "debug": {
        "see": Stage(Optimisation(steps=20, batch=32, learning_rate=3e-3, warmup_steps=2)),
        "inject": Stage(_QUICK, Learned(_BACKBONE, words=1.0, trajectory=1.0), asks_reasons=False),
        "sft": Stage(_QUICK, Learned(_BACKBONE, words=1.0, trajectory=1.0)),
        "expert": Stage(_QUICK, Learned(("expert",), flow=1.0, draws=4)),
    },
}
"""By size. "debug" shows in seconds that everything runs; it learns nothing worth driving by."""


def train_stage(
    name: StageName, stage: Stage, scenes: Sequence[SceneSamples], begin: Path, out: Path, processes: Processes
) -> Fitted:
    """Train one stage from the bundle `begin`, and leave its own in `out`/bundle, with the run beside it.

    A run that was cut off goes on. Raises InvalidInput for a folder of another run, too little data, a loss that is not finite.
    """
    if processes.count > 1:
        raise InvalidInput(f"a stage shares no shelf between processes yet: want 1, got {processes.count}")
    codec = open_codec(begin)
    has_weights = (begin / WEIGHTS_FILE).exists()
    model = trained_model(codec, begin) if has_weights else new_model(codec, stage.optimisation.seed)
    run = Run(out, {"stage": name, "settings": stage, "begin": _begun(begin)}, writes=processes.is_first)
    if stage.learned is None:
        seer = Seer(model.vlm.model.visual, codec.config)
        fitted = see(seer, shots_of(scenes), stage.optimisation, run, processes)
    else:
        shelf = shelve(scenes, model.vlm.model.visual, codec, asks_reasons=stage.asks_reasons)
        shelf = shelf.balanced() if stage.is_balanced else shelf
        fitted = fit(Student(model, stage.learned), _feed(shelf, stage.optimisation), stage.optimisation, run, processes)
    if processes.is_first:
        leave_bundle(model, begin, out / "bundle", trains_expert=stage.learned is not None and "expert" in stage.learned.parts)
        run.write_tensorboard()
    return fitted


def _feed(shelf: Shelf, settings: Optimisation) -> Feed:
    def feed(begin: int) -> Iterator[Batch]:
        return shelf.shuffled(settings.batch // settings.accumulate, settings.seed, begin)

    return feed


def leave_bundle(model: Alpamayo, begin: Path, out: Path, *, trains_expert: bool) -> None:
    """Write what a stage leaves; an engine opens it once the expert has learned to read this very backbone."""
    backbone = backbone_sha256(model)
    copy_layout(begin, out)
    reads = backbone if trains_expert else _expert_of(begin)
    save_weights(model, out / WEIGHTS_FILE, {WEIGHTS_KEY: "trained", BACKBONE_KEY: backbone, EXPERT_KEY: reads})


def _begun(begin: Path) -> str:
    """The weights that a stage begins with."""
    return str(_metadata(begin).get(BACKBONE_KEY, UNTRAINED))


def _expert_of(begin: Path) -> str:
    return str(_metadata(begin).get(EXPERT_KEY, UNTRAINED))


def _metadata(begin: Path) -> Mapping[str, object]:
    return read_metadata(begin / WEIGHTS_FILE) if (begin / WEIGHTS_FILE).exists() else {}
