"""N-gram rules: found where they are planted, nothing where they are not, the same numbers as by brute force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from actpipe.analysis import agreement
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.ngrams import KINDS, fields, preceding
from actpipe.analysis.ngrams_order import ByRow
from actpipe.analysis.scores import Scored, Subject
from actpipe.analysis.scores.rule_json import RuleList
from actpipe.analysis.scores.rule_lists import Execution, RuleLists
from actpipe.analysis.scores.rule_tallies import Measured, Units, statistics, tally
from actpipe.analysis.scores.rule_text import in_words
from actpipe.analysis.scores.rules import Rules
from actpipe.analysis.splits import PROFILE, SCORE
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
    return scored(Rules(), planted.subject, planted.codes, sequences=250)


def test_all_40_planted_units_are_recovered(planted: Planted, found: Scored) -> None:
    recovered = dict(zip(planted.names, found.columns["rules_f1_std"], strict=True))
    assert min(recovered.values()) > 0.95, {name: f for name, f in recovered.items() if not f > 0.95}
    assert min(found.columns["rules_rho_std"]) > 0.8
    assert min(found.columns["rules_coverage"]) > 0.95


def test_shuffled_copies_of_the_planted_units_sit_at_the_null(planted: Planted) -> None:
    """Rows exchanged at random: the densities stay, the meaning goes. Chance: F1 0.02 where everything is predicted."""
    rng = np.random.default_rng(2)
    shuffled = np.stack([rng.permutation(column) for column in planted.codes.T], axis=1)
    columns = scored(Rules(), with_texts(planted.subject, control="shuffled"), shuffled, sequences=250).columns
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


def test_interference_counts_by_decile_equal_brute_force(noisy: Noisy) -> None:
    (rows,) = noisy.subject.corpus.blocks(1 << 30)
    counted = rows.counted & (rows.split == SCORE)
    profile = rows.counted & (rows.split == PROFILE)
    table = {row["unit"]: row for row in noisy.found.tables["interference"].to_pylist()}
    units = noisy.found.tables["explanations"]["unit"].to_pylist()
    for unit, rules in zip(units, noisy.rules, strict=True):
        lowest = np.array([np.nan if edge is None else edge for edge in table[unit]["lowest"]], float)
        there = np.flatnonzero(~np.isnan(lowest))
        a = noisy.codes[:, unit]
        decile = there[np.searchsorted(lowest[there], a, side="right") - 1]
        predicted = rules.predict(rows.tokens, documents=rows.span_start).fires
        fpr = noisy.found.columns["rules_fpr"][unit]
        shares = np.bincount(decile[profile & (a > 0)], minlength=10) / (profile & (a > 0)).sum()
        if unit == 3:  # uniform: tenths, but for the width of a bin, a sixteenth here
            np.testing.assert_allclose(shares, 0.1, atol=0.07)
        for number in range(10):
            mine = counted & (a > 0) & (decile == number)
            assert table[unit]["firings"][number] == mine.sum()
            if mine.any():
                recall = predicted[mine].mean()
                assert table[unit]["recall"][number] == pytest.approx(recall, abs=1e-6)
                if recall:
                    precision = 0.01 * recall / (0.01 * recall + 0.99 * fpr)
                    assert table[unit]["precision"][number] == pytest.approx(precision, abs=1e-6)


def test_a_unit_that_means_something_else_when_weak_has_a_positive_slope(planted: Planted) -> None:
    """Strong on a word, weak at random as often: recall 0 below the median and 1 above. A slope by hand, 25/165."""
    rng, word = np.random.default_rng(6), planted.codes[:, 0] > 0
    alone = word * rng.uniform(1, 4, len(word))
    weak = (rng.random(len(word)) < word.mean()) & ~word
    mixed = alone + weak * rng.uniform(0.1, 0.4, len(word))
    codes = planted.codes.copy()
    codes[:, 1], codes[:, 2], codes[:, 3] = alone, mixed, word  # the last always fires with the same strength
    slope = scored(Rules(), planted.subject, codes, sequences=250).columns["interference_slope"]
    assert slope[1] == pytest.approx(0, abs=1e-9)
    assert slope[2] == pytest.approx(25 / 165, abs=0.02)
    assert np.isnan(slope[3])


def executed(subject: Subject, codes: np.ndarray, tokens: list[list[int]]) -> dict[str, np.ndarray]:
    """Statistics of hand-made lists, one a unit: predicted to fire on these tokens."""
    (rows,) = subject.corpus.blocks(1 << 30)
    unit = np.repeat(np.arange(len(tokens)), [len(each) for each in tokens])
    position = np.concatenate([np.arange(len(each)) for each in tokens])
    token = np.concatenate([np.array(each) for each in tokens]).astype(np.int32)
    said = np.full((len(unit), 6), -1, np.int32)
    said[:, 0] = said[:, 1] = token
    kind = np.full(len(unit), [each.name for each in KINDS].index("token"))
    lists = RuleLists(unit, position, kind, said, np.ones(len(unit)), np.ones(len(unit)))
    measured = Measured(Execution(lists, len(tokens), (32,)))
    row, fired = np.nonzero(codes)
    starts = np.searchsorted(row, np.arange(len(codes) + 1))
    measured.update(fields(preceding(rows), None), ByRow(starts, fired.astype(np.int32), codes[row, fired]))
    units = Units(
        np.full(len(tokens), len(codes)),
        (codes > 0).sum(0),
        codes.sum(0, dtype=float),
        (codes.astype(float) ** 2).sum(0),
    )
    owned = measured.execution.owned_rows(measured.patterns)[0], measured.firings[0], measured.total[0]
    of = tally(lists, np.ones(len(unit)), np.zeros(len(tokens)), *owned, units)
    return statistics(of, np.ones(len(tokens)))


def test_missing_and_extra_labels_lower_the_primary_metric_and_extra_ones_not_balanced_accuracy(
    planted: Planted,
) -> None:
    """NeuronEval's two checks (arXiv 2506.05774) on a unit that fires on 8 words, 1.5 % of the text: explained by
    these words, by half of them, and by twice as many. Balanced accuracy stays above 0.99 with the extra words."""
    tokens = planted.subject.corpus.store.tokens[:].ravel()
    count = np.bincount(tokens, minlength=len(vocabulary()))
    alike = np.argsort(np.abs(count - np.quantile(count, 0.6)), kind="stable")[
        :16
    ].tolist()  # 16 words of one frequency
    fires = np.isin(tokens, alike[:8])
    assert 0.01 < fires.mean() < 0.02
    codes = np.repeat(fires[:, None], 3, axis=1).astype(np.float32)
    found = executed(planted.subject, codes, [alike[:8], alike[:4], alike])
    for name in ("f1_std", "rho_std", "pearson", "auprc"):
        exact, missing, extra = found[name]
        assert exact == pytest.approx(1)
        assert missing < 0.8, name
        assert extra < 0.8, name
    exact, missing, extra = found["balanced_accuracy"]
    assert missing < 0.8 < 0.99 < extra


def test_the_published_rules_are_executed_by_hand() -> None:
    """The first rule that matches has the say; null is any token; nothing is matched across a border."""
    rules = RuleList.from_json(
        '{"otherwise":0.1,"fires_from":0.5,"rules":[{"match":[[7,8]],"weight":0.2},'
        '{"match":[[8],[9]],"weight":1.0},{"match":[[5,null]],"weight":0.7}]}'
    )
    said = rules.predict([7, 8, 9, 5, 1, 5, 8, 5, 3], documents=[0, 0, 0, 0, 0, 0, 0, 0, 1])
    assert said.activation.tolist() == [0.1, 0.2, 1.0, 0.1, 0.7, 0.1, 1.0, 0.1, 0.1]
    assert said.fires.tolist() == [False, False, True, False, True, False, True, False, False]
    assert said.rule.tolist() == [-1, 0, 1, -1, 2, -1, 1, -1, -1]
    assert RuleList.from_json(rules.to_json()) == rules


def test_rules_are_rendered_in_words_with_texts_as_data() -> None:
    texts = [" knew", " knows", " who", "</script>\n", "`", " 7", "\u202e"]
    name = {kind.name: number for number, kind in enumerate(KINDS)}
    kind = np.array([name[each] for each in ("token", "token", "after token", "2 tokens", "class", "after class")])
    said = np.full((6, 6), -1, np.int32)
    said[0, :2], said[1, :2], said[2, 2:4], said[3, :4], said[4, 0], said[5, 2] = 0, 1, 2, [3, 3, 4, 4], 5, 6
    share = np.array([0.4, 0.22, 0.18, 0.05, 0.0, 0.0])
    assert in_words(kind[:3], said[:3], share[:3], texts) == "fires on ` knew`|` knows` (62 %); after ` who` (18 %)"
    assert in_words(kind[3:4], said[3:4], share[3:4], texts) == "fires on `\\u0060</script>⏎` (5 %)"
    assert in_words(kind[4:], said[4:], np.array([0.4, 0.004]), texts) == (
        "fires on a number (40 %); after `\\u202e` (any case) (0.4 %)"
    )
    assert in_words(kind[3:4], said[3:4], share[3:4], None) == "fires on token 4 token 3 (5 %)"
    assert in_words(kind[:0], said[:0], share[:0], texts) == "no n-gram of up to 4 tokens tells when it fires"


def test_the_text_of_a_planted_unit_names_its_words(planted: Planted, found: Scored) -> None:
    written = dict(zip(planted.names, found.tables["explanations"]["text"].to_pylist(), strict=True))
    assert written["number"] == "fires on a number (100 %)"
    assert written["after a number"] == "fires after a number (100 %)"
    assert written["two meanings 0"].count("`") == 4
    assert "; after " in written["two meanings 0"] or written["two meanings 0"].startswith("fires after")


def test_dense_units_are_explained_from_some_sequences_only(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actpipe.analysis.scores.thinned_firings.AT_MOST", 400)
    found = scored(Rules(), planted.subject, planted.codes, sequences=250)
    again = scored(Rules(), planted.subject, planted.codes, parts=4, sequences=250)
    dense = [i for i, name in enumerate(planted.names) if name.startswith(("list", "number", "after a"))]
    assert found.columns["rules_f1_std"][dense].min() > 0.9
    assert any("were made from a sample" in note for note in found.notes)
    np.testing.assert_allclose(again.columns["rules_f1_std"], found.columns["rules_f1_std"], rtol=1e-9)


@pytest.mark.parametrize(("sequences", "documents"), [(3, 1), (4, 2), (40, 3)])
def test_small_stores_have_rules_or_undefined_scores(tmp_path: Path, sequences: int, documents: int) -> None:
    """Down to a store of one document, where no text is left to explain or to score."""
    tokens = text(sequences)
    number = (np.arange(sequences) * documents // sequences).repeat(CONTEXT).reshape(tokens.shape).astype(np.int32)
    subject = subject_of(text_store(tmp_path / "store", tokens, number), 3)
    codes = np.ones((tokens.size, 3), np.float32)
    codes[:, 0], codes[:, 1] = tokens.ravel() % 7 == 0, 0
    found = scored(Rules(), subject, codes)
    for name, values in found.columns.items():
        assert np.isnan(values[1]), name
        assert np.isfinite(values[0]) or documents < 3 or name in ("rules_precision", "interference_slope"), name
    assert np.isnan(found.columns["rules_f1_std"][2])  # it is never silent
    assert len(found.tables["rules"]) == 4 * 3
    assert len(found.tables["explanations"]) <= 2
