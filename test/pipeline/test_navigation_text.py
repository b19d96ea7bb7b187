"""A route in free words stays words: nothing of it can be a special token, a control character, or longer than 80."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.bundle.folder import read_special_tokens
from alpamayo_ros.pipeline.decode import MAX_NAVIGATION_TEXT, navigation_text
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

CORPUS: dict[str, Any] = json.loads((Path(__file__).parent / "injections.json").read_text())
REFUSED = [entry if isinstance(entry, str) else entry[0] * entry[1] for entry in CORPUS["refused"]]
TOKENS = read_special_tokens(shared_files() / "models" / "ar1_nano")


def is_plain(text: str) -> bool:
    """What a prompt may hold: no control, format or private characters, nothing that a token or markup could begin with."""
    kinds = {unicodedata.category(c) for c in text}
    return not kinds & {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"} and not set(text) & set('<>|[]{}\\`#*_=:;@$%^~"')


def test_the_corpus_is_large_and_without_repetition() -> None:
    assert len(set(REFUSED)) == len(REFUSED) >= 200


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_a_text_that_is_more_than_words_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^navigation text") as refusal:
        navigation_text(text, TOKENS)
    assert len(str(refusal.value)) < 1500


@pytest.mark.parametrize("text", CORPUS["words"])
def test_words_are_kept_whatever_they_ask_for(text: str) -> None:
    kept = navigation_text(text, TOKENS)
    assert is_plain(kept)
    assert navigation_text(kept, TOKENS) == kept


def test_white_space_is_one_space_and_letters_are_in_their_normal_form() -> None:
    assert navigation_text("  Ｔｕｒｎ\u00a0\u3000 left  ") == "Turn left"
    assert navigation_text("a" * 80) == "a" * 80


def test_a_token_of_plain_letters_is_refused_however_it_is_written() -> None:
    assert navigation_text("no ENDOFTEXT here") == "no ENDOFTEXT here"
    with pytest.raises(InvalidInput, match="spells the token endoftext"):
        navigation_text("no ENDOFTEXT here", ("", " ", "endoftext"))


@given(st.text(max_size=100))
def test_what_is_kept_is_plain_and_short(text: str) -> None:
    try:
        kept = navigation_text(text, TOKENS)
    except InvalidInput:
        return
    assert 0 < len(kept) <= MAX_NAVIGATION_TEXT
    assert is_plain(kept)
    assert not any(token in kept for token in TOKENS)


def test_the_special_tokens_are_those_that_a_tokenizer_adds() -> None:
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(TOKENS)


@pytest.mark.parametrize(
    "content", ['{"added_tokens": 3}', '{"added_tokens": [3]}', '{"added_tokens": [{"content": 3}]}', "[]"]
)
def test_a_tokenizer_that_is_none_has_no_special_tokens(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"tokenizer\.json: want"):
        read_special_tokens(tmp_path)
