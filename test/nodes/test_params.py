"""ROS parameters: defaults, refusals, descriptors, and the YAML that documents them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import rclpy
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nodes.ros_harness import refused
from rclpy.node import Node
from rclpy.parameter import Parameter

from alpamayo_ros.nodes.params import PlannerParams, RecorderParams, ReplayParams, VisualizerParams, declare, read
from alpamayo_ros.nodes.planning import requests_of
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput, Request

SPECS = [PlannerParams, ReplayParams, RecorderParams, VisualizerParams]


@pytest.fixture
def context() -> Iterator[rclpy.Context]:
    made = rclpy.Context()
    rclpy.init(context=made)
    yield made
    rclpy.shutdown(context=made)


def node_with(context: rclpy.Context, **overrides: object) -> Node:
    parameters = [Parameter(name, value=value) for name, value in overrides.items()]
    return Node("tested", context=context, parameter_overrides=parameters)


def test_defaults_are_read_when_nothing_is_given() -> None:
    assert read(PlannerParams, {}) == PlannerParams()


def test_given_values_replace_defaults_and_whole_numbers_serve_as_numbers() -> None:
    params = read(PlannerParams, {"deadline_ms": 250, "bundle": "models/x", "greedy": False})
    assert params == PlannerParams(deadline_ms=250.0, bundle="models/x", greedy=False)
    assert type(params.deadline_ms) is float


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.text(max_size=5), max_size=3)
)


@pytest.mark.parametrize("spec", SPECS)
@given(data=st.data())
def test_whatever_is_given_every_value_is_in_its_range_or_all_is_refused(spec: Any, data: st.DataObject) -> None:
    numbers = st.one_of(st.integers(-10, 100_000), st.floats(-1.0, 1e5))
    names = st.sampled_from([field.name for field in fields(spec)])
    given = data.draw(st.dictionaries(st.one_of(names, names, st.text(max_size=8)), st.one_of(ANYTHING, numbers), max_size=4))
    try:
        made = read(spec, given)
    except InvalidInput:
        return
    for name, hint in get_type_hints(spec, include_extras=True).items():
        kind, about = get_args(hint)
        value = getattr(made, name)
        assert value in get_args(kind) if get_origin(kind) is Literal else type(value) is (get_origin(kind) or kind)
        assert about.low is None or about.low <= value <= about.high
        assert (
            name not in given
            or given[name] in (None, value, list(value) if isinstance(value, tuple) else value)
            or (isinstance(value, tuple) and [text for text in given[name] if text] == list(value))
        )


def test_a_misspelt_name_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(InvalidInput, match=r"unknown parameter 'deadlin_ms', did you mean 'deadline_ms'\?"):
        read(PlannerParams, {"deadlin_ms": 250.0})


def test_an_unknown_name_like_no_other_is_refused_with_all_names() -> None:
    with pytest.raises(InvalidInput, match="unknown parameter 'qqq': want any of out, topics"):
        read(RecorderParams, {"out": "x", "qqq": 1})


@pytest.mark.parametrize(
    ("name", "value", "want"),
    [
        ("deadline_ms", "fast", "deadline_ms: want a number 0..60000, got 'fast'"),
        ("deadline_ms", -1.0, "deadline_ms: want a number 0..60000, got -1.0"),
        ("deadline_ms", float("nan"), "deadline_ms: want a number 0..60000, got nan"),
        ("decode_threads", 2.0, "decode_threads: want a whole number 1..16, got 2.0"),
        ("decode_threads", True, "decode_threads: want a whole number 1..16, got True"),
        ("decode_threads", 17, "decode_threads: want a whole number 1..16, got 17"),
        ("greedy", "yes", "greedy: want true or false, got 'yes'"),
        ("rig", 7, "rig: want text, got 7"),
        ("reasoning", "some", "reasoning: want one of none, full, got 'some'"),
    ],
)
def test_a_wrong_type_or_value_is_refused_saying_what_was_expected(name: str, value: object, want: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read(PlannerParams, {name: value})
    assert str(error.value) == want


def test_a_missing_required_parameter_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bag: not given, want text"):
        read(ReplayParams, {})


def test_a_list_of_texts_may_be_empty_in_each_of_the_ways_ros_writes_that() -> None:
    for value in (None, [], [""], ()):
        assert read(ReplayParams, {"bag": "b", "topics": value}).topics == ()
    assert read(ReplayParams, {"bag": "b", "topics": ["/a", "/b"]}).topics == ("/a", "/b")
    with pytest.raises(InvalidInput, match="topics: want a list of texts, got 3"):
        read(ReplayParams, {"bag": "b", "topics": 3})


def test_an_exclusion_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(InvalidInput, match="exclude: want a regular expression"):
        read(ReplayParams, {"bag": "b", "exclude": "*"})


@pytest.mark.parametrize("spec", SPECS)
def test_every_default_is_in_its_own_range(spec: type) -> None:
    required = {"bag": "x"} if spec is ReplayParams else {"out": "x"} if spec is RecorderParams else {}
    assert read(spec, asdict(spec(**required))) == spec(**required)


def test_the_ranges_of_a_request_are_those_of_the_engine_contract() -> None:
    for name, low, high in (("samples", 1, 64), ("steps", 0, 100), ("max_tokens", 1, 4096), ("guidance", 0, 10)):
        for value in (low, high):
            Request(**{name: getattr(read(PlannerParams, {name: value}), name)})
        for value in (low - 1, high + 1):
            with pytest.raises(InvalidInput):
                read(PlannerParams, {name: value})
            with pytest.raises(InvalidInput):
                Request(**{name: value})


@pytest.mark.ros
@pytest.mark.patient
def test_all_that_cycles_will_ask_for_is_known_before_the_first() -> None:
    params = read(PlannerParams, {"samples": 3, "quick_samples": 6, "greedy": False})
    (usual,) = requests_of(params)
    assert (usual.samples, usual.greedy, usual.reasoning) == (3, False, "full")
    brief = replace(usual, reasoning="none", samples=6)
    assert requests_of(replace(params, reason_on_demand=True)) == [usual, brief]
    assert requests_of(replace(params, provisional=True)) == [usual, brief]
    wordless = replace(params, provisional=True, reasoning="none")
    assert requests_of(wordless) == [replace(usual, reasoning="none")], "never asked twice for the same"


def test_parameters_are_declared_described_ranged_and_read_only(context: rclpy.Context) -> None:
    node = node_with(context, deadline_ms=250, use_sim_time=True)
    assert declare(node, PlannerParams) == PlannerParams(deadline_ms=250.0)
    for field in fields(PlannerParams):
        descriptor = node.describe_parameter(field.name)
        assert descriptor.description
        assert descriptor.read_only
        assert node.get_parameter(field.name).value == (250.0 if field.name == "deadline_ms" else field.default)
    deadline, threads = node.describe_parameters(["deadline_ms", "decode_threads"])
    assert (deadline.floating_point_range[0].from_value, deadline.floating_point_range[0].to_value) == (0.0, 60_000.0)
    assert (threads.integer_range[0].from_value, threads.integer_range[0].to_value) == (1, 16)
    [result] = node.set_parameters([Parameter("deadline_ms", value=300.0)])
    assert not result.successful
    node.destroy_node()


@pytest.mark.ros
@pytest.mark.patient
def test_nothing_is_declared_when_one_parameter_is_refused(context: rclpy.Context) -> None:
    node = node_with(context, deadline_ms=250.0, decode_treads=3)
    with pytest.raises(InvalidInput, match="did you mean 'decode_threads'"):
        declare(node, PlannerParams)
    assert not node.has_parameter("deadline_ms")
    node.destroy_node()


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-p", "rat:=2.0"], "replay_node: unknown parameter 'rat', did you mean 'rate'?"),
        (["-p", "bag:=x", "-p", "rate:=1000.0"], "replay_node: rate: want a number 0.01..100, got 1000.0"),
        ([], "replay_node: bag: not given, want text (rosbag2 folder or file to play)"),
        (["--", "my.bag"], "replay_node: unknown argument 'my.bag', want --ros-args -p name:=value or --params-file FILE"),
        (["--params-file", "/does/not/exist"], "replay_node: RCLError: failed to initialize rcl"),
    ],
)
def test_a_node_that_refuses_its_parameters_exits_with_one_clear_line(arguments: list[str], line: str) -> None:
    status, last_line = refused("replay_node", *arguments)
    assert status == 1
    assert last_line.startswith(line)


def test_the_shipped_yaml_shows_every_default_with_a_comment() -> None:
    path = shared_files() / "config" / "planner.yaml"
    shown = yaml.safe_load(path.read_text())
    sections = {"/**/alpamayo_planner": PlannerParams, "/**/alpamayo_visualizer": VisualizerParams}
    assert set(shown) == set(sections)
    for node, spec in sections.items():
        defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(spec()).items()}
        assert shown[node]["ros__parameters"] == defaults
    for line in path.read_text().splitlines():
        name = line.split("#")[0].strip().partition(":")[0]
        if name in asdict(PlannerParams()) | asdict(VisualizerParams()):
            assert "# " in line, f"no comment: {line}"
