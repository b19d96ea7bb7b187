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
import logging
import os
import platform
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alpamayo_ros.engine.loading import bundle_folder
from alpamayo_ros.evaluation.openloop.provenance import GIT, bag_state, gpu, of_code, provenance
from alpamayo_ros.evaluation.openloop.results import Evaluation, Measurement, Setup
from alpamayo_ros.evaluation.openloop.storage import read_bag, stored_key, write_bag
from alpamayo_ros.evaluation.openloop.windows import contenders, evaluate_bag, shared_profile
from alpamayo_ros.types import EngineFailure, InvalidInput

LOCAL = "local"
OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Shared memory of a Ray that is started here: results are names of files. Containers often have 64 MB, Ray wants 75."""


CONNECT_S = 10.0


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

    Raises InvalidInput for a setup that cannot be read, a bag that is given twice, no cluster, or when every bag is broken.
    """
    if not bags:
        raise InvalidInput("want one bag or more, got none")
    places = [bag.resolve() for bag in bags]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise InvalidInput(f"given twice, which would count its windows twice: {', '.join(twice)}")
    contenders(setup)
    shared_profile(setup)
    made_with = provenance(setup)
    folder = out.resolve() / "bags"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [_Task(bag, setup, made_with, folder, str(Path.cwd())) for bag in bags]
    outcomes = dict(_serially(tasks) if ray is None else _over_ray(tasks, ray, per_bag))
    broken = {str(bag): outcomes[bag].reason for bag in bags if outcomes[bag].stem is None}
    if len(broken) == len(bags):
        raise InvalidInput("no bag could be evaluated: " + "; ".join(f"{bag}: {reason}" for bag, reason in broken.items()))
    stems = [stem for bag in bags if (stem := outcomes[bag].stem) is not None]
    return _joined(setup, stems, broken, made_with)


def key_of(bag: Path, state: str, setup: Setup, made_with: Mapping[str, str]) -> str:
    """Hash of everything that the evaluation of a bag depends on."""
    depends = {name: value for name, value in made_with.items() if name != GIT}  # a commit may change documents alone
    return hashlib.sha256(json.dumps([str(bag), state, dataclasses.asdict(setup), depends]).encode()).hexdigest()


def _joined(setup: Setup, stems: Sequence[Path], broken: Mapping[str, str], made_with: Mapping[str, str]) -> Evaluation:
    if missing := [str(stem) for stem in stems if stored_key(stem) is None]:
        raise InvalidInput(f"written on another machine: {missing[0]}; the folder of --out must be one that all machines see")
    stored = [read_bag(stem) for stem in stems]
    evaluated = tuple(bag for bag, _ in stored)
    named = {bag.sha256: bag.bag for bag in evaluated}
    if again := [bag.bag for bag in evaluated if named[bag.sha256] != bag.bag]:
        raise InvalidInput(f"the same content as another bag, which would count its windows twice: {', '.join(again)}")
    return Evaluation(setup, evaluated, broken, made_with, {bag.bag: measured for bag, measured in stored})


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
        return _Outcome(task.bag, None, str(error))
    except OSError as error:
        return _Outcome(task.bag, None, f"{task.bag} cannot be read: {error}")
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

    _check_answers(address)
    try:
        if address == LOCAL:
            store = OBJECT_STORE_BYTES
            ray.init(
                LOCAL, include_dashboard=False, object_store_memory=store, log_to_driver=False, logging_level=logging.ERROR
            )
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise InvalidInput(f"no Ray cluster at {address!r}: {error}") from error
    try:
        networks = any(bundle_folder(bundle) for bundle in tasks[0].setup.bundles)
        owned = ray.cluster_resources().get("GPU", 0.0)  # type: ignore[no-untyped-call]
        gpus = float(networks and owned >= 1.0) if per_bag.gpus is None else per_bag.gpus
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
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself waits for a cluster without end."""
    host, found, port = address.removeprefix("ray://").rpartition(":")
    if not found:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InvalidInput(f"no Ray cluster at {address!r}: {error}") from error


def _evaluate_there(task: _Task) -> _Outcome:
    """On another process or machine: where names mean what they mean here."""
    os.chdir(task.working_directory)
    return _evaluate(task)


def _move(bar: Progress, shown: TaskID, done: int, part: float) -> None:
    bar.update(shown, completed=done + part)


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
