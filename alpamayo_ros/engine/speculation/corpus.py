"""Traces that a bundle expects to be said often: `corpus.txt`, one a line, the more often the more lines. It is not needed.

Behind a trace and a tab stand the meta-actions that were said with it, where a bundle states them. Without them a trace is
guessed as far as where they begin.
"""

from __future__ import annotations

from pathlib import Path

from alpamayo_ros.model.tokens import Tokenizer, plain
from alpamayo_ros.types import InvalidInput, ModelOutput

CORPUS_FILE = "corpus.txt"
FIX = "want UTF-8 text, a line for each trace, of words alone: put it right, or remove the file, which no bundle needs"


def read_corpus(folder: Path, tokenizer: Tokenizer, *, meta_actions: bool) -> list[tuple[int, ...]]:
    """Token ids of each trace, up to where the trajectory begins; none where a bundle has no corpus.

    Raises InvalidInput for what is no file or no text, and as `spelled`.
    """
    path = folder / CORPUS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}: {FIX}") from error
    known: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, 1):
        if line not in known:
            known[line] = _read(line, f"{path}, line {number}", tokenizer, meta_actions=meta_actions)
    return [known[line] for line in lines if line]


def _read(line: str, where: str, tokenizer: Tokenizer, *, meta_actions: bool) -> tuple[int, ...]:
    try:
        return spelled(line, tokenizer, meta_actions=meta_actions)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}: {FIX}") from error


def spelled(line: str, tokenizer: Tokenizer, *, meta_actions: bool) -> tuple[int, ...]:
    """Token ids of a line, as a bundle that states meta-actions, or none, writes them.

    Raises InvalidInput for control characters, special tokens, and meta-actions of a bundle that states none.
    """
    trace, tab, actions = line.partition("\t")
    words = (*tokenizer.encode(plain(trace, "trace")), tokenizer.id("<|cot_end|>"))
    start = tokenizer.id("<|traj_future_start|>")
    if not meta_actions:
        if tab:
            raise InvalidInput(f"meta-actions {actions!r} behind a tab, and this bundle states none")
        return (*words, start)
    words = (*words, tokenizer.id("<|meta_action_start|>"))
    if not tab:
        return words
    return (*words, *tokenizer.encode(plain(actions, "meta-actions")), tokenizer.id("<|meta_action_end|>"), start)


def line_of(answer: ModelOutput) -> str:
    """The first text of an answer as a line."""
    actions = answer.meta_actions[0] if answer.meta_actions else ""
    return f"{answer.texts[0]}\t{actions}" if actions else answer.texts[0]
