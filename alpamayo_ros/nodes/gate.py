"""The last look at a trajectory before it goes out: what breaks an invariant, or has grown too old, is not published."""

from __future__ import annotations

from alpamayo_ros import msg
from alpamayo_ros.nodes.monitoring import published_of
from alpamayo_ros.safety.contract import Output, Timing
from alpamayo_ros.safety.invariants import STEP_NS, Published, gate_breaches


class Gate:
    """Knows the last trajectory that went through, on either set of topics."""

    def __init__(self) -> None:
        self._last: Published | None = None

    def breaches(self, message: msg.UnicycleTrajectory) -> tuple[str, ...]:
        """Why the message must not go out; empty: it goes, and is the last one from now on."""
        now = published_of(message)
        found = gate_breaches(now, self._last)
        if not found:
            self._last = now
        return found


def outdated(output: Output, ros_ns: int, epoch: int, timing: Timing) -> str:
    """Why a trajectory must not go out any more, by the time and the epoch that it is now; empty: it may.

    It was right when it was judged. A machine that stalls between that and the publication makes it older meanwhile. A stop,
    which is made again from every new pose, leaves half of its limit to what may still stall between here and the wire.
    """
    if output.trajectory is None:
        return ""
    if output.epoch != epoch:
        return f"I9: a {output.source} of epoch {output.epoch}, and epoch {epoch} has begun"
    age_ns = ros_ns - output.stamp_ns
    limit_ns = timing.odometry_silence_ns // 2 if output.source == "stop" else timing.max_age_ns
    if age_ns > limit_ns:
        return f"I3: a {output.source} is {_ms(age_ns)} old, limit {_ms(limit_ns)}"
    behind_ns = age_ns - round(output.trajectory.t_s[0] * 1e9)
    if output.source == "hold" and behind_ns > STEP_NS:
        return f"I5: the first point of a hold was {_ms(behind_ns)} ago, limit {_ms(STEP_NS)}"
    return ""


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.0f} ms"
