"""Questions with answers about what is seen: made of an example's own reasoning, or read from a data set like LingoQA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alpamayo_ros.evaluation.conversion.folders import below
from alpamayo_ros.training.dataset.sequences import meta_action_words
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import ComponentCategory, InvalidInput

LIGHT = "What does the traffic light show?"
AHEAD = "What ahead matters to the vehicle?"
WHAT_AND_WHY = "What should the vehicle do, and why?"
NEXT = "What follows?"

_AHEAD: tuple[ComponentCategory, ...] = (
    "critical_object", "traffic_light", "yield_stop_control", "road_event", "odd_constraint",
)  # fmt: skip
_COLUMNS = ("images", "question", "answer")


@dataclass(frozen=True)
class VisualQuestion:
    """A question about pictures alone, without a vehicle's motion."""

    images: tuple[Path, ...]  # oldest first
    question: str
    answer: str


def with_questions(example: Example) -> Example:
    """The example with what can be asked of it: of its reasoning, where it has some, and of its meta-actions."""
    asked = _of_reasoning(example.reasoning) if example.reasoning else ()
    follows = (NEXT, f"{meta_action_words(example.meta_actions).capitalize()}.")
    return replace(example, questions=(*example.questions, *asked, follows))


def _of_reasoning(reasoning: Reasoning) -> tuple[tuple[str, str], ...]:
    """A light without a colour is not asked for: that it matters is known, what it shows is not."""
    lights = [dict(c.attributes).get("colour", "") for c in reasoning.components if c.category == "traffic_light"]
    light = f"It is {lights[0]}." if lights else "No traffic light matters here."
    ahead = "; ".join(c.description for c in reasoning.components if c.category in _AHEAD)
    asked = ((LIGHT, light),) if not lights or lights[0] else ()
    return (*asked, (AHEAD, f"{ahead.capitalize()}." if ahead else "Nothing."), (WHAT_AND_WHY, reasoning.text))


def read_questions(table: Path, skipped: Skipped) -> Iterator[VisualQuestion]:
    """Questions of a Parquet file in the layout of LingoQA: `images` are names below the file's folder.

    Questions that are empty, and those whose pictures are not there, are counted in `skipped`. Raises InvalidInput for a
    file that is not such a table.
    """
    try:
        rows = pq.read_table(table, columns=list(_COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"{table}: want a Parquet file with columns {', '.join(_COLUMNS)}: {error}") from error
    for number, row in enumerate(rows):
        images = tuple(below(table.parent, name) for name in row["images"] or ())
        if problem := _problem(images, row["question"], row["answer"]):
            skipped.add(table.name, f"row {number}: {problem}")
        else:
            yield VisualQuestion(images, row["question"], row["answer"])


def _problem(images: tuple[Path, ...], question: str | None, answer: str | None) -> str:
    if not question or not answer:
        return "no question" if not question else "no answer"
    if not images or not all(image.is_file() for image in images):
        return "no images" if not images else "an image is not there"
    return ""
