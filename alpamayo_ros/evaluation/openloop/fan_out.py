"""Many bags: one after the other, or over Ray, on one machine or a cluster.

Either way a bag is evaluated by the same function, which writes its windows below `out` and hands nothing else back, so that
both ways give the same evaluation and whatever was finished stays. A bag is not evaluated again when what is stored has the
same key: its name, the names, sizes and times of change of its files (reading terabytes to find nothing new would be no
resuming), the setup, and all of its provenance but git (see provenance.py). An engine of your own is the exception: its code
is not hashed, so it is always asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_action_space, bundle_folder
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.evaluation.openloop.cluster import LOCAL, cluster
from alpamayo_ros.evaluation.openloop.provenance import GIT, bag_state, gpu, of_code, provenance
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Evaluation, Measurement, Setup, Window
from alpamayo_ros.evaluation.openloop.storage import read_bag, stored_key, write_bag
from alpamayo_ros.evaluation.openloop.summary import counted
from alpamayo_ros.evaluation.openloop.windows import check_rate, contenders, evaluate_bag, shared_profile
from alpamayo_ros.evaluation.replay import OFFLINE_DEADLINE_MS
from alpamayo_ros.types import EngineFailure, InvalidInput


class PerBag(NamedTuple):
    """What a bag's evaluation takes of a Ray cluster. As many run at a time as fit, each with engines of its own."""

    cpus: float = 1.0  # decoding and engines take turns
    gpus: float | None = None  # None: a whole one where there are GPUs and a bundle has a network, otherwise none


ONE_CPU = PerBag()


class _Task(NamedTuple):
    """A bag to evaluate, wherever that happens."""

    bag: Path
    setup: Setup
    made_with: Mapping[str, str]  # provenance
    folder: Path  # for stored bags, absolute
    working_directory: str  # that the names in bag and setup are relative to


class _Outcome(NamedTuple):
    """What became of it."""

    bag: Path
    stem: Path | None  # of the stored files; None where it could not be evaluated
    reason: str  # why not


def evaluate_bags(
    bags: Sequence[Path], setup: Setup, out: Path, ray: str | None = None, per_bag: PerBag = ONE_CPU
) -> Evaluation:
    """Evaluate every bag that is not stored below `out` already; `ray` is None (in this process), "local" or an address.

    Raises InvalidInput for a setup that cannot be read, a bag that is given twice, no cluster or one that is too small, or
    when every bag is broken; EngineFailure for an engine of your own that does not open here.
    """
    if not bags:
        raise InvalidInput("want one bag or more, got none")
    places = [bag.resolve() for bag in bags]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise InvalidInput(f"given twice, which would count its windows twice: {', '.join(twice)}")
    made_with = provenance(setup)
    _check(setup, per_bag)
    folder = out.resolve() / "bags"
    folder.mkdir(parents=True, exist_ok=True)
    if ray in (None, LOCAL):  # a cluster's machines need not be like this one
        _open_own_engines(setup)
    tasks = [_Task(bag, setup, made_with, folder, str(Path.cwd())) for bag in bags]
    outcomes = dict(_serially(tasks) if ray is None else _over_ray(tasks, ray, per_bag))
    broken = {str(bag): outcomes[bag].reason for bag in bags if outcomes[bag].stem is None}
    if len(broken) == len(bags):
        raise InvalidInput("no bag could be evaluated: " + "; ".join(f"{bag}: {reason}" for bag, reason in broken.items()))
    stems = [stem for bag in bags if (stem := outcomes[bag].stem) is not None]
    return _joined(setup, stems, broken, made_with)


def _check(setup: Setup, per_bag: PerBag) -> None:
    """Raise InvalidInput for what no bag could be evaluated with."""
    contenders(setup)
    shared_profile(setup)
    check_rate(setup.rate_hz)
    for bundle in setup.bundles:
        bundle_action_space(bundle)
    for name, number in (("CPUs", per_bag.cpus), ("GPUs", per_bag.gpus or 0.0)):
        if not 0 <= number < math.inf or (number > 1 and number % 1):
            raise InvalidInput(f"{name} per bag: want a part of one or a whole number, 0 or more, got {number:g}")


def _open_own_engines(setup: Setup) -> None:
    """Raise EngineFailure for an engine of your own that does not open, and not once for every bag."""
    profile = shared_profile(setup)
    for bundle in setup.bundles:
        if ":" in bundle:
            with closing(FrameRing(profile.image_shape, 1)) as ring:
                EngineClient(bundle, profile, ring, OFFLINE_DEADLINE_MS).close()


def key_of(bag: Path, state: str, setup: Setup, made_with: Mapping[str, str]) -> str:
    """Hash of everything that the evaluation of a bag depends on."""
    depends = {name: value for name, value in made_with.items() if name != GIT}  # a commit may change documents alone
    return hashlib.sha256(json.dumps([str(bag), state, dataclasses.asdict(setup), depends]).encode()).hexdigest()


def _joined(setup: Setup, stems: Sequence[Path], broken: Mapping[str, str], made_with: Mapping[str, str]) -> Evaluation:
    if missing := [str(stem) for stem in stems if stored_key(stem) is None]:
        raise InvalidInput(f"written on another machine: {missing[0]}; the folder of --out must be one that all machines see")
    stored = [read_bag(stem) for stem in stems]
    evaluated = tuple(bag for bag, _ in stored)
    _check_drives(evaluated)
    return Evaluation(setup, evaluated, broken, made_with, {bag.bag: measured for bag, measured in stored})


def _check_drives(bags: Sequence[BagEvaluation]) -> None:
    """Raise InvalidInput for two recordings of one drive: the same t0 and ego pose, whatever their files are."""
    seen: dict[tuple[object, ...], str] = {}
    for bag in bags:
        drive = [_moment(window) for window in bag.windows]
        if shared := Counter(seen[moment] for moment in drive if moment in seen):
            (other, windows), *_ = shared.most_common(1)
            raise InvalidInput(
                f"{other} and {bag.bag} have the same drive: {counted(windows, 'window')} of the same t0 and ego pose, of "
                f"{len(drive)} in {bag.bag}, would count twice"
            )
        seen |= dict.fromkeys(drive, bag.bag)


def _moment(window: Window) -> tuple[object, ...]:
    pose = window.ego_t0
    return window.t0_ns, *(part.tobytes() for part in (pose.position, pose.odom_from_ego, pose.velocity_mps))


def _evaluate(task: _Task, progress: Callable[[float], None] = lambda _: None) -> _Outcome:
    """Evaluate a bag and store it, unless it is stored. What a bag, its disk or an engine refuses is its outcome.

    Raises OSError when the result cannot be stored.
    """
    stem = task.folder / f"{task.bag.stem}-{hashlib.sha256(str(task.bag).encode()).hexdigest()[:8]}"
    try:
        _check_code(task.made_with)
        key = key_of(task.bag, bag_state(task.bag), task.setup, task.made_with)
        if stored_key(stem) == key and not any(":" in bundle for bundle in task.setup.bundles):
            return _Outcome(task.bag, stem, "")
        evaluation = evaluate_bag(task.bag, task.setup, progress)
    except (InvalidInput, EngineFailure) as error:
        reason = str(error).removeprefix(f"{task.bag}: ").removeprefix(f"{task.bag} ")  # which is said beside it
        return _Outcome(task.bag, None, reason)
    except OSError as error:
        return _Outcome(task.bag, None, f"cannot be read: {error}")
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_bag(evaluation, key, Measurement(platform.node(), gpu(), date), stem)
    return _Outcome(task.bag, stem, "")


def _check_code(wanted: Mapping[str, str]) -> None:
    other = [f"{name} is {found}, want {wanted[name]}" for name, found in of_code().items() if found != wanted[name]]
    if other:
        raise InvalidInput(f"{platform.node()} has other code: {'; '.join(other)}")


def _serially(tasks: Sequence[_Task]) -> Iterator[tuple[Path, _Outcome]]:
    with _bar() as bar:
        shown = bar.add_task("evaluating", total=len(tasks))
        for done, task in enumerate(tasks):
            bar.update(shown, description=task.bag.name)
            outcome = _evaluate(task, partial(_move, bar, shown, done))
            bar.update(shown, completed=done + 1)
            yield task.bag, outcome


def _over_ray(tasks: Sequence[_Task], address: str, per_bag: PerBag) -> Iterator[tuple[Path, _Outcome]]:
    """Outcomes in the order in which they come."""
    import ray
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    with cluster(address):
        networks = any(bundle_folder(bundle) for bundle in tasks[0].setup.bundles)
        owned = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
        gpus = float(networks and owned >= 1.0) if per_bag.gpus is None else per_bag.gpus
        machines: list[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        _check_fits(per_bag.cpus, gpus, machines)
        remote = ray.remote(num_cpus=per_bag.cpus, num_gpus=gpus, max_retries=0)(_evaluate_there)
        pending = {remote.remote(task): task for task in tasks}
        with _bar() as bar:
            shown = bar.add_task("evaluating", total=len(tasks))
            while pending:
                (ready, *_), _ = ray.wait(list(pending))
                task = pending.pop(ready)
                try:
                    outcome = ray.get(ready)
                except (WorkerCrashedError, OutOfMemoryError) as error:
                    outcome = _Outcome(task.bag, None, f"its process died: {error}")
                bar.update(shown, advance=1, description=task.bag.name)
                yield task.bag, outcome


def _check_fits(cpus: float, gpus: float, machines: Sequence[Mapping[str, float]]) -> None:
    """Raise InvalidInput where no machine has what a bag takes: Ray waits for one without end."""
    owned = [(machine.get("CPU", 0.0), machine.get("GPU", 0.0)) for machine in machines]
    if not any(cpus <= of_cpus and gpus <= of_gpus for of_cpus, of_gpus in owned):
        has = "; ".join(f"{of_cpus:g} CPUs and {of_gpus:g} GPUs" for of_cpus, of_gpus in sorted(set(owned), reverse=True))
        raise InvalidInput(f"{cpus:g} CPUs and {gpus:g} GPUs per bag: no machine of the cluster has these; they have {has}")


def _evaluate_there(task: _Task) -> _Outcome:
    """On another process or machine: where names mean what they mean here."""
    os.chdir(task.working_directory)
    return _evaluate(task)


def _move(bar: Progress, shown: TaskID, done: int, part: float) -> None:
    bar.update(shown, completed=done + part)


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
