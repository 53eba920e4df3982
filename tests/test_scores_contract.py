"""What every registered score must hold, whatever it measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.scores import SCORES, Score, Scored, Subject
from actpipe.store import Store

from .planted_units import gathered, scored, subject_of, text_store

WORDS = " the a cat dog sat ran on under red blue 7 12 . , ( ) ing ed un Paris Monday and not she they"
TEXTS = tuple(f" {word}" for word in WORDS.split())
CONTEXT, SEQUENCES, UNITS = 64, 60, 12
DEAD = UNITS - 1


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    random = np.random.default_rng(0)
    tokens = random.integers(0, len(TEXTS), (SEQUENCES, CONTEXT))
    lengths = random.integers(20, 90, SEQUENCES * CONTEXT // 20)
    doc = np.repeat(np.arange(len(lengths)), lengths)[: SEQUENCES * CONTEXT].reshape(SEQUENCES, CONTEXT)
    mask = np.ones(tokens.shape, bool)
    mask[:, 0] = False
    return text_store(tmp_path_factory.mktemp("contract") / "store.zarr", tokens, doc, mask)


@pytest.fixture(scope="module")
def subject(store: Store) -> Subject:
    plain = subject_of(store, UNITS)
    return Subject(units=plain.units, n=UNITS, corpus=Corpus(store, store.committed, 0, TEXTS), seed=0)


@pytest.fixture(scope="module")
def codes(store: Store) -> np.ndarray:
    """Functions of the token, noise at several densities in multiples of 1/8 (sums are exact), and a dead unit."""
    random = np.random.default_rng(1)
    tokens, n = store.tokens.reshape(-1), store.rows
    found = np.zeros((n, UNITS), np.float32)
    for unit in range(5):
        found[:, unit] = (tokens == 3 * unit) * (1 + random.integers(0, 8, n) / 8)
    for unit, density in zip(range(5, DEAD), (0.5, 0.2, 0.1, 0.03, 0.01, 0.002), strict=True):
        found[:, unit] = (random.random(n) < density) * random.integers(1, 25, n) / 8
    found[~store.mask.reshape(-1)] = 0
    return found


def same(one: Scored, other: Scored) -> None:
    for metric, values in one.columns.items():
        np.testing.assert_allclose(other.columns[metric], values, rtol=1e-9, atol=1e-9, err_msg=metric)
    assert one.tables.keys() == other.tables.keys()
    for name, table in one.tables.items():
        for column in table.column_names:
            mine, theirs = table[column].to_pylist(), other.tables[name][column].to_pylist()
            assert len(mine) == len(theirs), (name, column)
            if mine and isinstance(mine[0], float):
                assert mine == pytest.approx(theirs, nan_ok=True), (name, column)
            else:
                assert mine == theirs, (name, column)


@pytest.mark.parametrize("name", list(SCORES))
class TestScore:
    def made(self, name: str, subject: Subject, codes: np.ndarray, parts: int = 1) -> Scored:
        found: dict[str, Scored] = {}
        for earlier, kind in SCORES.items():
            found[earlier] = scored(kind(), subject, codes, parts=parts, found=found) if earlier == name else Scored({})
            if earlier == name:
                return found[earlier]
        raise AssertionError(name)

    def test_it_gives_each_unit_a_number_for_each_metric_it_names(
        self, name: str, subject: Subject, codes: np.ndarray
    ) -> None:
        found = self.made(name, subject, codes)
        assert list(found.columns) == [metric.name for metric in SCORES[name].metrics]
        for values in found.columns.values():
            assert values.shape == (UNITS,)
            assert values.dtype == np.float64
            assert not np.isinf(values).any()
        for table, schema in SCORES[name].tables.items():
            assert found.tables[table].schema.equals(schema), table
            assert schema.names[0] == "unit"
            units = found.tables[table]["unit"].to_numpy()
            assert ((units >= 0) & (units < UNITS)).all()

    def test_any_number_of_parts_give_the_same(self, name: str, subject: Subject, codes: np.ndarray) -> None:
        same(self.made(name, subject, codes), self.made(name, subject, codes, parts=4))

    def test_what_is_gathered_can_be_saved_and_taken_up(
        self, name: str, subject: Subject, codes: np.ndarray, tmp_path: Path
    ) -> None:
        score: Score = SCORES[name]()
        first = gathered([score.gather(subject)], subject, codes)
        np.savez(tmp_path / "state.npz", **first.state())
        taken_up = score.gather(subject)
        with np.load(tmp_path / "state.npz", allow_pickle=False) as saved:
            taken_up.restore({key: saved[key] for key in saved.files})
        ends = [self.ended(score, subject, codes, each) for each in (first, taken_up)]
        same(*ends)

    def ended(self, score: Score, subject: Subject, codes: np.ndarray, first: object) -> Scored:
        second = score.check(subject, first)  # type: ignore[arg-type]
        if second is not None:
            second = gathered([second], subject, codes)
        return score.finish(subject, first, second, {})  # type: ignore[arg-type]

    def test_a_dead_unit_has_no_score_of_quality(self, name: str, subject: Subject, codes: np.ndarray) -> None:
        found = self.made(name, subject, codes)
        for metric in SCORES[name].metrics:
            if metric.better is not None:
                assert np.isnan(found.columns[metric.name][DEAD]), metric.name


def test_no_two_metrics_share_a_name() -> None:
    names = [metric.name for score in SCORES.values() for metric in score.metrics]
    assert len(names) == len(set(names))
