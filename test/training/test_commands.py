"""`alpamayo train` and `alpamayo label`, as somebody would type them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model.nano import BUNDLE as NANO

from alpamayo_ros.bundle.folder import read_bundle
from alpamayo_ros.training.coc.schema import read_records
from alpamayo_ros.types import Request

ALPAMAYO = Path(sys.executable).with_name("alpamayo")
LOSSES = ("see", "inject", "sft", "expert", "expert again")


def alpamayo(*arguments: object) -> tuple[int, str, str]:
    done = subprocess.run([ALPAMAYO, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("train") / "run"
    status, said, error = alpamayo("train", "debug", "--out", out, "--base", NANO)
    assert status == 0, error
    return out, json.loads(said.splitlines()[-1])


def test_every_loss_of_every_stage_falls(trained: tuple[Path, dict]) -> None:
    _, figures = trained
    assert figures["loss_last"] < figures["loss_first"]
    for name in LOSSES:
        assert figures["stages"][name]["loss_last"] < figures["stages"][name]["loss_first"], name
    assert figures["stages"]["reinforce"]["steps"] == 2


def test_what_comes_out_is_a_trained_bundle_with_a_card(trained: tuple[Path, dict]) -> None:
    from training.lessons import examples

    from alpamayo_ros.engine.eager import EagerEngine

    out, figures = trained
    (bundle,) = map(Path, figures["files"])
    assert bundle == out / "bundle"
    assert read_bundle(bundle).weights == "trained"
    assert "| expert again | steps 20" in (bundle / "README.md").read_text()
    assert EagerEngine(bundle).infer(examples()[0].observation, Request(reasoning="none")).complete == (True,)


def test_what_is_done_is_not_done_again(trained: tuple[Path, dict]) -> None:
    out, figures = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("metrics.jsonl")}
    status, said, error = alpamayo("train", "debug", "--out", out, "--base", NANO)
    assert status == 0, error
    assert json.loads(said.splitlines()[-1]) == figures
    assert len(before) == 6


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("train", "expert", "--size", "nano"), "size nano has no stage expert yet"),
        (("train", "debug", "--base", "/nowhere"), "No such file"),
        (("train", "debug", "--data", "/nowhere"), "/nowhere"),
        (("label", "a_bag"), "bags are labelled by a teacher"),
        (("label", "a_bag", "--teacher", "http://127.0.0.1:9/v1", "--model", "m", "--key-from", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("label", "--family", "nothing"), "nothing"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: tuple[str, ...], why: str, tmp_path: Path) -> None:
    base = () if "--base" in arguments or arguments[0] == "label" else ("--base", NANO)
    status, _, error = alpamayo(*arguments, "--out", tmp_path / "out", *base)
    assert status == 2
    assert why in error.splitlines()[-1]


def test_the_world_labels_its_own_scenes_once(tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    figures = json.loads(alpamayo("label", "--out", out, "--family", "red_light")[1].splitlines()[-1])
    assert figures["samples"] == len(read_records(out).records) == figures["passed"] > 10
    again = json.loads(alpamayo("label", "--out", out, "--family", "red_light")[1].splitlines()[-1])
    assert again["already_there"] == figures["samples"] == len(read_records(out).records)
