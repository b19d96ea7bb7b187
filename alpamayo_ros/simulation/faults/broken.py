"""Planners that are broken on purpose, and what the monitor must say of each: the test of the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from alpamayo_ros.safety.invariants import STEP_NS, Invariant
from alpamayo_ros.simulation.faults.saboteurs import (
    EpochFrozen,
    EpochOfOnce,
    Late,
    NewestPose,
    NoStop,
    OldAfterJump,
    Saboteur,
    Silent,
    Spoil,
    Spoiling,
    Stale,
    StampedNow,
    Standing,
    Swapped,
    Undead,
    changed,
    cut,
    driven,
    nudged,
    reversed_points,
    stamped,
    without_status,
)
from alpamayo_ros.types import HORIZON

Needs = Literal["driving", "another speed", "outage", "clock jump", "deactivation"]
"""What has to happen for the fault to show: a few seconds of driving, a change of speed by 0.5 m/s, a second without cameras,
a jump of the clock back by seconds, a deactivation."""


@dataclass(frozen=True)
class Variant:
    """A broken planner, what must be said of it, and what has to happen for that."""

    what: str
    make: Callable[[], Saboteur]
    caught_by: frozenset[Invariant]  # each of them; others may be
    needs: Needs = "driving"
    seconds: float = 0.0  # of driving after which it shows, where that is long


def broken_variants() -> Mapping[str, Variant]:
    """Every broken planner by name."""
    return _STAMPS | _NUMBERS | _WORDS | _MISSING


def _spoiled(what: str, spoil: Spoil, *invariants: Invariant, source: str = "model", needs: Needs = "driving") -> Variant:
    return Variant(what, lambda: Spoiling(spoil, source), frozenset(invariants), needs)


def _made(what: str, make: Callable[[], Saboteur], *invariants: Invariant, needs: Needs = "driving") -> Variant:
    return Variant(what, make, frozenset(invariants), needs)


_STAMPS = {
    "stale": _made("the first plan again, under new stamps", lambda: Stale(new_pose=False), "I10"),
    "stale_moved": _made(
        "the first plan again, under new stamps and poses", lambda: Stale(new_pose=True), "I2", needs="another speed"
    ),
    "stamped_now": _made("stamped with the time of its publication", lambda: StampedNow("model"), "I2"),
    "pose_stamp": _spoiled(
        "the pose's stamp is another", lambda s, p: (s, replace(p, pose_stamp_ns=p.pose_stamp_ns + 1_000_000)), "I10"
    ),
    "newest_pose": _made("the newest pose instead of the one at t0", NewestPose, "I10"),
    "stop_stamped_now": _made("a stop stamped in the same way", lambda: StampedNow("stop"), "I2", needs="outage"),
    "hold_stamped_anew": _spoiled(
        "a hold stamped 0.1 s later than its plan",
        lambda s, p: stamped(s, p, p.stamp_ns + STEP_NS),
        "I2",
        source="hold",
        needs="outage",
    ),
    "late": _made("plans come 12 plans later", lambda: Late(12), "I3"),
    "swapped": _made("two plans change places", Swapped, "I4"),
    "duplicate": _spoiled("everything twice", lambda s, p: (s, p, s, p), "I4"),
    "epoch_ahead": _made("every other plan is of the next epoch", EpochOfOnce, "I9"),
    "epoch_frozen": _made("the epoch stays when the clock jumps", EpochFrozen, "I9", needs="clock jump"),
    "old_after_jump": _made("a plan from before a jump of the clock", OldAfterJump, "I9", needs="clock jump"),
}

_NUMBERS = {
    "nan": _spoiled("NaN in one point", lambda s, p: (s, changed(p, "xyz", np.nan, (20, 1))), "I1"),
    "infinite": _spoiled("an infinite speed", lambda s, p: (s, changed(p, "speed_mps", np.inf)), "I1"),
    "point_missing": _spoiled("63 points", lambda s, p: (s, cut(p, HORIZON - 1)), "I5"),
    "time_off": _spoiled("one point 1 ms late", lambda s, p: (s, changed(p, "t_ns", 2_101_000_000)), "I5"),
    "reversed": _spoiled("the last point first", reversed_points, "I6"),
    "point_off": _spoiled("one point 0.2 m off", lambda s, p: (s, changed(p, "xyz", p.xyz[20, 1] + 0.2, (20, 1))), "I6"),
    "not_unit": _spoiled("one quaternion is not of norm 1", lambda s, p: (s, changed(p, "quaternion", 1.1, (20, 3))), "I6"),
    "heading_off": _spoiled("one heading rate is wrong", lambda s, p: (s, changed(p, "heading_rate_rps", 0.5)), "I6"),
    "curvature_once": _spoiled("one curvature beyond any limit", lambda s, p: (s, changed(p, "curvature_1pm", 0.5)), "I6"),
    "accelerates": _spoiled("well made, with 5.5 m/s^2", lambda s, p: (s, driven(p, 5.5, 0.0)), "I6"),
    "brakes": _spoiled("well made, with -6.5 m/s^2", lambda s, p: (s, driven(p, -6.5, 0.0)), "I6"),
    "turns": _spoiled("well made, with 0.26 1/m", lambda s, p: (s, driven(p, 0.0, 0.26)), "I6"),
    "hold_nudged": _spoiled("a hold 1 mm beside its plan", nudged, "I2", source="hold", needs="outage"),
    "stop_cut": _spoiled("a stop that ends driving", lambda s, p: (s, cut(p, 10)), "I6", source="stop", needs="outage"),
}

_WORDS = {
    "no_status": _spoiled("no status before a trajectory", without_status, "I7"),
    "status_after": _spoiled("the status after the trajectory", lambda s, p: (p, s), "I7"),
    "status_of_another": _spoiled("the status is of another plan", lambda s, p: (replace(s, plan_id=s.plan_id + 1), p), "I7"),
    "undead": _made("the last trajectory after a deactivation", Undead, "I8", needs="deactivation"),
}

_MISSING = {
    "no_stop": _made("neither holds nor stops", NoStop, "L1", needs="outage"),
    "silent": Variant("silent for ever", lambda: Silent(says_so=True), frozenset({"L1", "L2"}), seconds=7.0),
    "mute": Variant("no word at all", lambda: Silent(says_so=False), frozenset({"L1", "L4"}), seconds=4.0),
    "standing": Variant("stops for ever", Standing, frozenset({"L3"}), seconds=12.0),
}
