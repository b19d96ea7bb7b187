"""How fast the fast engine answers beside the reference, on one bundle's weights, frames and noise, by turns.

Whole answers are timed, from an observation to actions on the CPU. Texts are told: so many words, of which a share was said a
cycle ago, so that what guesses are worth is set and not left to chance. Cold: nothing of an earlier cycle is known. Warm: every
frame was hinted when it came, and texts said before are remembered; what the newest frames took then is told beside it.
Rules: docs/performance.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bundle.config import Config, open_bundle
from alpamayo_ros.bundle.folder import Bundle
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.graphed.eight import EightBitEngine
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.engine.public_reference import Public
from alpamayo_ros.engine.sayings import Drawn, Replayed, Sayings
from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.engine.speculation.replay import read_traces
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.tokens import Tokenizer, read_tokenizer
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Observation, Request

Figures = dict[str, Any]
RUNS, WARM_UP = 40, 5
TOLERANCE = 1e-3
"""Of float32 actions, after all steps of the flow, which multiply rounding; in another dtype the difference is told alone."""

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


@torch.inference_mode()
def bench_pace(
    folder: Path, runs: int = RUNS, cases: Sequence[Case] = CASES, checkout: Path | None = None, traces: Path | None = None
) -> Figures:
    """Figures by case; with a clone of NVlabs/alpamayo its own pipeline, from ids and pixels on, where words are told.

    With traces of drives, {drive: [trace, ...]}, they are told in a case of their own, and guessed as far as they can be.
    On a GPU the engine in eight bits follows, when the exact one has given back its memory.

    Raises EngineFailure where the two do not answer alike, InvalidInput as engines do.
    """
    watches: list[Watched] = []
    bundle, config = open_bundle(folder)
    if traces is not None:
        said = Replayed(read_traces(traces), config)
        cases = [*cases, Case("warm, traces of drives", said.longest, replayed=said)]
    with closing(GraphedEngine(folder, partial(_watched, watches))) as engine:
        public = Public(checkout, engine.model, bundle.folder) if checkout else None
        race = Race(engine, watches[0], bundle, config, runs, count(1), public, read_tokenizer(folder, config), engine.memory)
        on_gpu = engine.device.type == "cuda"
        figures = {
            "weights": engine.weights,
            "device": torch.cuda.get_device_name(engine.device) if on_gpu else "cpu",
            "dtype": str(engine.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "public": public and f"NVlabs/alpamayo, {public.attention}",
            "runs": runs,
            "cases": {case.name: timed(race, case) for case in cases},
            "peak_memory_bytes": torch.cuda.max_memory_allocated(engine.device) if on_gpu else None,
        }
    return figures | {"in_fp8": bench_eight(folder, runs, cases) if on_gpu else None}


@torch.inference_mode()
def bench_eight(folder: Path, runs: int, cases: Sequence[Case]) -> Figures:
    """Figures by case of the engine in eight bits, alone: how near its answers are is its gate's business."""
    watches: list[Watched] = []
    bundle, config = open_bundle(folder)
    with closing(EightBitEngine.unchecked(folder, partial(_watched, watches))) as engine:
        race = Race(engine, watches[0], bundle, config, runs, count(1), None, read_tokenizer(folder, config), engine.memory)
        return {case.name: timed(race, case) for case in cases}


def _watched(watches: list[Watched], network: GraphedNetwork) -> Watched:
    watches.append(Watched(network))
    return watches[-1]


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

    def __init__(self, network: GraphedNetwork) -> None:
        self._network, self.batch = network, network.batch
        self.device: torch.device | None = None  # None: nobody looks
        self.ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.calls: dict[str, int] = dict.fromkeys(STAGES, 0)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        return partial(self._timed, name, found) if name in STAGES else found

    def _timed(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self.device is None:
            return call(*arguments, **named)
        began = now_ms(self.device)
        made = call(*arguments, **named)
        self.ms[name] += now_ms(self.device) - began
        self.calls[name] += 1
        return made


def now_ms(where: torch.device) -> float:
    """When everything that was asked of a device is done."""
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    return perf_counter() * 1e3


class Race(NamedTuple):
    """What all cases share."""

    engine: GraphedEngine | EightBitEngine
    watch: Watched
    bundle: Bundle
    config: Config
    runs: int
    epochs: Iterator[int]  # what one case was shown and told is nothing to the next
    public: Public | None
    tokenizer: Tokenizer
    memory: Memory  # the engine's own


class Cycles:
    """The cycles of a case, one after another: what is seen, what is told, and the engine where the case begins."""

    def __init__(self, race: Race, case: Case) -> None:
        self._race, self._case, seed = race, case, crc32(case.name.encode())
        self._drive = Drive(race.bundle.profile, seed)
        self._sayings: Sayings = case.replayed or Drawn(race.config, case.words, case.known, seed)
        if case.replayed is not None:
            case.replayed.begin()
        self._number, self._epoch = 0, next(race.epochs)
        race.engine.reset(self._epoch)
        self.request = Request(samples=case.samples, reasoning="full" if case.words else "none", max_tokens=case.words + 1)

    def next(self) -> tuple[Observation, float]:
        """An observation, and what its newest frames took when they came, ms."""
        engine, self._number = self._race.engine, self._number + 1
        engine.told, known = self._sayings.next()
        engine.memory = known or self._race.memory
        if not self._case.warm:
            self._epoch = next(self._race.epochs)
            engine.reset(self._epoch)
            return self._drive.observation(self._number, self._epoch), 0.0
        seen = self._drive.observation(self._number, self._epoch)
        for frame in (frame for frames in seen.frames.values() for frame in frames[:-1]):
            engine.add_frame(frame)
        began = now_ms(engine.device)
        for frames in seen.frames.values():
            engine.add_frame(frames[-1])
        arrived_ms = now_ms(engine.device) - began
        # As in the engine's process, where frames of a request are read anew: their checksums are part of the answer.
        again = {role: tuple(map(replace, frames)) for role, frames in seen.frames.items()}
        return replace(seen, frames=again), arrived_ms


def timed(race: Race, case: Case) -> Figures:
    """One case: both ways by turns, then stage by stage, which waits for the device in between and is not the whole."""
    engine, cycles = race.engine, Cycles(race, case)
    answering: dict[str, Callable[[Observation, Request], Any]] = {"fast": engine.infer}
    if isinstance(engine, GraphedEngine):
        answering["reference"] = engine.as_the_reference
    if race.public is not None and case.words:
        answering["public"] = partial(_ask_public, race)
    ms: dict[str, list[float]] = defaultdict(list)
    worst = 0.0
    told = track(range(-min(WARM_UP, race.runs), race.runs), case.name, console=Console(stderr=True), transient=True)
    for run in told:
        seen, arrived_ms = cycles.next()
        answers: dict[str, Any] = {}
        for name in sorted(answering, reverse=run % 2 == 1):
            began = now_ms(engine.device)
            answers[name] = answering[name](seen, cycles.request)
            ms[name] += [now_ms(engine.device) - began] if run >= 0 else []
        ms["arrival"] += [arrived_ms] if run >= 0 else []
        if "reference" in answers:
            worst = max(worst, difference(case, answers["fast"], answers["reference"], exact=is_exact(engine)))
    told_ms = {name: _percentiles(values) for name, values in ms.items() if case.warm or name != "arrival"}
    others = {name: other for name, other in (("ratio", "reference"), ("public_ratio", "public")) if other in answering}
    ratios = {name: round(float(np.median(np.array(ms[other]) / ms["fast"])), 3) for name, other in others.items()}
    compared = {"largest_difference": worst} if "ratio" in ratios else {}
    return {**told_ms, **ratios, **compared, **_stages(race, cycles)}


def _ask_public(race: Race, seen: Observation, request: Request) -> Any:
    assert race.public is not None
    assert race.engine.told is not None
    prompt = encode(seen, race.bundle.profile, race.tokenizer, race.config, "reason")
    return race.public.answer(prompt, seen, request, race.engine.told).cpu()


def is_exact(engine: GraphedEngine | EightBitEngine) -> bool:
    """Whether the two ways can be held against each other: untrained networks multiply rounding by hundreds."""
    return engine.dtype == torch.float32 and engine.weights == "trained"


def difference(case: Case, fast: ModelOutput, reference: ModelOutput, *, exact: bool) -> float:
    """Between actions, at most. Raises EngineFailure for other words, and where exact ones differ by more than rounding."""
    apart = float(np.abs(fast.actions - reference.actions).max())
    if (fast.tokens, fast.texts) != (reference.tokens, reference.texts) or (exact and not apart <= TOLERANCE):
        words = f"words {list(fast.tokens)} and {list(reference.tokens)}"
        raise EngineFailure(f"{case.name}: actions differ by {apart:.2g}, allowed {TOLERANCE:g}; {words}: nothing is timed")
    return apart


def _stages(race: Race, cycles: Cycles) -> Figures:
    """Mean ms by stage and passes of the language model, in answers of their own."""
    watch = race.watch
    watch.ms, watch.calls = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0)
    for _ in range(race.runs):
        seen, _arrived = cycles.next()
        watch.device = race.engine.device
        race.engine.infer(seen, cycles.request)
        watch.device = None
    passes = (watch.calls["begin"] + watch.calls["go_on"]) / race.runs
    return {"stage_ms": {name: round(spent / race.runs, 3) for name, spent in watch.ms.items()}, "passes": round(passes, 2)}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)}
