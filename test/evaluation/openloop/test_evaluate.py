"""`alpamayo evaluate` from the command line: files, figures, table, verdicts and exit status."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation.openloop.made import BUNDLE, made_evaluation
from typed import typed

from alpamayo_ros.evaluation.openloop import evaluate as evaluating
from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, Evaluation, Setup
from alpamayo_ros.evaluation.openloop.storage import EvaluationFile, TimingFile, read_file
from alpamayo_ros.evaluation.openloop.summary import grouped
from alpamayo_ros.evaluation.report import page
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import Request


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was printed, and the figures of the last line."""
    said = typed(monkeypatch, capsys, "evaluate", *words)
    return said.status, said.out + said.err, json.loads(said.out.splitlines()[-1]) if said.status < 2 else {}


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their plots, which take two seconds to draw: evaluation/report/test_plots.py looks at those."""
    monkeypatch.setattr(page, "plots", lambda *_: ())


@pytest.fixture(scope="module")
def asked(bag: Path, small_rig: tuple[Rig, Path], small_profile: Path) -> list[object]:
    return [bag, "--rig", small_rig[1], "--profile", small_profile]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder: its bag is evaluated once."""
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def golden(out: Path) -> Path:
    return out / "sub" / "golden.json"


def test_a_bag_becomes_files_figures_and_a_table(
    asked: list[object], out: Path, golden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text, figures = run(capsys, monkeypatch, *asked, "--out", out, "--write-golden", golden)
    assert status == 0, text
    stored = read_file(EvaluationFile, out / "evaluation.json")
    assert figures["windows"] == stored.windows > 10
    assert 0 < figures["ade_m"] <= figures["fde_m"]
    assert figures["min_ade_6_m"] == figures["ade_m"], "six equal candidates"
    assert figures["contender"] == KINEMATIC
    assert figures["weights"] == "none"
    assert figures["sha256"] == hashlib.sha256((out / "evaluation.json").read_bytes()).hexdigest()
    assert {Path(name).name for name in figures["files"]} == {"evaluation.json", "timing.json", "report.html", "report.md"}
    assert all(Path(name).stat().st_size for name in figures["files"])
    assert set(figures["seconds"]) == {"bags", "summary", "report"}
    timing = read_file(TimingFile, out / "timing.json")
    assert timing.contenders[KINEMATIC].deadline_ms == 500.0
    assert timing.contenders[KINEMATIC].missed == 0.0
    assert set(timing.measured) == {str(asked[0])}
    assert "ADE, 6.4 s (m)" in text
    assert "blanked" not in text
    assert re.search(rf"minADE_6, 6.4 s \(m\) *│ {stored.whole} +│.*, one path", text), "and n beside the mean"
    assert "1 clip," in text
    assert "#" not in text, "an example has its numbers"


@pytest.mark.usefixtures("without_plots")
def test_another_run_writes_the_same_evaluation_wherever_it_writes_it(
    asked: list[object], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, *asked, "--out", tmp_path)[0] == 0
    assert (tmp_path / "evaluation.json").read_bytes() == (out / "evaluation.json").read_bytes()


@pytest.mark.usefixtures("without_plots")
def test_the_gate_ends_with_status_1_and_the_figures_are_the_last_line_all_the_same(
    asked: list[object], out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = ["--out", out, "--against", out / "evaluation.json", "--fail-on", "ade_6_4s>+2%", "--fail-on"]
    status, _, figures = run(capsys, monkeypatch, *asked, *gate, "latency_p95_ms>+100000%")
    assert (status, figures["failed"]) == (0, False)
    assert figures["gate"][0].startswith("passed ade_6_4s of kinematic")
    status, text, figures = run(capsys, monkeypatch, *asked, *gate, "ade_6_4s>0")
    assert (status, figures["failed"]) == (1, True)
    assert "\nFAILED ade_6_4s of kinematic: here" in text
    status, text, _ = run(capsys, monkeypatch, *asked, *gate, "ade_7s>0")
    assert status == 2
    assert "did you mean" in text
    status, text, _ = run(capsys, monkeypatch, *asked, "--out", out, "--against", out / "evaluation.json")
    assert status == 2
    assert "--against wants --fail-on" in text


@pytest.mark.usefixtures("without_plots")
def test_what_was_not_measured_fails_after_everything_is_written(
    asked: list[object], out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("report.html", "timing.json"):
        (out / name).unlink(missing_ok=True)
    status, text, figures = run(capsys, monkeypatch, *asked, "--out", out, "--fail-on", "consistent<0.5")
    assert status == 1, text
    assert figures["gate"] == [f"FAILED consistent of kinematic: no value in any of {figures['windows']} windows"]
    assert "FAILED consistent" in (out / "report.html").read_text()
    assert (out / "timing.json").stat().st_size


@pytest.mark.usefixtures("without_plots")
def test_a_broken_bag_fails_where_a_condition_was_asked(
    bag: Path,
    asked: list[object],
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "broken.mcap").write_bytes(b"no bag")
    words = [asked[0], tmp_path / "broken.mcap", *asked[1:], "--out", out]
    assert run(capsys, monkeypatch, *words)[0] == 0
    status, text, figures = run(capsys, monkeypatch, *words, "--fail-on", "ade_6_4s>1000")
    assert (status, figures["failed"]) == (1, True)
    assert "FAILED bags: 1 of 2 could not be evaluated" in text


@pytest.mark.usefixtures("without_plots")
def test_golden_plans_pass_until_something_differs(
    asked: list[object], out: Path, golden: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, figures = run(capsys, monkeypatch, *asked, "--out", out, "--golden", golden)
    assert (status, figures["golden"]) == (0, [])
    kept = json.loads(golden.read_text())
    kept["plans"][1]["trajectory"]["xyz"][3][1] += 0.1
    golden.write_text(json.dumps(kept))
    status, text, figures = run(capsys, monkeypatch, *asked, "--out", out, "--golden", golden)
    assert status == 1
    assert len(figures["golden"]) == 1
    assert "trajectory.xyz[3][1]: golden" in text


def test_what_cannot_be_written_is_refused_before_the_evaluation(
    asked: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "evaluate_bags", lambda *_: pytest.fail("evaluated"))
    (tmp_path / "afile").touch()
    for words in (
        ["--out", tmp_path / "afile"],
        ["--out", tmp_path, "--write-golden", tmp_path / "afile" / "golden.json"],
        ["--out", tmp_path, "--write-golden", tmp_path],
    ):
        status, text, _ = run(capsys, monkeypatch, *asked, *words)
        assert status == 2
        assert len(text.splitlines()) == 1


def test_no_bag_and_a_bag_that_is_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "--out", tmp_path / "out")[0] == 2
    status, text, _ = run(capsys, monkeypatch, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert status == 2
    assert "nowhere: no such bag" in text


def printed(
    made: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, Any]]:
    """What is said of an evaluation that was made up, and its figures."""
    monkeypatch.setattr(evaluating, "evaluate_bags", lambda *_: replace(made, setup=replace(made.setup, bundles=(KINEMATIC,))))
    setup = Setup("seven_camera", (KINEMATIC,), "seven_camera", Request(samples=6), 2.0)
    figures = evaluating.evaluate(evaluating.Asked((Path("bag_0"),), setup, tmp_path))
    return capsys.readouterr().out, figures


@pytest.mark.usefixtures("without_plots")
def test_names_are_not_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_evaluation(1, 3)
    (bag,) = made.bags
    names = {BUNDLE: "ar1[best]", BUNDLE + BLANKED: "[/x]", KINEMATIC: KINEMATIC}

    def renamed(by_name: Mapping[str, Any]) -> dict[str, Any]:
        return {names[name]: value for name, value in by_name.items()}

    windows = tuple(
        replace(w, plans=renamed(w.plans), refused=renamed(w.refused), deviations_m=renamed(w.deviations_m))
        for w in bag.windows
    )
    evil = replace(made, bags=(replace(bag, windows=windows, weights=renamed(bag.weights)),))
    text, _ = printed(evil, tmp_path, capsys, monkeypatch)
    for name in names.values():
        assert f"{name} (" in text
    assert "ar1[best] has UNTRAINED WEIGHTS" in text


@pytest.mark.usefixtures("without_plots")
def test_what_was_not_observed_is_an_example_in_two_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_evaluation(1, 3)
    (bag,) = made.bags
    first = "; ".join(f"{role}: nearest frame 210 ms after t0-0.3 s, limit 55 ms" for role in ("left", "right") * 9)
    coverage = replace(bag.coverage, not_observed={grouped(first): 4}, examples={grouped(first): first})
    text, _ = printed(replace(made, bags=(replace(bag, coverage=coverage),)), tmp_path, capsys, monkeypatch)
    lines = text.splitlines()
    (at,) = (number for number, line in enumerate(lines) if "instants not observed" in line)
    assert "such as: left: nearest frame 210 ms after t0-0.3 s" in lines[at]
    assert lines[at + 1].endswith(" ...")
    assert lines[at + 2].startswith("BROKEN")
    assert "#" not in text


@pytest.mark.usefixtures("without_plots")
def test_untrained_weights_and_broken_bags_are_said_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, figures = printed(made_evaluation(1, 20), tmp_path, capsys, monkeypatch)
    assert f"{BUNDLE} has UNTRAINED WEIGHTS" in text
    assert f"{BUNDLE}{BLANKED} has UNTRAINED WEIGHTS" in text
    assert "BROKEN bag_broken: " in text
    assert figures["weights"] == "untrained"
    assert list(figures["broken"]) == ["bag_broken"]
