"""Commands of post-training: examples of recorded drives, and a bundle that learns from them, also under torchrun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from alpamayo_ros.cli.app import Figures, Rig, app, endpoint_key

Profile = Annotated[str, arg(metavar="NAME|FILE", help="of the bundle that is to learn from them: BUNDLE/profile.yaml")]

Data = Annotated[
    UseAppendAction[tuple[Path, ...]],
    arg(metavar="DIR", help="of alpamayo add-drives or make-dataset: of its split train (repeatable)"),
]
Measured = Annotated[
    int, arg(metavar="INT", help="windows on which the expert's trajectory is measured: of split validation, if none of train")
]
Out = Annotated[Path, arg(metavar="DIR", help="folder of the run; one that was cut off goes on")]

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
"""What torchrun says of a process, and what is so without it."""


@app.command(name="add-drives")
def add_drives(
    out: Positional[Annotated[Path, arg(metavar="DATA", help="shards and index.json; drives that it has are kept")]],
    bag: Positional[Annotated[tuple[Path, ...], arg(metavar="BAG", help="rosbag2 folders or files")]],
    profile: Profile,
    rig: Rig = "seven_camera",
    physical_ai_av: Annotated[
        Path | None, arg(metavar="DIR", help="folder in the layout of PhysicalAI-AV: all of its clips")
    ] = None,
    rate_hz: Annotated[float, arg(help="examples per second of a drive")] = 2.0,
    workers: Annotated[int, arg(help="processes that read drives")] = 1,
) -> Figures:
    """Make examples of recorded drives, or add drives to a data set: what the planner would have seen, and was driven then."""
    from alpamayo_ros.profile import read_profile, read_rig
    from alpamayo_ros.training.dataset.adding import BagDrive, Drive, Recipe, av_drives
    from alpamayo_ros.training.dataset.adding import add_drives as add

    vehicle = read_rig(rig)
    drives: list[Drive] = [BagDrive(path, vehicle) for path in bag]
    if physical_ai_av is not None:
        drives += av_drives(physical_ai_av)
    return add(out, Recipe(read_profile(profile), rate_hz), drives, workers)


@app.command(name="post-train")
def post_train(
    stage: Positional[Annotated[Literal["sft", "expert"], arg(metavar="STAGE", help="the backbone, or the expert on it")]],
    bundle: Positional[Annotated[Path, arg(metavar="BUNDLE", help="folder of a model with weights")]],
    data: Data,
    out: Out,
    steps: Annotated[int, arg(help="updates")],
    batch: Annotated[int, arg(help="examples of an update, all processes and passes together")],
    labels: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(metavar="FILE", help="of alpamayo label (repeatable); what has no reasoning is learned as a trajectory at once"),
    ] = (),
    parts: Annotated[
        tuple[Literal["vision", "views", "language"], ...],
        arg(help="sft: what is trained; none named is views and language, before a frozen vision tower"),
    ] = (),
    lora_rank: Annotated[int | None, arg(metavar="INT", help="sft: the language model learns through adapters")] = None,
    learning_rate: Annotated[float | None, arg(metavar="FLOAT", help="none is 1e-5 for sft, 1e-4 for expert")] = None,
    accumulate: Annotated[int, arg(help="passes of an update")] = 1,
    bfloat16: Annotated[bool, arg(help="matrix products in bfloat16, weights stay in float32")] = False,
    recompute: Annotated[bool, arg(help="activations once more in the backward pass: less memory, a third more time")] = False,
    save_every: Annotated[int, arg(help="updates between checkpoints")] = 500,
    measured: Measured = 16,
    seed: int = 0,
) -> Figures:
    """Post-train a bundle on drives, in one process or in those that torchrun started: docs/training_at_scale.md."""
    from alpamayo_ros.training.posttraining import RATES, PostTraining, learned_of, scheduled
    from alpamayo_ros.training.posttraining import post_train as train
    from alpamayo_ros.training.processes import joined
    from alpamayo_ros.training.settings import Optimisation

    settings = Optimisation(
        steps=steps,
        batch=batch,
        learning_rate=RATES[stage] if learning_rate is None else learning_rate,
        accumulate=accumulate,
        precision="bfloat16" if bfloat16 else "float32",
        recompute=recompute,
        seed=seed,
        save_every=save_every,
    )
    asked = PostTraining(bundle, data, labels, out, learned_of(stage, parts, lora_rank), scheduled(settings), measured)
    rank, count, local_rank = (int(os.getenv(name, alone)) for name, alone in TORCHRUN.items())
    with joined(rank, count, local_rank) as processes:
        return train(asked, processes)


@app.command
def reinforce(
    bundle: Positional[Annotated[Path, arg(metavar="BUNDLE", help="folder of a model with weights")]],
    data: Data,
    out: Out,
    steps: Annotated[int, arg(help="updates")],
    batch: Annotated[int, arg(help="samples of an update, chosen from the pool by what they teach")],
    pool: Annotated[int, arg(help="samples that are rolled out for an update")],
    labels: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(metavar="FILE", help="of alpamayo label (repeatable); what has no reasoning is not asked about"),
    ] = (),
    examples: Annotated[int, arg(help="labelled ones, at most: their pictures are kept in memory")] = 512,
    rollouts: Annotated[int, arg(help="of a sample")] = 16,
    temperature: Annotated[float, arg(help="of the rollouts")] = 0.6,
    max_tokens: Annotated[int, arg(help="of a rollout's words")] = 256,
    rewards: Annotated[Literal["paper", "released", "world"], arg(help="weights of the terms")] = "released",
    objective: Annotated[
        Literal["clipped", "weighted"], arg(help="the clipped ratio of Cosmos-RL, or the weighted likelihood of the paper")
    ] = "clipped",
    kl: Annotated[float, arg(help="weight of the distance to the model that it began as")] = 0.01,
    judge: Annotated[str, arg(metavar="URL", help="OpenAI-compatible endpoint that scores words; none: by rule")] = "",
    model: Annotated[str, arg(metavar="NAME", help="of that judge")] = "",
    key_from: Annotated[str, arg(metavar="VARIABLE", help="environment variable that holds the judge's key")] = "",
    cache: Annotated[Path, arg(metavar="DIR", help="its answers, so that nothing is paid twice")] = Path("out/answers"),
    ray: Annotated[str, arg(metavar="ADDRESS", help="a Ray whose workers write the rollouts, or local")] = "",
    workers: Annotated[int, arg(help="of that Ray")] = 1,
    gpus: Annotated[float, arg(help="of each of them")] = 0.0,
    learning_rate: float = 1e-6,
    save_every: Annotated[int, arg(help="updates between checkpoints")] = 20,
    measured: Measured = 16,
    seed: int = 0,
) -> Figures:
    """GRPO of a bundle on its own rollouts; its expert is to be trained on what comes out: docs/training.md."""
    from alpamayo_ros.training.objectives import ClippedRatio, WeightedLikelihood
    from alpamayo_ros.training.processes import joined
    from alpamayo_ros.training.reinforce import Reinforcement
    from alpamayo_ros.training.reinforcing import Reinforcing, judge_of, reinforce_on_drives
    from alpamayo_ros.training.rewards import CONFIGS
    from alpamayo_ros.training.settings import Optimisation
    from alpamayo_ros.training.workers import Workers
    from alpamayo_ros.types import Request

    settings = Reinforcement(
        Optimisation(steps=steps, batch=batch, learning_rate=learning_rate, seed=seed, save_every=save_every),
        ClippedRatio(kl_beta=kl) if objective == "clipped" else WeightedLikelihood(beta=1.0, kl_weight=kl),
        Request(samples=rollouts, greedy=False, temperature=temperature, max_tokens=max_tokens),
        pool=pool,
    )
    judged = judge_of(judge, model, endpoint_key(key_from), cache)
    asked = Reinforcing(bundle, data, labels, out, examples, settings, CONFIGS[rewards], judged, measured)
    crew = Workers(ray, workers, gpus=gpus) if ray else Workers()
    with joined(0, 1, 0) as alone:
        return reinforce_on_drives(asked, alone, crew)
