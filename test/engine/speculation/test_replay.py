"""Replayed traces: what is counted, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.engine.speculation.replay import ENDS, WORD, bench_speculation, passes_of, read_traces
from alpamayo_ros.types import InvalidInput

SHARED = Path(__file__).parents[4] / "shared" / "data" / "ar1_traces" / "consecutive_windows.json"


def simulated(trace: Sequence[int], memory: Memory, guesses: int, block: int) -> int:
    """The same by asking word for word."""
    tree = memory.tree(guesses)
    said = {tuple(tree.tokens[node] for node in path) for path in tree.paths()}
    known = max([n for n in range(len(trace) + 1) if n == 0 or tuple(trace[:n]) in said]) + 1
    passes = 0
    while known < len(trace):
        guess = memory.following(trace[:known], block - 1)
        while guess and known < len(trace) and guess[0] == trace[known]:
            guess, known = guess[1:], known + 1
        known, passes = known + 1, passes + 1
    return passes


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 9), st.integers(1, 5)
)
def test_passes_are_those_of_a_verifier_that_asks_word_for_word(traces: list[list[int]], guesses: int, block: int) -> None:
    memory = Memory(traces[1:])
    assert passes_of(traces[0], memory, guesses, block) == simulated(traces[0], memory, guesses, block)


def test_without_guesses_every_word_but_the_first_is_a_pass_and_with_its_own_none() -> None:
    trace = list(range(20))
    assert passes_of(trace, Memory(), 64, 16) == 19
    assert passes_of(trace, Memory([trace]), 64, 16) == 0
    assert passes_of(trace, Memory([trace]), 0, 16) == 2, "its first word, then 16 and the rest"


def test_words_are_counted_as_pinned() -> None:
    words = ["<|im_end|>", "Stop", " at", " 1", "2", " m", ",", " it", "'s", " red", ".<|", "\n"]
    assert WORD.findall("".join(words)) == words
    assert len(ENDS) == 2


def test_a_drive_is_never_guessed_from_what_it_says_later(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps({"one": ["a b c", "a b c"], "other": ["x y z"]}))
    figures = bench_speculation(path, tmp_path / "out")["ways"]
    assert [figures[name]["mean_forwards"] for name in figures] == [4.0, pytest.approx(8 / 3), pytest.approx(8 / 3)]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"speculation.json", "speculation.md", "speculation.png"}


recorded = pytest.mark.skipif(not SHARED.exists(), reason=f"no recorded traces at {SHARED}")


@recorded
def test_real_traces_take_about_a_third_of_the_passes_with_a_corpus_of_seven_drives(tmp_path: Path) -> None:
    some = dict(list(read_traces(SHARED).items())[:8])
    (tmp_path / "traces.json").write_text(json.dumps(some))
    told = bench_speculation(tmp_path / "traces.json", tmp_path / "out")
    assert told["ratio"] >= 2.9


@pytest.mark.thorough
@recorded
def test_all_recorded_traces_take_less_than_a_third_of_the_passes(tmp_path: Path) -> None:
    """As docs/engines.md has them; also with the pass that reads every text once more, and the one that reads a last token
    where nothing is guessed."""
    told = bench_speculation(SHARED, tmp_path)
    assert (told["traces"], told["drives"]) == (4753, 49)
    assert told["ratio"] >= 3.3
    assert (told["plain_forwards"] + 1) / (told["mean_forwards"] + 1) >= 3.3
    assert told["ways"]["drafts of this drive"]["mean_forwards"] > 1.1 * told["mean_forwards"], "other drives are worth knowing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "Expecting value"),
        ("[1, 2]", "want {drive: "),
        ('{"a": ["x"], "b": [3]}', "want {drive: "),
        ('{"a": ["x"]}', r"two drives at least, got \[1\]"),
        ('{"a": ["x"], "b": []}', r"got \[1, 0\]"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "traces.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_traces(path)
