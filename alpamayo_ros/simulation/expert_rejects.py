"""`alpamayo bench safety`: how often the checks reject driving that is good, a human's and the world's expert's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alpamayo_ros.evaluation.false_rejects import GOAL, Tally, count_poses, wordless, write_tallies
from alpamayo_ros.safety.checks import findings, shift_findings
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import DEFAULTS
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.suites import chosen


def count_false_rejects(poses_file: Path | None, scenes: int, out: Path) -> dict[str, Any]:
    """Check every window of a recorded drive, if there is one, and every plan of the expert in the first scenes of the suite
    test; write false_rejects.json and .md, return the figures.

    Raises InvalidInput for a file that is no drive, and for no scenes or more than the suite has.
    """
    recorded = count_poses(poses_file) if poses_file else ()
    figures = write_tallies([*recorded, count_expert(scenes)], out)
    within = all(of["reject_share"] < GOAL for name, of in figures.items() if "jumps" not in name)
    return {"goal": GOAL, "within_goal": within, **figures}


def count_expert(scenes: int) -> Tally:
    """Every plan of the expert's drives, each also against the one before it."""
    tally = Tally("the world's expert", DEFAULTS.period_ticks)
    for scene in chosen("test", most=scenes):
        _count(tally, run_episode(make_scenario(scene.family, scene.seed), ExpertPolicy()))
    return tally


def _count(tally: Tally, episode: Episode) -> None:
    before = None
    for planned in episode.planned:
        assert planned.trajectory is not None, "the expert always has a plan"
        ego = planned.ego.pose(round(planned.t0_s * 1e9))
        plan = wordless(planned.trajectory, ego)
        found = findings(plan, ego, LIMITS)
        tally.add(found if before is None else (*found, *shift_findings(plan, ego, *before, LIMITS)))
        before = plan, ego
