"""Every `alpamayo ...` line of the documents is one that the command understands."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from alpamayo_ros.cli import bags, experiments, models, posttraining, training, trials, world

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = re.compile(r"\s+(?:#|\||>|&&|;).*")
pytestmark = pytest.mark.filterwarnings("ignore:get_parser:DeprecationWarning")  # nothing else parses without running

COMMANDS = {
    name.replace("_", "-"): function
    for module in (bags, experiments, models, posttraining, training, trials, world)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__annotations__.get("return") == "Figures"
}


def lines() -> Iterator[tuple[str, str]]:
    """Document and command line, of blocks and of `alpamayo x --y` within the text; what leaves something out is left out."""
    for document in DOCUMENTS:
        if document.name == "log.md":
            continue  # of its day
        text = document.read_text().replace("\\\n", " ")
        blocks = re.findall(r"^(?:\$ )?alpamayo ([a-z].*)$", text, re.MULTILINE)
        for said in (*blocks, *re.findall(r"`alpamayo ([a-z][^`]*)`", text)):
            line = SHELL.sub("", said).strip()
            if " " in line and "..." not in line and "…" not in line and "<" not in line:
                yield document.name, line


LINES = sorted(set(lines()))


def understood(line: str) -> None:
    name, *arguments = shlex.split(line)
    tyro.extras.get_parser(COMMANDS[name]).parse_args(arguments)


@pytest.mark.parametrize(("document", "line"), LINES)
def test_a_documented_command_is_understood(document: str, line: str) -> None:
    understood(line)


def test_there_are_many_and_one_that_is_wrong_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(LINES) > 40
    assert {line.split()[0] for _, line in LINES} <= set(COMMANDS)
    with pytest.raises(SystemExit):
        understood("make-dataset --folder out/dataset")
    capsys.readouterr()
