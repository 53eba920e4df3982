"""Patching and erasure where the answer is planted or known, and everything at once on FactorLang."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import actpipe
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.effects import agreement, arms, erasure, patching
from actpipe.analysis.effects.bootstrap import document_weights
from actpipe.analysis.effects.config import EffectsConfig
from actpipe.analysis.effects.indirect_object import indirect_object_pairs
from actpipe.analysis.effects.measure import measure
from actpipe.analysis.effects.pairs import Pairs, accuracy
from actpipe.analysis.effects.place import Place
from actpipe.analysis.effects.splices import Described, measure_splices
from actpipe.analysis.effects.tasks import Tasks, measure_tasks, tasks_of
from actpipe.analysis.units.chosen import ChosenUnits
from actpipe.analysis.units.native import NativeUnits
from actpipe.errors import Misuse
from actpipe.factorlang import FACTORS, labels_of_store
from actpipe.factorlang.vocabulary import vocabulary
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import load_model
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.stage import harvest

MODEL = "actpipe:factor-gpt-0"
HOOK, OUT = "blocks.1.hook_resid_post", "blocks.1.hook_mlp_out"
START = 100_000


class Bar:
    def __init__(self) -> None:
        self.done = 0.0

    def advance(self, amount: float, note: str = "") -> None:
        self.done += amount

    def show(self, table: Any) -> None:
        pass


@dataclass(frozen=True)
class Run:
    corpus: Corpus
    model: Any

    @property
    def place(self) -> Place:
        return Place.of(self.model, self.corpus.store, HOOK, HOOK)

    @property
    def units(self) -> NativeUnits:
        """The coordinates of the residual stream, each sign a unit."""
        return NativeUnits(name="basis", kind="resid_basis", hook=HOOK, writes=HOOK, written=torch.eye(64), signed=True)

    def rows_and_labels(self) -> tuple[Tensor, Tensor]:
        """Of all documents of the store; the prompts are of others."""
        store = self.corpus.store
        labels = labels_of_store(store, self.model.tokenizer)
        chosen = labels.known & store.mask.reshape(-1)
        rows = store.read(HOOK, 0, store.rows).float()[torch.from_numpy(chosen)]
        return rows, torch.from_numpy(labels.labels[chosen])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("store") / "factorlang.zarr"
    harvest(
        HarvestConfig(
            model=MODEL, dataset=f"actpipe:factorlang,start={START},documents=100", hook=(HOOK, OUT), tokens=25_000,
            context=256, separator="none", model_dtype="float32", dtype="float32", device="cpu", out=out,
        )
    )  # fmt: skip
    store = actpipe.open_store(out)
    return Run(Corpus(store, store.committed, 0), recorded_model(store, "cpu"))


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return agreement.agreement_pairs(32, start=900_000)


def test_a_counterfactual_differs_in_the_number_of_the_subject_alone(pairs: Pairs) -> None:
    words = vocabulary().words
    verbs = {"is": "are", "teaches": "teach"}
    for i in range(len(pairs)):
        differs = (pairs.tokens[i] != pairs.counterfactual[i]).nonzero()[:, 0]
        assert len(differs) in (1, 2)  # the noun, and the quantifier before it
        assert int(differs[-1]) < int(pairs.last[i])  # the last word says nothing of it
        right, wrong = ({words[int(each)] for each in row[i].nonzero()[:, 0]} for row in (pairs.right, pairs.wrong))
        one, other = (right, wrong) if "is" in right else (wrong, right)
        assert set(verbs) <= one
        assert set(verbs.values()) <= other
        assert not one & other


def test_a_subject_in_the_other_number_by_hand() -> None:
    numbers = vocabulary().numbers
    assert agreement._turned(numbers["teacher"]) == numbers["teachers"]
    assert agreement._turned(numbers["teachers"]) == numbers["teacher"]
    assert agreement._turned(numbers["each"]) == numbers["several"]
    first = next(word for word, language in zip(vocabulary().words, vocabulary().language_of, strict=True)
                 if language == 2 and vocabulary().class_of[numbers[word]] == 20)  # fmt: skip
    turned = agreement._turned(numbers[first])
    assert vocabulary().language_of[turned] == 2
    assert agreement._turned(turned) == numbers[first]


def test_the_model_agrees_and_an_untrained_one_guesses(pairs: Pairs) -> None:
    assert accuracy(load_model(MODEL, dtype="float32", device="cpu"), pairs) > 0.9
    assert 0.3 < accuracy(load_model(f"{MODEL}@init", dtype="float32", device="cpu"), pairs) < 0.7


def test_patching_everything_gives_the_counterfactual(run: Run, pairs: Pairs) -> None:
    random = arms.baselines(run.rows_and_labels()[0], seed=3)[2]
    curve = patching.patch(run.place, random, pairs, Bar(), most=4)
    assert curve.all_kl.max() < 1e-5
    assert curve.all_edit == pytest.approx(np.ones(16), abs=1e-4)
    assert curve.edit[0].max() == 0
    assert curve.kl[0].mean() > 0.5  # nats


def test_the_unit_that_carries_everything_is_found_first(run: Run, pairs: Pairs) -> None:
    """Above the last block the last row decides alone; one of 21 directions is the whole difference there."""
    one = pairs.part(slice(0, 1))
    last = "blocks.2.hook_resid_post"
    place = Place.of(run.model, run.corpus.store, last, last)
    noise = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    seen = patching._Patched(place, arms.of_directions("noise", noise, torch.zeros(64)), one)
    (_, writes, _), (_, other, _) = (seen._read(tokens) for tokens in (one.tokens, one.counterfactual))
    difference = (other - writes)[-1]

    def codes(_: Tensor, x: Tensor) -> Tensor:
        """Noise everywhere; unit 20 is 1 at the last row of the counterfactual alone."""
        found = x[:, :21] * 0.1
        found[:, 20] = 0
        found[-1, 20] = float(torch.equal(x[-1], other[-1]))
        return found

    planted = arms.Arm(
        name="planted", directions=torch.cat([noise, difference[None]]), codes=codes, rest=torch.zeros(21)
    )
    found = patching._Patched(place, planted, one)
    assert found.next([], 1) == [20]
    before, after = (found.measure(units)[0][0] for units in ([], [20]))
    assert before > 0.1
    assert after < 1e-5


def test_few_true_factors_carry_more_of_agreement_than_as_many_random_directions(run: Run, pairs: Pairs) -> None:
    rows, labels = run.rows_and_labels()
    often = labels.sum(0)
    factors = arms.of_factors(rows, labels[:, (often > 20) & (often < len(labels) - 20)])

    def area(arm: arms.Arm) -> float:
        curve = patching.patch(run.place, arm, pairs, Bar(), most=4)  # of 64: a quarter of a basis reaches anywhere
        left, _ = patching.remaining(curve, np.ones((1, 16)))
        return float(patching.area_over_units(curve.counts, left))

    random = [area(arms.baselines(rows, seed=seed)[2]) for seed in range(2)]
    assert area(factors) < min(random) - 0.1, random


def test_moving_a_factor_moves_its_best_prediction_and_nothing_uncorrelated() -> None:
    random = torch.Generator().manual_seed(0)
    labels = torch.rand(4000, 2, generator=random) < 0.3
    noise = torch.randn(4000, 3, generator=random)
    x = torch.cat([labels.float() @ torch.tensor([[2.0, 1.0], [0.0, 1.0]]) + 0.1 * noise[:, :2], noise[:, 2:]], 1)
    found = arms.of_factors(x, labels)
    codes = found.codes(x, x)
    moved = x - (codes[:, :1] - found.rest[0]) * found.directions[:1]
    y = labels[:, 0].double() - labels[:, 0].double().mean()
    covariance = y @ (moved.double() - moved.double().mean(0)) / 4000
    assert covariance.abs().max() < 1e-4  # no linear reader finds the first label any more; it was 0.2
    assert torch.allclose(found.codes(moved, moved)[:, 0], found.rest[0].expand(4000), atol=1e-4)


def test_areas_and_counts_by_hand() -> None:
    assert patching.area_over_units((0, 1, 2, 4), np.array([1.0, 0.5, 0.5, 0])) == (0.75 + 0.5 + 0.5) / 4
    # From (0, 1) to (0.5, 0.5), and held there to 1.
    assert patching.area_over_edit(np.array([0, 0.5]), np.array([1, 0.5])) == 0.375 + 0.25
    assert patching.first_count((0, 1, 2), np.array([1, 0.6, 0.4]), 0.5) == 2
    assert np.isnan(patching.first_count((0, 1), np.array([1, 0.6]), 0.5))


def test_auroc_and_its_draws_by_hand() -> None:
    scores, labels = np.array([3.0, 2, 2, 1]), np.array([True, True, False, False])
    assert erasure.auroc(scores, labels) == 3.5 / 4
    documents = np.array([0, 0, 1, 1])
    weights = np.array([[1.0, 1], [2, 3], [2, 0]])
    drawn = erasure.auroc_drawn(scores, labels, documents, weights)
    assert drawn[:2].tolist() == [3.5 / 4, 3.5 / 4]  # one document is all true, the other all false
    assert np.isnan(drawn[2])
    random = np.random.default_rng(0)
    scores, labels, documents = random.integers(0, 9, 60).astype(float), random.random(60) < 0.4, np.arange(60) % 7
    weights = document_weights(7, draws=20, seed=0)
    for weight, value in zip(weights, erasure.auroc_drawn(scores, labels, documents, weights), strict=True):
        times = np.repeat(np.arange(60), weight[documents].astype(int))
        assert value == pytest.approx(erasure.auroc(scores[times], labels[times]))


def test_erasing_what_a_linear_reader_uses_leaves_chance(run: Run) -> None:
    config = EffectsConfig(uniform=4, sequences=4, patches=4)
    tasks = tasks_of(run.model, run.corpus.store, config)
    only = Tasks(concepts={"form/plural": tasks.concepts["form/plural"]})
    found = measure_tasks(run.model, run.corpus, run.units, only, config=config)
    left = {row["arm"]: row for row in found.tables["fidelity"].to_pylist() if row["metric"].endswith("auroc left")}
    assert abs(left["least_squares"]["value"] - 0.5) < 0.1
    assert left["random"]["value"] > 0.7  # 4 of 64 random directions take little of it
    curves = [row for row in found.tables["curves"].to_pylist() if row["kind"] == "erasure form/plural by kl"]
    start = [row for row in curves if row["step"] == 0]
    assert len(start) == 5
    assert all(row["x"] < 1e-6 for row in start)  # nothing is gone yet
    assert len({round(row["y"], 6) for row in start}) == 1
    assert max(row["x"] for row in curves) > 0.01


def test_labels_are_those_of_the_sequences_asked_for(run: Run) -> None:
    labels = tasks_of(run.model, run.corpus.store, EffectsConfig()).concepts["form/plural"]
    every = labels_of_store(run.corpus.store, run.model.tokenizer).labels.reshape(-1, 256, len(FACTORS))
    column = [factor.name for factor in FACTORS].index("form/plural")
    assert (labels(np.array([7, 2])) == every[[7, 2], :, column]).all()


def test_a_concept_that_is_nowhere_is_not_erased(run: Run) -> None:
    with pytest.raises(Misuse, match="no factor 'gender'"):
        tasks_of(run.model, run.corpus.store, EffectsConfig(), concepts=("gender",))
    never = Tasks(concepts={"never": lambda number: np.zeros((len(number), 256), bool)})
    found = measure_tasks(run.model, run.corpus, run.units, never, config=EffectsConfig(uniform=2, sequences=2))
    assert found.notes == ("never is true at every row of the text that is read or at none, and is not erased.",)
    assert found.tables["curves"].num_rows == 0


def test_without_a_task_there_are_tables_without_rows(run: Run) -> None:
    found = measure_tasks(run.model, run.corpus, run.units, Tasks())
    assert {name: table.num_rows for name, table in found.tables.items()} == dict.fromkeys(
        ("effects", "fidelity", "curves", "splices"), 0
    )


def test_a_model_that_cannot_do_the_task_is_not_patched(run: Run) -> None:
    untrained = load_model(f"{MODEL}@init", dtype="float32", device="cpu")
    tasks = tasks_of(untrained, run.corpus.store, EffectsConfig())
    assert tasks.pairs is None
    assert "so nothing carries the answer" in tasks.notes[0]


def test_names_of_an_english_tokenizer_stand_in_for_each_other(embedded_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder)
    found = indirect_object_pairs(tokenizer, 12, vocabulary=len(tokenizer))
    for i in range(12):
        assert int((found.tokens[i] != found.counterfactual[i]).sum()) == 1
        text = tokenizer.decode(found.tokens[i][: int(found.last[i]) + 1])
        answer = tokenizer.decode(found.right[i].nonzero()[0])
        assert text.count(answer) == 1  # the indirect object is the name that comes once
        assert text.endswith(" to")


def test_a_tokenizer_that_splits_names_has_no_indirect_object(tokenizer: Any) -> None:
    with pytest.raises(Misuse, match="splits English names"):
        indirect_object_pairs(tokenizer, 4, vocabulary=400)


def test_everything_of_a_set_of_units(run: Run) -> None:
    config = EffectsConfig(
        units=6, uniform=3, sequences=4, steered=2, steering_sequences=1, fidelity_rows=1000, draws=50
    )
    answer = run.units
    found = measure(
        run.model, run.corpus, answer, config=config,
        answer=lambda x: answer.codes(x) @ answer.directions,
    )  # fmt: skip
    whole = {row["metric"]: row for row in found.tables["fidelity"].to_pylist()}
    assert whole["explained_variance"]["value"] == pytest.approx(1, abs=1e-9)
    assert whole["shrinkage"]["value"] == pytest.approx(1)
    assert whole["l0"]["value"] == pytest.approx(64, abs=0.1)
    assert whole["units_ablated"]["value"] == 6
    assert whole["atp_zero_pearson"]["n"] == 6
    assert 0 < whole["share_of_units_for_90_zero"]["value"] <= 0.9
    effects = found.tables["effects"].to_pylist()
    of_all = [row for row in effects if row["metric"] == "atp_zero"]
    assert len(of_all) == 128
    metrics = {row["metric"] for row in effects}
    assert {"kl_zero", "kl_sum_mean", "logit_kurtosis", "steering_area", "output_score", "input_score"} <= metrics
    assert whole["kl_rounding"]["value"] < 1e-9  # float32
    some = ChosenUnits(of=run.units, index=np.arange(40))
    assert "that of 40 of its 64 features" in measure(run.model, run.corpus, some, config=config).notes[0]
    kl = [row for row in effects if row["metric"] == "kl_zero"]
    assert len(kl) == 6
    assert all(row["low"] <= row["value"] <= row["high"] and row["value"] > 0 for row in kl)
    assert found.tables["curves"].num_rows == 2 * 6
    assert set(found.seconds) == {"fidelity", "text", "attribution", "ablation", "logits", "steering"}


def test_all_hooks_at_once_beside_each_alone(run: Run) -> None:
    described = {
        "rows": Described(hook=HOOK, writes=HOOK, answer=lambda x: x),
        "half": Described(hook=OUT, writes=OUT, answer=lambda x: 0.5 * x),
    }
    found = measure_splices(run.model, run.corpus, described, config=EffectsConfig(uniform=4, sequences=4, draws=50))
    table = {(row["member"], row["hook"], row["metric"]): row for row in found.tables["splices"].to_pylist()}
    assert table["rows", HOOK, "delta_ce"]["value"] == 0
    assert table["half", OUT, "kl"]["value"] > 0
    # The rows of the residual stream are answered as they are once the MLP's are halved.
    assert table[None, "all", "kl"]["value"] == pytest.approx(table["half", OUT, "kl"]["value"], rel=1e-6)
    with pytest.raises(Misuse, match="Several dictionaries for"):
        measure_splices(run.model, run.corpus, {"a": described["half"], "b": described["half"]})


def test_every_dictionary_of_a_hook_is_spliced_and_one_of_each_hook_at_once(run: Run) -> None:
    described = {
        "rows": Described(hook=HOOK, writes=HOOK, answer=lambda x: x),
        "half": Described(hook=OUT, writes=OUT, answer=lambda x: 0.5 * x),
        "nothing": Described(hook=OUT, writes=OUT, answer=lambda x: 0 * x),
    }
    asked = EffectsConfig(uniform=4, sequences=4, draws=50)
    found = measure_splices(run.model, run.corpus, described, together=["rows", "half"], config=asked)
    table = {(row["member"], row["hook"], row["metric"]): row["value"] for row in found.tables["splices"].to_pylist()}
    assert {(member, hook) for member, hook, _ in table} == {
        ("rows", HOOK), ("half", OUT), ("nothing", OUT), (None, "all")
    }  # fmt: skip
    assert table["nothing", OUT, "kl"] == pytest.approx(table["nothing", OUT, "kl_zero"])
    assert table["nothing", OUT, "kl_recovered"] == pytest.approx(0, abs=1e-9)
    assert table["half", OUT, "kl_zero"] == table["nothing", OUT, "kl_zero"]
    assert table["half", OUT, "kl_recovered"] == pytest.approx(
        1 - table["half", OUT, "kl"] / table["half", OUT, "kl_zero"]
    )
    assert table[None, "all", "kl"] == pytest.approx(table["half", OUT, "kl"], rel=1e-6)
