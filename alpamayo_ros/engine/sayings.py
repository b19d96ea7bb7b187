"""What engines are told to say while they are timed: drawn words, or the traces of recorded drives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Protocol

import numpy as np

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.engine.speculation.drafts import REMEMBERED, Memory, Tokens
from alpamayo_ros.engine.speculation.replay import ENDS, numbered
from alpamayo_ros.types import InvalidInput

PLAIN = 250
"""Drawn ids are below this: words of any vocabulary."""

DRIVES = 8
"""So many drives are replayed, evenly over all: a memory of all others takes a second or two each."""

STRIDE = 11
"""Traces between those that are replayed of a drive."""


class Sayings(Protocol):
    """Texts, one after another."""

    def next(self) -> tuple[list[int] | None, Memory | None]:
        """Ids, the end among them, None where nothing is written; and what is known by then, None: what was said before."""
        ...


class Drawn:
    """Texts of a given length, of which a share is as in the one before."""

    def __init__(self, config: Config, words: int, known: float, seed: int) -> None:
        self._rng, self._count, self._known = np.random.default_rng(seed), words, round(known * words)
        self._words, self._end = words_of(config, PLAIN), config.token_ids["future_start"]
        self._last = self._new(words)

    def next(self) -> tuple[list[int] | None, Memory | None]:
        """As `Sayings`."""
        if not self._count:
            return None, None
        self._last = [*self._last[: self._known], *self._new(self._count - self._known)]
        return [*self._last, self._end], None

    def _new(self, some: int) -> list[int]:
        return [self._words[place] for place in self._rng.integers(0, len(self._words), some)]


class Replayed:
    """Traces of recorded drives, each with those before it in its own drive and with all of the others known."""

    def __init__(self, traces: Mapping[str, Sequence[str]], config: Config) -> None:
        """Raises InvalidInput for more different words than the model has."""
        drives = list(_spelled(traces, config).values())
        chosen = [drives[place] for place in np.linspace(0, len(drives) - 1, min(DRIVES, len(drives))).astype(int)]
        self._drives = [(own, Memory([text for other in drives if other is not own for text in other])) for own in chosen]
        self.begin()
        self.longest = max(len(text) for own in chosen for text in own)

    def begin(self) -> None:
        """From the first trace on."""
        self._numbers: Iterator[int] = count()

    def next(self) -> tuple[list[int] | None, Memory | None]:
        """As `Sayings`."""
        turn, place = divmod(next(self._numbers), len(self._drives))
        texts, memory = self._drives[place]
        at = (1 + turn * STRIDE) % len(texts)
        memory.forget()
        for text in texts[max(0, at - REMEMBERED) : at]:
            memory.remember(text)
        return list(texts[at]), memory


def words_of(config: Config, most: int) -> list[int]:
    """Ids below `most` at which no text ends; they need not be words that anybody says."""
    ends = {config.eos_token_id, *config.token_ids.values()}
    return [token for token in range(min(most, config.traj_token_start + config.traj_vocab_size)) if token not in ends]


def _spelled(traces: Mapping[str, Sequence[str]], config: Config) -> dict[str, list[Tokens]]:
    """Every word as an id of the model, the same for the same word, and the end as the model's own."""
    drives, numbers = numbered(traces)
    words = words_of(config, config.traj_token_start + config.traj_vocab_size)
    if len(numbers) > len(words):
        raise InvalidInput(f"traces of {len(numbers)} different words, the model has {len(words)}")
    end = numbers[ENDS[-1]]
    ids = {number: config.token_ids["future_start"] if number == end else words[number] for number in numbers.values()}
    return {drive: [tuple(ids[number] for number in text) for text in said] for drive, said in drives.items()}
