"""Where units fire: against counting by hand, and at chance where nothing is there to find."""

from __future__ import annotations

import numpy as np
import pytest

from actpipe.analysis.scores import Scored, Subject
from actpipe.analysis.scores.positions import BINS, FOLLOWS, Positions, position_bits

from .planted_units import scored, subject_of, text_store

CONTEXT, SEQUENCES = 64, 300
EVEN, EARLY, FIRST, PAIRED, DEAD, ALWAYS, RARE, REGULAR = range(8)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Documents of 50 to 200 tokens across sequences; in every fourth sequence the first token does not count."""
    rng = np.random.default_rng(0)
    doc = np.repeat(np.arange(400), rng.integers(50, 200, 400))[: SEQUENCES * CONTEXT].reshape(-1, CONTEXT)
    mask = np.ones(doc.shape, bool)
    mask[::4, 0] = False
    tokens = rng.integers(0, 100, doc.shape).astype(np.int32)
    return subject_of(text_store(tmp_path_factory.mktemp("text") / "s", tokens, doc.astype(np.int32), mask), 8)


@pytest.fixture(scope="module")
def codes(subject: Subject) -> np.ndarray:
    rng = np.random.default_rng(1)
    n_rows = SEQUENCES * CONTEXT
    position = np.arange(n_rows) % CONTEXT
    fires = np.zeros((n_rows, 8), bool)
    fires[:, EVEN] = rng.random(n_rows) < 0.05
    fires[:, EARLY] = (position < 8) & (rng.random(n_rows) < 0.5)
    fires[:, FIRST] = position == np.where(np.arange(n_rows) // CONTEXT % 4 == 0, 1, 0)
    starts = rng.random(n_rows) < 0.01
    fires[:, PAIRED] = starts | np.roll(starts, 3)
    fires[:, ALWAYS] = True
    fires[[700, 9000], RARE] = True
    fires[::20, REGULAR] = True
    return fires.astype(np.float32)


@pytest.fixture(scope="module")
def found(subject: Subject, codes: np.ndarray) -> Scored:
    return scored(Positions(), subject, codes.copy())


def test_histograms_and_documents_are_those_counted_by_hand(subject: Subject, codes: np.ndarray, found: Scored) -> None:
    store = subject.corpus.store
    fires = (codes > 0) & store.mask.reshape(-1, 1)
    position = np.arange(len(codes)) % CONTEXT
    for unit in range(8):
        bins = [int(fires[position // 4 == b, unit].sum()) for b in range(BINS)]
        assert found.tables["positions"]["bins"][unit].as_py() == bins
        documents = len(set(store.doc.reshape(-1)[fires[:, unit]]))
        assert found.columns["documents"][unit] == documents
        if documents:
            assert found.columns["firings_per_document"][unit] == sum(bins) / documents


def test_burstiness_is_the_excess_over_independent_firings(subject: Subject, codes: np.ndarray, found: Scored) -> None:
    store = subject.corpus.store
    document, mask = store.doc.reshape(-1), store.mask.reshape(-1)
    for unit in (EVEN, PAIRED):
        fires = (codes[:, unit] > 0) & mask
        free = followed = 0
        for row in np.flatnonzero(fires):
            after = np.arange(row + 1, row + 1 + FOLLOWS)
            if row % CONTEXT + FOLLOWS < CONTEXT and (document[after] == document[row]).all() and mask[after].all():
                free, followed = free + 1, followed + bool(fires[after].any())
        chance = 1 - (1 - fires.sum() / mask.sum()) ** FOLLOWS
        assert found.columns["burstiness"][unit] == pytest.approx((followed / free - chance) / (1 - chance))
    burstiness = found.columns["burstiness"]
    assert abs(burstiness[EVEN]) < 0.05
    assert 0.4 < burstiness[PAIRED] < 0.6
    assert burstiness[REGULAR] == pytest.approx(-(1 - 0.95**16) / 0.95**16, rel=0.02)  # never within 16


def test_position_tells_about_firing_only_where_it_does(found: Scored) -> None:
    share, flag = found.columns["position_share"], found.columns["positional"]
    assert abs(share[EVEN]) < 0.01
    assert share[EARLY] > 0.4
    assert found.columns["first_token_share"][FIRST] == 1
    np.testing.assert_array_equal(flag[[EVEN, EARLY, FIRST, PAIRED]], [0, 1, 1, 0])


def test_information_is_that_of_the_table_of_counts_less_chance() -> None:
    """Two bins of 8 rows; 4 firings, all in the first: I = H(1/4) − ½ H(½)."""
    entropy = 0.25 * 2 + 0.75 * np.log2(4 / 3)
    bits, total = position_bits(np.array([[4, 0]]), np.array([8, 8]))
    assert total[0] == pytest.approx(entropy)
    assert bits[0] == pytest.approx(entropy - 0.5 - 1 / (2 * 16 * np.log(2)))


def test_independent_firings_have_no_information_on_average() -> None:
    rng = np.random.default_rng(0)
    rows = np.full(BINS, 5000)
    bits, _ = position_bits(rng.binomial(5000, 0.01, (2000, BINS)), rows)
    assert abs(bits.mean()) < 2 * bits.std() / np.sqrt(2000)


def test_what_is_undefined_is_nan(found: Scored) -> None:
    for name, values in found.columns.items():
        assert np.isnan(values[DEAD]) or (name == "documents" and values[DEAD] == 0), name
    assert np.isnan(found.columns["position_bits"][ALWAYS])
    assert np.isnan(found.columns["burstiness"][ALWAYS])
    assert np.isnan(found.columns["positional"][RARE])
    assert found.columns["firings_per_document"][RARE] == 1


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_give_what_one_pass_gives(subject: Subject, codes: np.ndarray, found: Scored, parts: int) -> None:
    again = scored(Positions(), subject, codes.copy(), parts=parts, sequences=7)
    assert again.tables["positions"].equals(found.tables["positions"])
    for name in found.columns:
        np.testing.assert_array_equal(again.columns[name], found.columns[name])
