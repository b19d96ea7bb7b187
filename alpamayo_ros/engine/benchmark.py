"""`alpamayo bench engine`: the reference path stage by stage, of a bundle, and of a tiny network beside transformers' modules.

The tiny pipeline (4 images, a prompt of 277 tokens, 40 written tokens, 10 steps of the flow) runs in both on one CPU thread,
with the same weights and inputs, by turns, so that load on the machine meets both alike: ratios count, times are of that
machine. Where the two do not compute the same there is no figure. transformers itself is a dependency of tests only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from alpamayo_ros.bundle.config import open_bundle, parse_config
from alpamayo_ros.engine import pace, pace_page
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.eager import claim_device, open_model
from alpamayo_ros.engine.floor import bandwidth, fractions_of_floor
from alpamayo_ros.engine.stopwatch import Stopwatch
from alpamayo_ros.model import sample as sampling
from alpamayo_ros.model.flow import Velocity, euler
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt, encode
from alpamayo_ros.model.sample import Choose
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.model.vision import Block, Images
from alpamayo_ros.types import HORIZON, EngineFailure

Figures = dict[str, Any]

PROMPT_TOKENS = 277  # of the tiny pipeline, its images included
WORDS = 40  # written after the prompt in every row
STEPS = 10  # of the flow
SAMPLES = (1, 3)  # each with words of its own
RUNS, WARM_UP = 200, 20
LOGITS_TOLERANCE = 1e-5  # float32, logits of size 1
VELOCITY_TOLERANCE = 1e-4  # at one point: along a path the Fourier features multiply differences by hundreds

TINY: Figures = json.loads("""{
  "model_type": "alpamayo_r1", "model_dtype": "float32", "vocab_size": 498, "min_pixels": 4096, "max_pixels": 8192,
  "traj_token_start_idx": 270, "traj_vocab_size": 200, "tokens_per_history_traj": 48, "tokens_per_future_traj": 128,
  "traj_token_ids": {
    "history_start": 475, "history_end": 477, "future_start": 482, "future_end": 484, "history": 485, "future": 486},
  "traj_tokenizer_cfg": {
    "_target_": "DiscreteTrajectoryTokenizer", "num_bins": 120, "dims_min": [-10, -10], "dims_max": [10, 10]},
  "hist_traj_tokenizer_cfg": {
    "_target_": "DeltaTrajectoryTokenizer", "num_bins": 80, "ego_xyz_min": [-4, -4, -10], "ego_xyz_max": [4, 4, 10]},
  "action_space_cfg": {
    "_target_": "UnicycleAccelCurvatureActionSpace", "n_waypoints": 64, "dt": 0.1,
    "accel_mean": 0.0, "accel_std": 1.0, "curvature_mean": 0.0, "curvature_std": 0.03},
  "action_in_proj_cfg": {
    "_target_": "PerWaypointActionInProjV2", "hidden_size": 48, "num_enc_layers": 2, "num_fourier_feats": 20, "max_freq": 100},
  "action_out_proj_cfg": {"_target_": "Linear"},
  "diffusion_cfg": {"_target_": "FlowMatching", "num_inference_steps": 10},
  "expert_cfg": {"intermediate_size": 96},
  "vlm_config": {
    "model_type": "qwen3_vl", "image_token_id": 268, "video_token_id": 269, "vision_start_token_id": 265,
    "vision_end_token_id": 266, "tie_word_embeddings": false,
    "text_config": {
      "model_type": "qwen3_vl_text", "dtype": "float32", "vocab_size": 498, "bos_token_id": 256, "eos_token_id": 258,
      "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
      "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6, "rope_theta": 5000000,
      "rope_scaling": {"rope_type": "default", "mrope_interleaved": true, "mrope_section": [4, 2, 2]}},
    "vision_config": {
      "model_type": "qwen3_vl", "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
      "temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 64, "out_hidden_size": 64,
      "deepstack_visual_indexes": [0]}}}""")
"""config.json of the tiny network in the released layout: 0.3 million parameters."""


class Pipeline(Protocol):
    """One prompt through one implementation. Each stage goes on where the stage before it stopped."""

    def look(self) -> object:
        """Tokens of the images, for nobody: `prefill` looks for itself."""

    def prefill(self) -> None:
        """Look at the images and read the prompt."""

    def write(self, rows: int, choose: Choose) -> None:
        """Write WORDS tokens after the prompt in each row, and read them back; action tokens are barred."""

    def velocity(self) -> Velocity:
        """The flow's velocity at actions (rows, 64, 2), after what each row has written."""


class Ours:
    """`model.sample`, the reference path."""

    def __init__(self, model: Alpamayo, prompt: Prompt) -> None:
        self._model, self._prompt = model, prompt

    def look(self) -> object:
        return self._model.see(self._prompt.images)

    def prefill(self) -> None:
        self._state = sampling.prefill(self._model, self._prompt, WORDS)

    def write(self, rows: int, choose: Choose) -> None:
        self._written = sampling.write(self._model, self._state, rows, choose, (), WORDS, _action_tokens(self._model))

    def velocity(self) -> Velocity:
        seen = sampling.conditioning(self._written, self._state)

        def velocity(actions: Tensor, t: float) -> Tensor:
            times = torch.full((len(actions),), t, device=actions.device)
            return self._model.velocity(actions, times, seen.positions, seen.context, seen.mask)

        return velocity


class Transformers:
    """The same on transformers' modules with the same weights: SDPA, a growing cache, cropped after each step of the flow.

    As a careful user writes it: images are seen and the prompt is read once for all rows, logits are those of the last token
    alone. Only the projections of actions are ours, transformers has none.
    """

    def __init__(self, model: Alpamayo, stored: Figures, prompt: Prompt) -> None:
        library = import_module("transformers")
        backbone = stored["vlm_config"]
        self._ours = model
        self._vlm = library.Qwen3VLForConditionalGeneration(library.Qwen3VLConfig(**backbone)).eval()
        self._vlm.load_state_dict(model.vlm.state_dict())
        expert = library.Qwen3VLTextConfig(**backbone["text_config"] | stored["expert_cfg"])
        self._expert = library.Qwen3VLTextModel(expert).eval()
        del self._expert.embed_tokens
        self._expert.load_state_dict(model.expert.state_dict())
        self._ids, self._pixels = prompt.token_ids[None], prompt.images.patches.flatten(0, 1)
        self._grid = torch.tensor([(1, *prompt.images.grid)] * len(prompt.images.patches))
        self._kinds = (self._ids == model.config.image_token_id).int()

    def look(self) -> object:
        return self._vlm.get_image_features(self._pixels, self._grid)

    def prefill(self) -> None:
        images = {"pixel_values": self._pixels, "image_grid_thw": self._grid, "mm_token_type_ids": self._kinds}
        read = self._vlm(input_ids=self._ids, **images, use_cache=True, logits_to_keep=1)
        self._cache, self._logits = read.past_key_values, read.logits[:, -1]

    def write(self, rows: int, choose: Choose) -> None:
        if rows > 1:
            self._cache.batch_repeat_interleave(rows)
        logits = self._logits.repeat(rows, 1)
        for index in range(WORDS):
            logits[:, _action_tokens(self._ours)] = -torch.inf
            token = choose(logits, index)
            logits = self._vlm(input_ids=token[:, None], past_key_values=self._cache, use_cache=True).logits[:, -1]
        self._rows = rows

    def velocity(self) -> Velocity:
        length = self._cache.get_seq_length()
        positions = (torch.arange(length, length + HORIZON) + self._vlm.model.rope_deltas).expand(3, self._rows, -1)
        mask = torch.zeros(self._rows, 1, HORIZON, length + HORIZON)  # as the public reference: without one it is causal

        def velocity(actions: Tensor, t: float) -> Tensor:
            x = self._ours.action_in_proj(actions, torch.full((len(actions),), t))
            seen = {"position_ids": positions, "past_key_values": self._cache, "attention_mask": mask}
            hidden = self._expert(inputs_embeds=x, **seen, use_cache=True).last_hidden_state
            self._cache.crop(-HORIZON)
            found: Tensor = self._ours.action_out_proj(hidden)
            return found

        return velocity


@torch.inference_mode()
def bench_engine(
    folder: Path, out: Path, runs: int = RUNS, checkout: Path | None = None, traces: Path | None = None
) -> Figures:
    """Measure a bundle on the device of engines, and the tiny pipeline on one CPU thread; prints tables and writes the figures.

    `fraction_of_floor` is of `graphed`, by case and stage; the reference's is in `bundle`.
    `ratio` is ours to transformers' of the whole tiny pipeline, the worse of the numbers of samples.
    Raises InvalidInput for a bundle that is none, EngineFailure where transformers computes something else.
    """
    bundle, tiny = bench_bundle(folder, claim_device(), runs), bench_tiny(runs)
    ratios = [found["ratio"] for found in tiny["samples"].values()]
    raced = pace.bench_pace(folder, runs, checkout=checkout, traces=traces)
    floors = {name: found["fraction_of_floor"] for name, found in raced["cases"].items()} if raced["rates"] else None
    figures: Figures = {
        "ratio": None if None in ratios else max(ratios),
        "ratio_is": "not measured: no transformers" if None in ratios else f"whole, worse of {SAMPLES} samples, goal <= 0.8",
        "fraction_of_floor": floors,
        "fraction_of_floor_is": "not measured: no accelerator" if floors is None else "weights read, products made / measured",
        "tiny": tiny,
        "bundle": bundle,
        "pace": raced,
        "runs": runs,
        "torch": torch.__version__,
        "transformers": None if None in ratios else import_module("transformers").__version__,
    }
    for name in ("tiny", "bundle"):
        _print_tables(name, figures[name]["samples"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench_engine.json").write_text(json.dumps(figures, indent=1))
    pace_page.write(figures["pace"], out)
    return figures


def bench_tiny(runs: int) -> Figures:
    """The tiny pipeline on one CPU thread, with transformers' modules beside it where they are installed."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    model, prompt = tiny_model(generator), tiny_prompt(generator)
    ours = Ours(model, prompt)
    theirs = Transformers(model, TINY, prompt) if find_spec("transformers") is not None else None
    samples = {str(count): bench_pair(ours, theirs, count, runs) for count in SAMPLES}
    return {"weights": "untrained", "device": "cpu", "threads": torch.get_num_threads(), "samples": samples}


def bench_pair(ours: Pipeline, theirs: Pipeline | None, samples: int, runs: int) -> Figures:
    """Percentiles of both by stage, taken by turns, and the median over the runs of ours to theirs for the whole.

    Raises EngineFailure, and times nothing, unless both compute the same.
    """
    noise = torch.randn(samples, HORIZON, 2, generator=torch.Generator().manual_seed(samples))
    if theirs is None:
        return {"ours": race({"ours": ours}, noise, runs)["ours"].percentiles(), "transformers": None, "ratio": None}
    check_equal(ours, theirs, noise)
    watches = race({"ours": ours, "transformers": theirs}, noise, runs)
    whole, their_whole = (np.array(watch.ms["whole"]) for watch in watches.values())
    ratio = round(float(np.median(whole / their_whole)), 3)
    return {name: watch.percentiles() for name, watch in watches.items()} | {"ratio": ratio}


def bench_bundle(folder: Path, where: torch.device, runs: int) -> Figures:
    """A bundle before black images, any WORDS written; `encode`, from the observation to the prompt, is not in `whole`."""
    bundle, config = open_bundle(folder)
    tokenizer, model = read_tokenizer(folder, config), open_model(bundle, config, where)
    observation = blank_observation(bundle.profile)

    def encoded() -> Prompt:
        return encode(observation, bundle.profile, tokenizer, config, "reason")

    prompt, encoding, samples = encoded(), Stopwatch(where), {}
    for _ in range(runs):
        encoding.time("encode", encoded)
    for count in SAMPLES:
        noise = torch.randn(count, HORIZON, 2, generator=torch.Generator().manual_seed(count)).to(where)
        watch = race({"ours": Ours(model, prompt)}, noise, runs)["ours"]
        samples[str(count)] = {"ours": encoding.percentiles() | watch.percentiles()}
    on_gpu = where.type == "cuda"
    return {
        "folder": str(folder),
        "weights": bundle.weights,
        "prompt_tokens": len(prompt.token_ids),
        "device": torch.cuda.get_device_name(where) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(where) if on_gpu else None,
        "fraction_of_floor": fractions_of_floor(model, samples["1"]["ours"], bandwidth(where), STEPS) if on_gpu else None,
        "samples": samples,
    }


def race(pipelines: Mapping[str, Pipeline], noise: Tensor, runs: int) -> dict[str, Stopwatch]:
    """Time every pipeline once per run, in alternating order, after a warm-up that does not count."""
    print(f"{' and '.join(pipelines)}, samples {len(noise)}: {runs} runs", flush=True)
    kept = {name: Stopwatch(noise.device) for name in pipelines}
    for run in range(-min(WARM_UP, runs), runs):
        for name in sorted(pipelines, reverse=run % 2 == 1):
            run_once(pipelines[name], noise, kept[name] if run >= 0 else Stopwatch(noise.device))
    return kept


def run_once(pipeline: Pipeline, noise: Tensor, watch: Stopwatch) -> None:
    """One look by itself; then the whole: prefill, which looks again, every token, and the flow."""
    watch.time("look", pipeline.look)
    began = watch.now_ms()
    watch.time("prefill", pipeline.prefill)
    marks: list[float] = []

    def choose(logits: Tensor, index: int) -> Tensor:
        marks.append(watch.now_ms())
        return ranked(logits, index)

    pipeline.write(len(noise), choose)
    marks.append(watch.now_ms())
    watch.ms["token"] += [end - start for start, end in pairwise(marks)]
    watch.time("flow", lambda: euler(pipeline.velocity(), noise, STEPS))
    watch.ms["whole"].append(watch.now_ms() - began)


def ranked(logits: Tensor, _: int) -> Tensor:
    """Row n takes the token of rank n, so that no two rows are written alike."""
    return logits.topk(len(logits)).indices.diagonal()


def check_equal(ours: Pipeline, theirs: Pipeline, noise: Tensor) -> None:
    """Raise EngineFailure unless both give the same logits before every word, and the same velocities all along our flow."""
    _require_close("logits", _logits(ours, len(noise)), _logits(theirs, len(noise)), LOGITS_TOLERANCE)
    path = euler(ours.velocity(), noise, STEPS)
    _require_close("velocities", _velocities(ours, path), _velocities(theirs, path), VELOCITY_TOLERANCE)


def _velocities(pipeline: Pipeline, path: Tensor) -> Tensor:
    """Velocities at the points of a path (STEPS + 1, rows, 64, 2), at even times from 0 to 1."""
    velocity, times = pipeline.velocity(), torch.linspace(0.0, 1.0, len(path)).tolist()
    return torch.stack([velocity(actions, t) for actions, t in zip(path, times, strict=True)])


def _logits(pipeline: Pipeline, rows: int) -> Tensor:
    """Logits (WORDS, rows, V) that a pipeline chooses its words from."""
    found: list[Tensor] = []

    def choose(logits: Tensor, index: int) -> Tensor:
        found.append(logits)
        return ranked(logits, index)

    pipeline.prefill()
    pipeline.write(rows, choose)
    return torch.stack(found)


def _require_close(what: str, ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    difference = float(torch.where(ours == theirs, 0.0, (ours - theirs).abs()).max())  # barred tokens are both -inf
    if not difference <= tolerance:
        raise EngineFailure(f"{what} differ from transformers' by {difference:.2g}, allowed {tolerance:g}: nothing is timed")


def _action_tokens(model: Alpamayo) -> slice:
    first = model.config.traj_token_start
    return slice(first, first + model.config.traj_vocab_size)


def tiny_model(generator: torch.Generator) -> Alpamayo:
    """The tiny network with random weights that keep numbers of size 1, norms and biases uneven."""
    model = Alpamayo(parse_config(TINY, TINY["vlm_config"], "tiny")).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(drawn / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else parameter + 0.1 * drawn)
    return model


def tiny_prompt(generator: torch.Generator) -> Prompt:
    """Four images of 64x96 of noise behind twenty random words, and random words to PROMPT_TOKENS."""
    stored = TINY["vlm_config"]
    image = [stored["vision_start_token_id"], *[stored["image_token_id"]] * 6, stored["vision_end_token_id"]]
    words = torch.randint(0, 256, (PROMPT_TOKENS - 4 * len(image),), generator=generator).tolist()
    patches = torch.rand(4, 24, 1536, generator=generator) * 2 - 1
    ids = torch.tensor([*words[:20], *image * 4, *words[20:]])
    return Prompt(ids, Images(patches, (4, 6), (0, 1, 2, 6), (0,) * 4), [Block((1, 2, 3), None, None)] * 4)


def _print_tables(name: str, samples: Mapping[str, Figures]) -> None:
    for count, found in samples.items():
        whose = {who: stages for who, stages in found.items() if who != "ratio" and stages is not None}
        table = Table("stage", *(f"{who} p50 / p95 / p99 ms" for who in whose), title=f"{name}, samples: {count}")
        for stage in whose["ours"]:
            table.add_row(stage, *(" / ".join(f"{ms:.2f}" for ms in stages[stage].values()) for stages in whose.values()))
        Console(width=100).print(table)
