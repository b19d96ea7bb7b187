"""Post-training: a bundle that has weights learns from drives, in one process or in several that share the work.

`sft` teaches the backbone what follows an observation as tokens (Chain of Causation and meta-actions where an example has
them, action tokens always), `expert` flow matching on the keys and values of the backbone, which is frozen. After `sft` the
bundle's expert reads a backbone that is no longer its own: engines refuse the bundle until `expert` was run on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from alpamayo_ros.bundle.config import check_profile
from alpamayo_ros.bundle.folder import INDEX_FILE, WEIGHTS_FILE, has_weights, read_json, read_metadata
from alpamayo_ros.evaluation.openloop.provenance import described_sha256, file_sha256
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset.labels import read_labels
from alpamayo_ros.training.dataset.reading import described, ids, open_dataset
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.training.export import CARD, check_round_trip, figured, model_card
from alpamayo_ros.training.fit import Fitted, fit
from alpamayo_ros.training.lora import adapted, put_adapters
from alpamayo_ros.training.measuring import Windows, expert_figures, windows_of
from alpamayo_ros.training.processes import Processes, shard
from alpamayo_ros.training.run import CONFIG, Run, check_tokenizer, provenance, tokenizer_sha256
from alpamayo_ros.training.settings import Learned, Optimisation, Part
from alpamayo_ros.training.sizes import open_codec, trained_model
from alpamayo_ros.training.stages import leave_bundle
from alpamayo_ros.training.streaming import SPLIT, Material, broken_in, feed_of
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

PostStage = Literal["sft", "expert"]
PARTS: tuple[Part, ...] = ("views", "language")
"""What `sft` trains where nothing else is said: a network without views has none of those."""

RATES: dict[PostStage, float] = {"sft": 1e-5, "expert": 1e-4}
VISION_FACTOR = 0.1
"""Learning rates of NVlabs/alpamayo-recipes, and the part of it for the vision tower."""

WARMUP_STEPS = 500  # of the same recipe, for runs of 5,000 updates and more
DRAWS = 8  # noise and times of the flow per example

SEEN_BY = (
    "cameras",
    "frame_offsets_ms",
    "image_height",
    "image_width",
    "history_steps",
    "horizon_steps",
    "ego_signals",
    "navigation",
)
"""What of a profile decides an example; the rest is of the network."""


@dataclass(frozen=True)
class PostTraining:
    """What is asked for."""

    bundle: Path  # with weights
    data: tuple[Path, ...]  # data sets of recorded drives, or of the driving world
    labels: tuple[Path, ...]  # reasoning for examples that have none
    out: Path  # a folder that all processes see
    learned: Learned
    optimisation: Optimisation
    windows: int = 0  # on which an expert that was trained is measured, at most

    def __post_init__(self) -> None:
        if self.windows < 0:
            raise InvalidInput(f"want 0 windows to measure on, or more, got {self.windows}")


def learned_of(stage: PostStage, parts: tuple[Part, ...], lora_rank: int | None) -> Learned:
    """What a stage learns; `parts` of the backbone are for `sft`, none: PARTS. Raises InvalidInput."""
    if stage == "sft":
        return Learned(parts or PARTS, words=1.0, trajectory=1.0, lora_rank=lora_rank)
    if parts or lora_rank is not None:
        raise InvalidInput("expert trains the expert, whole and alone: parts and a LoRA rank are for sft")
    return Learned(("expert",), flow=1.0, draws=DRAWS)


def scheduled(settings: Optimisation) -> Optimisation:
    """The same with the recipe's warm-up, and a cosine down to a tenth of the rate."""
    warmup_steps = min(WARMUP_STEPS, settings.steps // 10)
    least = settings.learning_rate / 10
    return replace(settings, least_learning_rate=least, warmup_steps=warmup_steps, vision_factor=VISION_FACTOR)


def post_train(asked: PostTraining, processes: Processes) -> dict[str, Any]:
    """Train from where the run in `out` stands, and leave `out`/bundle; figures of the run.

    All processes call this alike. Raises InvalidInput for a bundle without weights, data of another profile or with too few
    examples, labels of none of them, a folder of another run, and a loss that is not finite.
    """
    codec = opened_codec(asked.bundle)
    material = opened(asked.bundle, asked.data, asked.labels, codec)
    measures = processes.is_first and not asked.learned.trains_backbone  # an expert; there is none for a moved backbone yet
    windows = windows_of(open_dataset(*asked.data), asked.windows if measures else 0)
    run = Run(asked.out, _told(asked, codec), writes=processes.is_first)
    fitted = _fitted(asked, material, run, processes)
    figures = _figures(asked, material, fitted)
    if not processes.is_first:
        return figures
    measured = _measured(asked, windows, run)
    leave_card(asked.out / "bundle", asked.bundle, "`alpamayo post-train`", run, {"run": asdict(fitted), **measured})
    run.write_tensorboard()
    return {**figures, **measured}


def _fitted(asked: PostTraining, material: Material, run: Run, processes: Processes) -> Fitted:
    """Train and leave the bundle; what was trained is gone from the devices then."""
    settings = asked.optimisation
    asking = replace(material, asks=asked.learned.trains_backbone)
    feed = feed_of(asking, settings, processes, asked.out / "broken")
    student = _begun(asked, material.codec)
    shard(student, processes, bfloat16=settings.precision == "bfloat16")
    if processes.count == 1:
        student.to(processes.device)  # shards lie on their devices already
    fitted = fit(student, feed, settings, run, processes)
    _leave(student, material.codec, asked, processes)
    return fitted


def _measured(asked: PostTraining, windows: Windows, run: Run) -> dict[str, dict[str, float]]:
    """The figures of an expert that was trained; also the last line of the run's metrics."""
    if not windows.examples:
        return {}
    figures = expert_figures(asked.out / "bundle", windows.examples)
    run.note(asked.optimisation.steps, {f"expert_{name}": value for name, value in figures.items()})
    return {f"expert on {windows.split}": figures}


def leave_card(bundle: Path, begun: Path, by: str, run: Run, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Say in a bundle that was left how it was made: from which one, by a run that was told what, and what was measured."""
    told = {"begun with": f"{begun.name}, {weights_told(begun)}", "run": str(run.folder)}
    told |= {name: str(value) for name, value in read_json(run.folder / CONFIG).items()}
    told |= {name: str(value) for name, value in provenance().items()}
    rows = {name: figured(each) for name, each in figures.items()}
    how = f"Trained by {by} of `alpamayo_ros` from another bundle, whose own card and licence say what went into that"
    (bundle / CARD).write_text(model_card(bundle.resolve().parent.name, told, rows, how))


def opened(bundle: Path, folders: Sequence[Path], files: Sequence[Path], codec: Codec) -> Material:
    """Data with labels for a bundle. Raises InvalidInput for data of another profile, and for labels of no example."""
    data = open_dataset(*folders)
    check_data(data.profile, codec.profile, bundle)
    labels = read_labels(files)
    learned = replace(data, shards=data.of(SPLIT))
    if files and not any(known in labels.reasoning for known in ids(learned)):
        named = ", ".join(map(str, files))
        raise InvalidInput(f"{named}: none of {len(labels.reasoning)} labels is of an example of the data")
    return Material(learned, labels, codec)


def check_data(made_for: InputProfile, profile: InputProfile, bundle: Path) -> None:
    """Raise InvalidInput, with both sides, for examples of a profile that a bundle of another one cannot see."""
    sides = {name: (getattr(made_for, name), getattr(profile, name)) for name in SEEN_BY}
    if other := [f"{name} {data} and {own}" for name, (data, own) in sides.items() if data != own]:
        raise InvalidInput(
            f"the data were made for profile {made_for.name}, {bundle} has profile {profile.name}: {'; '.join(other)}: "
            f"make them with --profile {bundle / 'profile.yaml'}"
        )


def opened_codec(bundle: Path) -> Codec:
    """What examples for a bundle are encoded with.

    Raises InvalidInput for one that has no weights to go on from, and as `check_tokenizer` does.
    """
    codec = open_codec(bundle)
    check_tokenizer(bundle)
    check_profile(codec.profile, codec.config)
    if not has_weights(bundle):
        fetch = f"alpamayo fetch {bundle} brings released ones"
        raise InvalidInput(f"{bundle} has no weights to go on from: {fetch}, alpamayo train makes small ones")
    return codec


def _begun(asked: PostTraining, codec: Codec) -> Student:
    student = Student(trained_model(codec, asked.bundle), asked.learned)
    if asked.learned.lora_rank is not None:
        put_adapters(student, asked.learned.lora_rank, asked.optimisation.seed)
    return student


def _told(asked: PostTraining, codec: Codec) -> dict[str, Any]:
    """What a run must be told again to go on."""
    return {
        "learned": asked.learned,
        "settings": asked.optimisation,
        **digests(asked.data, asked.labels),
        "weights": weights_told(asked.bundle),
        "config": sha256(repr(codec.config).encode()).hexdigest(),
        "profile": described_sha256(codec.profile),
        "tokenizer": tokenizer_sha256(asked.bundle),
    }


def digests(data: Sequence[Path], labels: Sequence[Path]) -> dict[str, str]:
    """Which data sets and labels a run learns from."""
    return {"data": described(data), "labels": " ".join(map(file_sha256, labels))}


def weights_told(bundle: Path) -> str:
    """Which weights a run began with: what their file says, in an order of its own each time, or the index of their shards."""
    weights = bundle / WEIGHTS_FILE
    return json.dumps(read_metadata(weights), sort_keys=True) if weights.exists() else file_sha256(bundle / INDEX_FILE)


def _leave(student: Student, codec: Codec, asked: PostTraining, processes: Processes) -> None:
    """Gather the weights, which takes all processes, and write the bundle, which the first one does."""
    weights = get_model_state_dict(student, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not processes.is_first:
        return
    with torch.device("meta"):
        whole = Student(Alpamayo(codec.config), asked.learned)
    with adapted(whole, asked.optimisation.seed):
        whole.load_state_dict(weights, assign=True)
    leave_bundle(whole.model, asked.bundle, asked.out / "bundle", trains_expert=not asked.learned.trains_backbone)
    check_round_trip(whole.model, asked.out / "bundle")


def _figures(asked: PostTraining, material: Material, fitted: Fitted) -> dict[str, Any]:
    return {
        **asdict(fitted),
        "examples": sum(shard.examples for shard in material.data.shards),
        "broken": broken_in(asked.out / "broken"),
        "files": [str(asked.out / "bundle")],
    }
