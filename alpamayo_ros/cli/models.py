"""Commands about models and what they plan on recordings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from alpamayo_ros.cli.app import Bundle, Figures, Profile, Rig, app, unless_failed


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
def build(
    bundle: Positional[Annotated[Path, arg(metavar="DIR", help="a model bundle's folder; engines come into it")]],
    precision: Annotated[Literal["fp32", "fp16", "bf16"], arg(help="of the plans' weights and sums")] = "bf16",
    opset: Annotated[Literal[18, 23], arg(help="of ONNX; 18 where TensorRT is older than 10.14")] = 23,
    onnx: Annotated[bool, arg(help="stop at the ONNX files: no GPU and no TensorRT needed")] = False,
    fp8: Annotated[
        Path | None, arg(metavar="BAG", help="build nothing: hold @graphed-fp8 against the exact engine on a drive's windows")
    ] = None,
    rig: Annotated[str, arg(metavar="NAME|FILE", help="of that drive")] = "seven_camera",
    every_s: Annotated[float, arg(help="between those windows")] = 0.5,
) -> Figures:
    """Build engines: every part of the network as ONNX, held against torch, and as TensorRT's plans for this machine."""
    if fp8 is not None:
        from alpamayo_ros.engine.graphed.eight import PARITY, hold
        from alpamayo_ros.evaluation.replay import observations
        from alpamayo_ros.profile import read_profile, read_rig

        found = hold(bundle, observations(fp8, read_rig(rig), read_profile(str(bundle / "profile.yaml")), every_s))
        figures = {**vars(found), "why_not": found.too_far, "files": [str(bundle / PARITY)]}
        return unless_failed(figures, failed=bool(found.too_far))
    from alpamayo_ros.engine.tensorrt.build import build_onnx, build_plans

    return build_onnx(bundle, opset) if onnx else build_plans(bundle, precision, opset)


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
    return unless_failed(figures, failed=figures["failed"])


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
