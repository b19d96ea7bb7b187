"""A file that is appended to from a thread of its own, so that who records does not wait for the disk."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

BACKLOG_BYTES = 256 * 2**20
"""What may wait for a slow disk; after that `append` waits: 8 s of seven JPEG cameras, 0.6 s of seven raw ones."""

_PARTS = 1000  # one writev takes at most IOV_MAX = 1024


class Disk:
    """A new file. Blocks reach it whole, in order, or not at all: after a failure nothing more is written."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, FileExistsError among them."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        _sync_folder(path.parent)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._pending: deque[Future[None]] = deque()
        self._failed = False
        self.waited_s = 0.0  # for a disk that was slower than what came
        self.size = 0  # bytes handed over
        self.written = 0  # bytes of whole blocks that the kernel has: a killed process loses none of them

    def append(self, make: Callable[[], Sequence[bytes]], size: int) -> None:
        """Hand over a block of `size` bytes; the thread makes it. Raises OSError: an earlier block could not be written."""
        started_s = time.monotonic()
        while self._pending and (self._pending[0].done() or self.size - self.written > BACKLOG_BYTES):
            self._pending.popleft().result()
        self.waited_s += time.monotonic() - started_s
        self._pending.append(self._thread.submit(self._write_block, make))
        self.size += size

    def sync(self) -> None:
        """Have what was handed over survive a power cut; does not wait, raises nothing: the next `append` does."""
        self._pending.append(self._thread.submit(self._sync))

    def settle(self) -> OSError | None:
        """Wait for everything handed over and cut off a block that was not written whole; what stopped the thread."""
        wait(self._pending)
        failures = [error for future in self._pending if isinstance(error := future.exception(), OSError)]
        self._pending.clear()
        self.truncate(self.written)
        return failures[0] if failures else None

    def write(self, block: bytes) -> None:
        """Append to a settled file and wait until it is on disk. Raises OSError."""
        self._write([block])
        os.fsync(self._fd)
        self.size = self.written = self.written + len(block)

    def truncate(self, size: int) -> None:
        """Make a settled file shorter."""
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        self.size = self.written = size

    def close(self) -> None:
        """Close a settled file."""
        self._thread.shutdown()
        os.close(self._fd)

    def _write_block(self, make: Callable[[], Sequence[bytes]]) -> None:
        if self._failed:
            return
        parts = make()
        try:
            self._write(parts)
        except OSError:
            self._failed = True
            raise
        self.written += sum(map(len, parts))

    def _sync(self) -> None:
        if not self._failed:
            os.fdatasync(self._fd)

    def _write(self, parts: Sequence[bytes]) -> None:
        for first in range(0, len(parts), _PARTS):
            some = parts[first : first + _PARTS]
            done = os.writev(self._fd, some)
            rest = b"" if done == sum(map(len, some)) else memoryview(b"".join(some))[done:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def _sync_folder(path: Path) -> None:
    """A file survives a power cut only when its folder's entry is on disk too."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
