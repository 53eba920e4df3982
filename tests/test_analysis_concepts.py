"""The concept bank by hand, and the score `concepts` on planted units, against brute force and on FactorLang."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import actpipe
from actpipe.analysis import agreement
from actpipe.analysis.concepts import CONCEPTS
from actpipe.analysis.concepts.bank import Bank
from actpipe.analysis.concepts.concept import Lexicon, RowConcept
from actpipe.analysis.concepts.labels import Labels, labels_of
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.rows import Rows, block
from actpipe.analysis.scores import Scored, Subject
from actpipe.analysis.scores.concepts import Concepts
from actpipe.analysis.splits import SCORE
from tests.planted_units import scored, subject_of, text_store

WORDS = sorted({word for concept in CONCEPTS if isinstance(concept, Lexicon) for word in concept.words})
MARKS = [".", ",", "?", "!", ":", '"', " (", ")", "\n", "\n\n", "'s", "-", "...", "$", "%", " [", "]"]
DIGITS = [str(i) for i in range(10)] + [" 1987", " 2004", " 12", "1st", "80s"]
TEXTS = [
    *(f" {word}" for word in WORDS),
    *(f" {word.capitalize()}" for word in WORDS),
    *(f" {word.upper()}" for word in WORDS if len(word) > 2),
    *MARKS,
    *DIGITS,
]


def read(pieces: list[str]) -> tuple[Bank, Rows]:
    """One document of these tokens."""
    texts = sorted({*pieces, " the"})
    tokens = np.array([[texts.index(piece) for piece in pieces]], np.int32)
    counted = np.ones(tokens.shape, np.bool_)
    return Bank(texts), block(0, tokens, np.zeros_like(tokens), counted, np.zeros(2, np.int8))


def where(name: str, pieces: list[str]) -> list[str]:
    """The tokens at which a concept is true."""
    bank, rows = read(pieces)
    labels = bank.labels(rows)[:, bank.names.index(name)]
    return [f"{i}{piece}" for i, (piece, true) in enumerate(zip(pieces, labels, strict=True)) if true]


CASES: list[tuple[str, list[str], list[str]]] = [
    ("case/title", [" The", " cat", "USA", " A"], ["0 The"]),
    ("case/all capitals", [" The", " cat", "USA", " A"], ["2USA"]),
    ("form/roman numeral", ["XIV", " I", "MIX"], ["0XIV"]),
    ("number/year", [" 1987", "87", " 3000"], ["0 1987"]),
    ("number/digits", [" 1987", "87", "a1"], ["0 1987", "187"]),
    ("punctuation/ends sentence", [".", ",", '."', "!"], ["0.", '2."', "3!"]),
    ("script/Cyrillic", [" мир", " world"], ["0 мир"]),
    ("script/accented", [" été", " мир"], ["0 été"]),
    ("letter/c", [" cat", "Cat", " at"], ["0 cat", "1Cat"]),
    ("suffix/-ing", [" running", " ring", " runn", "ing"], ["0 running", "3ing"]),
    ("suffix/-s", [" cats", " class", " cat", "s"], ["0 cats", "3s"]),
    ("contraction/'t", [" don", "'t"], ["1't"]),
    ("function/article", [" the", " The", " they"], ["0 the", "1 The"]),
    ("function/modal", [" Must", " mustard"], ["0 Must"]),
    ("lexicon/pets", [" cat", " kit", "ten", " tiger"], ["0 cat", "2ten"]),  # `kitten` is known at its end
    ("lexicon/animals", [" cat", " cat", "alogue", " tiger"], ["0 cat", "1 cat", "3 tiger"]),
    ("position/first", [" a", " b"], ["0 a"]),
    ("position/sentence first", [" a", ".", " b", " c", "\n", " d"], ["0 a", "2 b", "5 d"]),
    ("position/paragraph first", [" a", "\n\n", " b", "\n", " c"], ["2 b"]),
    ("before/article", [" the", " cat", " the"], ["1 cat"]),
    ("before/of", [" of", " the"], ["1 the"]),
    ("structure/quotes", [" a", ' "', " b", '"', " c"], ['1 "', "2 b"]),
    ("structure/quotes", [" a", ' "', " b", "\n", " c"], ['1 "', "2 b", "3\n"]),
    ("structure/parentheses", [" a", ")", " (", " b", " (", " c", ")", " d", ")", " e"], [
        "2 (", "3 b", "4 (", "5 c", "6)", "7 d",
    ]),
    ("structure/nested parentheses", [" (", " (", " c", ")", " d"], ["1 (", "2 c"]),
    ("structure/key", ["{", '"', "a", '"', ":", '"', "b", '"', "}"], ['1"', "2a"]),
    ("structure/value", ["{", '"', "a", '"', ":", '"', "b", '"', "}"], ["4:", '5"', "6b", '7"']),
    ("structure/list item", ["\n", "-", " milk", "\n", " eggs"], ["1-", "2 milk", "3\n"]),
    ("structure/negated", [" not", *[" a"] * 7], ["1 a", "2 a", "3 a", "4 a", "5 a"]),
    ("history/token", [" a", " b", " a", " B"], ["2 a"]),
    ("history/word", [" a", " b", " a", " B"], ["2 a", "3 B"]),
    ("history/pair", [" a", " b", " c", " a", " b"], ["4 b"]),
    ("history/triple", [" a", " b", " c", " a", " b", " c"], ["5 c"]),
    ("history/same", [" a", " a", " b"], ["1 a"]),
    ("history/in sentence", [" a", ".", " a", " a"], ["3 a"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "pieces", "expected"), CASES)
def test_concepts_by_hand(name: str, pieces: list[str], expected: list[str]) -> None:
    assert where(name, pieces) == expected


def test_a_text_has_a_language_and_a_kind() -> None:
    french = " je ne sais pas qui est dans la rue mais nous avons une autre idée pour les gens".replace(
        " ", "| "
    ).split("|")[1:]
    assert len(where("language/French", french)) == len(french)
    assert where("language/English", french) == []
    code = ["def", " f", "(", "x", ")", ":", "\n", "    ", "return", " x", "[", "0", "]"]
    assert len(where("text/code", code)) == len(code)
    war = [" the", " soldiers", " of", " the", " army", " won", " a", " battle"]
    assert len(where("topic/war", war)) == len(war)
    assert where("topic/food", war) == []


def test_names_are_unique_and_families_many() -> None:
    names = [concept.name for concept in CONCEPTS]
    assert len(set(names)) == len(names) >= 150
    assert len({concept.family for concept in CONCEPTS}) >= 12
    assert sum(concept.family == "lexicon" for concept in CONCEPTS) >= 60
    assert {parent for concept in CONCEPTS for parent in concept.parents} <= set(names)


def test_a_concept_is_true_only_where_its_parents_are() -> None:
    bank, rows = bank_and_text()
    labels = bank.labels(rows)
    place = {name: i for i, name in enumerate(bank.names)}
    pairs = [(i, place[parent]) for i, concept in enumerate(bank.concepts) for parent in concept.parents]
    assert len(pairs) > 60
    outside = [(bank.names[i], bank.names[j]) for i, j in pairs if (labels[:, i] & ~labels[:, j]).any()]
    assert outside == []


def test_vocabularies_without_spaces_are_read_by_their_own_convention() -> None:
    tokens = np.array([[0, 1, 2]], np.int32)
    rows = [block(0, tokens, np.zeros_like(tokens), tokens >= 0, np.zeros(2, np.int8)) for _ in range(2)]
    pieces, words = Bank(["kit", "##ten", "dog"]), Bank(["kit", "ten", "dog"])  # WordPiece; a token a word
    column = pieces.names.index("lexicon/pets")
    assert pieces.labels(rows[0])[:, column].tolist() == [False, True, True]
    assert words.labels(rows[1])[:, column].tolist() == [False, False, True]


def random_text(sequences: int, context: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Words at random, small ones more often, marks between them; documents of 40 to 200 tokens."""
    random = np.random.default_rng(seed)
    weight = np.array([1.0] * len(WORDS) + [0.3] * len(WORDS) + [0.1] * (len(TEXTS) - 2 * len(WORDS)))
    small = np.isin(TEXTS, [" the", " a", " of", " to", " and", " is", " in", " he", " was", " it", " that"])
    weight[small] = 60
    weight[np.isin(TEXTS, MARKS)] = 25
    weight[np.isin(TEXTS, DIGITS)] = 8
    n = sequences * context
    tokens = random.choice(len(TEXTS), size=n, p=weight / weight.sum())
    copied = random.random(n) < 0.1
    tokens[7:][copied[7:]] = tokens[:-7][copied[7:]]
    lengths = random.integers(40, 200, size=n // 40)
    return tokens.reshape(-1, context), np.repeat(np.arange(len(lengths)), lengths)[:n].reshape(-1, context)


def bank_and_text() -> tuple[Bank, Rows]:
    tokens, doc = random_text(200)
    counted = np.ones(tokens.shape, np.bool_)
    rows = block(0, tokens.astype(np.int32), doc.astype(np.int32), counted, np.zeros(doc.max() + 2, np.int8))
    return Bank(TEXTS), rows


def planted_subject(path: Path, n: int, sequences: int) -> tuple[Subject, np.ndarray]:
    """A subject over random text, and the labels of all its rows."""
    store = text_store(path, *random_text(sequences))
    subject = subject_of(store, n)
    subject = replace(subject, corpus=Corpus(store, store.committed, 0, tuple(TEXTS)))
    labels = [labels_for(subject).of(rows) for rows in subject.corpus.blocks(1 << 20)]
    return subject, np.concatenate(labels)


def labels_for(subject: Subject) -> Labels:
    found = labels_of(subject.corpus)
    assert found is not None
    return found


PLANTED = (  # 40, of the families of the judges' exam (analysis.md, appendix D) that are concepts
    *("function/of", "function/and", "function/to", "function/that", "lexicon/pets", "lexicon/months"),
    *("lexicon/colours", "lexicon/countries", "suffix/-ing", "suffix/-ed", "suffix/-tion", "prefix/un-"),
    *("case/title", "case/all capitals", "number/digits", "number/year", "number/one digit", "before/comma"),
    *("before/colon", "before/opening bracket", "structure/parentheses", "structure/square brackets"),
    *("structure/quotes", "lexicon/food", "lexicon/war", "lexicon/music", "lexicon/religion", "lexicon/medicine"),
    *("lexicon/sports", "letter/k", "letter/b", "history/pair", "history/triple", "history/same", "position/first"),
    *("position/line first", "punctuation/comma", "punctuation/question", "contraction/'s", "function/modal"),
)


def plant(labels: np.ndarray, names: list[str], chosen: tuple[str, ...], seed: int = 1) -> np.ndarray:
    """[rows, units]: fires on nine of ten rows of its concept, and a twentieth as often elsewhere."""
    random = np.random.default_rng(seed)
    truth = labels[:, [names.index(name) for name in chosen]]
    fires = np.where(truth, random.random(truth.shape) < 0.9, random.random(truth.shape) < 0.05 * truth.mean(axis=0))
    return (fires * random.exponential(1 + truth)).astype(np.float32)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, np.ndarray, np.ndarray]:
    subject, labels = planted_subject(tmp_path_factory.mktemp("text") / "store", len(PLANTED), 1500)
    return subject, labels, plant(labels, labels_for(subject).bank.names, PLANTED)


def best_concepts(found: Scored) -> list[str]:
    table = found.tables["concepts"].filter(np.asarray(found.tables["concepts"]["rank"]) == 0)
    return table["concept"].to_pylist()


def test_all_40_planted_concepts_are_recovered(planted: tuple[Subject, np.ndarray, np.ndarray]) -> None:
    subject, _, codes = planted
    found = scored(Concepts(), subject, codes)
    assert best_concepts(found) == list(PLANTED)
    assert np.median(found.columns["concept_f1_std"]) > 0.9
    assert found.columns["concept_f1_std"].min() > 0.5  # a tenth missed of a frequent concept is many false alarms
    assert found.columns["concept_rho_std"].min() > 0.4
    assert found.columns["concept_ap"].min() > 0.5
    assert np.median(found.columns["concept_selectivity"]) > 0.5


def test_concepts_that_the_text_does_not_tell_apart_do_not_compete(
    planted: tuple[Subject, np.ndarray, np.ndarray],
) -> None:
    """In this text every blank token is a newline."""
    subject, labels, _ = planted
    codes = plant(labels, labels_for(subject).bank.names, ("space/newline",))
    found = scored(Concepts(), replace(subject, n=1), codes)
    first, second = found.tables["concepts"].to_pylist()[:2]
    assert {first["concept"], second["concept"]} == {"space/blank", "space/newline"}
    assert first["f1_std"] == second["f1_std"]
    assert found.columns["concept_selectivity"][0] > 0.1


def test_shuffled_units_sit_at_the_null(planted: tuple[Subject, np.ndarray, np.ndarray]) -> None:
    subject, _, codes = planted
    random = np.random.default_rng(2)
    found = scored(Concepts(), subject, random.permuted(codes, axis=0))
    assert found.columns["concept_f1_std"].mean() < 0.03  # a concept that knows nothing has at most 0.02
    assert abs(found.columns["concept_rho_std"].mean()) < 0.02
    assert abs(found.columns["concept_ap"].mean()) < 0.02
    assert abs(found.columns["concept_selectivity"].mean()) < 0.01
    assert found.columns["concept_families"].mean() < 0.1
    assert found.columns["concept_separation"].mean() < 0.2


@pytest.mark.parametrize("parts", [1, 4])
def test_streaming_is_brute_force(planted: tuple[Subject, np.ndarray, np.ndarray], parts: int) -> None:
    subject, labels, codes = planted
    found = scored(Concepts(), subject, codes, parts=parts)
    (rows,) = subject.corpus.blocks(1 << 20)
    here = rows.split == SCORE
    bank = labels_for(subject).bank
    for unit in (0, 7, 33):
        a, c = codes[here, unit], labels[here, bank.names.index(PLANTED[unit])]
        of = agreement.confusion(a > 0, c)
        tpr, fpr = agreement.tpr(of), agreement.fpr(of)
        at = agreement.standard_weights(a > 0)
        assert found.columns["concept_f1_std"][unit] == pytest.approx(agreement.standard_f1(tpr, fpr), rel=1e-12)
        assert found.columns["concept_f1"][unit] == pytest.approx(agreement.f1(of), rel=1e-12)
        assert found.columns["concept_rho_std"][unit] == pytest.approx(agreement.pearson(a, c, at), rel=1e-9)
        level = np.where(a > 0, 64 - np.clip(4 * np.log2(a.max() / np.where(a > 0, a, 1)), 0, 63).astype(int), 0)
        ap = agreement.above_chance(agreement.average_precision(c, level), c.mean())
        assert found.columns["concept_ap"][unit] == pytest.approx(ap, rel=1e-9)
        row = found.tables["concepts"].to_pylist()[5 * unit]
        assert (row["unit"], row["rank"], row["concept"]) == (unit, 0, PLANTED[unit])
        assert row["lift"] == pytest.approx(c[a > 0].mean() / c.mean(), rel=1e-5)


def test_an_accumulator_is_copied_and_sent_without_the_bank(planted: tuple[Subject, np.ndarray, np.ndarray]) -> None:
    subject, _, _ = planted
    empty = Concepts().gather(subject)
    assert deepcopy(empty).labels is empty.labels
    assert len(pickle.dumps(empty)) < 3 * sum(array.nbytes for array in empty.state().values()) + 1_000_000


def test_labels_do_not_depend_on_the_block(planted: tuple[Subject, np.ndarray, np.ndarray]) -> None:
    """Neither those that are kept nor those that are made for a block."""
    subject, labels, _ = planted
    bank = labels_for(subject).bank
    for rows in list(subject.corpus.blocks(640))[::20]:
        whole = labels[rows.first : rows.first + len(rows.tokens)]
        assert (labels_for(subject).of(rows) == whole).all()
        assert (bank.labels(rows) == whole).all()


def test_undefined_is_nan(planted: tuple[Subject, np.ndarray, np.ndarray]) -> None:
    subject, _, codes = planted
    silent = codes.copy()
    silent[:, 3] = 0
    found = scored(Concepts(), subject, silent)
    assert all(np.isnan(found.columns[metric.name][3]) for metric in Concepts.metrics)
    assert 3 not in found.tables["concepts"]["unit"].to_pylist()
    assert not any(np.isnan(found.columns[metric.name][2]) for metric in Concepts.metrics)


def test_without_texts_there_are_no_scores_and_a_note(tmp_path: Path) -> None:
    tokens, doc = random_text(20)
    subject = subject_of(text_store(tmp_path / "store", tokens, doc), 2)
    found = scored(Concepts(), subject, np.ones((tokens.size, 2), np.float32))
    assert all(np.isnan(column).all() for column in found.columns.values())
    assert "tokenizer" in found.notes[0]


def test_a_label_matrix_can_stand_in_the_bank() -> None:
    """An external source of concepts: one more `RowConcept`, of the row's number in the store."""
    truth = np.arange(12) % 5 == 0
    concept = RowConcept(name="external/fifth", text="every fifth row", label=lambda r: truth[r.rows.first + r.index])
    bank = Bank([" a", " b"], (*CONCEPTS, concept))
    tokens = np.zeros((2, 6), np.int32)
    rows = block(0, tokens, np.zeros_like(tokens), np.ones(tokens.shape, np.bool_), np.zeros(2, np.int8))
    assert (bank.labels(rows)[:, -1] == truth).all()


def test_factors_of_factorlang_are_found_in_its_oracle_units(tmp_path: Path) -> None:
    """The true factors join the bank where the store was harvested from FactorLang."""
    from actpipe.antehoc import GPT
    from actpipe.antehoc.hugging_face import save
    from actpipe.corpora.token_text import token_texts
    from actpipe.factorlang import FACTORS, word_tokenizer
    from actpipe.harvest.config import HarvestConfig
    from actpipe.harvest.stage import harvest

    model = GPT(vocabulary=2048, context=256, d_model=16, n_layers=1, n_heads=1)
    save(model.build(seed=0), model, word_tokenizer(), tmp_path / "model")
    config = HarvestConfig(
        model=str(tmp_path / "model"), dataset="actpipe:factorlang", hook=("blocks.0.hook_resid_post",), tokens=40_960,
        context=256, separator="none", device="cpu", out=tmp_path / "store",
    )  # fmt: skip
    harvest(config)
    store = actpipe.open_store(tmp_path / "store")
    corpus = Corpus(store, store.committed, 0, tuple(token_texts(word_tokenizer())))
    subject = replace(subject_of(store, len(FACTORS)), corpus=corpus)
    labels = labels_for(subject)
    factors = [i for i, name in enumerate(labels.bank.names) if name.startswith("factor ")]
    assert len(factors) == len(FACTORS)
    codes = np.concatenate([labels.of(rows)[:, factors] for rows in corpus.blocks(8192)]).astype(np.float32)
    oracle = scored(Concepts(), subject, codes, sequences=32)
    enough = ~np.isnan(oracle.columns["concept_f1_std"]) & (codes.sum(axis=0) >= 300)
    assert enough.sum() > 120
    assert oracle.columns["concept_f1_std"][enough].min() >= 0.99
    shuffled = np.random.default_rng(0).permuted(codes, axis=0)
    random = scored(Concepts(), subject, shuffled, sequences=32)
    assert np.nanmean(random.columns["concept_f1_std"]) < 0.04
