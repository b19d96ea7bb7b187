"""What the model writes of its own for a prompt, several times over, and how likely each of its tokens was.

A rollout is words up to `<|traj_future_start|>` and the 128 action tokens behind it, as `model.sample` writes them: the ids of
trajectories never stand among words, and nothing but actions stands behind `<|traj_future_start|>`. It is drawn at the
temperature and top-p of a request; log-probabilities, of writing and of learning alike, are those at temperature 1 over the ids
that may stand there (the released recipe draws at 0.6 and 0.98, and learns at 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.dynamics import estimate_v0, rollout
from alpamayo_ros.model.language import Context, causal_mask
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.model.sample import Choose, chooser, prefill, section, write
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


def question_of(example: Example, codec: Codec, seen: Encoded | None = None, features: Tensor | None = None) -> Question:
    """What an example asks; `seen`: as it was encoded before.

    Raises InvalidInput as `encoded` does, and for an example that nobody labelled.
    """
    if example.reasoning is None:
        raise InvalidInput(f"{example.clip}: rollouts reason, and this example is not labelled")
    history = example.observation.history
    v0_mps = estimate_v0(history.xyz, history.rot, codec.config.action_space)
    return Question(encoded(example, codec) if seen is None else seen, v0_mps, float(history.xyz[-1, 2]), features)


@torch.no_grad()
def roll_out(model: Alpamayo, question: Question, request: Request, tokenizer: Tokenizer) -> Group:
    """As many rollouts as the request has samples; images and prompt are read once. The seed alone decides what is drawn.

    A row that never asks for a trajectory within `max_tokens` is incomplete.
    """
    config, images = model.config, question.encoded.images
    prompt = Prompt(question.encoded.token_ids[: question.encoded.prompt_length], images, image_blocks(images, config))
    seen = None if question.features is None else (model.scene(question.features.to(model.device), (), images), None)
    room = request.max_tokens + config.future_tokens + 1
    state = prefill(model, prompt, room, seen)
    generator = torch.Generator().manual_seed(request.seed)
    writer = _Writer(chooser(request, request.samples, room, generator), request, config, model.device)
    done = write(model, state, request.samples, writer, {config.eos_token_id}, room)
    lengths = torch.tensor(done.lengths, device=model.device)[:, None]
    written = torch.stack(writer.free, dim=1) & (torch.arange(done.tokens.shape[1], device=model.device) < lengths)
    rows = [ids[chosen].tolist() for ids, chosen in zip(done.tokens, written, strict=True)]
    rollouts = tuple(_rollout(ids, question, tokenizer, config) for ids in rows)
    return Group(done.tokens, torch.stack(writer.log_probs, dim=1), written, rollouts)


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
    return _chosen(_permitted(model.logits(before), acts, model.config), token_ids)


class _Writer:
    """Chooses the tokens of rows side by side, and remembers how likely they were and which of them were free to choose.

    A row goes on with actions behind <|traj_future_start|>; after the last one, and where its words are too many, it is ended.
    """

    def __init__(self, choose: Choose, request: Request, config: Config, device: torch.device) -> None:
        self._choose, self._most, self._config = choose, request.max_tokens, config
        self._begun = torch.full((request.samples,), -1, device=device)  # place of <|traj_future_start|> in each row
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


def _permitted(logits: Tensor, acts: Tensor, config: Config) -> Tensor:
    """Logits (..., V), -inf of what may not stand there: behind <|traj_future_start|> (...) all but the bins of actions, and
    before it all ids of trajectories."""
    place = torch.arange(logits.shape[-1], device=logits.device) - config.traj_token_start
    bins, others = (place >= 0) & (place < config.future_bins.num_bins), (place < 0) | (place >= config.traj_vocab_size)
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
