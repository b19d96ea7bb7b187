"""Drives in which somebody else drives for some seconds: the expert puts it right, and only its own driving becomes samples."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.profile import read_profile, shared_files
from alpamayo_ros.simulation.closed_loop.leading import BEGINS_S, LASTS_S, SEES_BEFORE_S, LedExpert, lead_of
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import AlwaysStop, ExpertPolicy
from alpamayo_ros.simulation.closed_loop.straying import has_strayed
from alpamayo_ros.simulation.data import dataset
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.simulation.data.samples import SceneSamples, samples_of
from alpamayo_ros.simulation.data.shards import read_shard
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import HORIZON, STEP_S, EngineFailure, InvalidInput

DURATION_S = 18.0
SCENARIO = make_scenario("free_road", 3, DURATION_S)
LEAD = lead_of(SCENARIO)
NANO = f"{shared_files() / 'models' / 'ar1_nano'}@graphed"
PROFILE = read_profile("ar1_nano").model_copy(update={"image_height": 32, "image_width": 48})


class Noted(AlwaysStop):
    """Somebody who brakes, and what it was shown."""

    def __init__(self) -> None:
        self.seen_s: list[float] = []

    def see(self, snapshot: Snapshot) -> None:
        self.seen_s.append(snapshot.t_s)
        super().see(snapshot)


class Silent(AlwaysStop):
    """Somebody without a plan."""

    def plan(self) -> Planned:
        return replace(super().plan(), trajectory=None, refused="no idea")


class Dead(AlwaysStop):
    """Somebody whose engine is gone."""

    def plan(self) -> Planned:
        raise EngineFailure("the engine died")


@pytest.fixture(scope="module")
def leader() -> Noted:
    return Noted()


@pytest.fixture(scope="module")
def led(leader: Noted) -> Episode:
    return run_episode(SCENARIO, LedExpert(leader))


def speed_mps(episode: Episode, t_s: float) -> float:
    return episode.egos[round(100 * t_s)].speed_mps


def test_somebody_else_drives_once_and_the_expert_puts_it_right(led: Episode) -> None:
    cycles = [planned.t0_s for planned in led.planned if has_strayed(planned)]
    assert cycles
    assert all(LEAD.begins_s <= t_s < LEAD.ends_s for t_s in cycles)
    assert all(round(after - before, 3) == 0.5 for before, after in pairwise(cycles)), "once"
    held = run_episode(SCENARIO, ExpertPolicy())
    assert speed_mps(led, cycles[0]) == speed_mps(held, cycles[0])
    assert speed_mps(led, cycles[-1] + 0.5) < speed_mps(held, cycles[-1] + 0.5) - 0.5, "who always stops braked"
    assert speed_mps(led, DURATION_S) == pytest.approx(speed_mps(held, DURATION_S), abs=0.5)


def test_it_is_shown_the_world_from_shortly_before_it_drives(led: Episode, leader: Noted) -> None:
    assert led.incident is None
    assert min(leader.seen_s) == pytest.approx(max(0.0, LEAD.begins_s - SEES_BEFORE_S), abs=0.1)
    assert max(leader.seen_s) < LEAD.ends_s


def test_only_what_the_expert_drove_becomes_samples(led: Episode) -> None:
    labels = samples_of(led, small_rig_of(160, 96), PROFILE).scene.labels
    led_s = [planned.t0_s for planned in led.planned if has_strayed(planned)]
    assert labels
    for label in labels:
        assert label.t0_s + HORIZON * STEP_S <= led_s[0] or label.t0_s > led_s[-1]
    assert any(0 < label.t0_s - led_s[-1] < 2.0 for label in labels), "its past is somebody else's driving"


def test_where_it_has_no_plan_the_expert_drives_on() -> None:
    silent, held = (run_episode(SCENARIO, driver) for driver in (LedExpert(Silent()), ExpertPolicy()))
    assert not any(map(has_strayed, silent.planned))
    assert [ego.xy_m.tobytes() for ego in silent.egos] == [ego.xy_m.tobytes() for ego in held.egos]


def test_a_model_that_fails_ends_the_data_set() -> None:
    """Passed over, such drives would be missing from it, and nobody would know of which kind they were."""
    episode = run_episode(SCENARIO, LedExpert(Dead()))
    with pytest.raises(InvalidInput, match=r"free_road 3: expert led by always_stop failed at \d\.\d s: the engine died"):
        samples_of(episode, small_rig_of(160, 96), PROFILE)


def test_when_it_drives_is_drawn_from_the_scene_alone() -> None:
    leads = [lead_of(make_scenario("free_road", seed, DURATION_S)) for seed in range(1, 40)]
    assert leads == [lead_of(make_scenario("free_road", seed, DURATION_S)) for seed in range(1, 40)]
    assert len({lead.begins_s for lead in leads}) == len(leads)
    assert all(BEGINS_S[0] <= lead.begins_s <= BEGINS_S[1] for lead in leads)
    assert all(LASTS_S[0] <= lead.ends_s - lead.begins_s <= LASTS_S[1] for lead in leads)


def test_a_data_set_is_led_by_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped network, which remembers what it saw and said: what it did in one drive is nothing to the next."""
    recipe = Recipe("train", small_rig_of(160, 96), PROFILE, ("free_road", "curve"), 3, 14.0, straying=1.0, led_by=NANO)
    taken: dict[int, list[SceneSamples]] = {}
    for per_shard in (2, 1):  # one engine for both drives, and one for each
        monkeypatch.setattr(dataset, "SCENES_PER_SHARD", per_shard)
        made = make_dataset(tmp_path / str(per_shard), recipe, 8)
        assert made["dropped"]["strayed"] > 0
        shards = sorted((tmp_path / str(per_shard)).glob("*.tar"))
        taken[per_shard] = [scene for shard in shards for scene in read_shard(shard)]
    assert [scene.scene.id.family for scene in taken[1]] == ["free_road", "curve"]
    for one, other in zip(taken[1], taken[2], strict=True):
        assert one.scene.track.xy_m.tobytes() == other.scene.track.xy_m.tobytes()
        assert one.scene.windows == other.scene.windows
        assert one.scene.windows
        assert all(window.is_balanced for window in one.scene.windows)
    with pytest.raises(InvalidInput, match="is of another recipe, led_by differ"):
        make_dataset(tmp_path / "1", replace(recipe, led_by=NANO.partition("@")[0]), 1)


def test_a_bundle_that_never_has_a_plan_makes_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SCENES_PER_SHARD", 1)
    monkeypatch.setattr(dataset, "EnginePolicy", lambda *_: Silent())
    recipe = Recipe("train", small_rig_of(160, 96), PROFILE, ("free_road",), 3, 12.0, straying=1.0, led_by=NANO)
    with pytest.raises(InvalidInput, match=r"drove in none of 1 drives: it has no plans in this world"):
        make_dataset(tmp_path / "led", recipe, 1)
    assert [path.name for path in (tmp_path / "led").iterdir()] == ["index.json"]


def test_who_leads_needs_drives_to_lead() -> None:
    alone = Recipe("train", small_rig_of(160, 96), PROFILE, ("curve",))
    with pytest.raises(InvalidInput, match="drives in the share of drives that stray: want straying above 0"):
        replace(alone, led_by=NANO)
    with pytest.raises(InvalidInput, match="kinematic has no folder: want a bundle, whose files say who drove"):
        replace(alone, straying=0.5, led_by="kinematic")
