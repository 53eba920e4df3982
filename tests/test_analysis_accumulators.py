"""Every accumulator against brute force over all rows at once, in any order and any number of parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.histogram import edges
from actpipe.analysis.member_pass import MemberPass
from actpipe.analysis.passes import encoded
from actpipe.analysis.rows import PEAK, WINDOW, Rows
from actpipe.analysis.top_windows import KEEP, TopWindows
from actpipe.analysis.units.dictionary import DictionaryUnits
from actpipe.store import Store

from .small_run import CONTEXT, HOOK, TOKENS, WIDTH, make_dictionary, make_store

DICTIONARY = make_dictionary([0.0, -1.0, -1.5, 0.0, -9.0])
EDGES = edges(4.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("analysis") / "store.zarr")


@pytest.fixture(scope="module")
def corpus(store: Store) -> Corpus:
    return Corpus(store, store.committed, seed=0)


@pytest.fixture(scope="module")
def codes(store: Store) -> np.ndarray:
    """[rows, units], zero where the row does not count: what brute force works on."""
    dense = DICTIONARY.encode(store.read(HOOK, 0, store.rows)).numpy()
    return np.where(store.mask.reshape(-1, 1), dense, 0)


def units_of(dictionary: sae.Dictionary) -> DictionaryUnits:
    return DictionaryUnits(name="m", hook=HOOK, writes=HOOK, dictionary=dictionary, chosen=np.arange(WIDTH))


def member_pass(corpus: Corpus) -> MemberPass:
    return MemberPass(units_of(DICTIONARY), corpus, EDGES, seed=0)


def consume(corpus: Corpus, blocks: list[Rows]) -> MemberPass:
    found = member_pass(corpus)
    for rows in blocks:
        consume_block(found, rows, corpus.store.read(HOOK, rows.first, rows.first + len(rows.tokens)))
    return found


def consume_block(found: MemberPass, rows: Rows, x: torch.Tensor) -> None:
    batch, bad = encoded(found.units, rows, x, torch.device("cpu"))
    found.update(batch)
    found.not_finite += bad


@pytest.fixture(scope="module")
def found(corpus: Corpus) -> MemberPass:
    return consume(corpus, list(corpus.blocks(3 * CONTEXT)))


def state(found: MemberPass) -> dict[str, Any]:
    return {
        "rows": found.activity.rows,
        "count": found.activity.count,
        "power_sums": found.activity.power_sums,
        "max": found.activity.max,
        "histogram": found.histogram.counts,
        **{f"pairs.{name}": values for name, values in found.token_sums.pairs()._asdict().items()},
        **{f"shuffled.{name}": values for name, values in found.shuffled_sums.pairs()._asdict().items()},
        **{f"windows.{name}": values for name, values in found.top_windows.best._asdict().items()},
    }


def test_activity_is_that_of_all_rows_at_once(found: MemberPass, store: Store, codes: np.ndarray) -> None:
    assert found.activity.rows == store.mask.sum()
    np.testing.assert_array_equal(found.activity.count, (codes > 0).sum(axis=0))
    np.testing.assert_array_equal(found.activity.max, codes.max(axis=0))
    moments = found.activity.moments()
    for unit in range(WIDTH - 1):
        active = codes[codes[:, unit] > 0, unit].astype(np.float64)
        standard = (active - active.mean()) / active.std()
        np.testing.assert_allclose(moments["mean"][unit], active.mean(), rtol=1e-12)
        np.testing.assert_allclose(moments["std"][unit], active.std(), rtol=1e-9)
        np.testing.assert_allclose(moments["skew"][unit], (standard**3).mean(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(moments["kurtosis"][unit], (standard**4).mean() - 3, rtol=1e-9)
    assert all(np.isnan(values[WIDTH - 1]) for values in moments.values()), "a dead unit has no moments"


def test_histogram_is_that_of_all_rows_at_once(found: MemberPass, codes: np.ndarray) -> None:
    for unit in range(WIDTH):
        active = np.clip(codes[codes[:, unit] > 0, unit], EDGES[0], None)
        np.testing.assert_array_equal(found.histogram.counts[unit], np.histogram(active, [*EDGES[:-1], np.inf])[0])


def test_histogram_edges_are_quarter_octaves_up_to_four_times_the_rounded_norm() -> None:
    np.testing.assert_allclose(edges(3.0)[[64, 60, 0]], [16.0, 8.0, 16 / 2**16])  # 3 is rounded up to 4
    assert np.isfinite(edges(0.0)).all()


def test_token_sums_are_those_of_all_rows_at_once(found: MemberPass, store: Store, codes: np.ndarray) -> None:
    expected = np.zeros((WIDTH, TOKENS))
    np.add.at(expected.T, store.tokens.reshape(-1), codes)
    pairs = found.token_sums.pairs()
    dense = np.zeros_like(expected)
    dense[pairs.unit, pairs.token] = pairs.total
    np.testing.assert_array_equal(dense, expected)
    assert len(pairs.unit) == (expected > 0).sum(), "pairs without activation take no memory"


def test_shuffled_sums_use_the_drawn_token_of_each_row(found: MemberPass, corpus: Corpus, codes: np.ndarray) -> None:
    expected = np.zeros((WIDTH, TOKENS))
    for rows in corpus.blocks(5 * CONTEXT):
        part = codes[rows.first : rows.first + len(rows.tokens)]
        np.add.at(expected.T, corpus.random_tokens(rows), part)
    pairs = found.shuffled_sums.pairs()
    dense = np.zeros_like(expected)
    dense[pairs.unit, pairs.token] = pairs.total
    np.testing.assert_array_equal(dense, expected)


def test_top_windows_are_the_strongest_document_peaks(found: MemberPass, store: Store, codes: np.ndarray) -> None:
    document, best = store.doc.reshape(-1), found.top_windows.best
    for unit in range(WIDTH):
        peaks = []
        for number in np.unique(document):
            rows = np.flatnonzero(document == number)
            row = rows[codes[rows, unit].argmax()]
            if codes[row, unit] > 0:
                peaks.append((-codes[row, unit], row))
        mine = best.unit == unit
        assert best.row[mine].tolist() == [row for _, row in sorted(peaks)[:KEEP]]
        np.testing.assert_array_equal(best.value[mine], codes[best.row[mine], unit])
        np.testing.assert_array_equal(best.document[mine], document[best.row[mine]])


def test_windows_never_cross_a_document_a_sequence_or_an_uncounted_row(found: MemberPass, store: Store) -> None:
    document, mask, best = store.doc.reshape(-1), store.mask.reshape(-1), found.top_windows.best
    full, shifted, short = 0, 0, 0
    for row, start, length in zip(best.row, best.start, best.length, strict=True):
        inside = slice(start, start + length)
        assert start <= row < start + length
        assert len(np.unique(document[inside])) == 1
        assert start // CONTEXT == (start + length - 1) // CONTEXT
        assert mask[inside].all()
        full += length == WINDOW and row - start == PEAK
        shifted += length == WINDOW and row - start != PEAK
        if length < WINDOW:
            short += 1
            for beyond in (start - 1, start + length):  # shorter only because both neighbours are out of bounds
                is_other = document[beyond] != document[row] or beyond // CONTEXT != row // CONTEXT
                assert is_other or not mask[beyond]
    assert min(full, shifted, short) > 0, "the example must show all three cases"


def test_windows_hold_the_activation_of_every_token(found: MemberPass, codes: np.ndarray) -> None:
    best = found.top_windows.best
    for index, (start, length) in enumerate(zip(best.start, best.length, strict=True)):
        np.testing.assert_array_equal(best.activations[index, :length], codes[start : start + length, best.unit[index]])
        assert not best.activations[index, length:].any()


@pytest.mark.parametrize("rows", [CONTEXT, 2 * CONTEXT, 100 * CONTEXT])
def test_the_size_of_blocks_does_not_matter(found: MemberPass, corpus: Corpus, rows: int) -> None:
    assert_same(consume(corpus, list(corpus.blocks(rows))), found)


def test_the_order_of_blocks_does_not_matter(found: MemberPass, corpus: Corpus) -> None:
    blocks = list(corpus.blocks(CONTEXT))
    order = np.random.default_rng(3).permutation(len(blocks))
    assert_same(consume(corpus, [blocks[i] for i in order]), found)


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_merge_to_the_whole_in_any_order(found: MemberPass, corpus: Corpus, parts: int) -> None:
    blocks = list(corpus.blocks(CONTEXT))
    whole = member_pass(corpus)
    for part in reversed(range(parts)):
        whole.merge(consume(corpus, blocks[part::parts]))
    whole.merge(member_pass(corpus))  # an empty part changes nothing
    assert_same(whole, found)


def assert_same(one: MemberPass, other: MemberPass) -> None:
    """Bit for bit: activations are multiples of 1/8, so that sums are exact in any order."""
    expected = state(other)
    for name, values in state(one).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_a_pass_that_was_saved_goes_on_as_if_it_had_not(found: MemberPass, corpus: Corpus) -> None:
    blocks = list(corpus.blocks(CONTEXT))
    taken_up = member_pass(corpus)
    taken_up.restore({name: values.copy() for name, values in consume(corpus, blocks[:7]).state().items()})
    taken_up.merge(consume(corpus, blocks[7:]))
    assert_same(taken_up, found)


def test_token_sums_that_could_not_fit_are_sketched(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from actpipe.analysis import member_pass as module

    exact = consume(corpus, list(corpus.blocks(CONTEXT))).token_sums.pairs()
    monkeypatch.setattr(module, "_PAIRS", 1)
    sketched = consume(corpus, list(corpus.blocks(CONTEXT)))
    assert type(sketched.token_sums).__name__ == "TokenSketch"
    for one, other in zip(exact, sketched.token_sums.pairs(), strict=True):
        np.testing.assert_array_equal(one, other)  # of at most 128 tokens it is exact


def test_a_document_in_two_parts_shows_its_stronger_peak_once(corpus: Corpus, codes: np.ndarray) -> None:
    blocks = list(corpus.blocks(CONTEXT))
    parts = [consume(corpus, [block]).top_windows for block in blocks]
    shared = set(parts[0].best.document.tolist()) & set(parts[1].best.document.tolist())
    assert shared, "the example needs a document over a sequence border"
    both = TopWindows(WIDTH)
    for part in parts[:2]:
        both.merge(part)
    entries = list(zip(both.best.unit.tolist(), both.best.document.tolist(), strict=True))
    assert len(entries) == len(set(entries))


def test_memory_does_not_grow_with_rows_that_bring_no_new_pair(corpus: Corpus) -> None:
    blocks = list(corpus.blocks(CONTEXT))
    once, thrice = consume(corpus, blocks), consume(corpus, [*blocks, *blocks, *blocks])
    sizes = [sum(np.asarray(values).nbytes for values in state(found).values()) for found in (once, thrice)]
    assert sizes[0] == sizes[1]
    for sums in (thrice.token_sums, thrice.shuffled_sums):
        assert sum(len(run.key) for run in sums.runs) <= 2 * WIDTH * TOKENS


def test_random_tokens_are_a_function_of_row_and_seed_and_follow_the_corpus(store: Store, corpus: Corpus) -> None:
    small = np.concatenate([corpus.random_tokens(rows) for rows in corpus.blocks(CONTEXT)])
    large = np.concatenate([corpus.random_tokens(rows) for rows in corpus.blocks(1000 * CONTEXT)])
    np.testing.assert_array_equal(small, large)
    reseeded = Corpus(store, store.committed, seed=1)
    other = np.concatenate([reseeded.random_tokens(rows) for rows in corpus.blocks(CONTEXT)])
    assert (small != other).any()
    expected = corpus.token_counts / corpus.tokens
    drawn = np.bincount(small, minlength=TOKENS) / len(small)
    assert np.abs(drawn - expected).max() < 5 * np.sqrt(expected.max() / len(small))
    assert corpus.random_token_counts.sum() == corpus.tokens == store.mask.sum()


def test_corpus_counts_masked_rows_only(store: Store, corpus: Corpus) -> None:
    np.testing.assert_array_equal(corpus.token_counts, np.bincount(store.tokens[store.mask], minlength=TOKENS))
    assert corpus.documents == len(np.unique(store.doc[store.mask]))


def test_codes_that_are_not_finite_count_as_zero_and_are_counted(corpus: Corpus, tmp_path: Path) -> None:
    broken = make_dictionary([0.0, float("nan"), 0.0, 0.0, 0.0])
    found = MemberPass(units_of(broken), corpus, EDGES, seed=0)
    rows = next(corpus.blocks(CONTEXT))
    consume_block(found, rows, corpus.store.read(HOOK, 0, CONTEXT))
    assert found.not_finite == rows.counted.sum()
    assert found.activity.count[1] == 0
    assert np.isfinite(found.activity.power_sums).all()
