"""The test of the tests: every broken planner is caught by the invariants that are there for it, and a good one by none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from safety.watched_drive import Drive, Event, replayed

from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.simulation.faults.broken import Needs, broken_variants
from alpamayo_ros.simulation.faults.saboteurs import Saboteur, Said

VARIANTS = broken_variants()

DRIVES: dict[Needs, Callable[[], Drive]] = {
    "driving": Drive,
    "another speed": Drive,
    "outage": lambda: Drive(outage=(1.0, 2.2)),
    "clock jump": lambda: Drive(clock_jump=(1.5, -20.0)),
    "deactivation": lambda: Drive(end_s=1.5),
}


def passed_by(saboteur: Saboteur) -> Callable[[Event], Iterator[Event]]:
    """Events as they are with this saboteur between the planner and the monitor."""

    def passing(event: Event) -> Iterator[Event]:
        said: tuple[Said, ...] = ()
        if event.kind in ("status", "trajectory"):
            said = saboteur.take(event.value, event.now.ros_ns)
        else:
            yield event
        if event.kind == "odometry":
            saboteur.odometry(event.value)
        elif event.kind == "life":
            saboteur.end()
        elif event.kind == "tick":
            said = saboteur.idle()
        for message, engaged in said:
            assert engaged
            yield Event(event.now, "trajectory" if isinstance(message, Published) else "status", message)

    return passing


def test_the_drives_have_everything_in_them() -> None:
    sources = {
        needs: Counter(e.value.source for e in make().events() if e.kind == "trajectory") for needs, make in DRIVES.items()
    }
    assert all(count["model"] > 10 for count in sources.values())
    assert sources["outage"]["hold"] >= 2
    assert sources["outage"]["stop"] >= 4


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("needs", DRIVES)
def test_a_good_planner_is_found_good_through_the_saboteur_that_changes_nothing(needs: Needs, simulated: bool) -> None:
    assert replayed(replace(DRIVES[needs](), simulated=simulated), passed_by(Saboteur())) == []


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_planner_is_caught_by_the_invariants_that_are_there_for_it(name: str, simulated: bool) -> None:
    variant = VARIANTS[name]
    drive = replace(DRIVES[variant.needs](), simulated=simulated)
    drive.seconds = max(drive.seconds, variant.seconds)
    found = {breach.invariant for breach in replayed(drive, passed_by(variant.make()))}
    assert variant.caught_by <= found, f"{variant.what}: found {sorted(found)}"


def test_every_invariant_catches_somebody() -> None:
    caught = {invariant for variant in VARIANTS.values() for invariant in variant.caught_by}
    assert caught == {f"I{i}" for i in range(1, 11)} | {f"L{i}" for i in range(1, 5)}
