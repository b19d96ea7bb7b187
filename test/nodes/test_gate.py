"""The gate: what a published message would break, read from the message itself."""

from __future__ import annotations

import pytest
from nodes.made_plans import STEP, T0, plan_message, straight

from alpamayo_ros.nodes.gate import Gate, outdated
from alpamayo_ros.safety.contract import Output, Source, timing
from alpamayo_ros.safety.hold import hold


def test_a_plan_and_the_next_one_go_through() -> None:
    gate = Gate()
    assert gate.breaches(plan_message(T0)) == ()
    assert gate.breaches(plan_message(T0 + STEP, plan_id=2)) == ()


@pytest.mark.parametrize("later_ns", [0, -STEP])
def test_a_plan_with_the_stamp_of_an_earlier_one_does_not(later_ns: int) -> None:
    gate = Gate()
    assert gate.breaches(plan_message(T0)) == ()
    (breach,) = gate.breaches(plan_message(T0 + later_ns, plan_id=2))
    assert breach.startswith("I4: stamp of a model")
    assert gate.breaches(plan_message(T0 + STEP, plan_id=2)) == (), "what did not go out is not the last one"


def test_a_number_that_is_none_does_not() -> None:
    message = plan_message(T0)
    message.points[3].speed_mps = float("nan")
    (breach,) = Gate().breaches(message)
    assert breach.startswith("I1: ")


def test_no_points_do_not() -> None:
    message = plan_message(T0)
    message.points = []
    assert any(breach.startswith("I5: ") for breach in Gate().breaches(message))


MS = 1_000_000
TIMING = timing(camera_period_ns=100 * MS, odometry_period_ns=10 * MS, max_plan_hz=10.0)
"""No plan older than 1000 ms, no pose older than 200."""


def said(source: Source, held_at_ms: int = 0) -> Output:
    held = hold(straight(), held_at_ms / 1e3)
    return Output(
        "nominal", engaged=True, stamp_ns=T0, epoch=4, source=source, trajectory=held if source == "hold" else straight()
    )


@pytest.mark.parametrize(("source", "limit_ms"), [("model", 1000), ("hold", 1000), ("stop", 100)])
def test_nothing_goes_out_older_than_its_limit(source: Source, limit_ms: int) -> None:
    output = said(source, held_at_ms=990)
    assert outdated(output, T0 + limit_ms * MS, 4, TIMING) == ""
    why_not = outdated(output, T0 + limit_ms * MS + MS, 4, TIMING)
    assert why_not == f"I3: a {source} is {limit_ms + 1} ms old, limit {limit_ms} ms"


def test_a_hold_goes_out_while_its_first_point_is_no_more_than_a_step_ago() -> None:
    output = said("hold", held_at_ms=250)  # its first point is at 300 ms
    assert outdated(output, T0 + 400 * MS, 4, TIMING) == ""
    assert outdated(output, T0 + 401 * MS, 4, TIMING) == "I5: the first point of a hold was 101 ms ago, limit 100 ms"
    assert outdated(said("model"), T0 + 401 * MS, 4, TIMING) == "", "a model's points are never cut"


@pytest.mark.parametrize("source", ["model", "hold", "stop"])
def test_nothing_goes_out_into_another_epoch(source: Source) -> None:
    assert outdated(said(source), T0, 5, TIMING) == f"I9: a {source} of epoch 4, and epoch 5 has begun"


def test_a_status_without_a_trajectory_is_never_too_old() -> None:
    assert outdated(Output("silent", engaged=False, stamp_ns=T0, epoch=4), T0 + 5000 * MS, 5, TIMING) == ""
