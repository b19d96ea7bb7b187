"""Both windows of a pair have one history and two truths, and what differs is on their pictures."""

from functools import cache

import numpy as np
import pytest

from alpamayo_ros.profile import read_profile, read_rig
from alpamayo_ros.simulation.data.pairs import PAIR_FAMILIES, PAIR_KINDS, PairKind, ScenePair, scene_pair
from alpamayo_ros.simulation.data.samples import Sample, SceneSamples
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.simulation.suites import SceneId, families_of

pytestmark = pytest.mark.thorough

# Of even seeds the history is driven in the second world (green, nobody ahead), of odd ones in the first.
MADE = [
    ("light", "red_light", 1_000_000),
    ("light", "red_light", 1_000_001),
    ("lead", "cut_in", 1_000_000),
    ("lead", "follow_lead", 1_000_001),
]


@cache
def pair(kind: PairKind, family: str, seed: int) -> ScenePair:
    made = scene_pair(kind, SceneId(family, seed), read_rig("seven_camera"), read_profile("ar1_nano"))
    assert isinstance(made, ScenePair), made
    return made


def samples(made: ScenePair) -> tuple[Sample, Sample]:
    [one], [other] = (member.samples for member in made.members)
    return one, other


def seen(member: SceneSamples, kind: str) -> list[bool]:
    """At each instant, whether any camera shows something of a kind."""
    return member.kinds[..., KINDS.index(kind)].any(axis=(1, 2, 3)).tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "family", "seed"), MADE)
def test_the_vehicle_knows_the_same_of_itself_in_both(kind: PairKind, family: str, seed: int) -> None:
    made = pair(kind, family, seed)
    one, other = samples(made)
    assert one.label.t0_s == other.label.t0_s
    np.testing.assert_array_equal(one.history.xyz, other.history.xyz)
    np.testing.assert_array_equal(one.history.rot, other.history.rot)
    for name in ("speed_mps", "acceleration_mps2", "steering_angle_rad", "turn_indicator"):
        np.testing.assert_array_equal(getattr(one.signals, name), getattr(other.signals, name))
    assert one.navigation == other.navigation
    assert made.members[0].scene.instants_ms == made.members[1].scene.instants_ms
    assert made.driven_in == (0 if seed % 2 else 1)


@pytest.mark.parametrize(("kind", "family", "seed"), MADE)
def test_the_expert_decides_and_drives_otherwise(kind: PairKind, family: str, seed: int) -> None:
    one, other = samples(pair(kind, family, seed))
    assert one.label.decision != other.label.decision
    assert np.abs(one.label.trajectory.xyz - other.label.trajectory.xyz).max() > 1.0
    assert one.label.consistent.agrees
    assert other.label.consistent.agrees


@pytest.mark.parametrize(("family", "seed"), [(family, seed) for kind, family, seed in MADE if kind == "light"])
def test_the_light_is_red_on_all_pictures_of_one_and_on_none_of_the_other(family: str, seed: int) -> None:
    made = pair("light", family, seed)
    red, green = made.members
    assert seen(red, "red")[-1]
    assert not any(seen(red, "green"))
    assert seen(green, "green") == seen(red, "red")
    assert not any(seen(green, "red"))
    differs = (red.pictures != green.pictures).any(axis=-1).mean(axis=(2, 3))
    assert 0 < differs[-1].max() < 0.05, "lamps are small"
    assert samples(made)[0].label.decision.longitudinal == "stop_for_static_constraints"
    assert samples(made)[0].label.causes[0].kind == "red_light"


@pytest.mark.parametrize(("family", "seed"), [(family, seed) for kind, family, seed in MADE if kind == "lead"])
def test_somebody_is_ahead_in_one_and_is_no_cause_in_the_other(family: str, seed: int) -> None:
    made = pair("lead", family, seed)
    somebody, nobody = samples(made)
    assert {cause.kind for cause in somebody.label.causes} & {"lead", "slow_lead", "braking_lead", "cut_in"}
    assert not {cause.kind for cause in nobody.label.causes} & {"lead", "slow_lead", "braking_lead", "stopped_lead", "cut_in"}
    assert seen(made.members[0], "vehicle")[-1]


def test_the_same_scene_makes_the_same_pair() -> None:
    kind, family, seed = MADE[0]
    again = scene_pair(kind, SceneId(family, seed), read_rig("seven_camera"), read_profile("ar1_nano"))
    assert isinstance(again, ScenePair)
    for one, other in zip(pair(kind, family, seed).members, again.members, strict=True):
        np.testing.assert_array_equal(one.pictures, other.pictures)
        assert one.scene.windows == other.scene.windows


def test_a_scene_without_a_light_has_no_pair_of_that_kind() -> None:
    found = scene_pair("light", SceneId("free_road", 1_000_000), read_rig("seven_camera"), read_profile("ar1_nano"))
    assert found == "the expert decides the same in both worlds"


def test_pairs_are_made_of_families_that_are_driven_in_tests() -> None:
    for kind in PAIR_KINDS:
        assert set(PAIR_FAMILIES[kind]) <= set(families_of("test"))
