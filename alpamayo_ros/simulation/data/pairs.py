"""Pairs of windows that only cameras can tell apart: the same ego history, but another light, or nobody ahead.

A scene is built twice: with every light red and with every light green, or with and without those who drive ahead of the ego.
The expert drives one of the two worlds. In the other one the ego does the same, plan by plan, up to a t0 at which the expert,
who has looked on all the while, decides otherwise; from there on it drives by itself. What differs does so from t = 0 on, so
that all pictures of a window agree with it, and each label is what the expert decided and then drove in that world.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, get_args

import numpy as np

from alpamayo_ros.evaluation.metrics import COMFORT_BOUNDS
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.data.samples import SceneSamples, samples_of
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.expert.intention import Intention
from alpamayo_ros.simulation.expert.label import HISTORY_S
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.scenario import ROUTE, LightColour, Scenario, Vehicle
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.types import HORIZON, STEP_S

PairKind = Literal["light", "lead"]
PAIR_KINDS: tuple[PairKind, ...] = get_args(PairKind)

PAIR_FAMILIES: Mapping[PairKind, tuple[str, ...]] = {
    "light": ("red_light", "light_turns"),
    "lead": ("follow_lead", "braking_lead", "stop_and_go", "cut_in"),
}
"""Families in which what is changed is what the drive is about."""


def families_of_pairs() -> tuple[str, ...]:
    """All of them."""
    return tuple(family for families in PAIR_FAMILIES.values() for family in families)


WORLD_NAMES: Mapping[PairKind, tuple[str, str]] = {"light": ("red", "green"), "lead": ("lead", "no-lead")}
"""What a pair's members are called, with the number of their planning cycle."""

Unpaired = Literal["the expert decides the same in both worlds", "a drive after t0 is no sample"]

_HARDEST_MPS2 = COMFORT_BOUNDS["lon_accel"].low
_TRIES = 3  # t0s of a scene for a pair


@dataclass(frozen=True)
class ScenePair:
    """Two scenes of one window each, at the same t0: they differ in what is seen, and in what was decided and done then."""

    kind: PairKind
    members: tuple[SceneSamples, SceneSamples]  # with red and with green lights, or with somebody ahead and without
    driven_in: int  # the member in whose world the history was driven


class _Drive(NamedTuple):
    """A drive, and what the expert would have done at each planning cycle, those of the warm-up included."""

    episode: Episode
    own: tuple[Planned, ...]


class _Follower(ExpertPolicy):
    """The expert, who does what was planned elsewhere as long as there is something, and keeps what it would have done."""

    def __init__(self, script: Sequence[Planned]) -> None:
        super().__init__()
        self._script = script
        self.own: list[Planned] = []

    def plan(self) -> Planned:
        """See Policy."""
        self.own.append(super().plan())
        return self._script[len(self.own) - 1] if len(self.own) <= len(self._script) else self.own[-1]


def scene_pair(kind: PairKind, scene: SceneId, rig: Rig, profile: InputProfile) -> ScenePair | Unpaired:
    """A pair of a scene, or why it has none. Raises InvalidInput as `scene_samples` does."""
    found = scene_pairs(kind, scene, rig, profile, 1)
    return found[0] if isinstance(found, list) else found


def scene_pairs(kind: PairKind, scene: SceneId, rig: Rig, profile: InputProfile, most: int) -> list[ScenePair] | Unpaired:
    """At most so many pairs of a scene, or why it has none. Raises InvalidInput as `scene_samples` does.

    Of odd seeds the history is driven in the first of the two worlds, of even ones in the second. Of all t0 at which the
    expert decides otherwise the seed draws some, and others where the world did something unforeseen then. None of them asks
    for harder braking than is comfortable: who sees what is ahead would not have come to be there.
    """
    worlds = _WORLDS[kind](make_scenario(scene.family, scene.seed))
    driven_in = 1 - scene.seed % 2
    here, there = worlds[driven_in], worlds[1 - driven_in]
    first = _driven(here, ())
    onlooker = _driven(there, first.own)
    places = [place for place in range(min(len(first.own), len(onlooker.own))) if _parts(first, onlooker, place)]
    if not places:
        return "the expert decides the same in both worlds"
    rng = np.random.default_rng([zlib.crc32(f"{kind} {scene.family}".encode()), scene.seed])
    drawn = rng.permutation(places)[: most + _TRIES - 1]
    tried = (_pair(kind, first, there, driven_in, place, rig, profile) for place in drawn.tolist())
    found = list(islice((pair for pair in tried if pair is not None), most))
    return found or "a drive after t0 is no sample"


def _pair(
    kind: PairKind, first: _Drive, there: Scenario, driven_in: int, place: int, rig: Rig, profile: InputProfile
) -> ScenePair | None:
    """What a drive and another world make of a planning cycle; None where either has no sample then."""
    drives = first, _driven(there, first.own[:place])
    names = [f"{name}-{place}" for name in WORLD_NAMES[kind]]
    members = [
        samples_of(replace(each.episode, planned=(each.own[place],)), rig, profile, name)
        for each, name in zip(drives, (names[driven_in], names[1 - driven_in]), strict=True)
    ]
    if not all(member.samples for member in members):
        return None
    return ScenePair(kind, (members[driven_in], members[1 - driven_in]), driven_in)


def _driven(scenario: Scenario, script: Sequence[Planned]) -> _Drive:
    policy = _Follower(script)
    return _Drive(run_episode(scenario, policy), tuple(policy.own))


def _parts(first: _Drive, onlooker: _Drive, place: int) -> bool:
    """Whether a planning cycle is a t0 at which the two worlds part, with 2 s before it and 6.4 s after it."""
    t0_s = onlooker.own[place].t0_s
    ends_s = first.episode.snapshots[-1].t_s
    one, other = _intention(first, place), _intention(onlooker, place)
    whole = HISTORY_S <= t0_s < ends_s - HORIZON * STEP_S
    gentle = min(one.trajectory.accel_mps2.min(), other.trajectory.accel_mps2.min()) > _HARDEST_MPS2
    return bool(whole and gentle and one.decision != other.decision)


def _intention(drive: _Drive, place: int) -> Intention:
    intention = drive.own[place].intention
    assert intention is not None, "the expert always has one"
    return intention


def _red_and_green(scenario: Scenario) -> tuple[Scenario, Scenario]:
    """Nobody comes along the crossing street: they would have the right of way at red, and run it at green."""
    calm = replace(scenario, vehicles=tuple(vehicle for vehicle in scenario.vehicles if vehicle.road == ROUTE))
    return _lit(calm, "red"), _lit(calm, "green")


def _lit(scenario: Scenario, colour: LightColour) -> Scenario:
    """All lights show a colour for ever."""
    return replace(scenario, lights=tuple(replace(light, phases=((colour, 1.0),), trigger=None) for light in scenario.lights))


def _with_and_without_lead(scenario: Scenario) -> tuple[Scenario, Scenario]:
    """Without: nobody who starts ahead of the ego on its way and in its direction."""

    def leads(vehicle: Vehicle) -> bool:
        ahead = vehicle.road == ROUTE and vehicle.along_m > scenario.start.along_m
        return ahead and not scenario.route.lane(vehicle.lane).oncoming

    return scenario, replace(scenario, vehicles=tuple(vehicle for vehicle in scenario.vehicles if not leads(vehicle)))


_WORLDS: Mapping[PairKind, Callable[[Scenario], tuple[Scenario, Scenario]]] = {
    "light": _red_and_green,
    "lead": _with_and_without_lead,
}
