"""The frame ring: what is held is never drawn over, and a reader never takes one frame for another."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.engine.ring import FrameReader, FrameRing
from alpamayo_ros.types import U8, CameraFrame, InvalidInput

SHAPE = (8, 6, 3)


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(SHAPE, 3)
    yield ring
    ring.close()


def written(ring: FrameRing, value: int, stamp_ns: int = 1, epoch: int = 0) -> CameraFrame:
    frame = ring.write("front_wide", stamp_ns, epoch, lambda pixels: pixels.fill(value))
    assert frame is not None
    return frame


def slot_of(frame: CameraFrame) -> int:
    assert frame.slot is not None
    return frame.slot


def test_a_reader_gets_a_private_copy_of_what_was_drawn(ring: FrameRing) -> None:
    reader = FrameReader(ring.fd, SHAPE, 3)
    frames = [written(ring, value, stamp_ns=value) for value in (10, 20, 30)]
    for value, frame in zip((10, 20, 30), frames, strict=True):
        image = reader.read(slot_of(frame), "front_wide", value, 0)
        assert image is not None
        assert (image == value).all()
        assert (frame.image == value).all()
        assert image.flags.writeable
        assert not frame.image.flags.writeable
        assert not np.shares_memory(image, frame.image)


@pytest.mark.parametrize(("role", "stamp_ns", "epoch"), [("rear_tele", 1, 0), ("front_wide", 2, 0), ("front_wide", 1, 1)])
def test_a_reader_gets_nothing_for_another_key(ring: FrameRing, role: str, stamp_ns: int, epoch: int) -> None:
    frame = written(ring, 1)
    assert FrameReader(ring.fd, SHAPE, 3).read(slot_of(frame), role, stamp_ns, epoch) is None


def test_a_reader_gets_nothing_while_a_slot_is_drawn_and_after_it_was_drawn_again(ring: FrameRing) -> None:
    reader = FrameReader(ring.fd, SHAPE, 3)
    seen: list[U8 | None] = []
    first = ring.write(
        "front_wide", 5, 0, lambda pixels: seen.extend(reader.read(slot, "front_wide", 5, 0) for slot in range(3))
    )
    assert seen == [None, None, None]
    assert first is not None
    slot = slot_of(first)
    assert reader.read(slot, "front_wide", 5, 0) is not None
    del first
    others = [written(ring, 1, stamp_ns=stamp_ns) for stamp_ns in (6, 7, 8)]
    assert slot in [other.slot for other in others]
    assert reader.read(slot, "front_wide", 5, 0) is None


def test_a_full_ring_gives_nothing_until_a_frame_is_garbage(ring: FrameRing) -> None:
    frames = [written(ring, value) for value in range(3)]
    assert ring.write("front_wide", 9, 0, lambda pixels: pixels.fill(9)) is None
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 1, 2]
    freed = frames.pop().slot
    assert written(ring, 9).slot == freed


@pytest.mark.parametrize(
    "held", [lambda frame: frame.image, lambda frame: frame.image[2:, :, 0], lambda frame: replace(frame, epoch=7)]
)
def test_a_slot_stays_taken_while_anything_looks_at_its_pixels(ring: FrameRing, held: object) -> None:
    assert callable(held)
    view = held(written(ring, 1))
    assert ring.free_slots == 2
    del view
    assert ring.free_slots == 3


def test_a_fill_that_raises_gives_the_slot_back_and_leaves_nothing_to_read(ring: FrameRing) -> None:
    def broken(pixels: U8) -> None:
        pixels.fill(1)
        raise InvalidInput("truncated JPEG")

    errors = []
    for _ in range(5):  # the errors are kept: their tracebacks know the pixels
        with pytest.raises(InvalidInput, match="truncated JPEG") as caught:
            ring.write("front_wide", 1, 0, broken)
        errors.append(caught)
    assert ring.free_slots == 3
    reader = FrameReader(ring.fd, SHAPE, 3)
    assert [reader.read(slot, "front_wide", 1, 0) for slot in range(3)] == [None] * 3
    frame = written(ring, 4)
    image = reader.read(slot_of(frame), "front_wide", 1, 0)
    assert image is not None
    assert (image == 4).all()


def test_a_ring_knows_its_own_frames(ring: FrameRing) -> None:
    other = FrameRing(SHAPE, 3)
    frame = written(ring, 1)
    assert ring.holds(frame)
    assert not other.holds(frame)
    written(other, 1)
    assert not other.holds(frame)
    assert not ring.holds(replace(frame, stamp_ns=2))
    assert not ring.holds(replace(frame, slot=None))
    assert not ring.holds(CameraFrame("front_wide", 1, 0, frame.image.copy(), frame.slot))
    other.close()


def test_threads_never_share_a_slot_and_lose_none() -> None:
    ring = FrameRing(SHAPE, 8)
    wrong = []

    def draw(thread: int) -> None:
        kept: list[CameraFrame] = []
        for stamp_ns in range(500):
            frame = ring.write("front_wide", stamp_ns, thread, lambda pixels: pixels.fill(thread))
            if frame is not None:
                cycle: list[object] = [frame]
                cycle.append(cycle)  # only the garbage collector frees it, wherever that runs
                kept = [*kept[-1:], frame]
            wrong.extend(frame for frame in kept if (frame.image != thread).any())

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not wrong
    assert ring.free_slots == 8
    ring.close()


def test_another_process_never_reads_a_torn_frame() -> None:
    shape = (64, 64, 3)
    ring = FrameRing(shape, 1)
    program = f"""
import numpy as np
from alpamayo_ros.engine.ring import FrameReader
reader = FrameReader({ring.fd}, {shape}, 1)
print("started", flush=True)
read = 0
while read < 300:
    for stamp_ns in range(251):
        image = reader.read(0, "front_wide", stamp_ns, 0)
        if image is not None:
            assert (image == stamp_ns).all(), (stamp_ns, np.unique(image))
            read += 1
"""
    with subprocess.Popen([sys.executable, "-c", program], pass_fds=(ring.fd,), stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "started\n"
        stamp_ns = 0
        while reader.poll() is None:
            stamp_ns = (stamp_ns + 1) % 251
            written(ring, stamp_ns, stamp_ns)
    assert reader.returncode == 0
    ring.close()


def test_a_closed_ring_claims_nothing_and_held_frames_keep_their_pixels() -> None:
    ring = FrameRing(SHAPE, 3)
    frame = written(ring, 6)
    ring.close()
    ring.close()
    assert ring.write("front_wide", 1, 0, lambda pixels: pixels.fill(1)) is None
    assert (frame.image == 6).all()
    with pytest.raises(InvalidInput, match="closed"):
        _ = ring.fd


def test_a_forgotten_ring_closes_itself() -> None:
    ring = FrameRing(SHAPE, 3)
    link = Path(f"/proc/self/fd/{ring.fd}")
    assert "alpamayo_frames" in str(link.readlink())
    del ring
    assert not link.is_symlink() or "alpamayo_frames" not in str(link.readlink())


@pytest.mark.parametrize(("shape", "slots"), [((8, 6, 3), 0), ((8, 6, 4), 2), ((0, 6, 3), 2)])
def test_impossible_rings_are_refused(shape: tuple[int, int, int], slots: int) -> None:
    with pytest.raises(InvalidInput, match="frame ring"):
        FrameRing(shape, slots)


def test_an_unknown_role_is_refused_and_claims_nothing(ring: FrameRing) -> None:
    with pytest.raises(InvalidInput, match="sideways"):
        ring.write("sideways", 1, 0, lambda pixels: pixels.fill(1))
    assert ring.free_slots == 3
