"""The Triton coder against the dense one; tests/test_sae_triton.py runs this file, in Triton's interpreter or on a GPU.

It is not collected by itself: the interpreter is chosen by an environment variable that Triton reads when it is
imported, and nothing else in the process should meet it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.testing import assert_close

import sae
from sae.coder import Coded, Coder, Dense
from sae.gates import BatchTopK, Gate, JumpReLU, ReLU, TopK
from sae.sparse import triton_entries, triton_gather
from sae.sparse.triton_coder import Triton

triton = pytest.importorskip("triton")
DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"

M, B, D, N, OUT = 3, 6, 6, 12, 5
GATES = ("relu", "topk", "batch_topk", "jumprelu")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which the small shapes of these tests need several blocks, tiles and turns, with rests."""
    monkeypatch.setattr(triton_entries, "BLOCK", 8)
    monkeypatch.setattr(triton_entries, "LANES", 8)
    monkeypatch.setattr(triton_entries, "LARGEST_PRODUCT", 2 * B * N)
    monkeypatch.setattr(triton_gather, "WIDEST", 8)
    monkeypatch.setattr(triton_gather, "ENTRIES", 4)
    monkeypatch.setattr(triton_gather, "ENTRIES_OF_DOTS", 4)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def uniform(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def parameters() -> dict[str, Tensor]:
    """Of M members."""
    return {
        "W_enc": normal(M, N, D, seed=1),
        "b_enc": normal(M, N, seed=2) / 3,
        "W_dec": normal(M, N, OUT, seed=3),
        "threshold": uniform(M, N, seed=4) + 0.2,
    }


def gate_of(name: str, p: dict[str, Tensor], k: Tensor) -> Gate:
    made: dict[str, Gate] = {
        "relu": ReLU(),
        "topk": TopK(k),
        "batch_topk": BatchTopK(k),
        "jumprelu": JumpReLU(p["threshold"], 0.2 * k),
    }
    return made[name]


def options(names: tuple[str, ...]) -> dict[str, Any]:
    every = {
        "groups": (5, 3, 4),
        "power": torch.tensor(0.7, device=DEVICE),
        "only": uniform(N, seed=5) < 0.6,
    }
    return {name: every[name] for name in names}


def loss(coded: Coded) -> Tensor:
    """Something that every part of the answer has a hand in, each entry with its own weight."""
    output = coded.output.flatten()
    weights = torch.linspace(-1, 1, len(output), device=DEVICE)
    of_features = torch.linspace(-2, 1, N, device=DEVICE)
    parts = (output.square() * weights).sum(), (coded.sums * of_features).sin().sum()
    return parts[0] + parts[1] + (coded.firings * of_features).cos().sum()


def coded_and_gradients(coder: Coder, name: str, p: dict[str, Tensor], x: Tensor, k: Tensor, **kwargs: Any) -> Any:
    def objective(p: dict[str, Tensor]) -> tuple[Tensor, Coded]:
        coded = coder(x, p["W_enc"], p["b_enc"], p["W_dec"], gate_of(name, p, k), **kwargs)
        return loss(coded), coded

    return grad(objective, has_aux=True)(p)


def assert_same(ours: Any, dense: Any, **tolerance: float) -> None:
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-4}
    for name, of_dense in dense[0].items():
        assert_close(ours[0][name], of_dense, msg=lambda text, name=name: f"gradient of {name}: {text}", **tolerance)
    for name, of_dense in dense[1]._asdict().items():
        of_ours = getattr(ours[1], name)
        assert_close(of_ours, of_dense, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.mark.parametrize("names", [(), ("groups", "only"), ("power",)], ids="+".join)
@pytest.mark.parametrize("gate", GATES)
def test_one_member_is_as_dense(gate: str, names: tuple[str, ...]) -> None:
    p = {name: tensor[0] for name, tensor in parameters().items()}
    x, k = normal(B, D, seed=6), torch.tensor(4.0, device=DEVICE)
    ours, dense = (coded_and_gradients(c, gate, p, x, k, **options(names)) for c in (Triton(), Dense()))
    assert dense[1].firings.sum() > B  # so that there is something to compare
    assert_same(ours, dense)


@pytest.mark.parametrize(
    ("rows", "names"), [("shared", ()), ("shared", ("groups", "power", "only")), ("own", ("groups", "power", "only"))]
)
@pytest.mark.parametrize("gate", GATES)
def test_members_under_vmap_are_as_dense(gate: str, rows: str, names: tuple[str, ...]) -> None:
    x = normal(B, D, seed=6) if rows == "shared" else normal(M, B, D, seed=6)
    k, chosen = torch.tensor([2.0, 3.0, 7.0], device=DEVICE), options(names)

    def all_members(coder: Coder) -> Any:
        def member(p: dict[str, Tensor], x: Tensor, k: Tensor) -> Any:
            return coded_and_gradients(coder, gate, p, x, k, **chosen)

        return vmap(member, in_dims=(0, None if rows == "shared" else 0, 0))(parameters(), x, k)

    assert_same(all_members(Triton()), all_members(Dense()))


def test_options_may_differ_between_members_and_rows_be_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_gather, "WIDEST", 4)
    p, x, k = parameters(), normal(B, D, seed=6), torch.tensor(4.0, device=DEVICE)
    power, only = torch.tensor([0.5, 1.0, 2.0], device=DEVICE), uniform(M, N, seed=7) < 0.5

    def all_members(coder: Coder) -> Any:
        def member(p: dict[str, Tensor], power: Tensor, only: Tensor) -> Any:
            return coded_and_gradients(coder, "topk", p, x, k, power=power, only=only)

        return vmap(member)(p, power, only)

    assert_same(all_members(Triton()), all_members(Dense()))


@pytest.mark.parametrize("k", [1.0, 2.5, 4.0, 12.0])
@pytest.mark.parametrize("gate", ["topk", "batch_topk"])
def test_among_equals_the_same_are_chosen(gate: str, k: float) -> None:
    """Pre-activations that are whole numbers from −4 to 4 are equal everywhere."""
    p = {name: tensor[0] for name, tensor in parameters().items()}
    p["W_enc"], p["b_enc"] = torch.zeros_like(p["W_enc"]), torch.zeros_like(p["b_enc"])
    p["W_enc"][:, 0] = normal(N, seed=8).round().clamp(-2, 2)
    x = normal(B, D, seed=9).round().clamp(-2, 2)
    ours, dense = (coded_and_gradients(c, gate, p, x, torch.tensor(k, device=DEVICE)) for c in (Triton(), Dense()))
    assert_close(ours[1].firings, dense[1].firings, rtol=0, atol=0)
    assert_same(ours, dense)


@pytest.mark.parametrize("bias", [-100.0, 100.0])
@pytest.mark.parametrize("gate", GATES)
def test_no_code_or_every_code(gate: str, bias: float) -> None:
    p = {name: tensor[0] for name, tensor in parameters().items()}
    p["b_enc"] = torch.full_like(p["b_enc"], bias)
    x, k = normal(B, D, seed=6), torch.tensor(30.0, device=DEVICE)
    ours, dense = (coded_and_gradients(c, gate, p, x, k) for c in (Triton(), Dense()))
    assert dense[1].firings.sum() == (B * N if bias > 0 else 0)
    assert_same(ours, dense, rtol=1e-4, atol=1e-3)


def test_the_window_of_a_jumprelu_moves_thresholds_that_nothing_passes() -> None:
    """One row, one feature: u = 0.9 below θ = 1, ε = 0.5, so ∂f/∂θ = −θ/ε = −2, and the decoder row is 3."""
    one = torch.ones(1, 1, device=DEVICE)

    def output(threshold: Tensor) -> Tensor:
        gate = JumpReLU(threshold, torch.tensor(0.5, device=DEVICE))
        coded = Triton()(0.9 * one, one, torch.zeros(1, device=DEVICE), 3 * one, gate)
        assert coded.output.item() == 0
        assert coded.least.item() == torch.inf
        return coded.output.sum()

    threshold = torch.ones(1, device=DEVICE, requires_grad=True)
    output(threshold).backward()
    assert threshold.grad is not None
    assert_close(threshold.grad, torch.full_like(threshold, -6.0))


@pytest.mark.parametrize("gate", GATES)
def test_bfloat16_products_are_near_those_of_dense(gate: str) -> None:
    p = {name: tensor[0] for name, tensor in parameters().items()}
    x, k = normal(B, D, seed=6), torch.tensor(4.0, device=DEVICE)
    ours, exact, dense = (
        coded_and_gradients(c, gate, p, x, k) for c in (Triton(torch.bfloat16), Triton(), Dense(torch.bfloat16))
    )
    for ours_, exact_, dense_ in zip(ours[0].values(), exact[0].values(), dense[0].values(), strict=True):
        assert ours_.dtype == torch.float32
        # No farther from the exact gradient than the reference is, with room for chance.
        assert (ours_ - exact_).norm() <= 2 * (dense_ - exact_).norm()
    assert not torch.equal(ours[1].output, exact[1].output)


@pytest.mark.parametrize("gate", GATES)
def test_a_member_that_diverges_is_seen_and_spoils_no_other(gate: str) -> None:
    p, x, k = parameters(), normal(B, D, seed=6), torch.tensor(4.0, device=DEVICE)
    p["W_enc"][1] = torch.nan

    def member(p: dict[str, Tensor]) -> Any:
        return coded_and_gradients(Triton(), gate, p, x, k)

    gradients, coded = vmap(member)(p)
    assert coded.output[1].isnan().all()
    assert gradients["W_enc"][1].isnan().any()
    for tensor in (*gradients.values(), *coded):
        assert tensor[[0, 2]].isfinite().all()


@pytest.mark.parametrize("gate", ["topk", "jumprelu"])
def test_the_same_bits_again_and_in_any_company(gate: str) -> None:
    """Sums are of one order, so a resumed run does not part from one that went on."""
    p, x, k = parameters(), normal(B, D, seed=6), torch.tensor(4.0, device=DEVICE)

    def member(p: dict[str, Tensor]) -> Any:
        return coded_and_gradients(Triton(), gate, p, x, k)

    first, again = vmap(member)(p), vmap(member)(p)
    turned = vmap(member)({name: tensor.flip(0) for name, tensor in p.items()})
    for one, two, three in zip(
        (*first[0].values(), *first[1]),
        (*again[0].values(), *again[1]),
        (*turned[0].values(), *turned[1]),
        strict=True,
    ):
        assert torch.equal(one, two)
        assert_close(three.flip(0), one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("relu", {"l1": 1.0}), ("topk", {"k": 4}), ("jumprelu", {"target_l0": 4}), ("matryoshka", {"k": 3})],
)
def test_an_ensemble_trains_as_with_dense(name: str, fields: dict[str, float]) -> None:
    """Members of two widths, so that they are stepped in two groups; dead features have an auxiliary loss by then."""
    rows = normal(2, B, D, seed=6)

    def trained(coder: Any) -> Any:
        ensemble = sae.Ensemble.create(
            sae.registry.get(name)(),
            [{"seed": 1, "lr": 1e-2, **fields}, {"seed": 2, "width": 9, **fields}],
            d=D,
            width=N,
            dead_after=B,
            coder=coder,
            device=DEVICE,
        )
        losses = torch.stack([ensemble.step(batch).loss for batch in rows])
        return losses, ensemble.params, ensemble.idle

    assert_close(trained("triton"), trained("dense"), rtol=1e-5, atol=1e-5)


def test_a_second_derivative_is_refused() -> None:
    p = {name: tensor[0] for name, tensor in parameters().items()}
    x = normal(B, D, seed=6)

    def slope(W_dec: Tensor) -> Tensor:
        def output(W_dec: Tensor) -> Tensor:
            return Triton()(x, p["W_enc"], p["b_enc"], W_dec, ReLU()).output.square().sum()

        return grad(output)(W_dec).sum()

    with pytest.raises(RuntimeError, match="differentiable once"):
        grad(slope)(p["W_dec"])


def test_what_cannot_be_computed_is_told() -> None:
    p = {name: tensor[0] for name, tensor in parameters().items()}
    x = normal(B, D, seed=6)
    with pytest.raises(ValueError, match=r"takes rows in float32, not torch\.float64"):
        Triton()(x.double(), p["W_enc"], p["b_enc"], p["W_dec"], ReLU())
    with pytest.raises(ValueError, match=r"add up to 11 features, not to 12"):
        Triton()(x, p["W_enc"], p["b_enc"], p["W_dec"], ReLU(), groups=(5, 6))
