"""Everything that arrived and may still be used, of one epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from alpamayo_ros.geometry import inverse
from alpamayo_ros.pipeline.frames import FrameBuffer, Ring, ring_slots
from alpamayo_ros.pipeline.poses import PoseBuffer
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.types import F64, CameraFrame, EgoSignals, Navigation

__all__ = ["Buffers", "FrameBuffer", "PoseBuffer", "Transforms", "ring_slots"]


class Transforms:
    """The static transforms of a vehicle (/tf_static)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: dict[str, dict[str, F64]] = {}  # frame -> neighbour -> frame_from_neighbour

    def offer(self, parent: str, child: str, parent_from_child: F64) -> None:
        """Take one transform; a newer one between the same frames replaces the older."""
        with self._lock:
            self._steps.setdefault(parent, {})[child] = parent_from_child
            self._steps.setdefault(child, {})[parent] = inverse(parent_from_child)

    def lookup(self, target: str, source: str) -> F64 | None:
        """target_from_source (4, 4) along the shortest chain, None when the frames are not connected."""
        with self._lock:
            found: dict[str, F64] = {target: np.eye(4)}
            waiting = [target]
            while waiting and source not in found:
                frame = waiting.pop(0)
                for neighbour, step in self._steps.get(frame, {}).items():
                    if neighbour not in found:
                        found[neighbour] = found[frame] @ step
                        waiting.append(neighbour)
            return found.get(source)


class Buffers:
    """Frames, poses and latched inputs. Callbacks fill it, the planning thread reads it; every part locks for itself."""

    def __init__(
        self,
        profile: InputProfile,
        rig: Rig,
        ring: Ring,
        threads: int,
        on_frame: Callable[[CameraFrame], None] | None = None,
    ) -> None:
        rig.check_covers(profile)
        self.profile = profile
        self.rig = rig
        self.frames = FrameBuffer(profile, rig, ring, threads, on_frame)
        self.poses = PoseBuffer(profile)
        self.transforms = Transforms()
        self.navigation: Navigation | None = None
        self.signals: EgoSignals | None = None
        self.epoch = 0

    def new_epoch(self) -> int:
        """The clock or the vehicle jumped: forget everything but the static transforms. Returns the new epoch."""
        self.epoch += 1
        self.frames.clear(self.epoch)
        self.poses.clear()
        self.navigation = None
        self.signals = None
        return self.epoch

    def close(self) -> None:
        """End the decode threads."""
        self.frames.close()
