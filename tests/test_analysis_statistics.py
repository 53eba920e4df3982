"""Intervals, controls and corrections: against scipy, closed forms and simulations with a known truth."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
import scipy.stats

from actpipe.analysis.multiplicity import benjamini_hochberg, holm
from actpipe.analysis.scores import Metric
from actpipe.analysis.statistics import DENSITY_POINTS, MEANS, Measured, density_points, means
from actpipe.analysis.statistics.density_curve import curve
from actpipe.analysis.statistics.equivalence import tost, tost_means
from actpipe.analysis.statistics.intervals import (
    bca,
    expanded,
    influence,
    percentile,
    student,
    two_sided_p,
    without_each,
    without_each_seed,
)
from actpipe.analysis.statistics.measured import counts, layout, sums_over_units
from actpipe.analysis.statistics.permutation import against_null, nearest_in_density
from actpipe.analysis.statistics.ranks import rank_stability, spearman
from actpipe.analysis.statistics.resampling import Units, ratio, replicated, resampled, slots
from actpipe.analysis.statistics.strata import FEWEST, N_BINS, density_bins, pieces, post_stratified, reference, strata
from actpipe.analysis.statistics.variance import components

SCORE = Metric("score", "A score.", better="higher")


def mean_of(values: np.ndarray, *, labels: np.ndarray | None = None, model: str = "m", dictionary: str = "d") -> Units:
    sums = np.stack([values, np.ones(len(values))], axis=1)
    labels = np.zeros(len(values), np.int64) if labels is None else labels
    return Units(model=model, dictionary=dictionary, sums=sums, strata=labels, statistic=ratio)


def measured(score: np.ndarray, **given: Any) -> Measured:
    n = len(score)
    standard: dict[str, Any] = {
        "member": "a",
        "configuration": "c",
        "dictionary": "0",
        "values": {"score": score},
        "density": np.full(n, 1e-2),
        "mass": np.ones(n),
        "token_r2": np.full(n, 0.5),
    }
    return Measured(**{**standard, **given})


def row(table: Any, **where: Any) -> dict[str, Any]:
    where = {"weighting": "units", "stratum": "all", **where}
    (found,) = [each for each in table.to_pylist() if all(each[key] == value for key, value in where.items())]
    return found


# Strata and weights


def test_strata_are_bins_of_density_joined_until_they_hold_enough() -> None:
    density = np.concatenate([np.full(30, 1e-5), np.full(5, 1.2e-4), np.full(19, 1.2e-3), np.full(3, 0.5)])
    labels = strata(density)
    assert np.unique(labels).tolist() == [0, 1]
    assert labels[:30].tolist() == [0] * 30  # 5 + 19 make the second, which takes the three at the dense end too
    assert labels[30:].tolist() == [1] * 27
    assert strata(np.array([0.1, 1e-5])).tolist() == [0, 0]  # fewer than FEWEST in all
    assert np.bincount(strata(10 ** np.random.default_rng(0).uniform(-6, 0, 500))).min() >= FEWEST
    parts = list(pieces(np.array([0] * 5000 + [1] * 3)))
    assert [len(part) for part in parts] == [1667, 1667, 1666, 3]
    assert np.sort(np.concatenate(parts)).tolist() == list(range(5003))


def test_a_post_stratified_mean_has_the_densities_of_the_reference() -> None:
    density = np.array([1e-4, 1e-4, 1e-4, 1e-2])
    target = reference([np.array([1e-4, 1e-2])])
    assert target[density_bins(np.array([1e-4, 1e-2]))].tolist() == [0.5, 0.5]
    weights = post_stratified(density, target, np.array([True, True, False, True]))
    assert weights.tolist() == [0.25, 0.25, 0, 0.5]
    values = np.array([1.0, 2.0, 99.0, 5.0])
    assert weights @ values == (1.5 + 5) / 2


# The bootstrap


def test_replicates_of_a_mean_have_the_closed_form_of_their_variance() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0, 1, 60), random.normal(10, 3, 40)])
    labels = np.repeat([0, 1], [60, 40])
    found = resampled(values[:, None], labels, times=20_000, random=random)[:, 0] / 100
    expected = (60 * values[:60].var(ddof=1) + 40 * values[60:].var(ddof=1)) / 100**2
    assert found.var() == pytest.approx(expected, rel=0.05)
    assert found.mean() == pytest.approx(values.mean(), abs=4 * (expected / 20_000) ** 0.5)


def test_seeds_are_resampled_before_units() -> None:
    """With units that do not vary, the variance is that of nested seeds: between models, and between dictionaries."""
    random = np.random.default_rng(0)
    level = random.normal(size=(4, 1)) + 0.5 * random.normal(size=(4, 3))
    groups = [
        mean_of(np.full(25, level[m, d]), model=f"m{m}", dictionary=f"d{d}")
        for m, d in itertools.product(range(4), range(3))
    ]
    found = replicated(groups, seed=1, replicates=20_000)
    expected = level.mean(1).var() / 4 + level.var(axis=1).mean() / (4 * 3)
    assert found.replicates.var() == pytest.approx(expected, rel=0.05)
    assert found.value[0] == pytest.approx(level.mean())
    np.testing.assert_allclose(found.tops[:, 0], level.mean(1))


def test_models_with_different_numbers_of_dictionaries_weigh_the_same() -> None:
    groups = [
        mean_of(np.full(20, v), model=m, dictionary=str(i)) for i, (m, v) in enumerate([("a", 1), ("a", 3), ("b", 10)])
    ]
    found = slots(groups, seed=0, replicates=500)
    np.testing.assert_allclose(found.weight.sum(1), 1)
    assert replicated(groups, seed=0, replicates=500).value[0] == 6  # not 14/3
    drawn = replicated(groups, seed=0, replicates=500).replicates
    assert set(np.unique(drawn.round(9))) == {1, 1.5, 2, 2.5, 3, 5.5, 6, 6.5, 10}


@pytest.mark.parametrize("skew", [False, True])
def test_bca_is_that_of_scipy(skew: bool) -> None:
    random = np.random.default_rng(3)
    values = random.lognormal(0, 1, 80) if skew else random.normal(size=80)
    group = mean_of(values)
    found = replicated([group], seed=0, replicates=20_000)
    mine = bca(found.replicates, found.value, influence(without_each(group)).acceleration)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert mine.low[0] == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert mine.high[0] == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)
    plain = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert percentile(found.replicates).high[0] == pytest.approx(plain.high, abs=0.03 * width)
    if skew:  # the correction is not nothing
        assert mine.high[0] - plain.high > 0.05 * width


def test_the_acceleration_of_a_mean_is_a_sixth_of_its_skewness() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    expected = scipy.stats.skew(values) / (6 * 400**0.5)
    assert influence(without_each(mean_of(values))).acceleration[0] == pytest.approx(expected, rel=1e-6)


def test_intervals_over_seeds_are_those_of_student() -> None:
    values = np.array([0.1, 0.4, 0.35, 0.2])
    low, high = scipy.stats.t.interval(0.95, 3, values.mean(), scipy.stats.sem(values))
    found = student(values[:, None])
    assert (found.low[0], found.high[0]) == pytest.approx((low, high))
    assert np.isnan(student(values[:1, None]).low[0])


# The table of means


def test_every_mean_has_an_interval_a_number_and_a_control() -> None:
    random = np.random.default_rng(0)
    member = measured(random.normal(0.6, 0.1, 300))
    weak, strong = (
        measured(random.normal(level, 0.1, 100), control=name) for name, level in [("shuffled", 0.1), ("random", 0.4)]
    )
    table = means([member, weak, strong], [SCORE], replicates=500)
    assert table.schema == MEANS
    assert table.num_rows == 6  # two weightings, three strata
    found = row(table)
    assert found["mean"] == pytest.approx(member.values["score"].mean())
    assert found["low"] < found["mean"] < found["high"]
    assert (found["n"], found["undefined"], found["control"], found["control_n"]) == (300, 0, "random", 100)
    assert found["delta"] == pytest.approx(found["mean"] - strong.values["score"].mean())
    assert found["verdict"] == "better"
    assert found["p"] == pytest.approx(2 / 501)
    assert found["method"] == "bca"
    assert found["few_seeds"]
    empty = row(table, stratum="token_units")
    assert empty["n"] == 0
    assert empty["mean"] is None
    assert empty["verdict"] is None
    half_width = 1.96 * 0.1 * (1 / 300 + 1 / 100) ** 0.5
    assert found["delta_high"] - found["delta_low"] == pytest.approx(2 * half_width, rel=0.2)


def test_cells_are_weighted_means_by_brute_force() -> None:
    random = np.random.default_rng(1)
    n = 400
    values, other = random.random(n), random.random(n)
    values[random.random(n) < 0.2] = np.nan
    density = 10 ** random.uniform(-6, -0.5, n)
    density[:30] = 0
    values[:30] = np.nan
    mass, r2 = random.exponential(size=n), random.uniform(0.5, 1, n)
    member = measured(values, values={"score": values, "other": other}, density=density, mass=mass, token_r2=r2)
    table = means([member], [SCORE, Metric("other", "")], nulls={"score": 0.25}, replicates=50)
    alive = density > 0
    target = reference([density[alive]])
    for stratum, inside in (
        ("all", alive),
        ("token_units", alive & (r2 > 0.8)),
        ("context_units", alive & (r2 <= 0.8)),
    ):
        defined = inside & np.isfinite(values)
        for weighting, weight in (("units", np.ones(n)), ("contribution", mass)):
            found = row(table, metric="score", stratum=stratum, weighting=weighting)
            assert found["mean"] == pytest.approx(np.average(values[defined], weights=weight[defined]))
            filled = np.where(np.isfinite(values), values, 0.25)
            assert found["mean_imputed"] == pytest.approx(np.average(filled[inside], weights=weight[inside]))
            assert found["n"] == defined.sum()
            assert found["undefined"] == inside.sum() - defined.sum()
            assert found["dead"] == 30
            kish = weight[defined].sum() ** 2 / (weight[defined] ** 2).sum()
            assert found["n_effective"] == pytest.approx(kish)
        found = row(table, metric="score", stratum=stratum)
        bins = density_bins(density)
        held = [b for b in range(N_BINS) if (defined & (bins == b)).any()]
        expected = sum(target[b] * values[defined & (bins == b)].mean() for b in held) / target[held].sum()
        assert found["density_adjusted"] == pytest.approx(expected)
        assert found["density_coverage"] == pytest.approx(target[held].sum())
    assert row(table, metric="other")["undefined"] == 0
    assert row(table, metric="other")["mean_imputed"] == pytest.approx(other[alive].mean())


def test_a_score_where_lower_is_better_has_its_hardest_control_below() -> None:
    random = np.random.default_rng(0)
    bits = Metric("score", "", better="lower")
    member = measured(random.normal(2, 0.1, 100))
    controls = [measured(random.normal(level, 0.1, 100), control=str(level)) for level in (3, 5)]
    found = row(means([member, *controls], [bits], replicates=300))
    assert found["control"] == "3"
    assert found["verdict"] == "better"
    assert found["delta_high"] < 0
    axis = Metric("score", "")
    assert row(means([member, *controls], [axis], replicates=300))["verdict"] is None


def test_undefined_scores_are_imputed_at_the_control_where_no_null_is_known() -> None:
    values = np.concatenate([np.full(50, 0.8), np.full(50, np.nan)])
    found = row(means([measured(values), measured(np.full(60, 0.2), control="shuffled")], [SCORE], replicates=100))
    assert found["imputed_at"] == pytest.approx(0.2)
    assert found["mean_imputed"] == pytest.approx(0.5)
    assert found["imputed_low"] < 0.5 < found["imputed_high"]
    alone = row(means([measured(values)], [SCORE], replicates=100))
    assert alone["mean"] == pytest.approx(0.8)
    assert alone["mean_imputed"] is None  # nothing says where the null is
    assert alone["control"] is None


def test_the_same_units_share_their_draws() -> None:
    """A control of the same units that is lower by a constant differs by it in every replicate."""
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    paired = measured(values - 0.03, control="shuffled", same_units=True, token_r2=np.zeros(200))
    found = row(means([measured(values), paired], [SCORE], replicates=200))
    assert (found["delta_low"], found["delta_high"]) == pytest.approx((0.03, 0.03))
    assert found["verdict"] == "better"
    others = measured(values - 0.03, control="random")
    apart = row(means([measured(values), others], [SCORE], replicates=200))
    assert apart["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("above", "spread", "better", "verdict"),
    [
        (0.01, 0.001, "higher", "equivalent"),  # surely above, by less than what decides anything
        (0.03, 0.001, "higher", "better"),
        (-0.03, 0.001, "higher", "worse"),
        (-0.03, 0.001, "lower", "better"),
        (0.03, 0.3, "higher", "undecided"),
    ],
)
def test_a_difference_below_the_margin_decides_nothing(above: float, spread: float, better: Any, verdict: str) -> None:
    random = np.random.default_rng(0)
    member = measured(random.normal(0.3 + above, spread, 200))
    control = measured(random.normal(0.3, spread, 200), control="random")
    found = row(means([member, control], [Metric("score", "", better=better)], replicates=500))
    assert found["verdict"] == verdict


def test_members_that_differ_in_seeds_get_a_row_together() -> None:
    random = np.random.default_rng(0)
    level = [0.5, 0.7, 0.6]
    members = [
        measured(random.normal(each, 0.1, 100), member=f"a{i}", dictionary=str(i)) for i, each in enumerate(level)
    ]
    controls = [
        measured(random.normal(0.4, 0.1, 100), member=f"a{i}", dictionary=str(i), control="random") for i in range(3)
    ]
    table = means([*members, *controls], [SCORE], replicates=1000)
    found = row(table, level="configuration")
    seeds = np.array([member.values["score"].mean() for member in members])
    assert found["member"] is None
    assert found["mean"] == pytest.approx(seeds.mean())
    assert (found["seeds"], found["few_seeds"], found["method"], found["n"]) == (3, True, "percentile", 300)
    assert (found["seed_low"], found["seed_high"]) == pytest.approx(
        scipy.stats.t.interval(0.95, 2, seeds.mean(), scipy.stats.sem(seeds))
    )
    one = row(table, level="member", member="a0")
    assert found["high"] - found["low"] > 3 * (one["high"] - one["low"])  # seeds vary more than units do
    incomplete = means([*members, *controls[:2]], [SCORE], replicates=100)
    assert row(incomplete, level="configuration")["control"] is None
    p = np.array([row(table, level="member", member=f"a{i}")["p"] for i in range(3)])
    assert [row(table, level="member", member=f"a{i}")["p_holm"] for i in range(3)] == pytest.approx(holm(p).tolist())


def test_five_seeds_allow_bca_over_them() -> None:
    random = np.random.default_rng(0)
    members = [measured(random.normal(0.5, 0.1, 50), member=f"a{i}", dictionary=str(i)) for i in range(5)]
    found = row(means(members, [SCORE], replicates=300), level="configuration")
    assert (found["method"], found["few_seeds"]) == ("bca", False)


def test_dead_dictionaries_and_empty_controls_have_null_means() -> None:
    dead = measured(np.full(30, np.nan), density=np.zeros(30))
    nobody = measured(np.zeros(0), control="random")
    for table in (
        means([dead, nobody], [SCORE], replicates=50),
        means([measured(np.ones(30)), nobody], [SCORE], replicates=50),
    ):
        assert row(table)["control"] is None
        assert row(table)["delta"] is None
    found = row(means([dead, nobody], [SCORE], replicates=50))
    assert (found["mean"], found["low"], found["n"], found["dead"]) == (None, None, 0, 30)
    points = density_points([dead, nobody], [SCORE], replicates=50).to_pylist()
    assert {each["value"] for each in points} == {None}


def test_batches_of_metrics_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    names = ["a", "b", "c"]
    member = measured(np.zeros(60), values={name: random.random(60) for name in names}, token_r2=random.random(60))
    metrics = [Metric(name, "", better="higher") for name in names]
    whole = means([member], metrics, replicates=100)
    monkeypatch.setattr(sys.modules["actpipe.analysis.statistics.means"], "_ENTRIES", 1)
    again = means([member], metrics, replicates=100)
    assert again["metric"].to_pylist() == [name for name in names for _ in range(6)]
    for mine, theirs in zip(whole.to_pylist(), again.to_pylist(), strict=True):
        assert mine["metric"] == theirs["metric"]
        numbers = ("mean", "low", "high", "density_adjusted_low")
        assert [mine[name] for name in numbers] == pytest.approx([theirs[name] for name in numbers])


# Density


def test_a_curve_is_the_least_squares_spline() -> None:
    random = np.random.default_rng(0)
    density = 10 ** random.uniform(-4, -1, 300)
    density[:20] = 0
    table = random.random((300, 2)) + np.log10(np.maximum(density, 1e-9))[:, None]
    table[random.random(300) < 0.1, 1] = np.nan
    found = curve(density, table, points=(1e-3, 1e-2, 10**-3.999))
    fitted = found.statistic(found.sums.sum(0, keepdims=True)).reshape(3, 2)
    z = np.log10(density[20:])
    knots = np.quantile(z, [1 / 3, 2 / 3])

    def basis(at: np.ndarray) -> np.ndarray:
        return np.stack([np.ones_like(at), at, *(np.maximum(at - k, 0) for k in knots)], 1)

    for m in range(2):
        y = table[20:, m]
        here = np.isfinite(y)
        beta = np.linalg.lstsq(basis(z[here]), y[here], rcond=None)[0]
        np.testing.assert_allclose(fitted[:2, m], basis(np.array([-3.0, -2.0])) @ beta, rtol=1e-5)
    assert np.isnan(fitted[2]).all()  # no units beyond: nothing is extrapolated


def test_arms_that_differ_in_density_alone_agree_at_one_density() -> None:
    """The control fires more often, and its scores are those of its densities: its mean is higher, its curve is not."""
    random = np.random.default_rng(0)
    arms = []
    for control, (low, high) in ((None, (-4.5, -1.5)), ("dense", (-3.5, -0.5))):
        density = 10 ** random.uniform(low, high, 800)
        values = 0.5 + 0.1 * np.log10(density) + random.normal(0, 0.05, 800)
        arms.append(measured(values, density=density, control=control))
    table = density_points(arms, [SCORE], replicates=400)
    assert table.schema == DENSITY_POINTS
    for found, expected in zip(table.to_pylist(), (0.2, 0.3), strict=True):
        assert found["low"] < expected < found["high"]
        assert found["delta_low"] < 0 < found["delta_high"]
        assert found["n"] == 800
    assert row(means(arms, [SCORE], replicates=400))["delta_high"] < 0
    alone = density_points(arms[:1], [SCORE], replicates=50).to_pylist()
    assert [each["control"] for each in alone] == [None, None]
    assert alone[0]["delta"] is None


# Coverage


def test_the_difference_of_random_twins_covers_zero() -> None:
    """200 pairs of units from one skewed distribution whose mean moves with density: nothing was found, and in at most
    7 % of the cases the interval says otherwise."""
    random = np.random.default_rng(0)
    covered = 0
    for case in range(200):
        twins, density = [], 10 ** random.uniform(-4, -1, 150)  # matched, as random directions are
        for control in (None, "twin"):
            values = random.beta(2, 5, 150) + 0.1 * np.log10(density)
            twins.append(measured(values, density=density, control=control))
        found = row(means(twins, [SCORE], replicates=400, seed=case))
        covered += found["delta_low"] <= 0 <= found["delta_high"]
    assert covered >= 0.93 * 200


def test_the_difference_of_random_twins_with_seeds_covers_zero() -> None:
    """Eight seeds each, whose means vary more than their units explain."""
    random = np.random.default_rng(1)
    covered = 0
    for case in range(200):
        first, second = (
            replicated(
                [mean_of(random.normal(random.normal(0, 0.05), 0.1, 40), dictionary=str(i)) for i in range(8)],
                seed=case,
                stream=stream,
                replicates=800,
            )
            for stream in range(2)
        )
        accelerated = influence(without_each_seed(first.tops - second.tops)).acceleration
        differences = first.replicates - second.replicates
        low, high = bca(differences, first.value - second.value, accelerated, level=expanded(8))
        covered += int(low[0] <= 0 <= high[0])
    assert covered >= 0.93 * 200


def test_seeds_are_expanded_to_the_reach_of_student() -> None:
    """Where units do not vary, replicates are normal with variance (T − 1)/T · s²/T; the interval is Student's."""
    values = np.random.default_rng(0).normal(size=30)
    found = replicated(
        [mean_of(np.full(9, v), dictionary=f"{i:02}") for i, v in enumerate(values)], seed=0, replicates=20_000
    )
    mine, theirs = percentile(found.replicates, level=expanded(30)), student(values[:, None])
    assert mine.high[0] - mine.low[0] == pytest.approx(theirs.high[0] - theirs.low[0], rel=0.04)
    assert expanded(1) == 0.95
    assert expanded(6) == pytest.approx(1 - 2 * scipy.stats.norm.sf(np.sqrt(6 / 5) * scipy.stats.t.ppf(0.975, 5)))


# Corrections and tests


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    assert holm(p)[[0, 1, 3, 4]].tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(holm(p)[2])
    clean = p[[0, 1, 3, 4]]
    expected = scipy.stats.false_discovery_control(clean)
    assert benjamini_hochberg(p)[[0, 1, 3, 4]].tolist() == pytest.approx(expected.tolist())
    assert benjamini_hochberg(np.array([0.9, 0.8])).tolist() == [0.9, 0.9]
    assert len(holm(np.array([]))) == 0


def test_holm_keeps_the_family_at_the_level() -> None:
    p = np.random.default_rng(0).random((2000, 10))
    false = [bool((holm(family) < 0.05).any()) for family in p]
    assert 0.03 < np.mean(false) < 0.065


def test_small_differences_are_equivalent_and_unknown_ones_are_not() -> None:
    random = np.random.default_rng(0)
    differences = random.normal([0.0, 0.03, 0.0], [0.005, 0.005, 0.03], size=(4000, 3))
    found = tost(differences)
    assert found.p[0] < 0.05 < found.p[1]
    assert found.p[2] > 0.05  # not significantly different, and not equivalent either
    inside = (found.low > -0.02) & (found.high < 0.02)
    np.testing.assert_array_equal(inside, found.p < 0.05)
    a, b = random.normal(0.5, 0.001, 6), random.normal(0.5, 0.001, 6)
    assert tost_means(a, b) < 0.001
    assert tost_means(a, b + 0.02) > 0.2


def test_p_values_of_nothing_are_uniform() -> None:
    random = np.random.default_rng(0)
    replicates = random.normal(size=(1999, 300)) + random.normal(size=300)
    assert scipy.stats.kstest(two_sided_p(replicates), "uniform").pvalue > 0.01


def test_a_score_stands_beside_draws_of_its_null() -> None:
    drawn = np.random.default_rng(0).normal(0.2, 0.05, (20, 3))
    drawn[:, 2] = np.nan
    found = against_null(np.array([0.9, 0.2, 0.5]), drawn)
    assert found.p[0] == pytest.approx(1 / 21)
    assert found.z[0] == pytest.approx((0.9 - drawn[:, 0].mean()) / drawn[:, 0].std(ddof=1))
    assert abs(found.z[1]) < 1
    assert np.isnan(found.p[2])


def test_the_null_of_a_unit_is_that_of_units_that_fire_as_often() -> None:
    of_null = 10.0 ** np.linspace(-5, -1, 400)
    np.random.default_rng(0).shuffle(of_null)
    density = np.array([1e-5, 1e-3, 1e-1])
    found = of_null[nearest_in_density(density, of_null)]
    assert found.shape == (100, 3)
    assert all(len(set(column)) == 100 for column in found.T)
    assert (found[:, 0].max(), found[:, 2].min()) == (np.sort(of_null)[99], np.sort(of_null)[300])
    assert (found[:, 1] < 1e-3).sum() == pytest.approx(50, abs=1)
    assert nearest_in_density(density, of_null[:7]).shape == (7, 3)


# The pipeline


def test_the_variance_of_factors_is_recovered() -> None:
    random = np.random.default_rng(0)
    unit, judge, draw = (random.normal(0, s, n) for s, n in ((0.3, 400), (0.1, 60), (0.0, 4)))
    scores = unit[:, None, None] + judge[:, None] + draw + random.normal(0, 0.05, (400, 60, 4))
    found = components(scores, ("unit", "judge", "draw"))
    assert found.factors["unit"] == pytest.approx(0.09, rel=0.2)
    assert found.factors["judge"] == pytest.approx(0.01, rel=0.5)
    assert found.factors["draw"] == pytest.approx(0, abs=1e-4)
    assert found.residual == pytest.approx(0.0025, rel=0.05)
    assert sum(found.shares.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="complete table"):
        components(np.array([[1.0, np.nan]]), ("unit", "judge"))


def test_ranks_that_hold_and_ranks_that_do_not() -> None:
    random = np.random.default_rng(0)
    score = random.integers(0, 20, 500).astype(float)
    noisy = score + random.normal(0, 5, 500)
    assert spearman(score, noisy) == pytest.approx(scipy.stats.spearmanr(score, noisy).statistic)
    same = rank_stability(score, score, k=50)
    assert (same.overlap, same.overlap_chance) == (1, 0.1)
    assert same.spearman == pytest.approx(1)
    score[:100] = np.nan
    apart = rank_stability(score, random.normal(size=500), k=50)
    assert apart.n == 400
    assert apart.overlap == pytest.approx(apart.overlap_chance, abs=0.12)
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_sums_share_denominators_of_metrics_that_are_defined_together() -> None:
    values = np.random.default_rng(0).random(50)
    member = measured(values, values={"a": values, "b": values**2, "c": np.where(values > 0.5, values, np.nan)})
    table = member.table(["a", "b", "c"])
    found = layout(table)
    assert found.patterns == 2
    target = reference([member.density])
    sums = sums_over_units(member, table, found, target)
    assert sums.shape[1] == 6 * 3 + 6 * 2 + 6 + 3 * 3 + 3 * 2
    assert found.averages(sums.sum(0, keepdims=True), np.zeros((2, 3, 3))).plain[0, 0, 0] == pytest.approx(
        np.nanmean(table, axis=0)
    )
    assert counts(member, table, target).undefined[0, 0].tolist() == [0, 0, (values <= 0.5).sum()]
