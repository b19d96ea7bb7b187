"""What an open-loop evaluation finds, before anything is averaged: plans beside what was driven, window by window.

A contender is a planner that is judged: the bundle, the bundle with its cameras blanked, the kinematic baseline, another
bundle. All contenders see the same observation of a window. A clip is 20 s of a bag (the paper's clips), the unit of
statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from alpamayo_ros.evaluation.metrics import Driven, WindowMetrics, window_metrics
from alpamayo_ros.types import EgoHistory, EgoPose, Plan, Request

CLIP_S = 20.0
KINEMATIC = "kinematic"
BLANKED = ", cameras blanked"  # after a bundle's name: the same bundle with black pictures (the ego-shortcut test)


@dataclass(frozen=True)
class Setup:
    """What an evaluation of a bag depends on besides the bag and the code."""

    rig: str  # name or file
    bundles: tuple[str, ...]  # folders or built-in engines; the first one is what is evaluated, the others compared to it
    profile: str  # of bundles without their own
    request: Request  # but for its seed, which is a function of t0
    rate_hz: float  # windows per second, at most


@dataclass(frozen=True)
class Window:
    """One t0: what was known, what each contender planned, what was driven."""

    t0_ns: int
    clip: str  # "<bag's name>/<number of the clip>"
    history: EgoHistory
    ego_t0: EgoPose
    driven: Driven  # as far as the bag goes
    sync_error_ms: float  # largest distance of a used frame from the instant asked for
    plans: Mapping[str, Plan]  # by contender, of those that answered
    refused: Mapping[str, str]  # by contender, why there is no plan
    deviations_m: Mapping[str, float | None]  # by contender that answered: metrics.plan_deviation_m from its plan before
    rejected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by contender whose plan fails checks: which

    def __post_init__(self) -> None:
        for name in ("plans", "refused", "deviations_m", "rejected"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @cached_property
    def metrics(self) -> Mapping[str, WindowMetrics]:
        """By contender that answered."""
        return {name: window_metrics(plan, self.driven, self.deviations_m[name]) for name, plan in self.plans.items()}


@dataclass(frozen=True)
class Coverage:
    """What of a bag was used, and what became of the rest; reasons are grouped with their numbers left out ("#")."""

    messages: Mapping[str, int]  # by topic that was read
    frames_refused: Mapping[str, int]  # "<role>: reason" -> camera messages
    messages_refused: Mapping[str, int]  # "<topic>: reason" -> other messages
    anchors: int  # instants that a plan was asked for
    not_observed: Mapping[str, int]  # reason -> anchors without an observation
    future_to_s: Mapping[str, int]  # "6.4" -> windows whose driven future is known that far, by metrics.HORIZONS_S
    examples: Mapping[str, str]  # grouped reason -> the first one, with its numbers
    cameras: Mapping[str, int] = field(default_factory=dict)  # role -> windows that saw it; optional ones may be missing


@dataclass(frozen=True)
class BagEvaluation:
    """Everything about one bag."""

    bag: str  # its path as it was given
    sha256: str  # of its files
    start_ns: int  # t0 of the first instant that a plan was asked for: what is told in seconds counts from there
    duration_s: float  # from the first to the last message, by the recorder's clock
    weights: Mapping[str, str]  # by contender: none, untrained, trained, released
    windows: tuple[Window, ...]  # in order of t0
    coverage: Coverage


class Measurement(NamedTuple):
    """Where and when the stage times of a bag's plans were measured."""

    host: str
    gpu: str  # provenance.gpu of that host
    date: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Evaluation:
    """All bags under one setup."""

    setup: Setup
    bags: tuple[BagEvaluation, ...]  # in the order they were given
    broken: Mapping[str, str]  # bag that could not be evaluated -> why
    provenance: Mapping[str, str]  # versions, git, hashes, GPU: see provenance.py
    measured: Mapping[str, Measurement] = field(default_factory=dict)  # by bag; unknown of plans that were made up

    @property
    def windows(self) -> tuple[Window, ...]:
        """Of all bags."""
        return tuple(window for bag in self.bags for window in bag.windows)

    @property
    def contenders(self) -> tuple[str, ...]:
        """The evaluated bundle first, then the others in the order of the setup, then baselines."""
        return tuple(dict.fromkeys(name for bag in self.bags for name in bag.weights))
