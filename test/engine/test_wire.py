"""Messages between parent and child: what is sent is what arrives, and nothing else is taken for a message."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from engine.observations import observation, picture, rotations
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alpamayo_ros.engine import wire
from alpamayo_ros.types import (
    HORIZON,
    ROLES,
    U8,
    CameraFrame,
    EgoHistory,
    EgoPose,
    EgoSignals,
    EngineFailure,
    InvalidInput,
    ModelOutput,
    Navigation,
    Observation,
    Request,
    TurnIndicator,
)

SOME = settings(max_examples=50, deadline=None)

finite = st.floats(allow_nan=False, allow_infinity=False)
stamps = st.integers(0, 2**62)
seeds = st.integers(0, 2**32)


@st.composite
def ego_signals(draw: st.DrawFn, steps: int) -> EgoSignals | None:
    """Any of the signals, or none."""
    array = st.none() | hnp.arrays(np.float32, steps, elements=st.floats(allow_nan=False, allow_infinity=False, width=32))
    indicator = st.sampled_from(get_args(TurnIndicator))
    fields = (
        draw(array),
        draw(array),
        draw(array),
        draw(st.none() | st.lists(indicator, min_size=steps, max_size=steps).map(tuple)),
    )
    return None if all(field is None for field in fields) else EgoSignals(*fields)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    stamp_ns, epoch, rng = draw(stamps), draw(st.integers(0, 1000)), np.random.default_rng(draw(seeds))
    steps = draw(st.integers(2, 30))
    rot = rotations(np.append(rng.normal(size=steps - 1), 0.0)).astype(np.float32)
    roles = draw(st.lists(st.sampled_from(ROLES), unique=True))
    frames = {
        role: tuple(CameraFrame(role, stamp, epoch, picture(role, stamp, epoch), slot) for slot, stamp in enumerate(times))
        for role in roles
        for times in [draw(st.lists(stamps, max_size=3))]
    }
    return Observation(
        stamp_ns,
        epoch,
        frames,
        EgoHistory(stamp_ns, np.append(rng.normal(size=(steps - 1, 3)), np.zeros((1, 3)), 0).astype(np.float32), rot),
        EgoPose(stamp_ns, rng.normal(size=3), rotations(rng.normal(size=1))[0], rng.normal(size=3), rng.normal(size=3)),
        draw(st.none() | st.builds(Navigation, st.just("turn_left"), finite, st.text(max_size=64), stamps)),
        draw(ego_signals(steps)),
        {role: tuple(draw(st.lists(finite, max_size=3))) for role in roles},
        draw(finite),
    )


requests = st.builds(
    Request,
    samples=st.integers(1, 64),
    reasoning=st.sampled_from(["none", "full"]),
    greedy=st.booleans(),
    temperature=st.floats(1e-3, 10),
    seed=st.integers(0, 2**63 - 1),
)
actions = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.just(HORIZON), st.just(2)), elements=st.floats(-10, 10, width=32)
)


def pixels_of(slot: int, role: str, stamp_ns: int, epoch: int) -> U8:
    return picture(role, stamp_ns, epoch)


EMPTY = SimpleNamespace()


def bytes_of(signal: np.ndarray | tuple[str, ...] | None) -> object:
    return signal.tobytes() if isinstance(signal, np.ndarray) else signal


def values_of(observation: Observation) -> list[object]:
    history, ego = observation.history, observation.ego_t0
    arrays = [history.xyz, history.rot, ego.position, ego.odom_from_ego, ego.velocity_mps, ego.angular_rps]
    frames = [(f.role, f.stamp_ns, f.epoch, f.crc32) for frames in observation.frames.values() for f in frames]
    return [
        (observation.stamp_ns, observation.epoch, list(observation.frames), frames),
        [(array.dtype, array.shape, array.tobytes()) for array in arrays],
        [(name, getattr(value, "dtype", None), bytes_of(value)) for name, value in vars(observation.signals or EMPTY).items()],
        (observation.navigation, dict(observation.sync_error_ms), observation.odometry_extrapolated_ms),
    ]


@SOME
@given(observations(), requests, st.integers(1, 2**40))
def test_an_observation_and_a_request_arrive_bit_by_bit(sent: Observation, request: Request, request_id: int) -> None:
    message = wire.decode(wire.infer_packet(request_id, sent, request))
    arrived, asked = wire.read_infer(message, pixels_of)
    assert message.fields["id"] == request_id
    assert asked == request
    assert values_of(arrived) == values_of(sent)


@SOME
@given(actions, st.text(max_size=300), st.integers(0, 10**6), st.booleans())
def test_an_output_arrives_bit_by_bit(actions: np.ndarray, text: str, tokens: int, complete: bool) -> None:
    sent = ModelOutput(actions, (text,), (tokens,), (complete,), (text[::-1],))
    arrived = wire.read_output(wire.decode(wire.output_packet(1, sent)))
    assert (arrived.texts, arrived.tokens, arrived.complete) == ((text,), (tokens,), (complete,))
    assert arrived.meta_actions == (text[::-1],)
    assert arrived.actions.tobytes() == sent.actions.tobytes()


@SOME
@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused(packet: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a message"):
        wire.decode(packet)


@SOME
@given(st.data())
def test_a_torn_packet_is_refused(data: st.DataObject) -> None:
    packet = wire.infer_packet(1, observation(), Request())
    cut = data.draw(st.integers(0, len(packet) - 1))
    with pytest.raises(InvalidInput, match="not a message"):
        wire.decode(packet[:cut])
    with pytest.raises(InvalidInput, match="not a message"):
        wire.decode(packet + packet[:cut] + b"x")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ready", {}),
        ("ready", {"weights": 1}),
        ("heartbeat", {"busy_ms": True}),
        ("close", {"now": 1}),
        ("reset", {"epoch": "1"}),
    ],
)
def test_a_message_with_other_fields_is_refused(kind: str, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="not a message"):
        wire.decode(wire.encode(kind, fields))


@pytest.mark.parametrize("shape", [[10**30], [2**62, 2], [0, 10**30]])
def test_an_array_of_a_size_that_no_machine_has_is_no_message(shape: list[int]) -> None:
    header = json.dumps(["heartbeat", {"busy_ms": 0}, [["actions", "<f4", shape]]]).encode()
    with pytest.raises(InvalidInput, match="not a message"):
        wire.decode(struct.pack("<4sI", b"ALP1", len(header)) + header)


@pytest.mark.parametrize(("tokens", "is_told"), [(-1, False), (0, True), (2**32 - 1, True), (2**32, False), (10**30, False)])
def test_a_count_of_tokens_fits_into_its_message(tokens: int, is_told: bool) -> None:
    sent = ModelOutput(np.zeros((1, HORIZON, 2), np.float32), ("",), (tokens,), (True,))
    message = wire.decode(wire.output_packet(1, sent))
    if is_told:
        assert wire.read_output(message).tokens == (tokens,)
    else:
        with pytest.raises(InvalidInput, match="token counts"):
            wire.read_output(message)


def test_the_largest_output_fits_and_a_larger_packet_is_refused_when_it_is_made() -> None:
    texts = tuple("x" * 2000 for _ in range(64))
    output = ModelOutput(np.zeros((64, HORIZON, 2), np.float32), texts, (256,) * 64, (True,) * 64)
    assert wire.read_output(wire.decode(wire.output_packet(1, output))).texts == texts
    with pytest.raises(InvalidInput, match=r"\d+ bytes do not fit"):
        wire.encode("failure", {"id": 1, "text": "x" * wire.MAX_BYTES})


def test_a_frame_that_is_gone_is_a_failure_and_never_another_picture() -> None:
    message = wire.decode(wire.infer_packet(1, observation(), Request()))
    with pytest.raises(EngineFailure, match="no longer holds the front_wide frame at 8000000000 ns"):
        wire.read_infer(message, lambda slot, role, stamp_ns, epoch: None)
