"""What is learned against what the public reference computed when it trained: losses, and the gradients they make."""

import json

import pytest
import torch
from model.reference import VECTORS, needs_vectors, tensors, tiny_model
from torch import Tensor

from alpamayo_ros.model.language import rope_positions
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Block, Images
from alpamayo_ros.training.batch import Batch, batch_of, read
from alpamayo_ros.training.encoding import Encoded
from alpamayo_ros.training.losses import flow_loss, is_answer, token_loss

pytestmark = needs_vectors

BLOCKS = [Block((1, 2, 3), None, None)] * 4


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model() -> Alpamayo:
    return tiny_model()


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    return tensors("model/sft.npz")


def recorded_batch(model: Alpamayo, stored: dict[str, Tensor]) -> Batch:
    """The reference's rows, without the line end behind `<|im_end|>`."""
    pixels = stored["pixel_values"].view(2, 4, 24, 1536)
    rows = []
    for row, labelled in enumerate(stored["labels_mask"]):
        first, last = labelled.nonzero()[[0, -1], 0].tolist()
        ids = stored["fused_ids"][row, : last + 1]
        rows.append(
            Encoded(
                images=Images(pixels[row], (4, 6), (0, 1, 2, 6), (0, 0, 0, 0)),
                token_ids=ids,
                positions=rope_positions(ids, BLOCKS, model.config.image_token_id),
                prompt_length=first,
                actions=stored["stage2_action"][row, 0],
            )
        )
    return batch_of(rows, model.config.token_ids["future_start"])


def losses(model: Alpamayo, stored: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    batch = recorded_batch(model, stored)
    seen = read(model, batch)
    return sum(token_loss(model, seen, batch)), flow_loss(model, seen, batch, stored["stage2_noise"], stored["stage2_t"])


def test_what_is_learned_is_what_the_reference_labels(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    batch, labelled = recorded_batch(model, stored), stored["labels_mask"]
    kept = [ids[row] for ids, row in zip(stored["fused_ids"], labelled, strict=True)]
    mine = [ids[row] for ids, row in zip(batch.token_ids, is_answer(batch), strict=True)]
    assert [ids.tolist() for ids in mine] == [ids.tolist() for ids in kept]


def test_the_losses_are_the_reference_s(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    tokens, flow = losses(model, stored)
    assert tokens.item() == pytest.approx(stored["stage1_loss"].item(), rel=1e-4)
    assert flow.item() == pytest.approx(stored["stage2_loss_bidirectional_expert"].item(), rel=1e-4)


def test_the_gradients_are_the_reference_s(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    """Of the tokens; the expert's were recorded with a causal mask: the reference trains with it and samples without it."""
    losses(model, stored)[0].backward()
    wanted = json.loads((VECTORS / "model" / "sft_grad_norms.json").read_text())["stage1_grad_norms"]
    made = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert {name for name, norm in made.items() if norm} == {name for name, norm in wanted.items() if norm}
    assert made == pytest.approx({name: wanted[name] for name in made}, rel=1e-3, abs=1e-6)


def test_what_the_expert_learns_does_not_reach_the_backbone(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    losses(model, stored)[1].backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"expert", "action_in_proj", "action_out_proj"}


def test_padding_changes_nothing(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    batch = recorded_batch(model, stored)
    shorter = batch._replace(lengths=batch.lengths - torch.tensor([0, 40]))
    inside = ~is_padding(shorter)
    other = shorter._replace(token_ids=torch.where(inside, batch.token_ids, 7))
    torch.testing.assert_close(read(model, other).hidden[inside], read(model, shorter).hidden[inside])
    assert token_loss(model, read(model, other), other) == token_loss(model, read(model, shorter), shorter)


def is_padding(batch: Batch) -> Tensor:
    return torch.arange(batch.token_ids.shape[1]) >= batch.lengths[:, None]


def test_several_draws_are_the_mean_of_each(model: Alpamayo, stored: dict[str, Tensor]) -> None:
    batch = recorded_batch(model, stored)
    seen = read(model, batch)
    noise, t = torch.randn(6, 64, 2), torch.rand(6)
    each = [flow_loss(model, seen, batch, noise[i : i + 2], t[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(flow_loss(model, seen, batch, noise, t), torch.stack(each).mean(), rtol=1e-4, atol=0)
