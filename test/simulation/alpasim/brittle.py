"""An engine for the tests whose plan depends on everything that it is shown, and that cannot bear turns."""

import os

from simulation.closed_loop.attentive import Attentive

from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Observation, Request


class Brittle(Attentive):
    """Crashes when told to turn left, refuses to turn right, and goes on otherwise.

    Frames that it has been shown before must be the same ones: sessions of one scene have the same stamps.
    """

    def add_frame(self, frame: CameraFrame) -> None:
        self._features[self.key(frame)] = frame.crc32

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        maneuver = observation.navigation.maneuver if observation.navigation else ""
        if maneuver == "turn_left":
            os._exit(3)
        if maneuver == "turn_right":
            raise EngineFailure("no right turns today")
        for frame in (frame for frames in observation.frames.values() for frame in frames):
            if self._features.setdefault(self.key(frame), frame.crc32) != frame.crc32:
                raise EngineFailure(f"another {self.key(frame)} was shown before")
        return super().infer(observation, request)
