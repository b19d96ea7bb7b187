"""Traces that a bundle expects to be said often: `corpus.txt`, one a line, the more often the more lines. It is not needed."""

from __future__ import annotations

from pathlib import Path

from alpamayo_ros.model.tokens import Tokenizer, plain
from alpamayo_ros.types import InvalidInput

CORPUS_FILE = "corpus.txt"
FIX = "want UTF-8 text, one trace a line, of words alone: put it right, or remove the file, which no bundle needs"


def read_corpus(folder: Path, tokenizer: Tokenizer, *, meta_actions: bool) -> list[tuple[int, ...]]:
    """Token ids of each trace, up to where the meta-actions or the trajectory begin; none where a bundle has no corpus.

    Raises InvalidInput for what is no file or no text, and for lines with control characters or special tokens.
    """
    path = folder / CORPUS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}: {FIX}") from error
    following = "<|meta_action_start|>" if meta_actions else "<|traj_future_start|>"
    end = (tokenizer.id("<|cot_end|>"), tokenizer.id(following))
    known: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, 1):
        if line not in known:
            known[line] = (*_encoded(line, f"{path}, line {number}", tokenizer), *end)
    return [known[line] for line in lines if line]


def _encoded(line: str, where: str, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(plain(line, "trace"))
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}: {FIX}") from error
