"""Guesses at what is written next."""

from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.engine.speculation.drafts import LAST, REMEMBERED, ROOT, Memory, Tree, grown

TRACES = st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=8)


@given(TRACES, st.integers(0, 40))
def test_a_tree_holds_the_beginnings_of_its_guesses_and_nothing_else(guesses: list[list[int]], most: int) -> None:
    tree = grown(guesses, most)
    beginnings = {tuple(guess[:n]) for guess in guesses for n in range(1, len(guess) + 1)}
    said = [tuple(tree.tokens[node] for node in path) for path in tree.paths()]
    assert len(set(said)) == len(said)
    assert len(said) == min(most, len(beginnings))
    assert set(said) <= beginnings
    assert all(parent < node for node, parent in enumerate(tree.parents))


def test_first_guesses_are_whole_and_later_ones_take_what_is_left() -> None:
    tree = grown([[1, 2, 3], [1, 4], [5]], 4)
    assert tree == Tree((1, 2, 3, 4), (ROOT, 0, 1, 0))


def test_agreement_goes_as_far_as_the_network_says_what_was_guessed() -> None:
    tree = grown([[1, 2, 3], [1, 4]], 9)
    after = {"prompt": 1, 1: 4, 2: 9, 3: 9, 4: 7}
    assert tree.agreed([after["prompt"], after[1], after[2], after[3], after[4]]) == (0, 3)
    assert tree.agreed([8, 4, 9, 9, 7]) == ()
    assert tree.agreed([1, 2, 3, 9, 9]) == (0, 1, 2)


def test_the_newest_traces_of_the_drive_come_before_the_usual_ones() -> None:
    memory = Memory([[7, 7], [8, 8], [8, 8]])
    memory.remember([1, 2])
    memory.remember([3, 4])
    assert memory.tree(100).tokens == (3, 4, 1, 2, 8, 8, 7, 7)
    memory.forget()
    assert memory.tree(3).tokens == (8, 8, 7)


def test_a_drive_is_remembered_for_so_long() -> None:
    memory = Memory()
    for number in range(REMEMBERED + 5):
        memory.remember([number, 1000 + number])
    assert memory.tree(100).tokens[::2] == tuple(reversed(range(REMEMBERED + 5 - LAST, REMEMBERED + 5)))
    assert memory.following([5], 1) == (1005,)
    assert memory.following([4], 1) == (), "forgotten"


def test_what_follows_is_what_followed_the_longest_known_words_most_often() -> None:
    memory = Memory()
    for trace in ([1, 2, 3, 4], [9, 2, 3, 5], [9, 2, 3, 5]):
        memory.remember(trace)
    assert memory.following([9, 2, 3], 4) == (5,)
    assert memory.following([1, 2, 3], 4) == (4,), "three words outweigh two that are met more often"
    assert memory.following([6, 2, 3], 4) == (5,)
    assert memory.following([6], 4) == ()


def test_the_drive_is_asked_before_the_corpus() -> None:
    memory = Memory([[1, 2]] * 5)
    assert memory.following([1], 3) == (2,)
    memory.remember([1, 3])
    assert memory.following([1], 3) == (3,)


@given(TRACES, st.lists(st.integers(0, 5), max_size=5), st.integers(0, 20))
def test_never_more_is_guessed_than_asked_for(traces: list[list[int]], written: list[int], most: int) -> None:
    memory = Memory(traces[:4])
    for trace in traces[4:]:
        memory.remember(trace)
    assert len(memory.following(written, most)) <= most
    assert len(memory.tree(most).tokens) <= most
