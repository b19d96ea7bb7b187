"""The small vocabulary: the shipped file is the one that the code makes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model.nano import BUNDLE

from alpamayo_ros.training.vocabulary import PROMPTS, SIZE, SPECIAL, train_vocabulary

VOCABULARY = train_vocabulary()


def test_the_shipped_tokenizer_is_the_trained_one() -> None:
    assert json.loads((BUNDLE / "tokenizer.json").read_text()) == json.loads(VOCABULARY.to_str())
    assert VOCABULARY.get_vocab_size() == SIZE
    assert [VOCABULARY.token_to_id(token) for token in SPECIAL] == list(range(len(SPECIAL)))


@given(st.text(max_size=50))
def test_any_text_survives(text: str) -> None:
    assert VOCABULARY.decode(VOCABULARY.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("".join(PROMPTS[3:5]), 26), ("Stop at the stop sign because the lead vehicle is stopped.", 16), ("Turn left in 35m", 7)],
)
def test_what_is_said_at_every_plan_is_short(text: str, tokens: int) -> None:
    assert len(VOCABULARY.encode(text).ids) <= tokens
