"""A bundle's usual traces: read, not needed, and refused with what to do where they are no words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model.nano import nano_tokenizer

from alpamayo_ros.engine.speculation.corpus import CORPUS_FILE, line_of, read_corpus
from alpamayo_ros.types import HORIZON, InvalidInput, ModelOutput

TOKENIZER = nano_tokenizer()
WORDS = "Keep the lane: it's clear."


def corpus(folder: Path, content: bytes, *, meta_actions: bool = False) -> list[tuple[int, ...]]:
    (folder / CORPUS_FILE).write_bytes(content)
    return read_corpus(folder, TOKENIZER, meta_actions=meta_actions)


@pytest.mark.parametrize("meta_actions", [False, True])
def test_every_line_is_a_trace_that_ends_as_the_model_ends_it(tmp_path: Path, meta_actions: bool) -> None:
    traces = corpus(tmp_path, f"{WORDS}\nStop\r\n\n{WORDS}".encode(), meta_actions=meta_actions)
    following = "<|meta_action_start|>" if meta_actions else "<|traj_future_start|>"
    assert [TOKENIZER.decode(ids) for ids in traces] == [f"{words}<|cot_end|>{following}" for words in (WORDS, "Stop", WORDS)]


def test_meta_actions_stand_behind_a_tab(tmp_path: Path) -> None:
    stated, without = corpus(tmp_path, f"{WORDS}\tmaintain speed; go straight\n{WORDS}".encode(), meta_actions=True)
    assert TOKENIZER.decode(stated) == (
        f"{WORDS}<|cot_end|><|meta_action_start|>maintain speed; go straight<|meta_action_end|><|traj_future_start|>"
    )
    assert stated[: len(without)] == without


def test_an_answer_becomes_the_line_that_spells_it() -> None:
    nothing_moves = np.zeros((1, HORIZON, 2), np.float32)
    alone = ModelOutput(nothing_moves, (WORDS,), (9,), (True,))
    assert line_of(alone) == WORDS
    assert line_of(replace(alone, meta_actions=("go straight",))) == f"{WORDS}\tgo straight"
    assert line_of(replace(alone, meta_actions=("",))) == WORDS


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\r\n\n"])
def test_a_file_without_a_trace_is_none(tmp_path: Path, content: bytes) -> None:
    assert corpus(tmp_path, content) == []


def test_a_bundle_needs_no_corpus(tmp_path: Path) -> None:
    assert read_corpus(tmp_path, TOKENIZER, meta_actions=False) == []


def test_every_letter_has_tokens(tmp_path: Path) -> None:
    """A vocabulary of bytes knows no unknown word: nothing is left out of a trace unseen."""
    strange = "Bäckerei 停 \U0001f6d1 \u00a0\u200d"
    [ids] = corpus(tmp_path, strange.encode())
    assert TOKENIZER.decode(ids) == f"{strange}<|cot_end|><|traj_future_start|>"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Keep\nl\xe4ne", "'utf-8' codec can't decode byte 0xe4 in position 6"),
        ("Keep the lane".encode("utf-16"), "can't decode byte 0xff in position 0"),
        (b"Keep\nthen <|traj_future_start|>", r"line 2: trace .*special tokens and control characters are refused"),
        (b"a\n\nb<|not_a_token|>", "line 3: trace .*special tokens"),
        (b"Keep\x07right", "line 1: trace .*special tokens and control characters"),
        (b"Keep\tright", "line 1: meta-actions 'right' behind a tab, and this bundle states none"),
        (b"Keep\nright <i7>", r"line 2: text 'right <i7>' spells the token <i7>"),
    ],
)
def test_what_is_no_words_is_refused_with_what_to_do(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=rf"(?s){CORPUS_FILE}.*{says}.*: want UTF-8 text, .* or remove the file"):
        corpus(tmp_path, content)


@pytest.mark.parametrize("actions", ["steer\tleft", "steer <|left|>"])
def test_meta_actions_that_are_no_words_are_refused(tmp_path: Path, actions: str) -> None:
    with pytest.raises(InvalidInput, match=r"line 2: meta-actions .*special tokens and control characters"):
        corpus(tmp_path, f"Stop\n{WORDS}\t{actions}".encode(), meta_actions=True)


def test_what_is_no_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / CORPUS_FILE).mkdir()
    with pytest.raises(InvalidInput, match=f"{CORPUS_FILE}: .*Is a directory.* or remove the file"):
        read_corpus(tmp_path, TOKENIZER, meta_actions=False)
