"""Words, poses and actions as token ids, as the released models count them.

A vocabulary is the language model's own, then `<i0>`, `<i1>`, ... (the bins of the future first, those of the history
behind them), then special tokens. Sources: NVlabs/alpamayo and NVlabs/alpamayo1.5; the golden values of the tests.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import tokenizers
import torch
from torch import Tensor

from alpamayo_ros.dynamics import Floats
from alpamayo_ros.model.config import Bins, Config
from alpamayo_ros.types import F32, HORIZON, EgoSignals, InvalidInput

NAMES = (
    "prompt_start prompt_end image_start image_pre_tkn image_end traj_history_start traj_history_pre_tkn traj_history_end "
    "cot_start cot_end meta_action_start meta_action_end traj_future_start traj_future_pre_tkn traj_future_end traj_history "
    "traj_future image_pad vectorized_wm vectorized_wm_start vectorized_wm_end vectorized_wm_pre_tkn route_start route_pad "
    "route_end question_start question_end answer_start answer_end"
).split()
"""Special tokens of Alpamayo-R1 in the order of their ids; `image_pad` is in Qwen3-VL's vocabulary already."""

UNUSED_IN_1_5 = (
    "image_pre_tkn traj_history_pre_tkn meta_action_start meta_action_end traj_future_pre_tkn "
    "vectorized_wm vectorized_wm_start vectorized_wm_end vectorized_wm_pre_tkn"
).split()
"""What Alpamayo-1.5 calls `_padding_0` to `_padding_8`, at the same ids."""

TRAJECTORY_TOKENS = {
    "history": "<|traj_history|>",
    "future": "<|traj_future|>",
    "history_start": "<|traj_history_start|>",
    "future_start": "<|traj_future_start|>",
    "history_end": "<|traj_history_end|>",
    "future_end": "<|traj_future_end|>",
}
"""Keys of `traj_token_ids` in config.json -> tokens."""

SIGNAL_RANGES = {"speed": (-10.0, 50.0), "acceleration": (-10.0, 10.0), "steering_angle": (-0.8, 0.8)}
"""Physical range of the bins of an ego signal: m/s, m/s^2, rad at the front wheels. What lies outside takes the last bin."""


class Tokenizer:
    """A model's vocabulary: plain text to ids, ids to text, and the ids of special tokens."""

    def __init__(self, vocabulary: tokenizers.Tokenizer) -> None:
        self._vocabulary = vocabulary
        self._added = {token: added.content for token, added in vocabulary.get_added_tokens_decoder().items()}
        self._ids = {content: token for token, content in self._added.items()}

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. Raises InvalidInput where the text spells an added token."""
        ids: list[int] = self._vocabulary.encode(text, add_special_tokens=False).ids
        spelled = next((self._added[token] for token in ids if token in self._added), None)
        if spelled is not None:
            raise InvalidInput(f"text {text!r} spells the token {spelled}")
        return ids

    def id(self, token: str) -> int:
        """Id of an added token such as "<|cot_start|>". Raises InvalidInput."""
        if token not in self._ids:
            raise InvalidInput(f"no token {token} among the {len(self._ids)} that this vocabulary adds to its words")
        return self._ids[token]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens spelled out; bytes that are no UTF-8 become U+FFFD."""
        return self._vocabulary.decode(list(ids), skip_special_tokens=False)

    def __len__(self) -> int:
        """Ids of the vocabulary, those of added tokens included."""
        return self._vocabulary.get_vocab_size(with_added_tokens=True)


def read_tokenizer(folder: Path, config: Config) -> Tokenizer:
    """The tokenizer of a bundle: `tokenizer.json`, extended where it is still the language model's own.

    Raises InvalidInput for a file that is none, and where ids or their number are not those of config.json.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file")
    try:
        vocabulary = tokenizers.Tokenizer.from_buffer(path.read_bytes())
    except ValueError as error:
        raise InvalidInput(f"{path}: {error}") from error
    vocabulary.no_truncation()
    vocabulary.no_padding()
    if vocabulary.token_to_id("<i0>") is None:
        extend(vocabulary, config)
    tokenizer = Tokenizer(vocabulary)
    _check(tokenizer, config, str(path))
    return tokenizer


def extend(vocabulary: tokenizers.Tokenizer, config: Config) -> None:
    """Add `<i0>`, `<i1>`, ... and the special tokens to a language model's own vocabulary, in the released order."""
    padding = {name: f"_padding_{i}" for i, name in enumerate(UNUSED_IN_1_5 if config.generation == "1.5" else ())}
    vocabulary.add_tokens([f"<i{i}>" for i in range(config.traj_vocab_size)])
    vocabulary.add_special_tokens([f"<|{padding.get(name, name)}|>" for name in NAMES])


def _check(tokenizer: Tokenizer, config: Config, where: str) -> None:
    """Raise InvalidInput unless the vocabulary is the one that the embedding was trained with."""
    if len(tokenizer) != config.vocab_size:
        raise InvalidInput(f"config.json says {config.vocab_size} tokens, {where} has {len(tokenizer)}")
    first, last = config.traj_token_start, config.traj_token_start + config.traj_vocab_size - 1
    wanted = {"<i0>": first, f"<i{config.traj_vocab_size - 1}>": last, "<|image_pad|>": config.image_token_id}
    wanted |= {token: config.token_ids[key] for key, token in TRAJECTORY_TOKENS.items()}
    for token, want in wanted.items():
        if tokenizer.id(token) != want:
            raise InvalidInput(f"config.json says {want} for {token}, {where} says {tokenizer.id(token)}")


def plain(text: str, what: str) -> str:
    """`text` that came from outside, if it is words only. Raises InvalidInput that quotes control characters and `<|`."""
    if "<|" in text or "|>" in text:
        raise InvalidInput(f"{what} {text!r}: text with special tokens is refused")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise InvalidInput(f"{what} {text!r}: text with control characters is refused")
    return text


def history_tokens(xyz: Floats, config: Config) -> list[int]:
    """Ids (3 N) of a history (N, 3), m, ego_t0: binned steps between poses, x y z of one after x y z of the other.

    The first step starts at the origin, as released: above about 2.7 m/s its x lies outside of the bins. Raises InvalidInput.
    """
    if xyz.shape != (config.history_tokens // 3, 3):
        raise InvalidInput(f"history: the model takes ({config.history_tokens // 3}, 3), got {xyz.shape}")
    steps = np.diff(xyz, axis=0, prepend=np.zeros_like(xyz[:1]))
    return _offset(_binned(steps, config.history_bins), _history_start(config))


def action_tokens(actions: Floats, config: Config) -> list[int]:
    """Ids (128) of normalised actions (64, 2): acceleration and curvature of one step after those of the other.

    Raises InvalidInput.
    """
    if actions.shape != (HORIZON, 2):
        raise InvalidInput(f"actions: want ({HORIZON}, 2), got {actions.shape}")
    return _offset(_binned(actions, config.future_bins), config.traj_token_start)


def actions_of_tokens(ids: Sequence[int], config: Config) -> F32:
    """Normalised actions (64, 2), the centres of the bins of 128 ids. Raises InvalidInput for another number or other ids."""
    bins = np.asarray(ids, np.int64) - config.traj_token_start
    last = config.future_bins.num_bins - 1
    if len(bins) != config.future_tokens or bins.min() < 0 or bins.max() > last:
        allowed = f"{config.traj_token_start}..{config.traj_token_start + last}"
        raise InvalidInput(f"{len(bins)} ids in {min(ids, default=0)}..{max(ids, default=0)}: want {2 * HORIZON} in {allowed}")
    low, high = np.float32(config.future_bins.low), np.float32(config.future_bins.high)
    return bins.reshape(HORIZON, 2).astype(np.float32) / np.float32(last) * (high - low) + low


def signal_tokens(signals: EgoSignals, names: Sequence[str], config: Config) -> list[int]:
    """Ids of ego signals, N per name in the order of `names`, in the range of ids of the history.

    Numbers fall into uniform bins over SIGNAL_RANGES; off, left, right, hazard are the bins 0 to 3. Raises InvalidInput.
    """
    numbers = {
        "speed": signals.speed_mps,
        "acceleration": signals.acceleration_mps2,
        "steering_angle": signals.steering_angle_rad,
    }
    ids: list[int] = []
    for name in names:
        if name == "turn_indicator":
            bins = np.array([INDICATORS.index(state) for state in signals.turn_indicator])
        else:
            low, high = SIGNAL_RANGES[name]
            bins = _binned(numbers[name], Bins(config.history_bins.num_bins, (low,), (high,)))
        ids += _offset(bins, _history_start(config))
    return ids


def drop_history(token_ids: Tensor, config: Config, probability: float, rng: np.random.Generator) -> Tensor:
    """For training: with this probability everything between `<|traj_history_start|>` and its end becomes unknown.

    Poses and ego signals alike are replaced by `<|traj_history|>`, whose embedding comes to mean that nothing is known, so
    that a model cannot live by continuing its own motion. Ids (L,) stay (L,).
    """
    if rng.random() >= probability:
        return token_ids
    ids = config.token_ids
    after_start = (token_ids == ids["history_start"]).cumsum(0) - (token_ids == ids["history_start"]).long()
    inside = (after_start - (token_ids == ids["history_end"]).cumsum(0)) > 0
    return torch.where(inside, ids["history"], token_ids)


def noisy_history(xyz: F32, std_m: float, rng: np.random.Generator) -> F32:
    """For training: a history (N, 3), m, with Gaussian noise on every pose but the last, which is the origin by definition."""
    noise = rng.normal(0.0, std_m, xyz.shape).astype(np.float32)
    noise[-1] = 0.0
    return xyz + noise


def _history_start(config: Config) -> int:
    return config.traj_token_start + config.future_bins.num_bins


def _binned(values: Floats, bins: Bins) -> Floats:
    """Bin of every value (..., dimensions): halves round to even, what is outside falls into the last bin of its side."""
    low, high = np.asarray(bins.low, values.dtype), np.asarray(bins.high, values.dtype)
    last = bins.num_bins - 1
    return np.clip(np.rint((values - low) / (high - low) * last), 0, last)


def _offset(bins: Floats, start: int) -> list[int]:
    ids: list[int] = (bins.astype(np.int64) + start).ravel().tolist()
    return ids
