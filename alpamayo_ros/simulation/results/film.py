"""A drive as a film: what the front camera saw with the plan in it, the world from above, and what was decided."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from alpamayo_ros.cameras import base_from_optical, nominal_camera
from alpamayo_ros.drawing import MARGIN_PX, PAPER, overlay, wrapped, write_lines
from alpamayo_ros.evaluation.viewing.film import MP4, encode
from alpamayo_ros.geometry import inverse, rotation_z, transform
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import rig_at
from alpamayo_ros.simulation.results.top_view import Map, draw_above
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.types import F64, STEP_S, U8

WIDTH, HEIGHT = 1280, 720
FRONT_WIDTH, FRONT_HEIGHT = 832, 468
ABOVE_M = 75.0  # from the lower to the upper edge of the view from above
END_S = 1.5  # the last picture stays this long: it is the one that matters
_NS = 1_000_000_000


class Screen:
    """Draws the pages of one episode's film."""

    def __init__(self, episode: Episode, rig: Rig, title: str) -> None:
        front = rig_at(rig, FRONT_HEIGHT, FRONT_WIDTH).cameras[rig.anchor]
        self._lens, self._base_from_optical = nominal_camera(front), base_from_optical(front.mount)
        self._episode, self._title = episode, title
        self._stage, self._map = Stage(episode.scenario), Map(episode.scenario)
        self._t0s = [planned.t0_s for planned in episode.planned]

    def page(self, snapshot: Snapshot) -> U8:
        """One picture (720, 1280, 3) RGB."""
        planned = self._planned(snapshot.t_s)
        page = np.full((HEIGHT, WIDTH, 3), PAPER, np.uint8)
        page[:FRONT_HEIGHT, :FRONT_WIDTH] = self._front(snapshot, planned)
        trajectory, t0 = (None, snapshot.ego) if planned is None else (planned.trajectory, planned.ego)
        above = draw_above(self._map, snapshot, trajectory, t0, HEIGHT, ABOVE_M)
        cut = (HEIGHT - (WIDTH - FRONT_WIDTH)) // 2
        page[:, FRONT_WIDTH:] = above[:, cut : cut + WIDTH - FRONT_WIDTH]
        lines = [part for line in self._lines(snapshot, planned) for part in wrapped(line, FRONT_WIDTH - 2 * MARGIN_PX)]
        write_lines(page, lines, MARGIN_PX, FRONT_HEIGHT + MARGIN_PX)
        return page

    def _planned(self, t_s: float) -> Planned | None:
        """The newest cycle, plan or none."""
        place = bisect_right(self._t0s, t_s + 1e-6)
        return self._episode.planned[place - 1] if place else None

    def _front(self, snapshot: Snapshot, planned: Planned | None) -> U8:
        world_from_optical = _pose(snapshot.ego) @ self._base_from_optical
        image = self._stage.picture(snapshot, self._lens, world_from_optical, (self._episode.scenario.seed,))
        if planned is None or planned.trajectory is None:
            return image
        return overlay(image, self._lens, inverse(world_from_optical) @ _pose(planned.ego), planned.trajectory)

    def _lines(self, snapshot: Snapshot, planned: Planned | None) -> Iterator[str]:
        ego, incident = snapshot.ego, self._episode.incident
        yield f"{self._title} at {snapshot.t_s:.1f} s: {ego.speed_mps:.1f} m/s, {ego.accel_mps2:+.1f} m/s2"
        if planned is not None and planned.refused:
            yield f"no plan: {planned.refused}"
        if planned is not None and planned.plan is not None:
            yield planned.plan.reasoning.text
        if planned is not None and planned.intention is not None:
            decision = planned.intention.decision
            yield f"{decision.longitudinal}, {decision.lateral}: {', '.join(c.kind for c in planned.intention.causes)}"
        if incident is not None and snapshot.t_s >= incident.t_s - 1e-6:
            fault = "at fault" if incident.at_fault else "not at fault"
            yield f"{incident.kind.replace('_', ' ').upper()}{' with ' * bool(incident.thing)}{incident.thing}, {fault}"
        if self._episode.failure and snapshot is self._episode.snapshots[-1]:
            yield f"FAILED: {self._episode.failure}"


def write_film(episode: Episode, rig: Rig, title: str, path: Path) -> None:
    """The drive as H.264, 1280 x 720, ten pictures a second."""
    screen = Screen(episode, rig, title)
    last = episode.snapshots[-1]
    lasts_ns = {last.t_s: round(END_S * _NS)}
    encode(
        MP4,
        (WIDTH, HEIGHT),
        (
            (av.VideoFrame.from_ndarray(screen.page(each), format="rgb24"), lasts_ns.get(each.t_s, round(STEP_S * _NS)))
            for each in episode.snapshots
        ),
        path,
    )


def _pose(ego: Ego) -> F64:
    """World from ego, (4, 4)."""
    return transform(rotation_z(ego.yaw_rad), np.append(ego.xy_m, 0.0))
