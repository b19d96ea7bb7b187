"""The reference path: prefill -> reasoning -> (meta-actions) -> flow -> actions. Every other engine is held against it.

Vision and prefill run once per observation, however many samples are drawn. Shapes: N rows that are written differently (1
when all samples share their reasoning), S columns of the cache, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.model.flow import Velocity, euler, guided
from alpamayo_ros.model.language import Cache, Context, causal_mask, rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt, without_route
from alpamayo_ros.model.tokens import Tokenizer, actions_of_tokens
from alpamayo_ros.model.views.pruning import Reading, pruned, retrieved, see
from alpamayo_ros.model.vision import Scene
from alpamayo_ros.types import HORIZON, EngineFailure, ModelOutput, Request

Choose = Callable[[Tensor, int], Tensor]  # logits (N, V), index of the token -> token ids (N,)


class State(NamedTuple):
    """Where reading has come to: what the next token follows."""

    cache: Cache  # of one row
    length: int  # of the prompt
    seen: tuple[Scene, Tensor | None]  # scene, and where the prompt is pruned the salience of its tokens
    logits: Tensor  # (1, V) of the next token
    position: int  # of the next token, on all three axes


class Written(NamedTuple):
    """What was written after a prompt."""

    cache: Cache  # of N rows, every written token in it
    tokens: Tensor  # (N, T) ids; what a row holds after its end means nothing
    lengths: tuple[int, ...]  # tokens of each row up to and with the one that ended it, or T
    ended: tuple[int | None, ...]  # the id that ended each row; None where the limit did

    def finished(self, end: int) -> Written:
        """The rows that this id ended."""
        rows = [row for row, ended in enumerate(self.ended) if ended == end]
        if len(rows) == len(self.ended):
            return self
        cache = Cache(self.cache.k[:, rows], self.cache.v[:, rows], self.cache.length)
        return Written(cache, self.tokens[rows], tuple(self.lengths[row] for row in rows), (end,) * len(rows))


class Conditioning(NamedTuple):
    """What the expert sees, and where its own tokens stand."""

    context: Context
    positions: Tensor  # (3, N, 64)
    mask: Tensor | None  # (N, 1, 1, S + 64); None where every row sees everything


@torch.inference_mode()
def sample(
    model: Alpamayo, tokenizer: Tokenizer, prompt: Prompt, request: Request, told: Sequence[int] | None = None
) -> ModelOutput:
    """Actions and words for an encoded observation: prompts of mode "reason" write first, those of mode "act" do not.

    A row that never writes <|traj_future_start|> is incomplete and gets no flow. Random numbers come from the request's
    seed alone and are drawn on the CPU, so that devices agree. `told`: ids that are written whatever the network would choose,
    so that benchmarks can say how many they are.
    """
    generator = torch.Generator().manual_seed(request.seed)
    noise = torch.randn(request.samples, HORIZON, 2, generator=generator)
    start, first = tokenizer.id("<|traj_future_start|>"), model.config.traj_token_start
    state = prefill(model, prompt, request.max_tokens)
    if int(prompt.token_ids[-1]) == start:  # the trajectory is asked for already
        written = Written(state.cache, torch.empty(1, 0, dtype=torch.long, device=model.device), (0,), (start,))
    else:
        rows = 1 if request.greedy or request.share_reasoning else request.samples
        choose, ends = chooser(request, rows, request.max_tokens, generator), {start, model.config.eos_token_id}
        choose = choose if told is None else _saying(told, choose)
        bins = slice(first, first + model.config.traj_vocab_size)  # of the language model's own; never among words
        written = write(model, state, rows, choose, ends, request.max_tokens, bins)
    complete = tuple(end == start for end in written.ended)
    finished = torch.tensor(complete).expand(request.samples)
    actions = torch.zeros_like(noise)
    if request.trajectory == "tokens" and any(complete):
        actions[finished] = _written_actions(model, state, written.finished(start), int(finished.sum()), request, generator)
    elif any(complete):
        ended = written.finished(start)
        actions[finished] = denoise(model, prompt, state, ended, noise[finished], request, tokenizer).cpu()
    words = [ids[:n].tolist() for ids, n in zip(written.tokens, written.lengths, strict=True)]
    return output(actions, words, complete, tokenizer)


def output(actions: Tensor, words: Sequence[Sequence[int]], complete: tuple[bool, ...], tokenizer: Tokenizer) -> ModelOutput:
    """Actions (samples, 64, 2), and what was written in each row, as an engine answers.

    Raises EngineFailure for actions that are no numbers.
    """
    if not bool(actions.isfinite().all()):
        raise EngineFailure(f"actions are not finite: {int((~actions.isfinite()).sum())} of {actions.numel()} numbers")
    texts = [tokenizer.decode(ids) for ids in words]
    return ModelOutput(
        actions=actions.numpy(),
        texts=tuple(section(text.partition("<|traj_future_start|>")[0], "cot") for text in texts),
        tokens=tuple(map(len, words)),
        complete=complete,
        meta_actions=tuple(section(text, "meta_action") if "<|meta_action_end|>" in text else "" for text in texts),
    )


@torch.inference_mode()
def answer(model: Alpamayo, tokenizer: Tokenizer, prompt: Prompt, request: Request) -> str:
    """The model's answer to the question of a prompt of mode "ask"; one that the limit cuts says so."""
    choose = chooser(request, 1, request.max_tokens, torch.Generator().manual_seed(request.seed))
    state = prefill(model, prompt, request.max_tokens)
    written = write(model, state, 1, choose, {model.config.eos_token_id}, request.max_tokens)
    text = section(tokenizer.decode(written.tokens[0, : written.lengths[0]].tolist()).removesuffix("<|im_end|>"), "answer")
    return text if written.ended[0] is not None else f"{text} [cut after {request.max_tokens} tokens]"


def prefill(model: Alpamayo, prompt: Prompt, room: int, seen: tuple[Scene, Tensor | None] | None = None) -> State:
    """Look at the images, unless they were seen, and read the prompt; the cache has room for that many tokens more."""
    if seen is None:
        kept_whole = prompt.pruning.prefill_keep == 1.0
        seen = (model.see(prompt.images), None) if kept_whole else see(model.vlm.model.visual, prompt.images)
    reading = _reading(model, prompt, *seen)
    length = len(reading.token_ids)
    cache = model.cache(batch=1, capacity=length + room)
    mask = causal_mask(torch.ones(1, length, dtype=torch.bool, device=model.device), length)
    hidden = model.read(reading.token_ids[None], reading.positions[:, None], cache, mask, reading.scene)
    cache.length = length
    cache = retrieved(model, reading, cache, prompt.pruning.decode_keep)
    return State(cache, cache.length, seen, model.logits(hidden[:, -1]), int(reading.positions.max()) + 1)


def _reading(model: Alpamayo, prompt: Prompt, scene: Scene, salience: Tensor | None) -> Reading:
    ids, image = prompt.token_ids.to(model.device), model.config.image_token_id
    positions = rope_positions(prompt.token_ids, prompt.blocks, image).to(model.device)
    reading = Reading(ids, positions, scene)
    return reading if salience is None else pruned(reading, salience, prompt.pruning.prefill_keep, image)


def write(
    model: Alpamayo, state: State, rows: int, choose: Choose, ends: Collection[int], limit: int, barred: slice | None = None
) -> Written:
    """Write up to `limit` tokens in each row, until every row has written one of `ends`; the ids `barred` are never written.
    The last token is read back, so that its keys and values are in the cache."""
    cache, logits = state.cache.repeated(rows), state.logits.expand(rows, -1)
    written: list[Tensor] = []
    ended: list[int | None] = [None] * rows
    lengths = [limit] * rows
    while len(written) < limit and None in ended:
        logits = logits.clone()
        if barred is not None:
            logits[:, barred] = -torch.inf
        token = choose(logits, len(written))
        written.append(token)
        for row, value in enumerate(token.tolist()):
            if ended[row] is None and value in ends:
                ended[row], lengths[row] = value, len(written)
        logits = _read_one(model, cache, token, state.position + len(written) - 1)
    return Written(cache, torch.stack(written, dim=1), tuple(lengths), tuple(ended))


def _read_one(model: Alpamayo, cache: Cache, token: Tensor, position: int) -> Tensor:
    """Logits (N, V) after one more token (N,) in every row."""
    positions = torch.full((3, len(token), 1), position, device=model.device)
    hidden = model.read(token[:, None], positions, cache, mask=None)
    cache.length += 1
    return model.logits(hidden[:, -1])


def denoise(
    model: Alpamayo, prompt: Prompt, state: State, written: Written, noise: Tensor, request: Request, tokenizer: Tokenizer
) -> Tensor:
    """Actions (samples, 64, 2) float32 at the end of the flow, guided towards the navigation command when asked for."""
    velocity = _velocity(model, conditioning(written, state))
    plain = without_route(prompt, tokenizer)  # the same prompt where there is no route: nothing to be guided by
    if request.guidance and len(plain.token_ids) < len(prompt.token_ids):
        velocity = guided(velocity, _velocity(model, _reread(model, plain, written, state)), request.guidance)
    return euler(velocity, noise.to(model.device), request.steps or model.config.flow_steps)[-1]


def conditioning(written: Written, state: State) -> Conditioning:
    """The prompt and each row's own words up to its end; the expert's tokens stand right behind them, seeing each other."""
    device, filled = written.cache.k.device, written.cache.length
    lengths = torch.tensor(written.lengths, device=device)[:, None]
    positions = state.position + lengths + torch.arange(HORIZON, device=device)
    mask = None  # attention is faster without one
    if min(written.lengths) < filled - state.length:
        columns = torch.arange(filled + HORIZON, device=device)
        mask = ((columns < state.length + lengths) | (columns >= filled))[:, None, None]
    return Conditioning(written.cache.context(), positions.expand(3, -1, -1), mask)


def _reread(model: Alpamayo, prompt: Prompt, written: Written, before: State) -> Conditioning:
    """The same words after another prompt about the same images."""
    rows, count = written.tokens.shape
    state = prefill(model, prompt, count, before.seen)
    cache = state.cache.repeated(rows)
    if count:
        positions = torch.arange(state.position, state.position + count, device=model.device).expand(3, rows, -1)
        keep = torch.ones(rows, state.length + count, dtype=torch.bool, device=model.device)
        model.read(written.tokens, positions, cache, causal_mask(keep, count))
        cache.length += count
    return conditioning(written._replace(cache=cache), state)


def _velocity(model: Alpamayo, seen: Conditioning) -> Velocity:
    def velocity(actions: Tensor, t: float) -> Tensor:
        times = torch.full((len(actions),), t, device=actions.device)
        return model.velocity(actions, times, seen.positions.expand(-1, len(actions), -1), seen.context, seen.mask)

    return velocity


def _written_actions(
    model: Alpamayo, state: State, written: Written, samples: int, request: Request, generator: torch.Generator
) -> Tensor:
    """Actions (samples, 64, 2) that the language model writes itself after <|traj_future_start|>, as 128 action tokens."""
    rows, count, first = len(written.lengths), model.config.future_tokens, model.config.traj_token_start
    drawn = []
    for sample in range(rows if request.greedy else samples):
        row, choose = sample % rows, chooser(request, 1, count, generator)
        before, ids = written.lengths[row] - 1, []
        cache = written.cache.row(row, state.length + before, count)  # up to <|traj_future_start|>, which is read again
        token = torch.tensor([model.config.token_ids["future_start"]], device=model.device)
        for index in range(count):
            logits = _read_one(model, cache, token, state.position + before + index)
            token = first + choose(logits[:, first : first + model.config.future_bins.num_bins], index)
            ids.append(int(token))
        drawn.append(torch.from_numpy(actions_of_tokens(ids, model.config)))
    return torch.stack(drawn).expand(samples, -1, -1)


def chooser(request: Request, rows: int, limit: int, generator: torch.Generator) -> Choose:
    """How the next token is taken from its logits: the likeliest, or drawn with the request's temperature and top-p."""
    uniform = uniforms(request, rows, limit, generator)
    return lambda logits, index: chosen(logits, None if uniform is None else uniform[index], request)


def uniforms(request: Request, rows: int, limit: int, generator: torch.Generator) -> Tensor | None:
    """The numbers (limit, rows, 1) from 0 to 1 that decide each token; None where nothing is drawn."""
    return None if request.greedy else torch.rand(limit, rows, 1, generator=generator)


def _saying(told: Sequence[int], choose: Choose) -> Choose:
    """Ids that are told; what the network would choose is found out all the same."""
    return lambda logits, index: choose(logits, index).fill_(told[index])


def chosen(logits: Tensor, uniform: Tensor | None, request: Request) -> Tensor:
    """Ids (N,) for logits (N, V): the likeliest, or those at `uniform` (N, 1) of the distribution.

    Raises EngineFailure for logits that are no numbers: the likeliest of those is a word like any other.
    """
    largest = logits.amax(dim=-1)
    if not bool(largest.isfinite().all()):
        raise EngineFailure(f"logits are not finite: the largest are {largest[:4].tolist()}")
    if uniform is None:
        return logits.argmax(dim=-1)
    kept = probabilities(logits, request.temperature, request.top_p).cumsum(dim=-1)
    below = torch.nextafter(kept[:, -1:], torch.zeros_like(kept[:, -1:]))  # a product may round up to the sum: no token
    return torch.searchsorted(kept, torch.minimum(uniform.to(kept.device) * kept[:, -1:], below), right=True)[:, 0]


def probabilities(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """(N, V): softmax at a temperature, cut to the fewest likeliest tokens whose sum reaches top_p (nucleus sampling)."""
    likely, order = (logits / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    likely = likely.where(likely.cumsum(dim=-1) - likely < top_p, 0.0)
    kept = torch.zeros_like(likely).scatter(-1, order, likely)
    return kept / kept.sum(dim=-1, keepdim=True)


def section(text: str, name: str) -> str:
    """What stands before the first <|name_end|>, or the end, and after the last <|name_start|> before it, if there is one."""
    return text.partition(f"<|{name}_end|>")[0].rpartition(f"<|{name}_start|>")[2].strip()
