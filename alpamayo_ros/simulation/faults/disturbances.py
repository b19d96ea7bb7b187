"""What may happen to a message on its way out: each function makes a `Passing`, what becomes of every message.

`sources` are camera roles and "odometry"; everything else passes unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.faults.sending import Sent, image_cdr, stamped
from alpamayo_ros.simulation.faults.vehicle import MS, Passing
from alpamayo_ros.types import F64


def only(sources: Collection[str], change: Passing) -> Passing:
    """`change` for messages of these sources."""
    return lambda sent: change(sent) if sent.source in sources else (sent,)


def dropped(sources: Collection[str], share: float = 1.0, rng: np.random.Generator | None = None) -> Passing:
    """A share of the messages is lost, all of them without `rng`."""
    return only(sources, lambda sent: () if rng is None or rng.random() < share else (sent,))


def every_other(sources: Collection[str], keep_one_of: int = 2) -> Passing:
    """Of each source only every so manyth message comes."""
    seen: dict[str, int] = {}

    def thin(sent: Sent) -> Iterable[Sent]:
        seen[sent.source] = seen.get(sent.source, -1) + 1
        return () if seen[sent.source] % keep_one_of else (sent,)

    return only(sources, thin)


def delayed(sources: Collection[str], delay_ms: float) -> Passing:
    """All messages leave later, stamped as before."""
    return only(sources, lambda sent: (sent.later(round(delay_ms * MS)),))


def jittered(sources: Collection[str], most_ms: float, rng: np.random.Generator) -> Passing:
    """Every message leaves up to so much later: they may overtake each other."""
    return only(sources, lambda sent: (sent.later(round(rng.uniform(0.0, most_ms) * MS)),))


def doubled(sources: Collection[str], other: bytes | None = None) -> Passing:
    """Every message comes twice, the second time with another picture where one is given."""

    def double(sent: Sent) -> Iterable[Sent]:
        again = sent if other is None else replace(sent, cdr=stamped(other, sent.stamp_ns))
        return sent, again.later(MS)

    return only(sources, double)


def restamped(sources: Collection[str], shift_ms: float) -> Passing:
    """Stamps are wrong by so much."""
    return only(sources, lambda sent: (sent.stamped(sent.stamp_ns + round(shift_ms * MS)),))


def stamped_zero(sources: Collection[str]) -> Passing:
    """Nobody filled in the stamp."""
    return only(sources, lambda sent: (sent.stamped(0),))


def frozen(sources: Collection[str]) -> Passing:
    """The content of the first message comes for ever; stamps advance."""
    first: dict[str, bytes] = {}

    def freeze(sent: Sent) -> Iterable[Sent]:
        return (replace(sent, cdr=stamped(first.setdefault(sent.source, sent.cdr), sent.stamp_ns)),)

    return only(sources, freeze)


def pictured(sources: Collection[str], file: bytes, encoding: str = "jpeg") -> Passing:
    """Every picture is this file."""
    cdr = image_cdr(file, encoding=encoding)
    return only(sources, lambda sent: (replace(sent, cdr=stamped(cdr, sent.stamp_ns)),))


def swapped(one: str, other: str) -> Passing:
    """Two cameras have each other's cable: the messages come on the wrong topics."""
    last: dict[str, bytes] = {}

    def swap(sent: Sent) -> Iterable[Sent]:
        last[sent.source] = sent.cdr
        theirs = last.get(other if sent.source == one else one, sent.cdr)
        return (replace(sent, cdr=stamped(theirs, sent.stamp_ns)),)

    return only((one, other), swap)


def truncated(sources: Collection[str], keep: float) -> Passing:
    """Only the first part of the bytes of the message itself comes."""
    return only(sources, lambda sent: (replace(sent, cdr=sent.cdr[: max(4, round(keep * len(sent.cdr)))]),))


POSITION, QUATERNION, POSE, SPEED = slice(0, 3), slice(3, 7), slice(0, 7), slice(43, 44)
"""Of the doubles of an odometry message: pose, 36 of its covariance, twist, 36 of its covariance."""

_DOUBLES = 7 + 36 + 6 + 36


def doubles(place: slice, change: Callable[[F64], F64 | float]) -> Passing:
    """Some numbers of odometry are changed: POSITION, QUATERNION, POSE, SPEED."""

    def spoil(sent: Sent) -> Iterable[Sent]:
        data = bytearray(sent.cdr)
        numbers = np.frombuffer(data, "<f8", _DOUBLES, len(data) - 8 * _DOUBLES)
        numbers[place] = change(numbers[place].copy())
        return (replace(sent, cdr=bytes(data)),)

    return only(("odometry",), spoil)


def held(place: slice) -> Passing:
    """Some numbers of odometry stay what they were in the first message."""
    first: list[F64] = []

    def hold(now: F64) -> F64:
        first.append(now)
        return first[0]

    return doubles(place, hold)


def framed(frame: bytes, other: bytes) -> Passing:
    """Odometry is in another frame; both names have the same length."""
    return only(("odometry",), lambda sent: (replace(sent, cdr=sent.cdr.replace(frame + b"\0", other + b"\0", 1)),))
