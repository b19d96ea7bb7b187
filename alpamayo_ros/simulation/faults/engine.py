"""An engine that misbehaves as it is told: the kinematic baseline, and a file whose words are the order.

The planner opens it by name, `alpamayo_ros.simulation.faults.engine:ToldEngine`; ORDER_FILE names the file.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.types import EngineFailure, ModelOutput, Observation, Request

NAME = f"{__name__}:ToldEngine"
ORDER_FILE = "ALPAMAYO_FAULTS_ORDER"
NO_START = "no start"
"""While this is the order no engine gets ready."""

_JERKS = np.array([[4.0, 4.0], [-4.0, -4.0]], np.float32)
"""To and fro at every step, normalised."""


class ToldEngine(KinematicEngine):
    """See the module. An order is a word and, where it needs one, a number: "slow 0.3"."""

    def __init__(self) -> None:
        super().__init__()
        self._file = Path(os.environ[ORDER_FILE])  # noqa: TID251 - the entry point of an engine's process
        while self._order()[0].startswith("no"):
            time.sleep(0.01)

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """What the order says of it."""
        word, number = self._order()
        if word == "slow":
            time.sleep(number)
        elif word == "hang":
            time.sleep(3600.0)
        elif word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "exit":
            os._exit(3)
        elif word == "raise":
            raise EngineFailure("told to fail")
        elif word == "memory":
            raise MemoryError("told to run out of memory")
        return _told(word, super().infer(observation, request))

    def _order(self) -> tuple[str, float]:
        words = self._file.read_text().split() or ["work"]
        return words[0], float(words[1]) if len(words) > 1 and words[0] == "slow" else 0.0


def _told(word: str, output: ModelOutput) -> ModelOutput:
    """An answer, spoiled as the word says."""
    actions: Mapping[str, float] = {"nan": np.nan, "infinite": np.inf, "wild": 1e3}
    if word in actions:
        spoiled = np.full_like(output.actions, actions[word])
        # A ModelOutput refuses such numbers itself: forged, as broken code would send it.
        return cast("ModelOutput", SimpleNamespace(**{**vars(output), "actions": spoiled}))
    if word == "jerky":
        return replace(output, actions=output.actions + np.resize(_JERKS, output.actions.shape[-2:]))
    if word == "unfinished":
        return replace(output, complete=(False,) * len(output.complete))
    if word == "escape":
        return replace(output, texts=("\x1b]0;owned\x07<script>alert(1)</script>\x1b[2J" * 20,) * len(output.texts))
    return output
