"""What everything registered must hold; `tests/test_contracts.py` runs these over the registries.

To try an entry of your own: `check_architecture(MyArchitecture())`.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

import sae
import sae.sparse.coder
from sae.architecture import RESERVED, Architecture, Fitted, Hyper, Params, Size, Step, Trained
from sae.coder import Coded, Coder, Dense
from sae.sparse import Sparse

D, OUT, ROWS = 6, 4, 64
# Numbers of features; the first that an architecture allows is taken. Some bases have as many as rows have coordinates.
WIDTHS = (9, D, 2 * D)
# Members of the size of these tests; other swept fields keep their defaults.
SMALL = {"k": 3.0, "target_l0": 3.0, "l1": 0.5}
# Parts of a report that are the ensemble's own.
REPORTED = frozenset({"loss", "grad_norm", "l0", "fvu", "dead"})


@dataclass(frozen=True, kw_only=True)
class Example:
    """One member away from its start, so that nothing passes by coincidence, in float64."""

    architecture: Architecture
    size: Size
    params: Params
    hyper: Hyper
    x: Tensor  # [B, d]
    target: Tensor  # [B, out]

    def step(self, **changed: Any) -> Step:
        """A step of training in which some features count as dead."""
        dead = torch.arange(self.size.n) % 3 == 0
        given = {"x": self.x, "target": self.target, "dead": dead, "progress": torch.tensor(0.6, dtype=torch.float64)}
        return Step(**{**given, "coder": Dense(), **changed})


def check_architecture(architecture: Architecture) -> None:
    check_it_describes_itself(architecture)
    if isinstance(architecture, Trained):
        check_trained(architecture)
    elif isinstance(architecture, Fitted):
        check_fitted(architecture)
    else:
        check_inference(example_of(architecture, any_params(architecture)))


def check_trained(architecture: Trained) -> None:
    example = trained_example(architecture)
    check_names(architecture, example.size)
    check_init_is_a_function_of_its_seed(architecture)
    check_inference(example)
    check_loss_is_pure_and_reports(example)
    check_loss_is_that_of_the_answer(example)
    check_gradients(example)
    check_every_coder_gives_the_same(example)
    check_it_stacks(example)
    check_folding(example)
    check_saving(example)
    check_nonsense_is_refused(architecture, example.size)
    check_training(architecture)
    check_members_are_single_runs(architecture)


def check_fitted(architecture: Fitted) -> None:
    rows = rows_of(4 * ROWS)[0]
    size = size_of(architecture)
    hyper = hyper_of(architecture)
    check_fit_is_a_function_of_its_seed(architecture, rows)
    params = architecture.fit(size, hyper, torch.Generator().manual_seed(0), rows.float())
    example = example_of(architecture, {name: p.double() for name, p in params.items()})
    check_inference(example)
    check_folding(example)
    check_saving(example)
    check_nonsense_is_refused(architecture, size)


# --- what the checks are made of


def rows_of(n_rows: int) -> tuple[Tensor, Tensor]:
    """Rows [N, d] made of few of many directions, centred and scaled, and rows [N, out] that depend on them."""
    generator = torch.Generator().manual_seed(7)
    factors = torch.relu(torch.randn(n_rows, 3 * D, generator=generator, dtype=torch.float64) - 1)
    x = factors @ torch.randn(3 * D, D, generator=generator, dtype=torch.float64)
    y = torch.relu(x) @ torch.randn(D, OUT, generator=generator, dtype=torch.float64)
    return sae.Scaling.from_rows(x).to(torch.float64).apply(x), sae.Scaling.from_rows(y).to(torch.float64).apply(y)


def size_of(architecture: Architecture) -> Size:
    refusals = []
    for n in WIDTHS:
        size = Size(D, n, OUT if architecture.reads == "pair" else D)
        try:
            architecture.check(size, hyper_of(architecture))
        except ValueError as refusal:
            refusals.append(str(refusal))
        else:
            return size
    raise AssertionError(f"no width of {WIDTHS} is allowed: {refusals}")


def hyper_of(architecture: Architecture) -> dict[str, float]:
    return architecture.hyper({name: value for name, value in SMALL.items() if name in architecture.swept})


def example_of(architecture: Architecture, params: Params) -> Example:
    x, y = rows_of(ROWS)
    hyper = {name: torch.tensor(value, dtype=torch.float64) for name, value in hyper_of(architecture).items()}
    return Example(
        architecture=architecture,
        size=size_of(architecture),
        params=params,
        hyper=hyper,
        x=x,
        target=y if architecture.reads == "pair" else x,
    )


def any_params(architecture: Architecture) -> Params:
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)
        for name, shape in architecture.shapes(size_of(architecture)).items()
    }


def trained_example(architecture: Trained) -> Example:
    generator = torch.Generator().manual_seed(0)
    sample = rows_of(ROWS)[0].float()
    start = architecture.init(size_of(architecture), hyper_of(architecture), generator, sample=sample, share=0.2)
    params = {name: p.double() for name, p in start.items()}
    for name, p in params.items():
        if name not in architecture.buffers:
            params[name] = p + 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        if name in architecture.unit_rows:
            params[name] = params[name] / params[name].norm(dim=1, keepdim=True)
    at_start = example_of(architecture, params)
    _, aux = architecture.loss(params, at_start.step(), at_start.hyper)
    # Thresholds of inference follow the batch. Its least code is to pass, so they stay a little below.
    moved = {name: (1 - 1e-12) * value for name, value in aux.get("buffers", {}).items()}
    return example_of(architecture, {**params, **moved})


class Entries(Coder):
    """The sparse coder as it is where codes are few, whatever the share of these small examples."""

    def __call__(self, *given: Any, **named: Any) -> Coded:
        with mock.patch.object(sae.sparse.coder, "DENSE_FROM", 1.0):
            return Sparse()(*given, **named)


# Every coder but the dense one.
CODERS: dict[str, Coder] = {"sparse": Sparse(), "sparse, by entries": Entries()}


# --- the checks


def check_it_describes_itself(architecture: Architecture) -> None:
    cls = type(architecture)
    fields = {f.name for f in dataclasses.fields(architecture)}
    assert sae.get_architecture(architecture.name) is cls, "registered under its own name"
    assert set(architecture.swept) <= fields, "what is swept is a field"
    assert not RESERVED & fields, "seed, lr, clip and width belong to the member"
    assert cls.__doc__, "a docstring with the formula"
    assert cls.__dataclass_params__.frozen, "frozen"
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in fields:
        told = getattr(hints[name], "__metadata__", ("",))[0]
        assert told.endswith("."), f"the field {name} is described by a sentence"
    fixed = json.loads(json.dumps(architecture.fixed()))
    assert cls(**{**fixed, **architecture.hyper({})}) == architecture, "its fields survive JSON"


def check_names(architecture: Trained, size: Size) -> None:
    shapes = architecture.shapes(size)
    assert set(architecture.penalties) <= set(architecture.swept), "what is warmed up is swept"
    assert set(architecture.unit_rows) <= set(shapes) - set(architecture.buffers), "unit rows are learned"
    assert all(len(shapes[name]) == 2 for name in architecture.unit_rows), "unit rows are rows"


def check_init_is_a_function_of_its_seed(architecture: Trained) -> None:
    def init(seed: int) -> Params:
        torch.rand(1)  # the global generator must not matter
        generator = torch.Generator().manual_seed(seed)
        return architecture.init(size, hyper_of(architecture), generator, sample=rows_of(2 * ROWS)[0].float())

    size = size_of(architecture)
    one, again, other = init(1), init(1), init(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in one.values())
    assert {name: tuple(p.shape) for name, p in one.items()} == architecture.shapes(size)
    assert len({p.data_ptr() for p in one.values()}) == len(one), "no two parameters share memory"


def check_fit_is_a_function_of_its_seed(architecture: Fitted, rows: Tensor) -> None:
    def fit() -> Params:
        torch.rand(1)
        generator = torch.Generator().manual_seed(3)
        return architecture.fit(size_of(architecture), hyper_of(architecture), generator, rows.float())

    one, again = fit(), fit()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(p.dtype == torch.float32 for p in one.values())
    assert {name: tuple(p.shape) for name, p in one.items()} == architecture.shapes(size_of(architecture))


def check_inference(example: Example) -> None:
    architecture, params, size = example.architecture, example.params, example.size
    codes = architecture.encode(params, example.x, example.hyper)
    assert codes.shape == (ROWS, size.n)
    assert codes.dtype == example.x.dtype, "codes have the dtype of the parameters"
    assert codes.any(), "something fires"
    answer = architecture.decode(params, codes, example.hyper)
    assert answer.shape == architecture.reconstruct(params, example.x, example.hyper).shape == (ROWS, size.out)
    assert architecture.directions(params).shape == (size.n, size.out)
    folds = architecture.encode(params, example.x.view(2, -1, D), example.hyper)
    torch.testing.assert_close(folds.flatten(0, 1), codes, msg="rows may have any leading axes")
    bias = architecture.decode(params, torch.zeros_like(codes), example.hyper)
    torch.testing.assert_close(answer, codes @ architecture.directions(params) + bias, msg="decoding is affine")


def check_loss_is_pure_and_reports(example: Example) -> None:
    architecture, size = example.architecture, example.size
    params = {name: p.clone().requires_grad_(name not in architecture.buffers) for name, p in example.params.items()}
    before = {name: p.detach().clone() for name, p in params.items()}
    (loss, aux), (again, _) = (architecture.loss(params, example.step(), example.hyper) for _ in range(2))
    assert loss.shape == (), "a scalar"
    assert torch.equal(loss, again), "no hidden state"
    assert all(torch.equal(params[name], before[name]) for name in params), "arguments are not touched"
    firings, buffers = aux.pop("firings"), aux.pop("buffers", {})
    assert firings.shape == (size.n,), "one count a feature"
    assert not firings.requires_grad, "counts are not differentiated"
    assert set(buffers) <= set(architecture.buffers), "a step sets buffers alone"
    for name, value in buffers.items():
        assert value.shape == params[name].shape
        assert value.dtype == params[name].dtype
        assert not value.requires_grad
    assert all(part.shape == () for part in aux.values()), "parts are scalars"
    assert not REPORTED & set(aux), "these names belong to the report"


def check_loss_is_that_of_the_answer(example: Example) -> None:
    """What training counts is what inference does: the same codes, the same squared error, a mean over rows."""
    architecture, params, hyper = example.architecture, example.params, example.hyper
    _, aux = architecture.loss(params, example.step(), hyper)
    codes = architecture.encode(params, example.x, hyper)
    assert aux["firings"].tolist() == (codes != 0).sum(0).tolist()
    if getattr(architecture, "whiten", False):
        return  # its error is measured in other coordinates
    error = architecture.reconstruct(params, example.x, hyper) - example.target
    torch.testing.assert_close(aux["reconstruction"], error.square().sum() / ROWS)


def check_gradients(example: Example) -> None:
    grads = gradients(example, example.step())
    for name, g in grads.items():
        assert g.shape == example.params[name].shape
        assert torch.isfinite(g).all()
        assert g.any(), f"the loss trains {name}"


def gradients(example: Example, step: Step) -> Params:
    still = {name: p for name, p in example.params.items() if name in example.architecture.buffers}
    moved = {name: p for name, p in example.params.items() if name not in still}
    return grad(lambda p: example.architecture.loss({**p, **still}, step, example.hyper)[0])(moved)


def check_every_coder_gives_the_same(example: Example) -> None:
    dense = example.architecture.loss(example.params, example.step(), example.hyper)
    for name, coder in CODERS.items():
        step = example.step(coder=coder)
        torch.testing.assert_close(example.architecture.loss(example.params, step, example.hyper), dense, msg=name)
        torch.testing.assert_close(gradients(example, step), gradients(example, example.step()), msg=name)


def check_it_stacks(example: Example) -> None:
    """vmap over members with different hyperparameters equals one call a member, with every coder."""
    factors = torch.tensor([1.0, 0.5, 1.5], dtype=torch.float64)
    stacked = {name: torch.stack([p, 0.5 * p, 2 * p]) for name, p in example.params.items()}
    dead = torch.stack([example.step().dead, ~example.step().dead, torch.zeros(example.size.n, dtype=torch.bool)])
    hypers = {name: (value * factors).round(decimals=0 if name == "k" else 9) for name, value in example.hyper.items()}
    for coder in (Dense(), *CODERS.values()):

        def loss(params: Params, dead: Tensor, hyper: Hyper, coder: Coder = coder) -> Any:
            return example.architecture.loss(params, example.step(dead=dead, coder=coder), hyper)

        gradient = grad(loss, has_aux=True)
        together = vmap(gradient)(stacked, dead, hypers)
        for i in range(3):
            alone = gradient(*_each((stacked, dead, hypers), i))
            torch.testing.assert_close(_each(together, i), alone)


def _each(tree: Any, i: int) -> Any:
    if isinstance(tree, tuple):
        return tuple(_each(branch, i) for branch in tree)
    if isinstance(tree, Mapping):
        return {name: _each(branch, i) for name, branch in tree.items()}
    return tree[i]


def scalings(example: Example) -> tuple[sae.Scaling, sae.Scaling]:
    read = sae.Scaling(torch.linspace(-30, 50, D, dtype=torch.float64), 0.25)
    if example.architecture.reads != "pair":
        return read, read
    return read, sae.Scaling(torch.linspace(2, -20, OUT, dtype=torch.float64), 3.0)


def check_folding(example: Example) -> None:
    """The dictionary in model units computes the same function, with directions of length 1."""
    architecture, params, hyper, size = example.architecture, example.params, example.hyper, example.size
    scaling, target = scalings(example)
    folded = architecture.fold(params, scaling, target)
    in_model_units = scaling.undo(example.x)
    lengths = architecture.directions(params).norm(dim=1) / target.scale
    codes = architecture.encode(params, example.x, hyper)
    codes_folded = architecture.encode(folded, in_model_units, hyper)
    torch.testing.assert_close(codes_folded, codes * lengths, msg="codes are lengths of contributions")
    answer, answer_folded = (
        architecture.reconstruct(params, example.x, hyper),
        architecture.reconstruct(folded, in_model_units, hyper),
    )
    torch.testing.assert_close(answer_folded, target.undo(answer), msg="the same answer")
    torch.testing.assert_close(
        architecture.decode(folded, codes_folded, hyper), target.undo(architecture.decode(params, codes, hyper))
    )
    one = (lengths > 0).to(lengths)  # a row of zeros has no direction and stays
    torch.testing.assert_close(architecture.directions(folded).norm(dim=1), one, msg="directions of length 1")
    assert {name: tuple(p.shape) for name, p in folded.items()} == architecture.shapes(size)


def check_saving(example: Example) -> None:
    scaling, target = scalings(example)
    architecture = example.architecture
    dictionary = sae.Dictionary.trained(
        architecture,
        example.params,
        hyper={name: float(value) for name, value in example.hyper.items()},
        scaling=scaling,
        target=target if architecture.reads == "pair" else None,
        config={},
    )
    rows = scaling.undo(example.x)
    with tempfile.TemporaryDirectory() as folder:
        dictionary.save(folder)
        loaded = sae.load(folder)
    assert loaded.architecture == architecture.__class__(**architecture.fixed())
    assert (loaded.d, loaded.n, loaded.out) == (D, example.size.n, example.size.out)
    assert torch.equal(loaded.encode(rows), dictionary.encode(rows))
    assert torch.equal(loaded.reconstruct(rows), dictionary.reconstruct(rows))
    lengths = architecture.directions(example.params).norm(dim=1) / target.scale
    codes = architecture.encode(example.params, example.x, example.hyper)
    torch.testing.assert_close(loaded.encode(rows), codes * lengths)


def check_nonsense_is_refused(architecture: Architecture, size: Size) -> None:
    hyper = hyper_of(architecture)
    architecture.check(size, hyper)
    for name in architecture.swept:
        with pytest.raises(ValueError, match=rf"{name}.*-1"):
            architecture.check(size, {**hyper, name: -1.0})


def check_training(architecture: Trained) -> None:
    """The loss falls, unit rows keep their length, and no gradient moves a buffer."""
    x, y = rows_of(2 * ROWS)
    batch = (x, y) if architecture.reads == "pair" else x
    ensemble = create(architecture, [{"seed": 0}, {"seed": 1}])
    start = {name: ensemble.params[name].clone() for name in architecture.buffers if name in ensemble.params}
    example = example_of(architecture, ensemble.params_of(0))
    _, aux = architecture.loss(example.params, example.step(), example.hyper)
    reports = list(sae.fit(ensemble, [batch] * 60, steps=60))
    assert (reports[-1].loss < reports[0].loss).all()
    assert reports[-1].frozen_members == []
    for name in architecture.unit_rows:
        torch.testing.assert_close(ensemble.params[name].norm(dim=-1), torch.ones_like(ensemble.params[name][..., 0]))
    assert not set(ensemble.adam.mean) & set(architecture.buffers), "no moments of buffers"
    for name, before in start.items():
        assert name in aux.get("buffers", {}) or torch.equal(ensemble.params[name], before), "constants stay"


def check_members_are_single_runs(architecture: Trained) -> None:
    """A member in company, narrower than its neighbour, is the member alone."""
    n = size_of(architecture).n
    widths = [n, 2 * n, n] if n == WIDTHS[0] else [n] * 3
    hyper = hyper_of(architecture)
    members = [{"seed": i, "width": w, **_scaled(hyper, i)} for i, w in enumerate(widths)]
    x, y = rows_of(2 * ROWS)
    together, alone = create(architecture, members), [create(architecture, [m]) for m in members]
    for part, answer in zip(x.split(16), y.split(16), strict=True):
        target = answer if architecture.reads == "pair" else None
        for ensemble in (together, *alone):
            ensemble.step(part, target)
    for i, single in enumerate(alone):
        torch.testing.assert_close(together.params_of(i), single.params_of(0))


def _scaled(hyper: Mapping[str, float], i: int) -> dict[str, float]:
    """Another member nearby; k stays whole."""
    return {name: value if name == "k" else value * (1 - 0.2 * i) for name, value in hyper.items()}


def create(architecture: Trained, members: list[dict[str, float]]) -> sae.Ensemble:
    own = hyper_of(architecture)
    size = size_of(architecture)
    return sae.Ensemble.create(
        architecture,
        [{"lr": 1e-2, **own, **m} for m in members],
        d=D,
        width=size.n,
        out=size.out,
        sample=rows_of(2 * ROWS)[0],
        share=0.2,
        schedule=sae.Schedule(steps=60),
        dead_after=ROWS,
        dtype=torch.float64,
    )
