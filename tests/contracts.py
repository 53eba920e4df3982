"""What everything registered must hold; `tests/test_contracts.py` runs these over the registries.

To try an entry of your own: `check_architecture(MyArchitecture())`.
"""

from __future__ import annotations

import dataclasses
import json

import torch
from torch.func import grad, vmap

import sae
from sae.architecture import RESERVED

D, WIDTH, ROWS = 6, 9, 64


def check_architecture(architecture: sae.Architecture) -> None:
    check_it_describes_itself(architecture)
    params, x, hyper = example(architecture)
    check_shapes(architecture, params, x, hyper)
    check_init_is_a_function_of_its_seed(architecture, x)
    check_loss_is_pure_and_uses_encode(architecture, params, x, hyper)
    check_gradients(architecture, params, x, hyper)
    check_it_stacks(architecture, params, x)
    check_decoding_is_affine(architecture, params, x, hyper)
    check_folding(architecture, params, x, hyper)
    check_training_lowers_the_loss(architecture, x)


def example(architecture):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, D, generator=generator, dtype=torch.float64)
    params = architecture.init(d=D, width=WIDTH, generator=generator, sample=x.float(), share=0.2)
    # Away from the start, where biases are zero and matrices may be tied, so that nothing passes by coincidence.
    moved = {
        name: p.double() + 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in params.items()
    }
    hyper = {name: torch.tensor(value, dtype=torch.float64) for name, value in architecture.hyper({}).items()}
    return moved, x, hyper


def check_it_describes_itself(architecture):
    cls = type(architecture)
    fields = {f.name for f in dataclasses.fields(architecture)}
    assert sae.get_architecture(architecture.name) is cls, "registered under its own name"
    assert set(architecture.swept) <= fields, "what is swept is a field"
    assert set(architecture.penalties) <= set(architecture.swept), "what is warmed up is swept"
    assert not RESERVED & fields, "seed, lr and clip belong to the member"
    assert cls.__doc__, "a docstring with the formula"
    assert cls.__dataclass_params__.frozen, "frozen"
    fixed = json.loads(json.dumps(architecture.fixed()))
    assert cls(**{**fixed, **architecture.hyper({})}) == architecture, "its fields survive JSON"


def check_shapes(architecture, params, x, hyper):
    assert {name: tuple(p.shape) for name, p in params.items()} == architecture.shapes(d=D, width=WIDTH)
    codes = architecture.encode(params, x, hyper)
    assert codes.shape == (ROWS, WIDTH)
    assert architecture.decode(params, codes, hyper).shape == (ROWS, D)
    assert architecture.directions(params).shape == (WIDTH, D)
    assert codes.dtype == x.dtype, "codes have the dtype of the parameters"


def check_init_is_a_function_of_its_seed(architecture, x):
    def init(seed, sample):
        torch.rand(1)  # the global generator must not matter
        return architecture.init(d=D, width=WIDTH, generator=torch.Generator().manual_seed(seed), sample=sample)

    sample = x.float().repeat(2, 1)  # enough rows for the default share
    for rows in (None, sample):
        one, again, other = init(1, rows), init(1, rows), init(2, rows)
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)
        assert all(p.dtype == torch.float32 for p in one.values())


def check_loss_is_pure_and_uses_encode(architecture, params, x, hyper):
    before = {name: p.clone() for name, p in params.items()}
    (loss, aux), (again, _) = architecture.loss(params, x, hyper), architecture.loss(params, x, hyper)
    assert loss.shape == (), "a scalar"
    assert torch.equal(loss, again), "no hidden state"
    assert all(torch.equal(params[name], before[name]) for name in params), "arguments are not touched"
    torch.testing.assert_close(aux["codes"], architecture.encode(params, x, hyper))
    assert all(part.shape == () for name, part in aux.items() if name != "codes"), "parts are scalars"
    assert not {"loss", "grad_norm", "l0", "dead"} & set(aux), "these names belong to the report"


def check_gradients(architecture, params, x, hyper):
    grads = grad(lambda p: architecture.loss(p, x, hyper)[0])(params)
    for name, g in grads.items():
        assert g.shape == params[name].shape
        assert torch.isfinite(g).all()
        assert g.any(), f"the loss trains {name}"


def check_it_stacks(architecture, params, x):
    """vmap over members with different hyperparameters equals one call a member."""
    stacked = {name: torch.stack([p, 0.5 * p, 2 * p]) for name, p in params.items()}
    hypers = {
        name: torch.tensor([1.0, 0.3, 1.7], dtype=torch.float64) * value
        for name, value in architecture.hyper({}).items()
    }
    gradient = grad(architecture.loss, has_aux=True)
    together, aux = vmap(gradient, in_dims=(0, None, 0))(stacked, x, hypers)
    for i in range(3):
        alone, aux_alone = gradient(
            {name: p[i] for name, p in stacked.items()}, x, {name: h[i] for name, h in hypers.items()}
        )
        torch.testing.assert_close({name: g[i] for name, g in together.items()}, alone)
        torch.testing.assert_close({name: a[i] for name, a in aux.items()}, aux_alone)


def check_decoding_is_affine(architecture, params, x, hyper):
    codes = architecture.encode(params, x, hyper)
    bias = architecture.decode(params, torch.zeros_like(codes), hyper)
    by_directions = codes @ architecture.directions(params) + bias
    torch.testing.assert_close(architecture.decode(params, codes, hyper), by_directions)


def check_folding(architecture, params, x, hyper):
    """The dictionary in model units computes the same function, with directions of length 1."""
    center = torch.linspace(-30, 50, D, dtype=torch.float64)
    scaling = sae.Scaling(center, 0.25)
    in_model_units = scaling.undo(x)
    folded = architecture.fold(params, scaling)
    codes = architecture.encode(params, x, hyper)
    codes_folded = architecture.encode(folded, in_model_units, hyper)
    norms = architecture.directions(params).norm(dim=1)
    torch.testing.assert_close(codes_folded, codes * norms / scaling.scale)
    torch.testing.assert_close(
        architecture.decode(folded, codes_folded, hyper), scaling.undo(architecture.decode(params, codes, hyper))
    )
    torch.testing.assert_close(architecture.directions(folded).norm(dim=1), torch.ones(WIDTH, dtype=torch.float64))
    assert {name: tuple(p.shape) for name, p in folded.items()} == architecture.shapes(d=D, width=WIDTH)


def check_training_lowers_the_loss(architecture, x):
    members = [{"seed": 0, "lr": 1e-2}, {"seed": 1, "lr": 1e-2}]
    ensemble = sae.Ensemble.create(architecture, members, d=D, width=WIDTH, sample=x, share=0.2)
    reports = list(sae.fit(ensemble, [x] * 100, steps=100))
    assert (reports[-1].loss < reports[0].loss).all()
    assert reports[-1].frozen_members == []
