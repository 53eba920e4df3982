"""Agreement statistics: by hand, against scikit-learn, and under the sanity checks of NeuronEval (2506.05774)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from actpipe.analysis import agreement

RANDOM = np.random.default_rng(0)


def a_sample(n: int = 4000, density: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fires = RANDOM.random(n) < density
    activation = fires * RANDOM.exponential(size=n)
    prediction = np.where(RANDOM.random(n) < 0.8, fires, RANDOM.random(n) < 0.1).astype(float)
    return activation, prediction, RANDOM.exponential(size=n)


def test_confusion_by_hand() -> None:
    fires = np.array([1, 1, 0, 0, 0], bool)
    predicted = np.array([1, 0, 1, 0, 0], bool)
    found = agreement.confusion(fires, predicted, [1, 1, 2, 1, 1])
    assert [float(x) for x in found] == [1, 2, 1, 2]
    assert agreement.tpr(found) == 0.5
    assert agreement.fpr(found) == 0.5
    assert agreement.precision(found) == pytest.approx(1 / 3)
    assert agreement.f1(found) == pytest.approx(2 / 5)
    assert agreement.iou(found) == pytest.approx(1 / 4)
    assert agreement.balanced_accuracy(found) == 0.5


def test_statistics_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, jaccard_score

    activation, prediction, w = a_sample()
    fires, said = activation > 0, prediction > 0
    found = agreement.confusion(fires, said, w)
    assert agreement.f1(found) == pytest.approx(f1_score(fires, said, sample_weight=w))
    assert agreement.iou(found) == pytest.approx(jaccard_score(fires, said, sample_weight=w))
    assert agreement.balanced_accuracy(found) == pytest.approx(balanced_accuracy_score(fires, said, sample_weight=w))
    graded = np.round(prediction + RANDOM.normal(size=len(prediction)), 1)  # many ties
    expected = average_precision_score(fires, graded, sample_weight=w)
    assert agreement.average_precision(fires, graded, w) == pytest.approx(expected)


def test_weights_are_repetitions() -> None:
    activation, prediction, _ = a_sample(500)
    times = RANDOM.integers(0, 4, size=500)
    a, c = np.repeat(activation, times), np.repeat(prediction, times)
    assert agreement.pearson(activation, prediction, times) == pytest.approx(np.corrcoef(a, c)[0, 1])
    assert agreement.cosine(activation, prediction, times) == pytest.approx(a @ c / np.sqrt((a @ a) * (c @ c)))
    weighted = agreement.average_precision(activation > 0, prediction, times)
    assert weighted == pytest.approx(agreement.average_precision(a > 0, c))


def test_columns_are_scored_side_by_side() -> None:
    samples = [a_sample(300) for _ in range(3)]
    a, c = (np.stack([s[i] for s in samples], axis=1) for i in (0, 1))
    w = samples[0][2]
    for i in range(3):
        assert agreement.pearson(a, c, w)[i] == pytest.approx(agreement.pearson(a[:, i], c[:, i], w))
        one, all_ = agreement.confusion(a[:, i] > 0, c[:, i], w), agreement.confusion(a > 0, c, w)
        assert agreement.f1(all_)[i] == pytest.approx(agreement.f1(one))


def test_a_large_offset_does_not_cost_the_correlation_its_digits() -> None:
    a = np.array([0.0, 1.0, 2.0, 4.0])
    assert agreement.pearson(a + 1e7, a) == pytest.approx(1, abs=1e-7)


# TPR 0.7 and FPR 0.02 (analysis.md 2.4): F1 and φ at four densities, while balanced accuracy stays at 0.84.
@pytest.mark.parametrize(("density", "f1", "phi"), [(0.1, 0.745, 0.72), (0.01, 0.38, 0.42), (0.001, 0.065, 0.15)])
def test_prevalence_moves_f1_and_correlation_and_the_standard_takes_that_out(
    density: float, f1: float, phi: float
) -> None:
    fires = np.array([True, True, False, False])
    said = np.array([True, False, True, False])
    w = [0.7 * density, 0.3 * density, 0.02 * (1 - density), 0.98 * (1 - density)]
    found = agreement.confusion(fires, said, w)
    assert agreement.f1(found) == pytest.approx(f1, abs=0.005)
    assert agreement.pearson(fires, said, w) == pytest.approx(phi, abs=0.005)
    assert agreement.balanced_accuracy(found) == pytest.approx(0.84)
    at = agreement.standard_weights(fires, w)
    standard = agreement.standard_f1(agreement.tpr(found), agreement.fpr(found))
    assert standard == pytest.approx(2 * 0.007 / (2 * 0.007 + 0.003 + 0.02 * 0.99))  # by hand: TP, FN, FP of 1
    assert standard == pytest.approx(agreement.f1(agreement.confusion(fires, said, at)))
    phi_standard = agreement.standard_phi(agreement.tpr(found), agreement.fpr(found))
    assert phi_standard == pytest.approx(agreement.pearson(fires, said, at))


def test_standard_correlation_of_graded_values_is_that_of_the_reweighted_rows() -> None:
    activation, prediction, w = a_sample()
    graded = prediction * RANDOM.random(len(prediction))
    on = activation > 0
    from_moments = agreement.standard_pearson(
        agreement.moments(activation[on], graded[on], w[on]), agreement.moments(activation[~on], graded[~on], w[~on])
    )
    assert from_moments == pytest.approx(agreement.pearson(activation, graded, agreement.standard_weights(on, w)))


def test_what_is_undefined_is_nan_and_silence_is_zero() -> None:
    nothing, something = np.zeros(4, bool), np.array([1, 0, 0, 0], bool)
    assert np.isnan(agreement.tpr(agreement.confusion(nothing, something)))
    assert np.isnan(agreement.pearson(something, nothing))
    assert np.isnan(agreement.average_precision(nothing, something))
    assert agreement.standard_f1(0, 0) == 0
    assert np.isnan(agreement.standard_f1(np.nan, 0))
    assert np.isnan(agreement.wilson(0.5, 0)[0])


def test_average_precision_above_chance_is_zero_for_a_constant() -> None:
    fires = np.arange(10) < 3
    assert agreement.above_chance(agreement.average_precision(fires, np.ones(10)), 0.3) == pytest.approx(0)
    assert agreement.above_chance(1.0, 0.3) == 1


def test_intervals() -> None:
    low, high = agreement.wilson([0.5, 0.0], [10, 100])  # of the literature: 5 of 10 is 0.237 to 0.763
    assert (low[0], high[0]) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert (low[1], high[1]) == pytest.approx((0, 0.0370), abs=1e-4)
    assert agreement.rule_of_three(2000) == pytest.approx(0.0015)
    assert agreement.rule_of_three(2) == 1
    assert agreement.standard_f1(1, agreement.rule_of_three(2000)) == pytest.approx(0.93, abs=0.005)
    assert agreement.effective_n(np.ones(7)) == pytest.approx(7)
    assert agreement.effective_n([1, 1, 0, 0]) == pytest.approx(2)


Statistic = Callable[[np.ndarray, np.ndarray], float]
PRIMARY: dict[str, Statistic] = {
    "pearson": lambda a, c: float(agreement.pearson(a, c)),
    "cosine": lambda a, c: float(agreement.cosine(a, c)),
    "average precision": lambda a, c: agreement.average_precision(a > 0, c),
    "f1": lambda a, c: float(agreement.f1(agreement.confusion(a > 0, c))),
    "iou": lambda a, c: float(agreement.iou(agreement.confusion(a > 0, c))),
    "standard f1": lambda a, c: float(
        agreement.standard_f1(*(rate(agreement.confusion(a > 0, c)) for rate in (agreement.tpr, agreement.fpr)))
    ),
}


def balanced_accuracy(a: np.ndarray, c: np.ndarray) -> float:
    return float(agreement.balanced_accuracy(agreement.confusion(a > 0, c)))


def drops(statistic: Statistic, density: float) -> dict[str, float]:
    """By how much the score of a right explanation falls when half of its labels are missing, or as many are added."""
    random = np.random.default_rng(1)
    n = 200_000
    concept = random.random(n) < density
    activation = concept * random.exponential(size=n) + (random.random(n) < density / 20)
    missing = concept & (random.random(n) < 0.5)
    extra = concept | (random.random(n) < density)
    right = statistic(activation, concept)
    return {name: 1 - statistic(activation, c) / right for name, c in (("missing", missing), ("extra", extra))}


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("name", PRIMARY)
def test_primary_statistics_notice_missing_and_extra_labels(name: str, density: float) -> None:
    found = drops(PRIMARY[name], density)
    assert min(found.values()) > 0.02, found


def test_balanced_accuracy_does_not_notice_extra_labels() -> None:
    assert drops(balanced_accuracy, 0.001)["missing"] > 0.02
    assert drops(balanced_accuracy, 0.001)["extra"] < 0.002
