"""Commands that try the whole package: the demonstration and the benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from alpamayo_ros.cli.app import Bundle, Figures, app, make_room, shipped_nano, unless_failed


@app.command
def demo(out: Path = Path("out/demo"), duration_s: float = 20.0, bundle: Bundle = "kinematic") -> Figures:
    """Let a bundle drive the world through the planner node; then replay a bag into the node in real time, and print tables."""
    import shutil

    from alpamayo_ros.engine.loading import resolved
    from alpamayo_ros.evaluation.demo import run_demo
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.simulation.closed_loop.suite import Driver
    from alpamayo_ros.simulation.data.bag import make_bag as write
    from alpamayo_ros.simulation.simulate import Asked, simulate
    from alpamayo_ros.simulation.suites import suite

    rig, driver = "seven_camera", resolved(bundle)
    make_room(out / "bag", overwrite=True)
    make_room(out / "recording", overwrite=True)
    if (out / "drive").exists():
        shutil.rmtree(out / "drive")  # of an older demo
    asked = Asked("demo", suite("demo"), (Driver(driver, rig, over_ros=True),), out / "drive", films_of="all", record=True)
    driven = simulate(asked)
    write(out / "bag", read_rig(rig), duration_s=duration_s, seed=0)
    replayed = run_demo(out / "bag", out, rig, driver)
    return replayed | {"driven": driven, "files": [*replayed["files"], *driven["files"]]}


@app.command
def bench(
    what: Positional[
        Literal["ros", "engine", "speculation", "deliberation", "evaluate", "simulate", "safety", "soak", "training"]
    ],
    bag: Annotated[
        Path | None, arg(metavar="BAG", help="ros, evaluate, deliberation: what to replay; none is a new bag")
    ] = None,
    duration_s: Annotated[float, arg(help="ros, evaluate, deliberation: length of the new bag; soak: how long")] = 60.0,
    gigabytes: Annotated[float, arg(help="evaluate: repeat the bag until it weighs this much")] = 10.0,
    bundle: Annotated[
        str,
        arg(metavar="DIR", help="engine, deliberation, training: a model bundle's folder; none named: the shipped ar1_nano"),
    ] = "",
    samples: Annotated[int, arg(help="simulate: labelled samples to make")] = 2000,
    workers: Annotated[int, arg(help="simulate: processes that make them")] = 2,
    poses: Annotated[Path | None, arg(metavar="FILE", help="safety: poses of a KITTI drive; none is the expert alone")] = None,
    scenes: Annotated[int, arg(help="safety: scenes of the expert")] = 64,
    size: Annotated[Literal["debug", "micro", "nano"], arg(help="training: of the network and its stages")] = "nano",
    reference: Annotated[
        Path | None,
        arg(metavar="DIR", help="engine: a clone of NVlabs/alpamayo, timed beside ours"),
    ] = None,
    traces: Annotated[
        Path | None, arg(metavar="FILE", help="speculation, engine: JSON {drive: [trace, ...]}, in order")
    ] = None,
    out: Path = Path("out/bench"),
) -> Figures:
    """Measure the figures of docs/performance.md, with the public node's way, or transformers' modules, in the same run."""
    bundle = bundle or str(shipped_nano())
    if what == "engine":
        from alpamayo_ros.engine.benchmark import bench_engine

        return {"bench": what, **bench_engine(Path(bundle), out, checkout=reference, traces=traces)}
    if what == "speculation":
        from alpamayo_ros.engine.speculation.replay import bench_speculation
        from alpamayo_ros.types import InvalidInput

        if traces is None:
            raise InvalidInput("bench speculation replays traces of drives: want --traces FILE")
        return {"bench": what, **bench_speculation(traces, out)}
    from alpamayo_ros.profile import read_profile, read_rig
    from alpamayo_ros.simulation.data.bag import make_bag as write

    if what == "soak":
        from alpamayo_ros.simulation.faults.soak import run_soak

        return {"bench": what, **run_soak(out, duration_s / 60.0)}
    if what == "safety":
        from alpamayo_ros.simulation.expert_rejects import count_false_rejects

        return {"bench": what, **count_false_rejects(poses, scenes, out)}
    if what == "training":
        from alpamayo_ros.training.throughput import bench_training

        return {"bench": what, **bench_training(size, Path(bundle), out)}
    rig = read_rig("seven_camera")
    if what == "simulate":
        from alpamayo_ros.simulation.benchmark import bench_simulate

        made = bench_simulate(rig, read_profile("ar1_nano"), samples, workers, out / "dataset")
        return {"bench": what, **made}
    if bag is None:
        bag = out / "bag"
        make_room(bag, overwrite=True)
        write(bag, rig, duration_s=duration_s, seed=0)
    if what == "evaluate":
        from alpamayo_ros.evaluation.openloop.benchmark import bench_evaluate

        make_room(out / "long", overwrite=True)
        return {"bench": what, **bench_evaluate(bag, rig, "seven_camera", gigabytes, out)}
    if what == "deliberation":
        from alpamayo_ros.evaluation.openloop.deliberation import bench_deliberation

        return {"bench": what, **bench_deliberation(bag, rig, bundle, out)}
    from alpamayo_ros.evaluation.benchmark import bench_ros

    return {"bench": what, **bench_ros(bag, rig, read_profile("seven_camera"), out)}


@app.command
def faults(
    out: Path = Path("out/faults"),
    subset: Annotated[
        Literal["ci", "all", "broken"],
        arg(help="ci: every row once or more; all: every severity and phase; broken: planners that the monitor must catch"),
    ] = "ci",
    shard: Annotated[str, arg(metavar="I/N", help="this share of the runs")] = "1/1",
    seeds: Annotated[int, arg(help="how often everything is run")] = 1,
    resume: Annotated[bool, arg(help="go on with what is in --out")] = False,
    merge: Annotated[bool, arg(help="run nothing: one table of all shards in --out")] = False,
    at_least: Annotated[
        float, arg(help="with --merge: status 1 unless so many runs of 1 were as expected; of unsafe ones, none may be")
    ] = 1.0,
) -> Figures:
    """Break everything around a driving planner, on purpose, and hold what it publishes against the catalogue of faults."""
    from alpamayo_ros.simulation.faults.campaign import merge as merge_shards
    from alpamayo_ros.simulation.faults.campaign import run_campaign
    from alpamayo_ros.types import InvalidInput

    if subset == "broken":
        from alpamayo_ros.simulation.faults.sabotage import run_broken

        caught = run_broken(out)
        return unless_failed(caught, failed=bool(caught["missed"] or caught["control"]))
    if not merge:
        return run_campaign(out, subset, shard_of(shard), resume, seeds)
    if not (shards := sorted(out.glob("runs-*-of-*.jsonl"))):
        raise InvalidInput(f"{out}: no runs-I-of-N.jsonl of a campaign")
    figures = merge_shards(shards, out)
    return unless_failed(figures, failed=bool(figures["unsafe"]) or figures["good_share"] < at_least)


def shard_of(text: str) -> tuple[int, int]:
    """ "2/4" -> (2, 4). Raises InvalidInput."""
    from alpamayo_ros.types import InvalidInput

    place, _, of = text.partition("/")
    if not (place.isdecimal() and of.isdecimal() and 1 <= int(place) <= int(of)):
        raise InvalidInput(f"shard {text!r}: want I/N with I from 1 to N, such as 1/2")
    return int(place), int(of)
