"""Windows that stand for a unit: by brute force on planted activations, and unbiased on a large text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.sparse import csr_matrix

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import WINDOW
from actpipe.analysis.sampling import estimates
from actpipe.analysis.sampling.estimates import Design
from actpipe.analysis.sampling.fired import ByUnit, drawn_by, fired
from actpipe.analysis.sampling.frame import Seen, extents, uniform
from actpipe.analysis.sampling.gathering import Sampling
from actpipe.analysis.sampling.near_misses import Pairs, candidates, near_misses, neighbours
from actpipe.analysis.sampling.reservoir import bin_of
from actpipe.analysis.sampling.strata import Drawn, draw
from actpipe.analysis.scores import Scored, Subject
from actpipe.analysis.scores.samples import Samples
from actpipe.analysis.splits import SCORE
from actpipe.errors import Misuse

from .planted_units import scored, subject_of, text_store

CONTEXT = 96


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """120 sequences; documents of 40 to 400 tokens, many over several sequences; the first token masked in some."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(40, 400, 200)
    doc = np.repeat(np.arange(len(lengths)), lengths)[: 120 * CONTEXT].reshape(120, CONTEXT)
    tokens = rng.integers(0, 5000, doc.shape)
    mask = np.ones(doc.shape, bool)
    mask[::3, 0] = False
    store = text_store(tmp_path_factory.mktemp("text") / "s", tokens.astype(np.int32), doc.astype(np.int32), mask)
    return subject_of(store, 12)


@pytest.fixture(scope="module")
def codes(subject: Subject) -> np.ndarray:
    """Units from very rare to dense; 10 and 11 nearly the same, 9 never fires."""
    rng = np.random.default_rng(1)
    density = np.array([1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 0.9, 0.01, 0.02, 0, 0.02, 0.02])
    n_rows = subject.corpus.store.tokens.size
    values = np.exp(rng.normal(0, 0.6, (n_rows, 12))) * (rng.random((n_rows, 12)) < density)
    values[:, 7] = values[:, 7] > 0  # one size of activation only
    both = rng.random(n_rows) < 0.5
    values[both, 11] = values[both, 10]
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def found(subject: Subject, codes: np.ndarray) -> Scored:
    return scored(Samples(uniform=30), _with_directions(subject), codes.copy())


def _with_directions(subject: Subject) -> Subject:
    from dataclasses import replace

    written = torch.eye(12)
    written[11] = torch.eye(12)[10] + 0.1 * torch.eye(12)[11]
    return replace(subject, units=replace(subject.units, written=written))


def _rows(subject: Subject) -> list[dict[str, np.ndarray]]:
    """Every tile of SCORE with at least one eligible row, by a loop over rows."""
    store = subject.corpus.store
    tiles: dict[int, list[int]] = {}
    for s in range(len(store.tokens)):
        start = 0
        for p in range(CONTEXT):
            same = p > 0 and store.doc[s, p] == store.doc[s, p - 1] and store.mask[s, p] == store.mask[s, p - 1]
            start = start if same else p
            if p >= 1 and store.mask[s, p] and subject.corpus.split[store.doc[s, p]] == SCORE:
                tiles.setdefault(s * CONTEXT + start + (p - start) // WINDOW * WINDOW, []).append(s * CONTEXT + p)
    document = store.doc.reshape(-1)
    return [{"rows": np.array(rows), "document": document[rows[0]]} for rows in tiles.values()]


def test_the_frame_is_every_tile_of_the_documents_to_be_scored_on(subject: Subject) -> None:
    tiles = _rows(subject)
    shared = uniform(subject.corpus, 10_000)
    assert shared.n_tiles == len(tiles) == len(shared.tile)
    assert set(shared.peak) <= {int(row) for tile in tiles for row in tile["rows"]}
    few = uniform(subject.corpus, 50)
    np.testing.assert_array_equal(few.tile, shared.tile[:50])  # a beginning of the sample is a sample
    assert not np.array_equal(np.sort(few.tile), few.tile)


def test_a_text_is_shared_by_subjects_and_depends_on_the_seed(subject: Subject) -> None:
    other = Corpus(subject.corpus.store, subject.corpus.store.committed, 1)
    assert not np.array_equal(uniform(subject.corpus, 50).tile, uniform(other, 50).tile)


def test_windows_in_which_a_unit_fires_are_counted(subject: Subject, codes: np.ndarray, found: Scored) -> None:
    fires = np.array([(codes[tile["rows"]] > 0).any(axis=0) for tile in _rows(subject)])
    documents = np.array([tile["document"] for tile in _rows(subject)])
    np.testing.assert_array_equal(found.columns["sample_windows"], fires.sum(axis=0))
    counts = [len(np.unique(documents[each])) for each in fires.T]
    np.testing.assert_array_equal(found.columns["sample_documents"], counts)


def test_every_listed_window_is_the_text_and_the_activations_it_says(
    subject: Subject, codes: np.ndarray, found: Scored
) -> None:
    store = subject.corpus.store
    tokens, document, mask = (each.reshape(-1) for each in (store.tokens, store.doc, store.mask))
    for row in found.tables["samples"].to_pylist():
        at = np.arange(row["start"], row["start"] + len(row["tokens"]))
        assert len(at) <= WINDOW
        assert row["start"] <= row["row"] == row["start"] + row["peak"] <= at[-1]
        np.testing.assert_array_equal(row["tokens"], tokens[at])
        np.testing.assert_array_equal(row["activations"], codes[at, row["unit"]])
        assert set(document[at]) == {row["document"]}
        assert subject.corpus.split[row["document"]] == SCORE
        assert mask[at].all()
        assert (at % CONTEXT).min() >= 1
        silent = row["stratum"] in ("uniform", "near_miss")
        assert (row["activations"][row["peak"]] > 0) != silent == (not any(row["activations"]))


def test_a_window_is_full_and_its_peak_at_three_quarters_where_the_document_allows_it(found: Scored) -> None:
    rows = [row for row in found.tables["samples"].to_pylist() if row["stratum"].startswith("decile")]
    assert sum(row["peak"] == 23 and len(row["tokens"]) == WINDOW for row in rows) > len(rows) / 4


def test_no_document_is_in_two_splits_and_none_twice_in_a_sample_of_a_unit(subject: Subject, found: Scored) -> None:
    table = found.tables["samples"].to_pylist()
    for strata in (("decile",), ("near_miss",), ("top",)):
        pairs = [(row["unit"], row["document"]) for row in table if row["stratum"].startswith(strata)]
        assert len(pairs) == len(set(pairs)) > 0
    windows = [(row["unit"], row["start"]) for row in table if row["stratum"] not in ("top", "near_miss")]
    assert len(windows) == len(set(windows))
    store = subject.corpus.store
    splits = {(d, s) for d, s in zip(store.doc.reshape(-1), subject.corpus.split[store.doc.reshape(-1)], strict=True)}
    assert len(splits) == len({d for d, _ in splits})


def test_top_windows_are_the_largest_peaks_of_different_documents(
    subject: Subject, codes: np.ndarray, found: Scored
) -> None:
    table = found.tables["samples"]
    eligible = np.concatenate([tile["rows"] for tile in _rows(subject)])
    document = subject.corpus.store.doc.reshape(-1)
    for unit in range(12):
        best: dict[int, float] = {}
        for row in eligible:
            best[document[row]] = max(best.get(document[row], 0), float(codes[row, unit]))
        expected = sorted((value for value in best.values() if value > 0), reverse=True)[:20]
        rows = [r for r in table.to_pylist() if r["unit"] == unit and r["stratum"] == "top"]
        np.testing.assert_array_equal([r["activations"][r["peak"]] for r in rows], np.array(expected, np.float32))
        assert all(r["weight"] is None for r in rows)


def test_deciles_are_tenths_of_the_windows_by_their_peak(subject: Subject, codes: np.ndarray, found: Scored) -> None:
    """Weights add up to the number of windows; strata are runs of bins, in order; one size fills one stratum."""
    table = found.tables["samples"].to_pylist()
    for unit in range(12):
        rows = [r for r in table if r["unit"] == unit and r["stratum"].startswith("decile")]
        by_stratum: dict[str, list[dict]] = {}
        for row in rows:
            by_stratum.setdefault(row["stratum"], []).append(row)
        documents = sum(each[0]["population"] for each in by_stratum.values())
        assert documents == found.columns["sample_documents"][unit]
        for each in by_stratum.values():
            assert len(each) == each[0]["sample"] <= each[0]["population"]
            assert len(each) >= min(5, each[0]["population"])
        peaks = [
            bin_of(np.array([r["activations"][r["peak"]] for r in by_stratum[name]], np.float32))
            for name in sorted(by_stratum)
        ]
        assert all(low.max() < high.min() for low, high in pairwise(peaks))
        if all(len(each) == each[0]["population"] for each in by_stratum.values()):  # nothing was left to chance
            assert sum(r["weight"] for r in rows) == found.columns["sample_windows"][unit]
    assert {r["stratum"] for r in table if r["unit"] == 7} == {"decile_5", "top", "uniform", "near_miss"}
    # Ten tenths of five are more than its documents: all are drawn.
    assert sum(r["stratum"] == "decile_5" for r in table if r["unit"] == 7) == found.columns["sample_documents"][7]
    assert not [r for r in table if r["unit"] == 9]


def test_silent_windows_and_those_that_fire_make_up_the_frame(subject: Subject, found: Scored) -> None:
    table = found.tables["samples"].to_pylist()
    n_tiles = uniform(subject.corpus, 2000).n_tiles
    for unit in (0, 3):
        rows = [r for r in table if r["unit"] == unit and r["stratum"] == "uniform"]
        assert len(rows) == 30
        assert sum(r["weight"] for r in rows) == pytest.approx(n_tiles - found.columns["sample_windows"][unit])
    # Rare units are shown the same windows, in the same order.
    starts = [[r["start"] for r in table if r["unit"] == unit and r["stratum"] == "uniform"] for unit in (0, 1)]
    assert len(set(starts[0]) & set(starts[1])) > 25


def test_near_misses_fire_a_neighbour_and_not_the_unit(codes: np.ndarray, found: Scored) -> None:
    rows = [r for r in found.tables["samples"].to_pylist() if r["stratum"] == "near_miss"]
    assert {r["unit"] for r in rows} >= {10, 11}
    for row in rows:
        at = slice(row["start"], row["start"] + len(row["tokens"]))
        assert not codes[at, row["unit"]].any()
        assert (codes[at] > 0).any(axis=0).sum() > 0
    assert all(r["weight"] >= 1 and r["sample"] <= 25 for r in rows)


def test_neighbours_are_near_in_direction_or_fire_together() -> None:
    """0 and 1 point the same way; 2 and 3 fire on the same rows; a unit is not its own neighbour."""
    rng = np.random.default_rng(0)
    fires = rng.random((4000, 12)) < 0.05
    fires[:, 3] = fires[:, 2]
    directions = torch.eye(12)
    directions[1] = directions[0]
    found = neighbours(np.arange(12), directions, csr_matrix(fires.astype(np.float32)))
    pairs = set(zip(found.unit.tolist(), found.other.tolist(), strict=True))
    assert {(0, 1), (1, 0), (2, 3), (3, 2)} <= pairs
    assert all(a != b for a, b in pairs)
    assert np.bincount(found.unit).max() <= 10
    only_together = neighbours(np.array([2, 5]), None, csr_matrix(fires.astype(np.float32)))
    assert (2, 3) in set(zip(only_together.unit.tolist(), only_together.other.tolist(), strict=True))
    assert set(only_together.unit) <= {2, 5}


def test_weights_of_near_misses_estimate_how_many_windows_there_are() -> None:
    """400 units each with one neighbour that has 40 windows drawn, each standing for five, in 20 documents; the unit
    fires on a fifth of them. The truth is 160, whatever candidates are drawn."""
    rng = np.random.default_rng(0)
    n, m = 400, 40
    unit, window = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    number = unit * m + window
    drawn = Drawn(unit, 0 * unit, window // 2, number, np.full(n * m, 5), np.full(n * m, m), np.full(n * m, m))
    pairs = Pairs(np.arange(n), (np.arange(n) + 1) % n)
    suspects = candidates(pairs, drawn, n, np.uint64(1))
    assert (np.bincount(suspects.unit) == 10).all()
    assert (drawn.unit[suspects.drawn] == (suspects.unit + 1) % n).all()
    fires = (rng.random(n * m) < 0.2)[suspects.drawn]
    kept = near_misses(suspects, fires, drawn, 4, n, np.uint64(2))
    assert (np.bincount(kept.unit, minlength=n) <= 4).all()
    documents = kept.unit * m + drawn.document[kept.drawn]
    assert len(np.unique(documents)) == len(documents)
    estimate = np.bincount(kept.unit, weights=kept.weight, minlength=n)
    assert abs(estimate.mean() - 160) < 2 * estimate.std() / np.sqrt(n)


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_in_any_blocks_give_the_same_table(
    subject: Subject, codes: np.ndarray, found: Scored, parts: int
) -> None:
    again = scored(Samples(uniform=30), _with_directions(subject), codes.copy(), parts=parts, sequences=parts * 3)
    assert again.tables["samples"].equals(found.tables["samples"])


def test_open_documents_are_closed_as_soon_as_they_are_whole(
    subject: Subject, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of one sequence nearly every document is open for a while; what is kept of them does not grow."""
    from actpipe.analysis.firings import firings
    from actpipe.analysis.sampling import gathering

    monkeypatch.setattr(gathering, "_OPEN", 20)
    small, large, open_entries = Samples().gather(subject), Samples().gather(subject), []
    for rows in subject.corpus.blocks(CONTEXT):
        small.update(firings(rows, codes[rows.first : rows.first + CONTEXT].copy()))
        open_entries.append(len(small.state()["open.unit"]))
    (rows,) = subject.corpus.blocks(1 << 20)
    large.update(firings(rows, codes.copy()))
    assert max(open_entries) < 100
    for a, b in zip(draw(small.closed().reservoir), draw(large.closed().reservoir), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_that_were_seen_are_joined_where_they_touch() -> None:
    seen = Seen()
    for interval in ([64, 96], [0, 32], [32, 64], [128, 160]):
        seen.add(np.array([interval]))
    np.testing.assert_array_equal(seen.intervals, [[0, 96], [128, 160]])
    first, last = np.array([0, 90, 130, 97, 200]), np.array([95, 96, 159, 100, 201])
    np.testing.assert_array_equal(seen.whole(first, last), [True, False, True, False, False])


def test_a_pass_goes_on_from_its_saved_state(subject: Subject, codes: np.ndarray) -> None:
    from actpipe.analysis.firings import firings

    score, whole, halves = Samples(), Samples().gather(subject), Samples().gather(subject)
    for i, rows in enumerate(subject.corpus.blocks(3 * CONTEXT)):
        piece = codes[rows.first : rows.first + len(rows.tokens)]
        whole.update(firings(rows, piece.copy()))
        halves.update(firings(rows, piece.copy()))
        if i % 10 == 5:
            saved, halves = halves.state(), score.gather(subject)
            halves.restore(saved)
    for a, b in zip(draw(whole.closed().reservoir), draw(halves.closed().reservoir), strict=True):
        np.testing.assert_array_equal(a, b)


def test_of_many_units_some_are_listed_with_the_same_windows(
    subject: Subject, codes: np.ndarray, found: Scored
) -> None:
    """Their near misses come from all units, listed or not."""
    some = scored(Samples(uniform=30, units=5), _with_directions(subject), codes.copy()).tables["samples"]
    units = set(some["unit"].to_pylist())
    assert 4 <= len(units) <= 5  # one never fires
    whole = found.tables["samples"]
    assert some.equals(whole.filter(pa.compute.is_in(whole["unit"], pa.array(sorted(units), pa.int32()))))


def test_more_windows_a_decile_than_are_kept_are_refused() -> None:
    with pytest.raises(Misuse, match="between 1 and 5"):
        Samples(per_decile=6)


def test_the_sample_of_a_million_tokens_is_unbiased(tmp_path: Path) -> None:
    """Documents of different lengths, units that fire in bursts in a tenth of them, and something to estimate that
    depends on both: the mean error over many units, and how often two standard errors hold it."""
    rng = np.random.default_rng(3)
    n_rows, context = 1 << 20, 128
    lengths = rng.integers(30, 600, n_rows // 200)
    doc = np.repeat(np.arange(len(lengths)), lengths)[:n_rows]
    tokens = np.arange(n_rows).astype(np.int32) % 50_000
    text = (tokens.reshape(-1, context), doc.reshape(-1, context).astype(np.int32))
    corpus = Corpus(store := text_store(tmp_path / "s", *text), store.committed, 0)
    hard = rng.random(len(lengths))  # of each document, what is to be estimated
    density = np.repeat([1e-3, 1e-2], [300, 60])
    n = len(density)
    unit = np.repeat(np.arange(n), rng.poisson(10 * density * n_rows))
    row = rng.integers(0, n_rows, len(unit))
    busy = drawn_by(unit, doc[row], np.uint64(0)) < np.uint64(2**64 // 10)
    row, unit = np.divmod(np.unique(row[busy] * n + unit[busy]), n)
    value = np.exp(rng.normal(0, 0.5, len(row)) + 0.5 * hard[doc[row]]).astype(np.float32)
    sampling = Sampling(n, corpus, seed=0, skip_first=1, top=1)
    truth, windows = np.zeros(n), np.zeros(n)
    for rows in corpus.blocks(1 << 16):
        here = slice(*np.searchsorted(row, [rows.first, rows.first + len(rows.tokens)]))
        at = row[here] - rows.first
        sampling.update(Firings(rows=rows, n_units=n, unit=unit[here], row=at, value=value[here]))
        scored_on = (rows.split[at] == SCORE) & (at % context >= 1)
        _, one = np.unique(unit[here][scored_on] * n_rows + rows.tile[at[scored_on]], return_index=True)
        cell = np.flatnonzero(scored_on)[one]
        np.add.at(windows, unit[here][cell], 1)
        np.add.at(truth, unit[here][cell], hard[rows.documents[at[cell]]])
    drawn = draw(sampling.closed().reservoir)
    np.testing.assert_array_equal(sampling.windows, windows)
    errors, errors_of_counts, scaled = np.zeros(n), np.zeros(n), np.zeros(n)
    for u in range(n):
        mine = drawn.unit == u
        assert mine.sum() <= 65
        design = Design(drawn.decile[mine], drawn.weight[mine], drawn.population[mine], drawn.sample[mine])
        found = estimates.total(design, hard[drawn.document[mine]])
        errors[u], scaled[u] = found.value / truth[u] - 1, (found.value - truth[u]) / found.standard_error
        errors_of_counts[u] = design.weight.sum() / windows[u] - 1
    for chosen in (density == 1e-3, density == 1e-2):
        for error in (errors[chosen], errors_of_counts[chosen]):
            assert abs(error.mean()) < 2 * error.std() / np.sqrt(len(error))
        assert (np.abs(scaled[chosen]) < 2).mean() > 0.9


def _population(density: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Activations of a million windows, and a judge with TPR 0.7 and FPR 0.02."""
    fires = rng.random(1_000_000) < density
    a = np.where(fires, np.exp(rng.normal(0, 0.6, len(fires))), 0)
    c = rng.random(len(fires)) < np.where(fires, 0.7, 0.02)
    return a, c.astype(float)


def _strata(a: np.ndarray) -> list[np.ndarray]:
    """Tenths of the firing windows, and the others."""
    firing = np.flatnonzero(a)
    return [*np.array_split(firing[np.argsort(a[firing])], 10), np.flatnonzero(a == 0)]


def _stratified(strata: list[np.ndarray], rng: np.random.Generator, silent: int) -> tuple[np.ndarray, Design]:
    """Five windows of each tenth, and `silent` of the others."""
    sizes = [5] * 10 + [silent]
    index = np.concatenate([rng.choice(s, n, replace=False) for s, n in zip(strata, sizes, strict=True)])
    population = np.repeat([len(s) for s in strata], sizes)
    sample = np.repeat(sizes, sizes)
    return index, Design(np.repeat(np.arange(11), sizes), population / sample, population, sample)


def test_250_judged_windows_estimate_the_correlation_that_uniform_ones_cannot() -> None:
    """At density 0.002: in three draws of five a uniform sample of 250 holds no firing window at all."""
    rng = np.random.default_rng(0)
    a, c = _population(0.002, rng)
    strata, truth = _strata(a), np.corrcoef(a, c)[0, 1]
    found, held, uniform_found = [], [], []
    for _ in range(400):
        index, design = _stratified(strata, rng, 200)
        estimate = estimates.correlation(design, a[index], c[index])
        found.append(estimate.value)
        held.append(abs(estimate.value - truth) < 2 * estimate.standard_error)
        drawn = rng.choice(len(a), 250, replace=False)
        even = Design(np.zeros(250, int), np.full(250, 4000.0), np.full(250, 1_000_000), np.full(250, 250))
        uniform_found.append(estimates.correlation(even, a[drawn], c[drawn]).value)
    assert not np.isnan(found).any()
    assert np.mean(found) == pytest.approx(truth, abs=0.04)  # a ratio of 250: a little too large
    assert np.std(found) < 0.12
    assert np.mean(held) > 0.88  # of four errors of the judge the spread is not well known
    assert 0.5 < np.isnan(uniform_found).mean() < 0.7
    assert np.nanmean(uniform_found) > truth + 0.08


@pytest.mark.parametrize("density", [1e-3, 1e-2, 0.1])
def test_estimates_are_unbiased_and_their_standard_errors_right(density: float) -> None:
    rng = np.random.default_rng(1)
    a, c = _population(density, rng)
    a, c = a[:200_000], c[:200_000]
    strata = _strata(a)
    truths = {"total": (a * c).sum(), "mean": c.mean(), "tpr": c[a > 0].mean(), "r": np.corrcoef(a, c)[0, 1]}
    draws: dict[str, list[estimates.Estimate]] = {name: [] for name in truths}
    for _ in range(300):
        index, design = _stratified(strata, rng, 2000)
        x, y = a[index], c[index]
        draws["total"].append(estimates.total(design, x * y))
        draws["mean"].append(estimates.mean(design, y))
        draws["tpr"].append(estimates.ratio(design, (x > 0) * y, x > 0))
        draws["r"].append(estimates.correlation(design, x, y))
    for name, truth in truths.items():
        values, errors = np.array(draws[name]).T
        assert abs(values.mean() - truth) < 2 * values.std() / np.sqrt(300) + 0.02 * abs(truth) * (name == "r"), name
        assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.15), name


def test_correlation_over_tokens_leaves_out_what_a_short_window_does_not_have() -> None:
    design = Design(np.zeros(2, int), np.array([1.0, 2.0]), np.array([3, 3]), np.array([2, 2]))
    a, c = np.array([[1, 2, 3], [0, 1, np.nan]]), np.array([[1, 0, 3], [1, 1, np.nan]])
    flat_a, flat_c = np.array([1, 2, 3, 0, 1, 0, 1]), np.array([1, 0, 3, 1, 1, 1, 1])
    assert estimates.correlation(design, a, c).value == pytest.approx(np.corrcoef(flat_a, flat_c)[0, 1])


def test_what_is_undefined_is_nan() -> None:
    design = Design(np.array([0, 1]), np.array([2.0, 5.0]), np.array([2, 5]), np.array([1, 1]))
    assert np.isnan(estimates.total(design, [1, 2]).standard_error)  # one window of several says nothing of spread
    assert np.isnan(estimates.correlation(design, [1, 1], [0, 1]).value)
    assert np.isnan(estimates.ratio(design, [1, 1], [0, 0]).value)
    sure = Design(np.array([0, 1]), np.ones(2), np.ones(2, int), np.ones(2, int))
    assert estimates.total(sure, [1, 2]) == (3, 0)
    assert estimates.bound_of_none(2000) == pytest.approx(3 / 2000, rel=0.01)


def test_the_design_of_a_table_is_its_weighted_strata(found: Scored) -> None:
    table = found.tables["samples"]
    rows = table.filter(pa.compute.equal(table["unit"], 3))
    design, index = estimates.representative(rows)
    assert set(rows["stratum"].take(pa.array(index)).to_pylist()).isdisjoint({"top", "near_miss"})
    assert estimates.total(design, np.ones(len(index))).value == pytest.approx(design.weight.sum())


def test_a_document_in_pieces_has_one_window_drawn_among_all_its_own(subject: Subject) -> None:
    """What is drawn does not depend on where blocks end; extents say which documents are whole."""
    known = extents(subject.corpus)
    (rows,) = subject.corpus.blocks(1 << 20)
    assert known.whole(rows, np.unique(rows.documents)).all()
    first = next(subject.corpus.blocks(CONTEXT))
    assert not known.whole(first, first.documents[-1:]).all()
    everything = ByUnit(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    assert len(fired(rows, everything, np.uint64(0)).unit) == 0
