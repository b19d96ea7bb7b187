"""Many bags: broken ones are reported and skipped, finished ones are not evaluated again, and Ray changes nothing."""

from __future__ import annotations

import errno
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation.openloop.made import made_bag

from alpamayo_ros.evaluation.openloop import fan_out
from alpamayo_ros.evaluation.openloop.fan_out import PerBag, evaluate_bags, key_of
from alpamayo_ros.evaluation.openloop.provenance import GIT, bag_sha256
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Setup
from alpamayo_ros.evaluation.openloop.storage import evaluation_file, write_file
from alpamayo_ros.evaluation.openloop.summary import summarise
from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import EngineFailure, InvalidInput, Request

pytestmark = pytest.mark.thorough

SETUP = Setup("seven_camera", ("kinematic",), "seven_camera", Request(samples=6), 2.0)


class Evaluated(list[str]):
    """Stands in for the evaluation of a bag, and counts. Bags whose name starts with "bad" are broken."""

    def __call__(self, bag: Path, setup: Setup, progress: Callable[[float], None]) -> BagEvaluation:
        self.append(bag.name)
        progress(0.5)
        if bag.name == "bad_disk":
            raise OSError(errno.EIO, "Input/output error")
        if bag.name.startswith("bad"):
            raise InvalidInput(f"{bag}: damaged") if bag.name == "bad" else EngineFailure("the engine died")
        drive = zlib.crc32((bag / "bag_0.mcap" if bag.is_dir() else bag).read_bytes())
        return replace(made_bag(str(bag), 5, seed=drive), sha256=bag_sha256(bag))


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    stand_in = Evaluated()
    monkeypatch.setattr(fan_out, "evaluate_bag", stand_in)
    return stand_in


@pytest.fixture
def bags(tmp_path: Path) -> dict[str, Path]:
    """By name, bags with a content of their own."""
    for name in ("one", "two", "bad", "bad_disk", "bad_engine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bag_0.mcap").write_text(name)
    return {path.name: path for path in tmp_path.iterdir()}


def test_bags_keep_their_order_and_broken_ones_are_named(evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path) -> None:
    asked = [bags[name] for name in ("two", "bad", "one", "bad_disk", "bad_engine")] + [tmp_path / "nowhere"]
    evaluation = evaluate_bags(asked, SETUP, tmp_path / "out")
    assert [Path(bag.bag).name for bag in evaluation.bags] == ["two", "one"]
    assert {Path(bag).name: reason.rpartition(": ")[2] for bag, reason in evaluation.broken.items()} == {
        "bad": "damaged",
        "bad_disk": "[Errno 5] Input/output error",
        "bad_engine": "the engine died",
        "nowhere": "no such bag",
    }


def test_when_every_bag_is_broken_every_reason_is_said(evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no bag could be evaluated: .*bad: damaged; .*the engine died"):
        evaluate_bags([bags["bad"], bags["bad_engine"]], SETUP, tmp_path / "out")


def test_what_is_finished_is_not_evaluated_again(evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path) -> None:
    first = evaluate_bags([bags["one"], bags["bad"]], SETUP, tmp_path / "out")
    assert evaluated == ["one", "bad"]
    again = evaluate_bags([bags["bad"], bags["two"], bags["one"]], SETUP, tmp_path / "out")
    assert evaluated == ["one", "bad", "bad", "two"]
    assert again.bags[1].windows[0].t0_ns == first.bags[0].windows[0].t0_ns
    (bags["one"] / "bag_0.mcap").write_text("longer than before")
    evaluate_bags([bags["one"]], SETUP, tmp_path / "out")
    evaluate_bags([bags["one"]], replace(SETUP, rate_hz=1.0), tmp_path / "out")
    assert evaluated[4:] == ["one", "one"], "another content, another setup"


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("left", [None, b"", b"{", b"zeros"])
def test_a_result_that_is_damaged_or_gone_is_made_again(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path, suffix: str, left: bytes | None
) -> None:
    first = evaluate_bags([bags["one"]], SETUP, tmp_path / "out")
    (stored,) = (tmp_path / "out" / "bags").glob(f"*{suffix}")
    if left is None:
        stored.unlink()
    else:
        stored.write_bytes(left if left != b"zeros" else stored.read_bytes()[:-4096] + bytes(4096))
    again = evaluate_bags([bags["one"]], SETUP, tmp_path / "out")
    assert evaluated == ["one", "one"]
    assert again.broken == {}
    assert [window.t0_ns for window in again.windows] == [window.t0_ns for window in first.windows]


def test_a_folder_that_cannot_be_written_is_no_broken_bag(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fan_out, "write_bag", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate_bags([bags["one"]], SETUP, tmp_path / "out")


def test_times_are_of_the_host_that_measured_them_not_of_the_one_that_goes_on(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host, names in {"here": ["one"], "elsewhere": ["one", "two"]}.items():
        monkeypatch.setattr("platform.node", lambda host=host: host)
        found = evaluate_bags([bags[name] for name in names], SETUP, tmp_path / "out")
    assert {Path(bag).name: measured.host for bag, measured in found.measured.items()} == {"one": "here", "two": "elsewhere"}


def test_the_key_sees_a_bag_that_was_written_again_with_the_same_size(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path
) -> None:
    evaluate_bags([bags["one"]], SETUP, tmp_path / "out")
    (bags["one"] / "bag_0.mcap").write_text("eno")
    evaluate_bags([bags["one"]], SETUP, tmp_path / "out")
    assert evaluated == ["one", "one"]


def test_bundles_that_cannot_be_compared_are_refused_before_any_bag(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="both would be called kinematic"):
        evaluate_bags([bags["one"]], replace(SETUP, bundles=("kinematic", "kinematic")), tmp_path / "out")
    assert evaluated == []


def test_a_cluster_that_does_not_answer_is_refused(bags: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(InvalidInput, match=r"no Ray cluster at '127\.0\.0\.1:9': .*refused"):
        evaluate_bags([bags["one"]], SETUP, tmp_path / "out", ray="127.0.0.1:9")
    with pytest.raises(InvalidInput, match="no Ray cluster at 'nowhere'"):
        evaluate_bags([bags["one"]], SETUP, tmp_path / "out", ray="nowhere")


def test_what_no_bag_could_be_evaluated_with_is_refused_before_any(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path
) -> None:
    for rate_hz in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InvalidInput, match=r"^rate_hz: want more than 0 windows per second"):
            evaluate_bags([bags["one"]], replace(SETUP, rate_hz=rate_hz), tmp_path / "out")
    with pytest.raises(EngineFailure, match="somewhere"):
        evaluate_bags([bags["one"]], replace(SETUP, bundles=("somewhere:engine",)), tmp_path / "out")
    for per_bag in (PerBag(-1.0), PerBag(float("nan")), PerBag(1.0, 1.5)):
        with pytest.raises(InvalidInput, match="PUs per bag: want a part of one or a whole number"):
            evaluate_bags([bags["one"]], SETUP, tmp_path / "out", "local", per_bag)
    assert evaluated == []


def test_more_than_any_machine_has_is_refused(bags: dict[str, Path], tmp_path: Path) -> None:
    """Ray would wait for such a machine without end."""
    pytest.importorskip("ray")
    with pytest.raises(InvalidInput, match=r"^4096 CPUs and 0 GPUs per bag: no machine of the cluster has these; they have "):
        evaluate_bags([bags["one"]], SETUP, tmp_path / "out", "local", PerBag(4096.0))


def test_a_bag_s_name_is_said_once(evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path) -> None:
    evaluation = evaluate_bags([bags["one"], bags["bad"], bags["bad_disk"]], SETUP, tmp_path / "out")
    assert list(evaluation.broken.values()) == ["damaged", "cannot be read: [Errno 5] Input/output error"]


def test_an_engine_of_your_own_is_always_asked(
    evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    own = replace(SETUP, bundles=("evaluation.openloop.contenders:Looking",))
    for _ in range(2):
        evaluate_bags([bags["one"]], own, tmp_path / "out")
    assert evaluated == ["one", "one"]


def test_the_key_is_of_everything_but_the_commit() -> None:
    made_with = {"code": "a", "gpu": "none", GIT: "c"}
    key = key_of(Path("bag"), "a", SETUP, made_with)
    assert key == key_of(Path("bag"), "a", SETUP, made_with | {GIT: "d"})
    others = [
        key_of(Path("other"), "a", SETUP, made_with),
        key_of(Path("bag"), "b", SETUP, made_with),
        key_of(Path("bag"), "a", replace(SETUP, request=Request(samples=1)), made_with),
        key_of(Path("bag"), "a", SETUP, made_with | {"code": "b"}),
        key_of(Path("bag"), "a", SETUP, made_with | {"gpu": "one"}),
    ]
    assert len({key, *others}) == 6


def test_a_bag_counts_once(evaluated: Evaluated, bags: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="given twice"):
        evaluate_bags([bags["one"], tmp_path / "two" / ".." / "one"], SETUP, tmp_path / "out")
    (bags["two"] / "bag_0.mcap").write_text("one")
    (bags["one"] / "metadata.yaml").touch()
    for again in (bags["two"], bags["one"] / "bag_0.mcap"):
        with pytest.raises(InvalidInput, match=rf"one and {again} have the same drive: 5 windows of the same t0 and ego pose"):
            evaluate_bags([bags["one"], again], SETUP, tmp_path / "out")
    (bags["two"] / "bag_0.mcap").write_text("two")
    assert len(evaluate_bags([bags["one"], bags["two"]], SETUP, tmp_path / "out").windows) == 10, "the same t0s elsewhere"


def test_without_ray_the_remedy_is_named_by_the_missing_module(
    bags: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        evaluate_bags([bags["one"]], SETUP, tmp_path / "out", ray="local")
    assert missing.value.name == "ray", "which cli.MISSING has a remedy for"


def test_ray_gives_the_same_evaluation_to_the_byte(tmp_path: Path, small_rig: tuple[Rig, Path], small_profile: Path) -> None:
    """Real bags, real engines in processes of their own, a real Ray; one of the bags is broken."""
    pytest.importorskip("ray")
    rig, rig_path = small_rig
    bags = [tmp_path / "one", tmp_path / "two", tmp_path / "broken.mcap"]
    for seed, bag in enumerate(bags[:2]):
        make_bag(bag, rig, duration_s=1.5, seed=seed)
    bags[2].write_bytes(b"no bag")
    setup = Setup(str(rig_path), ("kinematic",), str(small_profile), Request(samples=6), 2.0)
    written = {}
    for way in (None, "local"):
        evaluation = evaluate_bags(bags, setup, tmp_path / f"out_{way}", way)
        assert len(evaluation.windows) >= 4
        assert list(evaluation.broken) == [str(bags[2])]
        write_file(evaluation_file(evaluation, summarise(evaluation)), tmp_path / f"{way}.json")
        written[way] = (tmp_path / f"{way}.json").read_bytes()
    assert written["local"] == written[None]
