"""Drives in which somebody else drives from some time on: what the expert would have done there becomes samples."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros import dynamics
from alpamayo_ros.profile import read_profile, shared_files
from alpamayo_ros.simulation.closed_loop.leading import BEGINS_S, SEES_BEFORE_S, LedExpert, begins_s
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import AlwaysStop, ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
from alpamayo_ros.simulation.data import dataset
from alpamayo_ros.simulation.data.dataset import Recipe, make_dataset
from alpamayo_ros.simulation.data.samples import SceneSamples, samples_of
from alpamayo_ros.simulation.data.shards import read_shard, write_shard
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import HORIZON, STEP_S, EngineFailure, InvalidInput

pytestmark = pytest.mark.thorough

DURATION_S = 18.0
SCENARIO = make_scenario("free_road", 3, DURATION_S)
BEGIN_S = begins_s(SCENARIO)
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


class Straight(AlwaysStop):
    """Somebody who goes on as it goes."""

    def plan(self) -> Planned:
        planned = super().plan()
        return replace(planned, trajectory=dynamics.trajectory(np.zeros(HORIZON), np.zeros(HORIZON), planned.ego.speed_mps))


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


def test_somebody_else_drives_from_some_time_on(led: Episode) -> None:
    cycles = [planned.t0_s for planned in led.planned if planned.has_strayed]
    assert cycles == [planned.t0_s for planned in led.planned if planned.t0_s >= BEGIN_S]
    held = run_episode(SCENARIO, ExpertPolicy())
    assert speed_mps(led, cycles[0]) == speed_mps(held, cycles[0])
    assert speed_mps(led, DURATION_S) < 0.5, "who always stops stands"
    assert speed_mps(held, DURATION_S) > 5.0


def test_it_is_shown_the_world_from_shortly_before_it_drives(led: Episode, leader: Noted) -> None:
    assert led.incident is None
    assert min(leader.seen_s) == pytest.approx(max(0.0, BEGIN_S - SEES_BEFORE_S), abs=0.1)


def test_where_it_drives_the_label_is_what_the_expert_would_have_done_there(led: Episode) -> None:
    scene = samples_of(led, small_rig_of(160, 96), PROFILE).scene
    intended = {planned.t0_s: planned.intention for planned in led.planned if planned.has_strayed}
    assert {label.t0_s for label in scene.labels} >= set(intended), "up to the last one: no future need have been driven"
    for label in scene.labels:
        if (wanted := intended.get(label.t0_s)) is not None:
            assert label.decision == wanted.decision
            assert label.trajectory.xyz.tobytes() == wanted.trajectory.xyz.tobytes()
        else:
            assert label.t0_s + HORIZON * STEP_S <= min(intended), "what it left is no label"
    late = [label for label in scene.labels if label.t0_s > DURATION_S - 1.0]
    assert late
    assert all(label.trajectory.speed_mps[-1] > 5.0 for label in late), "from a stand the expert would drive on"


def test_who_plans_ten_times_a_second_is_labelled_twice_a_second() -> None:
    often = run_episode(SCENARIO, LedExpert(Straight()), LoopSettings(plan_hz=10.0))
    led_s = [planned.t0_s for planned in often.planned if planned.has_strayed]
    assert np.diff(led_s) == pytest.approx(0.1)
    labelled_s = [label.t0_s for label in samples_of(often, small_rig_of(160, 96), PROFILE).scene.labels]
    assert labelled_s[-1] in led_s
    assert {round(t_s % 0.5, 6) % 0.5 for t_s in labelled_s} == {0.0}


def test_labels_of_a_drive_survive_a_shard(led: Episode, tmp_path: Path) -> None:
    taken = samples_of(led, small_rig_of(160, 96), PROFILE)
    write_shard(tmp_path / "led.tar", [taken])
    (read,) = read_shard(tmp_path / "led.tar")
    for one, other in zip(taken.samples, read.samples, strict=True):
        assert [part.tobytes() for part in one.future] == [part.tobytes() for part in other.future]


def test_a_drive_that_ends_badly_has_samples_of_where_the_model_drove() -> None:
    """They are what it is for: the instants before a mistake is beyond repair."""
    episode = run_episode(make_scenario("braking_lead", 5), LedExpert(Straight()))
    assert episode.incident is not None
    scene = samples_of(episode, small_rig_of(160, 96), PROFILE).scene
    assert scene.windows
    assert all(window.intended is not None for window in scene.windows)
    assert episode.incident.t_s - scene.labels[-1].t0_s < HORIZON * STEP_S


def test_what_the_checks_would_reject_is_no_example(led: Episode) -> None:
    """Where the expert knows no way out either: here it would turn at 45 m/s^2."""
    last = led.planned[-1]
    assert last.intention is not None
    wild = dynamics.trajectory(np.zeros(HORIZON), np.full(HORIZON, 0.2), 15.0)
    at_15 = replace(last, ego=replace(last.ego, speed_mps=15.0), intention=replace(last.intention, trajectory=wild))
    scene = samples_of(replace(led, planned=(*led.planned[:-1], at_15)), small_rig_of(160, 96), PROFILE).scene
    assert scene.dropped["rejected"] == 1
    assert last.t0_s not in [label.t0_s for label in scene.labels]


def test_where_it_has_no_plan_the_expert_drives_on() -> None:
    silent, held = (run_episode(SCENARIO, driver) for driver in (LedExpert(Silent()), ExpertPolicy()))
    assert not any(planned.has_strayed for planned in silent.planned)
    assert [ego.xy_m.tobytes() for ego in silent.egos] == [ego.xy_m.tobytes() for ego in held.egos]


def test_a_model_that_fails_ends_the_data_set() -> None:
    """Passed over, such drives would be missing from it, and nobody would know of which kind they were."""
    episode = run_episode(SCENARIO, LedExpert(Dead()))
    with pytest.raises(InvalidInput, match=r"free_road 3: expert led by always_stop failed at \d\.\d s: the engine died"):
        samples_of(episode, small_rig_of(160, 96), PROFILE)


def test_when_it_begins_is_drawn_from_the_scene_alone() -> None:
    begin_s = [begins_s(make_scenario("free_road", seed, DURATION_S)) for seed in range(1, 40)]
    assert begin_s == [begins_s(make_scenario("free_road", seed, DURATION_S)) for seed in range(1, 40)]
    assert len(set(begin_s)) == len(begin_s)
    assert all(BEGINS_S[0] <= each <= BEGINS_S[1] for each in begin_s)


def test_a_data_set_is_led_by_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped network, which remembers what it saw and said: what it did in one drive is nothing to the next."""
    recipe = Recipe("train", small_rig_of(160, 96), PROFILE, ("free_road", "curve"), 4, 6.0, straying=1.0, led_by=NANO)
    taken: dict[int, list[SceneSamples]] = {}
    for per_shard in (2, 1):  # one engine for both drives, and one for each
        monkeypatch.setattr(dataset, "SCENES_PER_SHARD", per_shard)
        make_dataset(tmp_path / str(per_shard), recipe, 5)
        shards = sorted((tmp_path / str(per_shard)).glob("*.tar"))
        taken[per_shard] = [scene for shard in shards for scene in read_shard(shard)]
    assert [scene.scene.id.family for scene in taken[1]] == ["free_road", "curve"]
    for one, other in zip(taken[1], taken[2], strict=True):
        assert one.scene.track.xy_m.tobytes() == other.scene.track.xy_m.tobytes()
        assert [why.text for why in one.scene.labels] == [why.text for why in other.scene.labels]
        for mine, yours in zip(one.samples, other.samples, strict=True):
            assert [part.tobytes() for part in mine.future] == [part.tobytes() for part in yours.future]
        assert any(window.intended is not None for window in one.scene.windows)
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
