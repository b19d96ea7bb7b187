"""What the model writes of its own for a prompt, several times over, and how likely each of its tokens was.

A rollout is words up to `<|traj_future_start|>` and the 128 action tokens behind it, as `model.sample` writes them: the ids of
trajectories never stand among words, and nothing but actions stands behind `<|traj_future_start|>`. It is drawn at the
temperature and top-p of a request; log-probabilities, of writing and of learning alike, are those at temperature 1 over the ids
that may stand there (the released recipe draws at 0.6 and 0.98, and learns at 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.dynamics import estimate_v0, rollout
from alpamayo_ros.model.language import Cache, Context, causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.model.sample import Choose, State, chooser, prefill, section
from alpamayo_ros.model.tokens import Tokenizer, actions_of_tokens
from alpamayo_ros.model.vision import image_blocks
from alpamayo_ros.training.batch import batch_of, read
from alpamayo_ros.training.encoding import Codec, Encoded, encoded, with_answer
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.rewards import Rollout
from alpamayo_ros.types import InvalidInput, Request


class Question(NamedTuple):
    """What rollouts answer."""

    encoded: Encoded  # its prompt, of mode "reason"; the answer is not looked at
    v0_mps: float  # from which trajectories start, as the runtime estimates it
    z_m: float  # their height
    features: Tensor | None = None  # (n, T, D) what a frozen vision tower makes of the images; None: it is to look at them


class Group(NamedTuple):
    """K rollouts of one question, of up to T tokens."""

    token_ids: Tensor  # (K, T) long: what stands behind the prompt
    log_probs: Tensor  # (K, T) nats, by the model that wrote them
    written: Tensor  # (K, T) bool: what the model chose; the others are padding and may hold anything
    rollouts: tuple[Rollout, ...]

    def rows(self, which: list[int]) -> Group:
        """Some of them."""
        return Group(
            self.token_ids[which], self.log_probs[which], self.written[which], tuple(self.rollouts[row] for row in which)
        )


def question_of(example: Example, codec: Codec, seen: Encoded | None = None, features: Tensor | None = None) -> Question:
    """What an example asks; `seen`: as it was encoded before.

    Raises InvalidInput as `encoded` does, and for an example that nobody labelled.
    """
    if example.reasoning is None:
        raise InvalidInput(f"{example.clip}: rollouts reason, and this example is not labelled")
    history = example.observation.history
    v0_mps = estimate_v0(history.xyz, history.rot, codec.config.action_space)
    return Question(encoded(example, codec) if seen is None else seen, v0_mps, float(history.xyz[-1, 2]), features)


def roll_out(model: Alpamayo, question: Question, request: Request, tokenizer: Tokenizer) -> Group:
    """As many rollouts as the request has samples. The seed alone decides what is drawn.

    A row that never asks for a trajectory within `max_tokens` is incomplete.
    """
    return roll_out_all(model, [question], request, [request.seed], tokenizer)[0]


@torch.no_grad()
def roll_out_all(
    model: Alpamayo, questions: Sequence[Question], request: Request, seeds: Sequence[int], tokenizer: Tokenizer
) -> list[Group]:
    """`roll_out` of several questions, each with a seed of its own in place of the request's, written side by side.

    Images and prompt of a question are read once. What it draws does not depend on the others.
    """
    config = model.config
    room = request.max_tokens + config.future_tokens + 1
    asked = _side_by_side(model, [_read_question(model, question) for question in questions], request.samples, room)
    drawn = [chooser(request, request.samples, room, torch.Generator().manual_seed(seed)) for seed in seeds]

    def choose(logits: Tensor, index: int) -> Tensor:
        return torch.cat([each(own, index) for each, own in zip(drawn, logits.split(request.samples), strict=True)])

    writer = _Writer(choose, request, len(questions) * request.samples, config, model.device)
    token_ids = _write(model, asked, writer, room)
    own = (each.split(request.samples) for each in (token_ids, torch.stack(writer.log_probs, 1), torch.stack(writer.free, 1)))
    rows = zip(questions, *own, strict=True)
    return [_group(question, ids, log_probs, free, tokenizer, config) for question, ids, log_probs, free in rows]


class _Asked(NamedTuple):
    """N rows of prompts that were read, and what they are followed by."""

    cache: Cache  # prompts stand at its end: what is before a shorter one is not seen
    seen: Tensor | None  # (N, 1, 1, capacity) bool; None: everything
    logits: Tensor  # (N, V)
    positions: Tensor  # (N,) of the next token


def _read_question(model: Alpamayo, question: Question) -> State:
    images = question.encoded.images
    prompt = Prompt(question.encoded.token_ids[: question.encoded.prompt_length], images, image_blocks(images, model.config))
    seen = None if question.features is None else (model.scene(question.features.to(model.device), (), images), None)
    return prefill(model, prompt, 0, seen)


def _side_by_side(model: Alpamayo, read: Sequence[State], samples: int, room: int) -> _Asked:
    """`samples` rows of each prompt, with room for more tokens."""
    lengths = torch.tensor([state.length for state in read], device=model.device)
    longest = int(lengths.max())
    cache = model.cache(len(read), longest + room)
    for row, state in enumerate(read):
        cache.k[:, row, :, longest - state.length : longest] = state.cache.k[:, 0]
        cache.v[:, row, :, longest - state.length : longest] = state.cache.v[:, 0]
    cache.length = longest
    seen = torch.arange(longest + room, device=model.device) >= longest - lengths[:, None]
    return _Asked(
        cache.repeated(samples),
        None if bool(seen.all()) else seen.repeat_interleave(samples, dim=0)[:, None, None],
        torch.cat([state.logits for state in read]).repeat_interleave(samples, dim=0),
        torch.tensor([state.position for state in read], device=model.device).repeat_interleave(samples),
    )


def _write(model: Alpamayo, asked: _Asked, writer: _Writer, room: int) -> Tensor:
    """Token ids (N, T) behind the prompts, until every row has ended."""
    cache, logits = asked.cache, asked.logits
    written: list[Tensor] = []
    ended = torch.zeros(len(logits), dtype=torch.bool, device=model.device)
    while len(written) < room and not ended.all():
        token = writer(logits, len(written))
        positions = (asked.positions + len(written)).expand(3, -1)[..., None]
        written.append(token)
        ended |= token == model.config.eos_token_id
        seen = None if asked.seen is None else asked.seen[..., : cache.length + 1]
        logits = model.logits(model.read(token[:, None], positions, cache, seen)[:, -1])
        cache.length += 1
    return torch.stack(written, dim=1)


def _group(
    question: Question, token_ids: Tensor, log_probs: Tensor, free: Tensor, tokenizer: Tokenizer, config: Config
) -> Group:
    """What one question's rows came to, up to the end of the longest."""
    is_end = token_ids == config.eos_token_id
    written = free & (is_end.cumsum(dim=1) - is_end.long() == 0)
    longest = int((is_end.cumsum(dim=1) == 0).sum(dim=1).max()) + 1
    rows = [ids[chosen].tolist() for ids, chosen in zip(token_ids, written, strict=True)]
    rollouts = tuple(_rollout(ids, question, tokenizer, config) for ids in rows)
    return Group(token_ids[:, :longest], log_probs[:, :longest], written[:, :longest], rollouts)


def log_probs_of(model: Alpamayo, question: Question, token_ids: Tensor) -> Tensor:
    """(K, T) log-probabilities of ids behind the prompt, each of what stands before it; with a gradient where there is one.

    The prompt is read once for all rows. Ids that may not stand where they stand have -inf.
    """
    start, n = model.config.token_ids["future_start"], question.encoded.prompt_length
    asked = batch_of([with_answer(question.encoded, [start])], start, question.features).to(model.device)  # a batch has an end
    seen = read(model, asked)
    (rows, count), first = token_ids.shape, int(asked.positions[0, 0, n])
    positions = (first + torch.arange(count, device=model.device)).expand(3, rows, -1)
    mask = causal_mask(torch.ones(rows, n + count, dtype=torch.bool, device=model.device), count)
    prompt = Context(seen.k[:, :, :, :n], seen.v[:, :, :, :n])
    hidden = model.read(token_ids, positions, prompt, mask)
    before = torch.cat([seen.hidden[:, n - 1 : n].expand(rows, -1, -1), hidden[:, :-1]], dim=1)
    begun = token_ids == start
    acts = begun.cumsum(dim=1) - begun.long() > 0
    return _likely(model, before, token_ids, acts)


def _likely(model: Alpamayo, before: Tensor, token_ids: Tensor, acts: Tensor) -> Tensor:
    """(K, T) log-probabilities of ids after hidden states (K, T, D), over the ids that may stand there and no others: most of
    a vocabulary may not, and its logits are most of the time that a small network takes."""
    found = before.new_full(token_ids.shape, -torch.inf, dtype=torch.float32)
    for where, words in ((acts, False), (~acts, True)):
        may = _may_stand(model.config, model.device, words=words)
        place = torch.where(may, may.cumsum(dim=0) - 1, -1)[token_ids[where]]
        log_probs = F.linear(before[where], model.vlm.lm_head.weight[may]).float().log_softmax(dim=-1)
        chosen = log_probs.gather(-1, place.clamp(min=0)[:, None])[:, 0]
        found = found.masked_scatter(where, chosen.masked_fill(place < 0, -torch.inf))
    return found


class _Writer:
    """Chooses the tokens of rows side by side, and remembers how likely they were and which of them were free to choose.

    A row goes on with actions behind <|traj_future_start|>; after the last one, and where its words are too many, it is ended.
    """

    def __init__(self, choose: Choose, request: Request, rows: int, config: Config, device: torch.device) -> None:
        self._choose, self._most, self._config = choose, request.max_tokens, config
        self._begun = torch.full((rows,), -1, device=device)  # place of <|traj_future_start|> in each row
        self.log_probs: list[Tensor] = []  # (K,) of every token
        self.free: list[Tensor] = []  # (K,) bool

    def __call__(self, logits: Tensor, index: int) -> Tensor:
        acts = self._begun >= 0
        free = index <= torch.where(acts, self._begun + self._config.future_tokens, self._most - 1)
        permitted = _permitted(logits, acts, self._config)
        token = torch.where(free, self._choose(permitted, index), self._config.eos_token_id)
        self._begun[~acts & (token == self._config.token_ids["future_start"])] = index
        self.log_probs.append(_chosen(permitted, token))
        self.free.append(free)
        return token


def _may_stand(config: Config, device: torch.device, *, words: bool) -> Tensor:
    """(V,) bool: ids that may stand behind <|traj_future_start|>, the bins of actions, or before it: all but trajectories'."""
    place = torch.arange(config.vocab_size, device=device) - config.traj_token_start
    return (place < 0) | (place >= config.traj_vocab_size) if words else (place >= 0) & (place < config.future_bins.num_bins)


def _permitted(logits: Tensor, acts: Tensor, config: Config) -> Tensor:
    """Logits (N, V), -inf of what may not stand there; `acts` (N,): behind <|traj_future_start|>."""
    bins, others = (_may_stand(config, logits.device, words=words) for words in (False, True))
    return logits.masked_fill(~torch.where(acts[..., None], bins, others), -torch.inf)


def _chosen(logits: Tensor, token_ids: Tensor) -> Tensor:
    return logits.log_softmax(dim=-1).gather(-1, token_ids[..., None])[..., 0]


def _rollout(ids: list[int], question: Question, tokenizer: Tokenizer, config: Config) -> Rollout:
    """What was written in one row."""
    start = config.token_ids["future_start"]
    words = ids[: ids.index(start)] if start in ids else ids
    text = section(tokenizer.decode(words), "cot")
    if start not in ids:
        return Rollout(text, is_complete=False, trajectory=None)
    actions = actions_of_tokens(ids[len(words) + 1 :], config)
    return Rollout(text, is_complete=True, trajectory=rollout(actions, question.v0_mps, question.z_m, config.action_space))
