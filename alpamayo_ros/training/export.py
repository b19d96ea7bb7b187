"""A trained network as a bundle in the released layout: what every engine opens."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.folder import BACKBONE_KEY, EXPERT_KEY, WEIGHTS_FILE, WEIGHTS_KEY, read_metadata
from alpamayo_ros.engine.weights import save_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.checkpoints import backbone_sha256
from alpamayo_ros.training.sizes import open_codec, trained_model
from alpamayo_ros.types import InvalidInput

LAYOUT = ("profile.yaml", "config.json", "tokenizer.json")
BACKBONE_FILE = "backbone.json"
"""What released bundles have besides, unchanged by training."""
CARD = "README.md"


def export(model: Alpamayo, base: Path, out: Path, expert_trained_on: str, card: str) -> None:
    """Write the bundle of a trained network; `base` has its profile, config and tokenizer, `card` says how it was made.

    `expert_trained_on` is the `backbone_sha256` of the backbone that the expert was trained on. Raises InvalidInput where it
    is not this one, for a folder that is there already, and as `check_round_trip` does. Weights are
    rounded to bfloat16, in the model, too: those that a stage left are already.
    """
    backbone = backbone_sha256(model.to(torch.bfloat16))
    if expert_trained_on != backbone:
        raise InvalidInput(f"the expert was trained on backbone {expert_trained_on}, this is {backbone}: train it again first")
    if out.exists():
        raise InvalidInput(f"{out} is there already: choose another folder")
    copy_layout(base, out)
    (out / CARD).write_text(card)
    save_weights(model, out / WEIGHTS_FILE, {WEIGHTS_KEY: "trained", BACKBONE_KEY: backbone, EXPERT_KEY: expert_trained_on})
    open_bundle(out)
    check_round_trip(model, out)


def copy_layout(base: Path, out: Path) -> None:
    """What a bundle is beside its weights."""
    out.mkdir(parents=True, exist_ok=True)
    for name in LAYOUT:
        shutil.copy(base / name, out)
    if (base / BACKBONE_FILE).exists():
        shutil.copy(base / BACKBONE_FILE, out)


def read_exported(folder: Path) -> Alpamayo:
    """The network of a bundle that `export` wrote, to be trained on. Raises InvalidInput for weights that are not those."""
    model = trained_model(open_codec(folder), folder)
    said, found = read_metadata(folder / WEIGHTS_FILE).get(BACKBONE_KEY), backbone_sha256(model)
    if said != found:
        raise InvalidInput(
            f"{folder / WEIGHTS_FILE} says that its backbone is {said}, it is {found}: somebody changed the weights"
        )
    return model


IN_THE_WORLD = "Trained by `alpamayo train` in the driving world of `alpamayo_ros`, on nothing else"


def model_card(title: str, told: Mapping[str, str], figures: Mapping[str, str], how: str = IN_THE_WORLD) -> str:
    """What a reader of the bundle needs to know, as Markdown; `how` it was trained, and on what."""
    rows = "".join(f"| {name} | {value} |\n" for name, value in told.items())
    measured = "".join(f"| {name} | {value} |\n" for name, value in figures.items())
    return (
        f"# {title}\n\n{how}: research software, not certified, never driven on a road.\n\n"
        f"| made | |\n|---|---|\n{rows}\n| measured | |\n|---|---|\n{measured}"
    )


def check_round_trip(model: Alpamayo, out: Path) -> None:
    """Raise InvalidInput unless the bundle `out` reads back as this very network, to the bit; no engine needs to open it."""
    read = read_exported(out).state_dict()
    wrong = [name for name, value in model.state_dict().items() if not torch.equal(read[name], value.cpu().float())]
    if wrong:
        raise InvalidInput(f"{out}: {len(wrong)} tensors do not read back as written: {', '.join(wrong[:3])}")


def figured(figures: Mapping[str, float]) -> str:
    """Numbers by name, for a card."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
