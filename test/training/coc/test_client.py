"""Over real HTTP, on this machine: what comes back, what is paid, and what is told when nothing does."""

import json
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict
from training.coc.answering import Asked, Behaviour, breaks_off, endpoint, hangs_up, says, sends

from alpamayo_ros.training.coc.client import Client, EndpointDown
from alpamayo_ros.training.coc.endpoint import Endpoint, Prompt
from alpamayo_ros.types import InvalidInput

KEY = "sk-local-123"
PIXELS = np.full((8, 16, 3), 200, np.uint8)


class Colour(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    level: int


GREY = says('{"name": "grey", "level": 200}')


def asks(text: str) -> Prompt:
    return Prompt("You name colours.", (text, PIXELS))


def client(asked: Asked, cache: Path, **changes: Any) -> Client:
    patience = {"first_wait_s": 0.001, "longest_wait_s": 2.0, "timeout_s": 5.0, "tries": 3}
    return Client(Endpoint(asked.url, "painter", KEY, **(patience | changes)), cache)


def always(behaviour: Behaviour) -> Callable[[dict[str, Any]], Behaviour]:
    return lambda body: behaviour


def test_the_answer_is_a_value_of_the_model_that_was_asked_for(tmp_path: Path) -> None:
    with endpoint(always(GREY)) as asked:
        assert client(asked, tmp_path).ask(asks("Which?"), Colour) == Colour(name="grey", level=200)
    (body,) = asked.bodies
    assert asked.keys == [f"Bearer {KEY}"]
    assert body["model"] == "painter"
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["name", "level"]
    words, picture = body["messages"][1]["content"]
    assert words == {"type": "text", "text": "Which?"}
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,/9j/")


def test_an_answer_is_paid_once(tmp_path: Path) -> None:
    """By the run that asked, by the next one, and by two threads that ask at the same time."""
    with endpoint(always(GREY)) as asked:
        first, second = client(asked, tmp_path), client(asked, tmp_path)
        done = [answer for _, answer in first.each(lambda text: first.ask(asks(text), Colour), ["same"] * 8)]
        assert done == [Colour(name="grey", level=200)] * 8
        second.ask(asks("same"), Colour)
    assert len(asked.bodies) == 1
    assert (first.spent.answers, first.spent.remembered) == (1, 7)
    assert (second.spent.answers, second.spent.remembered, second.spent.cost) == (0, 1, 0.0)


@pytest.mark.parametrize("change", [{"model": "sculptor"}, {"temperature": 0.5}, {"seed": 1}, {"max_tokens": 7}])
def test_another_request_is_another_answer(tmp_path: Path, change: dict[str, Any]) -> None:
    with endpoint(always(GREY)) as asked:
        client(asked, tmp_path).ask(asks("Which?"), Colour)
        other = Endpoint(**({"url": asked.url, "model": "painter"} | change))
        Client(other, tmp_path).ask(asks("Which?"), Colour)
    assert len(asked.bodies) == 2


def test_another_picture_is_another_request(tmp_path: Path) -> None:
    with endpoint(always(GREY)) as asked:
        one = client(asked, tmp_path)
        one.ask(asks("Which?"), Colour)
        one.ask(Prompt("You name colours.", ("Which?", PIXELS // 2)), Colour)
    assert len(asked.bodies) == 2


def test_the_same_model_elsewhere_is_not_paid_again(tmp_path: Path) -> None:
    with endpoint(always(GREY)) as here:
        client(here, tmp_path).ask(asks("Which?"), Colour)
    with endpoint(always(GREY)) as there:
        client(there, tmp_path).ask(asks("Which?"), Colour)
    assert there.bodies == []


@pytest.mark.parametrize(
    "failure",
    [
        sends(500, "oops"),
        sends(503, ""),
        sends(429, "slow down"),
        hangs_up,
        breaks_off,
        sends(200, "<html>"),
        says("", choices=[]),
    ],
)
def test_a_failure_that_passes_is_tried_again(tmp_path: Path, failure: Behaviour) -> None:
    with endpoint(always(GREY), failure, failure) as asked:
        one = client(asked, tmp_path)
        assert one.ask(asks("Which?"), Colour).name == "grey"
    assert (one.spent.requests, one.spent.answers) == (3, 1)


def test_a_server_that_is_too_slow_is_asked_again(tmp_path: Path) -> None:
    done = threading.Event()

    def sleeps(handler: Any, body: dict[str, Any]) -> None:
        done.wait(60.0)

    with endpoint(always(GREY), sleeps) as asked:
        assert client(asked, tmp_path, timeout_s=0.3).ask(asks("Which?"), Colour).name == "grey"
        done.set()
    assert len(asked.bodies) == 2


def in_an_hour() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize("wait_for", [lambda: "1", in_an_hour], ids=["seconds", "date"])
def test_retry_after_is_honoured(tmp_path: Path, wait_for: Callable[[], str]) -> None:
    """A wait within the limit is waited for; one beyond it is a reason to stop, not to come back early."""
    with endpoint(always(GREY), sends(429, "later", Retry_After=wait_for())) as asked:
        one = client(asked, tmp_path, longest_wait_s=0.5)
        with pytest.raises(EndpointDown, match=r"asks to wait \d+ s, limit 0; status 429: 'later'"):
            one.ask(asks("Which?"), Colour)
    assert len(asked.bodies) == 1


def test_a_server_is_left_alone_as_long_as_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    with endpoint(always(GREY), sends(429, "later", Retry_After="1"), sends(500, ""), sends(500, "")) as asked:
        one = client(asked, tmp_path, first_wait_s=0.1, tries=4)
        monkeypatch.setattr(one._stopped, "wait", waits.append)
        one.ask(asks("Which?"), Colour)
    asked_for, second, third = waits
    assert asked_for == 1.0
    assert 0.1 <= second < 0.2, "first_wait_s doubled, less up to a half"
    assert third == pytest.approx(2 * second)


@pytest.mark.parametrize(
    "junk", ["grey, I think", '{"name": "grey"}', '{"name": "grey", "level": "200"}', "", '{"name": 1, "l']
)
def test_junk_is_asked_for_again_of_another_seed(tmp_path: Path, junk: str) -> None:
    with endpoint(always(GREY), says(junk), says(junk)) as asked:
        one = client(asked, tmp_path, seed=5)
        assert one.ask(asks("Which?"), Colour).level == 200
    assert [body["seed"] for body in asked.bodies] == [5, 6, 7]
    assert (one.spent.answers, one.spent.junk) == (3, 2)
    assert (one.spent.input_tokens, one.spent.output_tokens) == (300, 30), "junk is paid, too"


def test_nothing_but_junk_is_refused_by_name_and_never_paid_again(tmp_path: Path) -> None:
    with endpoint(always(says("x" * 1000))) as asked:
        for _ in range(2):
            one = client(asked, tmp_path)
            with pytest.raises(InvalidInput, match=r"painter: none of 3 answers.*it begins 'x{200}\.\.\.'") as refused:
                one.ask(asks("Which?"), Colour)
            assert len(str(refused.value)) < 500
    assert len(asked.bodies) == 3
    assert (one.spent.answers, one.spent.remembered, one.spent.junk) == (0, 3, 3)


def test_an_answer_that_was_cut_off_says_so(tmp_path: Path) -> None:
    cut = says("", choices=[{"message": {"content": '{"name": "gr'}, "finish_reason": "length"}])
    with endpoint(always(cut)) as asked, pytest.raises(InvalidInput, match="finish: length"):
        client(asked, tmp_path).ask(asks("Which?"), Colour)


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404])
def test_a_refusal_ends_the_run_at_once(tmp_path: Path, status: int) -> None:
    with endpoint(always(sends(status, f"no access for {KEY}", Location="http://127.0.0.1:1/"))) as asked:
        one = client(asked, tmp_path)
        with pytest.raises(EndpointDown, match=rf"chat/completions: status {status}: 'no access for \[key\]'"):
            one.ask(asks("Which?"), Colour)
        with pytest.raises(EndpointDown):
            one.ask(asks("Another?"), Colour)
    assert len(asked.bodies) == 1


def test_a_prompt_that_is_refused_costs_that_prompt_only(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Behaviour:
        return sends(400, "too large") if body["messages"][1]["content"][0]["text"] == "b" else GREY

    with endpoint(answer) as asked:
        one = client(asked, tmp_path)
        done = dict(one.each(lambda text: one.ask(asks(text), Colour), ["a", "b", "c"]))
    assert list(done) == ["a", "b", "c"]
    assert isinstance(done["b"], InvalidInput)
    assert "refuses a prompt, status 400: 'too large'" in str(done["b"])
    assert done["a"] == done["c"] == Colour(name="grey", level=200)
    assert one.spent.requests == 3


def test_nobody_there_is_told_with_the_address_and_the_count(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = Client(Endpoint(f"http://127.0.0.1:{port}/v1", "painter", tries=3, first_wait_s=0.001), tmp_path)
    with pytest.raises(EndpointDown, match=rf"127.0.0.1:{port}/v1/chat/completions: no answer in 3 tries.*refused"):
        one.ask(asks("Which?"), Colour)
    assert one.spent.requests == 3


def test_an_endpoint_that_dies_costs_nothing_that_was_answered(tmp_path: Path) -> None:
    texts = [f"{n}" for n in range(40)]

    def dies(body: dict[str, Any]) -> Behaviour:
        return GREY if int(body["messages"][1]["content"][0]["text"]) < 20 else hangs_up

    with endpoint(dies) as asked:
        one = client(asked, tmp_path)
        run = one.each(lambda text: one.ask(asks(text), Colour), texts)
        with pytest.raises(EndpointDown, match=r"no answer in 3 tries; .*; \d+ answers of this run are kept in"):
            list(run)
    assert 3 <= len(asked.bodies) - one.spent.answers <= 3 * one.endpoint.in_flight, "the others stop when one gives up"
    with endpoint(always(GREY)) as asked:
        again = client(asked, tmp_path)
        assert len(list(again.each(lambda text: again.ask(asks(text), Colour), texts))) == 40
    assert 1 <= one.spent.answers <= 20
    assert len(asked.bodies) == 40 - one.spent.answers


def test_a_run_that_is_interrupted_keeps_what_was_under_way(tmp_path: Path) -> None:
    with endpoint(always(GREY)) as asked:
        one = client(asked, tmp_path)
        for _ in one.each(lambda text: one.ask(asks(text), Colour), (f"{n}" for n in range(1000))):
            break
        assert len(asked.bodies) < 100
        assert one.spent.answers == len(asked.bodies) == len(list(tmp_path.rglob("*.json")))
        assert one.ask(asks("0"), Colour).name == "grey", "it can go on"


def test_only_so_many_requests_are_in_flight(tmp_path: Path) -> None:
    together = threading.Barrier(3)  # three must come at once, or the answer never comes

    def waits(body: dict[str, Any]) -> Behaviour:
        def behave(handler: Any, body: dict[str, Any]) -> None:
            together.wait(20.0)
            GREY(handler, body)

        return behave

    with endpoint(waits) as asked:
        one = client(asked, tmp_path, in_flight=3)
        assert len(list(one.each(lambda text: one.ask(asks(text), Colour), ["a", "b", "c", "d", "e", "f"]))) == 6
    assert asked.most_at_once == 3


def test_costs_are_counted_at_the_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with endpoint(always(GREY), says('{"name": "grey", "level": 1}', usage=None)) as asked:
        one = client(asked, tmp_path, input_price=2.0, output_price=30.0)
        assert len(list(one.shown(one.each(lambda text: one.ask(asks(text), Colour), ["a", "b", "c"]), 3, "asking"))) == 3
    assert one.spent.cost == pytest.approx((200 * 2.0 + 20 * 30.0) / 1e6)
    assert one.spent.untold == 1
    assert capsys.readouterr().out == "", "progress is not a result"


def test_the_key_is_shown_nowhere(tmp_path: Path) -> None:
    with endpoint(always(sends(500, f"bad key {KEY}"))) as asked:
        one = client(asked, tmp_path)
        with pytest.raises(EndpointDown) as told:
            one.ask(asks("Which?"), Colour)
    assert KEY not in f"{told.value} {one.endpoint} {one.endpoint!r}"
    assert "[key]" in str(told.value)
    with endpoint(always(GREY)) as asked:
        client(asked, tmp_path).ask(asks("Which?"), Colour)
    assert all(KEY not in path.read_text() for path in tmp_path.rglob("*.json"))


def test_a_file_in_the_cache_that_is_no_answer_is_named(tmp_path: Path) -> None:
    with endpoint(always(GREY)) as asked:
        client(asked, tmp_path).ask(asks("Which?"), Colour)
        (kept,) = tmp_path.rglob("*.json")
        assert json.loads(kept.read_text())["tokens"] == [100, 10]
        kept.write_text("{")
        with pytest.raises(InvalidInput, match=kept.name):
            client(asked, tmp_path).ask(asks("Which?"), Colour)
