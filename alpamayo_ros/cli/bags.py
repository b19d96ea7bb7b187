"""Commands that make, check, keep, repair, convert and show recordings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from alpamayo_ros.cli.app import Figures, Profile, Rig, app, make_room


@app.command(name="make-bag")
def make_bag(
    out: Positional[Path],
    rig: Rig = "seven_camera",
    duration_s: float = 20.0,
    seed: int = 0,
    family: Annotated[str, arg(metavar="NAME", help="of scenes, as in docs/simulation.md")] = "town",
    overwrite: bool = False,
) -> Figures:
    """Write a seven-camera MCAP rosbag2 of the driving world."""
    from alpamayo_ros.bags.whole import whole_bag
    from alpamayo_ros.profile import read_rig
    from alpamayo_ros.simulation.data.bag import make_bag as write

    with whole_bag(out, overwrite) as part:
        return dataclasses.asdict(write(part, read_rig(rig), duration_s, seed, family))


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

    make_room(out, overwrite)
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
