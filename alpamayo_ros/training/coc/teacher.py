"""A vision-language model as teacher: two questions to an endpoint, a label as their answers (paper, sections 4 and 8).

Stage I sees the pictures of the 2 s before t0 and names what matters there. Stage II is told how the ego then drove, and
decides which of those made it do so: it cannot name anything else, for it answers with their numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from alpamayo_ros.model.prompt import navigation_text
from alpamayo_ros.training.coc.client import Client
from alpamayo_ros.training.coc.endpoint import Prompt
from alpamayo_ros.training.coc.evidence import HISTORY_S
from alpamayo_ros.training.coc.schema import Chain, Choice, Component, Moment, Record, Source, Unlabelled
from alpamayo_ros.training.coc.teacher_words import DECIDING, FUTURE_S, MOST_SEEN, SEEING
from alpamayo_ros.types import (
    STEP_S,
    U8,
    CameraFrame,
    InvalidInput,
    Observation,
    Trajectory,
)

FRONT = ("front_left", "front_wide", "front_right")
SEEN_AT_S = (-2.0, -1.5, -1.0, -0.5, 0.0)
NEAR_S = 0.2  # a frame is to those times
LISTED_S = 0.5  # between two lines of the driven way

_Components = tuple[Annotated[Component, Field(discriminator="category")], ...]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Seen(_Answer):
    """The answer of stage I."""

    components: _Components

    @model_validator(mode="after")
    def _of_the_history(self) -> Seen:
        if len(self.components) > MOST_SEEN:
            raise ValueError(f"want at most {MOST_SEEN} components, got {len(self.components)}")
        for component in self.components:
            if component.seen_s is None or not -HISTORY_S <= component.seen_s <= 0:
                raise ValueError(f"{component.description!r}: want seen_s in {-HISTORY_S}..0, got {component.seen_s}")
        return self


class Decided(_Answer):
    """The answer of stage II."""

    choice: Choice
    cites: tuple[int, ...]  # numbers of stage I's list, from 1
    unobserved: _Components
    trace: str

    @model_validator(mode="after")
    def _is_a_chain(self) -> Decided:
        if len(set(self.cites)) != len(self.cites):
            raise ValueError(f"cites {self.cites}: a number stands there twice")
        if seen := [component.description for component in self.unobserved if component.seen_s is not None]:
            raise ValueError(f"unobserved: {seen[0]!r} has a seen_s")
        Chain(choice=self.choice, components=self.unobserved, trace=self.trace)
        return self


def source(client: Client) -> Source:
    """Who the label is of: the model, and the version of what it is told."""
    told = f"{SEEING}\n{DECIDING}"
    return Source(name=client.endpoint.model, version=hashlib.sha256(told.encode()).hexdigest()[:12])


def labelled(client: Client, moment: Moment, roles: Sequence[str] = FRONT) -> Record:
    """The teacher's label of a moment, without verdicts; two requests, each of which is on disk once it is answered.

    `roles` are the cameras that it is shown. Raises Unlabelled: the cameras or 2 s of them are not there, the future is too
    short, the answers are junk, or they cite what stage I did not see; EndpointDown.
    """
    _check_future(moment.example.future)
    first = seeing(moment.example.observation, roles)
    try:
        seen = client.ask(first, Seen).components
        decided = client.ask(deciding(moment, seen, roles), Decided)
    except InvalidInput as error:
        raise Unlabelled("no_answer", str(error)) from error
    if wrong := [number for number in decided.cites if not 1 <= number <= len(seen)]:
        raise Unlabelled("cites_unseen", f"component {wrong[0]} of {len(seen)}")
    components = (*(seen[number - 1] for number in decided.cites), *decided.unobserved)
    chain = Chain(choice=decided.choice, components=components, trace=decided.trace)
    return Record(clip=moment.clip, t0_ns=moment.t0_ns, scenario=moment.scenario, chain=chain, labeler=source(client))


def seeing(observation: Observation, roles: Sequence[str]) -> Prompt:
    """Stage I: the pictures of the history at 2 Hz, each with its camera and time.

    Raises Unlabelled for a camera that is not there or has no pictures of 2 s.
    """
    parts: list[str | U8] = []
    for role in roles:
        parts.append(f"Camera {role}:")
        for frame in _frames(observation, role):
            age_s = round((frame.stamp_ns - observation.stamp_ns) / 1e9, 1) + 0.0  # no -0.0
            parts += [f"{age_s:+.1f} s", frame.image]
    return Prompt(SEEING, (*parts, _route(observation)))


def deciding(moment: Moment, seen: Sequence[Component], roles: Sequence[str]) -> Prompt:
    """Stage II: the pictures at t0, what stage I saw, and the way that was driven; no picture of the future.

    Raises Unlabelled as `seeing` does.
    """
    observation = moment.example.observation
    listed = [f"{number}. {component.model_dump_json(exclude_none=True)}" for number, component in enumerate(seen, start=1)]
    told = [
        "Seen until t0:",
        *(listed or ["nothing that matters"]),
        _route(observation),
        "Driven after t0 (x ahead, y to the left of where the car was at t0):",
        f"+0.0 s: x 0.0 m, y 0.0 m, heading 0.0 deg, {observation.speed_mps:.1f} m/s",
        *_way(moment.example.future),
        "The same by rule:",
        *(
            f"{action.start_s:.1f}-{action.end_s:.1f} s: {action.action}"
            for action in moment.meta_actions
            if action.start_s < FUTURE_S
        ),
    ]
    pictures = [part for role in roles for part in (f"Camera {role} at t0:", _frames(observation, role)[-1].image)]
    return Prompt(DECIDING, (*pictures, "\n".join(told)))


def _frames(observation: Observation, role: str) -> tuple[CameraFrame, ...]:
    """A camera's frames nearest to SEEN_AT_S, whatever its rate."""
    frames = observation.frames.get(role, ())
    if not frames:
        raise Unlabelled("no_camera", f"{role}: the observation has {', '.join(observation.frames) or 'none'}")
    ages_s = np.array([(frame.stamp_ns - observation.stamp_ns) / 1e9 for frame in frames])
    off_s = np.abs(ages_s[None] - np.array(SEEN_AT_S)[:, None])
    if (worst_s := off_s.min(axis=1).max()) > NEAR_S:
        raise Unlabelled(
            "short_history", f"{role}: {len(frames)} frames from {ages_s.min():+.1f} s on, {worst_s:.2f} s off 2 Hz"
        )
    return tuple(frames[at] for at in off_s.argmin(axis=1))


def _route(observation: Observation) -> str:
    return f"Route: {navigation_text(observation.navigation)}" if observation.navigation else "Route: not told"


def _check_future(future: Trajectory) -> None:
    if future.t_s[-1] < FUTURE_S - STEP_S / 2:
        raise Unlabelled("short_future", f"{future.t_s[-1]:.1f} s were driven, want {FUTURE_S:.1f}")


def _way(future: Trajectory) -> Iterator[str]:
    for t_s in np.arange(LISTED_S, FUTURE_S + STEP_S / 2, LISTED_S):
        at = int(np.argmin(np.abs(future.t_s - t_s)))
        told = *future.xyz[at, :2], np.degrees(future.yaw_rad[at]), future.speed_mps[at]
        x_m, y_m, heading_deg, speed_mps = (round(float(value), 1) + 0.0 for value in told)  # no -0.0
        yield f"+{t_s:.1f} s: x {x_m} m, y {y_m} m, heading {heading_deg} deg, {speed_mps} m/s"
