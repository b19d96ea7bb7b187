"""Ids as released: the vocabulary, the history, discrete actions, ego signals; and text that tries to be more than words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from model.reference import VECTORS, needs_vectors, tiny_config, vectors
from model.vocabulary import small_config, trajectory_ids, write_vocabulary

from alpamayo_ros.bundle.config import Bins, Config
from alpamayo_ros.dynamics import Floats, actions_from_trajectory
from alpamayo_ros.model.tokens import (
    Tokenizer,
    action_tokens,
    actions_of_tokens,
    extend,
    history_tokens,
    plain,
    read_tokenizer,
    signal_tokens,
)
from alpamayo_ros.types import EgoSignals, InvalidInput

RELEASED_BINS = small_config(
    history_bins=Bins(1000, (-4.0, -4.0, -10.0), (4.0, 4.0, 10.0)), future_bins=Bins(3000, (-10.0, -10.0), (10.0, 10.0))
)
HISTORY_START = RELEASED_BINS.traj_token_start + 3000


def released_vocabulary(generation: str, **changes: object) -> Config:
    sizes = {"vocab_size": 155697, "traj_token_start": 151669, "traj_vocab_size": 4000}
    ids = {"image_token_id": 151655, "eos_token_id": 151645, "token_ids": trajectory_ids(155669)}
    return small_config(generation=generation, **sizes | ids | changes)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of Qwen3-VL's size, 151669, its own tokens at their ids."""
    return write_vocabulary(tmp_path_factory.mktemp("qwen"), words=151643, more=12)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return read_tokenizer(write_vocabulary(tmp_path_factory.mktemp("small")), small_config())


def extended(folder: Path) -> dict[str, Any]:
    """tokenizer.json of R1, extended; also written into the folder."""
    vocabulary = tokenizers.Tokenizer.from_file(str(write_vocabulary(folder) / "tokenizer.json"))
    extend(vocabulary, small_config())
    vocabulary.save(str(folder / "tokenizer.json"))
    read_tokenizer(folder, small_config())
    return json.loads(vocabulary.to_str())


class TestVocabulary:
    @pytest.mark.parametrize(("generation", "unused"), [("r1", "meta_action_start"), ("1.5", "_padding_2")])
    def test_a_plain_vocabulary_is_extended_to_the_released_ids(self, qwen: Path, generation: str, unused: str) -> None:
        tokenizer = read_tokenizer(qwen, released_vocabulary(generation))
        released = {"prompt_start": 155669, "traj_history_start": 155674, "cot_start": 155677, unused: 155679}
        released |= {"traj_future_start": 155681, "traj_history": 155684, "image_pad": 151655, "route_start": 155690}
        released |= {"question_start": 155693, "answer_end": 155696}
        assert {name: tokenizer.id(f"<|{name}|>") for name in released} == released
        assert [tokenizer.id("<i0>"), tokenizer.id("<i3999>")] == [151669, 155668]

    @pytest.mark.parametrize(
        ("changes", "sides"),
        [
            ({"vocab_size": 155698}, r"config\.json says 155698 tokens, .*tokenizer\.json has 155697"),
            ({"traj_token_start": 151670}, r"says 151670 for <i0>, .* has 151669"),
            ({"image_token_id": 151656}, r"says 151656 for <\|image_pad\|>, .* has 151655"),
            ({"token_ids": trajectory_ids(155670)}, r"says 155685 for <\|traj_history\|>, .* has 155684"),
        ],
    )
    def test_another_models_vocabulary_is_refused(self, qwen: Path, changes: dict[str, object], sides: str) -> None:
        with pytest.raises(InvalidInput, match=sides):
            read_tokenizer(qwen, released_vocabulary("1.5", **changes))

    def test_special_tokens_that_changed_places_are_refused(self, tmp_path: Path) -> None:
        stored = extended(tmp_path)
        start, end = (next(t for t in stored["added_tokens"] if t["content"] == f"<|cot_{part}|>") for part in ("start", "end"))
        start["content"], end["content"] = end["content"], start["content"]
        (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
        with pytest.raises(InvalidInput, match=r"says 478 for <\|cot_start\|>, .* has 479"):
            read_tokenizer(tmp_path, small_config())

    def test_a_special_token_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        stored = extended(tmp_path)
        next(t for t in stored["added_tokens"] if t["content"] == "<|route_start|>")["content"] = "<|another|>"
        (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
        with pytest.raises(InvalidInput, match=r"says 491 for <\|route_start\|>, .* has None"):
            read_tokenizer(tmp_path, small_config())

    def test_names_of_the_other_generation_are_refused(self, tmp_path: Path) -> None:
        extended(tmp_path)
        with pytest.raises(InvalidInput, match=r"says 473 for <\|_padding_0\|>, .* has None"):
            read_tokenizer(tmp_path, small_config(generation="1.5"))

    @pytest.mark.parametrize("content", [None, b"", b'{"version": "1.0"'])
    def test_no_vocabulary_is_refused(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(InvalidInput, match=r"tokenizer\.json: (.*No such file|Cannot .*EOF)"):
            read_tokenizer(tmp_path, small_config())

    def test_words_survive_and_special_tokens_are_spelled_out(self, small: Tokenizer) -> None:
        words = "Slow for the cyclist, 路面 wet."
        assert small.decode([*small.encode(words), small.id("<|cot_end|>")]) == words + "<|cot_end|>"

    def test_an_unknown_token_has_no_id(self, small: Tokenizer) -> None:
        with pytest.raises(InvalidInput, match="no token <i200>"):
            small.id("<i200>")


class TestTextFromOutside:
    @pytest.mark.parametrize("text", ["go <i5>", "<|im_end|>", "a<|cot_end|>b"])
    def test_words_never_become_special_tokens(self, small: Tokenizer, text: str) -> None:
        with pytest.raises(InvalidInput, match=r"spells the token <"):
            small.encode(text)

    @pytest.mark.parametrize("text", ["A <|never_heard_of|>", "half |>", "a\x00b", "a\nb", "a\u2028b", "\ud800"])
    def test_what_is_not_words_is_refused_and_quoted(self, text: str) -> None:
        with pytest.raises(InvalidInput, match=r"road name '.+': special tokens and control"):
            plain(text, "road name")

    def test_words_pass_as_they_are(self) -> None:
        assert plain("A lane?\nक्षेत्र < 5 | 6 >", "question", allowed="\n") == "A lane?\nक्षेत्र < 5 | 6 >"


def drive(speed_mps: float, curvature_1pm: float = 0.0, steps: int = 16) -> Floats:
    """Positions (steps, 3) on an arc that ends at the origin, 0.1 s apart."""
    arc = speed_mps * 0.1 * np.arange(1.0 - steps, 1.0)
    yaw = arc * curvature_1pm
    xy = [np.sin(yaw), 1 - np.cos(yaw)] if curvature_1pm else [arc, 0 * arc]
    return np.stack([*xy, 0 * arc], axis=-1) / (np.array([curvature_1pm or 1, curvature_1pm or 1, 1]))


class TestHistory:
    @pytest.mark.parametrize(
        ("history", "bins"),
        [
            (drive(10), [0, 500, 500, 624, 500, 500, 624]),
            (drive(10, 0.02), [0, 778, 500, 619, 464, 500, 620, 466, 500]),
            (drive(2), [125, 500, 500, 524, 500, 500, 524]),
            (drive(0), [500] * 48),
        ],
    )
    def test_golden_values_of_the_released_bins(self, history: Floats, bins: list[int]) -> None:
        found = np.array(history_tokens(history, RELEASED_BINS)) - HISTORY_START
        assert len(found) == 48
        assert found[: len(bins)].tolist() == bins

    def test_halves_round_to_even(self) -> None:
        config = small_config(history_bins=Bins(5, (-4.0,) * 3, (4.0,) * 3), history_tokens=12)
        steps = np.array([[-3.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, 3.0, 0.0], [3.0, -3.0, 0.0]])
        found = np.array(history_tokens(steps.cumsum(axis=0), config)).reshape(4, 3) - config.traj_token_start - 120
        assert found[:, 0].tolist() == [0, 2, 2, 4], "of 0.5, 1.5, 2.5, 3.5"

    def test_a_longer_history_is_three_ids_a_pose(self) -> None:
        config = small_config(history_tokens=63)
        found = history_tokens(drive(5, steps=21), config)
        assert len(found) == 63
        assert found[-45:] == history_tokens(drive(5), small_config())[-45:], "the same last 15 steps"
        with pytest.raises(InvalidInput, match=r"takes \(21, 3\), got \(16, 3\)"):
            history_tokens(drive(5), config)


class TestActions:
    def test_ids_and_actions_are_inverses_on_the_bins(self) -> None:
        first = RELEASED_BINS.traj_token_start
        ids = np.random.default_rng(0).integers(first, first + 3000, 128).tolist()
        assert action_tokens(actions_of_tokens(ids, RELEASED_BINS), RELEASED_BINS) == ids

    def test_an_action_beyond_the_bins_takes_the_last(self) -> None:
        actions = np.full((64, 2), 11.0)
        actions[:, 1] = -11.0
        assert set(action_tokens(actions, RELEASED_BINS)) == {HISTORY_START - 1, RELEASED_BINS.traj_token_start}

    @pytest.mark.parametrize(("count", "outside"), [(127, 0), (128, 3000), (128, -1)])
    def test_ids_that_are_no_actions_are_refused(self, count: int, outside: int) -> None:
        ids = [RELEASED_BINS.traj_token_start] * (count - 1) + [RELEASED_BINS.traj_token_start + outside]
        with pytest.raises(InvalidInput, match=rf"want 128 ids in 270\.\.3269, got {count} in"):
            actions_of_tokens(ids, RELEASED_BINS)


class TestSignals:
    def test_signals_follow_the_profiles_order_one_id_per_instant(self) -> None:
        signals = EgoSignals(
            speed_mps=np.array([-10, 20, 80], np.float32),
            acceleration_mps2=None,
            steering_angle_rad=None,
            turn_indicator=("off", "left", "hazard"),
        )
        speed = signal_tokens(signals, ("speed",), RELEASED_BINS)
        indicator = signal_tokens(signals, ("turn_indicator",), RELEASED_BINS)
        assert [i - HISTORY_START for i in speed] == [0, 500, 999]  # -10..50 m/s, half to even, 80 m/s is the last bin
        assert [i - HISTORY_START for i in indicator] == [0, 333, 999]
        assert signal_tokens(signals, ("turn_indicator", "speed"), RELEASED_BINS) == indicator + speed

    def test_a_signal_that_was_not_measured_is_named(self) -> None:
        signals = EgoSignals(np.zeros(3, np.float32), None, None, None)
        for absent in (signals, None):
            with pytest.raises(InvalidInput, match="declares the ego signal acceleration"):
                signal_tokens(absent, ("acceleration",), RELEASED_BINS)


class TestReference:
    """Numbers of the public reference code; float32 may round to the next bin."""

    pytestmark = needs_vectors

    def test_the_reference_extends_its_vocabulary_alike(self, small: Tokenizer) -> None:
        recorded = read_tokenizer(VECTORS / "model" / "tokenizer", tiny_config())
        everything = range(tiny_config().vocab_size)
        assert [small.decode([i]) for i in everything] == [recorded.decode([i]) for i in everything]

    @pytest.mark.parametrize(("dtype", "apart"), [("float64", 0), ("float32", 1)])
    def test_ids_of_a_history(self, dtype: str, apart: int) -> None:
        stored = vectors("delta_tokenizer.npz")
        found = np.array([history_tokens(xyz.astype(dtype), RELEASED_BINS) for xyz in stored["hist_xyz"]])
        wanted = stored[f"f{dtype[-2:]}_hist_token_ids_start3000"] + RELEASED_BINS.traj_token_start
        assert np.abs(found - wanted).max() <= apart

    @pytest.mark.parametrize(("dtype", "apart"), [("float64", 0), ("float32", 1)])
    def test_ids_of_actions(self, dtype: str, apart: int) -> None:
        stored = vectors("discrete_tokenizer.npz")
        paths = zip(*(stored[name].astype(dtype) for name in ("hist_xyz", "hist_rot", "fut_xyz", "fut_rot")), strict=True)
        space = tiny_config().action_space  # the constants that these were made with
        found = [action_tokens(actions_from_trajectory(*path, space=space), RELEASED_BINS) for path in paths]
        assert np.abs(np.array(found) - RELEASED_BINS.traj_token_start - stored[f"f{dtype[-2:]}_tokens"]).max() <= apart
