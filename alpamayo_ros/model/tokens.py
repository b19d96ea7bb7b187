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

from alpamayo_ros.bundle.config import Bins, Config
from alpamayo_ros.dynamics import Floats
from alpamayo_ros.types import F32, HORIZON, EgoSignals, InvalidInput, TurnIndicator

NAMES = (
    "prompt_start prompt_end image_start image_pre_tkn* image_end traj_history_start traj_history_pre_tkn* traj_history_end "
    "cot_start cot_end meta_action_start* meta_action_end* traj_future_start traj_future_pre_tkn* traj_future_end traj_history "
    "traj_future image_pad vectorized_wm* vectorized_wm_start* vectorized_wm_end* vectorized_wm_pre_tkn* route_start route_pad "
    "route_end question_start question_end answer_start answer_end"
)
"""Special tokens of Alpamayo-R1 in the order of their ids; Alpamayo-1.5 calls those with a star `_padding_0` to `_8`."""

SIGNALS = {
    "speed": ("speed_mps", -10.0, 50.0),
    "acceleration": ("acceleration_mps2", -10.0, 10.0),
    "steering_angle": ("steering_angle_rad", -0.8, 0.8),
    "turn_indicator": ("turn_indicator", 0.0, 3.0),  # off, left, right, hazard
}
"""Ego signal of a profile -> field of EgoSignals, and the range of its bins. What lies outside takes the last bin."""


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


def read_tokenizer(folder: Path, config: Config) -> Tokenizer:
    """The tokenizer of a bundle: `tokenizer.json`, extended where it is still the language model's own. Raises
    InvalidInput for a file that is none, and where ids or their number are not those of config.json."""
    path = folder / "tokenizer.json"
    try:
        vocabulary = tokenizers.Tokenizer.from_buffer(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {error}") from error
    vocabulary.no_truncation()
    vocabulary.no_padding()
    if vocabulary.token_to_id("<i0>") is None:
        extend(vocabulary, config)
    _check(vocabulary, config, str(path))
    return Tokenizer(vocabulary)


def extend(vocabulary: tokenizers.Tokenizer, config: Config) -> None:
    """Add `<i0>`, `<i1>`, ... and the special tokens to a language model's own vocabulary, in the released order.

    What it has already, as Qwen3-VL's has `<|image_pad|>`, keeps its id.
    """
    vocabulary.add_tokens([f"<i{i}>" for i in range(config.traj_vocab_size)])
    vocabulary.add_special_tokens(_special_tokens(config))


def _special_tokens(config: Config) -> list[str]:
    unused = [name for name in NAMES.split() if name.endswith("*") and config.generation == "1.5"]
    return [f"<|_padding_{unused.index(n)}|>" if n in unused else f"<|{n.rstrip('*')}|>" for n in NAMES.split()]


def _check(vocabulary: tokenizers.Tokenizer, config: Config, where: str) -> None:
    """Raise InvalidInput unless the vocabulary is the one that the embedding was trained with."""
    if (size := vocabulary.get_vocab_size(with_added_tokens=True)) != config.vocab_size:
        raise InvalidInput(f"config.json says {config.vocab_size} tokens, {where} has {size}")
    names = [f"<i{i}>" for i in range(config.traj_vocab_size)] + [n for n in _special_tokens(config) if n != "<|image_pad|>"]
    wanted = list(enumerate(names, config.traj_token_start))
    wanted += [(config.image_token_id, "<|image_pad|>"), (config.eos_token_id, "<|im_end|>")]
    wanted += ((token_id, f"<|traj_{key}|>") for key, token_id in config.token_ids.items())
    added = {token.content: token_id for token_id, token in vocabulary.get_added_tokens_decoder().items()}
    for token_id, token in wanted:
        if added.get(token) != token_id:
            raise InvalidInput(f"config.json says {token_id} for {token}, {where} has {added.get(token)}")


def plain(text: str, what: str, allowed: str = "") -> str:
    """Text from outside, if it is words only. Raises InvalidInput that quotes text with `<|`, `|>`, or with control characters
    other than the allowed."""
    control = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in allowed for c in text)
    if control or "<|" in text or "|>" in text:
        raise InvalidInput(f"{what} {text!r}: special tokens and control characters are refused")
    return text


def history_tokens(xyz: Floats, config: Config) -> list[int]:
    """Ids (3 N) of a history (N, 3), m, ego_t0: binned steps between poses, x y z of one after x y z of the other.

    The first step starts at the origin, as released: above about 2.7 m/s its x lies outside of the bins. Raises InvalidInput.
    """
    if xyz.shape != (config.history_tokens // 3, 3):
        raise InvalidInput(f"history: the model takes ({config.history_tokens // 3}, 3), got {xyz.shape}")
    steps = np.diff(xyz, axis=0, prepend=np.zeros_like(xyz[:1]))
    return _ids(steps, config.history_bins, _history_start(config))


def action_tokens(actions: Floats, config: Config) -> list[int]:
    """Ids (128) of normalised actions (64, 2): acceleration, curvature, acceleration, ... Raises InvalidInput."""
    if actions.shape != (HORIZON, 2):
        raise InvalidInput(f"actions: want ({HORIZON}, 2), got {actions.shape}")
    return _ids(actions, config.future_bins, config.traj_token_start)


def actions_of_tokens(ids: Sequence[int], config: Config) -> F32:
    """Normalised actions (64, 2), the centres of the bins of 128 ids. Raises InvalidInput for another number or other ids."""
    first, last = config.traj_token_start, config.future_bins.num_bins - 1
    bins = np.asarray(ids, np.int64) - first
    if len(bins) != config.future_tokens or bins.min() < 0 or bins.max() > last:
        got = f"{len(bins)} in {min(ids, default=None)}..{max(ids, default=None)}"
        raise InvalidInput(f"action tokens: want {config.future_tokens} ids in {first}..{first + last}, got {got}")
    low, high = np.array(config.future_bins.low, np.float32), np.array(config.future_bins.high, np.float32)
    return bins.reshape(HORIZON, 2).astype(np.float32) / np.float32(last) * (high - low) + low


def signal_tokens(signals: EgoSignals | None, names: Sequence[str], config: Config) -> list[int]:
    """Ids of ego signals, N per name in the order of `names`: uniform bins over the ranges of SIGNALS, in the history's ids.

    Raises InvalidInput for a signal that the observation lacks.
    """
    ids: list[int] = []
    for name in names:
        field, low, high = SIGNALS[name]
        values = getattr(signals, field, None)
        if values is None:
            raise InvalidInput(f"the profile declares the ego signal {name}, the observation has none")
        if name == "turn_indicator":
            values = np.array([get_args(TurnIndicator).index(state) for state in values], np.float32)
        ids += _ids(values, Bins(config.history_bins.num_bins, (low,), (high,)), _history_start(config))
    return ids


def _history_start(config: Config) -> int:
    return config.traj_token_start + config.future_bins.num_bins


def _ids(values: Floats, bins: Bins, start: int) -> list[int]:
    """Ids, from `start` on, of the bins of values (..., dimensions), flattened.

    Halves round to even; what lies outside falls into the last bin of its side.
    """
    low, high = np.asarray(bins.low, values.dtype), np.asarray(bins.high, values.dtype)
    last = bins.num_bins - 1
    binned = np.clip(np.rint((values - low) / (high - low) * last), 0, last)
    ids: list[int] = (binned.astype(np.int64) + start).ravel().tolist()
    return ids
