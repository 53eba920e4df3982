"""GPT with top-k neurons: how many fire, when, and what they compute."""

import pytest
import torch

from actpipe.antehoc.gpt import GPT
from actpipe.antehoc.topk_gpt import TopkGPT
from actpipe.errors import Misuse
from tests.hooked import captured

SMALL = {"vocabulary": 50, "context": 24, "d_model": 32, "n_layers": 2, "n_heads": 2, "d_mlp": 128}
PRE, POST = "blocks.1.mlp.hook_pre", "blocks.1.mlp.hook_post"


def tokens(rows=4):
    return {"input_ids": torch.randint(50, (rows, 24), generator=torch.Generator().manual_seed(0))}


def test_no_token_has_more_than_k_neurons_and_they_are_the_largest():
    network = TopkGPT(**SMALL, k=10).build(seed=1)
    seen = captured(network, tokens(), [PRE, POST])
    u, z = seen[PRE].flatten(0, 1), seen[POST].flatten(0, 1)
    for row, kept in zip(u, z, strict=True):
        places = row.argsort(descending=True)[:10]
        expected = torch.zeros(128)
        expected[places] = row[places].clamp_min(0)
        assert torch.equal(kept, expected)


def test_the_threshold_from_mean_and_spread_keeps_about_k():
    seen = captured(TopkGPT(**SMALL, k=10, selection="statistical").build(seed=1), tokens(32), [PRE, POST])
    u, z = seen[PRE], seen[POST]
    assert (z > 0).float().sum(-1).mean().item() == pytest.approx(10, abs=1)
    assert torch.equal(z[z > 0], u[z > 0])


def test_shrunken_values_are_less_by_the_threshold():
    first = "blocks.0.mlp.hook_post"  # what comes before it does not depend on the selection
    kept, shrunken = (
        captured(TopkGPT(**SMALL, k=10, selection=selection).build(seed=1), tokens(), [first])[first].flatten(0, 1)
        for selection in ("statistical", "shrunken")
    )
    for row, less in zip(kept, shrunken, strict=True):
        assert torch.equal(row > 0, less > 0)
        threshold = (row - less)[row > 0]
        assert threshold.min() > 0
        assert torch.allclose(threshold, threshold[0], atol=1e-6)


def test_k_falls_over_the_warmup_and_a_network_is_born_at_the_end():
    network = TopkGPT(**SMALL, k=8, warmup=0.5).build(seed=1)
    most = []
    for fraction in (0.0, 0.1, 0.2, 0.3, 0.4, 0.49, 0.5, 0.9, 1.0):
        network.at(fraction)
        most.append(captured(network, tokens(), [POST])[POST].ne(0).sum(-1).max().item())
    assert most == sorted(most, reverse=True)
    assert most[0] > 40  # of 128 about half are positive
    assert most[-3:] == [8, 8, 8]
    end = network.logits(**tokens())
    assert torch.equal(end, TopkGPT(**SMALL, k=8, warmup=0.5).build(seed=1).logits(**tokens()))


@pytest.mark.parametrize("selection", ["exact", "statistical", "shrunken"])
def test_with_all_neurons_it_is_the_dense_twin(selection):
    dense, sparse = GPT(**SMALL).build(seed=2), TopkGPT(**SMALL, k=128, selection=selection).build(seed=2)
    assert torch.equal(dense.logits(**tokens()), sparse.logits(**tokens()))


def test_units_say_what_they_are():
    units = TopkGPT(**SMALL).build().units()
    assert [unit.kind for unit in units] == ["topk_neuron"] * 2
    assert units[0].directions.shape == (128, 32)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"k": 0}, "k of topk is 0; it lies between 1 and d_mlp, 128"),
        ({"k": 129}, "k of topk is 129"),
        ({"selection": "soft"}, "'soft' is not known; use exact, statistical, shrunken"),
        ({"warmup": 1.5}, "warmup of topk is 1.5"),
    ],
)
def test_bad_fields_are_refused(wrong, sentence):
    with pytest.raises(Misuse, match=sentence):
        TopkGPT(**SMALL | wrong)
