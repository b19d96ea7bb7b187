"""`alpamayo view`: a bag for people to look at, in Rerun or as a film."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from alpamayo_ros.bags import bag_topics
from alpamayo_ros.engine.loading import bundle_name
from alpamayo_ros.evaluation.replay import Replay
from alpamayo_ros.evaluation.single import instant
from alpamayo_ros.evaluation.viewing.film import write_gif, write_mp4
from alpamayo_ros.evaluation.viewing.recorded import holds_plans, recorded_scenes
from alpamayo_ros.evaluation.viewing.rerun_log import write_rrd
from alpamayo_ros.evaluation.viewing.scenes import Scene, Surroundings, planned_scenes
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import InvalidInput

WRITERS: dict[str, Callable[[Iterator[Scene], Path], None]] = {".rrd": write_rrd, ".mp4": write_mp4, ".gif": write_gif}


class Shown(NamedTuple):
    """What to show of a bag."""

    bag: Path
    rig: Rig
    bundle: str | None  # plans offline; None shows the plans that the bag holds
    profile: str  # of a bundle without its own
    planner: str  # name of the node whose plans the bag holds
    start_s: float  # after the stamp of the bag's first anchor frame
    duration_s: float | None  # None is to the end


def view_bag(shown: Shown, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Write `out`, whose suffix says what it becomes: .rrd, .mp4 or .gif. The file appears when it is complete.

    Raises InvalidInput: another suffix, an `out` that is there already unless it is to be overwritten, a bag without plans or
    without what the rig declares, nothing in the span. Raises OSError where nothing can be written.
    """
    kind = out.suffix.lower()
    _check(shown, out, kind, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.part{kind}")
    part.touch()  # where it cannot be written, that is known before anything is planned
    try:
        figures = _write(shown, kind, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return {"files": [str(out)], **figures, "bytes": out.stat().st_size}


def _check(shown: Shown, out: Path, kind: str, overwrite: bool) -> None:
    if kind not in WRITERS:
        raise InvalidInput(f"{out}: want a name that ends in one of {', '.join(WRITERS)}, got {kind or 'none of them'}")
    if out.is_dir():
        raise InvalidInput(f"{out} is a folder: want the name of a file")
    if out.exists() and not overwrite:
        raise InvalidInput(f"{out} exists: choose another place or pass --overwrite")
    if not 0.0 <= shown.start_s < math.inf:
        raise InvalidInput(f"--start-s: want seconds from 0 on, got {shown.start_s:g}")
    if shown.duration_s is not None and not 0.0 < shown.duration_s < math.inf:
        raise InvalidInput(f"--duration-s: want seconds above 0, got {shown.duration_s:g}")


def _write(shown: Shown, kind: str, part: Path) -> dict[str, Any]:
    """Write the file; what is in it."""
    around = Surroundings(shown.bag, shown.rig)
    counted = _Counted()
    WRITERS[kind](counted.through(_scenes(shown, around)), part)
    for reason, count in around.refused.most_common(10):
        print(f"{count:6d} x {reason}")
    return {
        "scenes": counted.scenes,
        "plans": counted.plans,
        "messages_refused": around.refused.total(),
        "nominal_cameras": [role for role, view in around.views.items() if not view.calibrated],
        "duration_s": round((counted.last_ns - counted.first_ns) / 1e9, 3),
    }


class _Counted:
    """Counts what a writer was given."""

    def __init__(self) -> None:
        self.scenes = self.plans = self.first_ns = self.last_ns = 0

    def through(self, scenes: Iterator[Scene]) -> Iterator[Scene]:
        for scene in scenes:
            self.first_ns, self.last_ns = self.first_ns or scene.t0_ns, scene.t0_ns
            self.scenes += 1
            self.plans += scene.plan is not None
            yield scene


def _scenes(shown: Shown, around: Surroundings) -> Iterator[Scene]:
    """The scenes of the span asked for. Raises InvalidInput when there are none."""
    start_ns = instant(shown.bag, shown.rig, shown.start_s) if shown.start_s else 0
    stop_ns = 2**63
    if shown.duration_s is not None:
        stop_ns = (start_ns or instant(shown.bag, shown.rig, 0.0)) + round(shown.duration_s * 1e9)
    found = False
    for scene in _all_scenes(shown, around, start_ns):
        if start_ns <= scene.t0_ns < stop_ns:
            found = True
            yield scene
        elif found:
            break
    if not found:
        span = "on" if shown.duration_s is None else f"to {shown.start_s + shown.duration_s:g} s"
        raise InvalidInput(f"{shown.bag}: no instant to show from {shown.start_s:g} s {span}")


def _all_scenes(shown: Shown, around: Surroundings, start_ns: int) -> Iterator[Scene]:
    """Those of a recording, or those from an instant on with plans that are made for them."""
    planner = "/" + shown.planner.removeprefix("/")
    if shown.bundle is not None:
        with closing(Replay(shown.bag, shown.rig, shown.bundle, shown.profile)) as replay:
            name = bundle_name(shown.bundle)
            yield from planned_scenes(around, replay, name, start_ns)
    elif holds_plans(shown.bag, planner):
        yield from recorded_scenes(around, shown.bag, planner)
    else:
        held = ", ".join(bag_topics(shown.bag)) or "nothing"
        raise InvalidInput(
            f"{shown.bag}: no plans of {planner} to show, want {planner}/trajectory; it holds {held}; "
            "name another node with --planner, or plan offline with --bundle kinematic or a bundle's folder"
        )
