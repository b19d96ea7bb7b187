"""Traces that a bundle expects to be said often: `corpus.txt`, one a line, the more often the more lines. It is not needed."""

from __future__ import annotations

from pathlib import Path

from alpamayo_ros.model.tokens import Tokenizer, plain
from alpamayo_ros.types import InvalidInput

CORPUS_FILE = "corpus.txt"


def read_corpus(folder: Path, tokenizer: Tokenizer, *, meta_actions: bool) -> list[tuple[int, ...]]:
    """Token ids of each trace, up to where the meta-actions or the trajectory begin; none where a bundle has no corpus.

    Raises InvalidInput for a file that is no text, and for special tokens in it.
    """
    path = folder / CORPUS_FILE
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: {error}") from error
    following = "<|meta_action_start|>" if meta_actions else "<|traj_future_start|>"
    end = (tokenizer.id("<|cot_end|>"), tokenizer.id(following))
    known: dict[str, tuple[int, ...]] = {}
    for line in lines:
        if line not in known:
            known[line] = (*tokenizer.encode(plain(line, str(path))), *end)
    return [known[line] for line in lines if line]
