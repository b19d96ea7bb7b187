"""Labels shown to people, and what they say to them: a folder with review.jsonl and review.html, and a file of reviews back.

The page needs no network, no server and no other file; it hands its reviews out as a download, a line of JSON each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.training.coc.quality import assessed
from alpamayo_ros.training.coc.review_page import html
from alpamayo_ros.training.coc.schema import Chain, Moment, Record, Source
from alpamayo_ros.types import InvalidInput, MetaAction

ASKED, PAGE = "review.jsonl", "review.html"
Line = TypeVar("Line", bound=BaseModel)
Opinion = Literal["accepted", "corrected", "rejected"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(_Value):
    """A line of review.jsonl: what was shown, and what correctness is checked against."""

    record: Record
    meta_actions: tuple[MetaAction, ...]  # driven from t0 on


class Label(_Value):
    """Which label is meant."""

    clip: str
    t0_ns: int
    labeler: Source


class Review(_Value):
    """A line that the page hands out: what a person says of a label."""

    of: Label
    opinion: Opinion
    chain: Chain | None = None  # what it should be, where it is corrected
    reviewer: str
    note: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Review:
        if (self.chain is None) == (self.opinion == "corrected"):
            raise ValueError(f"{self.opinion}, chain {'missing' if self.chain is None else 'given'}: only a correction has one")
        if not self.reviewer.strip():
            raise ValueError("nobody's review: want a reviewer")
        return self


@dataclass(frozen=True)
class Merged:
    """Labels after their review."""

    records: tuple[Record, ...]  # accepted and corrected ones, those nobody reviewed as they were
    opinions: dict[str, int]  # labels by opinion, "none" included
    refused: tuple[str, ...]  # lines that say nothing about a label that was shown: file, line and reason


def write_review(out: Path, shown: Sequence[tuple[Moment, Record]], title: str) -> tuple[Path, Path]:
    """Write review.jsonl and review.html into a folder; returns their paths.

    Raises InvalidInput for a record that is not of its moment, one that stands there twice, and no record at all.
    """
    labels = [_label(record) for _, record in shown]
    if not shown or len(set(labels)) != len(labels):
        raise InvalidInput(
            f"review: want one label or more, each once, got {len(labels)}, {len(set(labels))} of them different"
        )
    if wrong := [record for moment, record in shown if (moment.clip, moment.t0_ns) != (record.clip, record.t0_ns)]:
        raise InvalidInput(f"review: {wrong[0].clip} {wrong[0].t0_ns} is shown with another moment")
    out.mkdir(parents=True, exist_ok=True)
    asked, page = out / ASKED, out / PAGE
    with whole_file(asked) as file:
        for moment, record in shown:
            file.write(Asked(record=record, meta_actions=moment.meta_actions).model_dump_json().encode() + b"\n")
    with whole_file(page) as file:
        file.write(html(shown, [label.model_dump_json() for label in labels], title).encode())
    return asked, page


def label_reviewed(shown: Path, reviews: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the labels of a review's folder, as files of reviews leave them, into a new label file; returns figures.

    Lines that say nothing are named in the figures; what the page showed and what people said stays as it is. Raises
    InvalidInput as `merge` does, for a file that is not there and for an `out` that is: its labels may stand nowhere else.
    """
    asked = shown / ASKED
    if missing := [path for path in (asked, *reviews) if not path.is_file()]:
        raise InvalidInput(f"{missing[0]}: no such file: --review DIR writes {ASKED}, and its page hands the reviews out")
    if out.exists():
        raise InvalidInput(f"{out} exists: reviewed labels want a file of their own")
    done = merge(asked, reviews)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        file.writelines(record.model_dump_json().encode() + b"\n" for record in done.records)
    failed = Counter(check for record in done.records for check in record.failed)
    return {
        "samples": len(done.records),
        "opinions": done.opinions,
        "failed": dict(sorted(failed.items())),
        "refused_lines": list(done.refused),
        "files": [str(out)],
    }


def merge(asked: Path, reviews: Sequence[Path]) -> Merged:
    """Put reviews into the labels of a review.jsonl; of several reviews of a label the last one counts.

    A corrected label has its reviewer as labeler and the verdicts of all checks. Raises InvalidInput when a line of `asked` is
    broken, for that file is ours, and for files that are no text.
    """
    lines, broken = _lines(asked, Asked)
    if broken:
        raise InvalidInput(f"{asked} was changed: {broken[0]}")
    of_label = {_label(line.record): line for _, line in lines}
    said, refused = _said(reviews, of_label)
    opinions = Counter(said[label].opinion if label in said else "none" for label in of_label)
    records = tuple(_after(line, said.get(label)) for label, line in of_label.items() if not _is_rejected(said.get(label)))
    return Merged(records, dict(opinions), refused)


def _said(files: Sequence[Path], of_label: dict[Label, Asked]) -> tuple[dict[Label, Review], tuple[str, ...]]:
    read = [_lines(path, Review) for path in files]
    found = list(chain.from_iterable(lines for lines, _ in read))
    unknown = [
        f"{place}: {review.of.clip} {review.of.t0_ns} was not shown" for place, review in found if review.of not in of_label
    ]
    refused = (*chain.from_iterable(broken for _, broken in read), *unknown)
    return {review.of: review for _, review in found if review.of in of_label}, refused


def _after(asked: Asked, review: Review | None) -> Record:
    if review is None or review.chain is None:
        return asked.record
    reviewer = Source(
        name=review.reviewer.strip(), version=f"review of {asked.record.labeler.name} {asked.record.labeler.version}"
    )
    corrected = asked.record.model_copy(update={"chain": review.chain, "labeler": reviewer})
    return assessed(corrected, asked.meta_actions)


def _is_rejected(review: Review | None) -> bool:
    return review is not None and review.opinion == "rejected"


def _label(record: Record) -> Label:
    return Label(clip=record.clip, t0_ns=record.t0_ns, labeler=record.labeler)


def _lines(path: Path, kind: type[Line]) -> tuple[list[tuple[str, Line]], list[str]]:
    """Lines of a JSONL file, each with its place, and those that are none, with the reason."""
    read = [(place, _line(text, kind)) for place, text in _placed(path)]
    broken = [f"{place}: {why}" for place, why in read if isinstance(why, str)]
    return [(place, line) for place, line in read if not isinstance(line, str)], broken


def _line(text: str, kind: type[Line]) -> Line | str:
    """The line, or why it is none."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'line'}: {first['msg']}"


def _placed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: no JSONL: {error}") from error
    return ((f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip())
