"""Guesses at what is written next, from the last traces of this drive and from a corpus of others. No network, no training.

A guess costs one column of a forward pass that is made anyway, and is worth one forward pass where it is right. Whoever
verifies guesses keeps its own words: they can be late, never other ones. Source: SuffixDecoding (arXiv 2411.04975).
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

ROOT = -1
"""What stands before a trace: the prompt, as the parent of a first token."""

GUESSES = 64
"""Nodes of the tree that is verified together with a prompt."""

BLOCK = 16
"""Words of one pass behind it: the one that was written last, and guesses."""

LAST = 8
"""Traces of the drive whose whole wording may come again at once."""

REMEMBERED = 30
"""Traces of the drive that are searched for what followed the same words."""

LONGEST = 8
"""Words that are looked back: more are hardly ever met again, and say no more than these."""

Tokens = tuple[int, ...]


class Tree(NamedTuple):
    """Guesses that share their beginnings. Parents stand before their children."""

    tokens: Tokens
    parents: Tokens  # numbers of other nodes, or ROOT

    def paths(self) -> list[Tokens]:
        """For each node the numbers of those that lead to it, itself last."""
        leading: list[Tokens] = []
        for node, parent in enumerate(self.parents):
            leading.append((*(() if parent == ROOT else leading[parent]), node))
        return leading

    def agreed(self, chosen: Sequence[int]) -> Tokens:
        """The nodes along which the network chose what was guessed.

        `chosen`: what it writes after the prompt, then after each node.
        """
        child = {(parent, token): node for node, (token, parent) in enumerate(zip(self.tokens, self.parents, strict=True))}
        path: list[int] = []
        while (found := child.get((path[-1] if path else ROOT, chosen[path[-1] + 1 if path else 0]))) is not None:
            path.append(found)
        return tuple(path)


def grown(guesses: Iterable[Sequence[int]], most: int) -> Tree:
    """A tree of guesses, the first ones whole, until it has as many nodes as it may."""
    nodes: dict[tuple[int, int], int] = {}
    for guess in guesses:
        at = ROOT
        for token in guess:
            if (at, token) not in nodes and len(nodes) == most:
                break
            at = nodes.setdefault((at, token), len(nodes))
    return Tree(tuple(token for _, token in nodes), tuple(parent for parent, _ in nodes))


class Memory:
    """Traces that were said: those of this drive, newest last, and a corpus in the order of how often each is said."""

    def __init__(self, corpus: Sequence[Sequence[int]] = ()) -> None:
        self._corpus = _Continuations()
        self._usual = tuple(Counter(map(tuple, corpus)).items())
        self._usual = tuple(sorted(self._usual, key=lambda item: -item[1]))
        for trace, times in self._usual:
            self._corpus.count(trace, times)
        self.forget()

    def forget(self) -> None:
        """Begin a drive."""
        self._drive: deque[Tokens] = deque()
        self._lately = _Continuations()

    def remember(self, trace: Sequence[int]) -> None:
        """Take what was written at last."""
        self._drive.append(tuple(trace))
        self._lately.count(trace, 1)
        if len(self._drive) > REMEMBERED:
            self._lately.count(self._drive.popleft(), -1)

    def tree(self, most: int) -> Tree:
        """Whole traces that may come again, the newest first, then the usual ones."""
        newest = islice(reversed(self._drive), LAST)
        return grown([*newest, *(trace for trace, _ in islice(self._usual, most))], most)

    def following(self, written: Sequence[int], most: int) -> Tokens:
        """What followed the same last words, one word after the other: after the longest that are known, and most often."""
        context, guess = [ROOT, *written][-LONGEST:], list[int]()
        while len(guess) < most and (token := self._next(context)) is not None:
            guess.append(token)
            context = [*context, token][-LONGEST:]
        return tuple(guess)

    def _next(self, context: Sequence[int]) -> int | None:
        for start in range(len(context)):
            known = tuple(context[start:])
            if (token := self._lately.after(known)) is not None or (token := self._corpus.after(known)) is not None:
                return token
        return None


class _Continuations:
    """How often which token followed the last words of traces."""

    def __init__(self) -> None:
        self._followed: defaultdict[Tokens, Counter[int]] = defaultdict(Counter)

    def count(self, trace: Sequence[int], times: int) -> None:
        """Count a trace, or no longer."""
        said = (ROOT, *trace)
        for end in range(1, len(said)):
            for start in range(max(0, end - LONGEST), end):
                followed = self._followed[said[start:end]]
                followed[said[end]] += times
                if not followed[said[end]]:
                    del followed[said[end]]
                if not followed:
                    del self._followed[said[start:end]]

    def after(self, words: Tokens) -> int | None:
        """What came most often after these; of equals the one that came first."""
        followed = self._followed.get(words)
        return max(followed, key=followed.__getitem__) if followed else None
