"""Labels made by hand, that pass every check unless a test changes them."""

from collections.abc import Sequence

import numpy as np

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.training.coc.schema import Chain, Choice, Component, Record, Source, TrafficLight
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import HORIZON, EgoHistory, EgoPose, MetaAction, Observation

RED_LIGHT = TrafficLight(description="the traffic light", seen_s=-0.4, colour="red")
STOPPING = (
    MetaAction("longitudinal", "gentle_decelerate", 0.0, 3.0),
    MetaAction("longitudinal", "stop", 3.0, 6.4),
    MetaAction("lateral", "go_straight", 0.0, 6.4),
)
CRUISING = (MetaAction("longitudinal", "maintain_speed", 0.0, 6.4), MetaAction("lateral", "go_straight", 0.0, 6.4))


def chain(
    trace: str = "Stop and keep lane since the traffic light is red.",
    components: Sequence[Component] = (RED_LIGHT,),
    choice: Choice | None = None,
) -> Chain:
    stop = Choice(longitudinal="stop_for_static_constraints", lateral="lane_keeping")
    return Chain(choice=choice or stop, components=tuple(components), trace=trace)


def record(said: Chain | None = None, clip: str = "drive", t0_ns: int = 7) -> Record:
    return Record(clip=clip, t0_ns=t0_ns, chain=said or chain(), labeler=Source(name="hand", version="1"))


def example(t0_ns: int, meta_actions: Sequence[MetaAction], clip: str = "drive") -> Example:
    """Without a picture, at 10 m/s; its meta-actions need not be those of its future."""
    ahead, still, upright = np.array([10.0, 0.0, 0.0]), np.zeros(3), np.eye(3)
    history = EgoHistory(t0_ns, np.array([-0.1 * ahead, still], np.float32), np.array([upright, upright], np.float32))
    observation = Observation(t0_ns, 0, {}, history, EgoPose(t0_ns, still, upright, ahead, still))
    return Example(clip, observation, trajectory(np.zeros(HORIZON), np.zeros(HORIZON), 10.0), tuple(meta_actions))
