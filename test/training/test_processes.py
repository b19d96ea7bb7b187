"""Several processes train what one trains: the same losses, the same weights, and one goes on where the others stopped."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from torch import Tensor
from training import together
from training.lessons import batch, debug_bundle, debug_model, lessons
from training.together import EVERYTHING, HALF, SETTINGS, Material, trained

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.batch import read
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.student import Noise, Student, draw_noise, recomputing

pytestmark = pytest.mark.thorough

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0")
LIMIT_S = 600


def material() -> Material:
    return Material(debug_bundle(), lessons())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """One process's run, and its weights."""
    folder = tmp_path_factory.mktemp("alone")
    return folder / "one", trained(folder / "one", SETTINGS, ALONE, material())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes trained, also from where one had stopped."""
    folder = tmp_path_factory.mktemp("together")
    trained(folder / "one_then_two", HALF, ALONE, material())
    copytree(material().bundle, folder / "bundle")
    torch.save(material().lessons, folder / "lessons.pt")
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, *TORCHRUN, together.__file__, str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, timeout=LIMIT_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def history(run: Path, name: str = "loss") -> list[float]:
    return Run(run, {"stage": "test"}, writes=False).history(name)


def test_parts_of_an_update_have_unequally_many_words() -> None:
    """Otherwise the mean of means would do: here it is 2e-5 and more from the mean of all, so losses are held to 1e-6."""
    student = Student(debug_model(), EVERYTHING)
    words = [[student.counts(half)[0] for half in material().parts(number, 2)] for number in range(SETTINGS.steps)]
    assert any(first != second for first, second in words)


@pytest.mark.parametrize("name", ["loss", "words", "trajectory", "flow"])
def test_two_processes_measure_what_one_does(name: str, alone: tuple[Path, dict[str, Tensor]], folder: Path) -> None:
    assert history(folder / "two", name) == pytest.approx(history(alone[0], name), rel=1e-6)


def test_the_gradient_s_norm_is_over_all_shards(alone: tuple[Path, dict[str, Tensor]], folder: Path) -> None:
    norms = history(alone[0], "gradient")
    assert min(norms) > SETTINGS.clip_norm, "otherwise nothing is clipped, and equal weights say nothing of clipping"
    assert history(folder / "two", "gradient") == pytest.approx(norms, rel=1e-4)


def test_two_processes_end_with_the_weights_of_one(alone: tuple[Path, dict[str, Tensor]], folder: Path) -> None:
    weights, started = torch.load(folder / "two.pt"), Student(debug_model(), EVERYTHING).state_dict()
    assert weights.keys() == alone[1].keys()
    for name, value in alone[1].items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4, msg=name)
    assert max(float((weights[name] - started[name]).abs().max()) for name in started) > 1e-3, "it learned"


def test_what_is_accumulated_is_one_batch(alone: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    weights = trained(tmp_path / "run", replace(SETTINGS, accumulate=4), ALONE, material())
    assert history(tmp_path / "run") == pytest.approx(history(alone[0]), rel=1e-6)
    for name, value in alone[1].items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4, msg=name)


def test_two_processes_go_on_as_if_they_had_not_been_cut_off(folder: Path) -> None:
    assert history(folder / "two_then_two") == history(folder / "two")


def test_two_processes_go_on_where_one_was_cut_off(folder: Path) -> None:
    assert history(folder / "one_then_two") == pytest.approx(history(folder / "two"), rel=1e-6)


def test_one_process_goes_on_where_two_were_cut_off(folder: Path) -> None:
    trained(folder / "two_then_one", SETTINGS, ALONE, material())
    assert history(folder / "two_then_one") == pytest.approx(history(folder / "two"), rel=1e-6)


def test_bfloat16_learns(folder: Path) -> None:
    """Also sharded, and with activations that are computed twice."""
    losses = history(folder / "bfloat16")
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def gradients(model: Alpamayo, *, recompute: bool) -> dict[str, Tensor]:
    student, examples = Student(model, EVERYTHING), batch(0, 1)
    noise: Noise = draw_noise([0, 1], EVERYTHING)
    if recompute:
        with recomputing(student):
            student.weighted(student(examples, noise)).backward()
    else:
        student.weighted(student(examples, noise)).backward()
    made = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    return made


def test_activations_computed_twice_change_no_gradient() -> None:
    model = debug_model()
    kept, again = gradients(model, recompute=False), gradients(model, recompute=True)
    assert kept.keys() == again.keys()
    for name, value in kept.items():
        assert torch.equal(again[name], value), name


def saved_bytes(student: Student, *, recompute: bool) -> int:
    """Of everything that the forward pass keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if recompute:
            with recomputing(student):
                student(batch(0, 1), draw_noise([0, 1], EVERYTHING))
        else:
            student(batch(0, 1), draw_noise([0, 1], EVERYTHING))
    return sum(sizes.values())


def test_activations_computed_twice_are_not_kept() -> None:
    student = Student(debug_model(), EVERYTHING)
    assert saved_bytes(student, recompute=True) < 0.7 * saved_bytes(student, recompute=False)


def test_keys_and_values_are_handed_over_once() -> None:
    student = Student(debug_model(), EVERYTHING)
    plain = read(student.model, batch(0, 1))
    with recomputing(student):
        seen = read(student.model, batch(0, 1))
        seen.hidden.sum().backward()
    assert torch.equal(seen.k, plain.k)
    assert torch.equal(seen.v, plain.v)


def test_a_network_is_left_as_it_was() -> None:
    student = Student(debug_model(), EVERYTHING)
    with recomputing(student):
        assert any("forward" in vars(module) for module in student.modules())
    assert not any("forward" in vars(module) for module in student.modules())
