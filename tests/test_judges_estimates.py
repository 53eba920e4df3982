"""Judged windows → numbers of the whole text: by hand, against plain loops, and on a text that is known in full."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis import agreement
from actpipe.analysis.judges import estimates
from actpipe.analysis.judges.estimates import Judged, Measure
from actpipe.analysis.judges.means import means


def judged(said: list[float], fires: list[int], weight: list[float], stratum: list[int] | None = None) -> Judged:
    return Judged(
        said=np.array(said),
        fires=np.array(fires, bool),
        activation=np.array(fires, float),
        weight=np.array(weight, float),
        stratum=np.array(stratum or fires),
    )


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    return {m.metric: m for m in measures}


def test_rates_are_weighted_by_hand() -> None:
    """Of positives worth 1 + 3, the 3 are found; of silent ones worth 10 + 10 + 80, 10 are accused."""
    found = by_name(estimates.detection(judged([0.2, 0.9, 0.8, 0.1, 0.1], [1, 1, 0, 0, 0], [1, 3, 10, 10, 80]), seed=0))
    assert found["tpr"].value == pytest.approx(3 / 4)
    assert found["fpr"].value == pytest.approx(10 / 100)
    assert found["balanced_accuracy"].value == pytest.approx((0.75 + 0.9) / 2)
    hits, false = 0.01 * 0.75, 0.99 * 0.1
    assert found["f1_std"].value == pytest.approx(2 * hits / (hits + false + 0.01))
    # Pairs (positive, silent) in order: 1·(20 above 0.1, not 10 below 0.8: 90) + 3·100, of 4·100.
    assert found["auroc"].value == pytest.approx((1 * 90 + 3 * 100) / 400)
    assert all(m.n == 5 and m.failed == 0 for m in found.values())


def test_ties_are_halves_and_failures_are_counted() -> None:
    assert estimates.decided(np.array([0.4, 0.5, 0.6])).tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(estimates.decided(np.array([np.nan]))).all()
    found = by_name(estimates.detection(judged([np.nan, 0.5, 0.5], [1, 1, 0], [5, 1, 1]), seed=0))
    assert found["auroc"].value == found["tpr"].value == 0.5
    assert (found["tpr"].n, found["tpr"].failed) == (3, 1)
    nothing = estimates.detection(judged([np.nan, np.nan], [1, 0], [1, 1]), seed=0)
    assert all(np.isnan(m.value) and m.failed == m.n == 2 for m in nothing)


def test_all_draws_at_once_equal_one_at_a_time() -> None:
    draw = np.random.default_rng(0)
    of = judged(
        (draw.integers(0, 6, 60) / 5).tolist(),
        (draw.random(60) < 0.4).astype(int).tolist(),
        (1 + draw.random(60)).tolist(),
    )
    weights = of.weight[:, None] * draw.integers(0, 3, (60, 20))
    plain = [agreement.average_precision(of.fires, of.said, w) for w in weights.T]
    share = [w[of.fires].sum() / w.sum() for w in weights.T]
    assert estimates._average_precision(of, weights) == pytest.approx(agreement.above_chance(plain, share))
    pairs = [
        sum(
            w[i] * w[j] * (1.0 if of.said[i] > of.said[j] else 0.5 if of.said[i] == of.said[j] else 0.0)
            for i in np.flatnonzero(of.fires)
            for j in np.flatnonzero(~of.fires)
        )
        / (w[of.fires].sum() * w[~of.fires].sum())
        for w in weights.T
    ]
    assert estimates._auroc(of.fires, of.said, weights) == pytest.approx(pairs)


def test_a_stratified_sample_says_what_the_whole_text_says() -> None:
    """200,000 windows, a unit on 0.5 % of them; 30 + 50 judged windows. Means of 300 samples lie within 3 standard
    errors of the truth, and intervals hold it as often as they should."""
    draw = np.random.default_rng(1)
    n, strength = 200_000, draw.random(200_000)
    fires = draw.random(n) < 0.005
    # The judge finds strong firings better than weak ones, so the deciles matter.
    said = np.where(fires, draw.random(n) < 0.4 + 0.5 * strength, draw.random(n) < 0.1).astype(float)
    positives, silent = np.flatnonzero(fires), np.flatnonzero(~fires)
    deciles = np.array_split(positives[np.argsort(strength[positives])], 10)
    truth = {"tpr": said[fires].mean(), "fpr": said[~fires].mean()}
    found: dict[str, list[Measure]] = {"tpr": [], "fpr": []}
    for i in range(300):
        chosen = [draw.choice(d, 3, replace=False) for d in deciles] + [draw.choice(silent, 50, replace=False)]
        sizes = [len(d) / 3 for d in deciles] + [len(silent) / 50]
        rows = np.concatenate(chosen)
        of = Judged(
            said=said[rows],
            fires=fires[rows],
            activation=strength[rows] * fires[rows],
            weight=np.repeat(sizes, [len(c) for c in chosen]),
            stratum=np.repeat(np.arange(11), [len(c) for c in chosen]),
        )
        measures = by_name(estimates.detection(of, seed=i))
        for name, of_name in found.items():
            of_name.append(measures[name])
    for name, measured in found.items():
        values = np.array([m.value for m in measured])
        assert abs(values.mean() - truth[name]) < 3 * values.std() / np.sqrt(len(values))
        held = np.mean([m.low <= truth[name] <= m.high for m in measured])
        assert 0.8 < held <= 1.0, name


def test_no_false_alarm_in_thirty_windows_is_no_proof_of_none() -> None:
    """3 / 30 = 0.1 may be false: at one firing window in a hundred that is an F1 of 0.17."""
    of = judged([1.0] * 10 + [0.0] * 30, [1] * 10 + [0] * 30, [1.0] * 40)
    found = by_name(estimates.detection(of, seed=0))
    assert (found["fpr"].value, found["fpr"].low, found["fpr"].high) == (0, 0, pytest.approx(0.1))
    assert (found["f1_std"].value, found["f1_std"].high) == (1, 1)
    assert found["f1_std"].low == pytest.approx(0.02 / (0.01 + 0.099 + 0.01))
    assert found["balanced_accuracy"].low == pytest.approx(0.95)


def test_forced_choices_have_wilsons_interval() -> None:
    found = estimates.share("accuracy", np.array([1.0, 1.0, 1.0, 0.0, np.nan]))
    low, high = agreement.wilson(0.75, 4)
    assert (found.value, found.n, found.failed) == (0.75, 5, 1)
    assert (found.low, found.high) == (pytest.approx(float(low)), pytest.approx(float(high)))
    assert np.isnan(estimates.share("accuracy", np.zeros(0)).value)


def test_correlation_is_over_all_tokens_at_once() -> None:
    """Two windows in which prediction and truth are constant: no correlation inside either, a perfect one together."""
    low, high = np.zeros(4), np.ones(4)
    found = estimates.concatenated_pearson("pearson", [low, high], [low, 10 * high], seed=0)
    assert found.value == pytest.approx(1.0)
    assert np.isnan(estimates.concatenated_pearson("pearson", [low], [low], seed=0).value)
    failed = estimates.concatenated_pearson("pearson", [low, high, low], [low, 10 * high, low * np.nan], seed=0)
    assert (failed.n, failed.failed) == (3, 1)


def test_an_explanation_that_is_too_broad_or_too_narrow_loses_the_standard_f1() -> None:
    """NeuronEval's two checks. The unit fires on 100 windows of 10,000; broad: 300 more are claimed; narrow: half."""
    fires = np.arange(10_000) < 100
    weight = np.ones(10_000)

    def scored(said: np.ndarray, name: str) -> float:
        of = Judged(said.astype(float), fires, fires * 1.0, weight, fires.astype(np.int64))
        return by_name(estimates.detection(of, seed=0))[name].value

    exact, broad, narrow = fires, np.arange(10_000) < 400, np.arange(10_000) < 50
    assert scored(exact, "f1_std") == 1.0
    assert scored(broad, "f1_std") < 0.5
    assert scored(narrow, "f1_std") < 0.7
    assert scored(broad, "balanced_accuracy") > 0.98  # blind to it, and so secondary


def test_means_of_nothing_are_nothing() -> None:
    assert means([], seed=0) == []
