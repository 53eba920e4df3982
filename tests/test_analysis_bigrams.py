"""What the token and the one before it decide: closed forms, brute force, chance, and units that fire too often."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis.scores import Subject
from actpipe.analysis.scores.bigrams import Bigrams, buckets
from actpipe.analysis.scores.thinned_firings import ThinnedFirings, levels
from tests.planted_units import gathered, scored, subject_of, text_store

CONTEXT = 32
N = 600 * CONTEXT


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 12, (600, CONTEXT)).astype(np.int32)
    documents = (np.arange(tokens.size) // 50).reshape(tokens.shape).astype(np.int32)
    mask = rng.random(tokens.shape) > 0.03
    return subject_of(text_store(tmp_path_factory.mktemp("bigrams") / "store", tokens, documents, mask), 5)


@pytest.fixture(scope="module")
def groups(subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By a loop over the rows: counted, token, and number of the bigram."""
    store = subject.corpus.store
    counted, token, bigram = store.mask[:].ravel(), store.tokens[:].ravel().astype(int), np.zeros(N, int)
    doc = store.doc[:].ravel()
    for row in range(N):
        follows = row % CONTEXT > 0 and counted[row - 1] and doc[row - 1] == doc[row]
        bigram[row] = token[row] * 13 + (token[row - 1] if follows else 12)
    return counted, token, bigram


@pytest.fixture(scope="module")
def codes(groups: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """A function of the token, one of the bigram, neither, half of the bigram's, nothing; all below 4,096 firings."""
    counted, token, bigram = groups
    rng = np.random.default_rng(1)
    of_token = (token == 3) * 2.0 + (token == 5) * 0.5
    of_bigram = np.isin(bigram, [3 * 13 + 4, 7 * 13 + 1]) * 1.5
    chance = (rng.random(N) < 0.05) * rng.random(N)
    half = of_bigram * (rng.random(N) < 0.5)
    columns = (of_token * (np.arange(N) < N // 2), of_bigram, chance, half, np.zeros(N))
    return (np.stack(columns, axis=1) * counted[:, None]).astype(np.float32)


def by_hand(a: np.ndarray, group: np.ndarray) -> float:
    """1 − residual variance around the groups' means over total variance, with degrees of freedom."""
    residual = sum(((a[group == g] - a[group == g].mean()) ** 2).sum() for g in np.unique(group))
    return 1 - (residual / (len(a) - len(np.unique(group)))) / (((a - a.mean()) ** 2).sum() / (len(a) - 1))


@pytest.mark.parametrize("parts", [1, 4])
def test_both_r2_equal_brute_force(
    subject: Subject, groups: tuple[np.ndarray, np.ndarray, np.ndarray], codes: np.ndarray, parts: int
) -> None:
    counted, token, bigram = groups
    columns = scored(Bigrams(), subject, codes, parts=parts).columns
    for unit in range(4):
        a = codes[counted, unit].astype(float)
        assert columns["token_share"][unit] == pytest.approx(by_hand(a, token[counted]), abs=1e-9)
        assert columns["bigram_r2"][unit] == pytest.approx(by_hand(a, bigram[counted]), abs=1e-9)
    assert all(np.isnan(values[4]) for values in columns.values())  # it never fires


def test_shares_say_what_was_planted_and_sum_to_one(subject: Subject, codes: np.ndarray) -> None:
    columns = scored(Bigrams(), subject, codes).columns
    total = columns["token_share"] + columns["bigram_gain"] + columns["context_share"]
    np.testing.assert_allclose(total[:4], 1)
    assert columns["bigram_r2"][1] == pytest.approx(1)
    assert columns["bigram_gain"][1] > 0.8
    assert abs(columns["bigram_r2"][2]) < 0.02
    assert 0.4 < columns["context_share"][3] < 0.6


def test_a_unit_that_fires_too_often_is_measured_on_some_sequences_and_stays_unbiased(subject: Subject) -> None:
    """Of N = 19,200 rows it fires on a third; looked at on the sequences on which it fires at most 4,096 times."""
    counted = subject.corpus.store.mask[:].ravel()
    token = subject.corpus.store.tokens[:].ravel()
    rng = np.random.default_rng(3)
    dense = (token % 3 == 0) + 0.5 * rng.random(N) * (token % 3 == 0)
    noise = rng.random(N) * (rng.random(N) < 0.4)
    codes = (np.stack([dense, noise, dense, noise, noise], axis=1) * counted[:, None]).astype(np.float32)
    kept = gathered([Bigrams().gather(subject)], subject, codes)
    assert isinstance(kept, ThinnedFirings)
    assert (kept.firings() <= 4096).all()
    assert (kept.floor >= 1).all()
    firings = kept.kept()
    for unit, floor in enumerate(kept.floor):  # every firing of its sequences is there, and no other
        sequence = np.repeat(levels(np.arange(600), subject.seed) >= floor, CONTEXT)
        np.testing.assert_array_equal(
            firings.row[firings.unit == unit], np.flatnonzero(sequence & (codes[:, unit] > 0))
        )
    columns = scored(Bigrams(), subject, codes).columns
    whole = [by_hand(codes[counted, unit].astype(float), token[counted]) for unit in range(5)]
    np.testing.assert_allclose(columns["token_share"], whole, atol=0.03)
    again = scored(Bigrams(), subject, codes, parts=4, sequences=9).columns
    for name, values in columns.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-12, err_msg=name)


def test_bigrams_share_a_bucket_only_by_chance() -> None:
    """8,000 pairs in 2^20 buckets: about 8000²/2²¹ = 31 meet."""
    pairs = np.stack([np.repeat(np.arange(80), 100), np.tile(np.arange(-1, 99), 80)], axis=1).astype(np.int32)
    distinct = len(np.unique(buckets(pairs, 1000)))
    assert 8000 - 60 < distinct <= 8000 - 10
