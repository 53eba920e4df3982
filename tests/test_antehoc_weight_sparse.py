"""The weight-sparse transformer: which weights and activations stay, and the attention that can read nothing."""

import math

import pytest
import torch

from actpipe.antehoc.weight_sparse import AbsTopK, SinkAttention, WeightSparse, keep_largest
from actpipe.errors import Misuse
from tests.hooked import captured

SMALL = {"vocabulary": 50, "context": 12, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_mlp": 32}
INPUTS = {"input_ids": torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(0))}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrices(network):
    return {name: w for name, w in network.named_parameters() if w.ndim == 2 and name != "bigrams.weight"}


def test_the_largest_entries_stay_by_hand():
    weight = torch.tensor([[3.0, -4.0, 1.0], [0.5, -2.0, 0.1]])
    keep_largest(weight, 0.5, least=0, dim=0)
    assert weight.tolist() == [[3.0, -4.0, 0.0], [0.0, -2.0, 0.0]]


def test_each_unit_keeps_some():
    row = torch.tensor([[3.0, -4.0, 1.0], [0.05, -0.2, 0.1]])
    keep_largest(row, 0.5, least=1, dim=0)
    assert row.tolist() == [[3.0, -4.0, 0.0], [0.0, pytest.approx(-0.2), 0.0]]
    columns = torch.tensor([[3.0, -4.0, 0.1], [2.0, -2.0, 0.2]])
    keep_largest(columns, 0.5, least=1, dim=1)
    assert columns.ne(0).tolist() == [[True, True, False], [False, False, True]]
    # More than all together may keep are not given.
    keep_largest(columns, 0.4, least=3, dim=1)
    assert columns.ne(0).sum() == 2


def test_equal_entries_are_kept_up_to_the_number():
    weight = torch.ones(8, 8)
    keep_largest(weight, 0.25, least=2, dim=0)
    assert weight.ne(0).sum() == 16
    assert weight.ne(0).sum(1).tolist() == [2] * 8


def test_after_each_step_the_share_of_the_moment_is_left():
    network = WeightSparse(**SMALL, density=0.2, anneal=0.5, per_unit=1).build(seed=1)
    assert all(weight.ne(0).all() for weight in matrices(network).values())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    batch = INPUTS | {"labels": INPUTS["input_ids"]}
    for fraction, density in ((0.0, 1.0), (0.25, 0.6), (0.5, 0.2), (1.0, 0.2)):
        network.at(fraction)
        optimizer.zero_grad()
        network.losses(batch)["loss"].backward()
        optimizer.step()
        before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        network.project()
        for name, weight in network.named_parameters():
            if name in matrices(network):
                assert weight.ne(0).sum().item() == int(density * weight.numel()), name
                assert torch.equal(weight[weight != 0], before[name][weight != 0])
            else:  # biases, gains, sinks, bigrams
                assert torch.equal(weight, before[name]), name
    for block in network.blocks:
        assert block.mlp.into.weight.ne(0).any(1).all()
        assert block.mlp.out.weight.ne(0).any(0).all()
        assert block.attn.qkv.weight.ne(0).any(1).all()
        assert block.attn.o.weight.ne(0).any(0).all()


def test_the_sparse_twin_of_a_seed_is_its_projection():
    one, other = (WeightSparse(**SMALL).build(seed=3) for _ in range(2))
    one.project()
    left = matrices(one)["blocks.0.mlp.into.weight"]
    assert left.ne(0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(left[left != 0], matrices(other)["blocks.0.mlp.into.weight"][left != 0])


def test_abs_topk_by_hand():
    a = torch.tensor([[1.0, -3.0, 2.0, 0.5], [-1.0, -2.0, -4.0, -3.0]])
    assert AbsTopK(0.5)(a).tolist() == [[0.0, -3.0, 2.0, 0.0], [0.0, 0.0, -4.0, -3.0]]
    assert torch.equal(AbsTopK(1.0)(a), a)
    assert AbsTopK(0.01)(a).ne(0).sum(-1).tolist() == [1, 1]


def test_activations_are_sparse_where_they_say():
    network = WeightSparse(**SMALL, kept=0.25).build(seed=1)
    places = ("hook_attn_in", "hook_attn_out", "hook_mlp_in", "hook_mlp_out", "mlp.hook_post", "attn.hook_q")
    seen = captured(network, INPUTS, [f"blocks.1.{place}" for place in places])
    for place in places:
        value = seen[f"blocks.1.{place}"]
        value = value.flatten(2) if place == "attn.hook_q" else value  # all heads of a token compete
        assert set(value.ne(0).sum(-1).flatten().tolist()) == {value.shape[-1] // 4}, place


def test_a_head_may_read_nothing():
    """Softmax with one more logit, the sink's, whose value is zero."""
    attention = SinkAttention(8, 2, kept=1.0).double()
    with torch.no_grad():
        attention.sink.weight.copy_(torch.tensor([0.3, -1.2]))
    x = normal(1, 5, 8).double()
    q, k, v = (each.view(5, 2, 4) for each in attention.qkv(x[0]).chunk(3, dim=-1))
    read = torch.zeros(5, 2, 4, dtype=torch.float64)
    for t in range(5):
        for head in range(2):
            weights = (k[: t + 1, head] @ q[t, head] / math.sqrt(4)).exp()
            read[t, head] = weights @ v[: t + 1, head] / (weights.sum() + attention.sink.weight[head].exp())
    assert torch.allclose(attention(x)[0], attention.o(read.flatten(1)), atol=1e-7)
    with torch.no_grad():
        attention.sink.weight.fill_(100.0)
    assert torch.allclose(attention(x)[0], attention.o.bias.expand(5, -1), atol=1e-12)


def test_bigrams_are_added_to_the_logits():
    network = WeightSparse(**SMALL).build(seed=1)
    without = WeightSparse(**SMALL, bigrams=False).build(seed=1)
    assert without.bigrams is None
    expected = without.logits(**INPUTS) + network.bigrams.weight[INPUTS["input_ids"]]
    assert torch.allclose(network.logits(**INPUTS), expected, atol=1e-6)
    assert network.n_parameters()["other"] == without.n_parameters()["other"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"density": 0.0}, "density of weight-sparse is 0; it is a share above 0"),
        ({"kept": 1.5}, "kept of weight-sparse is 1.5"),
        ({"anneal": 2.0}, "anneal of weight-sparse is 2"),
        ({"per_unit": -1}, "per_unit of weight-sparse is -1"),
        ({"activation": "tanh"}, "'tanh' is not known; use gelu or relu"),
        ({"d_mlp": 0}, "d_mlp of weight-sparse is 0"),
    ],
)
def test_bad_fields_are_refused(wrong, sentence):
    with pytest.raises(Misuse, match=sentence):
        WeightSparse(**SMALL | wrong)
