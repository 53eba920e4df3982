"""How many things a unit's texts are about: the formula, the sample it is taken of, and planted topics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.analysis.embeddings.diversity import Reference, effective_number, gram, similarity_across, vendi
from actpipe.analysis.embeddings.embedding import opened
from actpipe.analysis.embeddings.proportional_sample import ProportionalSample
from actpipe.analysis.embeddings.tiles import Peaks, tiles_at, tiles_of
from actpipe.analysis.scores.vendi import Vendi

from .planted_topics import CONTEXT, SEQUENCES, Meanings, topic_store
from .planted_units import scored, subject_of, text_store
from .small_run import texts

SCORE = Vendi(embedding=Meanings(noise=0.02))


def of(vectors: list[list[float]], weight: list[float]) -> tuple[float, float]:
    e, w = torch.tensor(vectors).double()[None], torch.tensor(weight).double()[None]
    k = gram(e, w)
    return float(vendi(k)[0]), float(similarity_across(k, w)[0])


def test_formula_by_hand() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    assert of([east] * 5, [1, 1, 1, 1, 1]) == pytest.approx((1, 1))
    assert of([east, east, north, north], [1, 1, 1, 1]) == pytest.approx((2, 1 / 3))  # 4 of 12 pairs are alike
    # Eigenvalues 3/4 and 1/4; a text of weight 0 is none.
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert of([east, north, north], [3, 1, 0]) == pytest.approx((np.exp(entropy), 0))
    # cos 60° = 1/2: eigenvalues (1 ± 1/2)/2, the same numbers.
    assert of([east, [0.5, 0.75**0.5]], [1, 1]) == pytest.approx((np.exp(entropy), 0.5))
    three, one = effective_number(torch.tensor([[2.0, 2.0, 0.0], [3.0, 1.0, 0.0], [5.0, 0.0, 0.0]]))[[1, 2]].tolist()
    assert (three, one) == pytest.approx((np.exp(entropy), 1))


def test_texts_at_random_are_as_diverse_as_the_reference_says_between_its_sizes_too() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    reference = Reference(torch.from_numpy(vectors), seed=0)
    drawn = [of(vectors[random.permutation(300)[:12]].tolist(), [1] * 12)[0] for _ in range(200)]
    assert reference.at(np.array([12.0]))[0] == pytest.approx(np.mean(drawn), rel=0.02)


def test_texts_at_random_are_as_many_as_there_are_documents() -> None:
    """A shelf of 15 books has 15 texts: units that fire in all of them are compared with those, not left without."""
    vectors = np.random.default_rng(0).normal(size=(300, 20))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    few, many = (Reference(torch.from_numpy(vectors[:n]), seed=0) for n in (15, 300))
    assert few.at(np.array([15.0]))[0] == pytest.approx(of(vectors[:15].tolist(), [1] * 15)[0])
    assert few.at(np.array([8.0]))[0] < few.at(np.array([12.0]))[0] < few.at(np.array([15.0]))[0]
    assert few.at(np.array([np.nextafter(15.0, 16.0)]))[0] == pytest.approx(few.at(np.array([15.0]))[0])
    assert np.isnan(few.at(np.array([15.1]))[0])
    assert many.sizes.tolist() == [2, 4, 8, 16, 32, 64]
    nobody = Reference(torch.from_numpy(vectors[:1]), seed=0)
    assert np.isnan(nobody.at(np.array([2.0]))[0])


def sampled(values: np.ndarray, *, seed: int, keep: int = 5, parts: int = 1) -> ProportionalSample:
    """Units [rows] firing in tiles [columns], of which the parts see every other in turn."""
    samples = [ProportionalSample(len(values), keep=keep, seed=seed) for _ in range(parts)]
    for part, sample in enumerate(samples):
        tile = np.arange(part, values.shape[1], parts) * 32
        unit, item = np.nonzero(values[:, part::parts])
        sample.update(tile, Peaks(unit, item, values[:, part::parts][unit, item]))
    for other in samples[1:][::-1]:
        samples[0].merge(other)
    return samples[0]


def test_weights_of_the_sample_add_up_to_all_activation_on_average() -> None:
    random = np.random.default_rng(0)
    values = np.float32(random.exponential(size=(2, 40)) ** 2).astype(np.float64)
    even = np.arange(40) % 2 == 0
    totals = []
    for seed in range(600):
        found = sampled(values, seed=seed).finish()
        assert np.bincount(found.unit).tolist() == [5, 5]
        totals.append([found.weight[(found.unit == u) & even[found.tile // 32]].sum() for u in (0, 1)])
    error = np.std(totals, axis=0) / 600**0.5
    assert (np.abs(np.mean(totals, axis=0) - values[:, even].sum(axis=1)) < 4 * error).all()
    assert (error < 0.05 * values[:, even].sum(axis=1)).all()


def test_sample_is_the_same_for_any_parts_and_everything_where_that_is_little() -> None:
    random = np.random.default_rng(1)
    values = np.float32(random.exponential(size=(3, 400))).astype(np.float64)
    values[1, 4:] = 0
    values[2, 5:] = 0
    one, three = sampled(values, seed=7).finish(), sampled(values, seed=7, parts=3).finish()
    for left, right in zip(one, three, strict=True):
        assert left.tolist() == right.tolist()
    for unit, n in ((1, 4), (2, 5)):
        mine = one.unit == unit
        order = np.argsort(one.tile[mine])
        assert one.weight[mine][order].tolist() == values[unit, :n].tolist()
    again = ProportionalSample(3, keep=5, seed=7)
    again.restore(sampled(values, seed=7).state())
    assert again.finish().tile.tolist() == one.tile.tolist()


def test_tiles_are_found_again_by_their_numbers(tmp_path: Path) -> None:
    text = texts(seed=5)
    store = text_store(tmp_path / "store", text["tokens"], text["doc"], text["mask"])
    subject = subject_of(store, 1)
    for rows in subject.corpus.blocks(200):
        here = tiles_of(rows).tiles
        again = tiles_at(subject.corpus, here.tile)
        assert again.length.tolist() == here.length.tolist()
        assert again.tokens[again.valid].tolist() == here.tokens[here.valid].tolist()


def test_one_topic_is_one_thing_two_are_two_and_chance_is_everything(tmp_path: Path) -> None:
    store, topic = topic_store(tmp_path / "store")
    subject = subject_of(store, 5)
    random = np.random.default_rng(2)
    codes = np.zeros((SEQUENCES, CONTEXT, 5), np.float32)  # the last never fires
    codes[:, 5, 0] = topic == 3
    codes[:, 5, 1] = (topic == 3) | (topic == 4)
    codes[..., 2] = random.random((SEQUENCES, CONTEXT)) < 0.02
    codes[:20, 5, 3] = topic[:20] == topic[0]  # too few documents
    assert 2 <= codes[:20, 5, 3].sum() < 8
    codes *= random.uniform(0.9, 1.1, size=codes.shape)
    codes = codes.reshape(-1, 5)
    found = scored(SCORE, subject, codes).columns
    assert found["vendi"][0] == pytest.approx(1, abs=0.15)
    assert found["vendi"][1] == pytest.approx(2, abs=0.3)
    assert found["vendi_ratio"][2] == pytest.approx(1, abs=0.1)
    assert found["vendi_ratio"][0] < found["vendi_ratio"][1] < 0.4
    assert found["ms_across"][:2] == pytest.approx([1, 0.5], abs=0.1)
    assert abs(found["ms_across"][2]) < 0.05
    assert all(np.isnan(values[3:]).all() for values in found.values())
    for parts, sequences in ((4, 3), (3, 50)):
        again = scored(SCORE, subject, codes, parts=parts, sequences=sequences).columns
        for metric, values in found.items():
            np.testing.assert_allclose(again[metric], values, rtol=1e-12, err_msg=metric)


def test_a_document_is_one_text_however_often_the_unit_fires_in_it(tmp_path: Path) -> None:
    """Against the definition: the strongest-ranked tile of each document with the document's whole weight."""
    text = texts(seed=3)
    store = text_store(tmp_path / "store", text["tokens"] + 300, text["doc"], text["mask"])
    subject = subject_of(store, 1)
    codes = np.zeros((text["tokens"].size, 1), np.float32)
    fires = np.random.default_rng(4).permutation(np.flatnonzero(text["mask"].reshape(-1)))[:40]
    codes[fires, 0] = np.linspace(1, 3, 40)
    score = replace(SCORE, embedding=Meanings(noise=1.0))
    (rows,) = subject.corpus.blocks(10**6)
    tiles, of_row = tiles_of(rows)
    peak = np.zeros(len(tiles.tile))
    for row in fires:
        if of_row[row] >= 0:
            peak[of_row[row]] = max(peak[of_row[row]], codes[row, 0])
    document = text["doc"].reshape(-1)[tiles.tile]
    total = np.bincount(document, weights=peak)
    active = total[total > 0]
    share = active / active.sum()
    found = scored(score, subject, codes).columns
    assert len(active) < (peak > 0).sum() <= 64
    assert found["vendi_texts"][0] == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)
    vectors = opened(score.embedding, subject.corpus).embed(tiles)
    possible = [
        of([vectors[i].tolist() for i in choice], active.tolist())[0]
        for choice in _choices([np.flatnonzero((document == d) & (peak > 0)) for d in np.flatnonzero(total)])
    ]
    assert min(abs(found["vendi"][0] - value) for value in possible) < 1e-6


def _choices(groups: list[np.ndarray]) -> list[list[int]]:
    chosen: list[list[int]] = [[]]
    for group in groups:
        chosen = [[*one, int(tile)] for one in chosen for tile in group]
    return chosen


def test_without_a_model_there_is_a_note(tmp_path: Path) -> None:
    store, topic = topic_store(tmp_path / "store")
    found = scored(Vendi(), subject_of(store, 1), np.repeat(topic == 3, CONTEXT).astype(np.float32)[:, None])
    assert all(np.isnan(values).all() for values in found.columns.values())
    assert "does not say which model" in found.notes[0]
