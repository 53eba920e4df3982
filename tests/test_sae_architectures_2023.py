"""The dictionaries of 2023: their formulas in numpy, what was wrong with the originals, and how they start."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import erf
from sklearn.linear_model import Lasso
from torch.func import grad

import sae
from sae.architecture import Size, Step
from sae.architectures.tied import whitening
from sae.lasso import curvature, nonnegative_codes
from sae.stacks import padded
from tests.contracts import check_architecture

D, N, ROWS = 5, 8, 12
HYPER = {"l1": 0.7, "bias_decay": 0.3}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def member(name, **fields):
    """An architecture with random float64 parameters, its hyperparameters and rows."""
    architecture = sae.get_architecture(name)(**fields)
    shapes = architecture.shapes(Size.of(D, N))
    params = {tensor: draw(*shape, seed=i) for i, (tensor, shape) in enumerate(shapes.items())}
    if "scale" in params:
        params["scale"] = torch.tensor(1.3, dtype=torch.float64)
    hyper = {key: torch.tensor(HYPER[key], dtype=torch.float64) for key in architecture.swept}
    return architecture, params, hyper, draw(ROWS, D, seed=99)


def step_of(x, target=None):
    return Step(
        x=x,
        target=x if target is None else target,
        dead=torch.zeros(N, dtype=torch.bool),
        progress=torch.tensor(0.5),
        coder=sae.Dense(),
    )


# --- formulas, one row at a time, in numpy


def relu(u):
    return np.maximum(u, 0)


def unit(W):
    return np.stack([w / np.sqrt((w**2).sum()) for w in W])


def of_untied(p, x):
    return relu(p["W_enc"] @ (x - p["b_dec"]) + p["b_enc"]), unit(p["W_dec"]), p["b_dec"]


def of_tied_centred(p, x):
    D = unit(p["W_enc"])
    return relu(D @ (x - p["center"]) + p["b_enc"]), D, p["center"]


def of_reverse(p, x):
    D = unit(p["W_dec"])
    u = D @ (x - p["b_dec"])
    return np.array([v if v > max(-b, 0) else 0 for v, b in zip(u, p["b_enc"], strict=True)]), D, p["b_dec"]


def of_positive_tied(p, x):
    D = unit(relu(p["W_dec"]))
    return relu(D @ (x - p["b_dec"]) + p["b_enc"]), D, p["b_dec"]


def of_thresholding(p, x):
    D, a = unit(p["W_dec"]), p["root"] ** 2
    u = (D @ (x - p["b_dec"]) + p["gain"]) / a
    return a * (np.clip(60 * (u - 0.9), 0, 6) / 6 + relu(u - 1)), D, p["b_dec"]


def of_lista(p, x):
    D, z = unit(p["W_dec"]), x - p["b_dec"]
    y = before = D @ z
    for W, theta, rho in zip(p["W_enc"], p["threshold"], [*p["momentum"], 0], strict=True):
        r = y + W @ (z - D.T @ y)
        c = np.sign(r) * relu(np.abs(r) - theta)
        y, before = c + min(max(rho, 0), 1) * (c - before), c
    return before, D, p["b_dec"]


def of_residual_denoising(p, x):
    D = unit(p["W_dec"])
    u = D @ (x - p["b_dec"])
    for W, b in zip(p["W_mix"], p["b_mix"], strict=True):
        u = u + W @ relu(u + b)
    return relu(u + p["b_enc"]), D, p["b_dec"]


def of_semilinear(p, x):
    hidden = relu(p["W_hidden"] @ (x - p["b_dec"]) + p["b_hidden"])
    return relu(p["W_mix"] @ hidden + p["b_enc"]), unit(p["W_dec"]), p["b_dec"]


def of_rica(p, x):
    W = p["W_dec"]
    return np.sqrt((W**2).sum(1)) * (W @ (x - p["b_dec"])), unit(W), p["b_dec"]


def of_deep(p, x):
    D, z = unit(p["W_dec"]), p["scale"] * (x - p["b_dec"])
    v = np.log1p(np.exp(p["W_enc"] @ z + p["b_enc"]))
    for i in range(len(p["b_out"])):
        h = p["W_code"][i] @ v + p["W_row"][i] @ z + p["W_answer"][i] @ (D.T @ v) + p["b_hidden"][i]
        v = v + p["W_out"][i] @ (h * (1 + erf(h / np.sqrt(2))) / 2) + p["b_out"][i]
    return relu(v) / p["scale"], D, p["b_dec"]


FORMULAS = {
    "untied": of_untied,
    "untied_centred": of_untied,
    "tied_centred": of_tied_centred,
    "reverse": of_reverse,
    "positive_tied": of_positive_tied,
    "thresholding": of_thresholding,
    "lista": of_lista,
    "residual_denoising": of_residual_denoising,
    "semilinear": of_semilinear,
    "rica": of_rica,
    "deep": of_deep,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_codes_answers_and_loss_follow_the_formula(name):
    architecture, params, hyper, x = member(name)
    p = {tensor: value.numpy() for tensor, value in params.items()}
    rows = [FORMULAS[name](p, row) for row in x.numpy()]
    codes = np.stack([f for f, _, _ in rows])
    answers = np.stack([f @ directions + bias for f, directions, bias in rows])
    found = architecture.encode(params, x, hyper)
    assert np.count_nonzero(codes) > 0
    np.testing.assert_allclose(found, codes, atol=1e-12)
    np.testing.assert_allclose(architecture.decode(params, found, hyper), answers, atol=1e-12)

    penalised = np.abs(codes)
    if name == "rica":
        c = np.abs(codes) / np.sqrt((p["W_dec"] ** 2).sum(1))
        penalised = np.where(c < 1, c**2 / 2, c - 0.5)
    expected = ((x.numpy() - answers) ** 2).sum(1).mean() + 0.7 * penalised.sum(1).mean()
    if "bias_decay" in architecture.swept:
        expected += 0.3 * np.sqrt((p["b_enc"] ** 2).sum())
    loss, aux = architecture.loss(params, step_of(x), hyper)
    assert float(loss) == pytest.approx(expected, rel=1e-12)
    assert aux["firings"].tolist() == np.count_nonzero(codes, axis=0).tolist()


def test_rica_may_penalise_absolute_codes():
    architecture, params, hyper, x = member("rica", penalty="l1")
    c = x.sub(params["b_dec"]) @ params["W_dec"].T
    _, aux = architecture.loss(params, step_of(x), hyper)
    torch.testing.assert_close(aux["sparsity"], c.abs().sum() / ROWS)


def test_a_code_below_its_step_is_zero_and_above_it_linear():
    """Step a = 4: zero up to u = 0.9, a at u = 1, a · u beyond."""
    architecture = sae.get_architecture("thresholding")()
    params = {
        "W_dec": torch.eye(1),
        "gain": torch.zeros(1),
        "root": torch.tensor([2.0]),
        "b_dec": torch.zeros(1),
    }
    codes = architecture.encode(params, 4 * torch.tensor([[0.5], [0.9], [1.0], [2.0]]), {})
    torch.testing.assert_close(codes, torch.tensor([[0.0], [0.0], [4.0], [8.0]]))


def test_an_active_code_of_reverse_is_not_shrunk():
    architecture = sae.get_architecture("reverse")()
    params = {"W_dec": torch.eye(1), "b_enc": torch.tensor([-1.5]), "b_dec": torch.zeros(1)}
    assert architecture.encode(params, torch.tensor([[1.0], [2.0], [-3.0]]), {}).tolist() == [[0.0], [2.0], [0.0]]


def test_weights_of_2023_convert_as_documented():
    """Theirs, on rows as they are: a mean over coordinates too. Ours: of rows scaled by s; theirs times d s²."""
    architecture, params, hyper, raw = member("untied")
    s, l1_alpha, bias_decay = 0.4, 0.02, 0.005
    params["b_dec"] = torch.zeros(D, dtype=torch.float64)
    directions = params["W_dec"] / params["W_dec"].norm(dim=1, keepdim=True)
    codes = torch.relu(raw @ params["W_enc"].T + params["b_enc"])
    theirs = (raw - codes @ directions).square().mean() + l1_alpha * codes.sum(1).mean()
    theirs += bias_decay * params["b_enc"].norm()

    scaled = {**params, "b_enc": s * params["b_enc"]}
    hyper = {"l1": torch.tensor(D * s * l1_alpha), "bias_decay": torch.tensor(D * s * bias_decay)}
    ours, _ = architecture.loss(scaled, step_of(s * raw), hyper)
    assert float(ours) == pytest.approx(D * s**2 * float(theirs), rel=1e-6)


# --- whitening


def correlated(n_rows):
    return draw(n_rows, D, seed=1) @ draw(D, D, seed=2) + 10


def test_whitened_rows_are_white_and_the_transform_of_2023_is_not():
    x = correlated(400)
    A, inverse = (m.double() for m in whitening(x))
    centred = x - x.mean(0)
    seen = centred @ A.T
    torch.testing.assert_close(seen.T @ seen / len(x), torch.eye(D, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(A @ inverse, torch.eye(D, dtype=torch.float64), atol=1e-5, rtol=0)

    values, columns = torch.linalg.eigh(centred.T @ centred / len(x))
    theirs = centred @ columns.T / values.sqrt()  # einsum("cu,bu->bc", eigenvectors in columns, x) / √eigenvalues
    assert (theirs.T @ theirs / len(x) - torch.eye(D)).abs().max() > 0.5


def test_a_whitened_dictionary_reads_white_rows_and_answers_in_the_rows_own_units():
    architecture = sae.get_architecture("tied_centred")(whiten=True)
    x = correlated(400)
    scaling = sae.Scaling.from_rows(x)
    z = scaling.apply(x)
    ensemble = sae.Ensemble.create(architecture, [{"l1": 0.0, "lr": 1e-2}], d=D, width=4 * D, sample=z, share=0.5)
    reports = [ensemble.step(z) for _ in range(150)]
    found = sae.evaluate([ensemble.dictionary(0, scaling=scaling)], [x])[0]
    assert reports[-1].fvu[0] < 0.05
    assert found.fvu < 0.05


def test_whitening_needs_a_sample():
    with pytest.raises(ValueError, match="needs a sample"):
        sae.Ensemble.create(sae.get_architecture("tied_centred")(whiten=True), [{}], d=D, width=N)


@pytest.mark.parametrize(("name", "center"), [("tied_centred", "center"), ("untied_centred", "b_dec")])
def test_a_centre_is_learned(name, center):
    rows = draw(256, D, seed=4) * 0.3 + 1
    ensemble = sae.Ensemble.create(sae.get_architecture(name)(), [{"l1": 1.0, "lr": 1e-2}], d=D, width=N)
    for _ in range(300):
        ensemble.step(rows)
    assert (ensemble.params_of(0)[center] > 0.5).all()


# --- codes that are solved for


@pytest.mark.parametrize("l1", [0.2, 1.0, 3.0])
def test_codes_are_those_of_scikit_learns_lasso(l1):
    """Theirs is ‖x − D f‖² / (2 d) + α Σ f, so α = l1 / (2 d)."""
    d, n = 12, 30
    directions = torch.nn.functional.normalize(draw(n, d, seed=5), dim=1)
    x = 3 * draw(6, d, seed=6)
    codes = nonnegative_codes(x, directions, l1, steps=3000)
    lasso = Lasso(alpha=l1 / (2 * d), positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    expected = np.stack([lasso.fit(directions.T.numpy(), row).coef_ for row in x.numpy()])
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert 0 < np.count_nonzero(expected) < expected.size

    def objective(f):
        return float((x - f @ directions).square().sum() + l1 * f.sum())

    soon = nonnegative_codes(x, directions, l1, steps=sae.get_architecture("fista")().steps)
    assert objective(soon) <= 1.002 * objective(torch.from_numpy(expected))


def test_the_bound_on_the_curvature_holds_and_is_close():
    for seed, scale in [(0, 1.0), (1, 1e-6), (2, 1e6)]:
        directions = scale * draw(40, 16, seed=seed)
        largest = float(torch.linalg.eigvalsh(directions @ directions.T)[-1])
        assert largest <= float(curvature(directions)) <= 16 ** (1 / 16) * largest
    equal = torch.ones(1000, 7)  # all directions the same: the largest there is
    assert float(curvature(equal)) == pytest.approx(7000, rel=1e-4)


def test_the_gradient_of_fista_is_that_of_the_optimum():
    """Envelope theorem: where f is optimal, moving D moves the minimum as if f were constant."""
    architecture, params, hyper, x = member("fista", steps=2000)

    def minimum(W_dec):
        return architecture.loss({**params, "W_dec": W_dec}, step_of(x), hyper)[0]

    params["scale"] = torch.ones((), dtype=torch.float64)
    analytic = grad(minimum)(params["W_dec"])
    h = 1e-5
    for i, j in [(0, 0), (3, 2), (7, 4)]:
        nudge = torch.zeros(N, D, dtype=torch.float64)
        nudge[i, j] = h
        slope = (minimum(params["W_dec"] + nudge) - minimum(params["W_dec"] - nudge)) / (2 * h)
        assert float(analytic[i, j]) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)


# --- all of them


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tied_centred", {"whiten": True, "bias_decay": 0.5}),
        ("untied", {"bias_decay": 0.5}),
        ("positive_tied", {"bias_decay": 0.5}),
        ("lista", {"layers": 2}),
        ("rica", {"penalty": "l1"}),
        ("deep", {"layers": 2}),
    ],
)
def test_variants_hold_the_contract(name, fields):
    check_architecture(sae.get_architecture(name)(**fields))


TRAINED_HERE = [*FORMULAS, "fista"]


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_padding_with_zero_features_gives_finite_gradients(name):
    architecture = sae.get_architecture(name)()
    sample = draw(64, D, seed=3).float()
    params = architecture.init(Size.of(D, 5), architecture.hyper({}), torch.Generator().manual_seed(0), sample=sample)
    whole = {key: padded(params[key], shape) for key, shape in architecture.shapes(Size.of(D, N)).items()}
    hyper = {key: torch.tensor(value) for key, value in architecture.hyper({"l1": 0.5}).items()}
    gradients = grad(lambda p: architecture.loss(p, step_of(sample), hyper)[0])(whole)
    assert all(torch.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize("name", [name for name in FORMULAS if name != "rica"])
def test_with_a_sample_each_feature_starts_on_its_share_of_the_rows(name):
    architecture = sae.get_architecture(name)()
    sample = draw(200, D, seed=3).float()
    generator = torch.Generator().manual_seed(0)
    params = architecture.init(Size.of(D, N), architecture.hyper({}), generator, sample=sample, share=0.1)
    codes = architecture.encode(params, sample, {})
    assert (codes != 0).sum(0).tolist() == [20] * N


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("lista", {"layers": 1}, "at least two layers, not 1"),
        ("residual_denoising", {"layers": 0}, "at least one layer, not 0"),
        ("deep", {"layers": 0}, "at least one layer, not 0"),
        ("fista", {"steps": 0}, "at least one step, not 0"),
        ("rica", {"penalty": "l2"}, "smooth_l1 or l1, not 'l2'"),
    ],
)
def test_what_cannot_be_is_refused(name, fields, said):
    with pytest.raises(ValueError, match=said):
        sae.get_architecture(name)(**fields)


@pytest.mark.parametrize("name", ["reverse", "positive_tied", "thresholding", "lista", "rica", "fista", "deep"])
def test_one_scale_for_each_coordinate_is_refused_where_encoder_and_decoder_are_one(name):
    architecture, params, _, _ = member(name)
    apart = dataclasses.replace(sae.Scaling.identity(D), scale=torch.ones(D))
    with pytest.raises(ValueError, match="one scale for each coordinate"):
        architecture.fold(params, apart, apart)


def test_positive_directions_are_nowhere_negative_and_start_apart():
    rows = torch.relu(draw(300, 40, seed=8)).float()
    architecture = sae.get_architecture("positive_tied")()
    ensemble = sae.Ensemble.create(architecture, [{"l1": 1.0}], d=40, width=60, sample=rows, share=0.05)
    start = architecture.directions(ensemble.params_of(0))
    apart = (start @ start.T)[~torch.eye(60, dtype=torch.bool)]
    assert apart.mean() < 0.2
    for _ in range(20):
        ensemble.step(rows)
    dictionary = ensemble.dictionary(0)
    assert (dictionary.directions >= 0).all()
    assert torch.equal(dictionary.params["b_dec"], rows.amin(0))
