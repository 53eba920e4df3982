"""Each modern architecture against its formula written out plainly, in values and in gradients."""

import pytest
import torch
from torch.func import grad

import sae
from sae.architecture import Size, Step
from sae.architectures.batch_topk import MEMORY, running
from sae.architectures.matryoshka import group_sizes
from sae.architectures.p_anneal import exponent
from sae.coder import Dense

D, N, ROWS = 6, 10, 48
DEAD = torch.tensor([1, 4, 8])


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def example(*names):
    """Parameters of a member away from its start; features 1 and 8 fire on no row."""
    params = {
        "W_enc": drawn(N, D, seed=1),
        "b_enc": 0.3 * drawn(N, seed=2),
        "W_dec": torch.nn.functional.normalize(drawn(N, D, seed=3)),
        "b_dec": 0.3 * drawn(D, seed=4),
        "threshold": torch.zeros(N, dtype=torch.float64),
        "log_threshold": 0.2 * drawn(N, seed=5),
        "b_gate": 0.3 * drawn(N, seed=6),
        "b_mag": 0.3 * drawn(N, seed=7),
        "r_mag": 0.3 * drawn(N, seed=8),
        "center": 0.3 * drawn(D, seed=9),
    }
    params["b_enc"][[1, 8]] = -50.0
    return {name: params[name] for name in names}


AFFINE = ("W_enc", "b_enc", "W_dec", "b_dec")


def assert_equal_losses(architecture, params, plain, *, progress=0.5, parts=(), **hyper):
    """`plain(params, x, dead, hyper)` gives the loss and its parts; gradients come from autograd on both sides."""
    x = drawn(ROWS, D, seed=10)
    dead = torch.zeros(N, dtype=torch.bool).index_fill(0, DEAD, True)
    hyper = {name: torch.tensor(v, dtype=torch.float64) for name, v in {**architecture.hyper({}), **hyper}.items()}
    step = Step(x=x, target=x, dead=dead, progress=torch.tensor(progress, dtype=torch.float64), coder=Dense())
    still = {name: params[name] for name in architecture.buffers if name in params}
    moved = {name: p for name, p in params.items() if name not in still}
    loss, aux = architecture.loss(params, step, hyper)
    wanted, wanted_parts = plain(params, x, dead, hyper)
    torch.testing.assert_close(loss, wanted)
    for name, part in wanted_parts.items():
        assert float(part) != 0, f"{name} takes part"
        torch.testing.assert_close(aux[name], part)
    grads = grad(lambda p: architecture.loss({**p, **still}, step, hyper)[0])(moved)
    wanted_grads = grad(lambda p: plain({**p, **still}, x, dead, hyper)[0])(moved)
    torch.testing.assert_close(grads, wanted_grads)
    return aux, grads


def pre(p, x):
    return (x - p["b_dec"]) @ p["W_enc"].T + p["b_enc"]


def error(answer, x):
    return (answer - x).pow(2).sum(1).mean()


def kept(u, k):
    """The k largest of each row, one row at a time, never below 0."""
    rows = []
    for row in u:
        places = row.argsort(descending=True)[:k]
        mask = torch.zeros_like(row).index_fill(0, places, 1.0)
        rows.append(torch.relu(row * mask))
    return torch.stack(rows)


def plain_auxk(p, x, answer, u, dead):
    """Gao et al. 2024, A.2, k_aux = d / 2 = 3: here exactly the three dead features, where positive."""
    assert int(dead.sum()) == D // 2
    missed = (x - answer).detach()
    explained = torch.relu(u[:, dead]) @ p["W_dec"][dead]
    spread = ((missed - missed.mean(0)) ** 2).sum(1).mean()
    return D * error(explained, missed) / spread


def test_relu_weighs_codes_by_decoder_norms():
    def plain(p, x, dead, h):
        f = torch.relu(pre(p, x))
        sparsity = (f * p["W_dec"].norm(dim=1)).sum(1).mean()
        reconstruction = error(f @ p["W_dec"] + p["b_dec"], x)
        return reconstruction + h["l1"] * sparsity, {"reconstruction": reconstruction, "sparsity": sparsity}

    params = example(*AFFINE)
    params["W_dec"] = params["W_dec"] * torch.linspace(0.5, 2, N, dtype=torch.float64)[:, None]
    assert_equal_losses(sae.get_architecture("relu")(), params, plain, l1=0.7)


@pytest.mark.parametrize(
    ("name", "still"), [("frozen_decoder", "W_dec"), ("frozen_encoder", "W_enc"), ("soft_frozen_decoder", "W_dec")]
)
def test_what_is_frozen_stays_as_it_was_drawn_and_the_rest_learns(name, still):
    x = drawn(256, D).float()
    ensemble = sae.Ensemble.create(sae.get_architecture(name)(), [{"l1": 0.1, "lr": 0.05}], d=D, width=N, sample=x)
    before = ensemble.params_of(0)
    losses = [float(ensemble.step(x).loss[0]) for _ in range(200)]
    after = ensemble.params_of(0)
    assert torch.equal(after[still], before[still])
    assert not any(torch.equal(after[other], before[other]) for other in set(before) - {still})
    assert losses[-1] < 0.7 * losses[0]


def test_a_softly_frozen_direction_turns_as_far_as_it_may_and_no_further():
    x = drawn(256, D).float()
    ensemble = sae.Ensemble.create(
        sae.get_architecture("soft_frozen_decoder")(), [{"l1": 0.1, "lr": 0.05}], d=D, width=N, sample=x
    )
    start = ensemble.params_of(0)["W_dec"]
    for _ in range(400):
        ensemble.step(x)
    cosine = (ensemble.dictionary(0).directions * start).sum(dim=1)
    assert 0.8 - 1e-5 <= float(cosine.min()) < 0.85


def test_tied_reads_and_writes_with_one_normalised_matrix():
    def plain(p, x, dead, h):
        D_ = p["W_enc"] / p["W_enc"].norm(dim=1, keepdim=True)
        z = x - p["center"]
        f = torch.relu(z @ D_.T + p["b_enc"])
        reconstruction, sparsity = error(f @ D_, z), f.sum(1).mean()
        loss = reconstruction + h["l1"] * sparsity + h["bias_decay"] * p["b_enc"].norm()
        return loss, {"reconstruction": reconstruction, "sparsity": sparsity}

    params = example("W_enc", "b_enc", "center")
    assert_equal_losses(sae.get_architecture("tied")(), params, plain, l1=0.7, bias_decay=0.3)


def test_tied_learns_in_white_coordinates():
    rows = drawn(500, D) @ drawn(D, D, seed=1) + 3
    architecture = sae.get_architecture("tied")(whiten=True)
    params = architecture.init(Size.of(D, N), {}, torch.Generator().manual_seed(0), sample=rows, share=0.2)
    params = {name: p.double() for name, p in params.items()}
    white = rows @ params["whitening"].T
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(D, dtype=torch.float64), atol=1e-5, rtol=0)
    one = params["whitening"] @ params["unwhitening"]
    torch.testing.assert_close(one, torch.eye(D, dtype=torch.float64), atol=1e-5, rtol=0)
    codes = architecture.encode(params, rows, {})
    assert (codes > 0).sum(0).tolist() == [100] * N
    torch.testing.assert_close(
        architecture.decode(params, codes, {}) @ params["whitening"].T, codes @ params["W_enc"], atol=1e-5, rtol=0
    )
    with pytest.raises(ValueError, match="sample"):
        architecture.init(Size.of(D, N), {}, torch.Generator())


def test_p_anneal_keeps_the_strength_of_l1_while_p_falls():
    def plain(p, x, dead, h):
        f = torch.relu(pre(p, x))
        exponent = 1 - 0.7 * 0.5  # p_end 0.3, half of the way from 0.2 to 1 is 0.6
        powers = f[f > 0].pow(exponent).sum() / ROWS
        sparsity = f.sum() / ROWS
        strength = (h["l1"] * sparsity / powers).detach()
        reconstruction = error(f @ p["W_dec"] + p["b_dec"], x)
        return reconstruction + strength * powers, {"reconstruction": reconstruction, "sparsity": sparsity.detach()}

    assert_equal_losses(
        sae.get_architecture("p_anneal")(),
        example(*AFFINE),
        plain,
        progress=0.6,
        l1=0.7,
        p_end=0.3,
        anneal_start=0.2,
    )


def test_the_exponent_waits_then_falls_on_a_line():
    start, end = torch.tensor(0.2), torch.tensor(0.4)
    values = [float(exponent(torch.tensor(t), start, end)) for t in (0.0, 0.2, 0.6, 1.0)]
    assert values == pytest.approx([1.0, 1.0, 0.7, 0.4])


def test_topk_keeps_k_of_each_row_and_revives_the_dead():
    def plain(p, x, dead, h):
        u = pre(p, x)
        answer = kept(u, 3) @ p["W_dec"] + p["b_dec"]
        auxiliary = plain_auxk(p, x, answer, u, dead)
        reconstruction = error(answer, x)
        return reconstruction + h["auxk"] * auxiliary, {"reconstruction": reconstruction, "auxiliary": auxiliary}

    assert_equal_losses(sae.get_architecture("topk")(), example(*AFFINE), plain, k=3.0)


def test_topk_keeps_no_negative_code():
    architecture = sae.get_architecture("topk")()
    params = {"W_enc": -torch.eye(2), "b_enc": torch.zeros(2), "W_dec": torch.eye(2), "b_dec": torch.zeros(2)}
    codes = architecture.encode(params, torch.tensor([[1.0, -3.0], [1.0, 2.0]]), {"k": torch.tensor(2.0)})
    assert codes.tolist() == [[0.0, 3.0], [0.0, 0.0]]


def test_without_dead_features_the_auxiliary_loss_is_zero():
    architecture = sae.get_architecture("topk")()
    x = drawn(ROWS, D)
    hyper = {"k": torch.tensor(2.0), "auxk": torch.tensor(1.0)}
    alive = torch.zeros(N, dtype=torch.bool)
    step = Step(x=x, target=x, dead=alive, progress=torch.tensor(0.0), coder=Dense())
    loss, aux = architecture.loss(example(*AFFINE), step, hyper)
    assert float(aux["auxiliary"]) == 0
    assert torch.equal(loss, aux["reconstruction"])


@pytest.mark.parametrize("name", ["topk", "batch_topk", "matryoshka"])
@pytest.mark.parametrize("n_rows", [1, 7])
def test_equal_rows_freeze_nobody(name, n_rows):
    """What is missed of them has no variance to be measured by."""
    ensemble = sae.Ensemble.create(sae.get_architecture(name)(), [{"k": 1}], d=D, width=64, dead_after=1)
    for seed in range(6):
        x = torch.randn(1, D, generator=torch.Generator().manual_seed(seed)).expand(n_rows, D)
        report = ensemble.step(x)
    assert report.dead[0] > 0.9
    assert report.frozen_members == []


def test_a_topk_dictionary_with_rows_of_different_lengths_cannot_be_folded():
    params = example(*AFFINE)
    params["W_dec"][0] *= 2
    identity = sae.Scaling.identity(D)
    with pytest.raises(ValueError, match=r"one length, not from 1 to 2"):
        sae.get_architecture("topk")().fold(params, identity, identity)


def batch_kept(u, k):
    last = u.flatten().sort(descending=True).values[int(k * len(u)) - 1]
    return torch.where(u >= last, torch.relu(u), 0.0)


def test_batch_topk_keeps_the_largest_of_the_batch():
    def plain(p, x, dead, h):
        u = pre(p, x)
        answer = batch_kept(u, 2.5) @ p["W_dec"] + p["b_dec"]
        auxiliary = plain_auxk(p, x, answer, u, dead)
        reconstruction = error(answer, x)
        return reconstruction + h["auxk"] * auxiliary, {"reconstruction": reconstruction, "auxiliary": auxiliary}

    params = example(*AFFINE, "threshold")
    aux, _ = assert_equal_losses(sae.get_architecture("batch_topk")(), params, plain, k=2.5)
    codes = batch_kept(pre(params, drawn(ROWS, D, seed=10)), 2.5)
    assert int(aux["firings"].sum()) == 2.5 * ROWS
    torch.testing.assert_close(aux["buffers"]["threshold"], codes[codes > 0].min().expand(N))


def test_the_running_threshold_starts_at_the_first_batch_that_fires():
    silent = torch.tensor(torch.inf)
    threshold = running(torch.zeros(2), silent)
    assert threshold.tolist() == [0.0, 0.0]
    threshold = running(threshold, torch.tensor(2.0))
    assert threshold.tolist() == [2.0, 2.0]
    threshold = running(threshold, torch.tensor(4.0))
    assert threshold.tolist() == pytest.approx([2 * MEMORY + 4 * (1 - MEMORY)] * 2)
    assert torch.equal(running(threshold, silent), threshold)


def test_matryoshka_is_the_mean_over_nested_prefixes():
    def plain(p, x, dead, h):
        u = pre(p, x)
        f = batch_kept(u, 3.0)
        answers = [f[:, :m] @ p["W_dec"][:m] + p["b_dec"] for m in (2, 5, 10)]
        auxiliary = plain_auxk(p, x, answers[-1], u, dead)
        errors = torch.stack([error(answer, x) for answer in answers])
        parts = {"reconstruction": errors[-1], "prefixes": errors.mean(), "auxiliary": auxiliary}
        return errors.mean() + h["auxk"] * auxiliary, parts

    params = example(*AFFINE, "threshold")
    assert_equal_losses(sae.get_architecture("matryoshka")(groups=(0.2, 0.3, 0.5)), params, plain, k=3.0)


@pytest.mark.parametrize(
    ("shares", "n", "sizes"),
    [
        ((1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32), 2304, (72, 144, 288, 576, 1224)),
        ((1 / 32, 1 / 16, 1 / 8, 1 / 4, 17 / 32), 5, (1, 1, 1, 1, 1)),
        ((0.9, 0.05, 0.05), 4, (2, 1, 1)),
        ((1.0,), 7, (7,)),
    ],
)
def test_groups_are_whole_and_none_is_empty(shares, n, sizes):
    assert group_sizes(shares, n) == sizes


@pytest.mark.parametrize("groups", [(), (0.5, 0.4), (1.5, -0.5)])
def test_groups_that_are_no_parts_of_the_whole_are_refused(groups):
    with pytest.raises(ValueError, match="add up to 1"):
        sae.get_architecture("matryoshka")(groups=groups)


def test_more_groups_than_features_are_refused():
    with pytest.raises(ValueError, match="4 features cannot be parted into 5 groups"):
        sae.get_architecture("matryoshka")().check(Size.of(6, 4), {"k": 2.0, "auxk": 0.0})


class Jump(torch.autograd.Function):
    """Rajamanoharan et al. 2024b, equations 11 and 12: both pretended derivatives, by an explicit rectangle."""

    @staticmethod
    def forward(ctx, u, threshold, bandwidth):
        ctx.save_for_backward(u, threshold, bandwidth)
        active = (u > threshold).to(u)
        return u * active, active

    @staticmethod
    def backward(ctx, of_codes, of_active):
        u, threshold, bandwidth = ctx.saved_tensors
        rectangle = (((u - threshold) / bandwidth).abs() < 0.5).to(u)
        of_threshold = -(threshold / bandwidth) * rectangle * of_codes - rectangle / bandwidth * of_active
        return of_codes * (u > threshold), of_threshold.sum(0), None


@pytest.mark.parametrize("target", [0.0, 4.0])
def test_jumprelu_learns_thresholds_through_windows(target):
    params = example(*AFFINE, "log_threshold")
    params["W_enc"].requires_grad_(False)
    hyper = {"target_l0": target, "l0_weight": 0.8, "bandwidth": 0.7, "pre_act": 0.01}
    x = drawn(ROWS, D, seed=10)
    leaves = {name: p.clone().requires_grad_() for name, p in params.items()}
    threshold = leaves["log_threshold"].exp()
    u = pre(leaves, x)
    codes, active = Jump.apply(u, threshold, torch.tensor(0.7, dtype=torch.float64))
    reconstruction = error(codes @ leaves["W_dec"] + leaves["b_dec"], x)
    l0 = active.sum(1).mean()
    penalty = 0.8 * (D * (l0 / target - 1) ** 2 if target else l0)
    silent = [1, 8]  # of the dead features 1, 4 and 8 the fourth fires again
    revival = sum((torch.relu(threshold[i] - u[:, i])).mean() * leaves["W_dec"][i].norm() for i in silent)
    wanted = reconstruction + penalty + 0.01 * revival
    wanted.backward()

    dead = torch.zeros(N, dtype=torch.bool).index_fill(0, DEAD, True)
    step = Step(x=x, target=x, dead=dead, progress=torch.tensor(0.0), coder=Dense())
    swept = {name: torch.tensor(value, dtype=torch.float64) for name, value in hyper.items()}
    architecture = sae.get_architecture("jumprelu")()
    loss, aux = architecture.loss(params, step, swept)
    assert aux["firings"][4] > 0
    torch.testing.assert_close(loss, wanted.detach())
    torch.testing.assert_close(aux["penalty"], penalty.detach())
    torch.testing.assert_close(aux["revival"], revival.detach())
    grads = grad(lambda p: architecture.loss(p, step, swept)[0])(params)
    for name, g in grads.items():
        torch.testing.assert_close(g, leaves[name].grad)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_jumprelu_starts_with_thresholds_that_make_features_rare(share):
    architecture = sae.get_architecture("jumprelu")()
    sample = drawn(200, D).float()
    params = architecture.init(Size.of(D, N), {}, torch.Generator().manual_seed(0), sample=sample, share=share)
    assert (architecture.encode(params, sample, {}) != 0).sum(0).tolist() == [200 * share] * N
    rare = share < 0.5
    assert bool((params["b_enc"] == 0).all()) == rare, "the threshold does it while it can be positive"


def test_gated_learns_the_gate_apart_from_the_magnitude():
    def plain(p, x, dead, h):
        w = (x - p["b_dec"]) @ p["W_enc"].T
        pi = w + p["b_gate"]
        f = (pi > 0) * torch.relu(w * p["r_mag"].exp() + p["b_mag"])
        reconstruction = error(f @ p["W_dec"] + p["b_dec"], x)
        sparsity = torch.relu(pi).sum(1).mean()
        auxiliary = error(torch.relu(pi) @ p["W_dec"].detach() + p["b_dec"].detach(), x)
        parts = {"reconstruction": reconstruction, "sparsity": sparsity, "auxiliary": auxiliary}
        return reconstruction + h["l1"] * sparsity + auxiliary, parts

    params = example("W_enc", "b_gate", "b_mag", "r_mag", "W_dec", "b_dec")
    aux, _ = assert_equal_losses(sae.get_architecture("gated")(), params, plain, l1=0.7)
    assert (aux["firings"] > 0).all()
