"""The network on this machine's device: passes with memory of their own, and a store that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.engine.fast.prompt import WIDTHS, Cut, Prompt, Word
from alpamayo_ros.engine.graphed.fused import fused, in_eight_bits
from alpamayo_ros.engine.graphed.passes import FlowPass, LanguagePass, Store, VisionPass, Words
from alpamayo_ros.engine.speculation.drafts import BLOCK, GUESSES
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images, Scene
from alpamayo_ros.types import U8, EngineFailure

ROUTE = 128
"""Slots for a route in words, beyond those of the first prompts, which have none: what is recorded is not dropped for one."""

REACH = 64
"""Passes look at whole multiples of so many slots: those of about as long texts share a stage."""


class GraphedNetwork:
    """A network on one device."""

    def __init__(self, model: Alpamayo, image_height: int, image_width: int, cameras: int, *, in_fp8: bool = False) -> None:
        """Images of one time, as many as there are cameras, are looked at together; one by one where prompts are read as they
        come.

        `in_fp8`: the language model's matrices in eight bits. The last one and the expert's bear it worst, and stay."""
        self._model = model
        self.batch = cameras if model.config.views is not None else 1
        self._vision: VisionPass | None = VisionPass(model, image_height, image_width, self.batch)
        # A CPU pays for every column, and for every pass: three blocks hold most texts of ar1_nano (docs/engines.md).
        self.guesses, self.again = (GUESSES, WIDTHS[-1]) if model.vlm.lm_head.weight.is_cuda else (3 * BLOCK, 3 * BLOCK)
        self._layers = fused(model.vlm.model.language_model, in_eight_bits if in_fp8 else None)
        self._expert = fused(model.expert)
        self._passes: dict[tuple[int, int, int, int], LanguagePass] = {}
        self._flows: dict[tuple[int, int, int], FlowPass] = {}
        self._store = Store(torch.empty(0, 0, 0, 0), torch.empty(0, 0, 0, 0))
        self._prompt_length = 0
        self._read: tuple[Cut, ...] = ()

    def look(self, images: Sequence[U8]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Network.look`. Raises EngineFailure where it is closed."""
        if self._vision is None:
            raise EngineFailure("this engine is closed: open another one")
        return self._vision(images)

    def scene(self, tokens: Tensor, deepstack: tuple[Tensor, ...], images: Images) -> Scene:
        """As `Network.scene`."""
        return self._model.scene(tokens, deepstack, images)

    def forget(self) -> None:
        """As `Network.forget`. The memory stays where it is: graphs were recorded on it."""
        self._read = ()
        for held in self._store:
            held.zero_()

    def close(self) -> None:
        """As `Network.close`."""
        for held in (self._passes, self._flows, self._layers, self._expert):
            held.clear()
        self._vision = None
        self._model.to("meta")
        self._store = Store(torch.empty(0, 0, 0, 0), torch.empty(0, 0, 0, 0))

    def read_ahead(self, prompt: Prompt, cuts: Sequence[Cut]) -> None:
        """Read the beginning of a prompt up to the last of these cuts, but for what was read already."""
        self._reserve(max((cut.end for cut in cuts), default=0))
        same = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(self._read, cuts, strict=False)))
        self._read = self._read[:same]  # what fails on the way is not taken for read
        for start, cut in list(pairwise((Cut(0, None), *cuts)))[same:]:
            self._pass(start.end, cut.end, 0, 0)(prompt.part(start.end, cut.end), self._placed([], 0, 0))
        self._read = tuple(cuts)

    def begin(self, prompt: Prompt, words: Sequence[Word], width: int, room: int) -> Tensor:
        """Logits (1 + n, V) after a prompt and after each of n words that are guessed to follow, in a pass for `width` words.

        Words have slots from `first_slot` of the prompt on; there is memory for `room` of them. Parts up to the cuts are read
        one by one whether they are known or not, so that rounding does not tell.
        """
        length, first = len(prompt.token_ids), prompt.first_slot
        self._reserve(first + room)
        self.read_ahead(prompt, prompt.cuts)
        self._prompt_length, start = length, prompt.last_cut
        last = self._pass(start, first, width, first + width)
        return last(prompt.part(start, length), self._placed(words, width, first + width))[: 1 + len(words)]

    def go_on(self, words: Sequence[Word], width: int) -> Tensor:
        """Logits (n, V) after each of n more words, in a pass for `width`."""
        last = max(slot for word in words for slot in (*word.looks_at, word.slot))
        reach = _reached(last + 1 + width)  # where recording leaves its words lies behind all of these
        return self._pass(0, 0, width, reach)(None, self._placed(words, width, reach))[: len(words)]

    def denoise(self, noise: Tensor, behind: Sequence[tuple[int, Sequence[int]]], steps: int) -> Tensor:
        """Actions (S, 64, 2) float32 on the CPU from noise alike; for each sample the position of its first action, and the
        slots of its words."""
        reach = _reached(max([self._prompt_length, *(slot + 1 for _, slots in behind for slot in slots)]))
        key = (len(noise), steps, reach)
        if key not in self._flows:
            self._flows[key] = FlowPass(self._model, self._expert, self._store, *key)
        positions = torch.tensor([position for position, _ in behind])
        return self._flows[key](noise, positions, self._masks([slots for _, slots in behind], reach)).cpu()

    def _pass(self, start: int, end: int, width: int, reach: int) -> LanguagePass:
        key = (start, end, width, reach)
        if key not in self._passes:
            self._passes[key] = LanguagePass(self._model, self._layers, self._store, *key)
        return self._passes[key]

    def _placed(self, words: Sequence[Word], width: int, reach: int) -> Words:
        """As tensors of a pass's width: columns without a word look at themselves, in slots at which nobody looks."""
        spare = [Word(0, 0, reach - 1 - column, ()) for column in range(width - len(words))]
        every = [*words, *spare]
        tokens, positions, slots = torch.tensor([word[:3] for word in every], dtype=torch.long).view(-1, 3).T
        return Words(tokens, positions, slots, self._masks([(*word.looks_at, word.slot) for word in every], reach))

    def _masks(self, slots: Sequence[Sequence[int]], reach: int) -> Tensor:
        """(n, reach): the prompt, and so many slots behind it."""
        masks = np.zeros((len(slots), reach), bool)
        masks[:, : self._prompt_length] = True
        for mask, own in zip(masks, slots, strict=True):
            mask[list(own)] = True
        return torch.from_numpy(masks)

    def _reserve(self, slots: int) -> None:
        """Have memory for so many slots, and for the columns of a pass that have no word."""
        if _reached(slots + WIDTHS[-1]) <= self._store.slots:
            return
        wanted = _reached(slots + WIDTHS[-1] + ROUTE)
        text, like = self._model.config.text, self._model.vlm.lm_head.weight
        shape = (text.num_hidden_layers, text.num_key_value_heads, wanted, text.head_dim)
        self._read = ()
        self._passes.clear()  # they hold on to the memory that was
        self._flows.clear()
        self._store = Store(like.new_zeros(0, 0, 0, 0), like.new_zeros(0, 0, 0, 0))  # before there is more: both would not fit
        self._store = Store(like.new_zeros(shape), like.new_zeros(shape))


def _reached(slots: int) -> int:
    """How many slots a pass looks at that needs so many."""
    return -(-slots // REACH) * REACH
