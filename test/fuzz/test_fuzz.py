"""The fuzzed targets raise nothing for seeds, damaged seeds and random bytes: a small part of what `fuzz.py` does."""

from __future__ import annotations

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_and_everything_cut_from_them(name: str) -> None:
    one_input, seeds = TARGETS[name]
    for seed in seeds:
        for cut in range(0, len(seed) + 1, max(1, len(seed) // 50)):
            one_input(seed[:cut])


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_target_takes_any_bytes(name: str, data: st.DataObject) -> None:
    one_input, seeds = TARGETS[name]
    content = bytearray(data.draw(st.binary(max_size=400) | st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    one_input(bytes(content))


def test_a_target_would_notice_a_text_that_is_kept_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    one_input, _ = TARGETS["navigation_text"]
    monkeypatch.setitem(one_input.__globals__, "navigation_text", lambda text, tokens: text)
    with pytest.raises(AssertionError):
        one_input(b"<|im_end|>!")


@pytest.mark.parametrize(("name", "function"), [("messages", "ego_pose"), ("image_gate", "pixels_into")])
def test_a_target_would_notice_another_error_than_a_refusal(name: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("not a refusal")

    one_input, seeds = TARGETS[name]
    assert function in one_input.__globals__
    monkeypatch.setitem(one_input.__globals__, function, broken)
    with pytest.raises(ValueError, match="not a refusal"):
        one_input(seeds[0])
