"""Asks an endpoint, remembers and counts its answers: a prompt -> a value of a pydantic model.

Whatever was answered is on disk before it is read, junk included: an interrupted run pays nothing twice. A request whose answer
was lost on the way is sent again; whether that is paid again is the endpoint's business.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar
from urllib.request import HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler, HTTPSHandler, ProxyHandler

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.training.coc.endpoint import Answer, Endpoint, Prompt, beginning, read_reply, request_body, retry_after_s
from alpamayo_ros.types import EngineFailure, InvalidInput

T = TypeVar("T", bound=BaseModel)
Item = TypeVar("Item")
Result = TypeVar("Result")

REPLY_LIMIT_BYTES = 4 << 20
_AHEAD = 4  # items begun or waiting per thread, so that a slow one does not leave the others idle
_AGAIN = frozenset({408, 409, 425, 429})  # and 5xx: statuses that another try may change
_THIS_PROMPT = frozenset({400, 413, 422})  # statuses that another prompt would not get


class EndpointDown(EngineFailure):
    """The endpoint does not answer, or refuses whatever it is asked; the text names it and says how often it was tried."""


@dataclass(frozen=True)
class Spent:
    """What a client has asked so far and what that costs, at the endpoint's prices."""

    requests: int  # sent, every try counted
    answers: int  # that came, junk included: these are paid
    remembered: int  # that were on disk already: these are not
    junk: int  # answers, paid or remembered, that are not to the schema
    input_tokens: int  # of the paid answers
    output_tokens: int
    untold: int  # paid answers that name no tokens: the cost is at least the one given
    cost: float


class _NoAnswer(Exception):
    """A try that another one may mend."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s  # as the endpoint asks


class Client:
    """An endpoint with what it has answered. Threads may share one."""

    def __init__(self, endpoint: Endpoint, cache: Path) -> None:
        """`cache` is a folder. Answers there are found by all of a request but its address: model, words, pictures, seed."""
        self.endpoint = endpoint
        self.cache = cache
        self._opener = _opener()
        self._counts: Counter[str] = Counter()
        self._counting = Lock()
        self._asking: defaultdict[str, Lock] = defaultdict(Lock)  # the same request from two threads is sent once
        self._stopped = Event()
        self._down = ""

    @property
    def spent(self) -> Spent:
        """So far."""
        with self._counting:
            n = self._counts.copy()
        return Spent(
            requests=n["requests"],
            answers=n["answers"],
            remembered=n["remembered"],
            junk=n["junk"],
            input_tokens=n["input"],
            output_tokens=n["output"],
            untold=n["untold"],
            cost=(n["input"] * self.endpoint.input_price + n["output"] * self.endpoint.output_price) / 1e6,
        )

    def ask(self, prompt: Prompt, wanted: type[T]) -> T:
        """The answer to a prompt. Junk is asked for again, of another seed, a few times.

        Raises InvalidInput when every answer is junk or the endpoint refuses this prompt; EndpointDown.
        """
        why = ""
        for seed in self._seeds:
            answer = self._answer(request_body(self.endpoint, prompt, wanted, seed))
            try:
                return wanted.model_validate_json(answer.text, strict=True)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False, include_context=False)[0]
                place = ".".join(str(part) for part in first["loc"]) or "all of it"
                why = f"{place}: {first['msg']} (finish: {answer.finish}); it begins {beginning(answer.text)}"
                self._count(junk=1)
        raise InvalidInput(f"{self.endpoint.model}: none of {len(self._seeds)} answers is to the schema; the last, {why}")

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | InvalidInput]]:
        """Do work that asks for every item, several at a time, in their order; InvalidInput that it raises is its result.

        Any other error, EndpointDown among them, ends it; what was answered until then is on disk.
        """
        pool = ThreadPoolExecutor(self.endpoint.in_flight)
        left = iter(items)
        begun: deque[tuple[Item, Future[Result]]] = deque()
        try:
            while True:
                room = _AHEAD * self.endpoint.in_flight - len(begun)
                begun.extend((item, pool.submit(work, item)) for item in islice(left, room))
                if not begun:
                    return
                item, future = begun.popleft()
                error = future.exception()
                if error is not None and not isinstance(error, InvalidInput):
                    raise error
                yield item, future.result() if error is None else error
        finally:
            self._stopped.set()  # ends waits; what is sent will be paid, so its answer is waited for
            pool.shutdown(cancel_futures=True)
            self._stopped.clear()

    def shown(self, done: Iterable[Item], total: int, title: str) -> Iterator[Item]:
        """The same items, with a progress bar on stderr that says what they cost."""
        spent = TextColumn("{task.fields[spent]}")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), spent, TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, spent="")
            for item in done:
                bar.update(task, advance=1, spent=told(self.spent))
                yield item

    def forget(self, prompt: Prompt, wanted: type[BaseModel]) -> None:
        """Delete the answers to a prompt from the disk: who asks again is to be answered, not to meet the same junk."""
        for seed in self._seeds:
            self._kept(request_body(self.endpoint, prompt, wanted, seed)).unlink(missing_ok=True)

    @property
    def _seeds(self) -> range:
        """A prompt is asked with these, one after another."""
        return range(self.endpoint.seed, self.endpoint.seed + self.endpoint.answers)

    def _kept(self, body: bytes) -> Path:
        """Where the answer to a request is kept."""
        key = hashlib.sha256(body).hexdigest()
        return self.cache / key[:2] / f"{key}.json"

    def _answer(self, body: bytes) -> Answer:
        """The one on disk, or a new one, which is then there."""
        path = self._kept(body)
        key = path.stem
        with self._counting:
            asking = self._asking[key]
        with asking:
            if path.exists():
                self._count(remembered=1)
                return _remembered(path)
            answer = self._tried(body, int(key[:8], 16) / 2**32)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(answer.model_dump_json().encode())
        with self._counting:
            self._asking.pop(key, None)
        tokens = answer.tokens or (0, 0)
        self._count(answers=1, input=tokens[0], output=tokens[1], untold=int(answer.tokens is None))
        return answer

    def _tried(self, body: bytes, spread: float) -> Answer:
        """Send a request until it is answered; `spread` in [0, 1) keeps those that fail together from coming back together."""
        patience, why = self.endpoint, ""
        for k in range(patience.tries):
            if self._down:
                raise EndpointDown(self._down)
            try:
                return self._sent(body)
            except _NoAnswer as error:
                why, asked_s = self._without_key(str(error)), error.wait_s
            if asked_s > patience.longest_wait_s:
                raise self._gone(f"asks to wait {asked_s:.0f} s, limit {patience.longest_wait_s:.0f}; {why}")
            wait_s = max(asked_s, min(patience.longest_wait_s, patience.first_wait_s * 2**k) * (1 + spread) / 2)
            if k + 1 < patience.tries and self._stopped.wait(wait_s):
                raise EndpointDown(self._down or f"{patience.address}: stopped while waiting; {why}")
        raise self._gone(f"no answer in {patience.tries} tries; the last: {why}")

    def _sent(self, body: bytes) -> Answer:
        """Send a request once. Raises _NoAnswer, InvalidInput where this prompt is refused, EndpointDown where any would be."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.endpoint.key:
            headers["Authorization"] = f"Bearer {self.endpoint.key}"
        request = urllib.request.Request(self.endpoint.address, body, headers)  # noqa: S310 - settings take http and https only
        self._count(requests=1)
        try:
            with self._opener.open(request, timeout=self.endpoint.timeout_s) as reply:
                return read_reply(reply.read(REPLY_LIMIT_BYTES))  # a longer one is cut off, which is no JSON
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except InvalidInput as error:
            raise _NoAnswer(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise _NoAnswer(f"{type(error).__name__}: {error}") from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        with error:
            said = f"status {error.code}: {self._without_key(beginning(_body(error)))}"
        if error.code in _AGAIN or error.code >= 500:
            return _NoAnswer(said, retry_after_s(error.headers.get("Retry-After"), datetime.now(timezone.utc)) or 0.0)
        if error.code in _THIS_PROMPT:
            return InvalidInput(f"{self.endpoint.address} refuses a prompt, {said}")
        return self._gone(said)

    def _gone(self, why: str) -> EndpointDown:
        """From now on nobody asks."""
        with self._counting:
            answers = self._counts["answers"]
        self._down = f"{self.endpoint.address}: {why}; {answers} answers of this run are kept in {self.cache}"
        self._stopped.set()
        return EndpointDown(self._down)

    def _without_key(self, text: str) -> str:
        return text.replace(self.endpoint.key, "[key]") if self.endpoint.key else text

    def _count(self, **more: int) -> None:
        with self._counting:
            self._counts.update(more)


def _opener() -> urllib.request.OpenerDirector:
    """One that follows no redirection, so that the key goes to nobody else: it is a refusal."""
    opener = urllib.request.OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    return opener


def told(spent: Spent) -> str:
    """What was spent, in a few words."""
    tokens = spent.input_tokens + spent.output_tokens
    return f"{spent.answers} paid, {spent.remembered} remembered, {spent.junk} junk, {tokens:,} tokens, cost {spent.cost:.2f}"


def _remembered(path: Path) -> Answer:
    try:
        return Answer.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{path} is no answer that was kept: delete it ({error.error_count()} problems)") from error


def _body(error: urllib.error.HTTPError) -> str:
    """Of a refusal, as far as it comes."""
    try:
        return error.read(REPLY_LIMIT_BYTES).decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
