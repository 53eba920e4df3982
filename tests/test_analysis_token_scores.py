"""Token scores by hand on small numbers, and against what they promise: 1 for a function of the token, 0 for noise."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis.activity import Activity
from actpipe.analysis.token_scores import TokenScores, token_scores, top_tokens
from actpipe.analysis.token_sums import TokenSums

from .token_totals import totals


def scores_of(values: np.ndarray, tokens: np.ndarray, vocabulary: int) -> TokenScores:
    """Of dense activations [rows, units], without any of the streaming code but the sums."""
    row, unit = np.nonzero(values)
    activity = Activity(values.shape[1])
    activity.rows = len(values)
    activity.count = (values > 0).sum(axis=0)
    activity.power_sums = np.stack([(values.astype(np.float64) ** k).sum(axis=0) for k in (1, 2, 3, 4)])
    sums = TokenSums(vocabulary)
    sums.add(*totals(unit, tokens[row], values[row, unit], vocabulary))
    return token_scores(sums.pairs(), activity, np.bincount(tokens, minlength=vocabulary))


def test_entropy_purity_and_specificity_by_hand() -> None:
    """Masses 2, 1, 1 on tokens 0, 1, 2 in four firings; the corpus has token 0 half of the time."""
    tokens = np.array([0, 0, 1, 2, 0, 0, 3, 3])
    values = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=np.float32)[:, None]
    scores = scores_of(values, tokens, vocabulary=5)
    # −(½ log ½ + 2 · ¼ log ¼) = 1.5 bits; Miller and Madow add (3 − 1)/(2 · 4 · ln 2); four tokens occur, so at most 2.
    assert scores.token_entropy[0] == pytest.approx(1.5 + 0.25 / np.log(2))
    assert scores.effective_tokens[0] == pytest.approx(2 ** (1.5 + 0.25 / np.log(2)))
    assert scores.purity[0] == 0.5
    assert scores.distinct_tokens[0] == 3
    # ½ log(½ / ½) + 2 · ¼ log(¼ / ⅛) = ½ bit
    assert scores.specificity[0] == pytest.approx(0.5)


def test_entropy_never_exceeds_that_of_all_tokens() -> None:
    scores = scores_of(np.ones((4, 1), dtype=np.float32), np.arange(4), vocabulary=4)
    assert scores.token_entropy[0] == 2.0


def test_r2_by_hand() -> None:
    """Activations 2, 0 | 1, 1 on two tokens: variance about the mean 1 is 2 in all, and none of it between tokens."""
    values = np.array([2, 0, 1, 1], dtype=np.float32)[:, None]
    scores = scores_of(values, np.array([0, 0, 1, 1]), vocabulary=2)
    assert scores.token_r2_raw[0] == pytest.approx(0)
    assert scores.token_r2[0] == pytest.approx(1 - 3 / 2)  # (N − 1)/(N − V) = 3/2


def test_r2_is_one_for_a_function_of_the_token() -> None:
    tokens = np.random.default_rng(0).integers(0, 50, size=4000)
    values = np.maximum(np.random.default_rng(1).normal(size=(50, 3)), 0)[tokens].astype(np.float32)
    scores = scores_of(values, tokens, vocabulary=50)
    np.testing.assert_allclose(scores.token_r2, 1, atol=1e-9)
    np.testing.assert_allclose(scores.token_r2_raw, 1, atol=1e-9)


@pytest.mark.parametrize("density", [0.5, 0.02])
def test_corrected_r2_is_zero_on_average_for_noise_where_the_raw_one_is_not(density: float) -> None:
    random = np.random.default_rng(2)
    n, vocabulary, units = 2000, 400, 300
    tokens = random.integers(0, vocabulary, size=n)
    values = (random.exponential(size=(n, units)) * (random.random((n, units)) < density)).astype(np.float32)
    scores = scores_of(values, tokens, vocabulary)
    error = scores.token_r2.std() / np.sqrt(units)
    assert abs(scores.token_r2.mean()) < 4 * error
    assert scores.token_r2_raw.mean() == pytest.approx((vocabulary - 1) / (n - 1), rel=0.05)


def test_r2_equals_the_analysis_of_variance() -> None:
    """Between-token over total sum of squares, computed the textbook way."""
    random = np.random.default_rng(4)
    tokens = random.integers(0, 7, size=500)
    values = np.maximum(random.normal(size=500) + tokens / 4 - 1, 0).astype(np.float32)
    means = np.array([values[tokens == token].mean() for token in range(7)])
    explained = ((means[tokens] - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum()
    assert scores_of(values[:, None], tokens, 7).token_r2_raw[0] == pytest.approx(explained, rel=1e-5)


def test_scores_are_undefined_where_they_mean_nothing() -> None:
    constant = np.ones((6, 1), dtype=np.float32)
    dead = np.zeros((6, 1), dtype=np.float32)
    tokens = np.array([0, 1, 0, 1, 2, 2])
    scores = scores_of(np.hstack([constant, dead]), tokens, vocabulary=3)
    assert np.isnan(scores.token_r2).all()
    assert np.isnan(scores.token_entropy).tolist() == [False, True]
    assert np.isnan(scores.purity).tolist() == [False, True]
    every_token_once = scores_of(constant, np.arange(6), vocabulary=6)
    assert np.isnan(every_token_once.token_r2[0])


def test_top_tokens_are_the_heaviest_in_order_and_ties_go_to_the_smaller_id() -> None:
    sums = TokenSums(vocabulary=100)
    token = np.arange(60)
    sums.add(token, np.where(token < 3, 5, 60 - token).astype(np.float64))
    sums.add(np.array([207, 208]), np.array([1.0, 3.0]))
    tokens, shares = top_tokens(sums.pairs(), n_units=3)
    assert tokens[0].tolist() == list(range(3, 13))
    assert shares[0][0] == pytest.approx(57 / (15 + sum(range(1, 58))))
    assert tokens[1].tolist() == []
    assert (tokens[2].tolist(), shares[2].tolist()) == ([8, 7], [0.75, 0.25])
    tied = TokenSums(vocabulary=100)
    tied.add(token, np.ones(60))
    assert top_tokens(tied.pairs(), n_units=1)[0][0].tolist() == list(range(10))
