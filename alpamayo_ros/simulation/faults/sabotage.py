"""The test of the tests, through real DDS and processes: a good planner drives, somebody stands between it and the monitor.

Every broken planner must be caught by the invariants that are there for it; one that changes nothing by none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alpamayo_ros.nodes.client import Relay, client_node, node_process, spin_until
from alpamayo_ros.simulation.faults.acts import loops
from alpamayo_ros.simulation.faults.broken import Needs, Variant, broken_variants
from alpamayo_ros.simulation.faults.disturbances import dropped
from alpamayo_ros.simulation.faults.domains import in_domain, own_domain
from alpamayo_ros.simulation.faults.saboteurs import Saboteur
from alpamayo_ros.simulation.faults.station import READY_S, Station, station
from alpamayo_ros.simulation.faults.vehicle import CRUISE_MPS, unchanged
from alpamayo_ros.types import EngineFailure

TARGET = "/broken_planner"
LISTENS_S, SHOWS_S, OUTAGE_S, BACK_S = 1.5, 10.0, 1.2, 5.0
"""Until a monitor that listens has seen a window of inputs; after which a fault must show; without cameras; that the clock
jumps back."""

TRIES = 3
"""An outage need not lead to a hold each time, and only what is published can be broken."""

LONGEST_S = 1e6
"""No campaign is longer."""


def run_broken(out: Path) -> dict[str, Any]:
    """Every variant that needs no deactivation, once -> `out`/broken.json and the figures: variants, caught, and which not."""
    variants = {name: one for name, one in broken_variants().items() if one.needs != "deactivation"}
    out.mkdir(parents=True, exist_ok=True)
    with own_domain() as domain, in_domain(domain), TemporaryDirectory(prefix="alpamayo_broken_") as folder:
        found = _found(Path(folder), variants)
    missed = {name: f"{one.what}: want {sorted(one.caught_by)}, got {found[name]}" for name, one in variants.items()}
    missed = {name: why for name, why in missed.items() if not variants[name].caught_by <= set(found[name])}
    figures = {
        "variants": len(variants),
        "caught": len(variants) - len(missed),
        "missed": missed,
        "control": found["control"],
        "not_run": sorted(broken_variants().keys() - variants.keys()),
    }
    (out / "broken.json").write_text(json.dumps(figures | {"found": found}, indent=1) + "\n")
    return figures


def _found(folder: Path, variants: dict[str, Variant]) -> dict[str, list[str]]:
    """Invariants that were said to be broken, by variant; "control" is the planner as it is."""
    control = Variant("changes nothing", Saboteur, frozenset(), "outage")
    with station(folder, "simulated") as good, client_node("broken_planner", use_sim_time=True) as node:
        good.start_planner()
        between = Relay(node, good.rig, Saboteur())
        with _served(node):
            return {name: _breaches(good, between, one, folder, name) for name, one in {"control": control, **variants}.items()}


def _breaches(good: Station, relay: Relay, variant: Variant, folder: Path, name: str) -> list[str]:
    out = folder / f"{name}.jsonl"
    relay.between = Saboteur()
    good.get_ready()
    if not good.watch(lambda: not relay.is_heard, READY_S):  # or it would be taken for the one that is still to come
        raise EngineFailure(f"{name}: the monitor before this one still listens after {READY_S:g} s")
    given = {"planner": TARGET, "out": out, "rig": folder / "rig.yaml", "use_sim_time": True}
    with node_process("monitor_node", given, folder / f"{name}.log"):
        relay.judged = 0
        if not good.watch(lambda: out.exists() and relay.is_heard and relay.judged > 0, READY_S):
            raise EngineFailure(f"{name}: the monitor does not listen after {READY_S:g} s")
        good.watch(lambda: False, LISTENS_S)
        relay.between = variant.make()
        good.watch(lambda: False, LISTENS_S)
        for _ in range(TRIES if variant.caught_by else 1):
            _provoke(good, variant.needs)
            if good.watch(
                lambda: bool(variant.caught_by) and variant.caught_by <= set(invariants(out)), variant.seconds + SHOWS_S
            ):
                break
        good.forget()
        return invariants(out)


def _provoke(good: Station, needs: Needs) -> None:
    """Let happen what the fault shows itself by; the vehicle drives as before afterwards."""
    vehicle = good.vehicle
    if needs == "another speed":
        vehicle.motion.wanted_mps = CRUISE_MPS - 1.5
        good.watch(lambda: False, OUTAGE_S)
        vehicle.motion.wanted_mps = CRUISE_MPS
    elif needs == "outage":
        vehicle.passes = dropped(tuple(good.rig.cameras))
        good.watch(lambda: False, OUTAGE_S)
        vehicle.passes = unchanged
    elif needs == "clock jump":
        loops(BACK_S).begin(good)


def invariants(report: Path) -> list[str]:
    """Those that a monitor's report says were broken, each once."""
    lines = report.read_text().splitlines(keepends=True) if report.exists() else []
    return sorted({str(json.loads(line)["invariant"]) for line in lines if line.endswith("\n")})


@contextmanager
def _served(node: Any) -> Iterator[None]:
    """A node's callbacks are served by a thread of its own."""
    ended = threading.Event()
    thread = threading.Thread(target=lambda: spin_until(node, ended.is_set, LONGEST_S), name="relay", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
