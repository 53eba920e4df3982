"""Tiles of text as vectors: by words, by the model's own embeddings, by an encoder; and how alike examples are."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.embeddings import EMBEDDINGS, EncodedTiles, Lexical, TokenEmbeddings
from actpipe.analysis.embeddings.embedding import opened
from actpipe.analysis.embeddings.encoder import minilm_folder, open_encoder
from actpipe.analysis.embeddings.example_score import auroc, example_score
from actpipe.analysis.embeddings.input_weights import _from_file, input_embeddings
from actpipe.analysis.embeddings.lexical import letter_grams
from actpipe.analysis.embeddings.tiles import Tiles, tiles_of
from actpipe.analysis.embeddings.token_table import token_table
from actpipe.analysis.rows import WINDOW
from actpipe.analysis.scores.mono_semanticity import MonoSemanticity
from actpipe.errors import Missing
from actpipe.store import Store

from .planted_units import scored, subject_of, text_store

WORDS = [" know", " knows", " knowing", " table", " 7", ".", "", " zebra"]


def tile(*tokens: list[int]) -> Tiles:
    padded = np.zeros((len(tokens), WINDOW), np.int64)
    for row, mine in zip(padded, tokens, strict=True):
        row[: len(mine)] = mine
    return Tiles(np.arange(len(tokens)) * WINDOW, padded, np.array([len(mine) for mine in tokens]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Eight words, all equally often, in 24 documents of 32 tokens."""
    random = np.random.default_rng(0)
    tokens = random.permutation(np.arange(24 * 32) % len(WORDS)).reshape(24, 32)
    return text_store(tmp_path / "store", tokens, np.arange(24).repeat(32).reshape(24, 32))


@pytest.fixture
def corpus(store: Store) -> Corpus:
    return Corpus(store, store.committed, 0, WORDS)


def test_a_tile_is_the_weighted_mean_of_its_tokens_without_what_all_share(tmp_path: Path) -> None:
    """Three tokens, n = 24, 6, 2 of 32: w = ln(1 + 32/n)."""
    tokens = np.repeat([0, 1, 2], [24, 6, 2])[None]
    text = text_store(tmp_path / "store", tokens, np.zeros_like(tokens))
    vectors = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    embedder = token_table(vectors, Corpus(text, text.committed, 0), dims=2)
    w = np.log([1 + 32 / 24, 1 + 32 / 6, 1 + 32 / 2])
    mean = (np.array([24, 6, 2]) * w) @ vectors / (np.array([24, 6, 2]) @ w)
    expected = 2 * w[1] * (vectors[1] - mean) + w[2] * (vectors[2] - mean)
    (found,) = embedder.embed(tile([1, 2, 1]))
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_the_directions_that_are_kept_are_those_in_which_tokens_vary(corpus: Corpus) -> None:
    vectors = np.random.default_rng(1).normal(size=(8, 12)).astype(np.float32)
    vectors[:, 3:] *= 1e-3
    whole, kept = (token_table(vectors, corpus, dims=dims) for dims in (12, 3))
    tiles = tile([0, 1, 2], [3, 3, 4], [5, 6, 7, 7])
    assert kept.embed(tiles).shape == (3, 3)
    e, f = whole.embed(tiles), kept.embed(tiles)
    np.testing.assert_allclose(e @ e.T, f @ f.T, atol=1e-2)
    vectors[:, 1] *= 100
    columns = token_table(vectors, corpus, dims=12, without=1).table.T
    assert len(columns) == 11
    # Eight centred tokens span seven directions, and one is left out; what the other five columns hold is rounding.
    carrying = [column for column in columns if column.std() > 1e-6 * columns[0].std()]
    assert len(carrying) == 6
    centred = vectors[:, 1] - vectors[:, 1].mean()  # all words are equally often, so all weigh the same
    assert max(abs(np.corrcoef(centred, column)[0, 1]) for column in carrying) < 0.05


def test_words_are_near_when_they_are_spelled_alike_and_not_otherwise(corpus: Corpus) -> None:
    assert letter_grams(" The") == letter_grams("the") == [" th", "the", "he ", " the", "the ", " the "]
    assert letter_grams("") == []
    know, knows, table, again = Lexical(dims=4096).open(corpus).embed(tile([0], [1], [3], [0, 0]))
    assert know @ again == pytest.approx(1)
    # Six of 9 and 12 letter grams are shared: 6 / √108 of the half of the square that letters are; less what all share.
    assert know @ knows - know @ table == pytest.approx(0.5 * 6 / 108**0.5, abs=0.06)
    assert know @ table < 0.0
    without = Lexical(dims=4096).open(Corpus(corpus.store, corpus.store.committed, 0))
    know, knows = without.embed(tile([0], [1]))
    assert know @ knows < 0.0


def test_hashing_keeps_products_of_bags_on_average() -> None:
    """Over many features: the error of a product of unit vectors is about 1/√dims."""
    from actpipe.analysis.embeddings.lexical import hashed

    vectors = hashed(np.arange(2000), np.arange(2000), 2000, 256)
    products = vectors @ vectors.T
    assert (np.diag(products) == 1).all()
    apart = products[~np.eye(2000, dtype=bool)]
    assert abs(apart.mean()) < 0.001
    assert apart.std() == pytest.approx(1 / 16, rel=0.05)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_input_embeddings_are_read_from_the_file(saved_models: dict[str, Path], name: str) -> None:
    from actpipe.harvest.model import load_model

    folder = str(saved_models[name])
    loaded = load_model(folder, dtype="float32", device="cpu").module.get_input_embeddings().weight.numpy()
    read = _from_file(folder)
    assert read is not None
    np.testing.assert_array_equal(read, loaded)
    np.testing.assert_array_equal(input_embeddings(f"{folder}@init=3"), loaded)  # the instrument is the trained one


def test_input_embeddings_of_a_shipped_model() -> None:
    assert input_embeddings("actpipe:factor-gpt-0").shape == (2048, 64)


def test_token_embeddings_are_those_of_the_stores_model(store: Store, saved_models: dict[str, Path]) -> None:
    corpus = Corpus(store, store.committed, 0)
    with pytest.raises(Missing, match="does not say which model"):
        opened(TokenEmbeddings(), corpus)
    of_model = Corpus(store, store.committed, 0)
    store.config["model"] = {"name": str(saved_models["gpt2"])}
    vectors = input_embeddings(str(saved_models["gpt2"]))
    tiles = tile([0, 1, 2], [3, 7])
    found = opened(TokenEmbeddings(), of_model).embed(tiles)
    np.testing.assert_array_equal(found, token_table(vectors, of_model, dims=256, without=0).embed(tiles))
    assert opened(TokenEmbeddings(), of_model) is opened(TokenEmbeddings(), of_model)
    assert opened(TokenEmbeddings(dims=8), of_model).dims == 8


@pytest.mark.parametrize("name", ["bert", "t5", "gpt2"])
def test_an_encoder_gives_the_mean_of_the_last_states_whatever_stands_beside(
    saved_models: dict[str, Path], name: str
) -> None:
    encoder = open_encoder(str(saved_models[name]))
    texts = ["one", "a much longer text of several words " * 2, "two words"] * 30
    found = encoder.embed(texts)
    assert found.shape == (90, 32)
    for i in range(3):
        inputs = encoder.tokenizer(texts[i], return_tensors="pt", truncation=True, max_length=encoder.longest)
        with torch.no_grad():
            mean = encoder.module(**inputs).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(found[i], torch.nn.functional.normalize(mean, dim=0), atol=1e-5)


def test_an_encoder_is_read_again_when_its_folder_has_changed(tmp_path: Path, saved_models: dict[str, Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "encoder"
    shutil.copytree(saved_models["bert"], folder)
    first = open_encoder(str(folder))
    assert open_encoder(str(folder)) is first
    weights = load_file(folder / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert not np.array_equal(open_encoder(str(folder)).embed(["a text"]), first.embed(["a text"]))


def test_an_encoder_that_is_not_whole_is_refused(tmp_path: Path, saved_models: dict[str, Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "half"
    folder.mkdir()
    for path in saved_models["bert"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if ".layer.1." not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(Missing, match=r"no weights for encoder\.layer\.1"):
        open_encoder(str(folder))
    with pytest.raises(Missing, match="no folder"):
        open_encoder(str(tmp_path / "nowhere"))


def test_an_encoder_reads_a_sample_of_the_tiles_and_scores_them_alone(
    corpus: Corpus, saved_models: dict[str, Path]
) -> None:
    embedding = EncodedTiles(model=str(saved_models["bert"]), tiles=10)
    (rows,) = corpus.blocks(10**6)
    tiles, of_row = tiles_of(rows)
    embedder = opened(embedding, corpus)
    taken = embedder.takes(tiles.tile)
    assert taken.sum() == 10
    vectors = embedder.embed(tiles)
    texts = ["".join(WORDS[t] for t in tokens).strip() for tokens in tiles.tokens[taken].tolist()]
    np.testing.assert_allclose(vectors[taken], open_encoder(embedding.model).embed(texts), atol=1e-5)
    assert not vectors[~taken].any()
    random = np.random.default_rng(3)
    codes = random.exponential(size=(len(of_row), 1)) * (random.random((len(of_row), 1)) < 0.05)
    subject = replace(subject_of(corpus.store, 1), corpus=corpus)
    found = scored(MonoSemanticity(embedding=embedding), subject, codes, parts=2).columns["ms"][0]
    peak = np.zeros(len(tiles.tile))
    np.maximum.at(peak, of_row, np.float32(codes[:, 0]))
    weight = np.outer(peak[taken], peak[taken]) * (1 - np.eye(10))
    cosine = vectors[taken] @ vectors[taken].T
    assert found == pytest.approx((weight * cosine).sum() / weight.sum(), abs=1e-9)


def test_an_encoder_without_texts_is_missing(store: Store) -> None:
    with pytest.raises(Missing, match="tokenizer"):
        opened(EMBEDDINGS["encoder"](), Corpus(store, store.committed, 0))


def test_minilm_knows_a_paraphrase() -> None:
    try:
        minilm_folder()
    except Missing as error:
        pytest.skip(str(error))
    said, again, other = open_encoder().embed(
        ["A man is eating food.", "A man eats something.", "The stock market fell today."]
    )
    assert said @ again > 0.8
    assert said @ other < 0.1


def test_example_score_by_hand() -> None:
    assert auroc(np.array([3.0, 1.0]), np.array([1.0, 0.0, 2.0])) == pytest.approx((3 + 1.5) / 6)
    assert np.isnan(auroc(np.array([]), np.array([1.0])))
    east, north, half = [2.0, 0.0], [0.0, 3.0], [1.0, 1.0]
    found = example_score(
        firing_queries=np.array([east, half]),
        silent_queries=np.array([north, half]),
        firing_examples=np.array([east, east]),
        silent_examples=np.array([north]),
    )
    assert found.firing == pytest.approx([1, 0])
    assert found.silent == pytest.approx([-1, 0])
    assert found.auroc == pytest.approx((2 + 1.5) / 4)
    nothing: Any = np.zeros((0, 2))
    one = np.array([east])
    empty = example_score(
        firing_queries=one, silent_queries=one, firing_examples=nothing, silent_examples=one
    )  # fmt: skip
    assert np.isnan(empty.auroc)
