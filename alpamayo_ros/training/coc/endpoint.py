"""What goes to an OpenAI-compatible chat-completions endpoint and what comes back: settings, prompts, requests, answers."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import simplejpeg
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from alpamayo_ros.types import U8, InvalidInput

JPEG_QUALITY = 85
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Endpoint:
    """Who is asked, and how patiently. Tries of a request and answers to a prompt are bounded."""

    url: str  # "/chat/completions" is appended: https://host/v1
    model: str
    key: str = field(default="", repr=False)  # entry points read it from the environment
    temperature: float | None = 0.0  # None: not sent, for models that refuse it
    seed: int = 0
    max_tokens: int = 2048  # of an answer
    limits_completion: bool = False  # by the newer name, max_completion_tokens
    timeout_s: float = 180.0  # without a byte
    tries: int = 6  # of a request, until it is answered at all
    answers: int = 3  # to a prompt, each of another seed, until one is to the schema
    first_wait_s: float = 1.0  # between two tries, then twice as long each time
    longest_wait_s: float = 120.0  # an endpoint that asks for more is down
    in_flight: int = 4  # requests
    input_price: float = 0.0  # per million tokens
    output_price: float = 0.0

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise InvalidInput("endpoint: want a URL as https://host/v1, without user, query and fragment")
        if not all("!" <= c <= "~" for c in self.key):
            raise InvalidInput(
                f"endpoint {self.url}: the key's {len(self.key)} characters must be printable ASCII without spaces"
            )
        counted = min(self.max_tokens, self.tries, self.answers, self.in_flight) >= 1
        if not (counted and self.timeout_s > 0 and 0 <= self.first_wait_s <= self.longest_wait_s):
            limits = "max_tokens, tries, answers, in_flight >= 1, timeout_s > 0, 0 <= first_wait_s <= longest_wait_s"
            raise InvalidInput(f"endpoint out of range ({limits}): {self}")

    @property
    def address(self) -> str:
        """Where requests go."""
        return f"{self.url.rstrip('/')}/chat/completions"


@dataclass(frozen=True)
class Prompt:
    """What is asked: who the model is to be, then words and pictures, uint8 (H, W, 3) RGB, in their order."""

    system: str
    parts: tuple[str | U8, ...]


class Answer(BaseModel):
    """What an endpoint said, whatever it is; this is what is kept on disk."""

    model_config = ConfigDict(frozen=True)

    text: str
    finish: str  # "stop"; "length": it was cut off
    tokens: tuple[int, int] | None  # of the prompt and of the answer; None: the endpoint does not say


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Said(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


def request_body(endpoint: Endpoint, prompt: Prompt, wanted: type[BaseModel], seed: int) -> bytes:
    """The JSON of a request whose answer is constrained to the schema of `wanted`."""
    content = [_text(part) if isinstance(part, str) else _picture(part) for part in prompt.parts]
    limit = "max_completion_tokens" if endpoint.limits_completion else "max_tokens"
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": content}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": wanted.__name__, "strict": True, "schema": plain_schema(wanted)},
        },
        "seed": seed,
        limit: endpoint.max_tokens,
    }
    if endpoint.temperature is not None:
        body["temperature"] = endpoint.temperature
    return json.dumps(body).encode()


def read_reply(data: bytes) -> Answer:
    """The answer in an endpoint's reply. Raises InvalidInput for a reply that is no chat completion."""
    try:
        completion = _Completion.model_validate_json(data)
    except ValidationError as error:
        raise InvalidInput(f"no chat completion: {beginning(data.decode('utf-8', errors='replace'))}") from error
    if not completion.choices:
        raise InvalidInput("a chat completion without choices")
    choice, usage = completion.choices[0], completion.usage
    return Answer(
        text=choice.message.content or choice.message.refusal or "",
        finish=choice.finish_reason or "unknown",
        tokens=(usage.prompt_tokens, usage.completion_tokens) if usage else None,
    )


def plain_schema(wanted: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a model without what constrained decoders refuse: defaults, and unions by `oneOf`."""
    return wanted.model_json_schema(mode="serialization", schema_generator=_Plain)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks to wait, s >= 0: seconds, or a date (RFC 9110); None where it says neither."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, ((until if until.tzinfo else until.replace(tzinfo=timezone.utc)) - now).total_seconds())


def beginning(text: str) -> str:
    """Of a text that is not what was asked for, as one line."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


def _is_address(url: str) -> bool:
    """Of a server that speaks HTTP, without what would be a secret in messages."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not set("@?#") & set(url)
    except ValueError:
        return False


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _picture(image: U8) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": jpeg_url(image, JPEG_QUALITY)}}


def jpeg_url(image: U8, quality: int) -> str:
    """A data URL of an image, uint8 (H, W, 3) RGB."""
    jpeg = simplejpeg.encode_jpeg(image, quality, "RGB", "420")
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


class _Plain(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        return {"anyOf": [self.generate_inner(choice) for choice in schema["choices"].values()]}
