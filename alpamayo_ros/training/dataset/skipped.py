"""What became no example, and why."""

from __future__ import annotations

from collections import Counter

from alpamayo_ros.evaluation.openloop.summary import grouped


class Skipped:
    """Counts by reason, its numbers left out ("#"), and the first one of each in full."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, source: str, reason: str) -> None:
        """One more from a source, whose name may have numbers in it that tell it from others: a topic, a file."""
        said = reason.removeprefix(f"{source}: ")
        group = f"{source}: {grouped(said)}"
        self.counts[group] += 1
        self.first.setdefault(group, f"{source}: {said}")
