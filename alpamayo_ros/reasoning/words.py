"""Words of the Chain of Causation as tables: which words make which decision, component and attribute.

Decisions and components are the closed sets of the Alpamayo-R1 paper (arXiv 2511.00088), tables 1 and 2. Patterns meet
lower-case text. Traces are written in the imperative ("yield", "stop", "slow") and causes are not ("is yielding",
"stopped", "slower"); the patterns of verbs rely on that.
"""

from __future__ import annotations

import re

from alpamayo_ros.types import ComponentCategory, Lateral, Longitudinal

_VEHICLE = (
    r"(?:vehicle|car|truck|van|suv|sedan|hatchback|pickup|bus|taxi|trailer|tractor|motorcycle|scooter|traffic)s?\b"
    r"(?! (?:light|signal|control|island|flow|sign))"
)
_SLOW = r"\b(?:slow|decelerate|reduce|brake|adapt|adjust|lower|limit|ease)\b"
_HOLD = r"\b(?:remain|stay) stop|\bstopped due\b|\bhold position|\bwait\b|\bhalt\b"
_STOP = rf"(?:\bstop\b(?![ -](?:signs?|lines?|bars?|control))|{_HOLD})"
_KEEP_SPEED = r"\b(?:keep|maintain|hold|resume|continue at)\b[\w ]*\bspeed"
_LEAD = (
    rf"(?:(?<!no )\blead(?:ing)?\b|(?<!no )(?<!lead )\b{_VEHICLE}(?: (?!cross|turn)\w+)? (?:ahead|in front)|\bqueue|\bcongest"
    r"|\bfollowing distance|\b(?:slow|slower|slowing) traffic\b)"
)
_AGENT = (
    r"(?:\bpedestrians?\b(?! cross(?:ing|walk))|\bpedestrians? crossing (?:the|from|in)\b|\bcyclists?\b|\bbicycl|\bchild"
    rf"|\banimal|\bcross(?:ing)?[ -]traffic|\bcrossing {_VEHICLE}|\b{_VEHICLE}(?: \w+)? crossing|\boncoming\b"
    rf"|\bambulance|\bemergency vehicle|\bcut(?:s|ting)?[ -]in\b|\bmerging {_VEHICLE})"
)
_STATIC = (
    r"(?:\b(?:red|yellow|amber)(?: \w+){0,2} (?:light|signal|arrow)"
    r"|\b(?:light|signal|arrow)s?(?: \w+){0,3} (?:red|yellow|amber)\b"
    r"|\b(?:stop|yield) (?:sign|line|bar)|\bstop[ -]controlled|\ball[ -]way"
    r"|\bschool bus|\brail|\blevel crossing|\bgate\b|\btoll\b)"
)
_PLAN = r"^(?!(?:lane )?change\b|merge\b|split\b)"  # of a lateral move that is not made yet
_FASTER = r"\b(?:accelerate|accelerating|speed up|increase speed)\b"
_OVERTAKE = r"\b(?:pass(?! through)|overtake|bypass)\b"

LONGITUDINAL: tuple[tuple[Longitudinal, str, str], ...] = (
    ("acceleration_for_passing", rf"{_FASTER}.*{_OVERTAKE}|{_OVERTAKE}.*{_FASTER}|^(?:pass|overtake)\b(?! through)", ""),
    ("set_speed_tracking", r"^resume\b", ""),
    ("gap_searching", rf"{_PLAN}.*\b(?:wait|waiting|search|look|create|find)\b.*\b(?:gap|opening|space|merg\w*)\b", ""),
    ("gap_searching", rf"{_PLAN}.*(?:\bprepar\w+ .*\b(?:lane|merge|chang)|{_SLOW}.*\bmerge\b)|\bgap-?search", ""),
    ("gap_searching", r"\bmatch\b.*\b(?:main|mainline|on-ramp)\b", ""),
    ("gap_searching", rf"{_PLAN}.*\bwait\b.*\b(?:lanes?|left|right)\b.*\b(?:to clear|change|exit)", ""),
    ("yield", r"\byield\b(?![ -](?:sign|line|control))|\bgive way\b", ""),
    ("yield", rf"\b(?:keep|maintain)\b.*\b(?:distance|gap) (?:to|from) .*{_AGENT}", ""),
    ("lead_obstacle_following", r"\b(?:keep|maintain|leave|increase)\b.*\b(?:distance|gap|headway|spacing|following)\b", ""),
    ("lead_obstacle_following", rf"(?:{_SLOW}|{_STOP}|{_KEEP_SPEED}|\bfollow\b|\baccelerate\b).*{_LEAD}", ""),
    ("stop_for_static_constraints", rf"{_SLOW}|{_STOP}", _STATIC),
    ("yield", rf"{_SLOW}|{_STOP}", _AGENT),
    ("lead_obstacle_following", rf"{_SLOW}|{_STOP}|{_KEEP_SPEED}|\baccelerate\b", _LEAD),
    ("stop_for_static_constraints", _STOP, ""),
    ("set_speed_tracking", r"\bspeed limit\b|\bposted limit\b|\bmph limit\b", ""),
    ("speed_adaptation", _SLOW, ""),
    ("set_speed_tracking", rf"{_KEEP_SPEED}|\b(?:accelerate|speed up|resume|cruise|proceed(?! with))\b", ""),
)
"""(decision, words of the effect, words of the whole sentence), tried in order: the more specific decision first.

The effect is the sentence up to its first "because", "since", "due" or "as". Stopping or keeping a distance for a lead
is following, whatever the lead stops for; a verb of slowing or stopping is decided by its cause: control point, agent,
lead, road.
"""

_ABORT = r"\b(?:abort|cancel|discontinue|call off|break off)\b|^(?:return|move back) (?:to|into)|^re-?center"
_NUDGE = r"\b(?:nudge|straddle|veer|steer around|shift (?:slightly )?(?:to the )?(?:left|right))\b"
_OUT_OF_LANE = (
    r"(?:\bstraddle|\bout of (?:the |our |its )?lane"
    r"|(?<!without )\b(?:cross|crossing|across|over) the (?:\w+ ){0,2}(?:lines?|markings?|lane)\b"
    r"|\b(?:into|using|borrow\w*) (?:part of )?the (?:oncoming|opposite|adjacent|left|right|next) lane)"
)
_LANE_PLACE = r"(?: \w+){0,3}? (?:lane|center|centre|aisle)\b"
_PULL_OVER = (
    r"\bpull (?:over|in|into|to|up to|onto)\b|\bpark (?:at|on|by|along|in)\b"
    r"|\b(?:approach|stop at) the (?:\w+ )?(?:curb|shoulder)\b"
)
_TURN = (
    r"\bturn (?:to the )?(?:left|right|around)\b|^(?:left|right|u-) ?turn\b"
    r"|\b(?:make|complete|perform|take|start|begin|execute|proceed with)\b(?: \w+){0,4}?[ -]turn\b"
)
_TO_LANE = r"(?:change|move) (?:\w+ )?(?:to|into) (?:the |a )?(?:\w+ )?lane\b|change (?:\w+ )?lanes?\b|change (?:left|right)\b"
_LANE_CHANGE = rf"(?:^|\band |\bthen |, )(?:{_TO_LANE}|(?:(?:make|perform) a )?(?:left |right )?lane change\b)"
_ENTER = r"^(?:take|enter) the (?:\w+ ){0,3}?(?:on-|off-)?(?:ramp|exit|lane|highway)\b"
_MERGE_SPLIT = rf"(?:^|\band )(?:merge|split)\b|^(?:diverge|exit)\b|{_ENTER}"

LATERAL: tuple[tuple[Lateral, str, str], ...] = (
    ("maneuver_abort", _ABORT, ""),
    ("lane_keeping", rf"^(?:keep|maintain|stay|hold|remain|continue){_LANE_PLACE}|^(?:keep|stay) (?:right|left)\b", ""),
    ("pull_over", _PULL_OVER, ""),
    ("out_of_lane_nudge", _NUDGE, _OUT_OF_LANE),
    ("in_lane_nudge", _NUDGE, ""),
    ("turn", _TURN, ""),
    ("lane_change", _LANE_CHANGE, ""),
    ("merge_split", _MERGE_SPLIT, ""),
    ("lane_keeping", rf"\b(?:keep|maintain|stay in|hold|remain in)\b{_LANE_PLACE}", ""),
)
"""(decision, words of the effect, words of the whole sentence), tried in order."""

CAUSE = re.compile(r"\b(?:because|since|due|as)\b")
"""Where a sentence turns from its effect to its cause."""

SIDE = re.compile(r"(?<!on the )(?<!on its )(?<!from the )\b(left|right)(?:ward|wards)?\b(?![ -]of[ -]way)")
"""A side that is a direction of motion, not the place of a thing."""

_ADJECTIVES: dict[ComponentCategory, str] = {
    "traffic_light": "red|yellow|amber|green|straight|protected|left-turn|right-turn",
    "yield_stop_control": "all-way",
    "odd_constraint": "heavy|dense",
    "routing_intent": "upcoming|left|right|left-hand|right-hand",
    "critical_object": "slow|slower|slowing|slow-moving|stopped|parked|double-parked|broken-down|lead|leading|oncoming|crossing"
    "|cross-traffic|merging|braking|white|black|red|blue|grey|gray|silver|dark|yellow|green",
    "road_event": "sharp|gentle|tight|left|right|rightward|leftward|left-hand|right-hand|narrow|downhill|uphill|curving|curvy",
    "lane": "left|right|same|current|adjacent|opposite|ego|open|through|bike|main|closed",
}
_NOUNS: dict[ComponentCategory, str] = {
    "traffic_light": r"traffic (?:light|signal)s?|(?:signal )?lights?|light signal|arrow(?! board)",
    "yield_stop_control": r"(?:stop|yield)[ -](?:signs?|lines?|bar|controlled|controls?)",
    "odd_constraint": "construction(?: zone| cones| barrels)?|work[ -]?zone|road ?work(?: cones)?|cone taper|cones?|barrels?"
    "|barriers?|lane closure|rain|fog|snow|ice|glare|low visibility|limited visibility|night|school bus"
    "|rail(?:way|road)?(?: crossing)?|level crossing|emergency vehicle|ambulance|fire (?:truck|engine)|police car",
    "routing_intent": "exit(?: ramp| lane)?|off-?ramp|on-?ramp|slip lane|(?:left|right)-?turn(?:-only)? lane|turn[ -]only"
    "|route|destination",
    "critical_object": rf"{_VEHICLE}|pedestrians?(?! cross(?:ing|walk)s?\b)|pedestrians?(?= crossing (?:the|from|in)\b)"
    "|cyclists?|bicycles?|child(?:ren)?|animals?|debris|bollards?|trash bins?|workers?",
    "road_event": "turn|curves?|curvature|bend|speed (?:bump|hump)|bump|hump|grade|roundabout|ramp|intersection|junction"
    "|crosswalk|pedestrian crossing|crossing island|traffic island|narrow road|curv(?:y|ing) road|parking aisle|aisle",
    "lane": "lanes?(?: lines?| markings?)?|shoulder|curb|roadway|road|path",
}
COMPONENTS = {
    category: re.compile(rf"(?P<absent>\b(?:no|without) )?\b(?:(?:{_ADJECTIVES[category]}) )*(?:{nouns})\b")
    for category, nouns in _NOUNS.items()
}
"""Category -> adjectives and noun, with a "no" before them in the group `absent`.

Tried in order: words that one category took are not seen by the next.
"""

_SIDES = (("side", "left", r"\bleft"), ("side", "right", r"\bright"))

ATTRIBUTES: dict[ComponentCategory, tuple[tuple[str, str, str], ...]] = {
    "critical_object": (
        ("type", "pedestrian", r"\bpedestrian|\bchild|\bworker"),
        ("type", "cyclist", r"\bcyclist|\bbicycle"),
        ("type", "vehicle", rf"\b{_VEHICLE}"),
        ("role", "lead", r"\blead(?:ing)?\b"),
        ("motion", "stopped", r"\bstopped|\bparked|\bdouble-parked|\bbroken-down|\bstanding"),
        ("motion", "cutting_in", r"\bcut(?:s|ting)?[ -]in\b|\bmerging"),
        ("motion", "crossing", r"\bcross(?:es|ing)?\b|\bcross-traffic"),
        ("motion", "slowing", r"\bslows|\bslowing|\bbrak(?:es|ing)|\breduc"),
        ("motion", "slow", r"\bslow(?:er|ly|-moving)?\b|\bcongest"),
        ("motion", "accelerating", r"\baccelerat|\bstart(?:s|ing)"),
        ("motion", "steady", r"\bsteady|\bsteadily|\bstable|\bmaintain(?:s|ing)"),
        ("position", "crosswalk", r"\bcrosswalk"),
        ("position", "oncoming", r"\boncoming|\bopposite lane"),
        ("position", "ahead", r"\bahead|\bin front|\bsame lane"),
        ("position", "behind", r"\bbehind"),
        *_SIDES,
        *(("colour", colour, rf"\b{colour}\b") for colour in ("white", "black", "red", "blue", "silver", "yellow")),
    ),
    "traffic_light": (
        ("colour", "red", r"\bred\b"),
        ("colour", "yellow", r"\b(?:yellow|amber)\b"),
        ("colour", "green", r"\bgreen\b"),
        ("arrow", "left", r"\bleft[ -]turn|\bleft arrow"),
        ("arrow", "right", r"\bright[ -]turn|\bright arrow"),
        ("arrow", "straight", r"\bstraight"),
    ),
    "yield_stop_control": (("kind", "yield", r"\byield\b"), ("kind", "all_way", r"\ball-way"), ("kind", "stop", r"\bstop\b")),
    "road_event": (
        *_SIDES,
        ("sharpness", "sharp", r"\bsharp|\btight"),
        ("sharpness", "gentle", r"\bgentle"),
        ("grade", "downhill", r"\bdownhill"),
        ("grade", "uphill", r"\buphill"),
    ),
    "lane": (
        *_SIDES,
        ("state", "clear", r"\bclear\b"),
        ("state", "closed", r"\bclos(?:ed|ing|es|ure)|\bends\b"),
        ("state", "occupied", r"\boccupied|\balongside"),
    ),
    "routing_intent": _SIDES,
    "odd_constraint": _SIDES,
}
"""Per category (key, value, words); the first value of a key wins. Looked for from a component to the next one."""
