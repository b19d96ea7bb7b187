"""How fast the fast engine answers beside the reference, on one bundle's weights, frames and noise, by turns.

Whole answers are timed, from an observation to actions on the CPU. Texts are told: so many words, of which a share was said a
cycle ago, so that what guesses are worth is set and not left to chance. Cold: nothing of an earlier cycle is known. Warm: every
frame was hinted when it came, and texts said before are remembered; what the newest frames took then is told beside it, and
both together: a reference does nothing before it is asked.
Where all guesses are wrong, the same engine answers without any, too: the difference is the most that they cost.
Rules: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.dynamics import estimate_v0, rollout
from alpamayo_ros.engine.cycles import CASES, STAGES, Case, Cycles, Race, Watched
from alpamayo_ros.engine.eager import claim_device
from alpamayo_ros.engine.fast.engine import FastEngine
from alpamayo_ros.engine.floor import Rates, Weights, Work, fractions, rates_of, stage_floors_ms, weights_of
from alpamayo_ros.engine.graphed.eight import EightBitEngine
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.network import GraphedNetwork
from alpamayo_ros.engine.public_reference import Public, own_choices, source_of
from alpamayo_ros.engine.sayings import Replayed
from alpamayo_ros.engine.speculation.drafts import Memory
from alpamayo_ros.engine.speculation.replay import read_traces
from alpamayo_ros.engine.stopwatch import Stopwatch, gpu_state, percentiles
from alpamayo_ros.engine.tensorrt.engine import TensorRtEngine
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import F64, EngineFailure, InvalidInput, ModelOutput, Observation, Request

Figures = dict[str, Any]
ON_GPU, ON_CPU = (200, 20), (40, 5)
"""Runs that count, and those before that do not. A CPU takes so long that it gets fewer."""

TOLERANCE = 1e-3
"""Of float32 actions, after all steps of the flow, which multiply rounding; in another dtype the difference is told alone."""

ALIKE_M = 0.05
"""Between points of our trajectories and the public reference's, at most: another seed of the noise moves them by a metre."""


@torch.inference_mode()
def bench_pace(
    folder: Path, runs: int = ON_GPU[0], cases: Sequence[Case] = CASES, checkout: Path | None = None, traces: Path | None = None
) -> Figures:
    """Figures by case; with a clone of NVlabs/alpamayo its own pipeline, from ids and pixels on, where words are told.

    At most `runs`, and on a CPU no more than ON_CPU's. With traces of drives, {drive: [trace, ...]}, they are told in a case of
    their own, and guessed as far as they can be. On a GPU the engine in eight bits follows, when the exact one has given back
    its memory.

    Raises EngineFailure where the two do not answer alike, InvalidInput as engines do.
    """
    if checkout is not None:
        source_of(checkout)
    if traces is not None:
        said = Replayed(read_traces(traces), open_bundle(folder)[1])
        cases = [*cases, Case("warm, traces of drives", said.longest, replayed=said)]
    exact, weights, rates = _bench_exact(folder, runs, cases, checkout)
    eight = None if rates is None else bench_eight(folder, runs, cases, weights, rates)
    try:
        plans, why_not = bench_plans(folder, runs, cases), ""
    except (EngineFailure, InvalidInput) as reason:  # nobody has to have TensorRT, or plans
        plans, why_not = None, str(reason)
    return exact | {"in_fp8": eight, "in_plans": plans, "no_plans": why_not}


def _bench_exact(
    folder: Path, runs: int, cases: Sequence[Case], checkout: Path | None
) -> tuple[Figures, Weights | None, Rates | None]:
    """The exact engine beside the references, all of whose memory is given back then; rates of a GPU alone."""
    bundle, config = open_bundle(folder)
    on_gpu = (where := claim_device()).type == "cuda"
    rates = rates_of(where, getattr(torch, config.dtype)) if on_gpu else None
    _forget_peaks()
    watches: list[Watched] = []
    with closing(GraphedEngine(folder, partial(_watched, watches))) as engine:
        patches = bundle.profile.image_height * bundle.profile.image_width // config.vision.patch_size**2
        race = _race(engine, where, watches[0], folder, runs)._replace(weights=weights_of(engine.model, patches), rates=rates)
        alone = {case.name: answered_alone(race, case) for case in cases}
        peak = peak_memory(where)  # before anything else answers
        public = Public(checkout, engine.model, bundle.folder) if checkout else None
        race = race._replace(public=public)
        figures: Figures = {
            "weights": engine.weights,
            "device": torch.cuda.get_device_name(where) if on_gpu else "cpu",
            "dtype": str(engine.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "public": public and f"NVlabs/alpamayo, {public.attention}",
            "runs": race.runs,
            "warm_up": race.warm_up,
            "rates": race.rates and race.rates._asdict(),
            "cases": {case.name: timed(race, case) | alone[case.name] for case in cases},
            **peak,
        }
    return figures, race.weights, rates


@torch.inference_mode()
def bench_eight(
    folder: Path, runs: int, cases: Sequence[Case], weights: Weights | None = None, rates: Rates | None = None
) -> Figures:
    """Figures by case of the engine in eight bits, alone: how near its answers are is its gate's business."""
    watches: list[Watched] = []
    if weights is not None:  # its floor is for layers of a byte a number; that of products is the exact engine's, and left out
        saved = weights.layers * (weights.expert_bytes // weights.expert - 1)
        weights = weights._replace(word_bytes=weights.word_bytes - saved, layers=0, image_flop=0.0)
    with closing(EightBitEngine.unchecked(folder, partial(_watched, watches))) as engine:
        race = _race(engine, engine.device, watches[0], folder, runs)._replace(weights=weights, rates=rates)
        return {case.name: answered_alone(race, case) | timed(race, case) for case in cases}


@torch.inference_mode()
def bench_plans(folder: Path, runs: int, cases: Sequence[Case]) -> Figures:
    """Figures by case of TensorRT's plans, alone; new frames are in the whole and in no stage.

    Raises InvalidInput for plans that are missing or are not for this machine, EngineFailure without TensorRT.
    """
    with closing(TensorRtEngine(folder)) as engine:
        engine._network = watch = Watched(engine._network)
        race = _race(engine, torch.device("cuda"), watch, folder, runs)
        return {case.name: answered_alone(race, case) | timed(race, case) for case in cases}


def _race(engine: FastEngine, where: torch.device, watch: Watched, folder: Path, runs: int) -> Race:
    bundle, config = open_bundle(folder)
    counted, warm_up = (min(runs, most) for most in (ON_GPU if where.type == "cuda" else ON_CPU))
    return Race(engine, where, watch, bundle, config, counted, warm_up, count(1), read_tokenizer(folder, config), engine.memory)


def _watched(watches: list[Watched], network: GraphedNetwork) -> Watched:
    watches.append(Watched(network))
    return watches[-1]


def _forget_peaks() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory(where: torch.device) -> Figures:
    """The most that was taken from a GPU since `_forget_peaks`: reserved, for graphs work in memory that is not allocated."""
    return {"peak_memory_bytes": torch.cuda.max_memory_reserved(where) if where.type == "cuda" else None}


def timed(race: Race, case: Case) -> Figures:
    """One case, all ways by turns."""
    cycles, answering = Cycles(race, case), _ways(race, case)
    watch, worst, held = Stopwatch(race.where), 0.0, list[Figures]()
    before = gpu_state(race.where)
    rounds = range(-race.warm_up, race.runs)
    for run in track(rounds, case.name, console=Console(stderr=True), transient=True):
        kept = watch if run >= 0 else Stopwatch(race.where)
        seen, answers = cycles.next(kept), dict[str, Any]()
        for name in sorted(answering, reverse=run % 2 == 1):
            answers[name] = kept.time(name, partial(answering[name], seen, cycles.request))
        if "reference" in answers:
            ours = [answers[name] for name in ("fast", "plain") if name in answers]
            apart = [difference(case, one, answers["reference"], exact=is_exact(race.engine)) for one in ours]
            worst = max(worst, *apart)
        if "public" in answers:
            held.append(against_public(race, seen, answers["fast"], answers["public"], read=run == rounds[0]))
    compared: Figures = {"largest_difference": worst} if "reference" in answering else {}
    compared |= {"public_answer": _told(held)} if held else {}
    return watch.percentiles() | _ratios(watch.ms) | compared | _of_the_gpu(race, watch, before)


def _ways(race: Race, case: Case) -> dict[str, Callable[[Observation, Request], Any]]:
    ways: dict[str, Callable[[Observation, Request], Any]] = {"fast": race.engine.infer}
    if isinstance(race.engine, GraphedEngine):
        ways["reference"] = race.engine.as_the_reference
    if case.all_wrong:
        ways["plain"] = partial(without_guesses, race)
    if race.public is not None and case.words:
        ways["public"] = partial(_ask_public, race)
    return ways


def _ratios(ms: Mapping[str, Sequence[float]]) -> Figures:
    """How many times as fast, the median over runs, and what wrong guesses cost in the same run; where frames came before,
    with what they took then, too."""
    fast = np.array(ms["fast"])
    others = {name: np.array(ms[other]) for name, other in (("ratio", "reference"), ("public_ratio", "public")) if other in ms}
    found: Figures = {name: _median(theirs / fast) for name, theirs in others.items()}
    if "arrival" in ms:
        both = fast + np.array(ms["arrival"])
        found |= {"with_arrival": percentiles(list(both))}
        found |= {f"{name}_with_arrival": _median(theirs / both) for name, theirs in others.items()}
    return found | ({"guesses_cost": percentiles(list(fast - np.array(ms["plain"])))} if "plain" in ms else {})


def _median(ratios: F64) -> float:
    return round(float(np.median(ratios)), 3)


def _of_the_gpu(race: Race, watch: Stopwatch, before: Figures | None) -> Figures:
    if race.where.type != "cuda":
        return {}
    by_events = {name: percentiles(ms) for name, ms in watch.device_ms.items()}
    return {"by_events": by_events, "gpu": {"before": before, "after": gpu_state(race.where)}}


def without_guesses(race: Race, seen: Observation, request: Request) -> ModelOutput:
    """What the engine answers when it guesses nothing: one word a pass. Everything is read once more, as always."""
    engine, watch = race.engine, race.watch
    memory, guesses = engine.memory, watch.guesses
    engine.memory, watch.guesses = Memory(), 1
    try:
        return engine.infer(seen, request)
    finally:
        engine.memory, watch.guesses = memory, guesses


def _ask_public(race: Race, seen: Observation, request: Request) -> Any:
    assert race.public is not None
    assert race.engine.told is not None
    prompt = encode(seen, race.bundle.profile, race.tokenizer, race.config, "reason")
    return race.public.answer(prompt, seen, request, race.engine.told).cpu()


def against_public(race: Race, seen: Observation, ours: ModelOutput, theirs: torch.Tensor, *, read: bool) -> Figures:
    """How far points (samples, 64, 3) of the public reference are from ours, m, at most.

    `read`: also at how many of the told words both would have written the same one; ours are found by reading all again.
    """
    space = race.config.action_space
    v0_mps = estimate_v0(seen.history.xyz, seen.history.rot, space)
    points = np.stack([rollout(actions, v0_mps, float(seen.history.xyz[-1, 2]), space).xyz for actions in ours.actions])
    found: Figures = {"apart_m": float(np.linalg.norm(points - theirs.double().numpy(), axis=-1).max())}
    if not read:
        return found
    assert race.public is not None
    assert race.engine.told is not None
    assert isinstance(race.engine, GraphedEngine)
    prompt = encode(seen, race.bundle.profile, race.tokenizer, race.config, "reason")
    pairs = list(zip(own_choices(race.engine.model, prompt, race.engine.told), race.public.choices(), strict=True))
    return found | {"words": len(pairs), "same_words": sum(one == other for one, other in pairs)}


def _told(held: Sequence[Figures]) -> Figures:
    worst = {**held[0], "apart_m": max(found["apart_m"] for found in held)}
    return worst | {"alike": worst["apart_m"] <= ALIKE_M and worst["same_words"] == worst["words"]}


def is_exact(engine: FastEngine) -> bool:
    """Whether the two ways can be held against each other: untrained networks multiply rounding by hundreds."""
    return isinstance(engine, GraphedEngine) and engine.dtype == torch.float32 and engine.weights == "trained"


def difference(case: Case, fast: ModelOutput, reference: ModelOutput, *, exact: bool) -> float:
    """Between actions, at most. Raises EngineFailure for other words, and where exact ones differ by more than rounding."""
    apart = float(np.abs(fast.actions - reference.actions).max())
    if (fast.tokens, fast.texts) != (reference.tokens, reference.texts) or (exact and not apart <= TOLERANCE):
        words = f"words {list(fast.tokens)} and {list(reference.tokens)}"
        raise EngineFailure(f"{case.name}: actions differ by {apart:.2g}, allowed {TOLERANCE:g}; {words}: nothing is timed")
    return apart


def answered_alone(race: Race, case: Case) -> Figures:
    """ms by stage, mean and median, which waits for the device in between, and passes of the language model; nobody else
    answers here."""
    cycles, watch = Cycles(race, case), race.watch
    calls, each = dict.fromkeys(STAGES, 0), {name: list[float]() for name in STAGES}
    work = Work(0, 0, 0, 0, 0)
    for run in range(-race.warm_up, race.runs):
        seen = cycles.next(Stopwatch(race.where))
        watch.begin_watching(race.where)
        race.engine.infer(seen, cycles.request)
        if run >= 0:
            calls = {name: calls[name] + watch.calls[name] for name in STAGES}
            for name in STAGES:
                each[name].append(watch.ms[name])
        images = 0 if case.warm else sum(map(len, seen.frames.values()))
        work = Work(images, watch.tail if case.warm else watch.tokens, 0, case.samples, race.config.flow_steps)
        watch.begin_watching(None)
    mean, median = ({name: round(float(of(ms)), 3) for name, ms in each.items()} for of in (np.mean, np.median))
    passes = round((calls["begin"] + calls["go_on"]) / race.runs, 2)
    figures: Figures = {"stage_ms": mean, "stage_p50_ms": median, "passes": passes}
    if race.weights is None or race.rates is None:
        return figures | {"fraction_of_floor": None}
    floors = stage_floors_ms(race.weights, race.rates, work._replace(passes=calls["go_on"] / race.runs))
    return figures | {"fraction_of_floor": fractions(floors, mean)}
