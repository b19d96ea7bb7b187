"""What engines are asked while they are timed: cases, and the cycles of a drive that they consist of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.fast.network import Network
from alpamayo_ros.engine.floor import Rates, Weights
from alpamayo_ros.engine.public_reference import Public
from alpamayo_ros.engine.sayings import Drawn, Replayed, Sayings
from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.engine.stopwatch import Stopwatch
from alpamayo_ros.model.tokens import Tokenizer
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame, Observation, Request

STAGES = ("look", "scene", "begin", "go_on", "denoise")
"""Of the network: new frames, the scene, the prompt with guesses, words behind it, the flow."""


@dataclass(frozen=True)
class Case:
    """What is asked for, and what is known by then."""

    name: str
    words: int
    warm: bool = True
    known: float = 0.0  # share of the words that are as in the cycle before
    samples: int = 1
    replayed: Replayed | None = None  # what is said, in place of drawn words

    @property
    def all_wrong(self) -> bool:
        """Whether guesses are made, and none of them is right: what they cost then is told."""
        return self.warm and self.words > 0 and not self.known and self.replayed is None


CASES = (
    Case("cold, 40 words", 40, warm=False),
    Case("cold, 16 words", 16, warm=False),
    Case("cold, 16 words, 6 samples", 16, warm=False, samples=6),
    Case("warm, 16 words, all new", 16, known=0.0),
    Case("warm, 16 words, a quarter known", 16, known=0.25),
    Case("warm, 16 words, half known", 16, known=0.5),
    Case("warm, 16 words, three quarters known", 16, known=0.75),
    Case("warm, 16 words, all known", 16, known=1.0),
    Case("warm, 40 words, all known", 40, known=1.0),
    Case("warm, no words", 0),
)


class Drive:
    """Observations a cycle apart, of noise that no two frames share."""

    def __init__(self, profile: InputProfile, seed: int) -> None:
        self._profile, self._rng = profile, np.random.default_rng(seed)
        self._blank = blank_observation(profile)
        self._images: dict[tuple[str, int], CameraFrame] = {}
        self._step_ns = round(1e6) * max(1, *(-offset for offset in profile.frame_offsets_ms[-2:]))

    def observation(self, number: int, epoch: int) -> Observation:
        """The one of a cycle: all but its newest frames were there the cycle before, where frames are evenly spaced."""
        t0_ns = (number + 10) * self._step_ns
        frames = {
            role: tuple(self._frame(role, t0_ns + round(offset * 1e6), epoch) for offset in self._profile.frame_offsets_ms)
            for role in self._profile.cameras
        }
        blank = self._blank
        ego = replace(blank.ego_t0, stamp_ns=t0_ns)
        history = replace(blank.history, t0_ns=t0_ns)
        return replace(blank, stamp_ns=t0_ns, epoch=epoch, frames=frames, history=history, ego_t0=ego)

    def _frame(self, role: str, stamp_ns: int, epoch: int) -> CameraFrame:
        key = role, stamp_ns
        if key not in self._images:
            image = self._rng.integers(0, 256, self._profile.image_shape, np.uint8)
            self._images[key] = CameraFrame(role, stamp_ns, epoch, image)
        return replace(self._images[key], epoch=epoch)


class Watched:
    """A network whose calls are timed once somebody looks, each until the device is done."""

    def __init__(self, network: Network) -> None:
        self._network, self.batch, self.guesses = network, network.batch, network.guesses
        self.begin_watching(None)

    def begin_watching(self, where: torch.device | None) -> None:
        """Count from nothing on a device; None: nobody looks."""
        self.device = where
        self.ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.calls: dict[str, int] = dict.fromkeys(STAGES, 0)
        self.tokens = self.tail = 0  # of the last prompt, and behind its last cut

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        return partial(self._timed, name, found) if name in STAGES else found

    def _timed(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self.device is None:
            return call(*arguments, **named)
        watch = Stopwatch(self.device)
        made = watch.time(name, partial(call, *arguments, **named))
        self.ms[name] += watch.ms[name][0]
        self.calls[name] += 1
        if name == "begin":
            prompt = arguments[0]
            self.tokens, self.tail = len(prompt.token_ids), len(prompt.token_ids) - prompt.last_cut
        return made


class Race(NamedTuple):
    """What all cases share."""

    engine: FastEngine
    where: torch.device  # its
    watch: Watched
    bundle: Bundle
    config: Config
    runs: int
    warm_up: int
    epochs: Iterator[int]  # what one case was shown and told is nothing to the next
    tokenizer: Tokenizer
    memory: Memory  # the engine's own
    weights: Weights | None = None  # None: no floor is told
    rates: Rates | None = None
    public: Public | None = None


class Cycles:
    """The cycles of a case, one after another: what is seen, what is told, and the engine where the case begins."""

    def __init__(self, race: Race, case: Case) -> None:
        self._race, self._case, seed = race, case, crc32(case.name.encode())
        self._drive = Drive(race.bundle.profile, seed)
        self._sayings: Sayings = case.replayed or Drawn(race.config, case.words, case.known, seed)
        if case.replayed is not None:
            case.replayed.begin()
        self._number, self._epoch = 0, next(race.epochs)
        race.engine.memory = race.memory
        race.engine.reset(self._epoch)
        self.request = Request(samples=case.samples, reasoning="full" if case.words else "none", max_tokens=case.words + 1)

    def next(self, watch: Stopwatch) -> Observation:
        """An observation; what its newest frames took when they came is timed as `arrival`, where they came before it."""
        engine, self._number = self._race.engine, self._number + 1
        engine.told, known = self._sayings.next()
        engine.memory = known or self._race.memory
        if not self._case.warm:
            self._epoch = next(self._race.epochs)
            engine.reset(self._epoch)
            return self._drive.observation(self._number, self._epoch)
        seen = self._drive.observation(self._number, self._epoch)
        for frame in (frame for frames in seen.frames.values() for frame in frames[:-1]):
            engine.add_frame(frame)
        watch.time("arrival", lambda: [engine.add_frame(frames[-1]) for frames in seen.frames.values()])
        # As in the engine's process, where frames of a request are read anew: their checksums are part of the answer.
        again = {role: tuple(map(replace, frames)) for role, frames in seen.frames.items()}
        return replace(seen, frames=again)
