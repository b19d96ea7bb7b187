"""The engine contract's law as a test that any engine can be put through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import product

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.types import ModelOutput, Observation, Request

REQUESTS = (
    Request(max_tokens=40),
    Request(samples=3, reasoning="none", seed=1),
    Request(samples=3, greedy=False, seed=2, max_tokens=20, steps=1),  # several texts at once
)


def check_hints_never_matter(
    open_engine: Callable[[], Engine], observations: Sequence[Observation], examples: int = 30
) -> None:
    """Hints dropped, repeated and reordered, resets, and other requests before: every output stays the same bit by bit.

    `open_engine` is called for every example, and once for each observation and request to learn the expected output.
    Observations should share frames, and have equal stamps in different epochs. Raises AssertionError.
    """
    questions = list(product(observations, REQUESTS))
    frames = [frame for seen in observations for frames in seen.frames.values() for frame in frames]
    expected = []
    for observation, request in questions:
        with closing(open_engine()) as engine:
            expected.append(_bits(engine.infer(observation, request)))

    hints = st.tuples(st.just("hint"), st.integers(0, len(frames) - 1)) if frames else st.nothing()
    resets = st.tuples(st.just("reset"), st.sampled_from(sorted({seen.epoch for seen in observations})))
    asks = st.tuples(st.just("ask"), st.integers(0, len(questions) - 1))

    # A failing story is told as it was found: to make it shorter takes minutes where networks answer.
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.lists(hints | resets | asks, max_size=20), asks)
    def outputs_depend_on_observation_and_request_only(before: list[tuple[str, int]], last: tuple[str, int]) -> None:
        with closing(open_engine()) as engine:
            for what, which in [*before, last]:
                if what == "hint":
                    engine.add_frame(frames[which])
                elif what == "reset":
                    engine.reset(which)
                else:
                    assert _bits(engine.infer(*questions[which])) == expected[which]

    outputs_depend_on_observation_and_request_only()


def _bits(output: ModelOutput) -> tuple[object, ...]:
    return (output.actions.shape, output.actions.tobytes(), output.texts, output.tokens, output.complete)
