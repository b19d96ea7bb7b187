"""A bundle of the released size and layout with drawn weights: speed does not depend on what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from model.released import BACKBONE, Generation, released_json
from model.vocabulary import write_vocabulary

SHIPPED = Path(__file__).parents[2] / "models"
NAMES: dict[Generation, str] = {"r1": "alpamayo_r1_10b", "1.5": "alpamayo_1_5_10b"}
WORDS, MORE = 151643, 12
"""Of the released vocabulary: words before its special tokens, and tokens that no driving model has a use for. Here words are
the bytes, and others that are never used."""


def full_size_bundle(folder: Path, generation: Generation, seed: int = 0) -> Path:
    """Profile, config and a vocabulary of bytes as long as the released one; the weights come from the seed."""
    shutil.copytree(SHIPPED / NAMES[generation], folder)
    (folder / "source.yaml").write_text(f"seed: {seed}\n")
    (folder / "config.json").write_text(json.dumps(released_json(generation)))
    (folder / "backbone.json").write_text(json.dumps(BACKBONE))
    return write_vocabulary(folder, WORDS, MORE)
