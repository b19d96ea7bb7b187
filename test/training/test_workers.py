"""The same outcomes here and over Ray, whoever dies on the way; and nothing is done twice."""

import os
from functools import partial
from pathlib import Path

import pytest
from training import laborious
from training.laborious import FATAL, FATAL_ONCE, NO_NUMBER, SLOW, broken_from_the_beginning, doubling, wrong

from alpamayo_ros.training.workers import TRIES, Failure, Workers, hired, in_order, outcomes
from alpamayo_ros.types import InvalidInput

pytestmark = pytest.mark.thorough

HERE = Workers()
OVER_RAY = Workers("local", count=2)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ray's processes."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(laborious.__file__).parents[1]))


def test_here_items_are_done_one_after_the_other(tmp_path: Path) -> None:
    assert list(outcomes(partial(doubling, tmp_path), [3, 1, 2], HERE)) == [(0, 6), (1, 2), (2, 4)]
    assert [path.name for path in tmp_path.glob("began_*")] == [f"began_{os.getpid()}"], "once"


def test_what_is_refused_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    found = list(outcomes(partial(doubling, tmp_path), [1, NO_NUMBER, 2], HERE))
    assert found == [(0, 2), (1, Failure("-1", "that is no number")), (2, 4)]


def test_an_outcome_is_handed_over_before_the_next_is_begun(tmp_path: Path) -> None:
    """So that whoever is interrupted has lost the one that was being made."""
    made = outcomes(partial(doubling, tmp_path), [1, 2, 3], HERE)
    assert [next(made), next(made)] == [(0, 2), (1, 4)]
    made.close()  # type: ignore[attr-defined]
    done = 2
    rest = list(outcomes(partial(doubling, tmp_path), [1, 2, 3][done:], HERE))
    assert rest == [(0, 6)]
    assert sorted(path.name.split("_")[0] for path in tmp_path.glob("[123]_*")) == ["1", "2", "3"]


def test_workers_that_were_hired_begin_once_for_all_calls(tmp_path: Path) -> None:
    with hired(partial(doubling, tmp_path), HERE) as crew:
        assert [list(crew(items)) for items in ([1], [], [2, 3])] == [[(0, 2)], [], [(0, 4), (1, 6)]]
    assert len(list(tmp_path.glob("began_*"))) == 1


def test_a_mistake_of_the_program_is_no_failure_of_an_item() -> None:
    with pytest.raises(ZeroDivisionError, match="of 1"):
        list(outcomes(lambda: wrong, [1, 2], HERE))


def test_over_ray_a_worker_that_dies_is_replaced(tmp_path: Path, importable: None) -> None:
    items = [SLOW, 1, NO_NUMBER, FATAL_ONCE, 2, FATAL, 3]
    found = list(outcomes(partial(doubling, tmp_path), items, OVER_RAY))
    assert sorted(place for place, _ in found) == list(range(len(items)))
    *results, fatal, last = in_order(found)
    assert [*results, last] == [0, 2, Failure("-1", "that is no number"), 2 * FATAL_ONCE, 4, 6]
    assert isinstance(fatal, Failure)
    assert fatal.item == str(FATAL)
    assert fatal.reason.startswith(f"its worker died {TRIES} times: ")
    times = {item: len(list(tmp_path.glob(f"{item}_*"))) for item in items}
    assert times == {item: {FATAL: TRIES, FATAL_ONCE: 2}.get(item, 1) for item in items}, "done once but for the deaths"
    dead = 1 + TRIES
    assert dead <= len(list(tmp_path.glob("began_*"))) <= dead + 2, "once in each worker"
    assert not (tmp_path / f"began_{os.getpid()}").exists()


def test_over_ray_what_cannot_begin_ends_all(importable: None) -> None:
    with pytest.raises(InvalidInput, match="no such network"):
        list(outcomes(broken_from_the_beginning, [1, 2], OVER_RAY))


def test_more_workers_than_fit_are_refused(importable: None) -> None:
    with pytest.raises(InvalidInput, match=r"^4096 workers of 1 CPUs and 0 GPUs: the cluster has room for \d+$"):
        list(outcomes(broken_from_the_beginning, [1], Workers("local", count=4096)))


def test_no_cluster_is_refused() -> None:
    pytest.importorskip("ray")
    with pytest.raises(InvalidInput, match=r"no Ray cluster at '127\.0\.0\.1:9'"):
        list(outcomes(broken_from_the_beginning, [1], Workers("127.0.0.1:9")))


def test_outcomes_that_come_early_wait_for_those_before_them() -> None:
    came = iter([(2, "c"), (0, "a"), (1, "b"), (3, "d")])
    ordered = in_order(came)
    assert next(ordered) == "a"
    assert list(came) == [(1, "b"), (3, "d")], "nothing is taken before it is needed"
    assert list(in_order([(2, "c"), (0, "a"), (1, "b"), (3, "d")])) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "changes", [{"count": 0}, {"count": 2}, {"ray": "local", "cpus": -1.0}, {"ray": "local", "gpus": -1.0}]
)
def test_workers_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="want one worker in this process"):
        Workers(**changes)  # type: ignore[arg-type]
