"""The documents name everything there is to set, to hear and to call, with the values of the code."""

from __future__ import annotations

import ast
import dataclasses
import re
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from alpamayo_ros.safety import contract
from alpamayo_ros.safety.limits import LIMITS, Limit
from alpamayo_ros.simulation.families import FAMILIES
from alpamayo_ros.simulation.results.summary import MEASURES
from alpamayo_ros.simulation.suites import HELD_OUT, SUITES, suite

ROOT = Path(__file__).parents[1]
NODES = ROOT / "alpamayo_ros" / "nodes"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(document.read_text() for document in DOCUMENTS)

pytest.importorskip("rclpy", reason="parameters are declared with ROS types")

from alpamayo_ros.nodes import params  # noqa: E402 - after the skip
from alpamayo_ros.nodes.monitor_params import MonitorParams  # noqa: E402

SPECS = {
    "planner_node": params.PlannerParams,
    "monitor_node": MonitorParams,
    "replay_node": params.ReplayParams,
    "recorder_node": params.RecorderParams,
    "visualizer_node": params.VisualizerParams,
}
DIAGNOSTICS = {"odometry", "inputs", "engine", "planner", "supervisor", "resources"}
PARAMETERS = [(node, field.name) for node, spec in SPECS.items() for field in dataclasses.fields(spec)]


def section(node: str) -> str:
    """What docs/nodes.md says about one node."""
    (text,) = re.findall(rf"^## {node} .*?(?=^## |\Z)", (ROOT / "docs/nodes.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


def row(node: str, name: str) -> list[str]:
    """The cells of a parameter's row: name, default, range, meaning."""
    rows = re.findall(rf"^\| `{name}` \|(.*)\|$", section(node), re.MULTILINE)
    assert len(rows) == 1, f"docs/nodes.md, {node}: want one row for {name}, got {len(rows)}"
    return [name, *(cell.strip() for cell in rows[0].split("|"))]


def test_every_dataclass_of_parameters_is_checked_here() -> None:
    found = {value for value in vars(params).values() if isinstance(value, type) and value.__name__.endswith("Params")}
    assert found | {MonitorParams} == set(SPECS.values())


@pytest.mark.parametrize(("node", "name"), PARAMETERS, ids=lambda part: part)
def test_every_parameter_is_described_with_its_default_and_range(node: str, name: str) -> None:
    spec = SPECS[node]
    (field,) = (field for field in dataclasses.fields(spec) if field.name == name)
    _, default, range_, meaning = row(node, name)
    assert meaning
    if field.default is dataclasses.MISSING:
        assert default == "required"
    elif name != "exclude":  # a regular expression of a line's length
        assert default.strip("`") == as_written(field.default)
    kind, about = params._parameters(spec)[name][1:3]
    if get_origin(kind) is Literal:
        assert range_ == ", ".join(get_args(kind))
    else:
        assert range_ == ("" if about.low is None else f"{about.low:.15g}..{about.high:.15g}")


def as_written(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return str(list(default))
    return f"{default:g}" if isinstance(default, float) else f'"{default}"' if default == "" else str(default)


def documented_without_a_parameter(node: str) -> set[str]:
    """Rows of four cells whose parameter does not exist."""
    rows = re.findall(r"^\| `([a-z_]+)` \|[^|\n]*\|[^|\n]*\|[^|\n]*\|$", section(node), re.MULTILINE)
    return set(rows) - {field.name for field in dataclasses.fields(SPECS[node])} - DIAGNOSTICS


@pytest.mark.parametrize("node", SPECS)
def test_no_parameter_is_described_that_is_gone(node: str) -> None:
    assert documented_without_a_parameter(node) == set()


def created_topics() -> set[tuple[str, str]]:
    """(file, topic) of every whole topic name in the nodes' code; those of the client are the planner's."""
    found = set()
    for path in NODES.glob("*.py"):
        tree = ast.parse(path.read_text())
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in parts]
        found |= {(path.name, text) for text in texts if isinstance(text, str) and re.fullmatch(r"~?(/[a-z][a-z_]*)+", text)}
    return found


def test_there_are_topics_to_look_for() -> None:
    assert {"~/trajectory", "~/status", "~/path", "~/navigation", "/tf_static", "/clock", "/diagnostics", "~/markers"} <= {
        topic for _, topic in created_topics()
    }


@pytest.mark.parametrize(("file", "topic"), sorted(created_topics()))
def test_every_topic_is_described(file: str, topic: str) -> None:
    assert f"`{topic}`" in TEXT, f"{file} has {topic}, no document has"


@pytest.mark.parametrize("message", sorted(path.stem for path in (ROOT / "msg").glob("*.msg")))
def test_every_message_is_described(message: str) -> None:
    assert f"`{message}`" in (ROOT / "docs/nodes.md").read_text()


def commands() -> list[str]:
    """Commands of the `alpamayo` program, read from the decorators in cli/."""
    found = []
    bodies = [ast.parse(path.read_text()).body for path in sorted((ROOT / "alpamayo_ros/cli").glob("*.py"))]
    for function in chain.from_iterable(bodies):
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                names = [str(ast.literal_eval(keyword.value)) for keyword in keywords if keyword.arg == "name"]
                if "app.command" in ast.unparse(decorator):
                    found.append(names[0] if names else function.name)
    return found


def test_there_are_commands_to_look_for() -> None:
    assert {"doctor", "make-bag", "replay", "plan", "bench"} <= set(commands())


@pytest.mark.parametrize("command", commands())
def test_every_command_is_described(command: str) -> None:
    assert f"alpamayo {command}" in TEXT


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_driving_world_is_described_as_it_is() -> None:
    """Every family with the words of its own, every measure with its meaning, every suite with its size."""
    text = (ROOT / "docs/simulation.md").read_text()
    for name, build in FAMILIES.items():
        assert f"| `{name}`{' (held out)' if name in HELD_OUT else ''} | {str(build.__doc__).splitlines()[0]} |" in text
    for measure in MEASURES.values():
        assert f"| {measure.title} | {measure.means} |" in text
    for name in SUITES:
        assert f"`{name}` ({len(suite(name)):,} scenes)" in text


def test_every_limit_of_the_checks_is_described_with_its_numbers() -> None:
    rows = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[3:]]
        for line in (ROOT / "docs/safety.md").read_text().splitlines()
        if re.match(r"\| V\d+ \|", line) and (cells := line.strip("|").split("|"))
    }
    limits = {field.name: getattr(LIMITS, field.name) for field in dataclasses.fields(LIMITS)}
    wanted = {name: limit for name, limit in limits.items() if isinstance(limit, Limit)}
    assert rows.keys() == wanted.keys()
    for name, limit in wanted.items():
        numbers = ["–" if value is None else f"{value:.4g}" for value in (limit.warn, limit.reject)]
        source = limit.source + ("; shadow" if limit.shadow else "")
        assert rows[name] == [*numbers, limit.unit, source], name


def test_every_state_and_invariant_is_described() -> None:
    text = (ROOT / "docs/safety.md").read_text()
    assert re.findall(r"^\| `([A-Z]+)` \|", text, re.MULTILINE) == [state.upper() for state in get_args(contract.State)]
    assert re.findall(r"^\| ([IL]\d+) \|", text, re.MULTILINE) == [f"I{i}" for i in range(1, 11)] + [
        f"L{i}" for i in range(1, 5)
    ]
