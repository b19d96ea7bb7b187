"""Stored evaluations come back equal to the bit, the same value gives the same bytes, and other files are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, MEASURED, made_bag, made_evaluation

from alpamayo_ros.evaluation.openloop import storage
from alpamayo_ros.evaluation.openloop.results import BagEvaluation
from alpamayo_ros.evaluation.openloop.storage import (
    EvaluationFile,
    TimingFile,
    evaluation_file,
    read_bag,
    read_file,
    stored_key,
    write_bag,
    write_file,
)
from alpamayo_ros.evaluation.openloop.summary import summarise
from alpamayo_ros.types import CriticalComponent, InvalidInput


def leaves(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """Everything in a value, with its type, arrays as their bytes."""
    if isinstance(value, np.ndarray):
        yield where, (value.dtype, value.shape, value.tobytes(), value.flags.writeable)
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), f"{where}.{field.name}")
    elif hasattr(value, "items"):
        for name, part in value.items():
            yield from leaves(part, f"{where}.{name}")
    elif isinstance(value, (tuple, list)):
        yield where, type(value)
        for i, part in enumerate(value):
            yield from leaves(part, f"{where}[{i}]")
    else:
        yield where, (type(value), value)


@pytest.fixture(scope="module")
def bag() -> BagEvaluation:
    """With what the made-up bags lack: a component with attributes, and a trajectory of another length."""
    made = made_bag("bag", 16, seed=0)
    window = made.windows[3]
    plan = window.plans[BUNDLE]
    component = CriticalComponent("traffic_light", "a red light", (("color", "red"), ("distance", "20 m")))
    held = replace(plan.trajectory, **{name: getattr(plan.trajectory, name)[9:] for name in vars(plan.trajectory)})
    plan = replace(plan, source="hold", trajectory=held, reasoning=replace(plan.reasoning, components=(component,)))
    windows = (*made.windows[:3], replace(window, plans={**window.plans, BUNDLE: plan}), *made.windows[4:])
    return replace(made, windows=windows)


def test_a_bag_comes_back_equal_to_the_bit(bag: BagEvaluation, tmp_path: Path) -> None:
    write_bag(bag, "key", MEASURED, tmp_path / "00-bag")
    back, measured = read_bag(tmp_path / "00-bag")
    assert measured == MEASURED
    assert list(leaves(back)) == list(leaves(bag))
    assert list(back.weights) == list(bag.weights), "the order of contenders"
    assert stored_key(tmp_path / "00-bag") == "key"
    other = replace(bag, windows=bag.windows[:-1])
    assert list(leaves(other)) != list(leaves(bag)), "or the comparison shows nothing"


def test_the_same_bag_gives_the_same_bytes(bag: BagEvaluation, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_bag(bag, "key", MEASURED, tmp_path / name)
    for suffix in (".json", ".npz"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.npz", "two.json", "two.npz"]


def test_a_bag_that_was_cut_off_while_it_was_written_is_not_stored(
    bag: BagEvaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bag(bag, "old", MEASURED, tmp_path / "bag")

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.np, "savez", dies)
    with pytest.raises(KeyboardInterrupt):
        write_bag(bag, "new", MEASURED, tmp_path / "bag")
    assert stored_key(tmp_path / "bag") is None


@pytest.mark.parametrize("damage", ["missing", "cut", "of another bag"])
def test_arrays_that_are_not_those_of_the_bag_are_refused(bag: BagEvaluation, tmp_path: Path, damage: str) -> None:
    write_bag(bag, "key", MEASURED, tmp_path / "bag")
    npz = tmp_path / "bag.npz"
    if damage == "missing":
        npz.unlink()
    elif damage == "cut":
        npz.write_bytes(npz.read_bytes()[:1000])
    else:
        write_bag(replace(bag, windows=bag.windows[:2]), "key", MEASURED, tmp_path / "other")
        (tmp_path / "other.npz").replace(npz)
    with pytest.raises(InvalidInput, match=r"bag\.npz"):
        read_bag(tmp_path / "bag")
    assert stored_key(tmp_path / "bag") is None, "so that it is made again"


def test_evaluation_json_says_the_same_after_reading_and_writing_it(tmp_path: Path) -> None:
    evaluation = made_evaluation(2, 20)
    written = evaluation_file(evaluation, summarise(evaluation))
    write_file(written, tmp_path / "evaluation.json")
    read = read_file(EvaluationFile, tmp_path / "evaluation.json")
    write_file(read, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "evaluation.json").read_bytes()
    assert list(leaves(read)) == list(leaves(written))
    column = read.bags[1].metrics[BUNDLE]["ade_3s"]
    assert column == tuple(window.metrics[BUNDLE].values()["ade_3s"] for window in evaluation.bags[1].windows)


def test_times_are_not_part_of_evaluation_json(tmp_path: Path) -> None:
    evaluation = made_evaluation(1, 5)
    (bag,) = evaluation.bags
    slow = tuple(
        replace(w, plans={name: replace(plan, stage_ms={"infer": 1e6}) for name, plan in w.plans.items()}) for w in bag.windows
    )
    for name, it in {"fast": evaluation, "slow": replace(evaluation, bags=(replace(bag, windows=slow),))}.items():
        write_file(evaluation_file(it, summarise(it)), tmp_path / name)
    assert (tmp_path / "fast").read_bytes() == (tmp_path / "slow").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(version=99), "want version 2, got 99"),
        (lambda d: d.pop("clips"), "lacks clips"),
        (lambda d: d["contenders"][1].pop("plans"), r"contenders\[1\] lacks plans"),
        (lambda d: d.update(colour="red"), "has colour, which EvaluationFile does not"),
        (lambda d: d["setup"].update(rate_hz="2"), r"setup\.rate_hz: want float, got 2"),
        (lambda d: d["setup"]["request"].update(reasoning="some"), r"request\.reasoning: want one of none, full, got some"),
        (lambda d: d["bags"][0].update(t0_ns=[1, None]), r"t0_ns\[1\]: want int, got None"),
        (lambda d: d.update(windows=True), "windows: want int, got True"),
        (lambda d: d.update(bags={}), "bags: want"),
    ],
)
def test_a_file_with_other_keys_or_values_is_refused_by_name(tmp_path: Path, change: object, says: str) -> None:
    evaluation = made_evaluation(1, 3)
    path = tmp_path / "evaluation.json"
    write_file(evaluation_file(evaluation, summarise(evaluation)), path)
    stored = json.loads(path.read_text())
    change(stored)  # type: ignore[operator]
    path.write_text(json.dumps(stored))
    with pytest.raises(InvalidInput, match=says):
        read_file(EvaluationFile, path)


def test_timing_json_comes_back(tmp_path: Path) -> None:
    summary = summarise(made_evaluation(1, 5), {BUNDLE: 500.0})
    timing = TimingFile(storage.VERSION, {"bag": MEASURED}, {"bags": 1.5}, summary.timings)
    write_file(timing, tmp_path / "timing.json")
    assert read_file(TimingFile, tmp_path / "timing.json") == timing
