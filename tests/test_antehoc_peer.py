"""PEER: product keys find the best experts, and what these answer is the sum over the pool."""

import pytest
import torch
import torch.nn.functional as F

from actpipe.antehoc.peer import PEER, Experts, ProductKeys
from actpipe.errors import Misuse
from tests.hooked import captured

SMALL = {"vocabulary": 50, "context": 12, "d_model": 16, "n_layers": 2, "n_heads": 2}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def retriever(k=3, n=49):
    keys = ProductKeys(16, n, n_retrievers=2, k=k, d_key=5)
    with torch.no_grad():
        keys.draw(torch.Generator().manual_seed(0))
    return keys


def scores_of_all(keys, x):
    """[rows, heads, N], every expert's score by itself."""
    query = F.layer_norm((x @ keys.query.weight.T).view(len(x), 2, 10), (10,))
    n = range(keys.side**2)
    first = torch.stack([keys.keys[0, i // keys.side] for i in n])
    second = torch.stack([keys.keys[1, i % keys.side] for i in n])
    return query @ torch.cat([first, second], dim=1).T


@pytest.mark.parametrize("k", [1, 3, 7, 20, 49])
def test_product_keys_find_what_a_search_of_all_finds(k):
    keys, x = retriever(k), normal(30, 16, seed=1)
    scores, numbers = keys(x)
    expected = scores_of_all(keys, x).topk(k, dim=-1)
    assert torch.allclose(scores, expected.values, atol=1e-5)
    assert torch.equal(numbers.sort(-1).values, expected.indices.sort(-1).values)


def test_the_answer_is_the_sum_over_what_the_heads_found():
    keys = retriever()
    experts = Experts(16, 49, keys)
    x = normal(2, 4, 16, seed=2)
    every = scores_of_all(keys, x.flatten(0, 1))
    expected = torch.zeros(8, 16)
    for row, (token, heads) in enumerate(zip(x.flatten(0, 1), every, strict=True)):
        for scores in heads:
            best = scores.topk(3)
            for gate, n in zip(best.values.softmax(-1), best.indices, strict=True):
                expected[row] += gate * (experts.into.weight[n] @ token).relu() * experts.out.weight[:, n]
    assert torch.allclose(experts(x).flatten(0, 1), expected, atol=1e-6)
    seen = []
    experts.hook_post.register_forward_hook(lambda _, args, value: seen.append(value))
    assert torch.allclose(experts(x).flatten(0, 1), expected, atol=1e-6)
    assert seen[0].shape == (2, 4, 49)
    assert 0 < seen[0].ne(0).sum(-1).max() <= 2 * 3


def test_what_nobody_looks_at_is_not_made():
    network = PEER(**SMALL, n_experts=64).build(seed=1)
    calls = []
    network.blocks[0].mlp.hook_post.forward = lambda value: calls.append(value.shape) or value
    ids = torch.randint(50, (2, 12))
    network.logits(ids)
    assert not calls
    captured(network, {"input_ids": ids}, ["blocks.0.mlp.hook_post"])
    assert calls == [torch.Size([2, 12, 64])]


def test_gradients_are_those_of_the_sum_over_the_pool():
    """The gathered and the dense way of computing agree in what they teach."""
    ids = torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(0))
    gathered, dense = (PEER(**SMALL, n_experts=64, k=4).build(seed=1) for _ in range(2))
    for block in dense.blocks:
        block.mlp.hook_post.register_forward_hook(lambda _, args, value: None)
    for network in (gathered, dense):
        network.losses({"input_ids": ids, "labels": ids})["loss"].backward()
    for (name, one), other in zip(gathered.named_parameters(), dense.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6), name
    assert dense.units()[0].kind == "expert"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_experts": 1000}, "n_experts of peer is 1000; it is a square, such as 1024"),
        ({"n_experts": 16, "k": 17}, "k of peer is 17; it lies between 1 and n_experts, 16"),
        ({"n_retrievers": 0}, "n_retrievers of peer is 0"),
        ({"d_key": 0}, "d_key of peer is 0"),
    ],
)
def test_bad_fields_are_refused(wrong, sentence):
    with pytest.raises(Misuse, match=sentence):
        PEER(**SMALL | wrong)
