"""Settings, requests and replies, without a network."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from alpamayo_ros.training.coc.endpoint import Endpoint, Prompt, plain_schema, read_reply, request_body, retry_after_s
from alpamayo_ros.training.coc.schema import Chain
from alpamayo_ros.types import InvalidInput

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=timezone.utc)


class Word(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)
    word: Literal["yes", "no"] = "no"


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "ftp://host/v1", "file:///etc/passwd", "http://", "http://user:secret@host/v1", "http://host/v1?key=secret",
     "http://host/v1#secret", "http://[::1", "http://host:99999/v1"],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidInput, match="want a URL") as refused:
        Endpoint(url, "model")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("key", ["two words", "line\n", "schlüssel"])
def test_a_key_that_no_header_holds_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidInput, match=f"{len(key)} characters") as refused:
        Endpoint("http://host/v1", "model", key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "change", [{"tries": 0}, {"answers": 0}, {"in_flight": 0}, {"timeout_s": 0.0}, {"first_wait_s": 3.0, "longest_wait_s": 2.0}]
)
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="out of range"):
        Endpoint("http://host/v1", "model", **change)


@pytest.mark.parametrize("url", ["http://host/v1", "http://host/v1/"])
def test_a_slash_at_the_end_changes_nothing(url: str) -> None:
    assert Endpoint(url, "model").address == "http://host/v1/chat/completions"


def test_words_and_pictures_keep_their_order() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    body = json.loads(request_body(Endpoint("http://host/v1", "model"), Prompt("who", ("a", pixels, "b")), Word, 0))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert [part["type"] for part in body["messages"][1]["content"]] == ["text", "image_url", "text"]


def test_what_a_model_refuses_is_not_sent() -> None:
    settings = Endpoint("http://host/v1", "model", temperature=None, limits_completion=True, max_tokens=9)
    body = json.loads(request_body(settings, Prompt("who", ("a",)), Word, 0))
    assert "temperature" not in body
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 9


def _objects(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for part in schema for found in _objects(part)]
    if not isinstance(schema, dict):
        return []
    below = [found for part in schema.values() for found in _objects(part)]
    return [schema, *below] if schema.get("type") == "object" else below


@pytest.mark.parametrize("wanted", [Word, Chain])
def test_schemas_are_what_constrained_decoders_take(wanted: type[BaseModel]) -> None:
    schema = plain_schema(wanted)
    text = json.dumps(schema)
    assert '"default"' not in text
    assert "oneOf" not in text
    for each in _objects(schema):
        assert each["required"] == list(each["properties"])
        assert each["additionalProperties"] is False


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("0", 0.0),
        ("17", 17.0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 12:00:30", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, wait_s: float | None) -> None:
    assert retry_after_s(header, NOW) == wait_s


@given(st.text() | st.datetimes().map(lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT"))
def test_no_retry_after_is_an_error(header: str) -> None:
    wait_s = retry_after_s(header, NOW + timedelta(0))
    assert wait_s is None or wait_s >= 0


KEYS = st.sampled_from(["choices", "message", "content", "usage", "prompt_tokens"])
JSON = st.recursive(st.none() | st.booleans() | st.text(), lambda s: st.lists(s) | st.dictionaries(KEYS, s), max_leaves=8)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_reply_is_an_answer_or_refused(data: bytes) -> None:
    try:
        answer = read_reply(data)
    except InvalidInput:
        return
    assert isinstance(answer.text, str)


def test_a_refusal_of_the_model_is_its_answer() -> None:
    reply = {"choices": [{"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"}]}
    answer = read_reply(json.dumps(reply).encode())
    assert (answer.text, answer.tokens) == ("I will not", None)
