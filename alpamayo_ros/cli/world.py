"""Commands of the driving world: closed loop, and labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from alpamayo_ros.cli.app import Bundle, Figures, Profile, Rig, app


@app.command
def simulate(
    suite: Annotated[str, arg(metavar="NAME", help="demo, smoke, test, held_out, validation or train")] = "smoke",
    bundle: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="NAME|DIR",
            help="who drives: kinematic (none named), a bundle, package.module:callable, expert, always_stop",
        ),
    ] = (),
    family: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME", help="of the suite, only these (red_light, cut_in, ...: docs/simulation.md)"),
    ] = (),
    scenes: Annotated[int | None, arg(metavar="INT", help="of the suite, only so many")] = None,
    rig: Rig = "seven_camera",
    profile: Profile = "seven_camera",
    ros: Annotated[bool, arg(help="through the real planner node over DDS, with /clock, instead of in process")] = False,
    plan_hz: Annotated[float, arg(help="plans per simulated second; a controller tracks in between")] = 2.0,
    latency_s: Annotated[
        UseAppendAction[tuple[float, ...]],
        arg(metavar="FLOAT", help="simulated seconds until a plan is followed; several make a sweep"),
    ] = (),
    deadline_s: Annotated[float, arg(help="longest time that one planning step may take")] = 30.0,
    samples: Annotated[int, arg(help="trajectories drawn; the one nearest to the others is chosen")] = 1,
    reasoning: Annotated[Literal["none", "full"], arg(help="whether the model writes its Chain of Causation first")] = "full",
    workers: Annotated[int, arg(help="processes that drive")] = 1,
    films: Annotated[int, arg(help="per driver, at most")] = 5,
    films_of: Annotated[Literal["bad", "all"], arg(help="drives that ended badly, or all of them")] = "bad",
    record: Annotated[bool, arg(help="write the drives of those named by --bundle as bags, with rig.yaml in each")] = False,
    out: Path = Path("out/simulation"),
) -> Figures:
    """Drive the scenes of a suite in closed loop: AlpaSim's metrics with intervals, per family, beside expert and baselines."""
    from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
    from alpamayo_ros.simulation.closed_loop.suite import Driver
    from alpamayo_ros.simulation.simulate import Asked
    from alpamayo_ros.simulation.simulate import simulate as run
    from alpamayo_ros.simulation.suites import chosen
    from alpamayo_ros.types import Request

    request = Request(samples, reasoning)
    drivers = tuple(Driver(name, rig, profile, ros, request) for name in bundle or ("kinematic",))
    settings = LoopSettings(plan_hz=plan_hz, deadline_s=deadline_s)
    asked = Asked(
        suite, chosen(suite, family, scenes), drivers, out, settings, latency_s or (0.0,), workers, films, films_of, record
    )
    return run(asked)


@app.command(name="make-dataset")
def make_dataset(
    out: Positional[
        Annotated[Path, arg(metavar="DIR", help="shards and index.json; what is there of the same recipe is kept")]
    ],
    samples: Annotated[int, arg(help="labelled windows, at least")] = 20_000,
    split: Annotated[Literal["train", "validation", "test"], arg(help="which seeds")] = "train",
    family: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="only these; none named is all that the split may have")
    ] = (),
    skip: Annotated[int, arg(help="so many seeds of the split")] = 0,
    straying: Annotated[float, arg(help="share of drives that leave the way once, to show the way back")] = 0.0,
    led_by: Annotated[
        str,
        arg(metavar="DIR", help="a bundle that drives in those from some time on, instead of a push: labels say the way out"),
    ] = "",
    plan_hz: Annotated[float, arg(help="plans per simulated second of who drives: 2 or 10; labels stay at two")] = 2.0,
    pairs: Annotated[
        int, arg(help="instead of drives, so many pairs of windows of a scene that only a light or a lead tells apart")
    ] = 0,
    rig: Rig = "seven_camera",
    profile: Annotated[str, arg(metavar="NAME|FILE", help="whose pictures and history")] = "ar1_nano",
    workers: Annotated[int, arg(help="processes that drive and draw")] = 1,
) -> Figures:
    """Make labelled samples from seeds alone: pictures, motion, what the expert then drove, its decision and its reason."""
    from alpamayo_ros.profile import read_profile, read_rig
    from alpamayo_ros.simulation.data.dataset import Recipe
    from alpamayo_ros.simulation.data.dataset import make_dataset as make
    from alpamayo_ros.simulation.data.pairs import families_of_pairs
    from alpamayo_ros.simulation.suites import families_of

    wanted = family or (families_of_pairs() if pairs else families_of(split))
    recipe = Recipe(
        split,
        read_rig(rig),
        read_profile(profile),
        wanted,
        skip,
        straying=straying,
        led_by=led_by,
        plan_hz=plan_hz,
        pairs=pairs,
    )
    return make(out, recipe, samples, workers)


@app.command
def alpasim(
    bundle: Bundle = "kinematic",
    address: Annotated[str, arg(metavar="HOST:PORT", help="where to listen; AlpaSim's own default")] = "127.0.0.1:6789",
    rig: Annotated[
        str, arg(metavar="NAME|FILE", help="anchor, camera rates and stamp offsets; none named is Hyperion 8 at 10 Hz")
    ] = "",
    profile: Profile = "seven_camera",
    samples: Annotated[int, arg(help="trajectories drawn; the one nearest to the others is chosen")] = 1,
    reasoning: Annotated[Literal["none", "full"], arg(help="whether the model writes its Chain of Causation first")] = "full",
    sessions: Annotated[int, arg(help="rollouts at the same time, at most; each has its share of memory from the start")] = 4,
    deadline_s: Annotated[float, arg(help="longest time that one plan may take")] = 30.0,
    allow_remote: Annotated[bool, arg(help="listen where other machines can reach it, without password or encryption")] = False,
) -> Figures:
    """Drive in NVIDIA's AlpaSim: a bundle as its external driver (egodriver.EgodriverService), until Ctrl-C."""
    from alpamayo_ros.simulation.alpasim.server import Asked, serve
    from alpamayo_ros.types import Request

    return serve(Asked(bundle, address, rig, profile, allow_remote, sessions, deadline_s, Request(samples, reasoning)))
