"""A batch is a function of the texts and of which examples are asked for, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actpipe.errors import Misuse
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.optimiser import Schedule
from actpipe.pretraining.tasks import TASKS, LanguageModelling, get_task
from actpipe.pretraining.texts import Examples, Texts, Vocabulary, examples_at, examples_in_order

END = 99
VOCABULARY = Vocabulary(100, END)
# Tokens 0 … 22: a window of 5 from token 10 on is 10, 11, 12, 13, 14.
TEXTS = Texts(np.arange(23, dtype=np.uint16), np.array([[0, 10], [10, 23]]))


def test_a_window_is_opened_and_its_labels_are_the_tokens_themselves() -> None:
    batch = LanguageModelling().batch(TEXTS, examples_in_order(2, 1, seed=0), VOCABULARY, context=5)
    assert batch["input_ids"].tolist() == [[END, 10, 11, 12, 13]]
    assert batch["labels"].tolist() == [[10, 11, 12, 13, 14]]
    assert batch["input_ids"].dtype == batch["labels"].dtype == torch.int64


def test_a_window_that_is_not_opened_predicts_each_next_token() -> None:
    task = LanguageModelling(opened=False)
    batch = task.batch(TEXTS, examples_in_order(3, 1, seed=0), VOCABULARY, context=5)
    assert batch["input_ids"].tolist() == [[15, 16, 17, 18, 19]]
    assert batch["labels"].tolist() == [[16, 17, 18, 19, 20]]
    assert task.n_examples(TEXTS, 22) == 1
    assert task.n_examples(TEXTS, 23) == 0  # the last token has no next


def test_a_pass_has_every_token_as_a_label_once() -> None:
    task = LanguageModelling()
    n = task.n_examples(TEXTS, 5)
    assert n == 4
    for epoch in range(5):
        examples = examples_at(epoch * n, n, n_examples=n, seed=3)
        assert sorted(examples.index.tolist()) == [0, 1, 2, 3]
        labels = task.batch(TEXTS, examples, VOCABULARY, context=5)["labels"].flatten().tolist()
        assert len(set(labels)) == 20


def test_the_first_documents_are_whole_ones_and_at_least_one() -> None:
    assert [len(TEXTS.first(tokens)) for tokens in (1, 10, 22, 23)] == [1, 1, 1, 2]
    assert TEXTS.first(22).tokens.tolist() == list(range(10))


def test_passes_differ_in_order_and_in_where_the_text_is_cut() -> None:
    def of(epoch: int, seed: int) -> list[list[int]]:
        rows = LanguageModelling().batch(
            TEXTS, examples_at(epoch * 4, 4, n_examples=4, seed=seed), VOCABULARY, context=5
        )["labels"]
        return [[int(token) for token in row] for row in rows]

    seen = [of(epoch, seed) for epoch in range(6) for seed in (0, 1)]
    assert len({str(one) for one in seen}) >= 10
    assert len({row[0] % 5 for one in seen for row in one}) >= 4
    assert of(3, 1) == of(3, 1)


def test_a_batch_may_cross_into_the_next_pass_and_its_parts_are_those_of_the_whole() -> None:
    whole = examples_at(0, 24, n_examples=7, seed=1)
    assert whole.epoch.tolist() == [0] * 7 + [1] * 7 + [2] * 7 + [3] * 3
    for first, count in ((0, 5), (5, 4), (9, 15)):
        part = examples_at(first, count, n_examples=7, seed=1)
        assert part.index.tolist() == whole.index[first : first + count].tolist()
        assert part.epoch.tolist() == whole.epoch[first : first + count].tolist()


def test_the_randomness_of_an_example_depends_on_the_example_alone() -> None:
    one = Examples(np.array([4, 9]), np.array([0, 2]), seed=5)
    other = Examples(np.array([9]), np.array([2]), seed=5)
    drawn = one.generator(1).random(3).tolist()
    assert other.generator(0).random(3).tolist() == drawn
    assert one.generator(0).random(3).tolist() != drawn


def test_tasks_are_found_by_name_and_their_fields_by_theirs() -> None:
    assert get_task("language-modelling") is LanguageModelling
    with pytest.raises(LookupError, match=r"no task 'knitting'. Tasks: language-modelling"):
        get_task("knitting")
    assert LanguageModelling.of({"opened": "false"}) == LanguageModelling(opened=False)
    with pytest.raises(Misuse, match=r"has no field 'closed'; it has opened"):
        LanguageModelling.of({"closed": "true"})
    with pytest.raises(Misuse, match=r"opened of language-modelling is 'perhaps'; it takes true or false"):
        LanguageModelling.of({"opened": "perhaps"})
    for name, task in TASKS.items():
        assert task.name == name
        assert task.reads in ("decoder", "encoder-decoder")


def test_the_rate_rises_to_its_value_and_falls_to_its_floor() -> None:
    schedule = Schedule(steps=110, lr=2.0, warmup=10, floor=0.1)
    assert schedule.at(0) == pytest.approx(0.2)
    assert schedule.at(9) == pytest.approx(2.0)
    assert schedule.at(10) == pytest.approx(2.0)
    assert schedule.at(60) == pytest.approx(1.1)  # half way: the middle of 2 and 0.2
    assert schedule.at(110) == pytest.approx(0.2)
    assert Schedule.of(TrainLMConfig(lr=1.0, warmup=0.0, lr_floor=0.0), 50).at(0) == 1.0


@pytest.mark.parametrize(
    ("option", "value"),
    [("tokens", 0), ("lr", 0.0), ("lr", float("nan")), ("warmup", 1.5), ("clip", -1.0), ("validation_share", 0.0),
     ("validation_share", 1.0), ("seed", -1), ("batch_size", 0), ("weight_decay", float("inf"))],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused(option: str, value: float) -> None:
    with pytest.raises(Misuse, match=f"--{option.replace('_', '-')}"):
        TrainLMConfig(**{option: value})  # type: ignore[arg-type]
