"""Findings as they are read from the messages that carry them, whichever library has deserialized those."""

from __future__ import annotations

import math
from typing import Any

from alpamayo_ros.safety.contract import Finding, Level


def findings_of(status: Any) -> tuple[Finding, ...]:
    """Every check that the plan of an alpamayo_ros/PlanStatus did not pass, in the order of the message."""
    return tuple(map(_finding, status.findings))


def _finding(result: Any) -> Finding:
    level: Level = "reject" if result.level == result.LEVEL_REJECT else "warn"
    at_s = None if math.isnan(result.at_s) else float(result.at_s)
    named = (result.check, result.name, level, float(result.value), float(result.limit), result.unit, result.source)
    return Finding(*named, at_s=at_s, shadow=bool(result.shadow))
