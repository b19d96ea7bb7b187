"""From what became of a cycle to what is said of it: the same in the node and in the closed loop in process."""

from __future__ import annotations

from collections.abc import Sequence

from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.safety.contract import Now, Output
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.types import Observation


def supervise(cycle: Cycle, supervisor: Supervisor, left_out: tuple[str, ...], now: Now) -> Output:
    """What the supervisor says of a cycle. `left_out`: warnings that no check finds, such as those of `left_out_warnings`."""
    if cycle.plan is None or cycle.observation is None:
        # One problem each: a reason of a status has at most 256 bytes, seven silent cameras say more.
        return supervisor.take_refusal(cycle.t0_ns, tuple(cycle.refused.split("; ")), now)
    return supervisor.take_plan(cycle.plan, cycle.observation.ego_t0, cycle.findings, left_out, now)


def left_out_warnings(roles: Sequence[str], observation: Observation | None) -> tuple[str, ...]:
    """The cameras among `roles` that an observation does without, one warning each; none without an observation."""
    if observation is None:
        return ()
    return tuple(f"{role}: left out, a frame is not within tolerance" for role in roles if role not in observation.frames)
