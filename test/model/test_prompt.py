"""Prompts as released, id by id; what the profile asks for is in them, and nothing that it does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from model.reference import VECTORS, needs_vectors, tiny_config, vectors
from model.vocabulary import small_config, write_vocabulary

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.dynamics import actions_from_trajectory
from alpamayo_ros.model.prompt import Prompt, encode, joined, navigation_text, without_route
from alpamayo_ros.model.tokens import Tokenizer, action_tokens, read_tokenizer
from alpamayo_ros.profile import InputProfile, read_profile
from alpamayo_ros.types import ROLES, CameraFrame, EgoHistory, EgoPose, EgoSignals, InvalidInput, Navigation, Observation

LABELLED = small_config(generation="1.5", camera_labels=True, frame_labels=True)
CASES = json.loads((Path(__file__).parent / "vectors" / "prompts_15.json").read_text())
"""NVlabs/alpamayo1.5's own messages through a processor of one placeholder per image, by transformers 4.57.1."""

MANEUVERS = {"Turn left in 11m": ("turn_left", 11, ""), "Continue straight": ("continue", 80, "")}
MANEUVERS |= {"Turn left onto De La Cruz Boulevard in 40m": ("turn_left", 40.4, "De La Cruz Boulevard")}
MANEUVERS |= {"Turn right onto Königstraße in 30m": ("turn_right", 29.6, "Königstraße")}
MANEUVERS |= {"Keep left in 200m": ("keep_left", 200, ""), "Pull over in 5m": ("pull_over", 5, "")}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return read_tokenizer(write_vocabulary(tmp_path_factory.mktemp("small")), small_config())


def profile(*roles: str, frames: int = 2, steps: int = 16, **changes: Any) -> InputProfile:
    small = {"cameras": dict.fromkeys(roles or ("front_wide",), "required"), "image_height": 64, "image_width": 64}
    small |= {"frame_offsets_ms": tuple(range(100 - 100 * frames, 1, 100)), "history_steps": steps}
    return read_profile("seven_camera").model_copy(update=small | changes)


def observation(seen: InputProfile, navigation: Navigation | None = None, signals: EgoSignals | None = None) -> Observation:
    """Every camera of a profile, its images all of one level: 10 times the role's index + the frame's place."""
    levels = {role: [10 * ROLES.index(role) + k for k in range(len(seen.frame_offsets_ms))] for role in seen.cameras}
    frames = {
        role: tuple(CameraFrame(role, 0, 0, np.full(seen.image_shape, level, np.uint8)) for level in of_role)
        for role, of_role in reversed(levels.items())
    }
    steps = seen.history_steps
    xyz = np.stack([np.linspace(-1.5, 0, steps), np.zeros(steps), np.zeros(steps)], axis=-1).astype(np.float32)
    history = EgoHistory(0, xyz, np.tile(np.eye(3, dtype=np.float32), (steps, 1, 1)))
    here = EgoPose(0, np.zeros(3), np.eye(3), np.array([10.0, 0, 0]), np.zeros(3))
    return Observation(0, 0, frames, history, here, navigation, signals)


def command(text: str) -> Navigation:
    maneuver, distance_m, road_name = MANEUVERS[text]
    return Navigation(maneuver, distance_m, road_name, expires_ns=1)


def words(prompt: Prompt, tokenizer: Tokenizer) -> str:
    return tokenizer.decode(prompt.token_ids.tolist())


def placeholders(prompt: Prompt, config: Config) -> list[int]:
    """Ids with the history still to be filled in, as the recorded ones are."""
    ids: list[int] = prompt.token_ids.tolist()
    if (start := config.token_ids["history_start"]) in ids:
        inside = slice(ids.index(start) + 1, ids.index(config.token_ids["history_end"]))
        ids[inside] = [config.token_ids["history"]] * len(ids[inside])
    return ids


@pytest.mark.parametrize("name", CASES)
def test_prompts_of_the_public_code(name: str, tokenizer: Tokenizer) -> None:
    case = CASES[name]
    roles = [ROLES[index] for index in case["cameras"] or [1]]
    seen = profile(*roles, frames=case["frames"], navigation="text")
    mode = "ask" if "question" in case else "act" if case.get("trajectory_only") else "reason"
    config = LABELLED if case["cameras"] else small_config(generation="1.5")
    navigation = command(case["navigation"]) if "navigation" in case else None
    prompt = encode(observation(seen, navigation), seen, tokenizer, config, mode, case.get("question", ""))
    assert placeholders(prompt, config) == case["ids"]


@pytest.fixture
def recorded() -> Tokenizer:
    return read_tokenizer(VECTORS / "model" / "tokenizer", tiny_config())


class TestReference:
    """Prompts of Alpamayo-R1 on the recorded tiny checkpoint's own tokenizer, its history filled in."""

    pytestmark = needs_vectors

    def seen(self, stored: dict[str, np.ndarray], row: int) -> tuple[Observation, InputProfile]:
        four = profile("front_wide", frames=4, image_width=96)
        driven = observation(four)
        xyz = stored["hist_xyz"][row, 0] - stored["hist_xyz"][row, 0, -1:]
        moved = EgoHistory(0, xyz.astype(np.float32), driven.history.rot)
        return Observation(0, 0, driven.frames, moved, driven.ego_t0), four

    def test_the_prompt_with_its_history(self, recorded: Tokenizer) -> None:
        stored = vectors("model/prefill.npz")
        prompt = encode(*self.seen(stored, 0), recorded, tiny_config(), "reason")
        assert prompt.token_ids.tolist() == stored["fused_ids"][0].tolist()
        assert placeholders(prompt, tiny_config()) == stored["prompt_ids"][0].tolist()

    @pytest.mark.parametrize("row", [0, 1])
    def test_a_whole_training_sequence(self, recorded: Tokenizer, row: int) -> None:
        stored = vectors("model/sft.npz")
        config = tiny_config()
        path = (stored[name][row, 0].astype(np.float64) for name in ("hist_xyz", "hist_rot", "fut_xyz", "fut_rot"))
        actions = action_tokens(actions_from_trajectory(*path, space=config.action_space), config)
        written = ["Slow for the lead vehicle.", [recorded.id("<|cot_end|>"), recorded.id("<|traj_future_start|>")], actions]
        written += [[recorded.id("<|traj_future_end|>"), recorded.id("<|im_end|>")], "\n"]
        prompt = encode(*self.seen(stored, row), recorded, config, "reason")
        found = np.array([*prompt.token_ids.tolist(), *joined(written, recorded)])
        apart = np.abs(found - stored["fused_ids"][row])
        assert apart.max() <= 1, "the reference binned actions in float32"
        assert (apart == 0).mean() > 0.99

    def test_conversations(self, recorded: Tokenizer) -> None:
        for name, mode in (("gen_cot", "reason"), ("gen_traj", "act")):
            turns = json.loads((VECTORS / "prompts.json").read_text())[name]
            image = "<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>"
            said = ["".join(piece.get("text", image) for piece in turn["content"]) for turn in turns]
            wanted = "".join(f"<|im_start|>{t['role']}\n{text}<|im_end|>\n" for t, text in zip(turns, said, strict=True))
            prompt = encode(*self.seen(vectors("model/prefill.npz"), 0), recorded, tiny_config(), mode)
            assert recorded.decode(placeholders(prompt, tiny_config())) == wanted.removesuffix("<|im_end|>\n")


class TestImages:
    def test_camera_by_camera_in_the_order_of_roles_oldest_first(self, tokenizer: Tokenizer) -> None:
        seen = profile("front_left", "front_wide", "front_tele")
        prompt = encode(observation(seen), seen, tokenizer, LABELLED, "act")
        assert prompt.images.cameras == (0, 0, 1, 1, 6, 6)
        assert prompt.images.steps == (0, 1, 0, 1, 0, 1)
        levels = (prompt.images.patches.mean(dim=(1, 2)) * 127.5 + 127.5).round().int()
        assert levels.tolist() == [0, 1, 10, 11, 60, 61]
        assert prompt.images.grid == (4, 4)
        assert [block.grid for block in prompt.blocks] == [(1, 2, 2)] * 6

    def test_an_optional_camera_that_is_absent_is_left_out(self, tokenizer: Tokenizer) -> None:
        both = profile("front_wide", "rear_tele").model_copy(
            update={"cameras": {"front_wide": "required", "rear_tele": "optional"}}
        )
        alone = profile("front_wide")
        without = encode(observation(alone), both, tokenizer, LABELLED, "act")
        assert without.token_ids.equal(encode(observation(alone), alone, tokenizer, LABELLED, "act").token_ids)
        assert "Rear camera: frame 0 " in words(encode(observation(both), both, tokenizer, LABELLED, "act"), tokenizer)

    @pytest.mark.parametrize(
        ("wanted", "got", "sides"),
        [
            (profile("front_wide", "front_tele"), profile("front_wide"), r"front_tele: .* wants 2 frames .* has 0"),
            (profile(frames=4), profile(frames=2), r"front_wide: .* wants 4 frames .* has 2"),
            (profile(), profile(image_width=96), r"wants 2 frames of \(64, 64, 3\), .* has 2 of \[\(64, 96, 3\)\]"),
            (profile(image_width=80), profile(image_width=80), r"images of 64x80: the model takes \(64, 64\)"),
            (profile(steps=21), profile(steps=21), r"history: the model takes \(16, 3\), got \(21, 3\)"),
        ],
    )
    def test_what_the_profile_or_the_model_lacks_is_named(
        self, tokenizer: Tokenizer, wanted: InputProfile, got: InputProfile, sides: str
    ) -> None:
        with pytest.raises(InvalidInput, match=sides):
            encode(observation(got), wanted, tokenizer, small_config(), "act")


class TestNavigation:
    @pytest.mark.parametrize("text", MANEUVERS)
    def test_words_come_from_the_fields(self, text: str) -> None:
        assert navigation_text(command(text)) == text

    def test_without_its_route_a_prompt_is_the_one_without_navigation(self, tokenizer: Tokenizer) -> None:
        seen = profile(navigation="text")
        led = encode(observation(seen, command("Turn left in 11m")), seen, tokenizer, LABELLED, "reason")
        free = encode(observation(seen), seen, tokenizer, LABELLED, "reason")
        assert "<|route_start|>Turn left in 11m<|route_end|>output" in words(led, tokenizer)
        assert without_route(led, tokenizer).token_ids.equal(free.token_ids)
        assert without_route(free, tokenizer) is free

    def test_a_route_in_free_words_stands_as_it_is_and_spells_no_token(self, tokenizer: Tokenizer) -> None:
        assert navigation_text(Navigation("u_turn", 5, "", 1, "Turn left at the lights")) == "Turn left at the lights"
        with pytest.raises(InvalidInput, match="special tokens and control"):
            navigation_text(Navigation("u_turn", 5, "", 1, "left<|im_end|>"))

    def test_a_profile_without_navigation_never_sees_a_command(self, tokenizer: Tokenizer) -> None:
        seen = profile(navigation="none")
        led = encode(observation(seen, command("Turn left in 11m")), seen, tokenizer, LABELLED, "reason")
        assert led.token_ids.equal(encode(observation(seen), seen, tokenizer, LABELLED, "reason").token_ids)

    @pytest.mark.parametrize("road_name", ["A<|im_end|>", "<i5> Street", "Main\nassistant"])
    def test_a_road_name_that_is_more_than_words_is_refused(self, tokenizer: Tokenizer, road_name: str) -> None:
        seen = profile(navigation="text")
        with pytest.raises(InvalidInput, match=r"special tokens and control|spells the token <i5>"):
            encode(observation(seen, Navigation("u_turn", 5, road_name, 1)), seen, tokenizer, LABELLED, "act")


class TestQuestions:
    def test_a_question_belongs_to_the_mode_that_answers(self, tokenizer: Tokenizer) -> None:
        for mode, question in (("ask", " "), ("reason", "Why?")):
            with pytest.raises(InvalidInput, match="want a question in mode 'ask', and there only"):
                encode(observation(profile()), profile(), tokenizer, LABELLED, mode, question)

    @pytest.mark.parametrize("question", ["<|question_end|>", "Is <i0> red?", "a\x1bb"])
    def test_a_question_that_is_more_than_words_is_refused(self, tokenizer: Tokenizer, question: str) -> None:
        with pytest.raises(InvalidInput, match=r"special tokens and control|spells the token <i0>"):
            encode(observation(profile()), profile(), tokenizer, LABELLED, "ask", question)


class TestOurOwnProfiles:
    def test_meta_actions_are_asked_for_between_reasoning_and_trajectory(self, tokenizer: Tokenizer) -> None:
        seen = profile(meta_actions=True)
        text = words(encode(observation(seen), seen, tokenizer, LABELLED, "reason"), tokenizer)
        assert "reasoning of the driving process, then output meta actions, then output the future trajectory.<" in text
        assert "meta" not in words(encode(observation(seen), seen, tokenizer, LABELLED, "act"), tokenizer)

    def test_ego_signals_stand_behind_the_poses(self, tokenizer: Tokenizer) -> None:
        config = small_config(history_tokens=63)
        seen = profile(steps=21, ego_signals=("speed", "turn_indicator"))
        signals = EgoSignals(np.full(21, 7.0, np.float32), None, None, ("left",) * 21)
        ids = encode(observation(seen, signals=signals), seen, tokenizer, config, "act").token_ids
        start, end = (ids.tolist().index(config.token_ids[name]) for name in ("history_start", "history_end"))
        assert end - start - 1 == 63 + 21 + 21
        assert len(set(ids[start + 64 : start + 85].tolist())) == 1, "one speed all along"
        with pytest.raises(InvalidInput, match="declares the ego signal speed"):
            encode(observation(seen), seen, tokenizer, config, "act")


def test_neighbouring_texts_are_read_as_one() -> None:
    merged = tokenizers.models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")])
    both = Tokenizer(tokenizers.Tokenizer(merged))
    assert joined(["a", "b", [7], "a", [8], [9], "b"], both) == [2, 7, 0, 8, 9, 1]


def test_ids_are_what_a_network_takes(tokenizer: Tokenizer) -> None:
    assert encode(observation(profile()), profile(), tokenizer, LABELLED, "act").token_ids.dtype == torch.long
