"""Dead features start again from rows that are explained badly, the same way every time."""

import pytest
import torch

import sae
from sae.resampling import drawn_rows
from tests.separate_runs import BATCH, D, correlated_rows

WIDTH = 16
DEAD = [3, 5, 11]


def with_dead_features(architecture="relu", *, every=4, until=100, members=({},), **how):
    """Features DEAD of member 0 never fire; after three steps of 32 rows they count as dead."""
    architecture = sae.get_architecture(architecture)()
    ensemble = sae.Ensemble.create(
        architecture,
        members,
        d=D,
        width=WIDTH,
        dead_after=3 * BATCH,
        resampling=sae.Resampling(every=every, until=until),
        **how,
    )
    ensemble.params["b_enc"][0, DEAD] = -1e4
    return ensemble


def batches(n, start=0):
    rows = correlated_rows(BATCH * 40, dtype=torch.float32)
    return [rows[i * BATCH % len(rows) :][:BATCH] for i in range(start, n)]


def test_a_dead_feature_reads_and_writes_along_a_row_of_the_batch():
    ensemble = with_dead_features()
    given = batches(4)
    for x in given[:3]:
        assert ensemble.step(x).dead[0] == (3 / WIDTH if x is given[2] else 0)
    before = {name: p.clone() for name, p in ensemble.params.items()}
    ensemble.step(given[3])
    alive = [i for i in range(WIDTH) if i not in DEAD]
    params = ensemble.params_of(0)
    for name, share in (("W_enc", 0.2), ("W_dec", 1.0)):
        length = params[name][alive].norm(dim=1).mean()
        torch.testing.assert_close(params[name][DEAD].norm(dim=1), (share * length).expand(3))
        cosines = params[name][DEAD] @ given[3].T / params[name][DEAD].norm(dim=1)[:, None] / given[3].norm(dim=1)
        torch.testing.assert_close(cosines.max(1).values, torch.ones(3))
        assert (params[name][alive] - before[name][0][alive]).abs().max() < 2e-3  # one step of Adam and no more
        assert not ensemble.adam.mean[name][0, DEAD].any()
        assert not ensemble.adam.square[name][0, DEAD].any()
        assert ensemble.adam.square[name][0, alive].any()
    assert params["b_enc"][DEAD].tolist() == [0.0] * 3
    assert ensemble.idle[0, DEAD].tolist() == [0] * 3
    firing = ensemble.architecture.encode(params, given[3], {})[:, DEAD] > 0
    assert firing.any(0).all()


def test_rows_are_drawn_in_proportion_to_the_square_of_their_loss():
    losses = torch.tensor([1.0, 2.0, 0.0, 3.0]) * 1e30  # squares overflow in float32
    drawn = torch.cat([drawn_rows(losses, 1, seed=0, step=step) for step in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([1, 4, 0, 9]) / 14, atol=0.03, rtol=0)


def test_rows_are_drawn_once_each_while_there_are_enough():
    losses = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert sorted(drawn_rows(losses, 3, seed=1, step=1).tolist()) == [0, 1, 2]
    assert len(drawn_rows(losses, 9, seed=1, step=1)) == 9
    assert len(drawn_rows(torch.zeros(4), 2, seed=1, step=1)) == 2


def test_each_member_draws_for_its_own_dead_features():
    members = [{"seed": 0}, {"seed": 1, "width": 9}, {"seed": 2}]
    ensemble = with_dead_features(members=members, every=4)
    plain = with_dead_features(members=members, every=1000, until=1000)
    for x in batches(4):
        ensemble.step(x)
        plain.step(x)
    for name in ensemble.params:
        assert not torch.equal(ensemble.params_of(0)[name], plain.params_of(0)[name]) or name == "b_dec"
        for i in (1, 2):
            assert torch.equal(ensemble.params_of(i)[name], plain.params_of(i)[name])


def test_resampling_stops_where_it_should():
    ensemble = with_dead_features(every=2, until=2)
    for x in batches(8):
        report = ensemble.step(x)
    assert report.dead[0] == 3 / WIDTH


@pytest.mark.parametrize("name", ["tied", "topk", "jumprelu", "gated", "batch_topk"])
def test_architectures_with_other_parameters_revive_too(name):
    architecture = sae.get_architecture(name)()
    ensemble = sae.Ensemble.create(
        architecture,
        [{field: 4.0 for field in ("k", "target_l0") if field in architecture.swept}],
        d=D,
        width=WIDTH,
        dead_after=3 * BATCH,
        resampling=sae.Resampling(every=4, until=100),
    )
    bias = next(name for name in ("b_enc", "b_gate") if name in ensemble.params)
    given = batches(5)
    for x in given[:4]:
        ensemble.params[bias][0, DEAD] = -1e4
        ensemble.idle[0, DEAD] += 3 * BATCH
        ensemble.step(x)
    assert ensemble.params[bias][0, DEAD].tolist() == [0.0] * 3
    if name == "jumprelu":  # a row a fifth as long as others would never come above their whole threshold
        alive = [i for i in range(WIDTH) if i not in DEAD]
        thresholds = ensemble.params["log_threshold"][0].exp()
        torch.testing.assert_close(thresholds[DEAD], (0.2 * thresholds[alive].log().mean().exp()).expand(3))
    report = ensemble.step(given[4])
    assert report.frozen_members == []
    for row in architecture.unit_rows:
        torch.testing.assert_close(ensemble.params[row][0].norm(dim=1), torch.ones(WIDTH))


def test_a_frozen_member_keeps_its_bits():
    ensemble = with_dead_features()
    ensemble.params["W_dec"][0, 0, 0] = 1e30
    before = {name: p.clone() for name, p in ensemble.params.items()}
    for x in batches(8):
        ensemble.idle[0] = 10**6
        ensemble.step(x)
    assert all(torch.equal(ensemble.params[name], p) for name, p in before.items())


@pytest.mark.parametrize("stopped_at", [3, 4, 9])
def test_resuming_draws_the_same_rows(tmp_path, stopped_at):
    through, stopped = with_dead_features(every=3), with_dead_features(every=3)
    list(sae.fit(through, batches(12), steps=12))
    list(sae.fit(stopped, batches(12), steps=stopped_at))
    sae.save_checkpoint(tmp_path / "state", stopped)
    resumed, _ = sae.load_checkpoint(tmp_path / "state")
    assert resumed.resampling == sae.Resampling(every=3, until=100)
    list(sae.fit(resumed, batches(12, stopped_at), steps=12, start=stopped_at))
    assert all(torch.equal(resumed.params[name], p) for name, p in through.params.items())


@pytest.mark.parametrize("wrong", [{"every": 0, "until": 5}, {"every": 5, "until": 4}])
def test_a_resampling_that_never_happens_is_refused(wrong):
    with pytest.raises(ValueError, match="never happens"):
        sae.Resampling(**wrong)


def test_whitened_features_read_other_rows_than_the_batch_and_are_not_resampled():
    architecture = sae.get_architecture("tied")(whiten=True)
    with pytest.raises(ValueError, match="cannot be resampled: they read other rows"):
        sae.Ensemble.create(
            architecture, [{}], d=D, width=12, sample=correlated_rows(500), resampling=sae.Resampling(every=5, until=20)
        )
