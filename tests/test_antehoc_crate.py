"""CRATE: parameter counts of the publication, the arithmetic of its steps, and the diagnostics of its layers."""

import math

import pytest
import torch
import torch.nn.functional as F

from actpipe.antehoc.coding_rate import coding_rate, layer_rates
from actpipe.antehoc.crate import CRATE, ODL, CRATEAlpha, SubspaceAttention
from actpipe.antehoc.gpt import GPT
from actpipe.errors import Misuse
from tests.hooked import captured

SMALL = {"vocabulary": 50, "context": 12, "d_model": 16, "n_layers": 3, "n_heads": 4, "d_mlp": 64}
# Published, in millions: d_model, heads, layers → CRATE, GPT-2. Vocabulary 50304, positions not counted.
PUBLISHED = {
    (128, 4, 1): (6.54, 6.64),
    (128, 4, 2): (6.64, 6.83),
    (128, 4, 3): (6.74, 7.03),
    (768, 12, 6): (59.89, 81.11),  # printed 55.9, a slip in a digit, and 81.1
    (768, 12, 12): (81.15, 123.59),  # printed 81.2, which 81.148 becomes when it is rounded twice, and 123.6
}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parameters(network, *, biases):
    return sum(w.numel() for name, w in network.named_parameters() if biases or not name.endswith(".bias"))


@pytest.mark.parametrize(("size", "published"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(size, published):
    d, heads, layers = size
    fields = {"vocabulary": 50304, "context": 1024, "d_model": d, "n_heads": heads, "n_layers": layers, "d_mlp": 4 * d}
    with torch.device("meta"):
        crate, gpt = CRATE(**fields).network(), GPT(**fields).network()
    total = parameters(crate, biases=True) - 1024 * d
    assert total == 50304 * d + layers * (d * d + d * d + d + 4 * d * d + 4 * d) + 2 * d
    assert crate.n_parameters() == {"embedding": (50304 + 1024) * d, "training": 0, "other": total - 50304 * d}
    # The twin was counted without biases.
    for count, millions in zip((total, parameters(gpt, biases=False) - 1024 * d), published, strict=True):
        assert round(count / 1e6, 2) == millions


def test_steps_with_an_orthonormal_square_dictionary_are_the_closed_form():
    # With DDᵀ = I and y = Dᵀu: z₁ = ReLU(η(y − λ)), z₂ = ReLU((1 − η) z₁ + η(y − λ)).
    d, eta, lam = 8, 0.1, 0.1
    orthonormal = torch.linalg.qr(normal(d, d)).Q
    u = normal(5, d, seed=1)
    y = u @ orthonormal
    expected = torch.relu(eta * (y - lam))
    for n_steps in (1, 2, 3):
        odl = ODL(d, d, n_steps=n_steps, eta=eta, lam=lam, decoupled=False).double()
        with torch.no_grad():
            odl.out.weight.copy_(orthonormal)
        seen = {}
        odl.hook_post.register_forward_hook(lambda _, args, z, seen=seen: seen.update(z=z))
        answer = odl(u)
        assert torch.allclose(seen["z"], expected, rtol=0, atol=1e-15)
        assert torch.allclose(answer, expected @ orthonormal.T, rtol=0, atol=1e-14)
        expected = torch.relu((1 - eta) * expected + eta * (y - lam))


@pytest.mark.parametrize("decoupled", [False, True])
def test_two_steps_are_the_published_formula(decoupled):
    d, h, eta, lam = 6, 24, 0.2, 0.3
    odl = ODL(d, h, n_steps=2, eta=eta, lam=lam, decoupled=decoupled).double()
    with torch.no_grad():
        odl.draw(torch.Generator().manual_seed(0))
    u = normal(7, d, seed=2)
    w = odl.into.weight if decoupled else odl.out.weight.T  # [h, d]
    for row, answer in zip(u, odl(u), strict=True):
        z1 = torch.relu(eta * w @ row - eta * lam)
        z2 = torch.relu(z1 + eta * (w @ row - w @ (w.T @ z1)) - eta * lam)
        assert torch.allclose(answer, odl.out.weight @ z2, rtol=0, atol=1e-12)


def test_many_steps_find_the_lasso_solution():
    """ISTA falls in ½‖u − Dz‖² + λ‖z‖₁ at each step, to a point that satisfies the conditions of optimality."""
    d, h, lam = 6, 12, 0.1
    dictionary = F.normalize(normal(d, h), dim=0)
    eta = 1 / torch.linalg.matrix_norm(dictionary, 2).item() ** 2
    u = normal(1, d, seed=1)

    def codes(n_steps):
        odl = ODL(d, h, n_steps=n_steps, eta=eta, lam=lam, decoupled=False).double()
        with torch.no_grad():
            odl.out.weight.copy_(dictionary)
            seen = {}
            odl.hook_post.register_forward_hook(lambda _, args, z: seen.update(z=z))
            odl(u)
        return seen["z"][0]

    losses = [(0.5 * (u[0] - dictionary @ z).square().sum() + lam * z.sum()).item() for z in map(codes, (1, 2, 4, 8))]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]
    z = codes(5000)
    slope = dictionary.T @ (dictionary @ z - u[0]) + lam
    assert slope.min() > -1e-6  # nothing is gained by another atom
    assert slope[z > 0].abs().max() < 1e-6  # nor by more or less of one in use
    assert 0 < (z > 0).sum() < h


def test_one_projection_gives_queries_keys_and_values():
    attention = SubspaceAttention(8, 2, bias=True).double()
    x = normal(1, 5, 8)
    w = (x @ attention.qkv.weight.T).view(5, 2, 4)
    read = torch.zeros(5, 2, 4, dtype=torch.float64)
    for t in range(5):
        for head in range(2):
            weights = torch.softmax(w[: t + 1, head] @ w[t, head] / math.sqrt(4), dim=0)
            read[t, head] = weights @ w[: t + 1, head]
    expected = read.reshape(5, 8) @ attention.o.weight.T + attention.o.bias
    assert torch.allclose(attention(x)[0], expected, atol=1e-12)


def test_the_answer_of_crate_is_the_codes_times_the_dictionary_and_that_of_alpha_is_added():
    ids = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(0))
    before, codes, after = "blocks.1.hook_resid_mid", "blocks.1.mlp.hook_post", "blocks.1.hook_resid_post"
    for architecture in (CRATE(**SMALL), CRATEAlpha(**SMALL)):
        network = architecture.build(seed=3)
        seen = captured(network, {"input_ids": ids}, [before, codes, after])
        written = seen[codes] @ network.units()[1].directions
        assert torch.allclose(seen[after], written + seen[before] if architecture.skip else written, atol=1e-6)
        assert 0 < (seen[codes] > 0).sum() < (seen[codes] >= 0).sum() == seen[codes].numel()


def test_alpha_has_another_dictionary_and_no_bias():
    crate, alpha = CRATE(**SMALL).build(), CRATEAlpha(**SMALL).build()
    odl = alpha.blocks[0].mlp
    assert not torch.equal(odl.into.weight.T, odl.out.weight)
    assert alpha.blocks[0].attn.o.bias is None
    more = 3 * (16 * 64 - 16)  # a dictionary more and a bias less in each layer
    assert alpha.n_parameters()["other"] == crate.n_parameters()["other"] + more


def test_dictionaries_are_kaiming_uniform_whatever_the_depth():
    """Bound √(6/d), so variance 2/d."""
    network = CRATE(vocabulary=10, context=4, d_model=64, n_layers=2, n_heads=2, d_mlp=256).build(seed=0)
    for block in network.blocks:
        weight = block.mlp.out.weight
        assert weight.abs().max() <= math.sqrt(6 / 64)
        assert weight.var().item() == pytest.approx(2 / 64, rel=0.03)
        assert block.attn.o.weight.std().item() == pytest.approx(0.02 / 2, rel=0.05)  # √(2L) = 2


def test_coding_rate_by_hand():
    # m rows in p dimensions, all alike: the Gram matrix has the one eigenvalue m, so ½ ln(1 + p/ε²).
    same = torch.ones(5, 4, dtype=torch.float64)
    assert coding_rate(same, eps=0.1).item() == pytest.approx(0.5 * math.log(1 + 4 / 0.01))
    # The p axes, each m/p times: p eigenvalues m/p, so p/2 ln(1 + 1/ε²), the largest there is.
    axes = torch.eye(4, dtype=torch.float64).repeat(3, 1)
    assert coding_rate(axes, eps=0.1).item() == pytest.approx(4 / 2 * math.log(1 + 1 / 0.01))
    assert coding_rate(5 * axes, eps=0.1).item() == pytest.approx(4 / 2 * math.log(1 + 1 / 0.01))  # rows have length 1
    # Fewer rows than dimensions, and several sets at a time: the other Gram matrix has the same eigenvalues.
    rows = normal(2, 3, 7)
    unit = F.normalize(rows, dim=-1)
    for one, found in zip(unit, coding_rate(rows, eps=0.5), strict=True):
        expected = 0.5 * torch.logdet(torch.eye(3, dtype=torch.float64) + 7 / (3 * 0.25) * one @ one.T)
        assert found.item() == pytest.approx(expected.item())


def test_layer_rates_are_those_of_what_the_layer_holds():
    network = CRATE(**SMALL).build(seed=1)
    ids = torch.randint(50, (4, 12), generator=torch.Generator().manual_seed(0))
    rates = layer_rates(network, ids)
    assert [rate.layer for rate in rates] == [0, 1, 2]
    seen = captured(network, {"input_ids": ids}, ["blocks.2.hook_resid_mid", "blocks.2.mlp.hook_post"])
    assert rates[2].nonzero_share == pytest.approx((seen["blocks.2.mlp.hook_post"] > 0).float().mean().item())
    block = network.blocks[2]
    w = (F.layer_norm(seen["blocks.2.hook_resid_mid"], (16,)) @ block.attn.qkv.weight.T).unflatten(-1, (4, 4))
    by_hand = [coding_rate(w[b, :, head]).item() for b in range(4) for head in range(4)]
    assert rates[2].coding_rate == pytest.approx(sum(by_hand) / 16, rel=1e-4)
    assert not network.blocks[0].mlp.hook_post.watched  # nothing is left behind


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_steps": 0}, "n_steps of crate is 0; it is at least 1"),
        ({"d_mlp": 0}, "d_mlp of crate is 0"),
        ({"eta": 0.0}, "eta of crate is 0"),
        ({"eta": float("nan")}, "eta of crate is nan"),
        ({"lam": -1.0}, "lam of crate is -1"),
        ({"n_heads": 5}, "d_model 16 is not a multiple of n_heads 5"),
    ],
)
def test_bad_fields_are_refused(wrong, sentence):
    with pytest.raises(Misuse, match=sentence):
        CRATE(**SMALL | wrong)
