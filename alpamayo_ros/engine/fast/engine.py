"""An engine that computes nothing twice, on whatever network: frames, prompts and words are had before they are needed.

What it answers is what the reference answers. The random numbers are the reference's, too, in the reference's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.eager import out_of_memory_told
from alpamayo_ros.engine.fast.ahead import KEPT, Arrivals
from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.fast.prompt import Prompt, cuts_of
from alpamayo_ros.engine.fast.sight import Sight, joined
from alpamayo_ros.engine.fast.writing import Rules, Text, write
from alpamayo_ros.engine.speculation.corpus import read_corpus
from alpamayo_ros.engine.speculation.drafts import BLOCK, Memory
from alpamayo_ros.model.language import rope_positions
from alpamayo_ros.model.prompt import Mode, named_images, observed_frames, prompt_ids
from alpamayo_ros.model.sample import output, uniforms
from alpamayo_ros.model.tokens import Tokenizer
from alpamayo_ros.model.vision import Scene, image_blocks
from alpamayo_ros.profile import Pruning
from alpamayo_ros.types import HORIZON, CameraFrame, EngineFailure, InvalidInput, ModelOutput, Observation, Request

UNPRUNED = Pruning(prefill_keep=1.0, decode_keep=1.0)


LATE_NS = 500_000_000
"""An answer may be asked for so long after its newest frame: what came meanwhile must not push out its oldest."""

WARMED = ("cuda",)
"""Kinds of devices on which a first answer takes seconds: what it needs is loaded, or recorded, then."""

_ANY_WORD, _OTHER_WORD = 0, 1  # of every vocabulary here

_WARMED_WORDS = (4 * BLOCK, BLOCK)
"""So long are texts that are told to warm up: what is between them looks at as many slots as one or the other."""

Answering = Callable[[Observation, Request], ModelOutput]


class Asked(NamedTuple):
    """What was asked last."""

    prompt: Prompt
    roles: list[str]  # of its cameras, in order


class FastEngine:
    """A bundle's network behind the contract of engines.

    `seldom` answers what nobody made fast: guidance, trajectories as tokens, pruned prompts. Without it they are refused.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: Config,
        tokenizer: Tokenizer,
        network: Network,
        device: torch.device,  # of the network; where that is one of WARMED, the engine is warm when it is open
        seldom: Answering | None = None,
    ) -> None:
        """Raises InvalidInput for a corpus that cannot be read."""
        self.weights: Weights = bundle.weights
        self.device = device
        self._profile = profile = bundle.profile
        self._config, self._tokenizer, self._network, self._seldom = config, tokenizer, network, seldom
        # What was said, and is guessed again. Benchmarks put another one in its place.
        self.memory = Memory(read_corpus(Path(bundle.folder), tokenizer, meta_actions=profile.meta_actions))
        span_ns = max(profile.offsets_ns) - min(profile.offsets_ns) + LATE_NS
        self._sight = Sight(network.look, network.batch, span_ns, KEPT * len(profile.cameras))
        self._arrivals = Arrivals(profile)
        self._last: Asked | None = None
        self.told: Sequence[int] | None = None
        """Ids that are written whatever the network would choose: benchmarks say how many words there are, and which."""
        if device.type in WARMED:
            self.warm_up((Request(), Request(reasoning="none")))

    @torch.inference_mode()
    def add_frame(self, frame: CameraFrame) -> None:
        """Look at a frame that may be asked about with those of its time, if it is one of the profile's; read what can be read
        with it. Raises EngineFailure, and forgets all that was computed: an answer looks for itself then."""
        if frame.role not in self._profile.cameras or frame.image.shape != self._profile.image_shape:
            return
        with self._forgetting(), out_of_memory_told("a frame that came early"):
            self._sight.expect(frame)
            self._arrivals.take(frame)
            if self._last is not None and self._last.prompt.cuts:
                self._read_ahead(self._last)

    @torch.inference_mode()
    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words for one observation. Raises InvalidInput; EngineFailure, and forgets all that was computed."""
        self.check(request)
        with self._forgetting(), out_of_memory_told(f"{request.samples} samples"):
            if self._seldom is not None and self._is_seldom(request):
                return self._seldom(observation, request)
            mode: Mode = "act" if request.reasoning == "none" else "reason"
            return self._infer(self._prompt(observation, mode), request)

    def check(self, request: Request) -> None:
        """Raise InvalidInput for a request that has no answer here, whatever the observation."""
        if self._seldom is None and self._is_seldom(request):
            raise InvalidInput("this engine has no guidance, trajectories as tokens or pruned prompts: want @eager")

    def prepare(self, requests: Sequence[Request]) -> None:
        """See `contract.Prepares`."""
        for request in requests:
            self.check(request)
        if self.device.type in WARMED:
            self.warm_up(requests)

    def warm_up(self, requests: Sequence[Request]) -> None:
        """Answer each a few times and forget it: what is recorded then is not recorded while driving. Raises as `infer`.

        What is written is told, a word over and over and then an end: the first time every word is a pass, the second time
        another one stands before them, so that what follows is guessed in blocks. In rounds over all requests, for one that
        needs memory for more words than those before it drops what they recorded.
        """
        blank, start = blank_observation(self._profile), self._tokenizer.id("<|traj_future_start|>")
        try:
            for words, first, request in product(_WARMED_WORDS, (_ANY_WORD, _OTHER_WORD), requests):
                self.told = [first, *([_ANY_WORD] * min(words, request.max_tokens - 2)), start][-request.max_tokens :]
                self.infer(blank, request)
        finally:
            self.told = None
        self.reset(blank.epoch + 1)

    def reset(self, epoch: int) -> None:
        """Forget the frames of earlier epochs, and what was said in them."""
        self._sight.forget(epoch)
        self.memory.forget()
        self._arrivals.forget()

    def _is_seldom(self, request: Request) -> bool:
        return bool(request.guidance) or request.trajectory == "tokens" or self._profile.pruning != UNPRUNED

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """What was computed until something failed is not used again: numbers that are none would spoil all that follows."""
        try:
            yield
        except EngineFailure:
            self._sight.forget_all()
            self._network.forget()
            self._last = None  # the next answer has the time to read everything again, a hint has not
            raise

    def close(self) -> None:
        """Give back the device's memory."""
        self._network.close()
        self._sight.forget_all()
        self._arrivals.forget()
        self._last = None

    def _prompt(self, observation: Observation, mode: Mode) -> Prompt:
        frames = observed_frames(observation, self._profile)
        roles = list(dict.fromkeys(frame.role for frame in frames))
        blocks = image_blocks(named_images(roles, self._profile, self._config), self._config)
        ids = prompt_ids(observation, blocks, self._profile, self._tokenizer, self._config, mode)
        positions, is_image = rope_positions(ids, blocks, self._config.image_token_id), ids == self._config.image_token_id
        prompt = Prompt(ids, positions, is_image, self._scene(frames))
        if self._config.views is None:  # what looks at all images at once cannot be read before they are all there
            windows = [observation.frames[role] for role in roles]
            prompt = prompt._replace(cuts=cuts_of(ids, is_image, len(windows[0]) * prod(blocks[0].grid), windows))
        self._last = Asked(prompt, roles)
        return prompt

    def _scene(self, frames: Sequence[CameraFrame]) -> Scene:
        roles = list(dict.fromkeys(frame.role for frame in frames))
        images = named_images(roles, self._profile, self._config)
        tokens, deepstack = joined(self._sight.features(frames))
        return self._network.scene(tokens, deepstack, images._replace(patches=torch.empty(len(frames), 0)))

    def _read_ahead(self, asked: Asked) -> None:
        """Read the next prompt as far as its frames are there, if it is like the last one."""
        windows = [window.frames for window in self._arrivals.expected(asked.roles)]
        if not windows:
            return
        last, per_window = asked.prompt, int(asked.prompt.is_image.sum()) // len(asked.roles)
        cuts = cuts_of(last.token_ids, last.is_image, per_window, windows)
        scene = self._scene([frame for window in windows for frame in window])
        self._network.read_ahead(last.part(0, cuts[-1].end)._replace(scene=scene), cuts)

    def _infer(self, prompt: Prompt, request: Request) -> ModelOutput:
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randn(request.samples, HORIZON, 2, generator=generator)
        start = self._tokenizer.id("<|traj_future_start|>")
        texts = self._texts(prompt, request, start, generator)
        finished = tuple(text.ended == start for text in texts)
        actions = torch.zeros_like(noise)
        if any(finished):
            position = int(prompt.positions.max()) + 1
            behind = [(position + len(text.tokens), text.slots) for text in texts if text.ended == start]
            behind = behind * request.samples if len(texts) == 1 else behind
            own = torch.tensor(finished).expand(request.samples)
            actions[own] = self._network.denoise(noise[own], behind, request.steps or self._config.flow_steps)
        return output(actions, [text.tokens for text in texts], finished, self._tokenizer)

    def _texts(self, prompt: Prompt, request: Request, start: int, generator: torch.Generator) -> list[Text]:
        """What is written; nothing where the trajectory is asked for already."""
        if int(prompt.token_ids[-1]) == start:
            self._network.begin(prompt, [], width=0, room=0)
            return [Text(0, 0, ended=start)]
        rows = 1 if request.greedy or request.share_reasoning else request.samples
        first = self._config.traj_token_start
        bins = slice(first, first + self._config.traj_vocab_size)  # never among words
        uniform = uniforms(request, rows, request.max_tokens, generator)
        rules = Rules(request, uniform, {start, self._config.eos_token_id}, bins, self.told)
        texts = write(self._network, prompt, rows, rules, self.memory, self._network.guesses)
        if texts[0].ended == start:
            self.memory.remember(texts[0].tokens)
        return texts
