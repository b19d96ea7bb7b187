"""`alpamayo simulate`: everybody drives the same scenes, the references stand beside, and what ended badly can be watched."""

import json
from pathlib import Path

import pytest

from alpamayo_ros.bags import bag_topics
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
from alpamayo_ros.simulation.closed_loop.suite import Driver
from alpamayo_ros.simulation.simulate import Asked, simulate
from alpamayo_ros.simulation.suites import chosen
from alpamayo_ros.types import InvalidInput

SCENES = chosen("smoke", ("free_road",))
KINEMATIC = Driver("kinematic", profile="front_camera")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    out = tmp_path_factory.mktemp("simulation")
    asked = Asked("smoke", SCENES, (KINEMATIC,), out, latencies_s=(0.0, 0.5), films=1, record=True)
    return simulate(asked), out


@pytest.mark.thorough
def test_the_figures_are_those_of_the_first_driver(driven: tuple[dict[str, object], Path]) -> None:
    figures, out = driven
    assert figures["driver"] == "kinematic"
    assert figures["episodes"] == 1
    assert {"at_fault_incidents_per_km", "offroad", "progress", "distance_between_incidents_km"} <= figures.keys()
    stored = json.loads((out / "simulation.json").read_text())
    assert stored["drivers"]["kinematic"]["progress"]["mean"] == figures["progress"]


@pytest.mark.thorough
def test_every_table_has_the_references_and_every_latency(driven: tuple[dict[str, object], Path]) -> None:
    _, out = driven
    stored = json.loads((out / "simulation.json").read_text())
    assert list(stored["drivers"]) == ["kinematic", "kinematic, 0.5 s late", "expert", "always_stop"]
    for name in stored["drivers"]:
        assert name in (out / "report.md").read_text()
        assert name in (out / "report.html").read_text()


@pytest.mark.thorough
def test_a_drive_that_ended_badly_can_be_watched(driven: tuple[dict[str, object], Path]) -> None:
    figures, out = driven
    films = [str(path) for path in (out / "films").glob("kinematic-free_road-*.mp4")]
    assert figures["scene_scores"] != {}
    assert films
    assert set(films) <= set(figures["files"])  # type: ignore[call-overload]
    assert f'src="films/{Path(films[0]).name}"' in (out / "report.html").read_text()


@pytest.mark.thorough
def test_every_drive_of_those_asked_for_is_a_bag(driven: tuple[dict[str, object], Path]) -> None:
    _, out = driven
    (bag,) = (out / "bags" / "kinematic").iterdir()
    assert bag_topics(bag)["/sensing/camera/front_wide/image/compressed"].count > 20
    assert not (out / "bags" / "expert").exists()


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"drivers": (Driver("nobody"),)}, "no engine 'nobody'"),
        ({"drivers": (Driver("expert", over_ros=True),)}, "expert has no engine"),
        ({"drivers": (Driver("kinematic", rig="kitti"),)}, "rig kitti has no"),
        ({"latencies_s": (9.0,)}, "latency_s 9.0"),
        ({"scenes": ()}, "no scene"),
    ],
)
def test_what_cannot_drive_is_refused_before_anything_is_written(
    asked: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    plain = {"suite": "smoke", "scenes": SCENES, "drivers": (KINEMATIC,), "out": tmp_path / "out", "settings": LoopSettings()}
    with pytest.raises(InvalidInput, match=complaint):
        simulate(Asked(**(plain | asked)))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_unknown_suites_and_families_are_named_with_what_there_is() -> None:
    with pytest.raises(InvalidInput, match=r"unknown suite 'typo', want one of demo, smoke, test"):
        chosen("typo")
    with pytest.raises(InvalidInput, match=r"unknown family 'typo', want one of .*red_light"):
        chosen("smoke", ("typo",))
    with pytest.raises(InvalidInput, match="want 1 scene or more, got 0"):
        chosen("smoke", (), 0)
