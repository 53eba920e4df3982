"""Every attention map holds one contract; each has its identities and, where it has a closed gradient, an oracle."""

import importlib
import inspect
import math
import pathlib
import pkgutil

import pytest
import torch

from actpipe.antehoc import attention
from actpipe.antehoc.attention import NORMALISERS, Normaliser, normaliser
from actpipe.antehoc.attention.entmax_map import entmax
from actpipe.antehoc.attention.sparsemax import sparsemax
from actpipe.errors import Missing, Misuse

MAPS = [
    "softmax", "topk:k=3", "statistical_topk:k=3", "sparsemax", "entmax", "entmax:alpha=1.2", "entmax:alpha=2.0",
    "entmax:alpha=1.0", "adaptive_entmax", "relu", "rela", "kwta:k=4",
]  # fmt: skip
BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 3, 4, 7, 5


def normal(*shape, seed=0, scale=1.5):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scores_with_padding():
    """Sequence 0 sees all keys, sequence 1 not the last three; query 0 of sequence 1 sees none."""
    scores = normal(BATCH, HEADS, QUERIES, KEYS)
    seen = torch.ones(BATCH, 1, QUERIES, KEYS, dtype=torch.bool)
    seen[1, :, :, 4:] = False
    seen[1, :, 0] = False
    return scores.masked_fill(~seen, -math.inf), seen.expand_as(scores)


@pytest.fixture(params=MAPS)
def chosen(request) -> Normaliser:
    return normaliser(request.param)


def test_every_map_of_the_folder_is_registered_and_tested():
    defined = set()
    for module in pkgutil.iter_modules(attention.__path__, f"{attention.__name__}."):
        for cls in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(cls) and issubclass(cls, Normaliser) and not inspect.isabstract(cls):
                defined.add(cls)
    assert set(NORMALISERS.values()) == defined
    assert {text.partition(":")[0] for text in MAPS} == set(NORMALISERS)


def test_masked_keys_have_no_weight_and_rows_sum_to_one(chosen):
    scores, seen = scores_with_padding()
    weights = chosen.weights(scores, chosen.learned(HEADS))
    assert weights.shape == scores.shape
    assert weights.dtype == scores.dtype
    assert bool((weights >= 0).all())
    assert bool((weights[~seen] == 0).all())
    if chosen.sums_to_one:
        torch.testing.assert_close(weights.sum(-1), seen.any(-1).double(), rtol=0, atol=1e-12)


def test_a_masked_key_changes_nothing_else(chosen):
    """Dropping the key altogether gives the weights that masking it gives."""
    scores = normal(1, HEADS, QUERIES, KEYS)
    masked = scores.clone()
    masked[..., 5:] = -math.inf
    learned = chosen.learned(HEADS)
    torch.testing.assert_close(chosen.weights(masked, learned)[..., :5], chosen.weights(scores[..., :5], learned))


def test_the_gradient_is_right_with_padding_and_a_query_without_keys(chosen):
    scores, seen = scores_with_padding()
    values = normal(BATCH, KEYS, HEADS, WIDTH, seed=1).requires_grad_()
    learned = chosen.learned(HEADS)
    leaves = [scores.requires_grad_(), *([] if learned is None else [learned.detach().double().requires_grad_()])]

    def said(scores, values, learned=None):
        return chosen.context(chosen.weights(scores, learned), values)

    said(leaves[0], values, *leaves[1:]).sum().backward()
    assert bool(scores.grad.isfinite().all())
    assert bool((scores.grad[~seen] == 0).all())
    if chosen.name == "kwta":  # the gradient of its gate is by design not that of its value: test_antehoc_kwta.py
        assert torch.autograd.gradcheck(chosen.weights, leaves)
    else:
        assert torch.autograd.gradcheck(said, [leaves[0], values, *leaves[1:]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_agree_with_float64(chosen, dtype):
    scores, _ = scores_with_padding()
    learned = chosen.learned(HEADS)
    low = chosen.weights(scores.to(dtype), learned)
    assert low.dtype == dtype
    # The logits as they were rounded; what is compared is the arithmetic.
    expected = chosen.weights(scores.to(dtype).double(), learned)
    torch.testing.assert_close(low.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-2)


def test_the_text_of_a_map_stands_for_it(chosen):
    assert normaliser(str(chosen)) == chosen
    assert str(normaliser(chosen.name)) == chosen.name


def test_a_trained_network_has_the_map_as_it_is(chosen):
    assert chosen.at(1.0) == chosen


# Identities


@pytest.mark.parametrize("alpha", [1.1, 1.01, 1.001])
def test_entmax_becomes_softmax_as_alpha_becomes_one(alpha):
    scores = normal(20, KEYS)
    # p differs from softmax by about (α−1)/2 · p (…log² p…), of order 1 here
    torch.testing.assert_close(entmax(scores, alpha), scores.softmax(-1), rtol=0, atol=alpha - 1)
    exactly = normaliser("entmax:alpha=1.0").weights(scores[None, None])
    assert torch.equal(exactly[0, 0], scores.softmax(-1))


def test_entmax_of_two_is_sparsemax():
    scores, outer = normal(50, 40).requires_grad_(), normal(50, 40, seed=1)
    ours, theirs = entmax(scores, 2.0), sparsemax(scores)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((p * outer).sum(), scores)[0] for p in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_entmax_is_annealed_from_softmax():
    full = normaliser("entmax:alpha=1.5,warmup=0.2")
    assert [full.at(fraction).alpha for fraction in (0.0, 0.11, 0.2, 0.7)] == [1.0, 1.25, 1.5, 1.5]


def test_maps_that_keep_all_keys_are_softmax():
    scores, _ = scores_with_padding()
    expected = normaliser("softmax").weights(scores)
    for text in (f"topk:k={KEYS}", f"statistical_topk:k={KEYS}"):
        assert torch.equal(normaliser(text).weights(scores), expected)


def test_topk_keeps_k_keys_of_those_that_are_seen():
    scores, seen = scores_with_padding()
    kept = (normaliser("topk:k=3").weights(scores) > 0).sum(-1)
    assert torch.equal(kept, seen.sum(-1).clamp(max=3))


def test_statistical_topk_keeps_about_k_keys_and_always_the_best():
    scores = normal(1, 4, 500, 1024)
    scores[..., 600:] = -math.inf
    weights = normaliser("statistical_topk:k=64").weights(scores)
    assert (weights > 0).sum(-1).double().mean().item() == pytest.approx(64, abs=1)
    lonely = torch.zeros(1, 1, 1, 64, dtype=torch.float64)  # no spread: the threshold is where all are
    assert normaliser("statistical_topk:k=1").weights(lonely).sum().item() == pytest.approx(1)


def test_sparsemax_by_hand():
    # k = 2: 1 + 2 · 0.6 > 1.0 + 0.6, and 1 + 3 · 0.1 < 1.7; τ = (1.6 − 1)/2 = 0.3
    weights = sparsemax(torch.tensor([0.1, 1.0, 0.6, -2.0]))
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.7, 0.3, 0.0]))


def test_relu_attention_divides_by_the_keys_that_are_seen():
    scores = torch.tensor([2.0, -1.0, 4.0, -math.inf]).view(1, 1, 1, 4)
    assert normaliser("relu").weights(scores).flatten().tolist() == pytest.approx([2 / 3, 0, 4 / 3, 0])


def test_rela_norms_what_each_head_reads():
    scores = torch.tensor([2.0, -1.0]).view(1, 1, 1, 2)
    values = torch.tensor([[3.0, 4.0], [50.0, 60.0]]).view(1, 2, 1, 2)
    read = normaliser("rela").context(normaliser("rela").weights(scores), values)
    # 2 · (3, 4) has the root mean square √50
    assert read.flatten().tolist() == pytest.approx([6 / math.sqrt(50), 8 / math.sqrt(50)])


def test_kwta_passes_k_channels_of_all_heads_unchanged():
    values = normal(BATCH, KEYS, HEADS, WIDTH)
    weights = normaliser("softmax").weights(normal(BATCH, HEADS, QUERIES, KEYS, seed=1))
    passed = normaliser("kwta:k=4").context(weights, values).flatten(-2)
    everything = normaliser("softmax").context(weights, values).flatten(-2)
    assert bool(((passed != 0).sum(-1) == 4).all())
    assert torch.equal(passed, torch.where(passed != 0, everything, 0.0))
    dropped = everything.abs().masked_fill(passed != 0, 0.0).amax(-1)
    assert bool((dropped <= passed.abs().masked_fill(passed == 0, math.inf).amin(-1)).all())


# The closed gradients against automatic ones


def by_bisection(scores, alpha):
    """p with τ found by bisection; one step of Newton's method with a fixed slope lets autograd differentiate τ."""
    s = (alpha - 1) * scores
    low, high = s.detach().amax(-1, keepdim=True) - 1, s.detach().amax(-1, keepdim=True)
    for _ in range(100):
        middle = (low + high) / 2
        too_much = (s.detach() - middle).clamp(min=0).pow(1 / (alpha - 1)).sum(-1, keepdim=True) > 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    tau = (low + high) / 2
    on = s.detach() > tau
    u = torch.where(on, s - tau, 1.0)
    total = torch.where(on, u ** (1 / (alpha - 1)), 0.0).sum(-1, keepdim=True)
    slope = torch.where(on, u.detach() ** (1 / (alpha - 1) - 1), 0.0).sum(-1, keepdim=True) / (alpha - 1)
    moved = tau + (total - 1) / slope.detach()
    u = torch.where(on, s - moved, 1.0)
    return torch.where(on, u ** (1 / (alpha - 1)), 0.0)


@pytest.mark.parametrize("alpha", [1.01, 1.2, 1.5, 1.8, 2.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_entmax_and_its_gradients_agree_with_bisection(alpha, scale):
    scores, outer = normal(30, 20, scale=scale).requires_grad_(), normal(30, 20, seed=1)
    shape = torch.full((30, 1), alpha, dtype=torch.float64, requires_grad=True)
    ours, theirs = entmax(scores, shape), by_bisection(scores, shape)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad((p * outer).sum(), (scores, shape)) for p in (ours, theirs)]
    torch.testing.assert_close(gradients[0][0], gradients[1][0], rtol=1e-6, atol=1e-9)
    # To α the closed form is a difference of terms of 1/(α−1)², so near 1 it has fewer digits.
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-5, atol=1e-12 / (alpha - 1) ** 2)
    torch.testing.assert_close(entmax(scores, alpha), ours, rtol=0, atol=1e-12)
    if alpha == 2.0:
        torch.testing.assert_close(sparsemax(scores), theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("alpha", [1.001, 1.1, 1.5, 1.9, 2.0])
def test_entmax_settles_on_rows_that_are_hard_to_solve(alpha):
    n = 512
    steps = torch.arange(n, dtype=torch.float64)
    rows = torch.stack([torch.zeros(n).double(), -(0.5**steps), 0.5**steps, -(1 + steps).log(), -2 * steps / n])
    rows = torch.cat([rows, normal(8, n, scale=0.1), normal(8, n, scale=1e-6), normal(8, n, scale=100.0)])
    torch.testing.assert_close(entmax(rows, alpha), by_bisection(rows, alpha), rtol=0, atol=1e-12)


def test_alpha_of_each_head_is_learned():
    chosen = normaliser("adaptive_entmax:alpha=1.8")
    learned = chosen.learned(HEADS)
    torch.testing.assert_close(chosen.alphas(learned), torch.full((HEADS,), 1.8))
    scores = normal(BATCH, HEADS, QUERIES, KEYS)
    torch.testing.assert_close(chosen.weights(scores, learned), entmax(scores, 1.8), rtol=0, atol=1e-6)
    chosen.weights(scores, learned).square().sum().backward()  # rewards concentration: every α should rise
    assert bool((learned.grad > 0).all())


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("sparcemax", Missing, "no attention map 'sparcemax'; known: softmax"),
        ("entmax:beta=2", Misuse, "no setting 'beta'; it has alpha, warmup"),
        ("softmax:k=2", Misuse, "no setting 'k'; it has none"),
        ("entmax:alpha=much", Misuse, "alpha of the attention map entmax is a number, not 'much'"),
        ("entmax:alpha=2.5", Misuse, "from 1 .* to 2 .*, not 2.5"),
        ("entmax:warmup=2", Misuse, "from 0 to 1, not 2"),
        ("adaptive_entmax:alpha=2", Misuse, "not at 2"),
        ("topk:k=0", Misuse, "above 0, not 0"),
        ("topk:k=2.5", Misuse, "k of the attention map topk is a number"),
        ("kwta:k=-1", Misuse, "above 0, not -1"),
        ("topk:k=2,k=3", Misuse, "'topk:k=2,k=3' sets k more than once"),
    ],
)
def test_a_map_that_is_not_there_is_a_sentence(text, error, said):
    with pytest.raises(error, match=said):
        normaliser(text)


def test_every_map_is_described_in_the_guide():
    page = pathlib.Path(__file__).parent.parent / "docs/how-to/t5.md"
    assert [name for name in NORMALISERS if f"`{name}`" not in page.read_text(encoding="utf-8")] == []
