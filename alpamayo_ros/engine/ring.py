"""Camera frames in shared memory: drawn once by the parent, copied out by the engine's process, never sent over a socket.

Layout: one header of four int64 per slot (sequence, stamp_ns, role index, epoch), then the images. The sequence is odd
while the slot is being written, so a reader sees that it read a torn or another frame (a sequence lock). Python has no
memory barriers: thousands of instructions lie between header and pixels, and every message that names a slot goes
through the kernel, after the pixels.

The memory is an anonymous file (memfd): it has no name to unlink and to leave behind, is not limited by the size of
/dev/shm (64 MB in a container), and is gone with the last process that has it open, also after kill -9.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from math import prod

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import U8, CameraFrame, InvalidInput, role_index

ImageShape = tuple[int, int, int]

_HEADER = 4  # int64 per slot


def _pixels_offset(slots: int) -> int:
    header_bytes = slots * _HEADER * 8
    return -(-header_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _size(image_shape: ImageShape, slots: int) -> int:
    return _pixels_offset(slots) + slots * prod(image_shape)


def _headers(memory: mmap.mmap, slots: int) -> NDArray[np.int64]:
    return np.frombuffer(memory, np.int64, slots * _HEADER).reshape(slots, _HEADER)


def _pixels(memory: mmap.mmap, image_shape: ImageShape, slots: int, slot: int) -> U8:
    """Pixels of one slot (H, W, 3): views of this array all keep its base, one flat array per call, alive."""
    size = prod(image_shape)
    return np.frombuffer(memory, np.uint8, size, _pixels_offset(slots) + slot * size).reshape(image_shape)


class FrameRing:
    """The parent's side: claims slots, draws frames, and takes a slot back when nothing looks at its pixels any more.

    Threads may write at the same time. Raises InvalidInput for an impossible size, OSError when there is no memory.
    """

    def __init__(self, image_shape: ImageShape, slots: int) -> None:
        if slots < 1 or len(image_shape) != 3 or image_shape[2] != 3 or min(image_shape) < 1:
            raise InvalidInput(f"frame ring: want slots >= 1 and an image shape (H, W, 3), got {slots} and {image_shape}")
        self.image_shape = image_shape
        self.slots = slots
        self._fd = os.memfd_create("alpamayo_frames")
        self._close_fd = weakref.finalize(self, os.close, self._fd)
        size = _size(image_shape, slots)
        os.posix_fallocate(self._fd, 0, size)  # too little memory is an error now, not a SIGBUS while driving
        self._memory = mmap.mmap(self._fd, size)
        self._headers = _headers(self._memory, slots)
        # append and popleft are atomic: finalizers may run in any thread at any instruction, where a lock could deadlock
        self._free = deque(range(slots))

    @property
    def fd(self) -> int:
        """File descriptor of the memory, for a reader's process to inherit. Raises InvalidInput when closed."""
        if not self._close_fd.alive:
            raise InvalidInput("the frame ring is closed")
        return self._fd

    @property
    def free_slots(self) -> int:
        """How many slots a write can claim now."""
        return len(self._free)

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        """Claim a slot, let `fill` draw into its pixels (H, W, 3), and return the frame; None when no slot is free.

        The slot is free again when the frame and every other view of its pixels are garbage. Whatever `fill` raises
        passes through and gives the slot back.
        """
        key = (stamp_ns, role_index(role), epoch)
        try:
            slot = self._free.popleft()
        except IndexError:
            return None
        pixels = _pixels(self._memory, self.image_shape, self.slots, slot)
        give_back = weakref.finalize(pixels.base, self._free.append, slot)
        give_back.atexit = False
        with ExitStack() as on_error:
            on_error.callback(give_back)
            header = self._headers[slot]
            header[0] = (header[0] + 1) | 1  # odd, also after a fill that raised
            header[1:] = key
            fill(pixels)
            header[0] += 1
            frame = CameraFrame(role, stamp_ns, epoch, pixels, slot)
            on_error.pop_all()
        return frame

    def holds(self, frame: CameraFrame) -> bool:
        """Whether this frame's pixels are those of its slot in this ring, as a reader would find them."""
        if frame.slot is None or not 0 <= frame.slot < self.slots or frame.image.shape != self.image_shape:
            return False
        sequence, *key = self._headers[frame.slot].tolist()
        if sequence % 2 or key != [frame.stamp_ns, role_index(frame.role), frame.epoch]:
            return False
        return np.may_share_memory(_pixels(self._memory, self.image_shape, self.slots, frame.slot), frame.image)

    def close(self) -> None:
        """Claim no more slots and start no more readers; frames that are still held keep their pixels."""
        self._free = deque()  # finalizers return their slots to the old one
        self._close_fd()


class FrameReader:
    """The engine process's side of a ring, from its inherited file descriptor."""

    def __init__(self, fd: int, image_shape: ImageShape, slots: int) -> None:
        self._image_shape = image_shape
        self._slots = slots
        self._memory = mmap.mmap(fd, _size(image_shape, slots), prot=mmap.PROT_READ)
        self._headers = _headers(self._memory, slots)

    def read(self, slot: int, role: str, stamp_ns: int, epoch: int) -> U8 | None:
        """A private copy (H, W, 3) of a frame's pixels, or None when the slot holds something else now."""
        header = self._headers[slot]
        sequence, *key = header.tolist()
        if sequence % 2 or key != [stamp_ns, role_index(role), epoch]:
            return None
        pixels = _pixels(self._memory, self._image_shape, self._slots, slot).copy()
        return pixels if header[0] == sequence else None
