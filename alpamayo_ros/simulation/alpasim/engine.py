"""One engine for all sessions."""

from __future__ import annotations

import threading

from alpamayo_ros.engine.client import MODEL_READY_S, EngineClient
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame, EngineFailure, InvalidInput, Request


class SharedEngine:
    """An engine in a process of its own, asked one thing at a time. One that died or hung is replaced before the next.

    Any thread may call any method. Raises InvalidInput for a bundle that cannot be opened.
    """

    def __init__(self, bundle: str, profile: InputProfile, slots: int, deadline_s: float) -> None:
        self._bundle, self._profile, self._deadline_ms = bundle, profile, deadline_s * 1e3
        self._asking = threading.Lock()
        self.ring = FrameRing(profile.image_shape, slots)
        try:
            self._client = self._open()
        except EngineFailure as error:
            raise InvalidInput(f"bundle {bundle} cannot be opened: {error}") from error

    def add_frame(self, frame: CameraFrame) -> None:
        """See `EngineClient.add_frame`."""
        self._client.add_frame(frame)

    def cycle(self, buffers: Buffers, t0_ns: int, request: Request) -> Cycle:
        """See `run_cycle`; waits for its turn. Raises EngineFailure when no engine can be opened any more."""
        with self._asking:
            if self._client.state == "failed":  # it died so often that nobody starts it again
                self._client.close()
                self._client = self._open()
            self._client.wait_ready(MODEL_READY_S)
            return run_cycle(buffers, t0_ns, self._client, request, self._client.space)

    def forget(self, before_epoch: int) -> None:
        """See `Engine.reset`: nobody asks about earlier epochs any more."""
        self._client.reset(before_epoch)

    def close(self) -> None:
        """End the engine's process and give the memory back."""
        self._client.close()
        self.ring.close()

    def _open(self) -> EngineClient:
        return EngineClient(self._bundle, self._profile, self.ring, self._deadline_ms)
