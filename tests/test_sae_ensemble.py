"""The heart of `sae`: an ensemble is exactly as many separate runs of torch.optim.Adam, and freezing is per member."""

import math

import pytest
import torch

import sae
import sae.grouping
from tests.separate_runs import BATCH, WIDTH, D, SeparateRun, correlated_rows


def train_alone(start, batches, *, l1, lr, clip=None, lr_factor=None, l1_factor=None):
    """One dictionary, written out plainly: no stacking, no vmap, no code of the package."""
    W_enc, b_enc, W_dec, b_dec = (start[k].clone().requires_grad_() for k in ("W_enc", "b_enc", "W_dec", "b_dec"))
    optimizer = torch.optim.Adam([W_enc, b_enc, W_dec, b_dec], lr=lr)
    losses = []
    for step, x in enumerate(batches):
        codes = torch.relu((x - b_dec) @ W_enc.T + b_enc)
        answer = codes @ W_dec + b_dec
        reconstruction = ((x - answer) ** 2).sum(dim=1).mean()
        penalty = (codes * W_dec.norm(dim=1)).sum(dim=1).mean()
        loss = reconstruction + l1 * (l1_factor(step) if l1_factor else 1.0) * penalty
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([W_enc, b_enc, W_dec, b_dec], clip)
        for group in optimizer.param_groups:
            group["lr"] = lr * (lr_factor(step) if lr_factor else 1.0)
        optimizer.step()
        losses.append(loss.item())
    trained = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    return {name: p.detach() for name, p in trained.items()}, losses


MEMBERS = [
    {"l1": 0.0, "lr": 1e-3, "seed": 0},
    {"l1": 0.3, "lr": 3e-3, "seed": 1},
    {"l1": 1.0, "lr": 3e-4, "seed": 1},
    {"l1": 3.0, "lr": 1e-2, "seed": 2},
]


def assert_equals_separate_runs(members, *, dtype, tolerance, steps=200, schedule=None, oracle_schedule=None):
    rows = correlated_rows(BATCH * 40, dtype=dtype)
    batches = [rows[i * BATCH % len(rows) :][:BATCH] for i in range(steps)]
    schedule = schedule or sae.Schedule()
    ensemble = sae.Ensemble.create(
        sae.ReLU(), members, d=D, width=WIDTH, sample=rows[:500], share=0.1, schedule=schedule, dtype=dtype
    )
    starts = [{name: p[i].clone() for name, p in ensemble.params.items()} for i in range(len(members))]
    reports = list(sae.fit(ensemble, batches, steps=steps))
    for i, member in enumerate(members):
        clip = member.get("clip")
        alone, losses = train_alone(
            starts[i], batches, l1=member["l1"], lr=member["lr"], clip=clip, **(oracle_schedule or {})
        )
        moved = max(float((alone[name] - starts[i][name]).abs().max()) for name in alone)
        assert moved > 0.02  # otherwise equality would say nothing
        for name, p in alone.items():
            torch.testing.assert_close(ensemble.params[name][i], p, rtol=0, atol=tolerance)
        assert [float(r.loss[i]) for r in reports] == pytest.approx(losses, rel=1e-4)


def test_an_ensemble_equals_separate_adam_runs_after_200_steps():
    members = [{"l1": l1, "lr": 1e-3, "seed": 0} for l1 in (0.0, 0.3, 1.0, 3.0)]
    assert_equals_separate_runs(members, dtype=torch.float64, tolerance=1e-9)


def test_members_with_their_own_rates_seeds_and_penalties_equal_separate_runs():
    assert_equals_separate_runs(MEMBERS, dtype=torch.float64, tolerance=1e-9)


def test_an_ensemble_in_float32_equals_separate_runs_in_float32():
    # These two do not amplify rounding; the others of MEMBERS do, in torch.optim.Adam as here (next test).
    assert_equals_separate_runs(MEMBERS[1:3], dtype=torch.float32, tolerance=1e-6)


def test_rounding_in_float32_leads_no_farther_astray_than_in_separate_runs():
    rows = correlated_rows(BATCH * 40, dtype=torch.float32)
    batches = [rows[i * BATCH % len(rows) :][:BATCH] for i in range(200)]
    ensemble = sae.Ensemble.create(sae.ReLU(), MEMBERS, d=D, width=WIDTH, sample=rows[:500], share=0.1)
    starts = [{name: p[i].clone() for name, p in ensemble.params.items()} for i in range(len(MEMBERS))]
    for x in batches:
        ensemble.step(x)
    for i, member in enumerate(MEMBERS):
        rates = {"l1": member["l1"], "lr": member["lr"]}
        alone, _ = train_alone(starts[i], batches, **rates)
        wide = {name: p.double() for name, p in starts[i].items()}
        exact, _ = train_alone(wide, [x.double() for x in batches], **rates)
        for name, p in exact.items():
            error = float((ensemble.params[name][i] - p).abs().max())
            assert error <= max(1e-6, 10 * float((alone[name] - p).abs().max()))


def step_on(x, *, dead=None, progress=0.0):
    dead = torch.zeros(WIDTH, dtype=torch.bool) if dead is None else dead
    return sae.Step(x=x, target=x, dead=dead, progress=torch.tensor(progress, dtype=x.dtype), coder=sae.Dense())


def test_members_stepped_one_by_one_have_the_bits_of_torch_adam_on_the_same_loss(monkeypatch):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", 0)
    rows = correlated_rows(BATCH * 50, dtype=torch.float32)
    ensemble = sae.Ensemble.create(sae.ReLU(), MEMBERS, d=D, width=WIDTH, sample=rows)
    starts = [{name: p[i].clone() for name, p in ensemble.params.items()} for i in range(len(MEMBERS))]
    for x in rows.split(BATCH):
        ensemble.step(x)
    for i, member in enumerate(MEMBERS):
        params = {name: p.requires_grad_() for name, p in starts[i].items()}
        optimizer = torch.optim.Adam(params.values(), lr=member["lr"], fused=True)
        for x in rows.split(BATCH):
            loss, _ = sae.ReLU().loss(params, step_on(x), {"l1": torch.tensor(member["l1"])})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for name, p in params.items():
            assert torch.equal(ensemble.params[name][i], p.detach())


def test_members_stepped_one_by_one_equal_separate_runs(monkeypatch):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", 0)
    assert_equals_separate_runs(MEMBERS, dtype=torch.float64, tolerance=1e-9)


GRIDS = {
    "widths": (sae.ReLU(), [{"l1": 0.3, "width": 20}, {"l1": 1.0, "width": 20}, {"width": 9}, {"width": 31}]),
    "tied": ("tied", [{"l1": 0.3}, {"l1": 1.0, "bias_decay": 0.5, "width": 9}]),
    "topk": ("topk", [{"k": 2}, {"k": 5, "lr": 3e-3}, {"k": 3, "width": 9, "clip": 0.5}, {"k": 9, "width": 9}]),
    "batch_topk": ("batch_topk", [{"k": 2}, {"k": 3.5}, {"k": 4, "width": 13}]),
    "jumprelu": ("jumprelu", [{"target_l0": 3, "bandwidth": 0.5}, {"target_l0": 1, "bandwidth": 1.0, "width": 33}]),
    "matryoshka": ("matryoshka", [{"k": 3}, {"k": 5}, {"k": 3, "width": 33}]),
    "gated": ("gated", [{"l1": 0.3}, {"l1": 1.0, "width": 9}]),
    "p_anneal": ("p_anneal", [{"l1": 0.3}, {"l1": 1.0, "p_end": 0.5, "width": 9}]),
}


def stepped_beside_separate_runs(architecture, members, *, steps=200, tolerance=1e-9, alone_by=None, **how):
    """Train both ways and compare every parameter of every member; return the ensemble and the runs."""
    architecture = sae.get_architecture(architecture)() if isinstance(architecture, str) else architecture
    rows = correlated_rows(BATCH * 40, dtype=how.get("dtype", torch.float64))
    schedule = sae.Schedule(steps=steps, lr_warmup=20, lr_decay=50, sparsity_warmup=30)
    ensemble = sae.Ensemble.create(
        architecture,
        members,
        **{"d": D, "width": WIDTH, "sample": rows[:500], "share": 0.1, "dtype": torch.float64, "dead_after": 96, **how},
        schedule=schedule,
    )
    alone = [SeparateRun(ensemble, i, dead_after=96, schedule=schedule, coder=alone_by) for i in range(len(ensemble))]
    for i in range(steps):
        x = rows[i * BATCH % len(rows) :][:BATCH]
        report = ensemble.step(x)
        assert report.loss.tolist() == pytest.approx([run.step(x) for run in alone], rel=1e-4)
    for i, run in enumerate(alone):
        params = ensemble.params_of(i)
        assert max(float((p - run.start[name]).abs().max()) for name, p in params.items()) > 0.02
        for name, p in params.items():
            torch.testing.assert_close(p, run.params[name].detach(), rtol=0, atol=tolerance)
    return ensemble, alone


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("at_once", [0, 2**19])
def test_every_member_of_a_grid_equals_its_separate_run(monkeypatch, grid, at_once):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", at_once)
    ensemble, alone = stepped_beside_separate_runs(*GRIDS[grid])
    assert ensemble.frozen.tolist() == [False] * len(ensemble)
    for i, run in enumerate(alone):
        assert torch.equal(ensemble.idle[i, : len(run.idle)], run.idle)


@pytest.mark.parametrize("grid", GRIDS)
def test_sparse_steps_equal_separate_dense_runs(grid):
    ensemble, _ = stepped_beside_separate_runs(*GRIDS[grid], coder="sparse")
    assert not any(ensemble.frozen)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch.compile's own making
@pytest.mark.parametrize("grid", ["widths", "topk"])
def test_compiled_steps_equal_separate_runs(grid):
    stepped_beside_separate_runs(*GRIDS[grid], compiled=True)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_compiled_says_so():
    ensemble = sae.Ensemble.create(sae.get_architecture("jumprelu")(target_l0=3), [{}], d=D, width=WIDTH, compiled=True)
    with pytest.raises(ValueError, match="cannot compile a step of 'jumprelu'"):
        ensemble.step(correlated_rows(BATCH, dtype=torch.float32))


def test_bfloat16_is_of_the_products_alone(monkeypatch):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", 0)
    architecture, members = GRIDS["widths"]
    how = {"precision": "bfloat16", "dtype": torch.float32, "coder": "dense", "alone_by": sae.Dense(torch.bfloat16)}
    ensemble, _ = stepped_beside_separate_runs(architecture, members, steps=100, tolerance=1e-6, **how)
    assert {p.dtype for p in ensemble.params.values()} == {torch.float32}
    rows = correlated_rows(BATCH, dtype=torch.float32)
    plain = sae.Ensemble.create(architecture, members, d=D, width=WIDTH)
    rounded = sae.Ensemble.create(architecture, members, d=D, width=WIDTH, precision="bfloat16", coder="dense")
    losses = plain.step(rows).loss, rounded.step(rows).loss
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=1e-2, atol=0)


def test_a_narrow_member_has_the_bits_of_the_same_member_alone(monkeypatch):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", 0)
    rows = correlated_rows(BATCH * 40, dtype=torch.float32)
    narrow = {"l1": 0.5, "width": 7, "seed": 3}
    both = sae.Ensemble.create(sae.ReLU(), [{"l1": 1.0}, narrow], d=D, width=WIDTH, sample=rows)
    alone = sae.Ensemble.create(sae.ReLU(), [narrow], d=D, width=7, sample=rows)
    for x in rows.split(BATCH):
        both.step(x)
        alone.step(x)
    for name, p in alone.params_of(0).items():
        assert torch.equal(both.params_of(1)[name], p)
    for stack in (both.params, both.adam.mean, both.adam.square):
        assert not stack["W_enc"][1, 7:].any()
        assert not stack["b_enc"][1, 7:].any()
    assert both.dictionary(1).n == 7


def test_clipping_is_by_the_norm_of_each_member():
    members = [{**m, "clip": clip} for m, clip in zip(MEMBERS, (0.1, 1.0, 5.0, 1e9), strict=True)]
    assert_equals_separate_runs(members, dtype=torch.float64, tolerance=1e-9)


def test_warm_up_and_decay_equal_separate_runs_with_the_same_factors():
    schedule = sae.Schedule(steps=200, lr_warmup=20, lr_decay=50, sparsity_warmup=30)
    oracle = {
        "lr_factor": lambda t: min((t + 1) / 20, 1, (200 - t) / 50),
        "l1_factor": lambda t: min((t + 1) / 30, 1),
    }
    assert_equals_separate_runs(MEMBERS, dtype=torch.float64, tolerance=1e-9, schedule=schedule, oracle_schedule=oracle)


def test_a_member_does_not_depend_on_its_neighbours():
    rows = correlated_rows(BATCH * 20, dtype=torch.float64)
    together = sae.Ensemble.create(sae.ReLU(), MEMBERS, d=D, width=WIDTH, dtype=torch.float64)
    alone = sae.Ensemble.create(sae.ReLU(), [MEMBERS[2]], d=D, width=WIDTH, dtype=torch.float64)
    for x in rows.split(BATCH):
        together.step(x)
        alone.step(x)
    for name in alone.params:
        torch.testing.assert_close(alone.params[name][0], together.params[name][2], rtol=0, atol=1e-12)


def test_features_start_on_the_chosen_share_of_the_sample():
    rows = correlated_rows(1000, dtype=torch.float32)
    ensemble = sae.Ensemble.create(sae.ReLU(), [{"seed": 4}, {"seed": 5}], d=D, width=WIDTH, sample=rows, share=0.03)
    for i in range(2):
        codes = sae.ReLU().encode({name: p[i] for name, p in ensemble.params.items()}, rows, {})
        assert (codes > 0).sum(0).tolist() == [30] * WIDTH
    assert not torch.equal(ensemble.params["W_enc"][0], ensemble.params["W_enc"][1])


def test_a_sample_too_small_for_its_share_is_refused_with_the_number_needed():
    with pytest.raises(ValueError, match="at least 50 rows"):
        sae.Ensemble.create(sae.ReLU(), [{}], d=D, width=WIDTH, sample=correlated_rows(20), share=0.02)


def test_the_report_counts_firing_features_and_parts_of_the_loss():
    ensemble = sae.Ensemble.create(sae.ReLU(), [{"l1": 2.0}], d=2, width=3)
    ensemble.params["W_enc"][0] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    ensemble.params["W_dec"][0] = torch.tensor([[1.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])
    report = ensemble.step(torch.tensor([[3.0, 2.0], [1.0, 0.0]]))
    # Codes (3, 2, 0) and (1, 0, 0): three firings on two rows; errors (0, 1) and (0, 0); penalties 3 + 2·½ and 1.
    assert report.member(0)["l0"] == 1.5
    assert report.member(0)["reconstruction"] == 0.5
    assert report.member(0)["sparsity"] == 2.5
    assert report.member(0)["loss"] == 0.5 + 2.0 * 2.5
    # The mean row is (2, 1), so the variance is 1 + 1; the squared error is ½.
    assert report.member(0)["fvu"] == 0.25
    assert (report.step, report.rows) == (1, 2)


def test_features_die_after_the_chosen_number_of_idle_rows_and_come_back():
    ensemble = sae.Ensemble.create(sae.ReLU(), [{"lr": 1e-12}], d=2, width=2, dead_after=6)
    ensemble.params["W_enc"][0] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    only_first = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    shares = [float(ensemble.step(only_first).dead[0]) for _ in range(3)]
    assert shares == [0.0, 0.5, 0.5]
    assert ensemble.idle.tolist() == [[0, 9]]
    assert float(ensemble.step(torch.tensor([[1.0, 1.0]])).dead[0]) == 0.0
    assert ensemble.idle.tolist() == [[0, 0]]


@pytest.mark.parametrize("name", ["relu", "batch_topk"])
@pytest.mark.parametrize("at_once", [0, 2**19])
def test_a_member_that_diverges_is_frozen_and_named_and_the_others_go_on(monkeypatch, at_once, name):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", at_once)
    rows = correlated_rows(BATCH, dtype=torch.float32)
    architecture = sae.get_architecture(name)()
    own = {"k": 4} if "k" in architecture.swept else {}
    ensemble = sae.Ensemble.create(architecture, [{**own, "seed": i} for i in range(3)], d=D, width=WIDTH)
    ensemble.params["W_dec"][1] = 1e30  # its square overflows
    before = {name: p.clone() for name, p in ensemble.params.items()}
    reports = [ensemble.step(rows) for _ in range(3)]
    assert [r.frozen_members for r in reports] == [[1], [1], [1]]
    assert not math.isfinite(float(reports[0].loss[1]))
    for name, p in ensemble.params.items():
        assert torch.equal(p[1], before[name][1])
        assert torch.isfinite(p[0]).all()
        assert not torch.equal(p[2], before[name][2])
    assert ensemble.adam.steps.tolist() == [3, 0, 3]
    assert not ensemble.adam.mean["W_enc"][1].any()


@pytest.mark.parametrize("coder", ["dense", "sparse"])
def test_nothing_is_computed_for_frozen_members_stepped_one_by_one(monkeypatch, coder):
    monkeypatch.setattr(sae.grouping, "CODES_AT_ONCE_ON_CPU", 0)
    rows = correlated_rows(BATCH, dtype=torch.float32)
    ensemble = sae.Ensemble.create(sae.ReLU(), [{"seed": 0}, {"seed": 1}], d=D, width=WIDTH, coder=coder)
    ensemble.params["W_enc"][0, 0, 0] = math.nan
    first, second = ensemble.step(rows), ensemble.step(rows)
    assert first.frozen_members == second.frozen_members == [0]
    assert math.isnan(second.member(0)["reconstruction"])
    assert second.member(1)["loss"] < first.member(1)["loss"]
    ensemble.frozen[:] = True
    third = ensemble.step(rows)
    assert math.isnan(third.member(1)["loss"])
    assert third.member(1).keys() == second.member(1).keys()
    assert ensemble.adam.steps.tolist() == [0, 2]


@pytest.mark.parametrize("name", ["tied", "tied_centred"])
def test_the_unexplained_variance_is_that_of_the_rows_where_the_loss_whitens_them(name):
    rows = correlated_rows(300) * torch.logspace(-1, 1, D)
    architecture = sae.get_architecture(name)(whiten=True)
    ensemble = sae.Ensemble.create(architecture, [{"l1": 0.3}], d=D, width=WIDTH, sample=rows, dtype=torch.float64)
    list(sae.fit(ensemble, [rows] * 20, steps=20))
    error = (rows - architecture.reconstruct(ensemble.params_of(0), rows, {})).square().sum()
    report = ensemble.step(rows)
    assert report.member(0)["fvu"] == pytest.approx(float(error / (rows - rows.mean(0)).square().sum()), rel=1e-6)
    assert report.parts.keys() == {"reconstruction", "sparsity"}


def test_a_loss_that_follows_the_share_of_training_needs_an_end():
    with pytest.raises(ValueError, match=r"'p_anneal' changes with the share of training .* no end; give a schedule"):
        sae.Ensemble.create(sae.get_architecture("p_anneal")(), [{}], d=D, width=WIDTH)


@pytest.mark.parametrize(
    "members",
    [
        [],
        *([{name: 0.0}] for name in ("l2", "lr", "width")),
        *([{name: -1.0}] for name in ("l1", "clip", "seed")),
        *([{name: math.nan}] for name in ("l1", "width")),
        *([{name: 2.5}] for name in ("width", "seed")),
        [{"seed": 2**31}],
    ],
)
def test_settings_that_mean_nothing_are_refused(members):
    with pytest.raises(ValueError, match=r"\w+ .*\w"):
        sae.Ensemble.create(sae.ReLU(), members, d=D, width=WIDTH)


@pytest.mark.parametrize(
    "wrong",
    [{"coder": "fast"}, {"precision": "float16"}, {"dtype": torch.bfloat16}, {"d": 0}, {"out": 5}, {"dead_after": 0}],
)
def test_choices_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ValueError, match=r"\w+ .*\w"):
        sae.Ensemble.create(sae.ReLU(), [{}], **{"d": D, "width": WIDTH, **wrong})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_damaged_row_is_named_and_freezes_nobody(value):
    ensemble = sae.Ensemble.create(sae.ReLU(), [{}], d=D, width=WIDTH)
    x = torch.ones(5, D)
    x[3, 1] = value
    with pytest.raises(ValueError, match=r"1 of 5 rows .* position 3"):
        ensemble.step(x)
    assert ensemble.steps == 0
    assert ensemble.step(torch.full((2, D), 1e37)).frozen_members == [0]  # finite, though its sum is not


@pytest.mark.parametrize("shape", [(D,), (4, D + 1), (0, D)])
def test_a_batch_of_another_shape_is_refused(shape):
    ensemble = sae.Ensemble.create(sae.ReLU(), [{}], d=D, width=WIDTH)
    with pytest.raises(ValueError, match=r"rows \[B, 12\]"):
        ensemble.step(torch.zeros(shape))


def test_fit_resumes_only_where_the_ensemble_stands():
    rows = correlated_rows(BATCH, dtype=torch.float32)
    ensemble = sae.Ensemble.create(sae.ReLU(), [{}], d=D, width=WIDTH)
    assert [r.step for r in sae.fit(ensemble, iter([rows] * 10), steps=4)] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="has made 4 steps but the batches start at 0"):
        next(sae.fit(ensemble, [rows], steps=8))
    assert [r.step for r in sae.fit(ensemble, iter([rows] * 10), steps=6, start=4)] == [5, 6]
    assert list(sae.fit(ensemble, [rows], steps=6, start=6)) == []
    with pytest.raises(ValueError, match="ended after step 7 of 9"):
        list(sae.fit(ensemble, [rows], steps=9, start=6))


@pytest.mark.gpu
def test_an_ensemble_on_a_gpu_follows_the_one_on_the_cpu():
    rows = correlated_rows(BATCH * 50, dtype=torch.float64)
    here, there = (
        sae.Ensemble.create(sae.ReLU(), MEMBERS, d=D, width=WIDTH, sample=rows, device=device, dtype=torch.float64)
        for device in ("cpu", "cuda")
    )
    for x in rows.split(BATCH):
        here.step(x)
        there.step(x)
    for name, p in here.params.items():
        torch.testing.assert_close(there.params[name].cpu(), p, rtol=0, atol=1e-9)
