"""Events of an expert's drive in the driving world: what happened, read off its snapshots, where the expert decided for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind, Intention
from alpamayo_ros.simulation.scenario import ROUTE, TrafficLight
from alpamayo_ros.simulation.state import FRONT_M, REAR_M
from alpamayo_ros.training.coc.keyframes import HISTORY_S, Event, EventKind
from alpamayo_ros.types import F64, STEP_S, Lateral, Longitudinal

OFF_CENTRE_M = 0.3
CURVE_1PM = 0.004
CUT_IN_S = 6.0  # a contender's signal and its first move are looked for in so much time before the expert reacts

_HISTORY_TICKS = round(HISTORY_S / STEP_S)  # a light that turned longer ago was found like that

_LEAD_STANDS: tuple[CauseKind, ...] = ("stopped_lead", "parked_car", "broken_down_car", "truck")
_STANDING: tuple[CauseKind, ...] = ("parked_car", "broken_down_car", "truck", "cones", "barrier")
_WORKS: tuple[CauseKind, ...] = ("cones", "barrier")
_WALKERS: tuple[CauseKind, ...] = ("pedestrian", "child", "cyclist")
_LEADS: tuple[CauseKind, ...] = ("slow_lead", "braking_lead")
_OTHERS: tuple[CauseKind, ...] = ("oncoming_vehicle", "vehicle_alongside")

_LONGITUDINAL: tuple[tuple[Longitudinal, tuple[CauseKind, ...], EventKind], ...] = (
    ("lead_obstacle_following", _LEADS, "slower_lead_seen"),
    ("lead_obstacle_following", _LEAD_STANDS, "stopping_lead_seen"),
    ("lead_obstacle_following", ("cut_in",), "contender_moves"),
    ("yield", ("cut_in",), "contender_moves"),
    ("yield", _WALKERS, "vru_seen"),
    ("stop_for_static_constraints", ("red_light", "yellow_light"), "light_stops"),
    ("stop_for_static_constraints", ("stop_sign",), "stop_sign_seen"),
    ("set_speed_tracking", ("green_light",), "light_green"),
    ("set_speed_tracking", ("stop_sign",), "stop_sign_obeyed"),
    ("speed_adaptation", _WORKS, "construction_seen"),
    ("speed_adaptation", ("curve", "advisory_sign"), "enters_curve"),
)
_NUDGED: tuple[tuple[tuple[CauseKind, ...], EventKind], ...] = (
    (_WALKERS, "vru_seen"),
    (_WORKS, "construction_seen"),
    (_LEAD_STANDS, "obstacle_seen"),
)
_NUDGES: tuple[Lateral, ...] = ("out_of_lane_nudge", "in_lane_nudge")
_LATERAL = tuple((nudge, kinds, event) for nudge in _NUDGES for kinds, event in _NUDGED)
"""A decision and a cause it is made for -> the event that the cause is."""


def events(episode: Episode) -> tuple[Event, ...]:
    """What happened, in the order of time, as far as the expert decided for it.

    The world has no speed bumps and nobody who waits without being yielded to: those events never come.
    """
    found = {*_decided(episode), *_blocked(episode), *_intersections(episode)}
    return tuple(sorted(found, key=lambda event: (event.t_s, event.kind)))


def _decided(episode: Episode) -> Iterator[Event]:
    """An event for every stretch of plans that are made for the same thing."""
    before: set[tuple[EventKind, Cause]] = set()
    for planned in episode.planned:
        if planned.intention is None:
            continue
        now = dict(_topics(episode, planned.intention))
        known = {kind for kind, _ in before}
        for kind, cause in now.items():
            if kind not in known:
                yield from _begun(episode, kind, cause, round(planned.t0_s / STEP_S))
        before = set(now.items())


def _topics(episode: Episode, intention: Intention) -> Iterator[tuple[EventKind, Cause]]:
    decision = intention.decision
    rows = [row for row in (*_LONGITUDINAL, *_LATERAL) if row[0] in (decision.longitudinal, decision.lateral)]
    for cause in intention.causes:
        yield from ((kind, cause) for _, kinds, kind in rows if cause.kind in kinds)
        if decision.longitudinal == "yield" and cause.kind == "crossing_vehicle" and _pushes_on(episode, cause):
            yield "risk_seen", cause
    if decision.lateral == "lane_change":
        yield "changes_lane", intention.causes[0]


def _pushes_on(episode: Episode, cause: Cause) -> bool:
    return any(vehicle.name in cause.things and not vehicle.yields for vehicle in episode.scenario.vehicles)


def _begun(episode: Episode, kind: EventKind, cause: Cause, tick: int) -> Iterator[Event]:
    """The events that a stretch of plans from a tick on is about, at the times at which they happened."""
    if kind in ("light_stops", "light_green"):
        turned = _turned(episode, int(cause.things[0].split()[1]), tick)
        yield _at(kind, max(turned, tick - _HISTORY_TICKS))
    elif kind == "contender_moves":
        yield from _cut_in(episode, cause.things[0], tick)
    elif kind == "changes_lane":
        yield from _moves_over(episode, tick)
    elif kind == "enters_curve":
        yield from _curve(episode, tick)
    else:
        yield _at(kind, tick)


def _at(kind: EventKind, tick: int) -> Event:
    return Event(kind, tick * STEP_S)


def _turned(episode: Episode, light: int, tick: int) -> int:
    """When a light took the meaning, go or stop, that it has at a tick."""
    goes = [snapshot.lights[light] == "green" for snapshot in episode.snapshots[: tick + 1]]
    return next((k for k in range(tick, 0, -1) if goes[k - 1] != goes[tick]), 0)


def _cut_in(episode: Episode, name: str, tick: int) -> Iterator[Event]:
    """Signal and first move of somebody who is cutting in at a tick, as far as they did."""
    start = max(0, tick - round(CUT_IN_S / STEP_S))
    seen = [(k, body) for k in range(start, tick + 1) for body in episode.snapshots[k].bodies if body.name == name]
    if not seen:
        return
    left_m = episode.scenario.route.locate(np.array([body.xy_m for _, body in seen]))[1]
    signals = next((k for k, body in seen if body.indicator != "off"), None)
    moves = next((k for (k, _), off in zip(seen, left_m - left_m[0], strict=True) if abs(off) > OFF_CENTRE_M), None)
    if signals is not None:
        yield _at("contender_signals", signals)
    if moves is not None:
        yield _at("contender_moves", moves)


def _moves_over(episode: Episode, tick: int) -> Iterator[Event]:
    """When the ego, which is to change lanes from a tick on, is off the place that it had then."""
    _, left_m = _ego_m(episode)
    moved = np.flatnonzero(np.abs(left_m[tick:] - left_m[tick]) > OFF_CENTRE_M)
    if len(moved):
        yield _at("changes_lane", tick + int(moved[0]))


def _curve(episode: Episode, tick: int) -> Iterator[Event]:
    """The next curve from a tick on, whole or not at all."""
    along_m, _ = _ego_m(episode)
    bends = np.abs(episode.scenario.route.curvature_1pm(along_m)) > CURVE_1PM
    enters = _next(bends, tick)
    exits = _next(~bends, enters) if enters is not None else None
    if enters is not None and exits is not None:
        yield from (_at("enters_curve", enters), _at("exits_curve", exits))


def _next(states: NDArray[np.bool_], tick: int) -> int | None:
    found = np.flatnonzero(states[tick:])
    return tick + int(found[0]) if len(found) else None


def _blocked(episode: Episode) -> Iterator[Event]:
    """From when to when the expert wanted to move over and could not."""
    yield from _stretches(episode, _wants_lane, "change_blocked", "change_ready")
    yield from _stretches(episode, _wants_around, "nudge_blocked", "nudge_ready")


def _wants_lane(intention: Intention) -> bool:
    return intention.decision.longitudinal == "gap_searching"


def _wants_around(intention: Intention) -> bool:
    kinds = {cause.kind for cause in intention.causes}
    keeps = intention.decision.lateral in (None, "lane_keeping")
    return keeps and not kinds.isdisjoint(_STANDING) and not kinds.isdisjoint(_OTHERS)


def _stretches(episode: Episode, wants: Callable[[Intention], bool], begins: EventKind, ends: EventKind) -> Iterator[Event]:
    wanted = False
    for planned in episode.planned:
        now = planned.intention is not None and wants(planned.intention)
        if now != wanted:
            yield Event(begins if now else ends, planned.t0_s)
        wanted = now


def _intersections(episode: Episode) -> Iterator[Event]:
    """Lights of the route: from its stop line to where the rear bumper is past the lamps beyond it."""
    along_m, _ = _ego_m(episode)
    lights: Sequence[TrafficLight] = [light for light in episode.scenario.lights if light.road == ROUTE]
    for line_m, lamp_m in {(light.stop_line_m, light.lamp_m[0]) for light in lights}:
        enters = np.flatnonzero((along_m[:-1] + FRONT_M < line_m) & (along_m[1:] + FRONT_M >= line_m))
        exits = np.flatnonzero(along_m - REAR_M > lamp_m)
        if len(enters) and len(exits) and lamp_m > line_m:
            yield from (_at("enters_intersection", int(enters[0]) + 1), _at("exits_intersection", int(exits[0])))


def _ego_m(episode: Episode) -> tuple[F64, F64]:
    """The ego's rear axle along and left of the route, at every snapshot."""
    return episode.scenario.route.locate(np.array([snapshot.ego.xy_m for snapshot in episode.snapshots]))
