"""Networks that begin: drawn from a seed, with numbers in order."""

import torch
from torch import Tensor
from training.lessons import debug_codec, debug_model

from alpamayo_ros.engine.weights import draw_weights
from alpamayo_ros.model.network import Alpamayo


def drawn() -> Alpamayo:
    """Without an order among bins."""
    with torch.device("meta"):
        model = Alpamayo(debug_codec().config)
    draw_weights(model, 0, "cpu", torch.float32)
    return model


def bins(model: Alpamayo) -> tuple[tuple[Tensor, Tensor], ...]:
    """Embeddings and rows of logits, (bins, width), of the future's bins and of the history's."""
    config, backbone = model.config, model.vlm
    weights = backbone.model.language_model.embed_tokens.weight.detach(), backbone.lm_head.weight.detach()
    first, future = config.traj_token_start, config.future_bins.num_bins
    last = first + future + config.history_bins.num_bins
    return tuple((weight[first : first + future], weight[first + future : last]) for weight in weights)


def alike(rows: Tensor, apart: int) -> float:
    """Mean cosine between rows that are some bins apart."""
    return float(torch.cosine_similarity(rows[:-apart], rows[apart:], dim=1).mean())


def test_neighbouring_numbers_begin_alike_and_distant_ones_do_not() -> None:
    for each in bins(debug_model()):
        for rows in each:
            assert alike(rows, 1) > 0.9
            assert alike(rows, 1) > alike(rows, 4) > alike(rows, 100)
            assert abs(alike(rows, 300)) < 0.3
    for each in bins(drawn()):
        for rows in each:
            assert abs(alike(rows, 1)) < 0.1, "drawn one by one no bin knows its neighbour"


def test_numbers_are_as_wide_as_they_were_drawn_and_nothing_else_changes() -> None:
    model, before = debug_model(), drawn()
    for each, then in zip(bins(model), bins(before), strict=True):
        for rows, other in zip(each, then, strict=True):
            torch.testing.assert_close(rows.std(), other.std())
    first = model.config.traj_token_start
    for name, value in before.state_dict().items():
        same = value == model.state_dict()[name]
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            last = first + model.config.future_bins.num_bins + model.config.history_bins.num_bins
            same = torch.cat([same[:first], same[last:]])
        assert bool(same.all()), name


def test_a_seed_is_a_network() -> None:
    one, again, other = debug_model(1), debug_model(1), debug_model(2)
    assert all(torch.equal(one.state_dict()[name], value) for name, value in again.state_dict().items())
    assert not torch.equal(bins(one)[0][0], bins(other)[0][0])
