"""Work for workers: numbers are doubled, and who did it is written down. Ray's processes import it."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import sleep

from alpamayo_ros.types import InvalidInput

NO_NUMBER, FATAL, FATAL_ONCE, SLOW = -1, -2, -3, 0


def doubling(diary: Path) -> Callable[[int], int]:
    (diary / f"began_{os.getpid()}").touch()
    return partial(doubled, diary)


def doubled(diary: Path, number: int) -> int:
    before = len(list(diary.glob(f"{number}_*")))
    (diary / f"{number}_{before}_{os.getpid()}").touch()
    if number == NO_NUMBER:
        raise InvalidInput("that is no number")
    if number == FATAL or (number == FATAL_ONCE and not before):
        os._exit(1)
    if number == SLOW:
        sleep(1.0)
    return 2 * number


def broken_from_the_beginning() -> Callable[[int], int]:
    raise InvalidInput("no such network")


def wrong(number: int) -> int:
    raise ZeroDivisionError(f"of {number}")
