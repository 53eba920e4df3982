"""The sparse coder against the dense one: codes, sums and gradients, for every gate, and how active codes are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from sae.coder import Coded, Coder, Dense, gated
from sae.gates import BatchTopK, Gate, JumpReLU, ReLU, TopK
from sae.sparse import Sparse, choose, coder, search
from sae.sparse.gather import gathered_dots, positions, row_dots
from sae.sparse.product import Plain, Screen

GATES = {"relu": ReLU, "topk": TopK, "batch_topk": BatchTopK, "jumprelu": JumpReLU}
B, D, N, OUT, MEMBERS = 24, 6, 20, 5, 3
CPU = torch.device("cpu")


class Inputs(NamedTuple):
    """Of `MEMBERS` members."""

    params: dict[str, Tensor]
    swept: Tensor  # k, or the bandwidth
    power: Tensor | None
    only: Tensor | None

    def member(self, i: int) -> Inputs:
        params = {name: p[i] for name, p in self.params.items()}
        return Inputs(params, self.swept[i], *(None if t is None else t[i] for t in (self.power, self.only)))

    def in_dims(self) -> tuple[int | None, ...]:
        return (0, 0, *(None if t is None else 0 for t in (self.power, self.only)))


def inputs(gate: str, *, power: bool, share: float | None, dtype: torch.dtype) -> Inputs:
    chance = torch.Generator().manual_seed(0)
    params = {
        "W_enc": torch.randn(MEMBERS, N, D, generator=chance, dtype=dtype),
        "b_enc": torch.randn(MEMBERS, N, generator=chance, dtype=dtype) - 1.5,
        "W_dec": torch.randn(MEMBERS, N, OUT, generator=chance, dtype=dtype),
    }
    if gate == "jumprelu":
        params["threshold"] = torch.rand(MEMBERS, N, generator=chance, dtype=dtype) + 0.5
    swept = torch.tensor([0.5, 1.5, 1.0] if gate == "jumprelu" else [3.0, 2.5, 40.0], dtype=dtype)
    only = None if share is None else torch.rand(MEMBERS, N, generator=chance) < share
    return Inputs(params, swept, torch.tensor([2.0, 1.5, 3.0], dtype=dtype) if power else None, only)


def gate_of(name: str, params: dict[str, Tensor], swept: Tensor) -> Gate:
    if name == "relu":
        return ReLU()
    return JumpReLU(params["threshold"], swept) if name == "jumprelu" else GATES[name](swept)


def loss_of(
    coder: Coder, name: str, groups: tuple[int, ...], dtype: torch.dtype
) -> Callable[..., tuple[Tensor, Coded]]:
    """A loss whose gradient differs in every coordinate of everything that may have one."""
    chance = torch.Generator().manual_seed(1)
    x = torch.randn(B, D, generator=chance, dtype=dtype)
    shape = (B, len(groups), OUT) if groups else (B, OUT)
    target, of_sums = torch.randn(shape, generator=chance, dtype=dtype), torch.randn(N, generator=chance, dtype=dtype)

    def loss(
        params: dict[str, Tensor], swept: Tensor, power: Tensor | None, only: Tensor | None
    ) -> tuple[Tensor, Coded]:
        gate = gate_of(name, params, swept)
        coded = coder(x, params["W_enc"], params["b_enc"], params["W_dec"], gate, groups=groups, power=power, only=only)
        total = (coded.output - target).square().sum() / B + coded.sums @ of_sums
        return total + (coded.firings @ of_sums.square() if name == "jumprelu" else 0.0), coded

    return loss


def assert_same(ours: object, theirs: object, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * 10)


@pytest.fixture(params=["entries", "whole"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Force the sparse coder to list codes one by one, or to keep them as a matrix."""
    monkeypatch.setattr(coder, "DENSE_FROM", 2.0 if request.param == "entries" else -1.0)
    return str(request.param)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("groups", [(), (5, 8, 7)], ids=["one group", "three groups"])
def test_gradients_equal_those_of_dense_autograd(gate: str, groups: tuple[int, ...], held: str) -> None:
    settings = [
        (torch.float64, Sparse(screened=False), 1e-11),
        (torch.float32, Sparse(screened=False), 3e-6),
        (torch.float32, Sparse(screened=True), 3e-6),
    ]
    for (dtype, sparse, tolerance), power, share in itertools.product(settings, (False, True), (None, 0.6, 0.0)):
        given = inputs(gate, power=power, share=share, dtype=dtype)
        expected, ours = (loss_of(c, gate, groups, dtype) for c in (Dense(), sparse))
        theirs = vmap(grad_and_value(expected, has_aux=True), in_dims=given.in_dims())(*given)
        assert_same(vmap(grad_and_value(ours, has_aux=True), in_dims=given.in_dims())(*given), theirs, tolerance)
        first = given.member(0)
        one = grad_and_value(ours, has_aux=True)(*first)
        assert_same(one, torch.utils._pytree.tree_map(lambda t: t[0], theirs), tolerance)
        leaves = {name: p.clone().requires_grad_() for name, p in first.params.items()}
        ours(leaves, *first[1:])[0].backward()
        assert_same({name: p.grad for name, p in leaves.items()}, one[0], tolerance)


@pytest.mark.parametrize("gate", GATES)
def test_a_vmapped_call_without_gradients_equals_dense(gate: str) -> None:
    given = inputs(gate, power=False, share=0.5, dtype=torch.float64)
    theirs, ours = (
        vmap(loss_of(c, gate, (), torch.float64), in_dims=given.in_dims())(*given) for c in (Dense(), Sparse())
    )
    assert_same(ours, theirs, 1e-12)


@pytest.mark.parametrize("screened", [False, True])
def test_the_earlier_of_equal_preactivations_is_kept(screened: bool, held: str) -> None:
    chance = torch.Generator().manual_seed(0)
    # Whole numbers, so that preactivations are equal to the bit; twice the same rows of W_enc.
    x = torch.randint(-2, 3, (50, 4), generator=chance).float()
    W_enc = torch.randint(-2, 3, (40, 4), generator=chance).float().repeat(2, 1)
    for gate in (TopK(torch.tensor(3.0)), TopK(torch.tensor(7.0)), BatchTopK(torch.tensor(3.0))):
        given = x, W_enc, torch.zeros(80), torch.randn(80, 3, generator=chance), gate
        theirs, ours = Dense()(*given), Sparse(screened=screened)(*given)
        assert torch.equal(ours.firings, theirs.firings)
        assert_same(ours, theirs, 1e-6)


@pytest.mark.parametrize("k", [0.0, 1.0, 2.2, 64.0, 1000.0])
def test_any_k_is_that_of_the_dense_coder(k: float) -> None:
    chance = torch.Generator().manual_seed(0)
    given = torch.randn(30, 5, generator=chance), torch.randn(64, 5, generator=chance), -torch.ones(64), torch.eye(64)
    for gate in (TopK(torch.tensor(k)), BatchTopK(torch.tensor(k))):
        assert_same(Sparse()(*given, gate), Dense()(*given, gate), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("coder", [Dense(), Sparse()])
def test_a_batch_keeps_the_nearest_whole_number_of_codes(coder: Coder, dtype: torch.dtype) -> None:
    x = torch.rand(100, 5, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.1
    weights = torch.eye(5, dtype=dtype), torch.zeros(5, dtype=dtype), torch.eye(5, dtype=dtype)
    for k, kept in ((2.3, 230), (0.29, 29), (1.1, 110), (0.004, 1), (2.0, 200)):
        assert int(coder(x, *weights, BatchTopK(torch.tensor(k, dtype=dtype))).firings.sum()) == kept, k


def test_rows_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "IN_BLOCK", 7 * N)
    monkeypatch.setattr(search, "FIRST_BLOCK", 2)
    for gate in GATES:
        given = inputs(gate, power=False, share=None, dtype=torch.float64).member(0)
        theirs, ours = (loss_of(c, gate, (), torch.float64)(*given) for c in (Dense(), Sparse()))
        assert_same(ours, theirs, 1e-12)


def rough_rows(chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of very different lengths with an outlying coordinate, and biases that leave many u near 0."""
    x = torch.randn(300, 64, generator=chance) * torch.logspace(-3, 3, 300)[:, None]
    x[:, 3] += 40
    W = torch.randn(100, 64, generator=chance) * torch.logspace(-2, 2, 100)[:, None]
    return x, W, -(x[150:250].mean(0) @ W.mT)


def test_the_screen_loses_no_preactivation_that_reaches_the_bound() -> None:
    chance = torch.Generator().manual_seed(0)
    x, W, b = rough_rows(chance)
    exact = x.double() @ W.double().mT + b.double()
    for lowest in (torch.tensor(1e-30), torch.randn(100, generator=chance)):
        screen = Screen(x, W, b, lowest)
        screen.multiply(20, 280)
        reaches = exact[20:280] >= lowest.double()
        assert bool(screen.reaching()[reaches].all())
        assert screen.reaching().sum() < 1.3 * reaches.sum()


@pytest.mark.parametrize("d", [4, 300])
def test_the_screen_allows_for_sums_and_bias_where_rows_lose_nothing(d: int) -> None:
    chance = torch.Generator().manual_seed(0)
    x, W = (torch.randn(200, d, generator=chance).bfloat16().float() for _ in range(2))
    b = -(x.double() * W.double()).sum(1).float()
    screen = Screen(x, W, b, torch.tensor(0.0))
    screen.multiply(0, 200)
    # Of row i and feature i, u is 0 but for the rounding of b.
    assert bool(screen.reaching().diagonal().all())


@pytest.mark.parametrize("kind", [Plain, Screen])
def test_marks_lose_none_of_the_largest(kind: type[Plain] | type[Screen]) -> None:
    x, W, b = rough_rows(torch.Generator().manual_seed(0))
    exact = x.double() @ W.double().mT + b.double()
    for k in (1, 5, 12):
        product = kind(x, W, b, torch.tensor(1e-30))
        product.multiply(0, 300)
        among = (exact >= exact.topk(k).values[:, -1:]) & (exact > 1e-30)
        assert bool(product.reaching_largest(k)[among].all())


def test_screened_codes_are_those_of_float32() -> None:
    x, W, b = rough_rows(torch.Generator().manual_seed(0))
    u = torch.addmm(b, x, W.mT)
    found = search.search(x, W, b, TopK(torch.tensor(6.0)), screened=True, most=1.0)
    assert found is not None
    codes = torch.zeros_like(u).index_put_((found.rows.long(), found.columns.long()), found.values)
    size = x.norm(dim=1)[:, None] * W.norm(dim=1) + b.abs()
    assert bool(((codes - gated(u, TopK(torch.tensor(6.0)))[0]).abs() <= 1e-6 * size).all())


def test_a_sample_that_misleads_costs_a_second_search_and_no_code() -> None:
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(search.SAMPLED * 4, 8, generator=chance)
    x[::4] *= 100  # the rows that are sampled
    given = x, torch.randn(32, 8, generator=chance), torch.zeros(32), torch.eye(32), BatchTopK(torch.tensor(6.0))
    ours, theirs = Sparse()(*given), Dense()(*given)
    assert torch.equal(ours.firings, theirs.firings)
    assert ours.firings.sum() == 6 * len(x)


def test_nothing_is_searched_when_no_feature_may_fire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder, "search", lambda *_, **__: pytest.fail("searched"))
    weights = [torch.randn(shape, requires_grad=True) for shape in ((9, 4), (9,), (9, 4))]
    coded = Sparse()(torch.randn(7, 4), *weights, TopK(torch.tensor(2.0)), only=torch.zeros(9, dtype=torch.bool))
    assert not coded.output.any()
    assert coded.least == torch.inf
    for gradient in torch.autograd.grad(coded.output.sum() + coded.sums.sum(), weights):
        assert not gradient.any()


@pytest.mark.parametrize("coder", [Dense(), Sparse()])
@pytest.mark.parametrize("gate", [ReLU(), TopK(torch.tensor(2.0)), BatchTopK(torch.tensor(2.0))])
@pytest.mark.parametrize("where", ["x", "W_enc", "b_enc"])
def test_what_is_not_a_number_shows(where: str, gate: Gate, coder: Coder) -> None:
    given = {"x": torch.randn(5, 4), "W_enc": torch.randn(6, 4), "b_enc": torch.full((6,), -9.0)}
    given[where].view(-1)[0] = torch.nan
    coded = coder(given["x"], given["W_enc"], given["b_enc"], torch.randn(6, 4), gate)
    assert bool(coded.sums.isnan().any())


def test_the_screen_allows_for_rows_whose_squares_vanish() -> None:
    """Lengths of rows are summed in float32, where the square of 1e-30 is 0."""
    chance = torch.Generator().manual_seed(0)
    x, W = torch.randn(2000, 16, generator=chance) * 1e-30, torch.randn(19, 16, generator=chance)
    screen = Screen(x, W, torch.zeros(19), torch.tensor(torch.finfo(torch.float32).tiny))
    screen.multiply(0, 2000)
    assert bool(screen.reaching()[x.double() @ W.double().mT > 1e-35].all())


def test_dots_need_no_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(5, 3), torch.randn(7, 3)
    rows, columns = torch.tensor([[0, 1, 1, 4], [6, 0, 2, 3]], dtype=torch.int32)
    expected = (a @ b.mT)[rows.long(), columns.long()]
    assert_same(row_dots(a, b, rows, columns), expected, 1e-6)
    monkeypatch.setattr("sae.sparse.gather.GATHERED", 6)
    assert_same(gathered_dots(a, b, rows, columns), expected, 1e-6)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    given = torch.randn(5, 3), torch.randn(7, 3), torch.zeros(7), torch.eye(7), ReLU()
    assert_same(Sparse()(*given), Dense()(*given), 1e-6)


@pytest.mark.parametrize("shape", [(4, 8), (3, 5), (1, 1)])
def test_positions_are_those_of_nonzero(shape: tuple[int, int]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.4
    assert positions(mask).tolist() == mask.view(-1).nonzero()[:, 0].tolist()


def test_a_matrix_of_codes_is_kept_when_they_are_many() -> None:
    given = torch.randn(40, 6), torch.randn(30, 6), torch.zeros(30)
    assert search.search(*given, ReLU(), screened=False, most=0.3) is None
    assert search.search(*given, ReLU(), screened=False, most=0.7) is not None


def test_a_second_derivative_is_refused() -> None:
    weights = [torch.randn(shape, requires_grad=True) for shape in ((9, 4), (9,), (9, 4))]
    output = Sparse()(torch.randn(7, 4), *weights, ReLU()).output
    first = torch.autograd.grad(output.square().sum(), weights, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once; use 'dense'"):
        torch.autograd.grad(first[0].sum(), weights)


def test_groups_must_add_up() -> None:
    given = torch.randn(7, 4), torch.randn(9, 4), torch.zeros(9), torch.randn(9, 4), ReLU()
    with pytest.raises(ValueError, match=r"groups \(4, 4\) add up to 8 features, not to 9"):
        Sparse()(*given, groups=(4, 4))


def test_the_choice_follows_shape_and_density() -> None:
    assert choose(4096, 576, 2304, density=0.02, device=CPU) == Sparse()
    assert choose(4096, 576, 2304, density=1.0, device=CPU, precision=torch.bfloat16) == Sparse(torch.bfloat16)
    assert choose(4096, 576, 2304, density=0.3, device=CPU) == Dense()
    assert choose(4096, 576, 2304, density=0.1, device=CPU, precision=torch.bfloat16) == Dense(torch.bfloat16)
    assert choose(256, 64, 256, density=0.02, device=CPU) == Dense()
    assert choose(4096, 576, 2304, density=0.02, device=torch.device("cuda")) == Dense()
