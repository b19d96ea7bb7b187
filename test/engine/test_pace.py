"""The race of the fast engine against the reference: what is told is what is said, and unequal answers are not timed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model.nano import BUNDLE, observation

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.dynamics import estimate_v0, rollout
from alpamayo_ros.engine import pace, pace_page
from alpamayo_ros.engine.cycles import STAGES, Case, Drive
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.pace import bench_eight, bench_pace, difference
from alpamayo_ros.engine.public_reference import from_noise, own_choices
from alpamayo_ros.engine.sayings import Drawn, Replayed
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.model.sample import sample
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import EngineFailure, InvalidInput, ModelOutput, Observation, Request

COLD = Case("cold", 6, warm=False)
WARM = Case("warm", 6, known=1.0)
NEW = Case("new", 6)
WORDLESS = Case("no words", 0)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    torch.set_num_threads(1)
    return bench_pace(BUNDLE, runs=2, cases=(COLD, WARM, NEW, WORDLESS))


def test_every_case_has_its_figures(found: dict[str, Any]) -> None:
    assert list(found["cases"]) == ["cold", "warm", "new", "no words"]
    for name, case in found["cases"].items():
        assert set(case["fast"]) == set(case["reference"]) == {"p50_ms", "p95_ms", "p99_ms"}
        assert ("arrival" in case) == (name != "cold")
        assert tuple(case["stage_ms"]) == STAGES
        assert tuple(case["stage_p50_ms"]) == STAGES
        assert case["stage_ms"]["denoise"] > 0
    assert (found["weights"], found["runs"], found["warm_up"]) == ("untrained", 2, 2)


def test_newest_frames_that_came_before_the_question_are_told_apart_and_together(found: dict[str, Any]) -> None:
    assert not {"with_arrival", "ratio_with_arrival"} & set(found["cases"]["cold"])
    for name in ("warm", "new", "no words"):
        case = found["cases"][name]
        assert case["with_arrival"]["p99_ms"] > max(case["fast"]["p50_ms"], case["arrival"]["p50_ms"])
        assert 0 < case["ratio_with_arrival"] < case["ratio"], "the reference looks at them when it is asked"
        both = f"{case['arrival']['p50_ms']:.1f} · {case['with_arrival']['p50_ms']:.1f}"
        assert f" | {both} | {case['stage_p50_ms']['denoise']:.1f} | " in pace_page.page(found)
        assert f" | {case['ratio']:.2f} · {case['ratio_with_arrival']:.2f} |" in pace_page.page(found)


def test_what_guesses_cost_is_told_where_all_are_wrong(found: dict[str, Any]) -> None:
    assert [name for name, case in found["cases"].items() if "guesses_cost" in case] == ["new"]
    new = found["cases"]["new"]
    assert set(new["guesses_cost"]) == set(new["plain"]) == {"p50_ms", "p95_ms", "p99_ms"}
    assert f"new: without guesses {new['plain']['p50_ms']:.1f} / " in pace_page.page(found)


def test_without_guesses_every_word_is_a_pass_and_the_answer_is_the_same() -> None:
    with closing(GraphedEngine(BUNDLE, pace.partial(pace._watched, watches := []))) as engine:
        race = pace._race(engine, engine.device, watches[0], BUNDLE, runs=1)
        engine.told = [11, 12, 13, 14, 15, race.config.token_ids["future_start"]]
        seen, request = observation(), Request(steps=1, max_tokens=9)
        passes = []
        for answer in (engine.infer, engine.infer, pace.partial(pace.without_guesses, race), engine.infer):
            race.watch.begin_watching(engine.device)
            passes.append((answer(seen, request), race.watch.calls["begin"] + race.watch.calls["go_on"]))
    first, guessed, plain, again = passes
    assert plain[1] == first[1] > guessed[1] == again[1], "and what is guessed afterwards is as before"
    assert plain[0].texts == guessed[0].texts
    np.testing.assert_allclose(plain[0].actions, guessed[0].actions, rtol=0, atol=1e-5)


def test_what_was_seen_and_said_before_is_not_paid_for(found: dict[str, Any]) -> None:
    """Passes of the language model: a word each where nothing is known, and what was said is read once more."""
    cold, warm, wordless = (found["cases"][case.name] for case in (COLD, WARM, WORDLESS))
    assert (cold["passes"], warm["passes"], wordless["passes"]) == (COLD.words + 2, 2, 1)
    assert cold["stage_ms"]["look"] > 0
    assert warm["stage_ms"]["look"] == wordless["stage_ms"]["look"] == 0


def test_the_page_has_a_table_each_for_cold_warm_and_approximate_and_the_picture_is_one(
    found: dict[str, Any], tmp_path: Path
) -> None:
    pace_page.write(found, tmp_path)
    parts = (tmp_path / "bench_engine.md").read_text().split("\n## ")
    assert "2 runs after 2 of warm-up (fewer than 200" in parts[0]
    names = {
        part.splitlines()[0]: [row.split(" | ")[0] for row in part.splitlines()[4:] if row.startswith("|")]
        for part in parts[1:]
    }
    assert names == {
        "Cold, exact": ["| cold"],
        "Warm, exact": ["| warm", "| new", "| no words"],
        "Approximate: FP8": [],
        "Approximate: TensorRT": [],
    }
    assert parts[-2].endswith("not measured: no accelerator\n")
    assert "not measured: " in parts[-1]
    assert found["no_plans"] in parts[-1]
    assert "fewer than" not in pace_page.page(found | {"runs": 200})
    assert (tmp_path / "bench_engine.png").read_bytes().startswith(b"\x89PNG")


def test_the_engine_in_eight_bits_is_timed_alone(tmp_path: Path, found: dict[str, Any]) -> None:
    eight = bench_eight(BUNDLE, 1, (WARM,))
    assert eight["warm"]["passes"] == 2
    assert not {"reference", "ratio", "largest_difference"} & set(eight["warm"])
    pace_page.write(found | {"in_fp8": eight}, tmp_path)
    part = (tmp_path / "bench_engine.md").read_text().partition("## Approximate: FP8")[2]
    row = next(line for line in part.splitlines() if line.startswith("| warm |"))
    assert row.endswith("| - | - |")


def test_told_words_are_written_by_both_ways_and_cost_what_they_cost() -> None:
    with closing(GraphedEngine(BUNDLE)) as engine:
        request = Request(steps=1, max_tokens=9)
        own = engine.infer(observation(), request)
        engine.told = [11, 12, 13, open_bundle(BUNDLE)[1].token_ids["future_start"]]
        answers = engine.infer(observation(), request), engine.as_the_reference(observation(), request)
        assert [(answer.tokens, answer.complete) for answer in answers] == [((4,), (True,))] * 2
        assert answers[0].texts == answers[1].texts != own.texts
        np.testing.assert_allclose(answers[0].actions, answers[1].actions, rtol=0, atol=1e-5)
        engine.told = None
        assert engine.infer(observation(), request).texts == own.texts


def test_traces_of_drives_are_guessed_from_what_was_said_before_them_and_elsewhere(tmp_path: Path) -> None:
    usual, other = "Slow down for the red light.", "Keep the lane, the road is clear."
    traces = tmp_path / "traces.json"
    traces.write_text(json.dumps({"one": [usual, other, other], "two": [other, usual, usual]}))
    found = bench_pace(BUNDLE, runs=2, cases=(), traces=traces)["cases"]["warm, traces of drives"]
    assert found["passes"] == 2, "each was said in the other drive: the prompt, and everything once more"
    strange = tmp_path / "strange.json"
    strange.write_text(json.dumps({"one": ["Alpha beta gamma delta."], "two": ["Nobody ever says so."]}))
    found = bench_pace(BUNDLE, runs=2, cases=(), traces=strange)["cases"]["warm, traces of drives"]
    assert found["passes"] > 3


def test_more_words_than_a_model_has_are_refused() -> None:
    config = open_bundle(BUNDLE)[1]
    traces = {"one": [" ".join("a" * (1 + n // 26) + chr(97 + n % 26) for n in range(4000))], "two": ["stop"]}
    with pytest.raises(InvalidInput, match=r"traces of \d+ different words, the model has \d+"):
        Replayed(traces, config)


def test_drawn_words_never_end_a_text() -> None:
    config = open_bundle(BUNDLE)[1]
    drawn = Drawn(config, words=200, known=0.5, seed=0)
    first, second = (drawn.next()[0] for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[-1] == second[-1] == config.token_ids["future_start"]
    assert config.eos_token_id not in first
    assert (len(first), first[:100]) == (201, second[:100])
    assert first[100:200] != second[100:200]


def test_answers_that_differ_are_not_timed() -> None:
    one = ModelOutput(np.zeros((1, 64, 2), np.float32), ("Stop.",), (3,), (True,))
    assert difference(COLD, one, one, exact=True) == 0.0
    off = replace(one, actions=np.full((1, 64, 2), 0.5, np.float32))
    with pytest.raises(EngineFailure, match=r"cold: actions differ by 0\.5, allowed 0\.001"):
        difference(COLD, one, off, exact=True)
    assert difference(COLD, one, off, exact=False) == 0.5, "told, not refused: bfloat16 rounds"
    with pytest.raises(EngineFailure, match="nothing is timed"):
        difference(COLD, one, replace(one, texts=("Go.",)), exact=False)


def test_a_drive_shows_every_frame_once_more() -> None:
    profile = read_profile(str(BUNDLE / "profile.yaml"))
    drive = Drive(profile, 1)
    first, second = (drive.observation(number, 0) for number in (1, 2))
    for role, frames in second.frames.items():
        known = {frame.stamp_ns: frame for frame in first.frames[role]}
        assert [frame.stamp_ns in known for frame in frames] == [True] * (len(frames) - 1) + [False]
        assert all(known[frame.stamp_ns].crc32 == frame.crc32 for frame in frames[:-1])


def test_a_folder_without_the_public_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="want a clone of NVlabs/alpamayo"):
        bench_pace(BUNDLE, runs=1, cases=(COLD,), checkout=tmp_path)


class StandIn:
    """In the public reference's place: our reference's answers, `off` metres aside."""

    attention, off = "none", 0.0

    def __init__(self, checkout: Path, model: Alpamayo, folder: Path) -> None:
        self._model, self._tokenizer = model, read_tokenizer(folder, model.config)

    def answer(self, prompt: Prompt, seen: Observation, request: Request, told: Sequence[int]) -> torch.Tensor:
        self._last = prompt, told
        found = sample(self._model, self._tokenizer, prompt, request, told)
        space = self._model.config.action_space
        v0_mps = estimate_v0(seen.history.xyz, seen.history.rot, space)
        return torch.from_numpy(np.stack([rollout(actions, v0_mps, 0.0, space).xyz for actions in found.actions]) + self.off)

    def choices(self) -> list[int]:
        return own_choices(self._model, *self._last)


@pytest.mark.parametrize(("off_m", "alike"), [(0.0, True), (1.0, False)])
def test_another_answer_of_the_public_reference_is_told_in_its_row(
    off_m: float, alike: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pace, "Public", StandIn)
    monkeypatch.setattr(pace, "source_of", lambda checkout: checkout)
    monkeypatch.setattr(StandIn, "off", off_m)
    found = bench_pace(BUNDLE, 1, (replace(COLD, samples=2),), tmp_path)
    told = found["cases"]["cold"]["public_answer"]
    assert told["apart_m"] == pytest.approx(off_m * 3**0.5, abs=0.04)
    assert (told["words"], told["same_words"], told["alike"]) == (7, 7, alike)
    assert ("**another answer**" in pace_page.page(found)) is not alike


def test_an_integrator_that_draws_its_noise_is_given_ours() -> None:
    noise, seen = torch.arange(6.0).view(3, 2), []

    def integrate(*, step_fn: Callable[..., torch.Tensor], steps: int) -> torch.Tensor:
        x = torch.randn(3, 2, device=torch.device("cpu"))
        for _ in range(steps):
            x = x + step_fn(x=x, t=torch.zeros(1))
        return x

    def step(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(torch.randn(3, 2))  # what a step draws is its own business
        return torch.ones_like(x)

    torch.testing.assert_close(from_noise(integrate, noise, step_fn=step, steps=2), noise + 2)
    assert not any(torch.equal(drawn, noise) for drawn in seen)
    assert not torch.equal(torch.randn(3, 2), noise)
