"""Transcoders read one hook and predict another, crosscoders share features among hooks."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.func import grad

import sae
from sae.architecture import Size, Step
from tests.contracts import check_architecture

D, OUT, N, ROWS = 5, 3, 8, 20
SIZE = Size(D, N, OUT)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def member(name, size=SIZE, **fields):
    architecture = sae.get_architecture(name)(**fields)
    shapes = architecture.shapes(size)
    params = {tensor: draw(*shape, seed=i) for i, (tensor, shape) in enumerate(shapes.items())}
    hyper = {"l1": 0.7, "k": 3.0, "auxk": 0.2}
    return architecture, params, {name: torch.tensor(hyper[name], dtype=torch.float64) for name in architecture.swept}


def step_of(x, target, dead=()):
    return Step(
        x=x,
        target=target,
        dead=torch.tensor([i in dead for i in range(N)]),
        progress=torch.tensor(0.5),
        coder=sae.Dense(),
    )


def rows():
    return draw(ROWS, D, seed=50), draw(ROWS, OUT, seed=51)


# --- transcoders


@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder"])
def test_codes_answer_and_loss_with_a_relu(name):
    architecture, params, hyper = member(name)
    x, y = rows()
    p = {tensor: value.numpy() for tensor, value in params.items()}
    codes = np.maximum(x.numpy() @ p["W_enc"].T - p["W_enc"] @ p["center"] + p["b_enc"], 0)
    decoded = codes @ p["W_dec"] + p["b_dec"]
    skipped = (x.numpy() - p["center"]) @ p["W_skip"].T if name == "skip_transcoder" else 0
    norms = np.sqrt((p["W_dec"] ** 2).sum(1))
    expected = ((y.numpy() - decoded - skipped) ** 2).sum(1).mean() + 0.7 * (codes * norms).sum(1).mean()

    found = architecture.encode(params, x, hyper)
    np.testing.assert_allclose(found, codes, atol=1e-12)
    np.testing.assert_allclose(architecture.decode(params, found, hyper), decoded, atol=1e-12)
    np.testing.assert_allclose(architecture.reconstruct(params, x, hyper), decoded + skipped, atol=1e-12)
    assert float(architecture.loss(params, step_of(x, y), hyper)[0]) == pytest.approx(expected)


def test_topk_keeps_what_contributes_most_not_what_is_largest():
    """Codes 3, 2, 1 with decoder rows of length 1, 1, 10: the last contributes 10."""
    architecture = sae.get_architecture("transcoder")(gate="topk")
    params = {
        "W_enc": torch.tensor([[3.0], [2.0], [1.0]]),
        "b_enc": torch.zeros(3),
        "W_dec": torch.tensor([[1.0], [1.0], [10.0]]),
        "b_dec": torch.zeros(1),
        "center": torch.zeros(1),
    }
    assert architecture.encode(params, torch.ones(1, 1), {"k": 1.0}).tolist() == [[0.0, 0.0, 1.0]]
    assert architecture.encode(params, torch.ones(1, 1), {"k": 2.0}).tolist() == [[3.0, 0.0, 1.0]]


def test_with_topk_the_loss_has_no_penalty_and_dead_features_explain_what_is_missed():
    architecture, params, hyper = member("transcoder", gate="topk")
    x, y = rows()
    codes = architecture.encode(params, x, hyper)
    assert ((codes > 0).sum(1) <= 3).all()
    missed = y - architecture.decode(params, codes, hyper)
    loss, aux = architecture.loss(params, step_of(x, y), hyper)
    torch.testing.assert_close(loss, missed.square().sum() / ROWS)

    dead = (1, 4)
    # d / 2 of the rows that are predicted, which is one dead feature, each row's best.
    u = x.sub(params["center"]) @ params["W_enc"].T + params["b_enc"]
    contributions = torch.relu(u * params["W_dec"].norm(dim=1))
    revived = torch.zeros_like(missed)
    for row in range(ROWS):
        best = max(dead, key=lambda i: float(u[row, i] * params["W_dec"][i].norm()))
        revived[row] = contributions[row, best] * params["W_dec"][best] / params["W_dec"][best].norm()
    expected = (missed - revived).square().sum() * OUT / (missed - missed.mean(0)).square().sum()
    loss, aux = architecture.loss(params, step_of(x, y, dead), hyper)
    torch.testing.assert_close(aux["auxiliary"], expected)
    torch.testing.assert_close(loss, aux["reconstruction"] + 0.2 * expected)


def test_a_skip_transcoder_whose_features_are_silent_learns_linear_regression():
    architecture, params, hyper = member("skip_transcoder")
    x, y = rows()
    params["center"] = torch.zeros(D, dtype=torch.float64)
    params["b_enc"] = torch.full((N,), -1e3, dtype=torch.float64)
    solution = np.linalg.lstsq(np.hstack([x.numpy(), np.ones((ROWS, 1))]), y.numpy(), rcond=None)[0]
    regression = {
        **params,
        "W_skip": torch.from_numpy(solution[:D].T.copy()),
        "b_dec": torch.from_numpy(solution[D].copy()),
    }
    gradients = grad(lambda p: architecture.loss(p, step_of(x, y), hyper)[0])(regression)
    assert float(gradients["W_skip"].abs().max()) < 1e-12
    assert float(gradients["b_dec"].abs().max()) < 1e-12

    ensemble = sae.Ensemble.create(architecture, [{"lr": 0.02}], d=D, width=N, out=OUT, dtype=torch.float64)
    ensemble.params["b_enc"] -= 1e3
    for _ in range(800):
        ensemble.step(x, y)
    torch.testing.assert_close(ensemble.params_of(0)["W_skip"], regression["W_skip"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("gate", ["relu", "topk"])
def test_features_beat_a_linear_map_and_a_skip_helps_them(gate):
    """y is a ReLU of directions of x, plus a part that is linear in x."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, D, generator=generator)
    bent = torch.relu(x @ torch.randn(D, N, generator=generator) - 2) @ torch.randn(N, OUT, generator=generator)
    y = bent + x @ torch.randn(D, OUT, generator=generator)
    y = sae.Scaling.from_rows(y).apply(y)
    solution = torch.linalg.lstsq(x, y).solution
    linear = float((y - x @ solution).square().sum() / y.square().sum())
    fvu = {}
    for name in ("transcoder", "skip_transcoder"):
        architecture = sae.get_architecture(name)(gate=gate)
        ensemble = sae.Ensemble.create(
            architecture, [{"lr": 5e-3, "l1": 0.05, "k": 4}], d=D, out=OUT, width=4 * N, sample=x, share=0.1
        )
        for i in range(400):
            ensemble.step(x[i % 10 :: 10], y[i % 10 :: 10])
        answer = ensemble.dictionary(0, target=sae.Scaling.identity(OUT)).reconstruct(x)
        fvu[name] = float((y - answer).square().sum() / y.square().sum())
    assert fvu["skip_transcoder"] < fvu["transcoder"] < linear


@pytest.mark.parametrize("gate", ["relu", "topk"])
def test_folding_takes_each_hook_back_to_its_own_units(gate):
    architecture, params, hyper = member("skip_transcoder", gate=gate)
    read = sae.Scaling(draw(D, seed=60) * 20, 0.3)
    answered = sae.Scaling(draw(OUT, seed=61) * 5, 4.0)
    x, _ = rows()
    raw = read.undo(x)
    folded = architecture.fold(params, read, answered)
    torch.testing.assert_close(
        architecture.reconstruct(folded, raw, hyper), answered.undo(architecture.reconstruct(params, x, hyper))
    )
    lengths = params["W_dec"].norm(dim=1) / 4.0
    torch.testing.assert_close(architecture.encode(folded, raw, hyper), architecture.encode(params, x, hyper) * lengths)
    torch.testing.assert_close(folded["W_dec"].norm(dim=1), torch.ones(N, dtype=torch.float64))


def test_hooks_scaled_coordinate_by_coordinate_fold_with_a_relu_and_are_refused_with_topk():
    answered = sae.Scaling(torch.zeros(OUT, dtype=torch.float64), torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    read = sae.Scaling(draw(D, seed=60), draw(D, seed=62).exp())
    architecture, params, hyper = member("skip_transcoder")
    x, _ = rows()
    folded = architecture.fold(params, read, answered)
    torch.testing.assert_close(
        architecture.reconstruct(folded, read.undo(x), hyper),
        answered.undo(architecture.reconstruct(params, x, hyper)),
    )
    architecture, params, _ = member("skip_transcoder", gate="topk")
    with pytest.raises(ValueError, match="one scale for each coordinate"):
        architecture.fold(params, read, answered)


def test_a_saved_skip_transcoder_reconstructs_with_its_skip(tmp_path):
    x = draw(64, D, seed=1).float()
    y = x @ draw(D, OUT, seed=2).float() * 3 + 10
    read, answered = sae.Scaling.from_rows(x), sae.Scaling.from_rows(y)
    ensemble = sae.Ensemble.create(
        sae.get_architecture("skip_transcoder")(),
        [{"lr": 0.02}],
        d=D,
        out=OUT,
        width=N,
        sample=read.apply(x),
        share=0.1,
    )
    for _ in range(400):
        ensemble.step(read.apply(x), answered.apply(y))
    ensemble.dictionary(0, scaling=read, target=answered).save(tmp_path)
    loaded = sae.load(tmp_path)
    assert (loaded.d, loaded.out, loaded.n) == (D, OUT, N)
    left = (y - loaded.reconstruct(x)).square().sum() / (y - y.mean(0)).square().sum()
    without = (y - loaded.decode(loaded.encode(x))).square().sum() / (y - y.mean(0)).square().sum()
    assert left < 0.01
    assert without > 0.5


@pytest.mark.parametrize(
    ("fields", "k", "said"),
    [
        ({"gate": "jump"}, 1, "relu or topk, not 'jump'"),
        ({"gate": "topk"}, 9, "k .*9"),
        ({"gate": "topk"}, 1.5, "k .*1.5"),
    ],
)
@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder"])
def test_transcoders_that_cannot_be_are_refused(name, fields, k, said):
    with pytest.raises(ValueError, match=said):
        sae.get_architecture(name)(**fields).check(SIZE, {"l1": 1.0, "k": k, "auxk": 0.0})


@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder"])
def test_the_contract_holds_with_topk(name):
    check_architecture(sae.get_architecture(name)(gate="topk"))


# --- crosscoders

BLOCKS = (2, 3, 1)
WIDTH = sum(BLOCKS)


def test_one_block_is_the_relu_autoencoder():
    crosscoder, params, hyper = member("crosscoder", Size.of(WIDTH, N))
    relu = sae.get_architecture("relu")()
    x = draw(ROWS, WIDTH, seed=50)
    for blocks in [(), (WIDTH,)]:
        one = dataclasses.replace(crosscoder, blocks=blocks)
        losses = [grad(lambda p, a=a: a.loss(p, step_of(x, x), hyper)[0])(params) for a in (one, relu)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(one.encode(params, x, hyper), relu.encode(params, x, hyper))
    starts = [
        a.init(Size.of(WIDTH, N), {"l1": 1.0}, torch.Generator().manual_seed(0), sample=x.float(), share=0.2)
        for a in (one, relu)
    ]
    torch.testing.assert_close(*starts, rtol=0, atol=0)


def test_the_contract_holds_with_blocks():
    check_architecture(sae.get_architecture("crosscoder")(blocks=BLOCKS))


def test_each_hooks_part_of_a_direction_is_penalised_apart():
    crosscoder, params, hyper = member("crosscoder", Size.of(WIDTH, N), blocks=BLOCKS)
    x = draw(ROWS, WIDTH, seed=50)
    p = {tensor: value.numpy() for tensor, value in params.items()}
    codes = np.maximum((x.numpy() - p["b_dec"]) @ p["W_enc"].T + p["b_enc"], 0)
    error = x.numpy() - codes @ p["W_dec"] - p["b_dec"]
    lengths = sum(np.sqrt((p["W_dec"][:, part] ** 2).sum(1)) for part in (slice(0, 2), slice(2, 5), slice(5, 6)))
    expected = (error**2).sum(1).mean() + 0.7 * (codes @ lengths).mean()
    assert float(crosscoder.loss(params, step_of(x, x), hyper)[0]) == pytest.approx(expected)


def test_hooks_of_different_size_are_scaled_apart_and_answered_in_their_own_units():
    small, large = draw(300, 2, seed=1).float(), 100 * draw(300, 4, seed=2).float() + 7
    raw = torch.cat([small, large], dim=1)
    scaling = sae.Scaling.beside([sae.Scaling.from_rows(small), sae.Scaling.from_rows(large)])
    z = scaling.apply(raw)
    assert float(z[:, :2].square().sum(1).mean()) == pytest.approx(2, rel=1e-4)
    crosscoder = sae.get_architecture("crosscoder")(blocks=(2, 4))
    ensemble = sae.Ensemble.create(crosscoder, [{"l1": 0.1, "lr": 1e-2}], d=6, width=24, sample=z, share=0.2)
    for _ in range(400):
        ensemble.step(z)
    dictionary = ensemble.dictionary(0, scaling=scaling)
    torch.testing.assert_close(dictionary.directions.norm(dim=1), torch.ones(24))
    for part in (slice(0, 2), slice(2, 6)):
        left = (raw - dictionary.reconstruct(raw))[:, part].square().sum()
        assert left / (raw - raw.mean(0))[:, part].square().sum() < 0.15


def test_crosscoders_survive_json_and_refuse_blocks_that_do_not_fit():
    crosscoder = sae.get_architecture("crosscoder")
    assert crosscoder(blocks=[2, 3]) == crosscoder(blocks=(2, 3))
    with pytest.raises(ValueError, match=r"\[2, 3\].*add up to 5.*width 6"):
        crosscoder(blocks=(2, 3)).check(Size.of(6, N), {"l1": 1.0})
    with pytest.raises(ValueError, match="width of at least 1"):
        crosscoder(blocks=(2, 0))
