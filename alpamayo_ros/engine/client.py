"""The engine as the parent uses it: the same contract, while the engine itself runs, and may die, in a process of its own."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import cast, final, get_args

import numpy as np

from alpamayo_ros.engine import wire
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.engine.keeper import Keeper, Limits, State
from alpamayo_ros.engine.loading import bundle_action_space, bundle_folder
from alpamayo_ros.engine.process import EngineProcess
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import CameraFrame, EngineFailure, InvalidInput, ModelOutput, Observation, Request

MODEL_READY_S = 600.0
"""A bundle may hold 22 GB, on a disk that is cold."""


@final
class EngineClient:
    """An engine in a child process (see contract.py). Made ready before the constructor returns.

    `infer` is for one thread at a time; everything else may be called from any thread. Closed by close(), `with`, garbage
    collection or the end of the interpreter, whichever comes first; a killed parent takes its child with it.
    Raises InvalidInput when ring and profile disagree and for a bundle that cannot be opened, EngineFailure with the child's
    words when it does not get ready, which is also where it would refuse one of `requests` whenever it comes.
    """

    def __init__(
        self,
        bundle: str,
        profile: InputProfile,
        ring: FrameRing,
        deadline_ms: float,
        engine_python: str = "",  # another interpreter, with numpy and what the engine needs; empty: this one
        limits: Limits | None = None,
        refused: str = "",  # why what was asked for does not run, where this runs in its place
        requests: Sequence[Request] = (),  # what `infer` will be asked for, but for seeds, where that is known
    ) -> None:
        if ring.image_shape != profile.image_shape:
            raise InvalidInput(f"frame ring of {ring.image_shape} images, profile {profile.name} wants {profile.image_shape}")
        if not deadline_ms > 0:
            raise InvalidInput(f"deadline_ms: want more than 0, got {deadline_ms}")
        self.bundle, self.refused = bundle, refused
        self._ring = ring
        self._deadline_s = deadline_ms / 1e3
        self._ids = count(1)
        self.space = bundle_action_space(bundle)  # what its actions mean
        limits = limits or Limits(ready_timeout_s=MODEL_READY_S if bundle_folder(bundle) else Limits.ready_timeout_s)
        self._keeper = Keeper(lambda: EngineProcess(bundle, ring, engine_python, requests), limits)
        self._close = weakref.finalize(self, self._keeper.close)
        try:
            self._keeper.wait_ready(limits.ready_timeout_s + 1.0)  # the keeper's own limit comes first, with its reason
            self.weights = _known_weights(self._keeper.weights)
        except EngineFailure:
            self.close()
            raise

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def state(self) -> State:
        """starting, ready, busy (with a request), restarting, failed (not started again), closed."""
        return self._keeper.state

    @property
    def alive(self) -> bool:
        """Whether there is an open engine: ready or busy."""
        return self.state in ("ready", "busy")

    @property
    def restarts(self) -> int:
        """How many times the process was started again."""
        return self._keeper.restarts

    @property
    def bad_answers(self) -> int:
        """How many replies were failures, or could not be an answer."""
        return self._keeper.bad_answers

    @property
    def last_bad_answer(self) -> str:
        """What the last of them was; empty when there was none."""
        return self._keeper.last_bad_answer

    @property
    def last_failure(self) -> str:
        """Why the last process ended; empty when none has."""
        return self._keeper.last_failure

    @property
    def pid(self) -> int | None:
        """Process id of the engine, None while there is no process."""
        process = self._keeper.process
        return process.pid if process else None

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for a starting or restarting engine. Raises EngineFailure when it failed or the time is over."""
        self._keeper.wait_ready(timeout_s)

    def add_frame(self, frame: CameraFrame) -> None:
        """Tell the engine of a frame in the ring; any other frame goes with the request. Never waits, never raises."""
        if self._ring.holds(frame):
            self._keeper.tell(wire.hint_packet(frame))

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words, at the latest deadline_ms from now.

        Raises EngineFailure: not ready (at once), died (within milliseconds), hung (at the deadline; the process is
        killed), or answered with a failure or what cannot be an answer. Three such answers within 10 s, and the engine's
        process is killed and started again.
        """
        deadline_s = time.monotonic() + self._deadline_s
        shared = self._in_ring(observation)  # held until the answer is here, or the ring would reuse the slots
        request_id = next(self._ids)
        reply = self._keeper.ask(request_id, wire.infer_packet(request_id, shared, request), deadline_s)
        try:
            return _output(reply, request)
        except EngineFailure as failure:
            self._keeper.count_bad_answer(str(failure))
            raise

    def reset(self, epoch: int) -> None:
        """Tell the engine of the new epoch. Never waits, never raises: frames carry their epoch anyway."""
        self._keeper.tell(wire.encode("reset", {"epoch": epoch}))

    def close(self) -> None:
        """End the process within about a second. Closing twice is allowed."""
        self._close()

    def _in_ring(self, observation: Observation) -> Observation:
        frames = {role: tuple(self._shared(frame) for frame in frames) for role, frames in observation.frames.items()}
        return replace(observation, frames=frames)

    def _shared(self, frame: CameraFrame) -> CameraFrame:
        if self._ring.holds(frame):
            return frame
        if frame.image.shape != self._ring.image_shape:
            raise EngineFailure(f"{frame.role}: image {frame.image.shape}, the engine wants {self._ring.image_shape}")
        shared = self._ring.write(frame.role, frame.stamp_ns, frame.epoch, lambda pixels: np.copyto(pixels, frame.image))
        if shared is None:
            raise EngineFailure(f"{frame.role}: none of the {self._ring.slots} slots of the frame ring is free")
        return shared


def _output(reply: wire.Message, request: Request) -> ModelOutput:
    if reply.kind == "failure":
        raise EngineFailure(reply.fields["text"])
    try:
        output = wire.read_output(reply)
    except InvalidInput as error:
        raise EngineFailure(f"the engine answered what cannot be an answer: {error}") from error
    if len(output.actions) != request.samples:
        raise EngineFailure(f"the engine answered {len(output.actions)} samples where {request.samples} were asked for")
    return output


def _known_weights(weights: str) -> Weights:
    if weights not in get_args(Weights):
        raise EngineFailure(f"the engine says its weights are {weights!r}, want one of {', '.join(get_args(Weights))}")
    return cast(Weights, weights)
