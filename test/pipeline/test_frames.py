"""Frames are decoded once, tick by tick, kept while a window can use them, and every other fate is counted.

Buffers without threads are lazy: `ready_ms` and `ready` ask for everything. That this changes nothing: test_lazy_frames.py.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline.vehicle import HEIGHT, MS, PROFILE, SECOND, TWO_CAMERAS, WIDTH, Clock, CountingRing, T, encoded, jpeg, rig

from alpamayo_ros.pipeline.frames import NICER, FrameBuffer
from alpamayo_ros.pipeline.window import Counts, ring_slots, window_frames, window_ns
from alpamayo_ros.types import U8, CameraFrame, EncodedFrame, InvalidInput

FRONT, REAR = "front_wide", "rear_tele"
WINDOW_NS = window_ns(TWO_CAMERAS, rig().cameras[FRONT])
CAPACITY = window_frames(TWO_CAMERAS, rig().cameras[FRONT])


def inline(ring: CountingRing | None = None, **more: object) -> FrameBuffer:
    return FrameBuffer(TWO_CAMERAS, rig(), ring or CountingRing(), 0, **more)  # type: ignore[arg-type]


def offer(buffer: FrameBuffer, ms: float, role: str = FRONT, epoch: int = 0, data: bytes | None = None) -> None:
    buffer.offer(encoded(role, T + round(ms * MS), epoch, data), T + 3600 * SECOND)


def ready_ms(buffer: FrameBuffer, role: str = FRONT) -> list[float]:
    return [(frame.stamp_ns - T) / MS for frame in buffer.ready(role)]


def test_a_frame_is_decoded_and_ready() -> None:
    heard: list[CameraFrame] = []
    clock = Clock()
    buffer = inline(on_frame=heard.append, clock_ns=clock)
    offer(buffer, 0, data=jpeg(7))
    (frame,) = buffer.ready(FRONT)
    assert (frame.role, frame.stamp_ns, frame.epoch) == (FRONT, T, 0)
    assert heard == [frame]
    assert buffer.ready_since(FRONT, T) == T
    assert buffer.ready_since(FRONT, T + 1) is None
    offer(buffer, 100, data=jpeg(8))
    assert not np.array_equal(frame.image, buffer.ready(FRONT)[1].image)
    counts = buffer.counts[FRONT]
    assert (counts.received, counts.decoded, counts.missing, counts.reason) == (2, 2, 0, "")
    assert buffer.counts[REAR].received == 0


def test_threads_that_decode_make_way_for_the_rest_of_their_process() -> None:
    niceness: dict[str, int] = {}
    decoded = threading.Event()

    def heard(frame: CameraFrame) -> None:
        niceness[threading.current_thread().name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        decoded.set()

    buffer = FrameBuffer(TWO_CAMERAS, rig(), CountingRing(), 1, on_frame=heard)
    offer(buffer, 0)
    assert decoded.wait(10.0)
    buffer.close()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness == {"decode-0": min(own + NICER, 19)}, "and nobody else became any nicer"


def test_frames_out_of_order_take_their_place() -> None:
    buffer = inline()
    for ms in (0, 300, 100, 200, 400):
        offer(buffer, ms)
    assert ready_ms(buffer) == [0, 100, 200, 300, 400]
    assert buffer.counts[FRONT].missing == 0  # the gap was filled


def test_the_first_of_one_stamp_wins_and_another_picture_is_told_apart() -> None:
    ring = CountingRing()
    buffer = inline(ring)
    for data in (jpeg(1), jpeg(1), jpeg(2), jpeg(1)):
        offer(buffer, 0, data=data)
    assert ready_ms(buffer) == [0]
    counts = buffer.counts[FRONT]
    assert (counts.received, counts.duplicate, counts.conflicting, counts.decoded) == (4, 2, 1, 1)
    assert ring.drawn == [(FRONT, T)]


def test_frames_older_than_the_window_are_late() -> None:
    buffer = inline()
    offer(buffer, WINDOW_NS / MS)
    offer(buffer, 0)
    offer(buffer, -1)
    assert ready_ms(buffer) == [0, WINDOW_NS / MS]
    counts = buffer.counts[FRONT]
    assert (counts.decoded, counts.late) == (2, 1)
    assert counts.reason == f"{WINDOW_NS / MS + 1:.0f} ms late, the window is {WINDOW_NS / MS:.0f}"


def test_the_store_keeps_what_a_window_can_use_and_gives_back_the_rest() -> None:
    ring = CountingRing(slots=CAPACITY + 1)
    buffer = inline(ring)
    for n in range(200):
        offer(buffer, 100 * n)
    kept = ready_ms(buffer)
    assert kept[-1] - kept[0] <= WINDOW_NS / MS < kept[-1] - kept[0] + 100
    assert -TWO_CAMERAS.frame_offsets_ms[0] <= kept[-1] - kept[0]
    assert buffer.counts[FRONT].dropped == 0  # every slot came back
    assert ring.ring.free_slots == CAPACITY + 1 - len(kept)
    assert buffer.rate_hz(FRONT) == pytest.approx(10)
    assert buffer.newest_ns(FRONT) == T + 19_900 * MS


@pytest.mark.parametrize(
    ("stamps_ms", "missing"),
    [
        ([0, 100, 200], 0),
        ([0, 149, 240, 390], 0),  # jitter: up to a period and a half
        ([0, 151], 1),
        ([0, 200], 1),
        ([0, 100, 500, 600], 3),
        ([0, 500, 300], 3),  # one of four came late
        ([0, 500, 300, 100, 400, 200], 0),
    ],
)
def test_gaps_between_stamps_count_what_was_lost(stamps_ms: list[int], missing: int) -> None:
    buffer = inline()
    for ms in stamps_ms:
        offer(buffer, ms)
    assert buffer.counts[FRONT].missing == missing


def test_a_stamp_in_the_future_is_refused() -> None:
    buffer = inline()
    buffer.offer(encoded(FRONT, T + 100 * MS), T)
    with pytest.raises(InvalidInput, match="front_wide: stamp 101 ms ahead of the clock, limit 100"):
        buffer.offer(encoded(FRONT, T + 101 * MS), T)
    assert ready_ms(buffer) == [100]
    counts = buffer.counts[FRONT]
    assert (counts.received, counts.decoded, counts.refused) == (2, 1, 1)
    assert "101 ms ahead" in counts.reason


def test_a_camera_the_profile_does_not_use_is_refused() -> None:
    with pytest.raises(InvalidInput, match="front_tele: not a camera of both rig and profile"):
        offer(inline(), 0, "front_tele")


def test_pixels_that_cannot_be_decoded_are_counted_and_the_slot_comes_back() -> None:
    ring = CountingRing(slots=1)
    buffer = inline(ring)
    offer(buffer, 0, data=jpeg()[:-100])
    assert ready_ms(buffer) == []
    counts = buffer.counts[FRONT]
    assert (counts.received, counts.decoded, counts.refused) == (1, 0, 1)
    assert counts.reason.startswith("front_wide: jpeg of")
    assert "cannot be decoded" in counts.reason
    assert ring.ring.free_slots == 1
    offer(buffer, 100)
    assert ready_ms(buffer) == [100]


def test_a_refused_header_is_counted() -> None:
    buffer = inline()
    buffer.refuse(REAR, "because", T, T)
    counts = buffer.counts[REAR]
    assert (counts.received, counts.refused, counts.reason) == (1, 1, "because")


@pytest.mark.parametrize(
    ("came", "missing"),
    [
        ([0, -100, 200], 0),
        ([0, -100, 300], 1),  # one was refused, one is missing
        ([0, 200, -100], 0),  # refused late: what was counted as missing came after all
        ([0, 200, -100, -100, 100], 0),  # and again, and a good one of its stamp
        ([0, *(-ms for ms in range(100, 10_000, 100)), 10_000], 0),  # for much longer than a window
        ([0, *(-ms for ms in range(100, 10_000, 100)), 200, 10_000], 0),  # in the window of the good ones
        ([-1, 5000], 0),  # before the first good one nothing is missing
        ([5000, -1, 5100], 0),  # out of any window
        ([0, -3_600_000, 100], 0),  # from the future
    ],
)
def test_a_refused_frame_is_not_missing(came: list[int], missing: int) -> None:
    """`came` are stamps in ms, negative ones refused."""
    buffer = inline()
    for ms in came:
        if ms < 0:
            buffer.refuse(FRONT, "because", T - ms * MS, T + 10 * SECOND)
        else:
            offer(buffer, ms)
    counts = buffer.counts[FRONT]
    assert (counts.missing, counts.refused) == (missing, sum(ms < 0 for ms in came))


def test_a_refused_frame_makes_no_room_for_a_good_one_to_be_taken_as_its_copy() -> None:
    buffer = inline()
    offer(buffer, 0)
    buffer.refuse(FRONT, "because", T + 100 * MS, T + SECOND)
    assert buffer.newest_ns(FRONT) == T
    offer(buffer, 100)
    assert ready_ms(buffer) == [0, 100]
    assert buffer.counts[FRONT].conflicting == 0


def test_a_full_ring_drops_and_says_so() -> None:
    buffer = inline(CountingRing(slots=2))
    for ms in (0, 100, 200):
        offer(buffer, ms)
    assert ready_ms(buffer) == [0, 100]
    assert (buffer.counts[FRONT].dropped, buffer.counts[FRONT].reason) == (1, "no free slot in the frame ring")


def test_one_flooding_camera_cannot_take_the_others_slots() -> None:
    ring = CountingRing(ring_slots(TWO_CAMERAS, rig(), threads=0))
    buffer = inline(ring)
    for n in range(3000):
        offer(buffer, n)  # 1000 Hz, declared 10
    for n in range(25):
        offer(buffer, 100 * n, REAR)
    assert len(ready_ms(buffer)) == CAPACITY
    assert len(ready_ms(buffer, REAR)) == 24  # the whole window, 25th at its edge
    assert "the rig declares 10 Hz" in buffer.counts[FRONT].reason
    assert buffer.counts[REAR].dropped == 0


def test_without_threads_only_what_is_asked_for_is_decoded() -> None:
    ring = CountingRing()
    buffer = inline(ring)
    for n in range(60):
        offer(buffer, 100 * n)
    offer(buffer, 0, REAR, data=jpeg()[:-100])
    assert ring.drawn == []
    (frame,) = buffer.nearest(FRONT, [T + 4040 * MS])
    assert (frame.stamp_ns - T, buffer.ready_since(FRONT, T + 4000 * MS)) == (
        4000 * MS,
        buffer.ready_since(FRONT, frame.stamp_ns),
    )
    assert buffer.has(FRONT, T + 5100 * MS, 0)
    assert not buffer.has(FRONT, T + 5240 * MS, 39 * MS)
    assert ring.drawn == [(FRONT, T + 4000 * MS), (FRONT, T + 5100 * MS)]
    assert buffer.nearest(REAR, [T]) == ()
    assert (buffer.counts[REAR].refused, buffer.counts[FRONT].dropped) == (1, 0)


def test_raw_pixels_are_not_kept_as_they_came() -> None:
    ring = CountingRing()
    pixels = bytes(WIDTH * HEIGHT * 3)
    inline(ring).offer(EncodedFrame(FRONT, T, 0, "rgb8", HEIGHT, WIDTH, WIDTH * 3, pixels), T)
    assert ring.drawn == [(FRONT, T)]


def test_cpu_time_of_decoding_is_counted() -> None:
    buffer = inline()
    for n in range(20):
        offer(buffer, 100 * n)
        buffer.ready(FRONT)
    assert 0 < buffer.counts[FRONT].decode_ns < 20 * SECOND


# -------------------------------------------------------------------------------------------------------------------- epochs


def test_an_epoch_forgets_frames_and_drops_those_of_another() -> None:
    buffer = inline()
    offer(buffer, 0)
    buffer.clear(1)
    assert buffer.ready(FRONT) == ()
    assert buffer.newest_ns(FRONT) is None
    offer(buffer, 100, epoch=0)
    offer(buffer, -5000, epoch=1)
    assert ready_ms(buffer) == [-5000]
    assert (buffer.counts[FRONT].dropped, buffer.counts[FRONT].reason) == (1, "of epoch 0, now is 1")


class GatedRing(CountingRing):
    """Holds every decode until the gate is open."""

    def __init__(self, slots: int = 400) -> None:
        super().__init__(slots)
        self.gate = threading.Event()
        self.entered = threading.Event()

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        self.entered.set()
        assert self.gate.wait(10)
        return super().write(role, stamp_ns, epoch, fill)


class PacedRing(CountingRing):
    """Lets one decode through at a time."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.entered, self.tokens = threading.Semaphore(0), threading.Semaphore(0)

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        self.entered.release()
        assert self.tokens.acquire(timeout=10)
        return super().write(role, stamp_ns, epoch, fill)


def wait_until(done: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.002)


def test_frames_that_wait_when_an_epoch_ends_are_counted() -> None:
    ring = GatedRing()
    buffer = FrameBuffer(TWO_CAMERAS, rig(), ring, 1)
    for ms in (0, 100, 200):
        offer(buffer, ms)
        assert ring.entered.wait(10)  # the first one is being decoded
    buffer.clear(1)
    assert buffer.counts[FRONT].dropped == 2
    ring.gate.set()
    wait_until(lambda: buffer.counts[FRONT].dropped == 3)
    buffer.close()


def test_a_frame_that_was_being_decoded_when_the_epoch_ended_is_dropped() -> None:
    """Also when the new epoch has a frame of the same stamp, as in a bag that loops."""
    ring, heard = GatedRing(), []
    buffer = FrameBuffer(TWO_CAMERAS, rig(), ring, 1, heard.append)
    offer(buffer, 0)
    assert ring.entered.wait(10)
    buffer.clear(1)
    offer(buffer, 0, epoch=1)
    ring.gate.set()
    wait_until(lambda: buffer.counts[FRONT].decoded == 1)
    buffer.close()
    assert (buffer.counts[FRONT].dropped, buffer.counts[FRONT].reason) == (1, "of epoch 0, now is 1")
    assert [frame.epoch for frame in buffer.ready(FRONT)] == [frame.epoch for frame in heard] == [1]
    heard.clear()
    buffer.clear(2)
    assert ring.ring.free_slots == 400


# ----------------------------------------------------------------------------------------------------------------------- pool


def test_after_a_stall_the_newest_tick_comes_first_and_what_left_the_window_is_never_decoded() -> None:
    ring = GatedRing()
    buffer = FrameBuffer(TWO_CAMERAS, rig(), ring, 1)
    offer(buffer, 0)
    assert ring.entered.wait(10)  # the pool is busy with the first frame
    for n in range(1, 60):
        for role in (FRONT, REAR):
            offer(buffer, 100 * n + (5 if role == REAR else 0), role)
    ring.gate.set()
    wait_until(lambda: sum(c.decoded for c in buffer.counts.values()) == 48)
    buffer.close()
    ticks = [round((stamp - T) / (100 * MS)) for _, stamp in ring.drawn[1:]]
    assert ticks == sorted(ticks, reverse=True)
    assert ticks[::2] == ticks[1::2]  # both cameras of a tick before anything else
    assert min(stamp for _, stamp in ring.drawn[1:]) >= T + 5900 * MS - WINDOW_NS
    for role in (FRONT, REAR):
        assert buffer.counts[role].dropped == 59 - 24 + (role == FRONT)  # the first one left while it was decoded
        assert ready_ms(buffer, role) == [100 * n + (5 if role == REAR else 0) for n in range(36, 60)]


@pytest.mark.parametrize(("frames_per_tick", "least"), [(5, 0.3), (6, 0.5)])
def test_a_machine_too_small_for_every_frame_still_gets_whole_observations(frames_per_tick: int, least: float) -> None:
    """Newest first, camera by camera, got none at all with fewer than seven frames per tick."""
    ring = PacedRing()
    buffer = FrameBuffer(PROFILE, rig(), ring, 1)
    whole = 0
    for tick in range(100):
        for role in PROFILE.cameras:
            offer(buffer, 100 * tick, role)
        for done in range(frames_per_tick):
            assert ring.entered.acquire(timeout=10)
            ring.tokens.release()
            expected = frames_per_tick * tick + done + 1
            wait_until(lambda expected=expected: sum(c.decoded for c in buffer.counts.values()) == expected)  # type: ignore[misc]
        whole += any(_is_whole(buffer, 100 * (tick - late)) for late in (0, 1))
    ring.tokens.release(1000)
    buffer.close()
    assert whole >= least * (100 - 20)  # the first window takes 20 ticks


def _is_whole(buffer: FrameBuffer, t0_ms: float) -> bool:
    instants = [T + round(t0_ms * MS) + offset_ns for offset_ns in PROFILE.offsets_ns]
    return all(buffer.has(role, instant_ns, 55 * MS) for role in PROFILE.cameras for instant_ns in instants)


def test_a_frame_that_may_still_come_is_known() -> None:
    ring = GatedRing()
    buffer = FrameBuffer(TWO_CAMERAS, rig(), ring, 1)

    def may_come(ms: int) -> bool:
        return buffer.may_come(FRONT, T + (ms - 10) * MS, T + (ms + 10) * MS)

    assert may_come(0)  # nothing is known yet
    offer(buffer, 0)
    assert ring.entered.wait(10)
    offer(buffer, 200)
    assert may_come(0)  # being decoded
    assert not may_come(100)  # the camera is past it
    assert may_come(200)  # queued
    assert may_come(300)  # the camera is not past it
    ring.gate.set()
    wait_until(lambda: len(buffer.ready(FRONT)) == 2)
    assert not may_come(0)
    assert may_come(205)  # another one: the camera is not past all of this
    buffer.close()


def test_threads_end_and_closing_twice_is_allowed() -> None:
    before = threading.active_count()
    buffer = FrameBuffer(TWO_CAMERAS, rig(), CountingRing(), 3)
    assert threading.active_count() == before + 3
    buffer.close()
    buffer.close()
    assert threading.active_count() == before


def test_a_change_is_never_missed() -> None:
    buffer = inline()
    assert not buffer.wait_for_change(0.001)
    offer(buffer, 0)  # before the wait
    assert buffer.wait_for_change(0)
    assert not buffer.wait_for_change(0.001)
    buffer.clear(1)
    assert buffer.wait_for_change(0)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_every_message_has_exactly_one_fate_and_every_picture_is_decoded_at_most_once(data: st.DataObject) -> None:
    ring = CountingRing()
    threads = data.draw(st.sampled_from([0, 2]))
    buffer = FrameBuffer(TWO_CAMERAS, rig(), ring, threads)
    messages = data.draw(
        st.lists(st.tuples(st.sampled_from([FRONT, REAR]), st.integers(0, 60), st.sampled_from(["good", "cut"])), max_size=80)
    )
    for role, tick, kind in messages:
        whole = jpeg(tick)
        offer(buffer, 70 * tick, role, data=whole if kind == "good" else whole[:-50])
        if threads == 0:
            buffer.ready(role)
    wait_until(lambda: all(c.received == fates(c) for c in buffer.counts.values()))
    buffer.close()
    assert len(ring.drawn) == len(set(ring.drawn))
    assert sum(c.received for c in buffer.counts.values()) == len(messages)


def fates(c: Counts) -> int:
    return c.decoded + c.duplicate + c.conflicting + c.late + c.refused + c.dropped
