"""A data set of labelled samples from seeds alone: shards of scenes and an index of what is in them.

The same recipe gives the same bytes of every shard, whatever the number of workers; a run that was cut off goes on with the
shards that are missing. What is written can be deleted and made again anywhere.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from alpamayo_ros import types
from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.engine.loading import bundle_engine, bundle_folder, bundle_name
from alpamayo_ros.evaluation.openloop.provenance import bundle_sha256, file_sha256, files_sha256
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.closed_loop.engines import EnginePolicy
from alpamayo_ros.simulation.closed_loop.leading import LedExpert
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import DEFAULTS, LoopSettings
from alpamayo_ros.simulation.closed_loop.straying import StrayingExpert
from alpamayo_ros.simulation.data.pairs import PAIR_FAMILIES, scene_pairs
from alpamayo_ros.simulation.data.samples import Scene, SceneSamples, scene_samples
from alpamayo_ros.simulation.data.shards import read_scenes, write_shard
from alpamayo_ros.simulation.expert.label import figures
from alpamayo_ros.simulation.suites import SPLITS, TRAINED, SceneId, Split, families_of
from alpamayo_ros.types import InvalidInput

VERSION = 4
"""Of shards and index; raised whenever a field changes its name or meaning."""

SCENES_PER_SHARD = 16
LIBRARIES = ("numpy", "opencv-python-headless", "highway-env", "shapely")
"""Those that motion and pictures go through."""

_PACKAGE = Path(types.__file__).resolve().parent  # of the sources, where they are linked to


@dataclass(frozen=True)
class Recipe:
    """What decides every byte of a data set but its length. Raises InvalidInput for families that are not for its split."""

    split: Split
    rig: Rig
    profile: InputProfile
    families: tuple[str, ...] = TRAINED  # scenes are taken from one after the other
    skip: int = 0  # so many seeds of the split
    duration_s: float | None = None  # of a drive; None is the family's own
    straying: float = 0.0  # share of the drives in which the vehicle leaves the expert's way once
    led_by: str = ""  # the bundle that then drives; "": the vehicle is pushed
    plan_hz: float = DEFAULTS.plan_hz  # of who drives; labels stay at two a second
    pairs: int = 0  # instead of drives: at most so many pairs of each scene that only cameras can tell apart

    def __post_init__(self) -> None:
        self.rig.check_covers(self.profile)
        if not 0 <= self.straying <= 1 or self.pairs < 0:
            raise InvalidInput(f"straying {self.straying}, want a share of 0 to 1; pairs {self.pairs}, want 0 or more")
        if self.pairs and (self.straying or self.plan_hz != DEFAULTS.plan_hz):
            asked = f"want straying 0 and plan_hz {DEFAULTS.plan_hz:g}"
            raise InvalidInput(f"pairs are driven by the expert: {asked}, got {self.straying:g} and {self.plan_hz:g}")
        if self.led_by and bundle_folder(self.led_by) is None:
            raise InvalidInput(f"{self.led_by} has no folder: want a bundle, whose files say who drove")
        if self.led_by and not self.straying:
            raise InvalidInput(f"{self.led_by} drives in the share of drives that stray: want straying above 0")
        if DEFAULTS.period_ticks % self.settings.period_ticks:
            raise InvalidInput(f"plan_hz {self.plan_hz:g}: want a multiple of the labels' {DEFAULTS.plan_hz:g} Hz, up to 10")
        if self.split not in SPLITS:
            raise InvalidInput(f"unknown split {self.split!r}, want one of {', '.join(SPLITS)}")
        if not 0 <= self.skip < len(SPLITS[self.split]):
            raise InvalidInput(f"skip {self.skip}: split {self.split} has {len(SPLITS[self.split])} seeds")
        wanted = families_of(self.split)
        if not self.families or not set(self.families) <= set(wanted):
            raise InvalidInput(f"families for split {self.split}: want any of {', '.join(wanted)}, got {list(self.families)}")

    @property
    def settings(self) -> LoopSettings:
        """Of the drives. Raises InvalidInput for a rate that the world does not have."""
        return LoopSettings(plan_hz=self.plan_hz)

    def described(self) -> dict[str, Any]:
        """For the index, with the versions of what it goes through."""
        return {
            "split": self.split,
            "families": list(self.families),
            "skip": self.skip,
            "duration_s": self.duration_s,
            "straying": self.straying,
            "led_by": _leader(self.led_by) if self.led_by else "",
            "plan_hz": self.plan_hz,
            "pairs": self.pairs,
            "rig": self.rig.model_dump(mode="json"),
            "profile": self.profile.model_dump(mode="json"),
            "scenes_per_shard": SCENES_PER_SHARD,
            "code": files_sha256(_PACKAGE, _PACKAGE.glob("**/*.py")),
            "versions": {name: version(name) for name in ("alpamayo_ros", *LIBRARIES)},
        }

    def strays(self, scene: SceneId) -> bool:
        """Whether the vehicle leaves the expert's way: the same whatever else is in the data set."""
        drawn = np.random.default_rng([zlib.crc32(b"driver"), zlib.crc32(scene.family.encode()), scene.seed]).random()
        return bool(drawn < self.straying)

    def made(self, scene: SceneId, astray: Callable[[], ExpertPolicy]) -> Iterator[SceneSamples]:
        """What a scene contributes; `astray` drives where the vehicle strays.

        Windows of pairs, and of drives in which a bundle drove, are all in the balanced part: "keep the lane" is no usual
        answer there.
        """
        if not self.pairs:
            driver = astray() if self.strays(scene) else ExpertPolicy()
            taken = scene_samples(scene, self.rig, self.profile, self.duration_s, driver, self.settings)
            yield _always_balanced(taken) if self.led_by and _has_strayed(taken.scene) else taken
            return
        for kind in (kind for kind, families in PAIR_FAMILIES.items() if scene.family in families):
            found = scene_pairs(kind, scene, self.rig, self.profile, self.pairs)
            for pair in found if isinstance(found, list) else []:
                yield from map(_always_balanced, pair.members)

    @contextmanager
    def drivers_astray(self, part: Sequence[SceneId]) -> Iterator[Callable[[], ExpertPolicy]]:
        """Who drives where the vehicle strays in some scenes; a bundle is open meanwhile. Raises InvalidInput."""
        if not self.led_by or not any(map(self.strays, part)):
            yield StrayingExpert
            return
        with closing(EnginePolicy(self.led_by, self.rig, self.profile.name, self.settings)) as model:
            yield partial(LedExpert, model)

    def scenes(self) -> Iterator[SceneId]:
        """Every scene: all families with the first seed, then with the next one."""
        return (SceneId(family, seed) for seed in SPLITS[self.split][self.skip :] for family in self.families)


def make_dataset(out: Path, recipe: Recipe, samples: int, workers: int = 1) -> dict[str, Any]:
    """Write shards with at least so many samples, and index.json, into a folder; returns the index's figures.

    Scenes are taken in the recipe's order until the samples suffice. Shards that the folder has of the same recipe are kept.
    Raises InvalidInput for a folder of another recipe, for one that is something else, and when the seeds do not suffice.
    """
    if samples < 1 or workers < 1:
        raise InvalidInput(f"want 1 sample and 1 worker or more, got {samples} and {workers}")
    began = perf_counter()
    said = json.loads(json.dumps({"version": VERSION, "recipe": recipe.described()}))
    _prepare(out, said)
    shards = _enough(_made(out, recipe, workers), samples)
    for path in set(out.glob("shard-*")) - set(shards):
        path.unlink()  # workers were ahead
    contents = {path: list(read_scenes(path)) for path in shards}
    made = _figures([scene for scenes in contents.values() for scene in scenes])
    made["bytes"] = sum(path.stat().st_size for path in shards)
    listed = [_described(path, scenes) for path, scenes in contents.items()]
    _write(out, {**said, "figures": made, "shards": listed})
    if made["samples"] < samples:
        raise InvalidInput(
            f"{out}: want {samples} samples, all seeds of {recipe.split} from the {recipe.skip}th on gave {made['samples']}"
        )
    return {**made, "seconds": perf_counter() - began, "files": [str(out / "index.json")]}


def _prepare(out: Path, said: Mapping[str, Any]) -> None:
    """A folder with the index of an empty data set, or one of the same recipe."""
    index = out / "index.json"
    if not index.exists():
        if out.exists() and any(out.iterdir()):
            raise InvalidInput(f"{out} is not empty and has no index.json: choose another place")
        out.mkdir(parents=True, exist_ok=True)
        _write(out, said)
    there = read_json(index)
    if there.get("version") != said["version"]:
        raise InvalidInput(f"{index}: want version {said['version']}, got {there.get('version')}")
    other = [name for name, value in said["recipe"].items() if there["recipe"].get(name) != value]
    if other:
        raise InvalidInput(f"{out} is of another recipe, {', '.join(other)} differ: choose another place, or delete it")


def _write(out: Path, index: Mapping[str, Any]) -> None:
    with whole_file(out / "index.json") as file:
        file.write((json.dumps(index, indent=1, allow_nan=False) + "\n").encode())


def _enough(made: Generator[tuple[Path, int], None, None], samples: int) -> list[Path]:
    """The first shards that have so many samples."""
    paths: list[Path] = []
    held = 0
    with closing(made), Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("samples", total=samples)
        for path, gained in made:
            paths.append(path)
            held += gained
            progress.update(task, completed=min(held, samples))
            if held >= samples:
                break
    return paths


def _made(out: Path, recipe: Recipe, workers: int) -> Generator[tuple[Path, int], None, None]:
    """Every shard and the count of its samples, in order; workers are ahead by one shard each."""
    scenes = recipe.scenes()
    parts = iter(lambda: tuple(islice(scenes, SCENES_PER_SHARD)), ())
    asked = ((out / f"shard-{number:05d}.tar", part) for number, part in enumerate(parts))
    make = partial(_make_shard, recipe=recipe)
    if workers == 1:
        yield from ((path, make(path, part)) for path, part in asked)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        ahead = deque((path, pool.submit(make, path, part)) for path, part in islice(asked, workers + 1))
        while ahead:
            path, found = ahead.popleft()
            yield path, found.result()
            ahead.extend((path, pool.submit(make, path, part)) for path, part in islice(asked, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _make_shard(path: Path, part: Sequence[SceneId], recipe: Recipe) -> int:
    """Write a shard unless it is there; how many samples it has."""
    if path.exists():
        return sum(len(scene.windows) for scene in read_scenes(path))
    with recipe.drivers_astray(part) as astray:
        written = write_shard(path, (taken for scene in part for taken in recipe.made(scene, astray)))
    astray_in = [scene for scene in written if recipe.led_by and recipe.strays(scene.id)]
    if astray_in and not any(map(_has_strayed, astray_in)):
        path.unlink()
        raise InvalidInput(f"{recipe.led_by} drove in none of {len(astray_in)} drives: it has no plans in this world")
    return sum(len(scene.windows) for scene in written)


def _leader(bundle: str) -> str:
    """Who drives, and with which library: what plans depend on, but for the machine's arithmetic."""
    return f"{bundle_name(bundle)} by {bundle_engine(bundle)}, torch {version('torch')}: {bundle_sha256(bundle)}"


def _has_strayed(scene: Scene) -> bool:
    return any(window.intended is not None for window in scene.windows)


def _always_balanced(taken: SceneSamples) -> SceneSamples:
    windows = tuple(replace(window, is_balanced=True) for window in taken.scene.windows)
    return replace(taken, scene=replace(taken.scene, windows=windows))


def _figures(scenes: Sequence[Scene]) -> dict[str, Any]:
    dropped = sum((Counter(scene.dropped) for scene in scenes), Counter[str]())
    labels = [label for scene in scenes for label in scene.labels]
    said = asdict(figures(labels))
    balanced = [label for label in labels if label.is_balanced]
    return {
        "samples": said.pop("labels"),
        "scenes": len(scenes),
        "dropped": dict(sorted(dropped.items())),
        **said,
        "balanced": asdict(figures(balanced)) if len(balanced) > 1 else None,
    }


def _named(scene: Scene) -> tuple[str, ...]:
    return scene.id.family, str(scene.id.seed), scene.world


def _described(path: Path, scenes: Sequence[Scene]) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "samples": sum(len(scene.windows) for scene in scenes),
        "scenes": {" ".join(filter(None, _named(scene))): len(scene.windows) for scene in scenes},
    }
