"""Every kind of unit: those of a store by itself, baselines, both halves of signed codes; one contract for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import sae
from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.analysis.config import FITTED
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.inputs import Member
from actpipe.analysis.unit_sets import UnitSets
from actpipe.analysis.units import UnitSet
from actpipe.analysis.units.baselines import fit_baseline
from actpipe.analysis.units.chosen import ChosenUnits, whole
from actpipe.analysis.units.dictionary import DictionaryUnits
from actpipe.analysis.units.native import NativeUnits
from actpipe.errors import Missing, Misuse
from actpipe.progress import silent
from actpipe.store import Store
from sae.baselines import PCA

from .small_run import HOOK, WIDTH, make_run, make_store


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "parquet" / f"{table}.parquet").to_pylist())


def unit_sets(x: torch.Tensor) -> list[UnitSet]:
    d = x.shape[1]
    written = torch.arange(1.0, d + 1).diag()
    neurons = {"kind": "neuron", "hook": HOOK, "writes": "blocks.0.hook_mlp_out", "written": written}
    return [
        NativeUnits(name="neurons", **neurons),
        NativeUnits(name="both signs", signed=True, **neurons),
        NativeUnits(name="largest", signed=True, k=2, **neurons),
        ChosenUnits(of=NativeUnits(name="some", signed=True, **neurons), index=np.array([1, d + 1])),
        *(fit_baseline(name, x, name=name, hook=HOOK, k=2, width=9, seed=0) for name in FITTED),
    ]


def test_units_are_non_negative_numbers_with_a_direction_each() -> None:
    uniform = torch.rand(300, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    x = uniform.sign() * uniform.abs() ** 3 * torch.arange(1.0, 7.0)  # ICA finds nothing in Gaussian rows
    for units in unit_sets(x):
        codes = units.codes(x)
        assert codes.shape == (300, units.n), units.name
        assert (codes >= 0).all()
        assert (codes > 0).any(dim=0).sum() > units.n / 2
        assert units.directions.shape == (units.n, 6)
        assert units.feature.shape == units.sign.shape == (units.n,)
        assert units.feature.max() < len(units.source)
        pairs = set(zip(units.feature.tolist(), units.sign.tolist(), strict=True))
        assert len(pairs) == units.n, "a feature and a sign name a unit"


def test_halves_of_a_signed_source_add_up_to_it() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    written = torch.arange(1.0, 7.0).diag()
    units = NativeUnits(name="both", kind="neuron", hook=HOOK, writes=HOOK, written=written, signed=True)
    torch.testing.assert_close(units.codes(x) @ units.directions, x @ written)


def test_the_largest_are_by_contribution_and_not_by_activation() -> None:
    x = torch.tensor([[3.0, 2.5, -1.1, 0.0]])
    written = torch.tensor([1.0, 1.0, 10.0, 1.0]).diag()
    units = NativeUnits(name="n", kind="neuron", hook=HOOK, writes=HOOK, written=written, signed=True, k=2)
    assert units.codes(x).tolist() == [[3.0, 0, 0, 0, 0, 0, pytest.approx(1.1), 0]]


def test_negative_codes_of_a_dictionary_are_units_of_their_own() -> None:
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(2))
    pca = PCA()
    params = pca.fit(sae.Size(6, 6, 6), {"k": 0.0}, torch.Generator(), x)
    scaling = sae.Scaling(torch.zeros(6), 1.0)
    dictionary = sae.Dictionary.trained(pca, params, hyper={"k": 0.0}, scaling=scaling, config={})
    units = DictionaryUnits(
        name="pca", hook=HOOK, writes=HOOK, dictionary=dictionary, chosen=np.array([0, 2]), signed=True
    )
    codes = dictionary.encode(x)[:, [0, 2]]
    torch.testing.assert_close(units.codes(x), torch.cat([codes.relu(), (-codes).relu()], dim=1))
    assert units.feature.tolist() == [0, 2, 0, 2]
    assert units.sign.tolist() == [1, 1, -1, -1]
    torch.testing.assert_close(units.directions[2:], -units.directions[:2])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "store.zarr")


def test_a_store_is_analysed_by_itself(store: Store, tmp_path: Path) -> None:
    result = analyze(AnalyzeConfig(run=tmp_path / "store.zarr", out=tmp_path / "report", scores="none"))
    assert result["units"] == 2 * WIDTH, "rows of both signs: each coordinate is two units"
    units = rows_of(tmp_path / "report", "units")
    x = store.read(HOOK, 0, store.rows).numpy()[store.mask.reshape(-1)]
    for unit in units:
        assert unit["count"] == (unit["sign"] * x[:, unit["feature"]] > 0).sum()
    assert (tmp_path / "report" / "index.html").exists()


def test_baselines_are_as_sparse_as_the_dictionaries(store: Store, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", store)
    config = AnalyzeConfig(run=run, out=tmp_path / "report", baselines="pca,random,neurons", native=True, scores="none")
    analyze(config)
    members = {row["member"]: row for row in rows_of(config.out, "members")}
    assert set(members) == {"sparse", "dense", "native", "pca", "random", "neurons"}
    assert members["neurons"]["analysed_l0"] < members["native"]["analysed_l0"]
    kinds = {name: row["kind"] for name, row in members.items()}
    assert (kinds["sparse"], kinds["native"], kinds["pca"], kinds["random"]) == ("sae_latent", "basis", "pca", "random")
    assert {row["stream"] for row in members.values()} == {"clean"}
    target = np.median([members[name]["analysed_l0"] for name in ("sparse", "dense")])
    for name in ("pca", "random", "neurons"):
        assert members[name]["analysed_l0"] <= round(target) + 0.5
        assert members[name]["analysed_l0"] > 0.5
    with pytest.raises(Misuse, match="There is no baseline 'pcb'"):
        AnalyzeConfig(run=run, out=tmp_path / "report", baselines="pcb")
    with pytest.raises(Misuse, match="a store already"):
        analyze(AnalyzeConfig(run=tmp_path / "store.zarr", out=tmp_path / "again", store=tmp_path / "store.zarr"))


@pytest.mark.parametrize("beside", ["dictionary", "native"])
def test_baselines_are_as_sparse_as_the_whole_dictionary_when_few_units_are_drawn(
    beside: str, store: Store, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", store)
    for every, few in zip(_baselines(store, run, beside, None), _baselines(store, run, beside, 2), strict=True):
        assert (every.name, few.n) == (few.name, 2)
        assert _kept(every) == _kept(whole(few)) > 1


def _baselines(store: Store, run: Path, beside: str, n: int | None) -> list[UnitSet]:
    """The last two of what is analysed with at most `n` units of each set."""
    names = {"architecture": "pca", "hook": HOOK}, {"architecture": "neurons", "hook": HOOK}
    members = [
        Member(name="dense", path=run / "members" / "dense", result={"hook": HOOK})
        if beside == "dictionary"
        else Member(name="native", path=None, result={"hook": HOOK}, kind="native"),
        *(Member(name=each["architecture"], path=None, result=each, kind="baseline") for each in names),
    ]
    sets = UnitSets(
        store,
        HOOK,
        Corpus(store, store.committed, 0),
        units=n,
        seed=0,
        device=torch.device("cpu"),
        language_model=None,
        progress=silent,
    )
    return sets.of(members)[-2:]


def _kept(units: UnitSet) -> float:
    """Contributions a row."""
    if isinstance(units, DictionaryUnits):
        return float(units.dictionary.config["hyper"]["k"])
    assert isinstance(units, NativeUnits)
    assert units.k is not None
    return units.k


def test_an_encoder_that_is_not_there_is_named_before_anything_is_read(store: Store, tmp_path: Path) -> None:
    config = AnalyzeConfig(run=tmp_path / "store.zarr", out=tmp_path / "report", encoder=str(tmp_path / "nothing"))
    with pytest.raises(Missing, match="nothing"):
        analyze(config)
    assert not config.out.exists()
