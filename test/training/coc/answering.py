"""A chat-completions endpoint on this machine: real HTTP, answers by a script, and a record of what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@dataclass
class Asked:
    """What came in, in order."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)  # Authorization headers
    at_once: int = 0
    most_at_once: int = 0


def says(text: str, **parts: Any) -> Behaviour:
    """A chat completion with this text; `parts` replace its others."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return sends(200, json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage, **parts}))


def sends(status: int, text: str, **headers: str) -> Behaviour:
    """This status and body."""

    def behave(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        data = text.encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def hangs_up(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Close the connection without a word."""
    handler.close_connection = True


def breaks_off(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is what some tests are about."""


@contextmanager
def endpoint(answer: Callable[[dict[str, Any]], Behaviour], *first: Behaviour) -> Iterator[Asked]:
    """Serve: `first` one after the other, then what `answer` makes of each request's body."""
    script = list(first)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.bodies.append(body)
                asked.keys.append(self.headers["Authorization"])
                asked.at_once += 1
                asked.most_at_once = max(asked.most_at_once, asked.at_once)
                behave = script.pop(0) if script else answer(body)
            try:
                behave(self, body)
            finally:
                with lock:
                    asked.at_once -= 1

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has there
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        asked = Asked(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()
