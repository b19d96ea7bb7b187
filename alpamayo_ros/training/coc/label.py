"""The run behind `alpamayo label`: moments -> records in a JSONL file, which grows line by line.

What the file has is not asked for again, and every line is on disk before the next moment is asked about: a run that was cut
off loses nothing and goes on where it was.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import Progress

from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.coc.quality import assessed
from alpamayo_ros.training.coc.schema import Moment, Record, Source, Unlabelled, append_record, read_records
from alpamayo_ros.training.coc.world import SOURCE, WorldMoment, world_moments, world_record
from alpamayo_ros.training.workers import HERE, Failure, Workers, in_order, outcomes
from alpamayo_ros.types import InvalidInput, MetaAction

Labeler = Callable[[Moment], Record]
"""One moment -> its label, without verdicts. Raises Unlabelled, or InvalidInput, for a moment that it has no label for."""


class Labelled(Protocol):
    """A moment of any source: `schema.Moment`, `world.WorldMoment`."""

    @property
    def clip(self) -> str:
        """The drive."""
        ...

    @property
    def t0_ns(self) -> int:
        """Its stamp."""
        ...

    @property
    def meta_actions(self) -> tuple[MetaAction, ...]:
        """Driven from t0 on."""
        ...


Asked = TypeVar("Asked", bound=Labelled)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """How work is done on many items: in turn, or many at once (`endpoint`)."""

    def __call__(
        self, work: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[tuple[Item, Result | InvalidInput]]:
        """Every item, with what its work gave or why it was refused."""
        ...


def in_turn(work: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[tuple[Item, Result | InvalidInput]]:
    """One item after the other."""
    for item in items:
        result: Result | InvalidInput
        try:
            result = work(item)
        except InvalidInput as error:
            result = error
        yield item, result


def label_moments(
    moments: Iterable[Asked | Unlabelled],
    labeler: Callable[[Asked], Record],
    source: Source,
    out: Path,
    each: Each = in_turn,
) -> dict[str, Any]:
    """Label every moment, add the verdicts of all checks and append the records to `out`; returns figures of the run.

    Moments that `out` has a record of by the same source are left alone. Moments that cannot be made (Unlabelled in place of
    a moment) or labelled are skipped, counted by reason and named in the file `<out>.skipped`; another run tries them again.
    Anything but InvalidInput ends the run. Raises InvalidInput for an `out` that is no label file and for a record that is not
    of its moment or source.
    """
    there = read_records(out)
    done = {(record.clip, record.t0_ns): record for record in there.records if record.labeler == source}
    out.parent.mkdir(parents=True, exist_ok=True)
    run = _Run(out.with_name(f"{out.name}.skipped"))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("labels", total=None)
        for moment, result in each(labeler, run.unlabelled(moments, done)):
            progress.advance(task)
            if isinstance(result, InvalidInput):
                run.skip(f"{moment.clip} {moment.t0_ns}", result)
                continue
            record = assessed(_checked(result, moment, source), moment.meta_actions)
            append_record(out, record)
            run.records.append(record)
    return {**run.figures(), "refused_lines": list(there.refused), "files": [str(out)]}


def label_world(scenes: Sequence[SceneId], out: Path, workers: Workers = HERE) -> dict[str, Any]:
    """Label scenes of the driving world from its ground truth; many are driven at once where there are workers.

    The file is the same for any number of them. Raises InvalidInput as `label_moments` does, and for an unknown scene.
    """
    driven = in_order(outcomes(_driving, scenes, workers))
    return label_moments((moment for scene in driven for moment in _moments(scene)), world_record, SOURCE, out)


def _driving() -> Callable[[SceneId], list[WorldMoment | Unlabelled]]:
    """A worker's task."""
    return lambda scene: list(world_moments(scene))


def _moments(driven: list[WorldMoment | Unlabelled] | Failure) -> list[WorldMoment | Unlabelled]:
    if isinstance(driven, Failure):
        raise InvalidInput(f"{driven.item}: {driven.reason}")
    return driven


class _Run:
    """What a run has met so far."""

    def __init__(self, skipped_file: Path) -> None:
        self._file = skipped_file
        self._skipped: Counter[str] = Counter()
        self._kept = 0
        self.records: list[Record] = []  # those that were there and those that were added
        skipped_file.unlink(missing_ok=True)

    def unlabelled(self, moments: Iterable[Asked | Unlabelled], done: dict[tuple[str, int], Record]) -> Iterator[Asked]:
        """The moments that are still to be labelled, once each."""
        asked: set[tuple[str, int]] = set()
        for moment in moments:
            if isinstance(moment, Unlabelled):
                self.skip("", moment)
                continue
            key = moment.clip, moment.t0_ns
            if key in done and key not in asked:
                self._kept += 1
                self.records.append(done[key])
            elif key not in asked:
                yield moment
            asked.add(key)

    def skip(self, name: str, why: InvalidInput) -> None:
        """Count a moment without a label, and say which it was."""
        reason = why.reason if isinstance(why, Unlabelled) else "refused"
        self._skipped[reason] += 1
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"moment": name, "reason": reason, "why": str(why)}) + "\n")

    def figures(self) -> dict[str, Any]:
        """For people and scripts."""
        failed = Counter(check for record in self.records for check in record.failed)
        scenarios = Counter(str(record.scenario) for record in self.records)
        return {
            "samples": len(self.records),
            "skipped": dict(sorted(self._skipped.items())),
            "already_there": self._kept,
            "passed": sum(not record.failed for record in self.records),
            "failed": dict(sorted(failed.items())),
            "scenarios": dict(sorted(scenarios.items())),
        }


def _checked(record: Record, moment: Labelled, source: Source) -> Record:
    if (record.clip, record.t0_ns, record.labeler) != (moment.clip, moment.t0_ns, source):
        got = f"{record.clip} {record.t0_ns} by {record.labeler}"
        raise InvalidInput(f"the labeler was asked about {moment.clip} {moment.t0_ns} as {source}, its record is of {got}")
    return record
