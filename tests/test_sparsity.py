"""The arithmetic of sparsity, by hand and against slow loops; its streams; the KT-score of the paper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from actpipe.analysis.multiplicity import benjamini_hochberg
from actpipe.errors import Misuse
from actpipe.sparsity import bootstrap
from actpipe.sparsity.accumulators import HookSums, Positions, Tokens
from actpipe.sparsity.config import SparsityConfig
from actpipe.sparsity.kt import kt_scores
from actpipe.sparsity.measures import measure, measures
from actpipe.sparsity.sentences import split_sentences
from actpipe.sparsity.tables import RATE_EDGES, rate_histogram

EPS = (0.1, 1.0)
NAMES = [each.name for each in measures(EPS)]


def measured(rows: list[list[float]], norms: list[float] | None = None) -> list[dict[str, float]]:
    values = measure(torch.tensor(rows, dtype=torch.float32), None if norms is None else torch.tensor(norms), EPS)
    return [dict(zip(NAMES, row, strict=True)) for row in values.tolist()]


def test_measures_of_a_row_are_those_worked_out_by_hand() -> None:
    # c sorted 4, 3, 2, 1; running 4, 7, 9, 10; RMS = √7.5 = 2.74, so 3 and 4 are above it
    (row,) = measured([[1.0, -2.0, 3.0, 4.0]])
    assert row["nonzero"] == 1
    assert row["above_0.1"] == 1
    assert row["above_1"] == 0.5
    assert row["l0_eff_95"] == 4  # 9 < 9.5
    assert row["effective_number"] == pytest.approx(100 / 30)
    assert row["hoyer"] == pytest.approx((2 - 10 / math.sqrt(30)) / (2 - 1))
    assert row["gini"] == pytest.approx(0.25)  # Σ|ci − cj| / (2 n² mean) = 20 / (2 · 16 · 2.5)
    assert row["top_10pct"] == pytest.approx(0.4)  # of four units the largest one


def test_one_unit_equal_units_and_none_are_the_ends_of_every_measure() -> None:
    one, equal, none = measured([[0, 0, 5, 0], [1, -1, 1, 1], [0, 0, 0, 0]])
    names = ("nonzero", "l0_eff_95", "l0_eff_99", "hoyer", "gini", "effective_number")
    assert [one[name] for name in names] == pytest.approx([0.25, 1, 1, 1, 0.75, 1], abs=1e-6)
    assert [equal[name] for name in names] == pytest.approx([1, 4, 4, 0, 0, 4], abs=1e-6)
    assert (none["nonzero"], none["above_0.1"], none["l0_eff_95"]) == (0, 0, 0)
    assert all(math.isnan(none[name]) for name in ("hoyer", "gini", "effective_number", "top_10pct"))


def test_shapes_weigh_a_unit_by_what_it_writes_and_counts_do_not() -> None:
    (row,) = measured([[1.0, 1.0, 1.0, 1.0]], norms=[1.0, 0.0, 0.0, 0.0])
    assert (row["nonzero"], row["above_0.1"]) == (1, 1)
    assert (row["l0_eff_95"], row["effective_number"], row["hoyer"]) == (1, 1, 1)


def test_measures_agree_with_a_slow_loop() -> None:
    a = torch.randn(300, 37, generator=torch.Generator().manual_seed(0)).relu()
    norms = torch.rand(37, generator=torch.Generator().manual_seed(1))
    found = measure(a, norms, EPS)
    for row, values in zip(a.double() * norms.double(), found.tolist(), strict=True):
        c = np.sort(row.numpy())[::-1]
        running, n = np.cumsum(c), len(c)
        slow = {
            "l0_eff_95": 1 + int(np.argmax(running >= 0.95 * running[-1])),
            "l0_eff_99": 1 + int(np.argmax(running >= 0.99 * running[-1])),
            "gini": np.abs(c[:, None] - c[None, :]).sum() / (2 * n * n * c.mean()),
            "hoyer": (math.sqrt(n) - c.sum() / np.linalg.norm(c)) / (math.sqrt(n) - 1),
            "top_1pct": c[0] / c.sum(),
            "top_10pct": c[:4].sum() / c.sum(),
        }
        fast = dict(zip(NAMES, values, strict=True))
        assert {name: fast[name] for name in slow} == pytest.approx(slow, rel=1e-5)


def gathered(parts: list[slice], a: torch.Tensor, document: Any, position: Any) -> list[HookSums]:
    """One accumulator a part."""
    bins, found = Positions.of(16), []
    for part in parts:
        sums = HookSums(a.shape[1], len(NAMES), bins, EPS)
        keys = bootstrap.document_keys("text", document[part], 0)
        sums.update(a[part], Tokens.of(keys, position[part], bins), None)
        found.append(sums)
    return found


def test_accumulators_merge_into_that_of_all_tokens_however_they_are_split() -> None:
    generator = np.random.default_rng(0)
    a = torch.from_numpy(generator.normal(size=(500, 12)).clip(min=0).astype(np.float32))
    a[7] = 0  # a token that has no shape
    document, position = np.sort(generator.integers(0, 20, 500)), generator.integers(0, 16, 500)
    (whole,) = gathered([slice(0, 500)], a, document, position)
    first, *others = gathered([slice(0, 130), slice(130, 131), slice(131, 131), slice(131, 500)], a, document, position)
    for other in others:  # documents are cut by these splits
        first.merge(other)
    assert first.tokens == whole.tokens == 500
    assert (first.nonzero == whole.nonzero).all()
    assert (first.strong == whole.strong).all()
    assert (first.largest == whole.largest).all()
    for name in ("sums", "counts", "replicate_sums", "replicate_counts", "size"):
        np.testing.assert_allclose(getattr(first, name), getattr(whole, name), rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(whole.mean(), np.nanmean(measure(a, None, EPS).numpy(), axis=0), rtol=1e-12)
    assert whole.sums.nbytes == first.sums.nbytes  # what is kept does not grow with the tokens


def test_positions_are_counted_in_half_octaves() -> None:
    bins = Positions.of(20)
    assert bins.starts == (0, 1, 2, 3, 4, 6, 8, 12, 16)
    assert bins.bins(np.array([0, 3, 5, 6, 11, 19])).tolist() == [0, 3, 4, 5, 6, 8]
    assert [bins.last(index) for index in (0, 4, 8)] == [0, 5, 19]


def test_the_interval_of_a_mean_has_the_width_that_theory_gives_to_documents() -> None:
    """100 documents of 50 tokens that are all alike: the standard error is σ/√100, not σ/√5000."""
    values = np.random.default_rng(1).normal(size=(100, 40))
    weights = bootstrap.weights(bootstrap.document_keys("text", np.arange(100), 0))
    assert weights.mean() == pytest.approx(1, abs=0.02)
    assert weights.var() == pytest.approx(1, abs=0.03)
    replicates = (weights @ (50 * values)) / (weights @ np.full((100, 1), 50.0))
    bounds = [bootstrap.interval(column, documents=100) for column in replicates.T]
    widths = [high - low for low, high in bounds if low is not None and high is not None]
    expected = 2 * 1.96 * values.std(axis=0) / 10
    assert np.mean(widths / expected) == pytest.approx(1, abs=0.05)
    inside = [low < 0 < high for low, high in bounds if low is not None and high is not None]
    assert np.mean(inside) >= 0.85  # 95 % of forty are 38
    assert bootstrap.interval(replicates[:, 0], documents=3) == (None, None)


def test_streams_and_seeds_draw_documents_differently_and_repeatably() -> None:
    numbers = np.arange(4)
    keys = [bootstrap.document_keys(name, numbers, seed).tolist() for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert len({key for each in keys for key in each}) == 12
    assert bootstrap.document_keys("a", numbers[2:3], 0).tolist() == keys[0][2:3]


def test_rates_are_counted_in_fifths_of_a_decade_and_never_apart() -> None:
    counts = rate_histogram(np.array([0.0, 1e-7, 0.011, 0.5, 1.0]))
    assert (len(counts), counts.sum()) == (len(RATE_EDGES) - 1, 4)
    assert counts[0] == 1  # 1e-7 is in the lowest bin
    assert counts[15] == 1  # 0.01 to 0.0158
    assert counts[-1] == 1  # 0.63 to 1
    assert counts[23] == 1  # 0.5 lies in 0.398 to 0.631


# Unit → KT of the model before fine-tuning as printed, and sentences that activate it; 48 of 1,500 are of the topic.
PAPER = {
    2384: (0.5143, 35), 2166: (0.5000, 26), 1595: (0.2427, 103), 1978: (0.2048, 83), 2991: (0.1142, 254),
    2682: (0.0965, 311), 2640: (0.0626, 527), 2138: (0.0452, 841), 2466: (0.0316, 1422), 1105: (0.0314, 1147),
    321: (0.0308, 1394), 1486: (0.0287, 1149),
}  # fmt: skip


def test_the_units_of_the_paper_have_its_kt_and_four_of_them_are_below_chance() -> None:
    active = np.array([n for _, n in PAPER.values()])
    hits = np.array([round(kt * n) for kt, n in PAPER.values()])
    scores = kt_scores(active, hits, sentences=1500, of_topic=48)
    assert scores.base_rate == 0.032
    np.testing.assert_allclose(scores.kt, [kt for kt, _ in PAPER.values()], atol=5e-5)
    below = {unit for unit, lift in zip(PAPER, scores.lift, strict=True) if lift < 1}
    assert below == {2466, 1105, 321, 1486}
    assert scores.kt.mean() == pytest.approx(0.1586, abs=5e-5)  # of the twelve rows; the paper prints .1583 below them
    p = dict(zip(PAPER, scores.p_fisher, strict=True))
    assert p[2384] < 1e-15
    assert p[2640] < 1e-5
    assert min(p[unit] for unit in below) > 0.5
    assert (scores.p_binomial[:4] < 1e-8).all()


def test_p_values_are_those_of_counting_by_hand() -> None:
    # Two of four sentences are of the topic; a unit active on two hits both in 1 of 6 ways, at least one in 5 of 6.
    scores = kt_scores(np.array([2, 2, 0]), np.array([2, 1, 0]), sentences=4, of_topic=2)
    np.testing.assert_allclose(scores.p_fisher, [1 / 6, 5 / 6, np.nan])
    np.testing.assert_allclose(scores.p_binomial, [1 / 4, 3 / 4, np.nan])
    np.testing.assert_allclose(scores.lift, [2, 1, np.nan])
    with pytest.raises(Misuse, match="0 of 4 sentences are of the topic"):
        kt_scores(np.array([1]), np.array([0]), sentences=4, of_topic=0)


def test_q_corrects_as_benjamini_and_hochberg_do() -> None:
    p = np.array([0.04, np.nan, 0.01, 0.03, 0.5])
    # sorted .01 .03 .04 .5 → ·4/1 .04, ·4/2 .06, ·4/3 .0533, ·4/4 .5 → from the right the least so far
    np.testing.assert_allclose(benjamini_hochberg(p), [0.16 / 3, np.nan, 0.04, 0.16 / 3, 0.5])
    from scipy.stats import false_discovery_control

    draws = np.random.default_rng(0).uniform(size=50)
    np.testing.assert_allclose(benjamini_hochberg(draws), false_discovery_control(draws))


def test_sentences_end_at_their_marks_and_crumbs_are_dropped() -> None:
    assert split_sentences("The king walked. Did he? He opened the door!\nNo. A letter lay there") == [
        "The king walked.",
        "He opened the door!",
        "A letter lay there",
    ]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"eps": (1.0, 0.1)}, "--eps 1,0.1 must be rising"),
        ({"tokens": 0}, "--tokens must be at least 1"),
        ({"task": ("news",)}, "--task 'news' is not NAME=DATASET"),
        ({"task": ("a=x.txt", "a=y.txt")}, "--task 'a' is the name of another text"),
        ({"task": ("all=x.txt",)}, "--task 'all' is the name"),
        ({"kt_words": " , "}, "holds no word"),
        ({"kt_label": "topic"}, "give that file too"),
        ({"kt_words": "a", "kt_label": "b"}, "give one"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_a_sentence(tmp_path: Any, asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        SparsityConfig(model="m", out=tmp_path, **asked)
