"""Engines of our own for the tests, opened by name in the engine's process: honest, broken and misbehaving ones."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from alpamayo_ros.engine import wire
from alpamayo_ros.types import HORIZON, CameraFrame, EngineFailure, InvalidInput, ModelOutput, Observation, Request


def answer(samples: int, text: str) -> ModelOutput:
    """Actions that the text decides."""
    actions = np.random.default_rng(zlib.crc32(text.encode())).normal(size=(samples, HORIZON, 2))
    return ModelOutput(actions.astype(np.float32), (text,), (len(text),), (True,))


class FeatureCache:
    """Looks at every pixel, at a hint already where there was one."""

    weights = "untrained"

    def __init__(self) -> None:
        self._features: dict[object, int] = {}

    def key(self, frame: CameraFrame) -> object:
        return (frame.role, frame.stamp_ns, frame.epoch)

    def add_frame(self, frame: CameraFrame) -> None:
        self._features[self.key(frame)] = zlib.crc32(frame.image.tobytes())

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        frames = [frame for frames in observation.frames.values() for frame in frames]
        for frame in frames:
            if self.key(frame) not in self._features:
                self.add_frame(frame)
        return answer(request.samples, f"{[self._features[self.key(frame)] for frame in frames]} {request}")

    def reset(self, epoch: int) -> None:
        self._features.clear()

    def close(self) -> None:
        self._features.clear()


class CacheWithoutStamp(FeatureCache):
    """Broken on purpose: takes an older picture of the same camera for the one asked about."""

    def key(self, frame: CameraFrame) -> object:
        return (frame.role, frame.epoch)


class CacheWithoutEpoch(FeatureCache):
    """Broken on purpose: takes a picture from before a clock jump for the one asked about."""

    def key(self, frame: CameraFrame) -> object:
        return (frame.role, frame.stamp_ns)


def slow_to_open() -> FeatureCache:
    time.sleep(60)
    return FeatureCache()


def dies_opening() -> FeatureCache:
    raise ValueError("no such weights")


class Puppet(FeatureCache):
    """Does what the navigation's road name says, pauses at a hint whose stamp is 0, and fails at one whose stamp is 2."""

    def add_frame(self, frame: CameraFrame) -> None:
        if frame.stamp_ns == 0:
            time.sleep(60)
        if frame.stamp_ns == 2:
            raise EngineFailure("out of memory for a hint")

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        doing = observation.navigation.road_name if observation.navigation else ""
        text = getattr(self, doing)(request) if doing else f"{observation.stamp_ns} {observation.pixels_crc32}"
        return text if not isinstance(text, str) else answer(request.samples, text)

    def hang(self, request: Request) -> str:
        time.sleep(60)
        return "too late"

    def hang_with_gil(self, request: Request) -> str:
        ctypes.PyDLL(None).sleep(60)
        return "too late"

    def late(self, request: Request) -> str:
        time.sleep(0.5)
        return "late"

    def late_with_gil(self, request: Request) -> str:
        ctypes.PyDLL(None).usleep(500_000)
        return "late"

    def crash(self, request: Request) -> str:
        os._exit(3)

    def bug(self, request: Request) -> str:
        raise ZeroDivisionError("a bug in the engine")

    def refuse_politely(self, request: Request) -> str:
        return "no"

    def refuse(self, request: Request) -> str:
        raise EngineFailure("out of luck")

    def out_of_memory(self, request: Request) -> str:
        raise EngineFailure(f"out of memory for {request.samples} samples: tried to allocate 2 GiB")

    def memory(self, request: Request) -> str:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
        return str(len(bytearray(1 << 31)))

    def chatter(self, request: Request) -> str:
        for _ in range(20):
            print("x" * 100_000, flush=True)
        return "done"

    def paint(self, request: Request) -> str:
        print("\x1b]0;owned\x07\x1b[31mred\u202e\rgone", flush=True)
        os._exit(3)

    def modules(self, request: Request) -> str:
        return " ".join(sorted({name.split(".")[0] for name in sys.modules}))

    def interpreter(self, request: Request) -> str:
        return json.dumps([sys.prefix, np.__file__, wire.__file__])

    def helper(self, request: Request) -> str:
        return str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid)

    def not_finite(self, request: Request) -> object:
        return self._forged(np.full((request.samples, HORIZON, 2), np.nan, np.float32))

    def too_short(self, request: Request) -> object:
        return self._forged(np.zeros((request.samples, HORIZON - 1, 2), np.float32))

    def another_sample(self, request: Request) -> str:
        return answer(request.samples + 1, "one too many")

    def wordless(self, request: Request) -> object:
        return self._forged(np.zeros((request.samples, HORIZON, 2), np.float32), texts=(1, None))

    def junk(self, request: Request) -> str:
        return self._sent(b"junk" * 10)

    def wrong_id(self, request: Request) -> str:
        return self._sent(wire.output_packet(10**6, answer(1, "for somebody else")))

    def _forged(self, actions: np.ndarray, texts: tuple[object, ...] = ("",)) -> object:
        n = len(texts)
        return SimpleNamespace(actions=actions, texts=texts, tokens=(0,) * n, complete=(True,) * n, meta_actions=())

    def _sent(self, packet: bytes) -> str:
        with socket.socket(fileno=os.dup(json.loads(sys.argv[-1])[1])) as parent:
            parent.send(packet)
        time.sleep(60)
        return "too late"


class SlowToOpen(Puppet):
    """Takes its time until it is ready, as a large network does."""

    def __init__(self) -> None:
        super().__init__()
        time.sleep(1.0)


class Picky(Puppet):
    """Knows before anybody drives what it will be asked for, and takes four samples at most."""

    def prepare(self, requests: Sequence[Request]) -> None:
        self.asked = requests
        if any(request.samples > 4 for request in requests):
            raise InvalidInput("this engine takes 4 samples at most")

    def told(self, _: Request) -> str:
        return str([(request.samples, request.reasoning, request.greedy) for request in self.asked])


def with_a_failing_network() -> object:
    """A bundle's fast engine, whose network does what the seed says: 1 loses its device, 2 knows no numbers, 3 finds no end."""
    import torch  # the other engines here want numpy alone
    from model.nano import BUNDLE

    from alpamayo_ros.engine.graphed.engine import GraphedEngine

    class Failing(GraphedEngine):
        def infer(self, observation: Observation, request: Request) -> ModelOutput:
            head = self.model.vlm.lm_head.weight.detach()
            whole, begin = head.clone(), self._network.begin

            def lost(*_: object) -> torch.Tensor:
                raise torch.AcceleratorError("CUDA error: unspecified launch failure")

            if request.seed == 1:
                self._network.begin = lost  # type: ignore[method-assign]
            if request.seed == 2:
                head[7, 0] = float("nan")
            if request.seed == 3:
                head[[self._tokenizer.id("<|traj_future_start|>"), self._config.eos_token_id]] = 0.0
            try:
                return super().infer(observation, request)
            finally:
                head.copy_(whole)
                self._network.begin = begin  # type: ignore[method-assign]

    return Failing(BUNDLE)


class Driver(Puppet):
    """A puppet that keeps its speed and goes straight on, where it is not told to do anything wrong."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        output = super().infer(observation, request)
        if (observation.navigation and observation.navigation.road_name) or not isinstance(output, ModelOutput):
            return output
        return replace(output, actions=np.full_like(output.actions, 0.01))  # all zero is how a dead network looks

    def nonsense(self, request: Request) -> object:
        """Finite, and impossible: 30 standard deviations of acceleration, to and fro."""
        to_and_fro = np.where(np.arange(HORIZON) % 2, 30.0, -30.0)[None, :, None]
        actions = np.broadcast_to(to_and_fro, (request.samples, HORIZON, 2)).astype(np.float32)
        return ModelOutput(actions, ("full speed ahead",), (3,), (True,))
