"""Reasoning, and questions about it, from label files (`coc.schema.Record`, a JSON per line) for examples that have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from alpamayo_ros.training.coc.schema import read_records
from alpamayo_ros.training.dataset.questions import with_questions
from alpamayo_ros.training.dataset.reading import Id
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import InvalidInput

NO_RECORD, FAILED = "not a record", "failed its checks"
"""What lines of label files are skipped for."""


@dataclass(frozen=True)
class Labels:
    """What label files say, and why some of their lines are not used."""

    reasoning: Mapping[Id, Reasoning]
    skipped: Skipped


def read_labels(files: Iterable[Path]) -> Labels:
    """Labels of files; of a moment that two labelers labelled the later one counts, as a person's comes after a teacher's.

    Lines that are no record, and records that failed a check, are skipped and counted. Raises InvalidInput for a file that
    is not there.
    """
    found: dict[Id, Reasoning] = {}
    skipped = Skipped()
    for path in files:
        if not path.is_file():
            raise InvalidInput(f"{path}: no such file")
        read = read_records(path)
        for refused in read.refused:
            skipped.add(NO_RECORD, refused)
        for record in read.records:
            if record.failed:
                skipped.add(FAILED, f"{', '.join(record.failed)} of {record.clip} at {record.t0_ns}")
                found.pop((record.clip, record.t0_ns), None)
            else:
                found[record.clip, record.t0_ns] = record.chain.reasoning
    return Labels(found, skipped)


def labelled(example: Example, labels: Labels) -> Example:
    """The example with its label, and what can be asked of that.

    It stays as it is where it has reasoning already, and where nobody labelled it.
    """
    found = labels.reasoning.get((example.clip, example.observation.stamp_ns))
    if example.reasoning is not None or found is None:
        return example
    return with_questions(replace(example, reasoning=found))


def unknown(labels: Labels, known: Iterable[Id]) -> tuple[Id, ...]:
    """Labels of moments that are not among a data set's `ids`."""
    return tuple(sorted(set(labels.reasoning) - set(known)))
