"""ROS parameters: the only place where they are read.

One frozen dataclass per node says what can be set, its default, its range and what it means; `declare` reads it. All
parameters are read once, before a node does anything, and are read-only afterwards: a change needs a restart.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from alpamayo_ros.types import InvalidInput

T = TypeVar("T")


class About(NamedTuple):
    """What a parameter means and, for numbers, its inclusive range."""

    description: str
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class PlannerParams:
    """What can be set on the planner node; config/planner.yaml shows all of it."""

    rig: Annotated[str, About("rig: a name from config/rigs or a .yaml file")] = "seven_camera"
    bundle: Annotated[str, About("a built-in engine (kinematic) or a model bundle's folder")] = "kinematic"
    fallback: Annotated[
        Literal["none", "eager", "graphed"],
        About("what runs the bundle's folder where the engine that is named refuses to open; none: the node refuses"),
    ] = "none"
    profile: Annotated[str, About("input profile of a built-in engine: a name from config/profiles or a .yaml file")] = (
        "seven_camera"
    )
    autostart: Annotated[bool, About("configure and activate at start; false waits for the lifecycle services")] = True
    engine_python: Annotated[str, About("interpreter of the engine process; empty is the node's own")] = ""

    max_wait_ms: Annotated[float, About("how long a cycle waits for the other cameras after its anchor frame, ms", 0, 1000)] = (
        100.0
    )
    max_plan_hz: Annotated[float, About("at most this many plans a second", 0.1, 100)] = 10.0
    deadline_ms: Annotated[
        float,
        About("an engine that takes longer is killed and restarted, ms; 0: 500 built in, 5000 of a bundle", 0, 60_000),
    ] = 0.0
    decode_threads: Annotated[int, About("threads that decode camera frames", 1, 16)] = 2
    allow_navigation_text: Annotated[bool, About("take routes in free words on ~/navigation_text, checked")] = False

    mode: Annotated[
        Literal["shadow", "active"],
        About("shadow: a human drives, everything goes to ~/shadow/; active: the vehicle may be engaged"),
    ] = "shadow"
    stop_after_ms: Annotated[float, About("without an accepted plan for so long, a stop, ms; 0: 5 periods", 0, 60_000)] = 0.0
    max_plan_age_ms: Annotated[
        float, About("a plan older than this is neither published nor held, ms; 0: 10 periods", 0, 60_000)
    ] = 0.0
    limits: Annotated[str, About("limits of the checks: a .yaml file; empty: as config/safety.yaml")] = ""
    stop_decel_mps2: Annotated[float, About("deceleration of a stop, m/s^2", 1, 9.8)] = 2.5
    stop_jerk_mps3: Annotated[float, About("jerk of a stop, m/s^3", 0.5, 20)] = 1.5
    comfort_stop_decel_mps2: Annotated[float, About("deceleration of a stop from low speed, m/s^2", 0.5, 9.8)] = 1.0
    comfort_stop_jerk_mps3: Annotated[float, About("jerk of a stop from low speed, m/s^3", 0.1, 20)] = 0.3
    comfort_stop_below_mps: Annotated[float, About("low speed is below this, m/s; 0: no speed is", 0, 15)] = 4.7
    stop_cap_mps2: Annotated[float, About("no stop decelerates more than this, m/s^2", 1, 9.8)] = 4.0

    probe_timer_ms: Annotated[
        float, About("period of a timer that measures the executor's lateness, ms; 0 is off", 0, 1000)
    ] = 0.0

    autoware: Annotated[
        Literal["none", "auto", "required"],
        About("publish Autoware's messages too: never, where they are installed, or refuse"),
    ] = "none"
    wheelbase_m: Annotated[float, About("between the axles, of checks and Autoware, m; 0: not given", 0, 20)] = 0.0

    samples: Annotated[int, About("trajectories drawn for one observation", 1, 64)] = 1
    reasoning: Annotated[Literal["none", "full"], About("whether the model writes its Chain of Causation first")] = "full"
    reason_on_demand: Annotated[bool, About("reason where a rule says so, else plan without words (docs/engines.md)")] = False
    provisional: Annotated[bool, About("publish a plan without words first, and refine it")] = False
    reason_every: Annotated[int, About("on demand: of so many cycles in a row one reasons at least", 1, 1000)] = 5
    quick_samples: Annotated[int, About("trajectories of a plan without words", 1, 64)] = 4
    reason_spread_m: Annotated[float, About("on demand: samples farther apart than this are a reason, m", 0.01, 1000)] = 1.0
    max_tokens: Annotated[int, About("reasoning that is longer has no end and gives no plan, tokens", 1, 4096)] = 256
    share_reasoning: Annotated[bool, About("one Chain of Causation for all samples; false writes one for each")] = False
    greedy: Annotated[bool, About("take the likeliest token; false samples with temperature and top_p")] = True
    temperature: Annotated[float, About("softmax temperature of sampled tokens", 0.01, 10)] = 0.6
    top_p: Annotated[float, About("nucleus of sampled tokens, share of the probability", 0.01, 1)] = 0.98
    steps: Annotated[int, About("Euler steps of the flow; 0: as the bundle's config says", 0, 100)] = 0
    guidance: Annotated[float, About("weight of classifier-free navigation guidance, 0 is off", 0, 10)] = 0.0
    seed: Annotated[int, About("seed of everything sampled, combined with t0", 0, 2**31 - 1)] = 0


@dataclasses.dataclass(frozen=True)
class ReplayParams:
    """What can be set on the replay node."""

    bag: Annotated[str, About("rosbag2 folder or file to play")]
    rate: Annotated[float, About("bag seconds per second", 0.01, 100)] = 1.0
    loop: Annotated[bool, About("start again at the end; /clock jumps back")] = False
    start_offset_s: Annotated[float, About("skip this much of the bag, s", 0, 1e6)] = 0.0
    clock_hz: Annotated[float, About("/clock messages per bag second", 1, 1000)] = 100.0
    topics: Annotated[tuple[str, ...], About("topics to play; none named is all")] = ()
    exclude: Annotated[str, About("regular expression of whole topic names not to play; as set, what our nodes publish")] = (
        r".*/alpamayo_(planner|visualizer|monitor)/.*|/diagnostics|/rosout|/parameter_events"
    )
    wait_for_subscribers_s: Annotated[float, About("wait at most this long for a subscriber on every topic, s", 0, 600)] = 2.0

    def __post_init__(self) -> None:
        try:
            re.compile(self.exclude)
        except re.error as error:
            raise InvalidInput(f"exclude: want a regular expression, got {self.exclude!r}: {error}") from error


@dataclasses.dataclass(frozen=True)
class RecorderParams:
    """What can be set on the recorder node."""

    out: Annotated[str, About("folder to write; it must not exist yet")]
    topics: Annotated[tuple[str, ...], About("topics to record; none named is every visible one")] = ()
    parent: Annotated[int, About("process id of who started the node: it ends with that process; 0 is off", 0, 2**31 - 1)] = 0


@dataclasses.dataclass(frozen=True)
class VisualizerParams:
    """What can be set on the visualizer node; config/planner.yaml shows all of it."""

    rig: Annotated[str, About("rig: a name from config/rigs or a .yaml file")] = "seven_camera"
    planner: Annotated[str, About("planner node to show; a relative name is in the visualizer's namespace")] = (
        "alpamayo_planner"
    )
    overlay_roles: Annotated[tuple[str, ...], About("cameras whose pictures get overlays; none named is all of the rig")] = ()
    overlay_width: Annotated[int, About("width of a camera's overlay, px; a narrower picture keeps its own", 64, 8192)] = 960
    overlay_hz: Annotated[float, About("at most this many plans a second are drawn into pictures", 0.1, 100)] = 5.0
    overlay_quality: Annotated[int, About("JPEG quality of the overlays", 1, 100)] = 80
    lifetime_s: Annotated[float, About("markers of a planner that has died fade after this, s", 0.1, 60)] = 2.0


def declare(node: Node, spec: type[T]) -> T:
    """Declare every field of `spec` as a read-only ROS parameter of `node`; return what the user set, else the defaults.

    Raises InvalidInput for a parameter that does not exist, is missing, or has a wrong type or value; nothing is declared
    then. The node must not declare parameters from overrides by itself.
    """
    # rclpy has no public way to list what a user set and nobody declared; without it a misspelt name passes unseen.
    # "qos_overrides." parameters are declared by rclpy later, with the publisher or subscription they are for.
    given = {
        name: override.value
        for name, override in node._parameter_overrides.items()
        if not node.has_parameter(name) and not name.startswith("qos_overrides.")
    }
    values = read(spec, given)
    declarations = [_declaration(p, getattr(values, p.name)) for p in _parameters(spec).values()]
    node.declare_parameters("", declarations, ignore_override=True)
    return values


def read(spec: type[T], given: Mapping[str, Any]) -> T:
    """The dataclass `spec` with the given values in place of its defaults, all checked. Raises InvalidInput."""
    parameters = _parameters(spec)
    for name in given:
        if name not in parameters:
            raise InvalidInput(f"unknown parameter {name!r}{_did_you_mean(name, parameters)}")
    for name, parameter in parameters.items():
        if parameter.required and name not in given:
            raise InvalidInput(f"{name}: not given, want {parameter.expected} ({parameter.about.description})")
    return spec(**{name: _checked(parameters[name], value) for name, value in given.items()})


class _Parameter(NamedTuple):
    name: str
    kind: Any  # bool, int, float, str, tuple[str, ...] or a Literal of str
    about: About
    required: bool

    @property
    def expected(self) -> str:
        low, high = self.about.low, self.about.high
        if get_origin(self.kind) is Literal:
            return f"one of {', '.join(get_args(self.kind))}"
        if get_origin(self.kind) is tuple:
            return "a list of texts"
        name = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[self.kind]
        return name if low is None else f"{name} {low:.15g}..{high:.15g}"


def _parameters(spec: Any) -> dict[str, _Parameter]:
    hints = get_type_hints(spec, include_extras=True)
    parameters = {}
    for field in dataclasses.fields(spec):
        kind, about = get_args(hints[field.name])
        parameters[field.name] = _Parameter(field.name, kind, about, required=field.default is dataclasses.MISSING)
    return parameters


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]!r}?" if close else f": want any of {', '.join(names)}"


def _checked(parameter: _Parameter, value: Any) -> Any:
    """The value in the field's type: a whole number is a number too; ROS reads [] as None and writes it as [""]."""
    kind, about = parameter.kind, parameter.about
    if kind is float and type(value) is int:
        value = float(value)
    if get_origin(kind) is tuple:
        value = () if value is None else value
        if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
            return tuple(text for text in value if text)
    fits = value in get_args(kind) if get_origin(kind) is Literal else type(value) is kind
    if fits and about.low is not None and about.high is not None:
        fits = math.isfinite(value) and about.low <= value <= about.high
    if not fits:
        raise InvalidInput(f"{parameter.name}: want {parameter.expected}, got {value!r}")
    return value


def _declaration(parameter: _Parameter, value: Any) -> tuple[str, Any, ParameterDescriptor]:
    low, high = parameter.about.low, parameter.about.high
    descriptor = ParameterDescriptor(
        description=parameter.about.description, additional_constraints=parameter.expected, read_only=True
    )
    if low is not None and high is not None and parameter.kind is int:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    elif low is not None and high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return parameter.name, (list(value) or [""]) if isinstance(value, tuple) else value, descriptor
