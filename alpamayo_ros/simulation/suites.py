"""Which scenes are trained on and which are driven as a test: split by seed, and some families by family.

A scene's seed says to which split it belongs, for all families alike: SPLITS has their ranges. The families of HELD_OUT are
driven in tests but never trained on; every decision that they ask for is asked for by another family too, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from alpamayo_ros.simulation.families import FAMILIES
from alpamayo_ros.types import InvalidInput

Split = Literal["train", "validation", "test"]

SPLITS: Mapping[Split, range] = {
    "train": range(1_000_000),
    "validation": range(1_000_000, 1_100_000),
    "test": range(1_100_000, 1_200_000),
}
"""Seeds of each split."""

HELD_OUT = frozenset({"crossing_cyclist", "delivery_truck", "lane_ends"})
"""Families that no model is trained on."""

TRAINED = tuple(family for family in FAMILIES if family not in HELD_OUT)


class SceneId(NamedTuple):
    """What `make_scenario` needs to make a scene."""

    family: str
    seed: int


def split_of(seed: int) -> Split:
    """The split that a seed belongs to. Raises InvalidInput for a seed of none."""
    for split, seeds in SPLITS.items():
        if seed in seeds:
            return split
    raise InvalidInput(f"seed {seed} belongs to no split, want 0 <= seed < {max(seeds.stop for seeds in SPLITS.values())}")


def scenes(families: tuple[str, ...], split: Split, each: int) -> tuple[SceneId, ...]:
    """The first seeds of a split, so many for each family; scenes of different families take turns."""
    return tuple(SceneId(family, seed) for seed in SPLITS[split][:each] for family in families)


_ALL = tuple(FAMILIES)
_HELD_OUT = tuple(family for family in FAMILIES if family in HELD_OUT)

_SHOWN = ("red_light", "turn_left", "braking_lead", "stop_sign")

SUITES: Mapping[str, Callable[[], tuple[SceneId, ...]]] = {
    "demo": lambda: scenes(_SHOWN, "test", 1),
    "smoke": lambda: scenes(_ALL, "test", 1),
    "test": lambda: scenes(_ALL, "test", 8),
    "held_out": lambda: scenes(_HELD_OUT, "test", 20),
    "validation": lambda: scenes(TRAINED, "validation", 4),
    "train": lambda: scenes(TRAINED, "train", 800),
}
"""Suites by name: demo is what `make demo` drives, smoke one scene of each family, test eight, held_out twenty of each family
that is never trained on."""


def suite(name: str) -> tuple[SceneId, ...]:
    """The scenes of a suite, always the same. Raises InvalidInput for a suite that does not exist."""
    if name not in SUITES:
        raise InvalidInput(f"unknown suite {name!r}, want one of {', '.join(SUITES)}")
    return SUITES[name]()


def chosen(name: str, families: Sequence[str] = (), most: int | None = None) -> tuple[SceneId, ...]:
    """The scenes of a suite, of some families only where they are named, at most so many. Raises InvalidInput."""
    scenes_of = suite(name)
    if unknown := sorted(set(families) - set(FAMILIES)):
        raise InvalidInput(f"unknown family {unknown[0]!r}, want one of {', '.join(FAMILIES)}")
    if most is not None and most < 1:
        raise InvalidInput(f"want 1 scene or more, got {most}")
    kept = tuple(scene for scene in scenes_of if not families or scene.family in families)[:most]
    if not kept:
        raise InvalidInput(f"suite {name} has no scene of {', '.join(families)}")
    return kept


def families_of(split: Split) -> tuple[str, ...]:
    """The families that a split may use: all but those held out are trained on."""
    return TRAINED if split == "train" else _ALL
