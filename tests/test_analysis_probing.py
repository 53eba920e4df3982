"""k-sparse probing: planted and shuffled labels on a tiny model, and languages of FactorLang on a shipped one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from actpipe.analysis.probing import Labelled, labelled_factors, labelled_jsonl, probe
from actpipe.analysis.probing.pooled import pooled
from actpipe.analysis.probing.probe import weighted_auc
from actpipe.analysis.units.native import NativeUnits
from actpipe.analysis.units.unit_set import UnitSet
from actpipe.errors import Misuse
from actpipe.harvest.capture import capture
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.sites import find_sites
from tests.conftest import sentences

HOOK = "blocks.0.hook_resid_pre"  # a row is its token's embedding
CONTEXT = 48


@dataclass(frozen=True, kw_only=True)
class TokenUnits(UnitSet):
    """Unit i fires where the row points along row i of `read`."""

    name: str
    read: Tensor  # [n, d]
    hook: str = HOOK
    kind = "planted"

    @property
    def writes(self) -> str:  # type: ignore[override]
        return self.hook

    @property
    def feature(self) -> np.ndarray:  # type: ignore[override]
        return np.arange(len(self.read))

    @property
    def sign(self) -> np.ndarray:  # type: ignore[override]
        return np.ones(len(self.read), np.int8)

    @property
    def directions(self) -> Tensor:
        return self.read

    def codes(self, x: Tensor) -> Tensor:
        cosine = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(self.read, dim=1).T
        return (cosine - 0.9).relu()


@pytest.fixture(scope="module")
def model(saved_models: dict[str, Path]) -> LanguageModel:
    return load_model(str(saved_models["llama"]), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def rivers(model: LanguageModel) -> tuple[Labelled, TokenUnits]:
    """Texts that say `river` or not, and units that stand for the words."""
    texts = list(dict.fromkeys(text[:120] for text in sentences(700, seed=3)))
    truth = np.array([" river" in text for text in texts])
    labels = {"river": truth, "shuffled": np.random.default_rng(0).permutation(truth)}
    words = ["the", "king", "river", "letter", "walked", "night"]
    tokens = [model.tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in words]
    read = model.module.get_input_embeddings().weight.detach()[tokens]
    return Labelled(name="nonsense", texts=texts, labels=labels), TokenUnits(name="words", read=read)


def test_the_unit_of_the_label_is_found_and_shuffled_labels_are_at_chance(
    model: LanguageModel, rivers: tuple[Labelled, TokenUnits]
) -> None:
    labelled, units = rivers
    neurons = NativeUnits(name="rows", kind="basis", hook=HOOK, writes=HOOK, written=torch.eye(32), signed=True)
    table = probe(model, HOOK, [units, neurons], labelled, k=(1, 2, 16), context=CONTEXT)
    rows = {(row["probe"], row["member"], row["k"]): row for row in table.to_pylist()}
    members = {member for _, member, _ in rows}
    assert set(table["hook"].to_pylist()) == {HOOK}
    assert members == {"words", "rows", "basis", "pca", "random", "dense"}
    assert {k for _, member, k in rows if member == "basis"} == {1, 2, 16}
    assert {k for _, member, k in rows if member == "words"} == {1, 2}  # of six units there are no sixteen
    best = rows["nonsense/river", "words", 1]
    assert best["units"] == [2]
    assert best["auc"] > 0.99
    assert best["accuracy"] > 0.95
    assert best["auc_low"] <= best["auc"] <= best["auc_high"]
    dense = rows["nonsense/river", "dense", None]
    assert dense["auc"] > 0.9
    assert rows["nonsense/river", "random", 1]["auc"] < dense["auc"]
    for (name, _, _), row in rows.items():
        assert row["n"] == best["n"]
        if name == "nonsense/shuffled":
            assert row["auc_low"] < 0.62  # chance and what 130 texts leave to luck
            assert abs(row["auc"] - 0.5) < 0.2


def test_pooled_rows_are_the_mean_over_the_text(model: LanguageModel, rivers: tuple[Labelled, TokenUnits]) -> None:
    """A longer text counts up to the context; the token in front and the padding do not."""
    _, units = rivers
    texts = ["the king saw a river.", "the river " * 60, "", "a letter"]
    found = pooled(model, HOOK, [units], texts, context=CONTEXT)
    assert found.read.tolist() == [True, True, False, True]
    (site,) = find_sites([HOOK], model.config, model.tokenizer)
    for i in (0, 1, 3):
        ids = [model.tokenizer.bos_token_id, *model.tokenizer.encode(texts[i], add_special_tokens=False)][:CONTEXT]
        with capture(model, [site]) as run:
            x = run(torch.tensor([ids]))[HOOK][0, 1:]
        torch.testing.assert_close(torch.from_numpy(found.raw[i]), x.mean(dim=0), atol=1e-6, rtol=1e-5)
        mean = units.codes(x).mean(dim=0)
        torch.testing.assert_close(torch.from_numpy(found.codes["words"][i]), mean, atol=1e-6, rtol=1e-5)


def test_auc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    truth, decision = random.random(200) < 0.3, np.round(random.normal(size=200), 1)  # with ties
    weights = random.integers(0, 3, size=(4, 200)).astype(np.float64)
    found = weighted_auc(decision, truth, weights)
    for draw in range(4):
        assert found[draw] == pytest.approx(roc_auc_score(truth, decision, sample_weight=weights[draw]))
    assert np.isnan(weighted_auc(decision, np.ones(200, np.bool_), weights)).all()


def test_labels_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "moods.jsonl"
    entries = [{"text": f"text {i % 5}", "label": "good" if i % 5 else "bad"} for i in range(8)]
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    found = labelled_jsonl(path)
    assert len(found.texts) == 5  # equal texts once
    assert {name: truth.tolist() for name, truth in found.labels.items()} == {"good": [False, True, True, True, True]}
    path.write_text('{"text": "a"}', encoding="utf-8")
    with pytest.raises(Misuse, match="Line 1"):
        labelled_jsonl(path)


def test_too_few_texts_of_a_label_are_refused(model: LanguageModel) -> None:
    labelled = Labelled(name="few", texts=["a king", "a river"] * 20, labels={"first": np.arange(40) < 5})
    with pytest.raises(Misuse, match="more texts"):
        probe(model, HOOK, [], labelled, context=CONTEXT)


def test_languages_of_factorlang_are_read_off_a_trained_model() -> None:
    model = load_model("actpipe:factor-gpt-0", dtype="float32", device="cpu")
    hook = "blocks.1.hook_resid_post"
    labelled = labelled_factors(documents=180, families=("language",))
    table = probe(model, hook, [], labelled, k=(1,), context=64)
    dense = {row["probe"]: row["auc"] for row in table.to_pylist() if row["member"] == "dense"}
    assert len(dense) == 3
    assert min(dense.values()) > 0.99
