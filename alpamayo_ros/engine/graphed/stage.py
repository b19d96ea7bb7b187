"""A stage of the pipeline on memory that stays where it is: recorded once on a GPU, and replayed with a single launch.

What goes in is copied into tensors that live as long as the stage, and what comes out is read before the next call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")

WARM_UPS = 3
"""Calls before recording, in which libraries choose their kernels and take their workspaces (PyTorch, CUDA graphs)."""


@cache
def _first() -> torch.cuda.CUDAGraph:
    """Records next to nothing, and holds the memory that all stages share, whatever engines are closed meanwhile.

    They never run at the same time, and what comes out of one is held until the next."""
    first = torch.cuda.CUDAGraph()
    with torch.cuda.graph(first):
        torch.zeros(1, device="cuda")
    return first


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """Where stages warm up: one stream, for libraries keep a workspace for every stream that they see. It is not the one that
    records, whose workspace belongs to what is recorded."""
    return torch.cuda.Stream(device)


class Stage(Generic[Result]):
    """A function of tensors that always are the same ones; it must not wait for the device, nor ask it anything."""

    def __init__(self, run: Callable[[], Result], device: torch.device) -> None:
        self._run = run
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._record(device)

    def __call__(self) -> Result:
        """Run it, on the device's current stream."""
        if self._graph is None:
            return self._run()
        self._graph.replay()
        return self._result

    def _record(self, device: torch.device) -> None:
        aside = _aside(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._run()
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=_first().pool()):
            self._result = self._run()
        del self._run  # it holds the pass that holds this stage: memory would wait for a collection of the garbage
