"""The gate: what a published message would break, read from the message itself."""

from __future__ import annotations

import pytest
from nodes.made_plans import STEP, T0, plan_message

from alpamayo_ros.nodes.gate import Gate


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
