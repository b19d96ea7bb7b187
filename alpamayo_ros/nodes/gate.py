"""The last look at a trajectory message before it goes out: what breaks an invariant is not published."""

from __future__ import annotations

from alpamayo_ros import msg
from alpamayo_ros.nodes.monitoring import published_of
from alpamayo_ros.safety.invariants import Published, gate_breaches


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
