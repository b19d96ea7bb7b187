"""What a teacher is told: what decisions mean, what to look for, how to answer; our own words for the paper's rules."""

from __future__ import annotations

from typing import get_args

from alpamayo_ros.training.coc.evidence import HISTORY_S
from alpamayo_ros.types import Lateral, Longitudinal

FUTURE_S = 6.0
MOST_SEEN = 12  # components that stage I may name

MEANS: dict[Longitudinal | Lateral, str] = {
    "set_speed_tracking": "nothing is in the way: hold the wanted speed, or get back to it",
    "lead_obstacle_following": "a vehicle ahead in our path sets the pace: keep a safe gap to it, down to standing behind it",
    "speed_adaptation": "the road itself asks for less speed: bend, slope, bump, ramp, roundabout, turn",
    "gap_searching": "fit the speed to another lane's traffic, to make room for a lateral move that is planned",
    "acceleration_for_passing": "speed up to get past somebody slower, with the lateral move that this needs",
    "yield": "slow down or wait so that certain road users go first: pedestrians, crossing or emergency vehicles, a cut-in",
    "stop_for_static_constraints": "slow down to a halt, or stay halted, at a control point: red light, stop line, rails",
    "lane_keeping": "stay in the lane, small offsets included",
    "merge_split": "join or leave a road: ramp to main road, main road to exit, weaving",
    "out_of_lane_nudge": "cross the lane's line for a moment to get around something, then come back",
    "in_lane_nudge": "lean to one side within the lane to keep clear of something",
    "lane_change": "move over to the neighbouring lane of the same road, for good",
    "pull_over": "go to the edge, the shoulder or a stopping place",
    "turn": "take another road at a junction or roundabout, or turn around",
    "maneuver_abort": "give up a lateral move that had begun and go back to the middle of the lane",
}
"""The paper's table 1."""


def _listed(names: tuple[str, ...]) -> str:
    return "\n".join(f"- {name}: {meaning}" for name, meaning in MEANS.items() if name in names)


SEEING = f"""\
You look at what a car's cameras recorded and report what its driver must take into account. You are shown the last
{HISTORY_S:.0f} seconds before the moment t0, camera by camera, oldest picture first.

Report up to {MOST_SEEN} components, those that most constrain the driver first:
- critical_object: road users and obstacles near our path: what, where, how they move, how sure you are (uncertainty)
- traffic_light: the one for our lane, with its colour in the newest picture that shows it
- yield_stop_control: stop and yield signs or lines
- road_event: bends, slopes, bumps, narrow places, roundabouts, ramps, junctions, crosswalks
- lane: lanes and lines where they matter: closed, occupied, ending, bicycle lane, shoulder
- routing_intent: where the route goes, if it is told
- odd_constraint: weather, poor sight, roadworks, emergency vehicles, school buses, rails

Report what the pictures show, and the route where it is told; never what may happen next, never our own motion.
`description` is a short noun phrase. `seen_s` is the time of the newest picture that shows the component, in seconds: 0 is
t0, earlier is negative; it is never null. `justification` is empty. An attribute that you cannot tell is null. Where nothing
matters the list is empty."""

DECIDING = f"""\
You explain why a car drove as it did. You are told what was seen until the moment t0, as a numbered list, and how the car
moved in the {FUTURE_S:.0f} seconds after it. The motion tells which decision was taken; only the list can tell why.

`choice`: the first decision that was taken after t0, at most one on each axis, null where there is none.
Longitudinal:
{_listed(get_args(Longitudinal))}
Lateral:
{_listed(get_args(Lateral))}
`direction` is left or right for a lateral decision that has a side, otherwise null.

`cites`: numbers of the components that caused the decision, the deciding one first; none without which the decision would
have been the same. The nearest cause decides: who stands behind a stopped car stops for that car, not for the light beyond.
`unobserved`: empty, unless nothing in the list explains the decision; then what must have been there, with seen_s null and
a justification.

`trace`: one sentence, two at the most. It begins with the decision as an order (keep, stop, yield, slow down, accelerate,
nudge, change lanes, merge, turn, pull over) and goes on with the cause after "since" or "because": Stop since the traffic
light is red. It names every cited component and nothing else, lights with their colour, moves with their side. Say what is
particular rather than that lane and speed are kept. Our own speed, braking or steering is never a cause. Not a word about
the time after t0, no "will", no guess."""
