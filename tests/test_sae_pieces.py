"""Scaling, schedules, matching and the registry."""

from dataclasses import dataclass

import pytest
import torch

import sae
from sae.registry import register


def test_scaled_rows_are_centred_with_mean_square_d():
    x = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 8) + 100
    z = sae.Scaling.from_rows(x).apply(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    assert float(z.square().sum(1).mean()) == pytest.approx(7, rel=1e-5)


def test_undo_inverts_apply():
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) + 3
    scaling = sae.Scaling.from_rows(x)
    torch.testing.assert_close(scaling.undo(scaling.apply(x)), x)


def test_scaling_leaves_its_rows_alone_and_widens_bfloat16():
    x = torch.ones(2, 3)
    sae.Scaling(torch.zeros(3), 2.0).apply(x)
    assert torch.equal(x, torch.ones(2, 3))
    assert sae.Scaling(torch.zeros(3), 2.0).apply(x.bfloat16()).dtype == torch.float32


def test_hooks_side_by_side_keep_their_own_scales():
    one, two = sae.Scaling(torch.tensor([1.0, 2.0]), 0.5), sae.Scaling(torch.tensor([3.0]), 4.0)
    both = sae.Scaling.beside([one, two])
    x = torch.tensor([[2.0, 2.0, 4.0]])
    assert both.apply(x).tolist() == [[0.5, 0.0, 4.0]]
    assert both.undo(both.apply(x)).tolist() == x.tolist()
    assert both.to(torch.float64).apply(x).dtype == torch.float64


@pytest.mark.parametrize("scale", [0.0, float("inf"), torch.tensor([1.0, 0.0]), torch.tensor([1.0])])
def test_a_scale_that_cannot_be_undone_is_refused(scale):
    with pytest.raises(ValueError, match="scale"):
        sae.Scaling(torch.zeros(2), scale)


@pytest.mark.parametrize("variance", [[0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_a_hook_without_variance_cannot_be_scaled(variance):
    with pytest.raises(ValueError, match="cannot be scaled"):
        sae.Scaling.from_moments(torch.zeros(2), torch.tensor(variance))


def test_a_schedule_rises_stays_and_falls():
    schedule = sae.Schedule(steps=10, lr_warmup=2, lr_decay=4, sparsity_warmup=5)
    assert [schedule.lr_factor(t) for t in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert [schedule.sparsity_factor(t) for t in range(6)] == [0.2, 0.4, 0.6, 0.8, 1, 1]


def test_a_rate_may_fall_on_a_cosine_and_a_penalty_to_zero():
    schedule = sae.Schedule(steps=8, lr_decay=4, lr_decay_shape="cosine", sparsity_warmup=2, sparsity_decay=2)
    falling = [0.5 + 0.5 * 2**-0.5, 0.5, 0.5 - 0.5 * 2**-0.5]  # (1 − cos(π · left)) / 2 with ¾, ½, ¼ left
    assert [schedule.lr_factor(t) for t in range(8)] == pytest.approx([1, 1, 1, 1, 1, *falling])
    assert [schedule.sparsity_factor(t) for t in range(8)] == [0.5, 1, 1, 1, 1, 1, 1, 0.5]


def test_progress_is_the_share_of_training_done():
    assert [sae.Schedule(steps=4).progress(t) for t in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert sae.Schedule().progress(10**6) == 0


def test_the_default_schedule_is_constant():
    assert {sae.Schedule().lr_factor(t) for t in range(100)} == {1.0}
    assert {sae.Schedule().sparsity_factor(t) for t in range(100)} == {1.0}


def test_the_usual_schedule_fits_any_length():
    for steps in (1, 3, 100, 10**6):
        schedule = sae.Schedule.over(steps)
        assert all(0 < schedule.lr_factor(t) <= 1 for t in (0, steps // 2, steps - 1))
    assert sae.Schedule.over(10**6).lr_warmup == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr_warmup": -1},
        {"steps": 5, "lr_decay": 6},
        {"steps": 5, "sparsity_decay": 6},
        {"lr_decay_shape": "straight, counted in steps"},
    ],
)
def test_an_impossible_schedule_is_refused(wrong):
    with pytest.raises(ValueError, match="steps"):
        sae.Schedule(**wrong)


def test_mmcs_is_the_mean_of_the_best_cosines():
    found = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    wanted = torch.tensor([[0.0, 1.0], [5.0, 0.0]])
    assert sae.max_cosines(found, wanted).tolist() == pytest.approx([1.0, 0.8])
    assert sae.mmcs(found, wanted) == pytest.approx(0.9)
    assert sae.max_cosines(found, wanted, at_once=1).tolist() == pytest.approx([1.0, 0.8])


def test_a_mixture_has_the_frequencies_it_was_asked_for():
    mixture = sae.Mixture.create(d=16, n_features=32, n_active=4.0, seed=0, decay=0.9)
    active = (mixture.codes(20_000, torch.Generator().manual_seed(1)) > 0).double().mean(0)
    assert active[0] == pytest.approx(4 / 32, rel=0.1)
    assert active[10] == pytest.approx(4 / 32 * 0.9**10, rel=0.15)
    torch.testing.assert_close(mixture.directions.norm(dim=1), torch.ones(32))


def test_an_unknown_architecture_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no architecture 'gelu'; known: .*relu"):
        sae.get_architecture("gelu")


def test_two_architectures_cannot_share_a_name():
    with pytest.raises(ValueError, match="two architectures are called 'relu'"):
        register("relu")(sae.ReLU)


def test_an_architecture_cannot_sweep_a_setting_of_the_optimizer():
    @dataclass(frozen=True, kw_only=True)
    class Greedy(sae.ReLU):
        swept = ("l1", "lr")

    with pytest.raises(ValueError, match="'lr'"):
        register("greedy")(Greedy)
