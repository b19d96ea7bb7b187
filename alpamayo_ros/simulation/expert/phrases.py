"""How the causes of the Chain of Causation are said, as tables.

In braces: {on} " on the left", {from_} " from the left", {to} " to the left", {side} "left " (all empty where a cause has no
side), {at} " at the crosswalk" where it is at one, {where} a side or " in our lane".

The parser of `reasoning` tells a decision from the words of its cause, too: "ahead" and "in front" right after a vehicle
make it the lead, and "slow" is a verb ("slower" is not).
"""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.simulation.expert.intention import CauseKind


@dataclass(frozen=True)
class Said:
    """Ways to say one cause."""

    nouns: tuple[str, ...]  # after "for", "to pass", "due to"
    clauses: tuple[str, ...]  # after "since" and "because"
    its: tuple[str, ...] = ()  # the same of something that the sentence has just named


SAID: dict[CauseKind, Said] = {
    "lead": Said(
        ("the vehicle in our lane", "the vehicle in the same lane"),
        ("another vehicle is in our lane", "a vehicle drives in our lane"),
        ("it drives in the same lane",),
    ),
    "slow_lead": Said(
        ("the slower vehicle", "the slower vehicle in our lane", "the slower vehicle in the same lane"),
        ("the vehicle in our lane is slower", "a slower vehicle occupies our lane", "the vehicle in our lane moves slowly"),
        ("it is moving slowly", "it is slower"),
    ),
    "stopped_lead": Said(
        ("the stopped vehicle", "the stopped vehicle in our lane"),
        ("a stopped vehicle blocks our lane", "the vehicle in our lane is stopped"),
        ("it is stopped", "it is standing in our lane"),
    ),
    "braking_lead": Said(
        ("the braking vehicle in our lane", "the slowing vehicle in our lane"),
        ("the vehicle in our lane is braking", "the vehicle in our lane is slowing"),
        ("it is braking", "it is slowing"),
    ),
    "cut_in": Said(
        ("the vehicle cutting in{from_}", "the car cutting in{from_}", "the vehicle that cuts in{from_}"),
        ("a vehicle is cutting in{from_}", "a car cuts in{from_}", "a vehicle is cutting in to our lane{from_}"),
        ("it is moving into our lane", "it takes our lane"),
    ),
    "crossing_vehicle": Said(
        (
            "the vehicle crossing{from_}",
            "the crossing vehicle{from_}",
            "the cross-traffic vehicle{from_}",
            "cross traffic{from_}",
        ),
        ("a vehicle is crossing{from_}", "a vehicle is crossing the intersection{from_}", "cross traffic is coming{from_}"),
        ("it crosses our path", "it is crossing the intersection"),
    ),
    "oncoming_vehicle": Said(
        ("the oncoming vehicle", "the oncoming car", "oncoming traffic"),
        ("an oncoming vehicle is approaching", "oncoming traffic is close", "an oncoming vehicle is close"),
        ("it is approaching", "it is close"),
    ),
    "vehicle_alongside": Said(
        ("the vehicle alongside{on}", "the vehicle in the next lane{on}"),
        ("a vehicle is alongside{on}", "a vehicle occupies the {side}lane", "the {side}lane is occupied by a vehicle"),
        ("it occupies the {side}lane", "it is alongside"),
    ),
    "pedestrian": Said(
        ("the pedestrian{at}{on}", "the pedestrian{on}{at}", "the pedestrian{from_}{at}", "the pedestrian near our path{on}"),
        ("a pedestrian wants to cross{from_}{at}", "a pedestrian is near our path{on}", "a pedestrian comes{from_}{at}"),
        ("the pedestrian has priority", "the pedestrian wants to cross", "the pedestrian is close to our path"),
    ),
    "child": Said(
        ("the child{at}{on}", "the child{from_}{at}", "the child near the road{on}"),
        ("a child wants to cross{from_}{at}", "a child comes{from_}{at}", "a child is near the road{on}"),
        ("the child wants to cross", "the child is close to our path"),
    ),
    "cyclist": Said(
        ("the cyclist{at}{on}", "the cyclist{from_}{at}", "the cyclist near our lane{on}"),
        ("a cyclist wants to cross{from_}{at}", "a cyclist comes{from_}{at}", "a cyclist is close to our path{on}"),
        ("the cyclist is close to our path", "the cyclist is near our lane"),
    ),
    "red_light": Said(
        ("the red traffic light", "the red traffic light ahead", "the red light at the intersection", "the red traffic signal"),
        ("the traffic light is red", "the traffic light ahead is red", "the traffic signal ahead is red"),
    ),
    "yellow_light": Said(
        ("the yellow traffic light", "the yellow traffic light ahead", "the yellow light at the intersection"),
        ("the traffic light is yellow", "the traffic light ahead is yellow", "the traffic signal has turned yellow"),
    ),
    "green_light": Said(
        ("the green traffic light", "the green light at the intersection", "the green traffic signal"),
        ("the traffic light is green", "the traffic light ahead is green", "the traffic signal ahead is green"),
    ),
    "stop_sign": Said(
        ("the stop sign", "the stop sign ahead", "the stop sign at the intersection", "the stop line at the stop sign"),
        ("the intersection has a stop sign", "a stop sign controls the intersection", "the intersection is stop-controlled"),
    ),
    "yield_sign": Said(
        ("the yield sign", "the yield sign ahead", "the yield sign at the intersection", "the yield line"),
        ("the intersection has a yield sign", "a yield sign controls the intersection", "a yield sign stands at the junction"),
    ),
    "curve": Said(
        ("the {side}curve", "the {side}curve ahead", "the {side}bend", "the {side}curve in the road", "the {side}bend ahead"),
        ("the road curves{to}", "the road curves{to} ahead", "there is a {side}curve ahead", "the {side}curve is tight"),
        ("it is tight", "the road curves{to}"),
    ),
    "advisory_sign": Said(
        ("the {side}curve with the advisory speed sign", "the {side}curve indicated by the advisory speed sign"),
        ("an advisory speed sign announces a {side}curve", "the sign gives an advisory speed for the {side}curve"),
        ("the sign advises a lower speed",),
    ),
    "parked_car": Said(
        ("the parked car{on}", "the parked vehicle{on}", "the car parked{on}"),
        (
            "a parked car narrows our lane{on}",
            "a parked car stands close to our lane{on}",
            "a parked vehicle is in the way{on}",
        ),
        ("it narrows our lane", "it stands close to our lane", "it intrudes into our lane"),
    ),
    "broken_down_car": Said(
        ("the broken-down car{on}", "the broken-down vehicle{on}", "the broken-down car{where}"),
        ("a broken-down car stands{where}", "a broken-down car is in the way{on}", "a broken-down vehicle is stopped{where}"),
        ("it is stopped", "it is in the way"),
    ),
    "truck": Said(
        ("the stopped truck{on}", "the truck{where}", "the standing truck{on}"),
        ("a stopped truck is in the way{on}", "a truck stands{where}", "a truck is stopped{where}"),
        ("it is stopped", "it is in the way"),
    ),
    "cones": Said(
        ("the cones{on}", "the construction cones{on}", "the work zone{on}", "the cones of the work zone{on}"),
        ("construction cones narrow the road{on}", "cones stand{where}", "a work zone with cones narrows the road{on}"),
        ("the work zone narrows the road",),
    ),
    "barrier": Said(
        ("the barrier{on}", "the construction barrier{on}", "the barrier{where}"),
        ("a barrier stands{where}", "a construction barrier is in the way{on}"),
        ("it is in the way",),
    ),
    "lane_ends": Said(
        ("the lane that ends ahead", "our lane that ends"),
        ("our lane ends ahead", "the current lane ends ahead", "our lane ends"),
    ),
    "on_ramp": Said(
        ("the on-ramp", "the end of the on-ramp"),
        ("the on-ramp joins the main road", "the on-ramp leads onto the main road", "the on-ramp meets the main road"),
    ),
    "exit": Said(
        ("the exit{on}", "the exit ramp{on}", "the upcoming exit{on}"),
        ("the route leaves by the exit{on}", "the route takes the exit{on}", "the exit of our route is near"),
    ),
    "turn": Said(
        ("the {side}turn", "the {side}turn ahead", "the {side}turn at the intersection", "the upcoming {side}turn"),
        ("the route turns{to} at the intersection", "our route makes a {side}turn", "the route has a {side}turn ahead"),
    ),
    "lane_wanted": Said(
        (),
        ("the route continues in the {side}lane", "the route needs the {side}lane", "our route follows the {side}lane"),
    ),
    "free_lane": Said(
        (),
        ("the {side}lane is clear", "the {side}lane is clear again", "the {side}lane is now clear"),
    ),
    "kerb": Said(
        (),
        ("the route ends at the curb{on}", "the destination is at the curb{on}", "the destination is reached at the curb{on}"),
    ),
    "clear_road": Said(
        (),
        (
            "the road ahead is clear",
            "the lane ahead is clear",
            "our lane is clear",
            "no critical agent needs attention",
            "no critical agent is present",
        ),
    ),
}

AS_LEAD: dict[CauseKind, Said] = {
    "lead": Said(
        ("the lead vehicle", "the vehicle ahead", "the lead vehicle ahead", "the vehicle in front"),
        ("the lead vehicle is directly ahead", "a vehicle is ahead in the same lane", "the lead vehicle is in our lane"),
        ("it is directly ahead in the same lane", "it is ahead in our lane", "it is directly ahead"),
    ),
    "slow_lead": Said(
        ("the slower lead vehicle", "the slower vehicle ahead", "the lead vehicle", "the slow vehicle in front"),
        ("the lead vehicle is slower", "the vehicle ahead is moving slowly", "the lead vehicle is moving slowly"),
        ("it is moving slowly", "it is slower", "it is slow in the same lane"),
    ),
    "stopped_lead": Said(
        ("the stopped lead vehicle", "the lead vehicle stopped ahead", "the stopped vehicle ahead", "the lead vehicle"),
        ("the lead vehicle is stopped", "the vehicle ahead is stopped", "the lead vehicle is standing in our lane"),
        ("it is stopped", "it is stopped in the same lane", "it is standing"),
    ),
    "braking_lead": Said(
        ("the braking lead vehicle", "the slowing vehicle ahead", "the lead vehicle", "the braking vehicle in front"),
        ("the lead vehicle is braking", "the vehicle ahead is slowing", "the lead vehicle is slowing"),
        ("it is braking", "it is slowing", "it is braking in the same lane"),
    ),
    "cut_in": Said(
        ("the lead vehicle", "the vehicle ahead", "the new lead vehicle"),
        ("the lead vehicle is cutting in{from_}", "the vehicle ahead cuts in{from_}"),
        ("it is cutting in{from_}", "it cuts in{from_}", "it has cut in{from_}"),
    ),
    "parked_car": Said(
        ("the parked car ahead", "the parked vehicle in front"),
        ("a parked car ahead is in the way", "the parked vehicle ahead is in our lane"),
        ("it is stopped in our lane", "it is in the way"),
    ),
    "broken_down_car": Said(
        ("the broken-down car ahead", "the broken-down vehicle in front", "the broken-down car stopped ahead"),
        ("a broken-down car ahead is in the way", "the broken-down vehicle ahead is in our lane"),
        ("it is stopped in our lane", "it is in the way"),
    ),
    "truck": Said(
        ("the truck ahead", "the stopped truck ahead", "the truck in front"),
        ("a truck ahead is in the way", "the truck ahead is stopped in our lane"),
        ("it is stopped in our lane", "it is in the way"),
    ),
}
"""The same for who follows them."""
