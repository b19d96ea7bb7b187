"""Offline, a frame is decoded when it is asked for; the node decodes every frame as it comes. Both observe the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline.vehicle import MS, PROFILE, Clock, CountingRing, T, buffers, encoded, jpeg, pose

from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.frames import FrameBuffer
from alpamayo_ros.pipeline.observe import next_t0, observe
from alpamayo_ros.pipeline.window import Counts
from alpamayo_ros.types import CameraFrame, StaleInput

ROLES = ("front_wide", "rear_tele", "front_tele")
SHORT = PROFILE.model_copy(
    update={
        "cameras": {"front_wide": "required", "rear_tele": "required", "front_tele": "optional"},
        "frame_offsets_ms": (-300, -100, 0),
        "history_steps": 4,
    }
)


class Sent(NamedTuple):
    """A picture on its way: the tick of 100 ms it belongs to, and what happens to it."""

    role: str
    tick: int
    jitter_ms: int  # of the stamp
    delay_ms: int  # from the stamp to its arrival
    is_whole: bool
    picture: int
    times: int = 1


def arrivals(sent: list[Sent]) -> Iterator[tuple[int, Sent | None, int]]:
    """What comes when, with its stamp: pictures, and odometry (None) every 20 ms, 2 ms after its stamp."""
    length_ms = max((100 * one.tick + one.delay_ms for one in sent), default=0) + 500
    due: list[tuple[int, Sent | None, int]] = [(T + (ms + 2) * MS, None, T + ms * MS) for ms in range(-500, length_ms, 20)]
    for one in sent:
        stamp = T + (100 * one.tick + one.jitter_ms) * MS
        due += [(stamp + (one.delay_ms + k) * MS, one, stamp) for k in range(one.times)]
    return iter(sorted(due, key=lambda item: item[0]))


def seen(of: Buffers, t0_ns: int) -> object:
    try:
        found = observe(of, t0_ns)
    except StaleInput as error:
        return t0_ns, str(error)
    return t0_ns, found.pixels_crc32, dict(found.sync_error_ms)


def settle(of: Buffers) -> None:
    deadline_s = time.monotonic() + 10.0
    while any(sum(fates(c)) + c.decoded + c.refused < c.received for c in of.frames.counts.values()):
        assert time.monotonic() < deadline_s, "the thread decodes nothing"
        time.sleep(0.0001)


def fates(c: Counts) -> tuple[int, ...]:
    return c.duplicate, c.conflicting, c.late, c.dropped


def run(sent: list[Sent], threads: int, plan_hz: float) -> tuple[list[object], Buffers]:
    """What is observed while the messages come; with a thread, which decodes every frame before the next message."""
    clock, last_t0_ns, outcomes = Clock(), 0, []
    filled = buffers(SHORT, threads=threads, ring=CountingRing(), clock_ns=clock)
    for clock.now_ns, one, stamp in arrivals(sent):
        if one is None:
            filled.poses.offer(pose(stamp))
        else:
            data = jpeg(one.picture)
            filled.frames.offer(encoded(one.role, stamp, 0, data if one.is_whole else data[:-60]), clock.now_ns)
            settle(filled) if threads else None
        t0_ns = next_t0(filled, last_t0_ns, clock.now_ns, 100 * MS, plan_hz)
        if t0_ns is not None:
            last_t0_ns = t0_ns
            outcomes.append(seen(filled, t0_ns))
    filled.close()
    return outcomes, filled


pictures = st.builds(
    Sent,
    st.sampled_from(ROLES),
    st.integers(0, 14),
    st.sampled_from([0, 0, 0, 45, -45, 52, -60]),
    st.sampled_from([5, 5, 30, 90, 250, 700]),
    st.sampled_from([True, True, True, False]),
    st.integers(0, 5),
    st.sampled_from([1, 1, 1, 2]),
)
STEADY = [Sent(role, tick, 0, 5, is_whole=True, picture=tick % 6) for tick in range(15) for role in ROLES]


@settings(max_examples=40, deadline=None)
@given(st.lists(pictures, max_size=25), st.lists(st.integers(0, len(STEADY) - 1), max_size=8), st.sampled_from([2.0, 1e3]))
def test_frames_decoded_when_asked_for_are_those_that_a_thread_would_have_had_ready(
    strange: list[Sent], gone: list[int], plan_hz: float
) -> None:
    sent = [one for k, one in enumerate(STEADY) if k not in gone] + strange
    eager, of_thread = run(sent, 1, plan_hz)
    lazy, asked = run(sent, 0, plan_hz)
    assert lazy == eager
    for role in ROLES:
        want, got = of_thread.frames.counts[role], asked.frames.counts[role]
        assert (got.received, got.missing, *fates(got)) == (want.received, want.missing, *fates(want))
        assert got.decoded <= want.decoded
        assert got.refused <= want.refused


CORRUPT = [Sent("rear_tele", 7, -45, 5, is_whole=False, picture=3), Sent("rear_tele", 7, 50, 5, is_whole=True, picture=4)]


def test_where_the_nearest_is_corrupt_the_next_nearest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """At tick 7 a corrupt frame is the nearest and a whole one is within tolerance; who takes it by its stamp sees less."""
    sent = [one for one in STEADY if (one.role, one.tick) != ("rear_tele", 7)] + CORRUPT
    eager, _ = run(sent, 1, 1e3)
    lazy, asked = run(sent, 0, 1e3)
    assert lazy == eager
    assert asked.frames.counts["rear_tele"].refused == 1
    assert lazy != run(STEADY, 0, 1e3)[0]

    def by_stamp(self: FrameBuffer, role: str, instants_ns: list[int]) -> tuple[CameraFrame, ...]:
        ready = {frame.stamp_ns: frame for frame in self.ready(role)}
        stamps = [min(self._cameras[role].stamps, key=lambda stamp: abs(stamp - ns), default=0) for ns in instants_ns]
        return tuple(ready[stamp] for stamp in stamps) if set(stamps) <= set(ready) else ()

    monkeypatch.setattr(FrameBuffer, "nearest", by_stamp)
    assert run(sent, 0, 1e3)[0] != eager
