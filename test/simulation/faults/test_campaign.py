"""Plan, file, figures and table of a campaign, without a planner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpamayo_ros.simulation.faults import campaign
from alpamayo_ros.simulation.faults.campaign import merge, read_lines, run_campaign
from alpamayo_ros.simulation.faults.catalogue import CLEAN, FAULTS, SKIPPED, runs
from alpamayo_ros.simulation.faults.rows import Case, Fault
from alpamayo_ros.simulation.faults.station import small_rig
from alpamayo_ros.simulation.faults.tables import figures, markdown, noteworthy, percentile
from alpamayo_ros.types import InvalidInput


def line(key: str = "F01/x/one/cruise/0", **changes: Any) -> dict[str, Any]:
    row, name, level, phase, seed = key.split("/")
    return {
        "key": key,
        "id": row,
        "name": name,
        "level": level,
        "phase": phase,
        "seed": int(seed),
        "as_expected": True,
        "complaints": [],
        "detection_ms": 100.0,
        "stop_ms": None,
        "stop_due": False,
        "recovery_s": 2.5,
        "sources": {"model": 4},
        "states": {"nominal": 4},
        "unsafe": 0,
        "breaches": [],
        "nominal_s": 0.4,
        **changes,
    }


def test_the_catalogue_has_every_row_once() -> None:
    rows = {row.id for row in FAULTS} | {row.id for row in SKIPPED}
    assert rows == {f"F{n:02d}" for n in range(1, 63)}
    assert not {row.id for row in FAULTS} & {row.id for row in SKIPPED}


@pytest.mark.parametrize(("subset", "seeds", "least"), [("ci", 1, 100), ("all", 8, 1000)])
def test_a_campaign_has_so_many_runs_and_each_once(subset: Any, seeds: int, least: int) -> None:
    keys = [run.key for run in runs(subset, seeds)]
    assert len(keys) == len(set(keys)) >= least
    assert keys == [run.key for run in runs(subset, seeds)]
    assert {row.id for row in FAULTS} | {CLEAN} == {key.split("/")[0] for key in keys}


def test_eight_seeds_have_200_kills_and_hangs() -> None:
    of_engine = [run for run in runs("all", 8) if run.row.name in ("engine hangs", "engine killed")]
    assert len(of_engine) >= 200


def test_every_level_of_every_fault_makes_an_act_and_the_same_one_again() -> None:
    rig = small_rig()
    for run in runs("all", 1):
        if isinstance(run.row, Fault):
            run.row.levels[run.level].act(Case(rig, run.rng))
            assert Case(rig, run.rng).role == Case(rig, run.rng).role


@pytest.fixture
def without_planner(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are told to be fine, and who ran is listed."""
    ran: list[str] = []

    def made(pending: list[Any], _: Path) -> Any:
        for run in pending:
            ran.append(run.key)
            yield line(run.key)

    monkeypatch.setattr(campaign, "_lines", made)
    return ran


def test_shards_share_all_runs_and_merge_to_the_whole(tmp_path: Path, without_planner: list[str]) -> None:
    for place in (1, 2, 3):
        run_campaign(tmp_path, "ci", (place, 3))
    assert sorted(without_planner) == sorted(run.key for run in runs("ci", 1))
    whole = merge(sorted(tmp_path.glob("runs-*.jsonl")), tmp_path)
    assert whole["injected"] + 1 == len(without_planner)
    assert json.loads((tmp_path / "figures.json").read_text()) == whole


def test_resuming_after_an_interruption_loses_and_repeats_nothing(tmp_path: Path, without_planner: list[str]) -> None:
    first = run_campaign(tmp_path, "ci")
    (file,) = tmp_path.glob("*.jsonl")
    text = file.read_text()
    file.write_text(text[: len(text) // 2])  # in the middle of a line
    kept = len(read_lines(file))
    without_planner.clear()
    assert run_campaign(tmp_path, "ci", resume=True) == first
    assert 0 < kept < len(runs("ci", 1))
    assert len(without_planner) == len(runs("ci", 1)) - kept


@pytest.mark.usefixtures("without_planner")
def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    run_campaign(tmp_path, "ci")
    with pytest.raises(InvalidInput, match="--resume"):
        run_campaign(tmp_path, "ci")


@pytest.mark.parametrize(("shard", "seeds"), [((0, 2), 1), ((3, 2), 1), ((1, 1), 0)])
def test_a_shard_that_does_not_exist_is_refused(tmp_path: Path, shard: tuple[int, int], seeds: int) -> None:
    with pytest.raises(InvalidInput, match="want a shard"):
        run_campaign(tmp_path, "ci", shard, seeds=seeds)


def test_what_was_unsafe_is_the_last_that_a_merge_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A CI that shows the end of its log only shows which run it was and what the monitor recorded."""
    breach = "I2: a model's stamp that no frame of the anchor camera has: 1700000000100000000"
    runs_of = [
        line("F11/bag loop/2 s/cruise/0", unsafe=2, breaches=[breach, "L1: late"], late_ms=27.8),
        *(line(f"F02/y/all/cruise/{seed}", as_expected=False, complaints=[f"none came {seed}"]) for seed in range(50)),
        line("F01/x/one/cruise/0"),
    ]
    (tmp_path / "runs-1-of-1.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs_of))
    merge([tmp_path / "runs-1-of-1.jsonl"], tmp_path)
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == f"unsafe (2 breaches): F11/bag loop/2 s/cruise/0: {breach}; L1: late; the vehicle was 27.8 ms late"
    assert said[-2] == "not as expected: F02/y/all/cruise/5: none came 5"
    assert said[0] == "44 more not as expected, in the lines of runs-I-of-N.jsonl"
    assert len(said) == 8


def test_however_much_went_wrong_the_end_of_a_log_has_all_of_it_by_number() -> None:
    unsafe = [line(f"F01/x/one/cruise/{seed}", unsafe=1, breaches=["I1: not finite"]) for seed in range(100)]
    unexpected = [line(f"F02/y/all/cruise/{seed}", as_expected=False, complaints=["none came"]) for seed in range(100)]
    said = list(noteworthy([*unsafe, *unexpected]))
    assert len(said) == 18
    assert [text for text in said if " more " in text] == [
        "94 more not as expected, in the lines of runs-I-of-N.jsonl",
        "90 more unsafe, in the lines of runs-I-of-N.jsonl",
    ]


def test_of_a_clean_campaign_nothing_is_said() -> None:
    assert list(noteworthy([line()])) == []


def test_merging_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no runs"):
        merge([tmp_path / "none.jsonl"], tmp_path)


def test_figures_count_stops_that_were_due_and_those_that_never_came() -> None:
    due = [line(f"F51/x/kill/cruise/{k}", stop_due=True, stop_ms=500.0 + k) for k in range(100)]
    found = figures([*due, line("F51/x/kill/cruise/100", stop_due=True), line(unsafe=2, as_expected=False)])
    assert (found["injected"], found["as_expected"], found["unsafe"]) == (102, 101, 2)
    assert (found["stops_due"], found["stops_missed"]) == (101, 1)
    assert (found["stop_latency_ms_p50"], found["stop_latency_ms_p99"], found["stop_latency_ms_max"]) == (549.0, 598.0, 599.0)


def test_the_clean_drive_is_no_fault_and_has_its_own_figures() -> None:
    clean = line(f"{CLEAN}/no fault/30 s/cruise/0", states={"nominal": 290, "degraded": 1}, nominal_s=29.7, degraded_s=0.3)
    found = figures([clean, line()])
    assert found["injected"] == 1
    assert found["clean_nominal"] == pytest.approx(0.99)
    assert found["clean_s"] == 30.0
    assert found["clean_stops"] == 0


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, None, 1.0, 2.0], 50) == 2.0
    assert percentile([None], 50) is None


def test_the_table_has_a_line_per_row_what_failed_and_what_is_not_run() -> None:
    bad = line("F02/y/all/cruise/0", as_expected=False, complaints=["a stop was due, none came"], recovery_s=None)
    text = markdown([line(), line("F01/x/one/cruise/1", detection_ms=200.0, recovery_s=None), bad])
    assert "| F01 | x | 2 | 2 | 100 / 200 | model | 2.50 / 2.50 | 0 |" in text
    assert "| F02 | y | 1 | 0 | 100 / 100 | model | – | 0 |" in text
    assert "F02 y, all, cruise: a stop was due, none came (1 times)" in text
    assert all(f"| {row.id} |" in text for row in SKIPPED)
