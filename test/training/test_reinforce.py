"""Reinforcement: what is worth more is written more often, what is worth the same teaches nothing, and a run can be cut off."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from training.coc.answering import endpoint, says
from training.lessons import debug_bundle, debug_codec, debug_model, examples

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.coc.client import Client
from alpamayo_ros.training.coc.endpoint import Endpoint
from alpamayo_ros.training.coc.judge import NoJudgement, judged_by_model
from alpamayo_ros.training.objectives import ClippedRatio, Objective, WeightedLikelihood
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.reinforce import Reinforcement, Task, reinforce
from alpamayo_ros.training.rewards import Reward, Rollout
from alpamayo_ros.training.rolling import Asked, roll_here, rolling
from alpamayo_ros.training.rollouts import question_of
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.workers import Workers
from alpamayo_ros.types import InvalidInput, Request

pytestmark = pytest.mark.thorough

SETTINGS = Reinforcement(
    Optimisation(steps=12, batch=2, learning_rate=6e-3, least_learning_rate=6e-3, save_every=2),
    WeightedLikelihood(beta=5.0, kl_weight=0.0),
    Request(samples=8, greedy=False, temperature=1.0, top_p=1.0, max_tokens=1),
    pool=3,
    beta=1.0,
)

LEARNING = replace(SETTINGS, drawing=replace(SETTINGS.drawing, samples=32))
"""Enough rollouts for a few steps to show something."""


def worth(total: float) -> Reward:
    return Reward(total, {}, None)


def begins_with_a_letter(rollout: Rollout) -> Reward:
    """What an untrained network does now and then."""
    return worth(float(rollout.text[:1].isalpha()))


def all_the_same(_: Rollout) -> Reward:
    return worth(0.5)


def tasks(*worths: Callable[[Rollout], Reward]) -> list[Task]:
    return [Task(question_of(example, debug_codec()), each) for example, each in zip(examples(), worths, strict=False)]


def reinforced(
    folder: Path, settings: Reinforcement, *worths: Callable[[Rollout], Reward], model: Alpamayo | None = None
) -> tuple[Alpamayo, Run]:
    model, run = model or debug_model(), Run(folder, {"stage": "test"})
    reinforce(model, tasks(*worths), settings, partial(roll_here, tokenizer=debug_codec().tokenizer), run, ALONE)
    return model, run


def change(values: list[float], of: int = 3) -> float:
    return (sum(values[-of:]) - sum(values[:of])) / of


def steps(count: int, settings: Reinforcement = SETTINGS) -> Reinforcement:
    return replace(settings, optimisation=replace(settings.optimisation, steps=count))


@pytest.mark.parametrize("objective", [WeightedLikelihood(beta=5.0, kl_weight=0.0), ClippedRatio()])
def test_what_is_worth_more_is_written_more_often(tmp_path: Path, objective: Objective) -> None:
    _, run = reinforced(tmp_path / "run", replace(LEARNING, objective=objective), *[begins_with_a_letter] * 4)
    assert change(run.history("reward")) > 0.25
    assert run.history("kl")[-1] > 0.2, "it has left its reference"


@pytest.mark.parametrize("objective", [WeightedLikelihood(beta=5.0, kl_weight=1e4), ClippedRatio(kl_beta=1e4)])
def test_a_heavy_kl_keeps_the_network_as_it_is(tmp_path: Path, objective: Objective) -> None:
    _, run = reinforced(tmp_path / "run", replace(LEARNING, objective=objective), *[begins_with_a_letter] * 4)
    assert change(run.history("reward")) < 0.15
    assert max(run.history("kl")) < 0.1


def test_rewards_that_are_all_the_same_change_nothing(tmp_path: Path) -> None:
    model, run = reinforced(tmp_path / "run", steps(3), *[all_the_same] * 3)
    assert run.history("reward") == [0.5] * 3
    for name, value in debug_model().state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, there = reinforced(tmp_path / "whole", steps(6), *[begins_with_a_letter] * 5)
    reinforced(tmp_path / "cut", steps(4), *[begins_with_a_letter] * 5)
    again, gone_on = reinforced(tmp_path / "cut", steps(6), *[begins_with_a_letter] * 5)
    for name in ("reward", "kl", "loss", "disagreement"):
        assert gone_on.history(name) == there.history(name), name
    assert len(set(there.history("reward"))) > 2, "rewards that are all the same would go on whatever is restored"
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_only_the_parts_that_are_named_change(tmp_path: Path) -> None:
    model, _ = reinforced(tmp_path / "run", replace(steps(2), parts=("language",)), *[begins_with_a_letter] * 3)
    before = debug_model().state_dict()
    changed = {name.split(".layers")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(("vlm.model.language_model", "vlm.lm_head")) for name in changed), changed


def test_samples_of_which_something_is_to_be_learned_come_first(tmp_path: Path) -> None:
    """One task of three tells its rollouts apart, and only one is learned from."""
    one = replace(SETTINGS.optimisation, steps=5, batch=1)
    told = (all_the_same, begins_with_a_letter, all_the_same)
    _, chosen = reinforced(tmp_path / "chosen", replace(SETTINGS, optimisation=one, random_share=0.0), *told)
    assert all(norm > 0 for norm in chosen.history("gradient"))
    _, by_chance = reinforced(tmp_path / "chance", replace(SETTINGS, optimisation=one, random_share=1.0), *told)
    assert 0.0 in by_chance.history("gradient")


def test_a_second_update_from_the_same_rollouts_begins_where_the_first_ended(tmp_path: Path) -> None:
    _, once = reinforced(tmp_path / "once", steps(1), *[begins_with_a_letter] * 3)
    _, twice = reinforced(tmp_path / "twice", replace(steps(1), updates=2), *[begins_with_a_letter] * 3)
    assert once.history("kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert twice.history("kl")[0] > 1e-4


def test_recomputed_layers_learn_the_same(tmp_path: Path) -> None:
    recomputed = replace(SETTINGS, optimisation=replace(SETTINGS.optimisation, steps=3, recompute=True))
    _, kept = reinforced(tmp_path / "kept", steps(3), *[begins_with_a_letter] * 3)
    _, again = reinforced(tmp_path / "again", recomputed, *[begins_with_a_letter] * 3)
    for name in ("reward", "loss", "gradient"):
        assert again.history(name) == pytest.approx(kept.history(name), rel=1e-4), name


def test_a_reward_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        reinforced(tmp_path / "run", steps(1), *[lambda _: worth(float("nan"))] * 3)


def test_fewer_tasks_than_the_pool_wants_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="want 3 tasks and 1 process, got 2 and 1"):
        reinforced(tmp_path / "run", steps(1), *[all_the_same] * 2)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"drawing": replace(SETTINGS.drawing, greedy=True)}, "2 drawn rollouts"),
        ({"drawing": replace(SETTINGS.drawing, samples=1)}, "2 drawn rollouts"),
        ({"pool": 1}, "pool >= batch"),
        ({"beta": 0.0}, "beta > 0"),
        ({"random_share": 1.5}, "random_share 0 .. 1"),
        ({"updates": 0}, "updates >= 1"),
        ({"side_by_side": 0}, "side_by_side >= 1"),
        ({"parts": ("language", "expert")}, "does not write"),
        ({"parts": ()}, "parts of the backbone"),
        ({"optimisation": replace(SETTINGS.optimisation, accumulate=2)}, "want 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: Mapping[str, object], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        replace(SETTINGS, **changes)


def test_how_many_are_rolled_out_side_by_side_changes_nothing(tmp_path: Path) -> None:
    _, alone = reinforced(tmp_path / "alone", replace(steps(3), side_by_side=1), *[begins_with_a_letter] * 4)
    _, together = reinforced(tmp_path / "together", replace(steps(3), side_by_side=3), *[begins_with_a_letter] * 4)
    assert together.history("reward") == alone.history("reward")
    assert together.history("loss") == pytest.approx(alone.history("loss"), rel=1e-3, abs=1e-5)


def test_workers_of_a_ray_write_what_this_process_does(tmp_path: Path) -> None:
    """Step after step, each with the weights of the one before, and seeds that decide alone what is drawn."""
    pytest.importorskip("ray")
    model = debug_model()
    questions = [question_of(example, debug_codec()) for example in examples()[:3]]
    parts = [Asked((questions[0], questions[1]), (1, 2), SETTINGS.drawing), Asked((questions[2],), (3,), SETTINGS.drawing)]
    with rolling(debug_bundle(), tmp_path / "told", Workers("local", count=2)) as roll:
        for seed in (0, 7):
            model.load_state_dict(debug_model(seed).state_dict())
            here = list(roll_here(model, parts, debug_codec().tokenizer))
            there = list(roll(model, parts))
            for own, others in zip(here, there, strict=True):
                assert torch.equal(others.token_ids, own.token_ids), seed
                assert torch.equal(others.log_probs, own.log_probs), seed
                assert [each.text for each in others.rollouts] == [each.text for each in own.rollouts], seed
    assert not list((tmp_path / "told").iterdir()), "weights of a step are gone with it"


def asks(url: str, cache: Path) -> Callable[[Rollout], Reward]:
    """What a judge behind an endpoint says of a rollout's words; none of them goes without."""
    client, truth = Client(Endpoint(url, "critic", first_wait_s=0.0), cache), examples()[0].reasoning
    assert truth is not None
    return lambda rollout: worth(judged_by_model(client, f"Stop. {rollout.text}", truth).share)


SCORED = says('{"why": "so", "score": 4}')
JUNK = says("five out of five")


def test_a_rollout_that_the_judge_has_no_score_for_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Junk is asked for again, three times in all; what is not judged is not kept, and asked anew by another run."""
    with endpoint(lambda _: SCORED, JUNK, JUNK, JUNK) as asked:
        _, run = reinforced(tmp_path / "run", steps(2), *[asks(asked.url, tmp_path / "cache")] * 3)
        paid = len(asked.bodies)
        assert run.history("unjudged") == [1, 0]
        assert run.history("reward") == pytest.approx([0.8, 0.8]), "of those that were judged"
        assert "1 of 8 rollouts of a sample are left out; the last: the judge gave no score" in capsys.readouterr().err
        _, again = reinforced(tmp_path / "again", steps(2), *[asks(asked.url, tmp_path / "cache")] * 3)
        assert again.history("unjudged") == [0, 0]
        assert len(asked.bodies) - paid <= 1, "all others are kept"


def test_a_judge_of_nothing_but_junk_ends_the_run_and_the_next_one_asks_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with endpoint(lambda _: JUNK) as asked, pytest.raises(NoJudgement, match=r"8 of 8 rollouts .* start the run again"):
        reinforced(tmp_path / "run", steps(1), *[asks(asked.url, cache)] * 3)
    assert not list(cache.rglob("*.json")), "junk is not kept"
    with endpoint(lambda _: SCORED) as asked:
        _, run = reinforced(tmp_path / "run", steps(1), *[asks(asked.url, cache)] * 3)
    assert run.history("unjudged") == [0]
