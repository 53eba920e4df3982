"""MonoSemanticity in one pass against the mean over all pairs, and on text whose meaning is planted."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from actpipe.analysis.embeddings.embedding import opened
from actpipe.analysis.embeddings.pair_similarity import PairSums
from actpipe.analysis.embeddings.tiles import tiles_of
from actpipe.analysis.firings import Firings
from actpipe.analysis.rows import Rows
from actpipe.analysis.scores.mono_semanticity import MonoSemanticity

from .planted_topics import CONTEXT, TOPICS, Meanings, topic_of_word, topic_store
from .planted_units import scored, subject_of, text_store
from .small_run import texts

SCORE = MonoSemanticity(embedding=Meanings())


def sums_of(vectors: np.ndarray, activation: np.ndarray) -> PairSums:
    """One tile of eight rows for every vector; activation [units, tiles], of which the peak is at the third row."""
    units, n = activation.shape
    rows = Rows(
        first=0, tokens=np.zeros(8 * n, np.int64), documents=np.repeat(np.arange(n), 8),
        counted=np.ones(8 * n, bool), span_start=np.repeat(np.arange(n) * 8, 8),
        span_stop=np.repeat(np.arange(n) * 8 + 8, 8), split=np.zeros(8 * n, np.int8),
    )  # fmt: skip
    tile, unit = np.nonzero(activation.T)
    firing = Firings(rows=rows, n_units=units, unit=unit, row=8 * tile + 2, value=activation.T[tile, unit])
    sums = PairSums(units, vectors.shape[1])
    sums.update(firing, vectors)
    return sums


def directions(n: int, dims: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dims)) + 0.3
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive(vectors: np.ndarray, activation: np.ndarray) -> float:
    """The definition: over all pairs, activations scaled to [0, 1]."""
    a = (activation - activation.min()) / (activation.max() - activation.min())
    weight, cosine = np.outer(a, a), vectors @ vectors.T
    pair = ~np.eye(len(a), dtype=bool)
    return float((weight * cosine)[pair].sum() / weight[pair].sum())


def test_one_pass_is_the_mean_over_all_pairs_whatever_the_parts(tmp_path: Path) -> None:
    text = texts(seed=3)
    store = text_store(tmp_path / "store", text["tokens"] + 300, text["doc"], text["mask"])
    subject = subject_of(store, 4)
    random = np.random.default_rng(0)
    codes = random.exponential(size=(text["tokens"].size, 4)) * (random.random((text["tokens"].size, 4)) < 0.05)
    codes[:, 1] = 0.5 + random.random(len(codes))  # in every tile: the least activation is not 0
    codes[:, 3] *= random.random(len(codes)) < 0.1
    score = MonoSemanticity(embedding=Meanings(noise=1.0))
    (rows,) = subject.corpus.blocks(10**6)
    tiles, of_row = tiles_of(rows)
    assert tiles.length.min() >= 8
    assert len(tiles.tile) < len(np.unique(rows.tile[rows.counted]))
    activation = np.zeros((4, len(tiles.tile)))
    for row, tile in enumerate(of_row):
        if tile >= 0:
            activation[:, tile] = np.maximum(activation[:, tile], np.float32(codes[row]))
    vectors = opened(score.embedding, subject.corpus).embed(tiles)
    one = scored(score, subject, codes).columns
    for unit in range(4):
        assert one["ms"][unit] == pytest.approx(naive(vectors, activation[unit]), abs=1e-9)
    for parts, sequences in ((4, 1), (3, 5)):
        again = scored(score, subject, codes, parts=parts, sequences=sequences).columns
        for metric, values in one.items():
            np.testing.assert_allclose(again[metric], values, rtol=1e-9, atol=1e-12, err_msg=metric)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_null_is_that_of_all_permutations(n: int) -> None:
    vectors = directions(n, 4)
    activation = np.array([[0.0, 2.0, 1.0, 0.0, 0.5, 3.0][:n], [1.0, 5.0, 2.0, 3.0, 4.0, 2.5][:n]], np.float32)
    found = sums_of(vectors, activation).finish()
    for unit, a in enumerate(activation.astype(np.float64)):
        drawn = np.array([naive(vectors[list(order)], a) for order in permutations(range(n))])
        assert found.chance == pytest.approx(drawn.mean(), abs=1e-12)
        assert found.z[unit] == pytest.approx((naive(vectors, a) - drawn.mean()) / drawn.std(), rel=1e-9)


def test_null_is_that_of_permutations_drawn_among_many_tiles() -> None:
    random = np.random.default_rng(1)
    vectors, activation = directions(80, 16), random.exponential(size=(1, 80)) * (random.random((1, 80)) < 0.3)
    found = sums_of(vectors, activation).finish()
    drawn = np.array([naive(vectors[random.permutation(80)], activation[0]) for _ in range(2000)])
    assert found.chance == pytest.approx(drawn.mean(), abs=4 * drawn.std() / 2000**0.5)
    spread = (found.similarity[0] - found.chance) / found.z[0]
    assert spread == pytest.approx(drawn.std(), rel=0.1)  # that of 2000 draws is known to 2 % if they were normal


def test_undefined_where_there_is_no_pair() -> None:
    silent, once, everywhere = np.zeros(5), np.eye(5)[2], np.full(5, 0.7)
    found = sums_of(directions(5, 3), np.array([silent, once, everywhere], np.float32)).finish()
    assert np.isnan(found.similarity).all()
    assert np.isnan(found.z).all()
    assert np.isfinite(found.chance)


def test_tiles_without_a_direction_are_no_items() -> None:
    vectors, activation = directions(7, 3), np.array([[1.0, 2.0, 0.0, 4.0, 1.0, 0.0, 3.0]], np.float32)
    vectors[3] = 0
    left = [0, 1, 2, 4, 5, 6]
    whole, without = sums_of(vectors, activation), sums_of(vectors[left], activation[:, left])
    assert (whole.tiles, without.tiles) == (6, 6)
    assert whole.finish().z[0] == pytest.approx(without.finish().z[0], rel=1e-12)


def test_one_topic_is_alike_two_are_half_as_alike_and_chance_is_zero(tmp_path: Path) -> None:
    """And a unit for one word, whatever the text is about, is alike in its words and in nothing beyond them."""
    store, _ = topic_store(tmp_path / "store")
    subject = subject_of(store, 5)
    tokens = store.tokens.reshape(-1)
    random = np.random.default_rng(2)
    said = topic_of_word(tokens)
    codes = np.zeros((tokens.size, 5), np.float32)
    codes[:, 0] = said == 3
    codes[:, 1] = (said == 3) | (said == 4)
    codes[:, 2] = tokens == TOPICS * 40 + 7  # a common word
    codes[:, 3:] = random.random((tokens.size, 2)) < 0.01
    codes *= random.uniform(0.5, 1.5, size=codes.shape)
    found = scored(SCORE, subject, codes).columns
    assert found["ms_c"][0] > 0.8
    assert found["ms_c"][1] == pytest.approx(found["ms_c"][0] / 2, abs=0.1)
    assert (found["ms_z"][:2] > 20).all()
    assert (np.abs(found["ms_z"][3:]) < 4).all()
    assert (found["ms_q"][:2] < 1e-6).all()
    assert (found["ms_q"][3:] > 0.001).all()
    assert (np.abs(found["ms_c"][3:]) < 0.02).all()
    assert found["ms_beyond_words"][0] > 0.3
    assert found["ms_lexical_z"][2] > 10
    assert found["ms_beyond_words"][2] < 0.02


def test_without_a_model_only_words_are_compared_and_a_note_says_why(tmp_path: Path) -> None:
    store, topic = topic_store(tmp_path / "store")
    codes = np.repeat(topic == 3, CONTEXT).astype(np.float32)[:, None]
    found = scored(MonoSemanticity(), subject_of(store, 1), codes)
    assert np.isnan(found.columns["ms_c"]).all()
    assert np.isnan(found.columns["ms_beyond_words"]).all()
    assert found.columns["ms_lexical"][0] > 0
    (note,) = found.notes
    assert "does not say which model" in note


def test_topics_of_factorlang_are_alike_by_the_models_own_embeddings(tmp_path: Path) -> None:
    """True factors as units: what a text is about is above chance, where a word stands in it is not."""
    from actpipe.factorlang import FACTORS, documents, labels, word_tokenizer

    said, tokenizer = list(documents(0, 100_000, 100_150)), word_tokenizer()
    tokens = np.stack([tokenizer(one.text).input_ids[:255] for one in said])
    truth = np.stack([labels(one)[:255] for one in said]).reshape(tokens.size, -1)
    store = text_store(tmp_path / "store", tokens, np.arange(len(said)).repeat(255).reshape(-1, 255))
    store.config["model"] = {"name": "actpipe:factor-gpt-0"}
    found = scored(MonoSemanticity(), subject_of(store, truth.shape[1]), truth, sequences=50).columns
    families = np.array([factor.name.split("/")[0] for factor in FACTORS])
    topic, place = (np.flatnonzero(families == name) for name in ("topic", "quarter"))
    assert np.nanmedian(found["ms_c"][topic]) > 0.03
    assert np.nanmedian(found["ms_z"][topic]) > 10
    assert np.nanmedian(found["ms_beyond_words"][topic]) > 0.01
    assert (np.abs(found["ms_c"][place]) < 0.01).all()
