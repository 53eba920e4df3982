"""N-gram rules: found where they are planted, nothing where they are not, the same numbers as by brute force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from actpipe.analysis import agreement
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.scores import Scored, Subject
from actpipe.analysis.scores.rule_json import RuleList
from actpipe.analysis.scores.rules import Rules
from actpipe.analysis.splits import SCORE
from tests.planted_units import gathered, scored, subject_of, text_store

CONTEXT = 64
WORDS = 400


@dataclass(frozen=True)
class Planted:
    subject: Subject
    codes: np.ndarray  # [rows, n]
    names: tuple[str, ...]


def vocabulary() -> list[str]:
    """Words in three spellings, numbers, punctuation."""
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(WORDS // 2)]
    texts = [spelled for word in words for spelled in (f" {word}", f" {word.capitalize()}")]
    return [*texts, *(f" {i}" for i in range(30)), ":", "?", "(", ")", "\n"]


def text(n_sequences: int, seed: int = 0) -> np.ndarray:
    """Zipf's words, half of them drawn from a few followers of the one before, so that n-grams come again."""
    rng, n = np.random.default_rng(seed), len(vocabulary())
    shuffle = rng.permutation(n)
    share = 1 / (np.arange(n) + 20)
    share = share[shuffle] / share.sum()
    followers = rng.integers(0, n, (n, 4))
    tokens = rng.choice(n, (n_sequences, CONTEXT), p=share)
    for at in range(1, CONTEXT):
        goes_on = rng.random(n_sequences) < 0.5
        drawn = followers[tokens[:, at - 1], rng.integers(0, 4, n_sequences)]
        tokens[goes_on, at] = drawn[goes_on]
    return tokens.astype(np.int32)


def windows(tokens: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """[rows, 3]: x_t, x_{t−1}, x_{t−2}, −1 over a border."""
    found = np.full((tokens.size, 3), -1)
    for back in range(3):
        same = np.ones(tokens.shape, bool)
        same[:, :back] = False
        same[:, back:] &= documents[:, back:] == documents[:, : CONTEXT - back]
        found[:, back] = np.where(same, np.roll(tokens, back, axis=1), -1).ravel()
    return found


def plant(tokens: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """40 functions of n-grams, as in the exam of a judge: [rows, 40] of where they fire, and what they are."""
    rng, texts = np.random.default_rng(5), vocabulary()
    x, before, third = windows(tokens, documents).T
    count = np.bincount(tokens.ravel(), minlength=len(texts))
    word = rng.permutation(np.flatnonzero(count > np.median(count)))  # the common half, so that all come up everywhere
    number = np.array([text.strip().isdecimal() for text in texts])
    stem = np.array([text.strip().casefold() for text in texts])
    pairs = common(np.stack([before, x], 1), 60)
    triples = common(np.stack([third, before, x], 1), 60)
    fires: dict[str, np.ndarray] = {}
    for i in range(8):
        fires[f"word {i}"] = x == word[i]
    for i in range(6):
        fires[f"list {i}"] = np.isin(x, word[10 + 8 * i : 18 + 8 * i])
    for i in range(6):
        fires[f"after {i}"] = before == word[60 + i]
    for i in range(6):
        fires[f"bigram {i}"] = (np.stack([before, x], 1) == pairs[3 * i]).all(1)
    for i in range(4):
        fires[f"trigram {i}"] = (np.stack([third, before, x], 1) == triples[3 * i]).all(1)
    for i in range(4):
        fires[f"spelling {i}"] = stem[x] == stem[word[70 + i]]
    fires["number"], fires["after a number"] = number[x], number[before] & (before >= 0)
    for i in range(4):
        fires[f"two meanings {i}"] = (x == word[80 + i]) | (before == word[90 + i])
    return np.stack(list(fires.values()), 1), tuple(fires)


def common(grams: np.ndarray, n: int) -> np.ndarray:
    distinct, count = np.unique(grams[(grams >= 0).all(1)], axis=0, return_counts=True)
    return distinct[np.argsort(-count, kind="stable")[:n]]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """130 thousand tokens, documents of half a sequence, activations between 0.5 and 1.5 with noise beside."""
    tokens = text(2000)
    documents = np.arange(2000 * 2).repeat(CONTEXT // 2).reshape(tokens.shape).astype(np.int32)
    store = text_store(tmp_path_factory.mktemp("planted") / "store", tokens, documents)
    fires, names = plant(tokens, documents)
    rng = np.random.default_rng(1)
    codes = fires * rng.uniform(0.5, 1.5, fires.shape)
    return Planted(with_texts(subject_of(store, len(names))), codes.astype(np.float32), names)


def with_texts(subject: Subject, control: str | None = None) -> Subject:
    old = subject.corpus
    corpus = Corpus(old.store, old.store.committed, 0, tuple(vocabulary()))
    return Subject(units=subject.units, n=subject.n, corpus=corpus, seed=0, control=control)


@pytest.fixture(scope="module")
def found(planted: Planted) -> Scored:
    return scored(Rules(), planted.subject, planted.codes)


def test_all_40_planted_units_are_recovered(planted: Planted, found: Scored) -> None:
    recovered = dict(zip(planted.names, found.columns["rules_f1_std"], strict=True))
    assert min(recovered.values()) > 0.95, {name: f for name, f in recovered.items() if not f > 0.95}
    assert min(found.columns["rules_rho_std"]) > 0.8
    assert min(found.columns["rules_coverage"]) > 0.95


def test_shuffled_copies_of_the_planted_units_sit_at_the_null(planted: Planted) -> None:
    """Rows exchanged at random: the densities stay, the meaning goes. Chance: F1 0.02 where everything is predicted."""
    rng = np.random.default_rng(2)
    shuffled = np.stack([rng.permutation(column) for column in planted.codes.T], axis=1)
    columns = scored(Rules(), with_texts(planted.subject, control="shuffled"), shuffled).columns
    assert np.nanmax(columns["rules_f1_std"]) < 0.05
    assert np.nanmax(columns["rules_pearson"]) < 0.02
    assert np.nanmax(columns["rules_auprc_above_chance"]) < 0.02


@dataclass(frozen=True)
class Noisy:
    """Units that rules explain in part, and every statistic of what is said of them by brute force."""

    subject: Subject
    codes: np.ndarray
    rules: list[RuleList]
    found: Scored


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Noisy:
    """Documents that begin and end inside sequences, rows that do not count, weak firings at random, dense units."""
    tokens, rng = text(600, seed=3), np.random.default_rng(4)
    documents = (np.arange(tokens.size) // 41).reshape(tokens.shape).astype(np.int32)
    mask = rng.random(tokens.shape) > 0.02
    store = text_store(tmp_path_factory.mktemp("noisy") / "store", tokens, documents, mask)
    fires, _ = plant(tokens, documents)
    fires = np.concatenate([fires, fires[:, :5] | fires[:, 14:19] | fires[:, 8:13]], axis=1)
    kept = fires * (rng.random(fires.shape) < 0.8)
    codes = kept * rng.gamma(4, 0.5, kept.shape) + 0.2 * (rng.random(kept.shape) < 0.01)
    codes[:, 3] = rng.random(len(codes))  # always on
    codes[:, 4] = 0.0
    codes = (codes * mask.reshape(-1, 1)).astype(np.float32)
    subject = with_texts(subject_of(store, codes.shape[1]))
    found = scored(Rules(), subject, codes)
    rules = [RuleList.from_json(row) for row in found.tables["explanations"]["rule"].to_pylist()]
    return Noisy(subject, codes, rules, found)


def test_scores_equal_those_of_the_published_rules_executed_row_by_row(noisy: Noisy) -> None:
    """The JSON alone, run over all tokens of the score split, gives every number of the second pass."""
    corpus, columns = noisy.subject.corpus, noisy.found.columns
    (rows,) = corpus.blocks(1 << 30)
    counted = rows.counted & (rows.split == SCORE)
    units = noisy.found.tables["explanations"]["unit"].to_pylist()
    assert len(units) == noisy.subject.n - 1  # the one that never fires has none
    for unit, rules in zip(units, noisy.rules, strict=True):
        said = rules.predict(rows.tokens, documents=rows.span_start)
        a, activation, predicted = noisy.codes[counted, unit], said.activation[counted], said.fires[counted]
        fires, seen = a > 0, agreement.confusion(a > 0, predicted)
        expected = {
            "rules_tpr": agreement.tpr(seen),
            "rules_fpr": agreement.fpr(seen),
            "rules_f1_std": agreement.standard_f1(agreement.tpr(seen), agreement.fpr(seen)),
            "rules_precision": agreement.precision(seen),
            "rules_coverage": a[predicted].sum(dtype=float) / a.sum(dtype=float),
            "rules_auprc": agreement.average_precision(fires, activation),
            "rules_pearson": agreement.pearson(a, activation),
            "rules_rho_std": agreement.pearson(a, activation, agreement.standard_weights(fires)),
        }
        for name, value in expected.items():
            if name in ("rules_pearson", "rules_rho_std") and np.isnan(value):
                continue  # of a list that says the same everywhere, which scores 0
            np.testing.assert_allclose(columns[name][unit], value, rtol=1e-6, atol=1e-9, err_msg=f"{name} of {unit}")


def test_rule_lists_of_the_noisy_units_use_what_can_go_wrong(noisy: Noisy) -> None:
    """Else the test above says little: lists of several rules, of both sides and of classes."""
    patterns = [rule.match for rules in noisy.rules for rule in rules.rules]
    assert max(len(rules.rules) for rules in noisy.rules) >= 8
    assert any(match[0][-1] is None for match in patterns)
    assert any(len(match) > 1 for match in patterns)
    assert {len(match[0]) for match in patterns} >= {1, 2, 3}
    both = [{match.match[0][-1] is None for match in rules.rules} == {True, False} for rules in noisy.rules]
    assert sum(both) >= 3


@pytest.mark.parametrize("parts", [4])
def test_parts_in_any_order_give_what_one_pass_gives(noisy: Noisy, parts: int) -> None:
    again = scored(Rules(), noisy.subject, noisy.codes, parts=parts, sequences=7)
    for name, values in noisy.found.columns.items():
        np.testing.assert_allclose(again.columns[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    assert again.tables["explanations"].column("text") == noisy.found.tables["explanations"].column("text")


def test_state_goes_to_disk_and_back(noisy: Noisy) -> None:
    score, subject = Rules(), noisy.subject
    first = gathered([score.gather(subject)], subject, noisy.codes)
    other = score.gather(subject)
    other.restore(first.state())
    second = gathered([score.check(subject, other)], subject, noisy.codes)
    last = score.check(subject, first)
    last.restore(second.state())
    columns = score.finish(subject, first, last, {}).columns
    for name, values in noisy.found.columns.items():
        np.testing.assert_array_equal(columns[name], values, err_msg=name)
