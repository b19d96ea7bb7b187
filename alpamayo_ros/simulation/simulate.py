"""`alpamayo simulate`: drivers through the scenes of a suite, with the expert, a baseline and one that stops beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from alpamayo_ros.engine.description import describe
from alpamayo_ros.engine.loading import bundle_folder, bundle_profile
from alpamayo_ros.evaluation.conversion.writing import write_rig
from alpamayo_ros.evaluation.openloop.provenance import of_code
from alpamayo_ros.evaluation.openloop.summary import counted
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings
from alpamayo_ros.simulation.closed_loop.suite import WITHOUT_ENGINE, Driver, run_suite
from alpamayo_ros.simulation.data.bag import write_episode
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.judging.outcomes import Outcome, outcome, way_m
from alpamayo_ros.simulation.results.film import write_film
from alpamayo_ros.simulation.results.page import Film, write_page
from alpamayo_ros.simulation.results.summary import Standing, by_family, stand
from alpamayo_ros.simulation.results.tables import markdown, terminal
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.types import InvalidInput

EXPERT = "expert"
REFERENCES = (EXPERT, "kinematic", "always_stop")
"""Rows of every table: what can be reached, what needs no eyes, and what needs no plan."""


REPORTS = ("simulation.json", "report.md", "report.html")
SAID = ("scene_score", "offroad", "progress", "goal_share", "comfort", "close_encounter", "failed")
"""Of the driver asked for, on the last line."""


@dataclass(frozen=True)
class Asked:
    """What to drive and what to keep of it."""

    suite: str  # its name, for the title
    scenes: tuple[SceneId, ...]
    drivers: tuple[Driver, ...]
    out: Path
    settings: LoopSettings = field(default_factory=LoopSettings)
    latencies_s: tuple[float, ...] = (0.0,)  # of the drivers asked for; references have the settings' own
    workers: int = 1
    films: int = 5  # per driver, at most
    films_of: Literal["bad", "all"] = "bad"  # drives
    record: bool = False  # every drive of the drivers asked for, as a bag


@dataclass(frozen=True)
class _Row:
    """One driver under one latency."""

    name: str
    driver: Driver
    settings: LoopSettings
    is_asked: bool


def simulate(asked: Asked) -> dict[str, Any]:
    """Drive, sum up, write simulation.json, report.md, report.html, films and bags, print the table; returns the figures.

    Raises InvalidInput before anything is driven, for no scenes, a driver that cannot drive, or a latency out of range.
    """
    if not asked.scenes:
        raise InvalidInput(f"suite {asked.suite}: no scene is left to drive")
    rows = [*_asked_rows(asked), *_references(asked)]
    _check(asked, rows)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in REPORTS:
        (asked.out / name).unlink(missing_ok=True)  # of another run
    # The expert drives first: how far it comes is what everybody's progress is measured by.
    driven: dict[str, tuple[Standing, list[Film]]] = {}
    ways: dict[SceneId, float] = {}
    for row in sorted(rows, key=lambda row: row.driver.bundle != EXPERT):
        outcomes, filmed = _driven(asked, row, ways)
        driven[row.name] = stand(row.name, outcomes), filmed
        done = [driven[row.name] for row in rows if row.name in driven]
        files = _write(asked, [standing for standing, _ in done], [film for _, films in done for film in films])
    standings = [driven[row.name][0] for row in rows]
    Console(width=110).print(terminal(f"Closed loop: suite {asked.suite}", standings))
    return _figures(standings) | {"files": files}


def _write(asked: Asked, standings: Sequence[Standing], films: Sequence[Film]) -> list[str]:
    """The reports of the rows that are done: whoever interrupts the others keeps these."""
    title, about = f"Closed loop: suite {asked.suite}", _about(asked)
    files = [asked.out / name for name in REPORTS]
    files[0].write_text(json.dumps(_stored(asked, standings), indent=1) + "\n", "utf-8")
    files[1].write_text(markdown(title, about, standings), "utf-8")
    write_page(files[2], title, about, standings, films)
    return [str(path) for path in (*files, *(film.path for film in films))]


def _check(asked: Asked, rows: Sequence[_Row]) -> None:
    """Raise InvalidInput for what would fail or be lost later."""
    for driver in asked.drivers:
        driver.check(asked.settings)
    names = [row.name for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"two drivers are called {twice[0]}: their results could not be told apart")
    for row in rows:
        row.driver.check(row.settings)
    if asked.films < 0 or asked.workers < 1:
        raise InvalidInput(f"want 0 films and 1 worker or more, got {asked.films} and {asked.workers}")
    if asked.record and (older := asked.out / "bags").exists():
        raise InvalidInput(f"{older} is there already: choose another --out, or delete it")


def _asked_rows(asked: Asked) -> Iterator[_Row]:
    for driver in asked.drivers:
        for latency_s in asked.latencies_s:
            settings = replace(asked.settings, latency_s=latency_s)
            late = f", {latency_s:g} s late" if latency_s else ""
            over = " over ROS" if driver.over_ros else ""
            yield _Row(f"{driver.name}{_untrained(driver)}{over}{late}", driver, settings, is_asked=True)


def _untrained(driver: Driver) -> str:
    """Said wherever the driver is named."""
    folder = None if driver.bundle in WITHOUT_ENGINE else bundle_folder(driver.bundle)
    return " (untrained)" if folder is not None and describe(driver.bundle)["weights"] == "untrained" else ""


def _references(asked: Asked) -> Iterator[_Row]:
    """Those that were not asked for anyway."""
    plain = {row.name for row in _asked_rows(asked)}
    like = asked.drivers[0]
    for bundle in REFERENCES:
        if bundle not in plain:
            yield _Row(bundle, Driver(bundle, like.rig, "front_camera"), asked.settings, is_asked=False)


def _driven(asked: Asked, row: _Row, ways: dict[SceneId, float]) -> tuple[list[Outcome], list[Film]]:
    """Outcomes of one row, in the order of the scenes, and films of the first drives that want one.

    `ways` are the expert's, by scene; the first row, which is the expert's, fills them in.
    """
    scenarios = [make_scenario(scene.family, scene.seed) for scene in asked.scenes]
    outcomes: list[Outcome] = []
    films: list[Film] = []
    workers = 1 if row.driver.over_ros else min(asked.workers, len(scenarios))
    for episode in run_suite(scenarios, row.driver, row.settings, workers):
        scene = SceneId(episode.scenario.family, episode.scenario.seed)
        judged = outcome(episode, ways.setdefault(scene, way_m(episode)))
        outcomes.append(judged)
        if row.is_asked and asked.record:
            _record(asked, row, episode)
        is_bad = judged.scene_score == 0.0
        if row.is_asked and len(films) < asked.films and (is_bad or asked.films_of == "all"):
            films.append(_filmed(asked, row, episode, is_bad=is_bad))
    return outcomes, films


def _filmed(asked: Asked, row: _Row, episode: Episode, *, is_bad: bool) -> Film:
    scenario = episode.scenario
    path = asked.out / "films" / f"{_slug(row.name)}-{scenario.family}-{scenario.seed}.mp4"
    path.parent.mkdir(exist_ok=True)
    title = f"{row.name}: {scenario.family} {scenario.seed}"
    write_film(episode, read_rig(row.driver.rig), title, path)
    otherwise = "no progress" if is_bad else "well"
    ended = episode.failure or (episode.incident.kind.replace("_", " ") if episode.incident else otherwise)
    return Film(path, title, ended)


def _record(asked: Asked, row: _Row, episode: Episode) -> None:
    """With pictures as wide as the driver was shown them: a suite at full size would fill a disk."""
    driver, scenario = row.driver, episode.scenario
    sees = "kinematic" if driver.bundle in WITHOUT_ENGINE else driver.bundle
    profile = bundle_profile(sees, driver.profile)
    rig = _narrow(read_rig(driver.rig), profile.image_width)
    out = asked.out / "bags" / _slug(row.name) / f"{scenario.family}-{scenario.seed}"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_episode(out, rig, episode)
    write_rig(out, rig)  # evaluate, replay and view want it


def _narrow(rig: Rig, width: int) -> Rig:
    """The rig with pictures so wide, of the same views."""
    cameras = {
        role: c.model_copy(update={"width": width, "height": round(width * c.height / c.width)})
        for role, c in rig.cameras.items()
    }
    return rig.model_copy(update={"cameras": cameras})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._" else "-" for c in name)


def _about(asked: Asked) -> list[str]:
    families, settings = len({scene.family for scene in asked.scenes}), asked.settings
    return [
        f"{counted(len(asked.scenes), 'scene')}; families: {families}.",
        f"A plan every {1 / settings.plan_hz:g} s, tracked in between.",
        f"The expert drives the first {settings.warm_up_s:g} s of every scene.",
        "A simulated world says how a planner does in it, and nothing about roads.",
    ]


def _figures(standings: Sequence[Standing]) -> dict[str, Any]:
    """Those of the first driver asked for, and the main one of all."""
    first = standings[0]
    mean = {name: value.mean for name, value in first.means.items()}
    return {
        "driver": first.driver,
        "episodes": len(first.outcomes),
        "at_fault_incidents_per_km": first.at_fault_per_km,
        "distance_between_incidents_km": first.between_incidents.km,
        **{
            name: mean[name]
            for name in ("scene_score", "offroad", "progress", "goal_share", "comfort", "close_encounter", "failed")
        },
        "scene_scores": {standing.driver: standing.means["scene_score"].mean for standing in standings},
    }


def _stored(asked: Asked, standings: Sequence[Standing]) -> dict[str, Any]:
    return {
        "suite": asked.suite,
        "settings": vars(asked.settings) | {"latencies_s": asked.latencies_s},
        "asked": [asdict(driver) for driver in asked.drivers],
        "made_with": of_code(),
        "drivers": {standing.driver: _numbers(standing) for standing in standings},
    }


def _numbers(standing: Standing) -> dict[str, Any]:
    return _sums(standing) | {
        "families": {family: _sums(each) for family, each in by_family(standing).items()},
        "episodes": [each.values() for each in standing.outcomes],
    }


def _sums(standing: Standing) -> dict[str, Any]:
    distances = {"between_incidents": standing.between_incidents, "between_at_fault": standing.between_at_fault}
    means = {name: mean._asdict() for name, mean in standing.means.items()}
    return means | {name: distance._asdict() for name, distance in distances.items()}
