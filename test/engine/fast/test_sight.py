"""Frames are looked at once, together, and no later than somebody asks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.engine.fast.sight import Sight
from alpamayo_ros.types import U8, CameraFrame


class Eyes:
    """Looks: the first pixel is the feature; at how many frames it was looked each time."""

    def __init__(self) -> None:
        self.looks: list[list[int]] = []

    def __call__(self, images: Sequence[U8]) -> tuple[Tensor, tuple[Tensor, ...]]:
        pixels = [int(image[0, 0, 0]) for image in images]
        self.looks.append(pixels)
        return torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 1), ()


def frame(number: int, epoch: int = 0) -> CameraFrame:
    return CameraFrame("front_wide", number, epoch, np.full((2, 2, 3), number, np.uint8))


def told(sight: Sight, *frames: CameraFrame) -> list[int]:
    return [int(features.tokens.item()) for features in sight.features(frames)]


def test_expected_frames_wait_until_a_batch_is_full() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=3, span_ns=100, most=10)
    for number in (1, 2):
        sight.expect(frame(number))
    assert eyes.looks == []
    sight.expect(frame(3))
    assert eyes.looks == [[1, 2, 3]]
    assert told(sight, frame(2), frame(1)) == [2, 1]
    assert len(eyes.looks) == 1, "nothing is looked at twice"


def test_what_is_asked_for_comes_first_and_takes_along_what_waits() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=3, span_ns=100, most=10)
    for number in (1, 2):
        sight.expect(frame(number))
    assert told(sight, frame(2), frame(7)) == [2, 7]
    assert eyes.looks == [[2, 7, 1]]
    assert told(sight, frame(1)) == [1]
    assert len(eyes.looks) == 1


def test_a_frame_that_comes_twice_is_one() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=2, span_ns=100, most=10)
    for number in (1, 1, 1):
        sight.expect(frame(number))
    assert eyes.looks == []
    sight.expect(frame(2))
    sight.expect(frame(1))
    assert eyes.looks == [[1, 2]]


def test_what_waits_is_forgotten_with_its_epoch() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=2, span_ns=100, most=10)
    sight.expect(frame(1, epoch=0))
    sight.forget(epoch=1)
    sight.expect(frame(2, epoch=1))
    assert eyes.looks == []
    sight.expect(frame(3, epoch=1))
    assert eyes.looks == [[2, 3]]


def test_no_more_is_kept_than_may_be() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=1, span_ns=100, most=2)
    for number in (1, 2, 3):
        sight.expect(frame(number))
    told(sight, frame(3), frame(2))
    assert eyes.looks == [[1], [2], [3]]
    told(sight, frame(1))
    assert eyes.looks[-1] == [1]


def test_what_is_older_than_the_span_is_forgotten_and_what_is_not_is_kept() -> None:
    """Ten frames a second are kept as long as an observation may ask for them, whatever came in between."""
    eyes = Eyes()
    sight = Sight(eyes, batch=1, span_ns=20, most=1000)
    for number in range(50):
        sight.expect(frame(number))
    told(sight, *(frame(number) for number in range(29, 50, 5)))
    assert len(eyes.looks) == 50, "all five were there"
    told(sight, frame(28))
    assert eyes.looks[-1] == [28]


def test_a_new_epoch_pushes_out_the_one_before_whatever_its_stamps() -> None:
    eyes = Eyes()
    sight = Sight(eyes, batch=1, span_ns=20, most=1000)
    sight.expect(frame(200, epoch=0))
    sight.expect(frame(5, epoch=1))
    told(sight, frame(5, epoch=1))
    assert eyes.looks == [[200], [5]]
    told(sight, frame(200, epoch=0))
    assert eyes.looks[-1] == [200]
