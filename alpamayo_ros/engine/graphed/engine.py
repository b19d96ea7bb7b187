"""The fast engine: what the reference computes, without computing anything twice.

Frames are looked at when they arrive, prompts are read together with guesses at the answer, and whole stages run as one CUDA
graph each. What is asked for seldom (guidance, trajectories as tokens, pruned prompts, questions) goes the reference's way, on
the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.eager import claim_device, open_model, out_of_memory_told
from alpamayo_ros.engine.graphed.ahead import Arrivals
from alpamayo_ros.engine.graphed.passes import Cut, Prompt
from alpamayo_ros.engine.graphed.reader import Reader
from alpamayo_ros.engine.graphed.sight import Sight, joined, key_of
from alpamayo_ros.engine.graphed.writing import Rules, Text, write
from alpamayo_ros.engine.speculation.corpus import read_corpus
from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.model.language import rope_positions
from alpamayo_ros.model.prompt import Mode, encode, named_images, observed_frames, prompt_ids
from alpamayo_ros.model.sample import answer, output, sample, uniforms
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.model.vision import Scene, image_blocks
from alpamayo_ros.profile import Pruning
from alpamayo_ros.types import HORIZON, CameraFrame, ModelOutput, Observation, Request

UNPRUNED = Pruning(prefill_keep=1.0, decode_keep=1.0)


class GraphedEngine:
    """A bundle on this machine's accelerator as CUDA graphs; on the CPU the same code without graphs."""

    def __init__(self, folder: Path) -> None:
        """Open a bundle. Raises InvalidInput for one that is incomplete or does not fit together."""
        bundle, self._config = open_bundle(folder)
        self.weights: Weights = bundle.weights
        self._profile = profile = bundle.profile
        self._tokenizer = read_tokenizer(folder, self._config)
        self._memory = Memory(read_corpus(folder, self._tokenizer, meta_actions=profile.meta_actions))
        self._model = open_model(bundle, self._config, claim_device())
        self._reader = Reader(self._model)
        most = 2 * len(profile.cameras) * len(profile.frame_offsets_ms)
        self._sight = Sight(self._model, profile.image_height, profile.image_width, most)
        self._arrivals = Arrivals(profile)
        self._last: Asked | None = None

    @torch.inference_mode()
    def add_frame(self, frame: CameraFrame) -> None:
        """Look at a frame that may be asked about, if it is one of the profile's, and read what can be read with it."""
        if frame.role not in self._profile.cameras or frame.image.shape != self._profile.image_shape:
            return
        self._sight.features([frame])
        self._arrivals.take(frame)
        if self._last is not None and self._last.prompt.cuts:
            self._read_ahead(self._last)

    @torch.inference_mode()
    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words for one observation. Raises EngineFailure, InvalidInput."""
        mode: Mode = "act" if request.reasoning == "none" else "reason"
        with out_of_memory_told(f"{request.samples} samples"):
            if self._is_seldom(request):
                prompt = encode(observation, self._profile, self._tokenizer, self._config, mode)
                return sample(self._model, self._tokenizer, prompt, request)
            return self._infer(self._prompt(observation, mode), request)

    def ask(self, observation: Observation, question: str, request: Request) -> str:
        """The model's answer to a question about an observation. Raises EngineFailure, InvalidInput."""
        prompt = encode(observation, self._profile, self._tokenizer, self._config, "ask", question)
        with out_of_memory_told("a question"):
            return answer(self._model, self._tokenizer, prompt, request)

    def reset(self, epoch: int) -> None:
        """Forget the frames of earlier epochs, and what was said in them."""
        self._sight.forget(epoch)
        self._memory.forget()
        self._arrivals.forget()

    def close(self) -> None:
        """Give back the device's memory."""
        self._model.to("meta")
        del self._reader, self._sight

    def _is_seldom(self, request: Request) -> bool:
        return bool(request.guidance) or request.trajectory == "tokens" or self._profile.pruning != UNPRUNED

    def _prompt(self, observation: Observation, mode: Mode) -> Prompt:
        frames = observed_frames(observation, self._profile)
        roles = list(dict.fromkeys(frame.role for frame in frames))
        images = named_images(roles, self._profile, self._config)
        blocks = image_blocks(images, self._config)
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
        return self._model.scene(tokens, deepstack, images._replace(patches=torch.empty(len(frames), 0)))

    def _read_ahead(self, asked: Asked) -> None:
        """Read the next prompt as far as its frames are there, if it is like the last one."""
        windows = [window.frames for window in self._arrivals.expected(asked.roles)]
        if not windows:
            return
        last, per_window = asked.prompt, int(asked.prompt.is_image.sum()) // len(asked.roles)
        cuts = cuts_of(last.token_ids, last.is_image, per_window, windows)
        frames = [frame for window in windows for frame in window]
        part = last._replace(cuts=()).part(0, cuts[-1].end)
        self._reader.read_ahead(part._replace(scene=self._scene(frames)), cuts)

    def _infer(self, prompt: Prompt, request: Request) -> ModelOutput:
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randn(request.samples, HORIZON, 2, generator=generator)
        start = self._tokenizer.id("<|traj_future_start|>")
        texts = self._texts(prompt, request, start, generator)
        finished = [text.ended == start for text in texts]
        own = torch.tensor(finished).expand(request.samples)
        actions = torch.zeros_like(noise)
        if any(finished):
            position = int(prompt.positions.max()) + 1
            behind = [(position + len(text.tokens), text.slots) for text in texts if text.ended == start]
            behind = behind * request.samples if len(texts) == 1 else behind
            actions[own] = self._reader.denoise(noise[own], behind, request.steps or self._config.flow_steps)
        return output(actions, [text.tokens for text in texts], tuple(finished), self._tokenizer)

    def _texts(self, prompt: Prompt, request: Request, start: int, generator: torch.Generator) -> list[Text]:
        """What is written; nothing where the trajectory is asked for already."""
        if int(prompt.token_ids[-1]) == start:
            self._reader.begin(prompt, [], width=0, room=0)
            return [Text(0, 0, ended=start)]
        rows = 1 if request.greedy or request.share_reasoning else request.samples
        first = self._config.traj_token_start
        bins = slice(first, first + self._config.traj_vocab_size)  # never among words
        uniform = uniforms(request, rows, request.max_tokens, generator)
        texts = write(
            self._reader, prompt, rows, Rules(request, uniform, {start, self._config.eos_token_id}, bins), self._memory
        )
        if texts[0].ended == start:
            self._memory.remember(texts[0].tokens)
        return texts


class Asked(NamedTuple):
    """What was asked last."""

    prompt: Prompt
    roles: list[str]  # of its cameras, in order


def cuts_of(ids: Tensor, is_image: Tensor, per_window: int, windows: Sequence[Sequence[CameraFrame]]) -> tuple[Cut, ...]:
    """Where the images of each camera end, of `per_window` tokens each, for as many cameras as there are windows of frames."""
    ends = (is_image.nonzero()[per_window - 1 :: per_window, 0] + 1).tolist()[: len(windows)]
    parts = pairwise((0, *ends))
    return tuple(
        Cut(end, (tuple(ids[start:end].tolist()), tuple(map(key_of, frames))))
        for (start, end), frames in zip(parts, windows, strict=True)
    )
