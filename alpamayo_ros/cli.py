"""The `alpamayo` command. It composes and nothing else: each command imports what it needs inside its function, so that
`alpamayo --help` answers at once. The last line on stdout is one JSON object with the figures."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, arg

Figures = dict[str, Any]
Rig = Annotated[str, arg(metavar="NAME|FILE", help="rig: a name from config/rigs or a .yaml file")]
Bundle = Annotated[str, arg(metavar="NAME|DIR", help="a built-in engine (kinematic) or a model bundle's folder")]
Profile = Annotated[str, arg(metavar="NAME|FILE", help="input profile for a built-in engine")]

MISSING = {"rclpy": "source your ROS 2 installation"} | {
    library: f'pip install "alpamayo_ros[{extra}]"'
    for extra, libraries in {
        "evaluation": ("matplotlib", "jinja2", "av", "PIL", "rerun"),
        "ray": ("ray",),
        "physical_ai_av": ("pyarrow",),
    }.items()
    for library in libraries
}
"""What to do about a library that only some commands need."""

app = tyro.extras.SubcommandApp()


@app.command(name="make-bag")
def make_bag(
    out: Positional[Path], rig: Rig = "seven_camera", duration_s: float = 20.0, seed: int = 0, overwrite: bool = False
) -> Figures:
    """Write a seven-camera MCAP rosbag2 of the driving world."""
    from alpamayo_ros.bags.whole import whole_bag
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.simulation.bag import make_bag as write

    with whole_bag(out, overwrite) as part:
        return dataclasses.asdict(write(part, read_rig(rig), duration_s=duration_s, seed=seed))


@app.command
def doctor(
    bag: Positional[Annotated[Path | None, arg(metavar="[BAG]", help="rosbag2 folder or file; none is the live graph")]] = None,
    rig: Annotated[str | None, arg(metavar="NAME|FILE", help="rig to hold it against")] = None,
    seconds: Annotated[float, arg(help="how long to listen to the live graph")] = 5.0,
    out: Path = Path("out/doctor"),
) -> Figures:
    """Say which topic is which camera, in a bag or live, and what is wrong with rates, stamps, types, QoS and calibration."""
    from alpamayo_ros.evaluation.doctor.diagnosis import examine_bag, report, write_contact_sheet
    from alpamayo_ros.profile import read_rig

    declared = read_rig(rig) if rig else None
    if bag is None:
        from alpamayo_ros.evaluation.doctor.live import examine_graph

        diagnosis = examine_graph(declared, seconds)
    else:
        diagnosis = examine_bag(bag, declared)
    print(report(diagnosis))
    sheet = write_contact_sheet(diagnosis, out)
    print(f"contact sheet: {sheet}")
    return {"roles": dict(diagnosis.roles), "problems": list(diagnosis.problems), "files": [str(sheet)]}


@app.command
def record(
    out: Positional[Path],
    topics: Annotated[tuple[str, ...], arg(help="topics to record; none named is every one")] = (),
    seconds: Annotated[float | None, arg(metavar="FLOAT", help="stop after this long; otherwise Ctrl-C stops")] = None,
    use_sim_time: Annotated[bool, arg(help="stamp records with /clock")] = False,
    overwrite: bool = False,
) -> Figures:
    """Record live topics, undecoded, into an MCAP rosbag2."""
    from alpamayo_ros.evaluation.doctor.live import record_graph

    _make_room(out, overwrite)
    return record_graph(out, topics, seconds, use_sim_time)


@app.command
def recover(bag: Positional[Path], out: Positional[Path], overwrite: bool = False) -> Figures:
    """Repair a recording that was cut off: copy what is whole into a new bag and say what is lost."""
    from alpamayo_ros.bags import recover as repair

    return dataclasses.asdict(repair(bag, out, overwrite))


@app.command
def convert(
    source: Positional[Annotated[Path, arg(metavar="DIR", help="a data set's folder")]],
    out: Positional[Annotated[Path, arg(metavar="DIR", help="the bag to be written, with its rig as rig.yaml in it")]],
    kind: Literal["physical-ai-av", "nuscenes", "kitti"],
    scene: Annotated[str | None, arg(metavar="NAME", help="clip, scene or drive; none lists what the folder has")] = None,
    rate_hz: Annotated[float, arg(help="cameras that are faster keep every n-th frame")] = 10.0,
    overwrite: bool = False,
) -> Figures:
    """Write a clip of a data set as a bag, calibration and odometry included."""
    from alpamayo_ros.evaluation.conversion.convert import convert as write

    return dataclasses.asdict(write(kind, source, scene, out, rate_hz, overwrite))


@app.command
def fetch(
    bundle: Positional[Annotated[Path, arg(metavar="DIR", help="a model bundle's folder, for example models/alpamayo_r1_10b")]],
    out: Annotated[Path | None, arg(metavar="DIR", help="another folder, which becomes a bundle; none is the bundle's")] = None,
) -> Figures:
    """Download the released weights of a bundle and verify every file; run it again to go on or to verify once more."""
    from alpamayo_ros.bundle.fetching import fetch as download
    from alpamayo_ros.bundle.folder import read_bundle

    return dataclasses.asdict(download(read_bundle(bundle), out or bundle))


@app.command
def info(bundle: Positional[Bundle]) -> Figures:
    """Say what a bundle is: parameters, weights, tokens, memory, cameras, and which files it lacks."""
    from alpamayo_ros.engine.description import describe

    figures = describe(bundle)
    if figures["missing"]:
        remedy = f"; run: {figures['fetch']}" if figures["fetch"] else ""
        print(f"missing: {', '.join(figures['missing'])}{remedy}")
    return figures


@app.command
def replay(
    bag: Positional[Path], bundle: Bundle = "kinematic", rig: Rig = "seven_camera", profile: Profile = "seven_camera"
) -> Figures:
    """Put every window of a bag through the planner, offline and deterministic."""
    from alpamayo_ros.evaluation.replay import replay_bag
    from alpamayo_ros.profile import read_rig

    result = replay_bag(bag, read_rig(rig), bundle, profile)
    consistency, shuffled = result.consistency
    for reason, count in result.reasons.most_common(10):
        print(f"{count:6d} x {reason}")
    return {
        "plans": len(result.plans),
        "rejected": result.rejected,
        "weights": result.weights,
        "consistency": consistency,
        "consistency_shuffled": shuffled,
        "sha256": result.sha256,
    }


@app.command
def evaluate(
    bags: Positional[Annotated[tuple[Path, ...], arg(metavar="BAG [BAG ...]", help="rosbag2 folders or files")]],
    bundle: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME|DIR", help="a built-in engine (none named: kinematic) or bundle; others are compared to the first"),
    ] = (),
    rig: Rig = "seven_camera",
    profile: Profile = "seven_camera",
    out: Path = Path("out/evaluation"),
    rate_hz: Annotated[float, arg(help="windows per second of a bag, at most")] = 2.0,
    samples: Annotated[int, arg(help="trajectories drawn; minADE_6 wants 6")] = 6,
    reasoning: Annotated[Literal["none", "full"], arg(help="whether the model writes its Chain of Causation first")] = "full",
    draw: Annotated[bool, arg(help="draw words at temperature 0.6 instead of taking the likeliest")] = False,
    ray: Annotated[str | None, arg(metavar="local|ADDRESS", help="bags over Ray; none is one after the other")] = None,
    ray_cpus: Annotated[float, arg(help="of a Ray cluster, per bag")] = 1.0,
    ray_gpus: Annotated[
        float | None, arg(metavar="FLOAT", help="likewise; none is 1 where there are GPUs and a bundle has a network")
    ] = None,
    against: Annotated[Path | None, arg(metavar="JSON", help="an evaluation.json to compare with")] = None,
    fail_on: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="CONDITION", help="when to end with status 1, such as 'ade_6_4s>+2%'")
    ] = (),
    golden: Annotated[Path | None, arg(metavar="JSON", help="golden plans to compare with; status 1 if they differ")] = None,
    write_golden: Annotated[
        Path | None, arg(metavar="JSON", help="write three plans of this evaluation as golden ones")
    ] = None,
) -> Figures:
    """Hold what is planned on bags against what was driven: metrics with intervals, baselines, a report, a gate for CI."""
    from alpamayo_ros.evaluation.openloop.evaluate import Asked
    from alpamayo_ros.evaluation.openloop.evaluate import evaluate as run
    from alpamayo_ros.evaluation.openloop.fan_out import PerBag
    from alpamayo_ros.evaluation.openloop.results import Setup
    from alpamayo_ros.types import Request

    setup = Setup(rig, bundle or ("kinematic",), profile, Request(samples, reasoning, greedy=not draw), rate_hz)
    figures = run(Asked(bags, setup, out, ray, PerBag(ray_cpus, ray_gpus), against, fail_on, golden, write_golden))
    if figures["failed"]:
        print(json.dumps(figures))
        raise SystemExit(1)
    return figures


@app.command
def plan(
    bag: Path,
    at: Annotated[float, arg(help="seconds after the bag's first anchor frame")],
    bundle: Bundle = "kinematic",
    rig: Rig = "seven_camera",
    profile: Profile = "seven_camera",
    out: Path = Path("out/plan"),
    ask: Annotated[str | None, arg(metavar="QUESTION", help="print the model's answer to a question instead")] = None,
    samples: Annotated[int, arg(help="trajectories drawn; the one nearest to the others is chosen")] = 1,
    reasoning: Annotated[Literal["none", "full"], arg(help="whether the model writes its Chain of Causation first")] = "full",
    trajectory: Annotated[Literal["flow", "tokens"], arg(help="by the action expert, or written as tokens")] = "flow",
    draw: Annotated[bool, arg(help="draw words at temperature 0.6 instead of taking the likeliest")] = False,
    max_tokens: Annotated[int, arg(help="reasoning that is longer is incomplete")] = 256,
    route: Annotated[
        str | None, arg(metavar="TEXT", help="navigation: MANEUVER METRES [ROAD], as in 'turn_left 40 Main St'")
    ] = None,
    guidance: Annotated[float, arg(help="weight of guidance towards the route; 0 is off")] = 0.0,
) -> Figures:
    """Make one plan from a bag, print its trace and trajectory and draw it; or ask the model about what it sees."""
    from alpamayo_ros.evaluation.single import Asked, answer_once, instant, navigation_of, plan_once
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.types import InvalidInput, Request

    if guidance and not route:
        raise InvalidInput(f"--guidance {guidance} guides towards a route: want --route as well")
    if ask is not None and (route or samples != 1 or trajectory != "flow" or reasoning != "full"):
        raise InvalidInput(
            "--ask goes without --route, --samples, --trajectory and --reasoning: a question stands in their place"
        )
    request = Request(samples, reasoning, not draw, guidance=guidance, max_tokens=max_tokens, trajectory=trajectory)
    t0_ns = instant(bag, read_rig(rig), at)
    navigation = navigation_of(route, t0_ns) if route else None
    asked = Asked(bag, t0_ns, read_rig(rig), bundle, profile, request, navigation)
    return plan_once(asked, out) if ask is None else answer_once(asked, ask)


@app.command
def view(
    bag: Positional[Path],
    out: Annotated[Path, arg(help="ends in .rrd (Rerun), .mp4 or .gif")] = Path("out/view.rrd"),
    bundle: Annotated[
        str | None, arg(metavar="NAME|DIR", help="plan offline with it; none shows the plans that the bag holds")
    ] = None,
    rig: Rig = "seven_camera",
    profile: Profile = "seven_camera",
    planner: Annotated[str, arg(help="name of the node whose plans the bag holds")] = "/alpamayo_planner",
    start_s: Annotated[float, arg(help="seconds after the bag's first anchor frame")] = 0.0,
    duration_s: Annotated[float | None, arg(metavar="FLOAT", help="none is to the end")] = None,
    overwrite: bool = False,
) -> Figures:
    """Show cameras with the trajectory in them, the view from above and the trace: for Rerun, or as a film."""
    from alpamayo_ros.evaluation.viewing.view import Shown, view_bag
    from alpamayo_ros.profile import read_rig

    return view_bag(Shown(bag, read_rig(rig), bundle, profile, planner, start_s, duration_s), out, overwrite)


@app.command
def demo(out: Path = Path("out/demo"), duration_s: float = 20.0, bundle: Bundle = "kinematic") -> Figures:
    """Make a bag, replay it over DDS into the planner node, record what it says and print a table."""
    from alpamayo_ros.evaluation.demo import run_demo
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.simulation.bag import make_bag as write

    rig = "seven_camera"
    _make_room(out / "bag", overwrite=True)
    _make_room(out / "recording", overwrite=True)
    write(out / "bag", read_rig(rig), duration_s=duration_s, seed=0)
    return run_demo(out / "bag", out, rig, str(Path(bundle).resolve()) if Path(bundle).is_dir() else bundle)


@app.command
def bench(
    what: Positional[Literal["ros", "engine", "evaluate"]],
    bag: Annotated[Path | None, arg(metavar="BAG", help="ros, evaluate: what to replay; none is a new bag")] = None,
    duration_s: Annotated[float, arg(help="ros, evaluate: length of the new bag")] = 60.0,
    gigabytes: Annotated[float, arg(help="evaluate: repeat the bag until it weighs this much")] = 10.0,
    bundle: Annotated[Path, arg(metavar="DIR", help="engine: a model bundle's folder")] = Path("models/ar1_nano"),
    out: Path = Path("out/bench"),
) -> Figures:
    """Measure the figures of docs/performance.md, with the public node's way, or transformers' modules, in the same run."""
    if what == "engine":
        from alpamayo_ros.engine.benchmark import bench_engine

        return {"bench": what, **bench_engine(bundle, out)}
    from alpamayo_ros.profile import read_profile, read_rig
    from alpamayo_ros.simulation.bag import make_bag as write

    rig = read_rig("seven_camera")
    if bag is None:
        bag = out / "bag"
        _make_room(bag, overwrite=True)
        write(bag, rig, duration_s=duration_s, seed=0)
    if what == "evaluate":
        from alpamayo_ros.evaluation.openloop.benchmark import bench_evaluate

        _make_room(out / "long", overwrite=True)
        return {"bench": what, **bench_evaluate(bag, rig, "seven_camera", gigabytes, out)}
    from alpamayo_ros.evaluation.benchmark import bench_ros

    return {"bench": what, **bench_ros(bag, rig, read_profile("seven_camera"), out)}


def _make_room(folder: Path, overwrite: bool) -> None:
    """Make the parents of a folder that must not exist yet; with `overwrite`, delete an older bag there."""
    import shutil

    from alpamayo_ros.bags.whole import check_room

    check_room(folder, overwrite)
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)


def main() -> None:
    """Entry point: exit status 0 only when the work was done, 2 when the input was refused, 1 when nobody reads the output."""
    # Cleans up as Ctrl-C does: nothing that is half written stays. Commands with an end of their own for it set it later.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        try:
            _run()
        except SystemExit:  # after --help, too
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("alpamayo: interrupted", file=sys.stderr)
        raise SystemExit(130) from None  # 128 + SIGINT, as shells count
    except BrokenPipeError:
        # Python flushes stdout once more when it exits (docs.python.org, signal, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _run() -> None:
    try:
        figures = app.cli(prog="alpamayo", description="Seven cameras and odometry in, reasoned trajectories out.")
    except (ValueError, RuntimeError) as error:
        from alpamayo_ros.types import EngineFailure, InvalidInput, StaleInput

        if not isinstance(error, (InvalidInput, StaleInput, EngineFailure)):
            raise
        print(f"alpamayo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"alpamayo: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except ModuleNotFoundError as error:
        if error.name not in MISSING:
            raise
        print(f"alpamayo: this command needs {error.name}, which is not here: {MISSING[error.name]}", file=sys.stderr)
        raise SystemExit(2) from error
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
