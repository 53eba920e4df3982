"""The language: fixed documents, its word list, its names as a dataset, and the labels of words and of rows."""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actpipe
from actpipe.corpora import FactorLang, open_corpus
from actpipe.errors import Mismatch, Misuse
from actpipe.factorlang import (
    FACTORS,
    VERSION,
    Document,
    Language,
    documents,
    labels,
    labels_of_store,
    token_words,
    word_tokenizer,
)
from actpipe.factorlang.factors import ancestors
from actpipe.factorlang.vocabulary import OPEN_CLASSES, Class, vocabulary
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.stage import harvest

NAMES = [factor.name for factor in FACTORS]
# SHA-256, first 16 digits, of the texts of documents 0 to 199 of seed 0 and of the labels of the first three.
GOLDEN = (1, "d57ab619ba8d825c", ("ec87f42aa8efa249", "71f59e7694f04f3b", "a1c91500ca42968c"))


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents(0, 0, 400))


def short_hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def true_words(document: Document, factor: str) -> list[str]:
    chosen = labels(document)[:, NAMES.index(factor)]
    return [word for word, is_true in zip(document.text.split(), chosen, strict=True) if is_true]


def test_the_first_documents_of_seed_0_are_what_they_were(made: list[Document]) -> None:
    """They change only with the version of the language, which stores record through the dataset's fingerprint."""
    texts = short_hash("\n".join(document.text for document in made[:200]).encode())
    assert (VERSION, texts, tuple(short_hash(labels(d).tobytes()) for d in made[:3])) == GOLDEN


def test_a_document_is_a_function_of_its_seed_and_number(made: list[Document]) -> None:
    alone = next(documents(0, 300, 301))
    assert (alone.number, alone.text) == (300, made[300].text)
    assert np.array_equal(labels(alone), labels(made[300]))
    assert next(documents(1, 300, 301)).text != alone.text
    assert [d.number for d in islice(documents(0, 510, 10**9), 4)] == [510, 511, 512, 513]  # across blocks, unbounded


def test_the_vocabulary_is_2048_words_of_one_class_each() -> None:
    known = vocabulary()
    assert len(known.words) == len(set(known.words)) == 2048
    is_open = np.isin(known.class_of, OPEN_CLASSES)
    assert ((known.topics_of[:, 0] >= 0) == is_open).all()
    assert (known.topics_of[is_open, 1] >= 0).mean() == pytest.approx(0.15, abs=0.01)
    assert {"waves", "captain", "sharp", "tries"} <= set(known.words)


def test_rates_are_those_of_the_language(made: list[Document]) -> None:
    """Within four standard errors: topics that change, noise, copies; every hidden value about as often."""
    topics = np.stack([d.trace.topic for d in made])
    moves = (np.diff(topics, axis=1) != 0).mean()
    assert moves == pytest.approx(0.01, abs=4 * (0.01 / topics.size) ** 0.5)
    table = np.concatenate([labels(d) for d in made])
    share = dict(zip(NAMES, table.mean(0), strict=True))
    fresh = np.concatenate([d.trace.source == 0 for d in made])
    opens = table[:, NAMES.index("open")] & fresh
    noise = table[opens, NAMES.index("noise")]
    assert noise.mean() == pytest.approx(0.02, abs=4 * (0.02 / len(noise)) ** 0.5)
    starts = table[:, NAMES.index("position/0")]
    starts[::255] = False  # the first sentence of a document has nothing to copy
    copied = table[starts, NAMES.index("copied")]
    assert copied.mean() == pytest.approx(0.1, abs=4 * (0.09 / len(copied)) ** 0.5)
    for name, n in (("language/kron", 3), ("style/ornate", 4), ("speaker/5", 8), ("topic/farm", 16)):
        assert share[name] == pytest.approx(1 / n, abs=4 * (1 / n / 400) ** 0.5)
    assert share["depth/4+"] > 0.001
    assert np.mean([d.trace.n_stated[-1] for d in made]) > 5


def test_no_label_is_always_the_same_and_children_lie_in_their_parents(made: list[Document]) -> None:
    assert len(FACTORS) == len(set(NAMES)) == 152
    table = np.concatenate([labels(d) for d in made])
    assert (table.any(0) & ~table.all(0)).all()
    assert len(np.unique(table, axis=1).T) == len(FACTORS)
    for i, factor in enumerate(FACTORS):
        for parent in factor.parents:
            inside, around = table[:, i], table[:, NAMES.index(parent)]
            assert not (inside & ~around).any(), (factor.name, parent)
            assert inside.sum() < around.sum(), (factor.name, parent)
    assert ancestors("noun/singular") == {"noun", "form/singular", "open"}


def test_labels_of_a_document_are_those_one_reads_off_it() -> None:
    document = next(documents(0, 0, 1))
    assert document.text.startswith(
        "hornets wears orange . each exam teaches many classrooms [ your teacher learns quickly the teachers [ your "
        "textbook is bright ] ] ."
    )
    at = {name: np.flatnonzero(labels(document)[:, i])[:100].tolist() for i, name in enumerate(NAMES)}

    def among(factor: str, stop: int) -> list[int]:
        return [i for i in at[factor] if i < stop]

    assert among("name/club", 20) == among("name/stated", 20) == [0]
    assert among("fact/1", 20) == [0, 2]
    assert among("sentence/statement", 20) == [0, 1, 2, 3]
    assert among("noun/singular", 20) == [5, 11, 18]
    assert among("noun/plural", 20) == [8, 15]
    assert among("phrase/subject", 20) == [4, 5, 10, 11, 17, 18]
    assert among("phrase/object", 20) == [7, 8, 14, 15]
    assert among("awaits/singular", 20) == [5, 11, 18]
    assert among("depth/1+", 20) == list(range(9, 20))
    assert among("depth/2+", 20) == among("inside/square", 20)[7:] == [16, 17, 18, 19]
    assert among("agrees", 20) == [6, 12, 19]
    assert among("repeats/word", 20) == [16, 17]
    assert true_words(document, "value/recalled")[:3] == ["orange", "orange", "marble"]
    assert at["language/english"] == list(range(100))


def test_a_noun_and_its_verb_agree_across_whatever_stands_between(made: list[Document]) -> None:
    """A verb right behind a word after which a plural one is awaited is plural."""
    checked = 0
    for document in made[:50]:
        table = labels(document)
        number = {n: table[:, NAMES.index(f"awaits/{n}")] for n in ("singular", "plural")}
        for n, waits in number.items():
            verbs = 1 + np.flatnonzero(waits[:-1] & table[1:, NAMES.index("agrees")])
            assert table[verbs, NAMES.index(f"form/{n}")].all()
            checked += len(verbs)
    assert checked > 1000


def test_one_token_a_word_and_the_text_comes_back(made: list[Document], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    word_tokenizer().save_pretrained(tmp_path)
    saved = AutoTokenizer.from_pretrained(tmp_path)
    for document in made[:5]:
        assert saved(document.text)["input_ids"] == document.words.tolist()
        assert saved.decode(document.words) == document.text
    assert (len(saved), saved.bos_token_id, saved.eos_token_id) == (2048, 0, 0)


def test_tokens_of_any_tokenizer_find_their_words(made: list[Document], tokenizer: Any) -> None:
    encoded = tokenizer(made[0].text, return_offsets_mapping=True)
    word = token_words(made[0], encoded["offset_mapping"])
    spelled: dict[int, str] = {}
    for place, token in zip(word.tolist(), encoded["input_ids"], strict=True):
        spelled[place] = spelled.get(place, "") + tokenizer.decode([token])
    assert len(word) > 400  # far more tokens than words
    assert [spelled[place].strip() for place in range(255)] == made[0].text.split()
    assert token_words(made[0], [(0, 3), (7, 8), (3, 3)]).tolist() == [0, -1, -1]  # a space, and nothing


def test_the_name_of_the_dataset_says_which_documents() -> None:
    corpus = open_corpus("actpipe:factorlang,seed=3,documents=2,start=7,words=40")
    assert corpus == FactorLang(seed=3, start=7, n_documents=2, words=40)
    assert corpus.name == "actpipe:factorlang,seed=3,start=7,documents=2,words=40"
    assert list(corpus.documents()) == [d.text for d in documents(3, 7, 9, language=Language(words=40))]
    assert list(corpus.documents()) == list(corpus.documents())
    assert open_corpus("actpipe:factorlang") == FactorLang()
    assert len({FactorLang(seed=seed, words=words).fingerprint() for seed in (0, 1) for words in (1, 2)}) == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("actpipe:factorlang,seed=x", "no 'seed=x'; it has seed=N, start=N, documents=N, words=N"),
        ("actpipe:factorlang,topics=3", "no 'topics=3'"),
        ("actpipe:factorlang,documents=0", "no documents=0; give 1 or more"),
        ("actpipe:factorlang,seed=3,seed=4", "seed=3,seed=4' gives seed more than once"),
        ("actpipe:stories", "no dataset 'actpipe:stories'"),
    ],
)
def test_a_name_that_says_nothing_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        open_corpus(name)


def test_options_of_other_datasets_are_refused() -> None:
    with pytest.raises(Misuse, match="no split 'test'; take other documents"):
        open_corpus("actpipe:factorlang", split="test")
    with pytest.raises(Misuse, match="no revision 'main'"):
        open_corpus("actpipe:factorlang", revision="main")
    with pytest.raises(Misuse, match="no words=0; give 1 to"):
        Language(words=0)
    with pytest.raises(Misuse, match=r"noise=1\.5 is no probability"):
        Language(noise=1.5)


@pytest.fixture(scope="module")
def word_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights that reads words."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("word-model")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=2048, n_positions=256, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        folder
    )
    word_tokenizer().save_pretrained(folder)
    return folder


def store_of(model: Path, out: Path, **fields: Any) -> actpipe.Store:
    asked = {
        "dataset": "actpipe:factorlang,seed=2,documents=40,start=5",
        "hook": ("blocks.0.hook_resid_post",),
    } | fields
    harvest(HarvestConfig(model=str(model), device="cpu", model_dtype="float32", dtype="float32", out=out, **asked))
    return actpipe.open_store(out)


def test_a_sequence_of_256_is_one_document_and_all_of_its_labels(word_model: Path, tmp_path: Path) -> None:
    store = store_of(word_model, tmp_path / "s.zarr", tokens=20 * 256, context=256, separator="none")
    found = labels_of_store(store, word_tokenizer())
    known = found.known.reshape(-1, 256)
    assert not known[:, 0].any()
    assert known[:, 1:].all()
    for i, document in enumerate(documents(2, 5, 25)):
        assert np.array_equal(found.labels.reshape(20, 256, -1)[i, 1:], labels(document))
        assert np.array_equal(store.tokens[i, 1:], document.words)
        assert (found.document.reshape(20, 256)[i, 1:] == document.number).all()


@pytest.mark.parametrize("packing", ["stream", "documents"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_label_of_every_row_is_recovered_from_the_store_alone(
    packing: Any, kind: str, saved_models: dict[str, Path], tmp_path: Path
) -> None:
    """With tokens that are parts of words, documents that begin and end anywhere, separators and padding."""
    from actpipe.harvest.model import load_tokenizer

    hook = ("blocks.1.hook_resid_post",)
    store = store_of(saved_models[kind], tmp_path / "s.zarr", tokens=6000, context=50, packing=packing, hook=hook)
    tokenizer = load_tokenizer(str(saved_models[kind]))
    found = labels_of_store(store, tokenizer)
    tokens, mask = store.tokens.reshape(-1), store.mask.reshape(-1)
    spelled: dict[tuple[int, int], str] = {}
    for row in found.known.nonzero()[0]:
        key = int(found.document[row]), int(found.word[row])
        spelled[key] = spelled.get(key, "") + tokenizer.decode([int(tokens[row])])
    texts = {d.number: d for d in documents(2, 5, 45)}
    last = max(spelled)  # the end of the store may cut it
    words = {key: texts[key[0]].text.split()[key[1]] for key in spelled}
    assert {k: v.strip() for k, v in spelled.items() if k != last} == {k: v for k, v in words.items() if k != last}
    assert len(spelled) > 1000
    for row in found.known.nonzero()[0][::97]:
        document = texts[int(found.document[row])]
        assert np.array_equal(found.labels[row], labels(document)[found.word[row]])
    # Rows that count and have no word are the few tokens that are a space alone.
    assert all(tokenizer.decode([int(token)]).strip() == "" for token in tokens[mask & ~found.known])
    part = labels_of_store(store, tokenizer, start=31, stop=47)
    assert np.array_equal(part.labels, found.labels[31 * 50 : 47 * 50])
    assert np.array_equal(part.word, found.word[31 * 50 : 47 * 50])


def test_labels_are_refused_with_another_tokenizer_or_another_text(
    word_model: Path, text_file: Path, tokenizer: Any, saved_models: dict[str, Path], tmp_path: Path
) -> None:
    store = store_of(word_model, tmp_path / "s.zarr", tokens=512, context=256)
    with pytest.raises(Mismatch, match="give the tokenizer of its model"):
        labels_of_store(store, tokenizer)
    hook = ("blocks.1.hook_resid_post",)
    other = store_of(
        saved_models["llama"], tmp_path / "o.zarr", tokens=480, context=24, dataset=str(text_file), hook=hook
    )
    with pytest.raises(Misuse, match="no dataset"):
        labels_of_store(other, tokenizer)


def test_the_command_line_harvests_it(word_model: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from cli.harvest import command

    words = [
        "--model",
        str(word_model),
        "--dataset",
        "actpipe:factorlang,documents=8",
        "--out",
        str(tmp_path / "s.zarr"),
    ]
    words += ["--hook", "blocks.0.mlp.hook_post", "--tokens", "1k", "--context", "64", "--json"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["rows"] == 1024
    recorded = actpipe.open_store(tmp_path / "s.zarr").config["dataset"]
    assert (recorded["name"], recorded["kind"]) == ("actpipe:factorlang,documents=8", "factorlang")


def test_the_labels_of_a_class_are_its_words(made: list[Document]) -> None:
    known = vocabulary()
    table = np.concatenate([labels(d) for d in made[:50]])
    words = np.concatenate([d.words for d in made[:50]])
    assert set(words[table[:, NAMES.index("stop")]]) == {known.numbers["."]}
    assert set(known.class_of[words[table[:, NAMES.index("adverb")]]]) == {Class.ADVERB}
