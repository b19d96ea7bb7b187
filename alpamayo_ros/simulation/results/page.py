"""The report of a simulation as one HTML page: tables, and films that play where they lie beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from alpamayo_ros.simulation.results.summary import MEASURES, Standing, by_family, failures
from alpamayo_ros.simulation.results.tables import LISTED, PER_FAMILY, distance, said


class Film(NamedTuple):
    """A film of a drive, and how that ended."""

    path: Path
    title: str
    ended: str


def write_page(path: Path, title: str, about: Sequence[str], standings: Sequence[Standing], films: Sequence[Film]) -> None:
    """Write the page; it needs no network and no script. Names and reasons are anybody's text and are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    families = [by_family(standing) for standing in standings]
    text = environment.get_template("page.html.j2").render(
        title=title,
        about=about,
        standings=standings,
        measures=MEASURES,
        families=families,
        per_family=PER_FAMILY,
        films=[(film, film.path.relative_to(path.parent).as_posix()) for film in films],
        failures=failures(standings),
        listed=LISTED,
        said=said,
        distance=distance,
    )
    path.write_text(text, encoding="utf-8")
