"""Texts behind a prompt, with guesses at what comes next verified in the passes that read what was written.

Every token is chosen from the network's own logits with the numbers that decide it in the reference, so that right guesses
save passes and wrong ones change nothing: greedy or drawn, the words are the same. What was written is then read once more, all
of it side by side, in passes of one size: not even rounding tells how the words were found. Every text is held against what
these passes would write: in bfloat16 two words are often equally likely, and which one a pass prefers depends on its size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.fast.prompt import WIDTHS, Prompt, Word, width_of
from alpamayo_ros.engine.speculation.drafts import BLOCK, ROOT, Memory
from alpamayo_ros.model.sample import chosen
from alpamayo_ros.types import Request


class Rules(NamedTuple):
    """How words are chosen, and when a text is at its end."""

    request: Request
    uniform: Tensor | None  # (limit, rows, 1); None where the likeliest are taken
    ends: Collection[int]
    barred: slice  # ids that are never written
    told: Sequence[int] | None = None  # what is written whatever the network would choose: for benchmarks


@dataclass
class Text:
    """What was written in a row, and the slots of those words that were read again."""

    row: int
    limit: int
    tokens: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    ended: int | None = None

    @property
    def is_written(self) -> bool:
        """Whether no word follows."""
        return self.ended is not None or len(self.tokens) == self.limit

    def take(self, tokens: Sequence[int], slots: Sequence[int], ends: Collection[int]) -> None:
        """Words that were chosen, the first of which were guessed and lie in slots already."""
        for token, slot in zip_longest(tokens, slots):
            if self.is_written:
                break
            self.tokens.append(token)
            if slot is not None:
                self.slots.append(slot)
            if token in ends:
                self.ended = token

    def put_right(self, after: Sequence[int], ends: Collection[int]) -> bool:
        """Cut the text where other words belong behind those it has; whether it was."""
        for place, token in enumerate(after[: len(self.tokens) - 1], 1):
            if self.tokens[place] != token:
                self.tokens, self.slots = [*self.tokens[:place], token], self.slots[:place]
                self.ended = token if token in ends else None
                return True
        return False


def write(network: Network, prompt: Prompt, rows: int, rules: Rules, memory: Memory, most: int) -> list[Text]:
    """Read a prompt and write texts behind it, with a tree of at most so many guesses in the same pass."""
    limit = rules.request.max_tokens
    texts = [Text(row, limit) for row in range(rows)]
    first, position = prompt.first_slot, int(prompt.positions.max()) + 1
    tree = memory.tree(most)
    paths = tree.paths()
    guessed = [
        Word(tree.tokens[path[-1]], position + len(path) - 1, first + path[-1], [first + node for node in path[:-1]])
        for path in paths
    ]
    logits = network.begin(prompt, guessed, most, most + rows * (limit + BLOCK) + network.again)
    for text in texts:
        after = _chosen(logits, [(len(path), text.row) for path in ((), *paths)], rules)
        agreed = tree.agreed(after)
        text.take([after[node + 1] for node in (ROOT, *agreed)], [first + node for node in agreed], rules.ends)
    while True:
        while unwritten := [text for text in texts if not text.is_written]:
            _go_on(network, texts, unwritten, first, position, rules, memory)
        if _stand(network, texts, first, position, rules):
            return texts


def _go_on(
    network: Network, texts: Sequence[Text], unwritten: Sequence[Text], first: int, position: int, rules: Rules, memory: Memory
) -> None:
    """One pass: the last word of every text, and behind it what may follow."""
    taken = {slot for text in texts for slot in text.slots}
    free = (slot for slot in count(first) if slot not in taken)
    share = min(BLOCK, WIDTHS[-1] // len(unwritten)) - 1
    words: list[Word] = []
    blocks: list[tuple[Text, list[Word]]] = []
    for text in unwritten:
        following = memory.following(text.tokens, min(share, text.limit - len(text.tokens)))
        block: list[Word] = []
        for token in (text.tokens[-1], *following):
            at = len(text.slots) + len(block)
            block.append(Word(token, position + at, next(free), [*text.slots, *(word.slot for word in block)]))
        blocks.append((text, block))
        words += block
    places = [(len(text.slots) + 1 + i, text.row) for text, block in blocks for i in range(len(block))]
    after = _chosen(network.go_on(words, width_of(len(words))), places, rules)
    for text, block in blocks:
        _judge(text, block, after[: len(block)], rules)
        after = after[len(block) :]


def _stand(network: Network, texts: Sequence[Text], first: int, position: int, rules: Rules) -> bool:
    """Read every word of every text again, in slots of their own from the first on; whether they stand.

    A text is cut where another word belongs. Its place among these passes is a matter of the texts before it alone, so that one
    after the other comes to what the prompt and the words themselves say, however they were found.
    """
    slot = count(first)
    words: list[Word] = []
    places: list[tuple[int, int]] = []
    for text in texts:
        text.slots = [next(slot) for _ in text.tokens]
        words += [Word(token, position + at, text.slots[at], text.slots[:at]) for at, token in enumerate(text.tokens)]
        places += [(at + 1, text.row) for at in range(len(text.tokens))]
    after: list[int] = []
    for at in range(0, len(words), network.again):
        some = words[at : at + network.again]
        filled = [*some, *(Word(0, position, next(slot), ()) for _ in range(network.again - len(some)))]
        logits = network.go_on(filled, network.again)[: len(some)]
        after += _chosen(logits, places[at : at + network.again], rules)
    stand = True
    for text in texts:
        own, after = after[: len(text.tokens)], after[len(text.tokens) :]
        stand = not text.put_right(own, rules.ends) and stand
    return stand


def _judge(text: Text, block: Sequence[Word], after: Sequence[int], rules: Rules) -> None:
    """Take from a block what the network would have written, too."""
    text.slots.append(block[0].slot)
    right = 0
    while right + 1 < len(block) and block[right + 1].token == after[right]:
        right += 1
    text.take(after[: right + 1], [word.slot for word in block[1 : right + 1]], rules.ends)


def _chosen(logits: Tensor, places: Sequence[tuple[int, int]], rules: Rules) -> list[int]:
    """Ids for logits (N, V), each at its place in its row."""
    if rules.uniform is None:
        uniform = None
    else:
        last = len(rules.uniform) - 1
        uniform = torch.stack([rules.uniform[min(index, last), row] for index, row in places])
    permitted = logits.clone()
    permitted[:, rules.barred] = -torch.inf
    ids: list[int] = chosen(permitted, uniform, rules.request).tolist()
    return ids if rules.told is None else [rules.told[min(index, len(rules.told) - 1)] for index, _ in places]
