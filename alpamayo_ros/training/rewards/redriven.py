"""What surrounds examples of the driving world: their scene once more, along the track that a data set holds of its drive.

Everybody else reacts to the ego alone, so that the same track makes the same world, to the bit; nobody has to plan again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.data.samples import Scene
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.judging.incidents import Grounds
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.simulation.world.world import World
from alpamayo_ros.training.dataset.world import clip_of, t0_ns_of
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.rewards.driving import Surroundings, consequences, surroundings_at
from alpamayo_ros.types import STEP_S, InvalidInput

TICKS_PER_S = round(1 / STEP_S)


class _Place(NamedTuple):
    """Where an example is: which scene of its clip, and the step of its t0."""

    clip: str
    number: int
    step: int


class Redriven:
    """Scenes of the driving world, each driven again once, when somebody first asks what was around.

    Not known are recorded drives, windows in which the expert was not who drove on, and scenes of pairs, whose world was
    changed by hand.
    """

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self._scenes: defaultdict[str, list[Scene]] = defaultdict(list)
        for scene in scenes:
            if not scene.world:
                self._scenes[clip_of(scene.id)].append(scene)
        self._drive = cache(self._driven)

    def knows(self, example: Example) -> bool:
        """Whether `around` knows the surroundings of an example; nothing is driven for that."""
        return self._place(example) is not None

    def around(self, example: Example) -> Surroundings | None:
        """What surrounds a trajectory from an example's t0; None where it is not known.

        Raises InvalidInput where the drive itself comes to grief in it: other code made this scene than the one that is here.
        """
        if (place := self._place(example)) is None:
            return None
        drive, grounds = self._drive(place.clip, place.number)
        found = surroundings_at(drive, grounds, place.step * STEP_S)
        driven = consequences(found, example.future)
        if driven.collision or driven.off_road:
            raise InvalidInput(f"{place.clip}: its own drive ends in an incident: make the data set again with this version")
        return found

    def _place(self, example: Example) -> _Place | None:
        """Scenes of several data sets may have one name: it is the one in which the example was driven."""
        pose = example.observation.ego_t0
        for number, scene in enumerate(self._scenes.get(example.clip, ())):
            for window, label in zip(scene.windows, scene.labels, strict=True):
                if window.intended is not None or t0_ns_of(scene, window) != pose.stamp_ns:
                    continue
                here = np.array_equal(scene.track.xy_m[window.step], pose.position[:2])
                if here and np.array_equal(label.trajectory.xyz, example.future.xyz):
                    return _Place(example.clip, number, window.step)
        return None

    def _driven(self, clip: str, number: int) -> tuple[Episode, Grounds]:
        scene = self._scenes[clip][number]
        egos = scene.track.egos  # of a whole drive: of one that ended early there are no windows that the expert drove
        scenario = make_scenario(scene.id.family, scene.id.seed, (len(egos) - 1) / TICKS_PER_S)
        return redriven(scenario, egos), Grounds(scenario)


def redriven(scenario: Scenario, egos: Sequence[Ego]) -> Episode:
    """The drive in which the ego is where it was every 0.1 s from 0."""
    world = World(scenario)
    return Episode(scenario, "redriven", (world.now, *(world.step(ego) for ego in egos[1:])), (), (), warm_up_s=0.0)
