"""What a bundle says on windows of data sets, written beside it: fast engines guess its words from that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.engine.loading import bundle_folder, bundle_profile, open_engine
from alpamayo_ros.engine.speculation.corpus import CORPUS_FILE, line_of, spelled
from alpamayo_ros.model.tokens import Tokenizer, read_tokenizer
from alpamayo_ros.simulation.suites import Split
from alpamayo_ros.training.dataset.reading import examples, open_dataset, verify
from alpamayo_ros.types import InvalidInput, ModelOutput, Request

SPLIT: Split = "train"  # what a bundle says on others is what it is measured by


def write_corpus(bundle: str, data: Sequence[Path], windows: int) -> dict[str, Any]:
    """Ask a bundle about so many windows, drawn from all of the data's, and write what it says as its `corpus.txt`.

    Texts without an end are left out and counted, and those that `read_corpus` would refuse. Raises InvalidInput where nothing
    is left, for an engine without a bundle, and for data of another profile; what was there stays then.
    """
    folder, profile = bundle_folder(bundle), bundle_profile(bundle)
    if folder is None:
        raise InvalidInput(f"{bundle} says nothing: want a model bundle's folder")
    if windows < 1:
        raise InvalidInput(f"want 1 window or more, got {windows}")
    opened = open_dataset(*data)
    if opened.profile != profile:
        raise InvalidInput(f"the data were made for profile {opened.profile.name}, {bundle} wants {profile.name}")
    verify(opened)
    asked = islice(examples(opened, SPLIT, seed=0, epoch=0), windows)
    with closing(open_engine(bundle)) as engine:
        watched = track(asked, "asking", total=windows, console=Console(stderr=True))
        answers = [engine.infer(example.observation, Request()) for example in watched]
    lines = _lines(answers, read_tokenizer(folder, read_config(folder)), meta_actions=profile.meta_actions)
    if not lines:
        raise InvalidInput(f"{bundle}: none of {len(answers)} texts came to an end in words: nothing to guess from")
    with whole_file(folder / CORPUS_FILE) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    return {
        "windows": len(answers),
        "lines": len(lines),
        "left_out": len(answers) - len(lines),
        "different": len(set(lines)),
        "files": [str(folder / CORPUS_FILE)],
    }


def _lines(answers: Sequence[ModelOutput], tokenizer: Tokenizer, *, meta_actions: bool) -> list[str]:
    """Of texts that came to an end and say something, in the order in which they were said."""
    lines: list[str] = []
    for line in (line_of(answer) for answer in answers if answer.complete[0] and answer.texts[0]):
        with suppress(InvalidInput):
            spelled(line, tokenizer, meta_actions=meta_actions)
            lines.append(line)
    return lines
