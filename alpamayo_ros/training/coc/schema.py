"""A labelled moment as JSON: what was decided, for which components, in which words, by whom (paper, section 4).

A `Chain` is what a labeler says, a `Record` a line of a label file. Names of attributes and their values are those that
`reasoning.parse_trace` finds in words, where it knows them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from alpamayo_ros.reasoning import clean
from alpamayo_ros.reasoning.trace import SENTENCE_LIMIT
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import (
    ComponentCategory,
    CriticalComponent,
    Decision,
    Direction,
    InvalidInput,
    Lateral,
    Longitudinal,
    MetaAction,
)

if TYPE_CHECKING:
    from typing_extensions import Self

ReactiveScenario = Literal[
    "slow_for_lead",
    "stop_for_lead",
    "stop_at_control",  # traffic light or stop sign
    "resume_at_control",
    "lane_change",
    "yield_to_vru",
    "cut_in",
    "speed_bump",
    "nudge",
    "bypass_construction",
    "risky_driving",
]
ProactiveScenario = Literal[
    "curvy_road", "lane_change_preparation", "nudge_preparation", "passing_intersection", "no_yield_to_vru"
]
Scenario = ReactiveScenario | ProactiveScenario
"""The scenarios of the paper's table 3: 11 in which the ego reacts, 5 in which it looks ahead."""

Check = Literal["evidence", "coverage", "correctness", "proximate_cause", "minimality", "no_ego_cause", "no_future"]

_SIDED: tuple[Lateral, ...] = ("out_of_lane_nudge", "in_lane_nudge", "lane_change", "turn")  # table 1 gives them an L or an R
_SENTENCE_END = re.compile(r"[.!?]+(?:\s+|$)")


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class Choice(_Value):
    """A driving decision: at most one on each axis, from the closed sets of table 1; both None: nothing was decided."""

    longitudinal: Longitudinal | None = None
    lateral: Lateral | None = None
    direction: Direction | None = None  # of the lateral one

    @model_validator(mode="after")
    def _direction_belongs(self) -> Self:
        if self.direction is not None and self.lateral in (None, "lane_keeping"):
            raise ValueError(f"direction {self.direction} of lateral decision {self.lateral}: it has none")
        if self.direction is None and self.lateral in _SIDED:
            raise ValueError(f"lateral decision {self.lateral} needs a direction, left or right")
        return self

    @property
    def decision(self) -> Decision:
        """The same as the runtime has it."""
        return Decision(self.longitudinal, self.lateral, self.direction)


class _Component(_Value):
    """A cause, and when it was seen."""

    category: ComponentCategory
    description: str
    seen_s: float | None  # after t0: <= 0 is stage I, the history; > 0 stage II, the future; None: UNOBSERVED
    justification: str = ""  # why it must have been there, though nobody saw it

    @model_validator(mode="after")
    def _said(self) -> Self:
        if not self.description.strip():
            raise ValueError("a component needs a description")
        if (self.seen_s is None) != bool(self.justification.strip()):
            raise ValueError(f"seen_s {self.seen_s}: UNOBSERVED (null) needs a justification, and only that has one")
        return self

    @property
    def is_stage_one(self) -> bool:
        """Whether it was seen in the history, t0 included."""
        return self.seen_s is not None and self.seen_s <= 0

    @property
    def component(self) -> CriticalComponent:
        """The same as the runtime has it: attributes that are known, as text."""
        known = self.model_dump(exclude={"category", "description", "seen_s", "justification"}, exclude_none=True)
        attributes = tuple((name, str(value)) for name, value in known.items())
        return CriticalComponent(self.category, self.description, attributes)


class CriticalObject(_Component):
    """A road user or a thing in the way."""

    category: Literal["critical_object"] = "critical_object"
    type: Literal["vehicle", "pedestrian", "cyclist", "other_vru", "obstacle"] | None = None
    position: Literal["in_path", "left", "right", "oncoming", "crosswalk", "behind"] | None = None
    motion: Literal["stopped", "slowing", "slow", "steady", "accelerating", "crossing", "cutting_in"] | None = None
    uncertainty: Literal["low", "high"]


Line = Literal["ahead", "reached", "passed"]


class TrafficLight(_Component):
    """Of the ego's lane."""

    category: Literal["traffic_light"] = "traffic_light"
    colour: Literal["red", "yellow", "green"] | None = None
    arrow: Direction | Literal["straight"] | None = None
    visibility: Literal["clear", "occluded"] | None = None
    wait_line: Line | None = None


class YieldStopControl(_Component):
    """A sign that asks to stop or to yield."""

    category: Literal["yield_stop_control"] = "yield_stop_control"
    kind: Literal["stop", "yield"] | None = None
    ways: Literal["all_way", "two_way"] | None = None
    line: Line | None = None


class RoadEvent(_Component):
    """What the road does, whoever is on it."""

    category: Literal["road_event"] = "road_event"
    kind: Literal["curve", "grade", "bump", "narrowing", "roundabout", "ramp", "junction", "crosswalk"] | None = None
    side: Direction | None = None
    sharpness: Literal["gentle", "sharp"] | None = None
    grade: Literal["uphill", "downhill"] | None = None


class Lane(_Component):
    """Lanes and their lines."""

    category: Literal["lane"] = "lane"
    kind: Literal["driving", "turn", "bike", "shoulder", "parking"] | None = None
    side: Direction | None = None
    state: Literal["clear", "occupied", "closed"] | None = None
    count: int | None = None
    usable_width_m: float | None = None


class RoutingIntent(_Component):
    """Where the route goes."""

    category: Literal["routing_intent"] = "routing_intent"
    target: Literal["straight", "turn", "lane", "exit", "merge", "split", "destination"] | None = None
    side: Direction | None = None
    required_lane: Literal["left", "middle", "right"] | None = None


class OddConstraint(_Component):
    """Conditions of the operational design domain."""

    category: Literal["odd_constraint"] = "odd_constraint"
    kind: Literal["weather", "visibility", "construction", "emergency", "school_bus", "rail"] | None = None
    side: Direction | None = None


Component = CriticalObject | TrafficLight | YieldStopControl | RoadEvent | Lane | RoutingIntent | OddConstraint
"""The seven categories of table 2, each with its attributes; None: not known."""


class Chain(_Value):
    """What a labeler says of a moment."""

    choice: Choice
    components: tuple[Annotated[Component, Field(discriminator="category")], ...]  # the deciding one first
    trace: str  # one or two sentences

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if not self.trace or clean(self.trace) != self.trace or len(self.trace) > SENTENCE_LIMIT:
            raise ValueError(f"trace: want plain text of one line, 1..{SENTENCE_LIMIT} characters, got {self.trace[:80]!r}")
        if (sentences := len(sentences_of(self.trace))) > 2:
            raise ValueError(f"trace: want one or two sentences, got {sentences}")
        return self

    @property
    def reasoning(self) -> Reasoning:
        """The same as a model learns it: components of stage I only."""
        seen = tuple(c.component for c in self.components if c.is_stage_one)
        return Reasoning(self.choice.decision, seen, self.trace)


class Source(_Value):
    """Who said it: `world`, a teacher's model, a person."""

    name: str
    version: str


class Verdict(_Value):
    """What one check of a label found."""

    check: Check
    passed: bool
    why: str = ""  # it did not


class Record(_Value):
    """One labelled moment: a line of a label file."""

    clip: str
    t0_ns: int
    scenario: Scenario | None = None  # None: nobody knows
    chain: Chain
    labeler: Source
    verdicts: tuple[Verdict, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that it does not pass."""
        return tuple(verdict.check for verdict in self.verdicts if not verdict.passed)


def sentences_of(trace: str) -> Sequence[str]:
    """Sentences of a trace, without their ends."""
    return [sentence for sentence in _SENTENCE_END.split(trace) if sentence.strip()]


class Unlabelled(InvalidInput):
    """A labeler has no label for a moment; `reason` is a short name to count it by, the text says more."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason, self._text = reason, text

    def __reduce__(self) -> tuple[type[Unlabelled], tuple[str, str]]:
        return type(self), (self.reason, self._text)  # an error is pickled by its message alone: workers send these


@dataclass(frozen=True)
class Moment:
    """What a labeler is asked about: `Labeler = Callable[[Moment], Record]` (see `label`)."""

    example: Example  # reasoning None
    scenario: Scenario | None = None  # of the keyframe that it is, where that is known

    @property
    def clip(self) -> str:
        """The drive."""
        return self.example.clip

    @property
    def t0_ns(self) -> int:
        """Stamp of the observation."""
        return self.example.observation.stamp_ns

    @property
    def meta_actions(self) -> tuple[MetaAction, ...]:
        """Driven from t0 on."""
        return self.example.meta_actions


class _Plain(GenerateJsonSchema):
    """Without what constrained decoders refuse: defaults, and unions by `oneOf`."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        return {"anyOf": [self.generate_inner(choice) for choice in schema["choices"].values()]}


def chain_schema() -> dict[str, Any]:
    """JSON schema of a `Chain` for constrained decoding: every key is required, none is added, unknown values are null."""
    return Chain.model_json_schema(mode="serialization", schema_generator=_Plain)


@dataclass(frozen=True)
class Records:
    """What a label file holds."""

    records: tuple[Record, ...]
    refused: tuple[str, ...] = ()  # lines that are not records: file, line and reason


def read_records(path: Path) -> Records:
    """The records of a JSONL file; a line that is none is refused, the others are kept. No file: no records.

    Of two records of the same moment by the same labeler the first one counts. Raises InvalidInput for what is no text.
    """
    if not path.exists():
        return Records(())
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not a label file: {error}") from error
    records: dict[tuple[str, int, Source], Record] = {}
    refused = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                record = Record.model_validate_json(line)
            except ValidationError as error:
                refused.append(f"{path}:{number}: {_reasons(error)}")
                continue
            records.setdefault((record.clip, record.t0_ns, record.labeler), record)
    return Records(tuple(records.values()), tuple(refused))


def _reasons(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False)
    said = [f"{'.'.join(str(part) for part in one['loc']) or 'line'}: {one['msg']}" for one in found[:3]]
    return "; ".join(said) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def append_record(path: Path, record: Record) -> None:
    """Add a line to a JSONL file; it is on disk when this returns.

    A last line that an interruption cut off stays a line of its own, which is refused. Raises OSError when the disk refuses.
    """
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(record.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
