"""The stage on a planted run: the tables are those of the format page, and the folder is whole or absent."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.analysis.schemas import COLUMNS, SCORES, schema
from actpipe.errors import Damaged, Mismatch, Missing, Misuse
from actpipe.progress import Bar
from actpipe.store import Store

from .small_run import (
    CONTEXT,
    DEAD_UNIT,
    HOOK,
    NOISE_UNIT,
    TOKEN_UNIT,
    TOKENS,
    WIDTH,
    make_dictionary,
    make_run,
    make_store,
)

FORMAT_PAGE = Path(__file__).parent.parent / "docs/reference/report-format.md"


class Listener:
    """A progress that remembers what was said and can stop the work at a bar."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.said: list[str] = []
        self.bars: list[str] = []
        self.stop_at = stop_at

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
        self.bars.append(title)
        if self.stop_at is not None and title.startswith(self.stop_at):
            raise KeyboardInterrupt
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


def planted(folder: Path) -> AnalyzeConfig:
    store = make_store(folder / "store.zarr")
    return AnalyzeConfig(run=make_run(folder / "run", store), out=folder / "report")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> AnalyzeConfig:
    return planted(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def result(config: AnalyzeConfig) -> dict[str, Any]:
    return analyze(config)


@pytest.fixture
def copied(config: AnalyzeConfig, result: dict[str, Any], tmp_path: Path) -> AnalyzeConfig:
    """The finished run and report in a folder of its own."""
    for name in ("store.zarr", "run", "report"):
        shutil.copytree(config.out.parent / name, tmp_path / name)
    return AnalyzeConfig(run=tmp_path / "run", out=tmp_path / "report")


def table(out: Path, name: str) -> pa.Table:
    return pq.read_table(out / "parquet" / f"{name}.parquet")


def row(out: Path, name: str, **where: Any) -> dict[str, Any]:
    (found,) = [r for r in table(out, name).to_pylist() if all(r[key] == value for key, value in where.items())]
    return dict(found)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_result_says_where_the_report_is_and_what_is_in_it(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    assert result["out"] == str(config.out)
    assert result["units"] == 2 * WIDTH
    assert result["summary"] == json.loads((config.out / "summary.json").read_text())
    json.dumps(result, allow_nan=False)
    assert (config.out / "index.html").exists()
    assert files(config.out.parent) == ["report", "run", "store.zarr"], "nothing temporary is left"


def test_tables_have_the_columns_and_types_that_the_format_lists(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    for name in COLUMNS:
        found = table(config.out, name)
        assert found.schema.equals(schema(name), check_metadata=True)
        page = FORMAT_PAGE.read_text().split(f"\n## {name}.parquet\n")[1].split("\n## ")[0]
        first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
        assert re.findall(r"`(\w+)`", " ".join(first_cells)) == found.column_names
        for column in found.columns:
            if pa.types.is_floating(column.type):
                values = column.drop_null().to_numpy()
                assert np.isfinite(values).all(), "undefined is null, never NaN"


def test_rows_are_in_the_order_of_the_format(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    order = table(config.out, "members")["member"].to_pylist()
    for name, keys in (("units", ["feature"]), ("examples", ["feature", "rank"]), ("histograms", ["feature"])):
        rows = [(order.index(r["member"]), *(r[key] for key in keys)) for r in table(config.out, name).to_pylist()]
        assert rows == sorted(rows)
        assert len(set(rows)) == len(rows)


def test_the_unit_of_a_token_the_unit_of_noise_and_the_dead_unit(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    token = row(config.out, "units", member="sparse", feature=TOKEN_UNIT)
    assert token["token_r2"] == pytest.approx(1)
    assert token["top_tokens"] == [11, 10, 9]  # relu(token − 8): the masses are about 3 : 2 : 1
    noise = row(config.out, "units", member="sparse", feature=NOISE_UNIT)
    assert abs(noise["token_r2"]) < 0.02
    assert noise["distinct_tokens"] == TOKENS
    dead = row(config.out, "units", member="sparse", feature=DEAD_UNIT)
    assert (dead["alive"], dead["count"], dead["density"]) == (False, 0, 0.0)
    undefined = (*SCORES, "max", "mean_active", "std_active", "skew_active", "kurtosis_active")
    assert [dead[name] for name in undefined] == [None] * len(undefined)
    assert dead["top_tokens"] == []
    assert row(config.out, "histograms", member="sparse", feature=DEAD_UNIT)["bins"] == [0] * 64


def test_examples_are_tokens_and_activations_of_the_store(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    store = Store.open(config.out.parent / "store.zarr")
    codes = make_dictionary([0.0, -1.0, -1.5, 0.0, -9.0]).encode(store.read(HOOK, 0, store.rows)).numpy()
    examples = [r for r in table(config.out, "examples").to_pylist() if r["member"] == "sparse"]
    assert {r["feature"] for r in examples} == set(range(WIDTH)) - {DEAD_UNIT}
    for example in examples:
        at = example["sequence"] * CONTEXT + example["position"]
        start = at - example["peak"]
        inside = slice(start, start + len(example["tokens"]))
        assert example["tokens"] == store.tokens.reshape(-1)[inside].tolist()
        assert example["activations"] == codes[inside, example["feature"]].tolist()
        assert example["activations"][example["peak"]] == max(example["activations"])
        assert example["document"] == store.doc.reshape(-1)[at]


def test_bins_add_up_to_the_count(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    bins = np.stack(table(config.out, "histograms")["bins"].to_numpy())
    np.testing.assert_array_equal(bins.sum(axis=1), table(config.out, "units")["count"].to_numpy())
    assert [len(e) for e in result["summary"]["histogram_edges"].values()] == [65]


def test_members_carry_training_results_and_medians_over_alive_units(config: AnalyzeConfig, result: Any) -> None:
    member = row(config.out, "members", member="sparse")
    assert (member["fvu"], member["l0"], member["delta_ce"], member["k"]) == (0.25, 2.0, None, None)
    units = [r for r in table(config.out, "units").to_pylist() if r["member"] == "sparse"]
    assert (member["width"], member["units"], member["alive_units"], member["dead_units"]) == (WIDTH, WIDTH, 4, 1)
    assert member["analysed_l0"] == pytest.approx(sum(unit["density"] for unit in units))
    assert member["token_units"] == 1
    entropies = [unit["token_entropy"] for unit in units if unit["alive"]]
    assert member["median_token_entropy"] == pytest.approx(np.median(entropies))


def test_controls_match_densities_and_score_as_chance_does(config: AnalyzeConfig, result: dict[str, Any]) -> None:
    controls = table(config.out, "controls").to_pylist()
    units = {(r["member"], r["feature"]): r for r in table(config.out, "units").to_pylist()}
    shuffled = [r for r in controls if r["control"] == "shuffled_tokens"]
    assert len(shuffled) == 2 * WIDTH
    for control in shuffled:
        unit = units[control["member"], control["unit"]]
        assert control["count"] == unit["count"], "the activations are the unit's own"
        if unit["alive"]:
            assert abs(control["token_r2"]) < 0.03, "even for the unit that is a function of the token"
    random = [r for r in controls if r["control"] == "random_directions" and r["member"] == "sparse"]
    assert len(random) == 4, "one for each alive unit"
    alive = sorted(unit["density"] for (member, _), unit in units.items() if member == "sparse" and unit["alive"])
    np.testing.assert_allclose(sorted(control["density"] for control in random), alive, atol=0.01)


def test_summary_counts_what_is_undefined_and_says_why(result: dict[str, Any]) -> None:
    summary = result["summary"]
    assert summary["counts"] == {"members": 2, "units": 10, "alive": 9, "dead": 1, "examples": 9 * 16}
    assert summary["undefined"]["units"]["token_r2"] == 1
    text = " ".join(summary["notes"])
    for part in ("1 of 10 features never fired", "No logits", "Tokens are shown as numbers", "are few"):
        assert part in text
    assert summary["model"] is None
    assert summary["dataset"] == "planted"


def test_the_same_again_is_not_computed_again(copied: AnalyzeConfig) -> None:
    before = (copied.out / "summary.json").stat()
    listener = Listener()
    again = analyze(copied, listener)
    assert "up to date" in listener.said[0]
    assert listener.bars == []
    assert (copied.out / "summary.json").stat().st_mtime_ns == before.st_mtime_ns
    assert again["units"] == 2 * WIDTH


def test_analysis_is_deterministic(copied: AnalyzeConfig) -> None:
    before = {name: table(copied.out, name) for name in COLUMNS}
    again = AnalyzeConfig(run=copied.run, out=copied.out, overwrite=True)
    analyze(again)
    assert all(table(copied.out, name).equals(before[name]) for name in COLUMNS)


def test_a_changed_dictionary_is_analysed_again(copied: AnalyzeConfig) -> None:
    make_dictionary([0.0] * WIDTH).save(copied.run / "members" / "sparse")
    listener = Listener()
    result = analyze(copied, listener)
    assert "other inputs" in listener.said[0]
    assert result["summary"]["counts"]["dead"] == 0


def test_sets_of_units_of_a_store_have_names_of_their_own(tmp_path: Path) -> None:
    from actpipe.analysis.inputs import open_inputs
    from actpipe.store import create_store

    hooks = {"blocks.0.hook_resid_post": 2, "blocks.1.hook_resid_post": 2}
    tokens = np.ones((4, 8), dtype=np.int64)
    text = {"tokens": tokens, "doc": tokens, "mask": tokens.astype(bool)}
    store = create_store(tmp_path / "store.zarr", **text, hooks=hooks, dtype="float32", config={})
    for slab in store.pending:
        rows = np.diff(store.slab_range(slab))[0] * 8
        store.write_slab(slab, {hook: torch.ones(rows, 2) for hook in hooks})
    inputs = open_inputs(AnalyzeConfig(run=tmp_path / "store.zarr", out=tmp_path / "report", baselines="pca"))
    assert len({member.name for member in inputs.members}) == 4


def test_other_labelled_texts_are_other_inputs(copied: AnalyzeConfig, tmp_path: Path) -> None:
    from actpipe.analysis.inputs import digest, open_inputs

    labelled = tmp_path / "labelled.jsonl"
    asked = dataclasses.replace(copied, probe=str(labelled))
    digests = []
    for label in "ab":
        labelled.write_text(json.dumps({"text": "once", "label": label}))
        digests.append(digest(open_inputs(asked), asked))
    assert digests[0] != digests[1]


def test_an_encoder_whose_folder_has_changed_is_another_input(copied: AnalyzeConfig, tmp_path: Path) -> None:
    from actpipe.analysis.inputs import digest, open_inputs

    folder = tmp_path / "encoder"
    (folder / "1_Pooling").mkdir(parents=True)
    asked = dataclasses.replace(copied, encoder=str(folder))
    digests = [digest(open_inputs(asked), asked)]
    for weights in ("first", "second"):
        (folder / "model.safetensors").write_text(weights)
        digests.append(digest(open_inputs(asked), asked))
    (folder / "1_Pooling" / "config.json").write_text("{}")
    digests.append(digest(open_inputs(asked), asked))
    assert len(set(digests)) == 4
    assert digest(open_inputs(asked), asked) == digests[-1]


def test_labelled_texts_that_are_not_there_are_missed_before_anything_is_read(copied: AnalyzeConfig) -> None:
    listener = Listener()
    with pytest.raises(Missing, match=r"no labelled texts 'nothing\.jsonl'"):
        analyze(dataclasses.replace(copied, probe="nothing.jsonl"), listener)
    assert listener.bars == []


@pytest.mark.parametrize("probe", ["nothing.jsonl", "bad.jsonl"])
def test_an_analysis_that_is_refused_leaves_nothing(probe: str, copied: AnalyzeConfig, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("not JSON")
    before = files(tmp_path)
    for out in (copied.out, tmp_path / "new" / "folder" / "report"):
        with pytest.raises((Missing, Misuse)):
            analyze(dataclasses.replace(copied, out=out, probe=str(tmp_path / probe)))
        assert files(tmp_path) == before


def test_reports_of_other_slabs_have_other_digests(copied: AnalyzeConfig) -> None:
    from actpipe.analysis.inputs import digest, open_inputs

    inputs = open_inputs(copied)
    first, second = (dataclasses.replace(inputs, slabs=slabs) for slabs in ((0, 1, 3), (0, 2, 3)))
    assert digest(first, copied) != digest(second, copied)


def test_a_dictionary_that_cannot_be_read_is_named(copied: AnalyzeConfig) -> None:
    path = copied.run / "members" / "sparse" / "dictionary.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Damaged, match=r"members/sparse cannot be read \(.*\); train again with --overwrite"):
        analyze(copied)


def test_a_number_of_units_is_drawn_by_seed_and_scored_as_before(copied: AnalyzeConfig) -> None:
    everything = {(r["member"], r["feature"]): r for r in table(copied.out, "units").to_pylist()}
    few = AnalyzeConfig(run=copied.run, out=copied.out.with_name("few"), units=2, seed=3)
    result = analyze(few)
    assert result["units"] == 4
    for unit in table(few.out, "units").to_pylist():
        assert unit == everything[unit["member"], unit["feature"]]
    assert row(few.out, "members", member="sparse")["width"] == WIDTH


def test_ctrl_c_leaves_the_old_report_or_none(copied: AnalyzeConfig, tmp_path: Path) -> None:
    before = (copied.out / "summary.json").read_bytes()
    for moment in ("Reading the store", "Reading for the controls", "Writing tables", "Writing the page"):
        for out in (copied.out, tmp_path / "new"):
            changed = AnalyzeConfig(run=copied.run, out=out, seed=5)
            with pytest.raises(KeyboardInterrupt):
                analyze(changed, Listener(stop_at=moment))
    assert (copied.out / "summary.json").read_bytes() == before
    left = set(files(tmp_path)) - {"report", "run", "store.zarr"}
    assert left == {"report.work.partial", "new.work.partial"}, "what was gathered is kept for the next time"
    for out in (copied.out, tmp_path / "new"):
        analyze(AnalyzeConfig(run=copied.run, out=out, seed=5))
    assert files(tmp_path) == ["new", "report", "run", "store.zarr"]


KILLED = """
import os, sys
from pathlib import Path
from actpipe.analysis import folder
out, moment = Path(sys.argv[1]), sys.argv[2]
rename, count = os.rename, 0
def dying(*paths):
    global count
    count += 1
    if moment == str(count): os._exit(9)
    rename(*paths)
folder.os.rename = dying
with folder.replaced_folder(out) as new:
    (new / "summary.json").write_text('{"format": "actpipe-report", "made": "second"}')
    if moment == "inside": os._exit(9)
"""


@pytest.mark.parametrize("moment", ["inside", "1", "2"])  # before any rename, at the first, between the two
def test_a_kill_at_any_moment_leaves_a_whole_report_for_the_next_run(tmp_path: Path, moment: str) -> None:
    from actpipe.analysis.folder import replaced_folder, summary_of

    out = tmp_path / "report"
    out.mkdir()
    (out / "summary.json").write_text('{"format": "actpipe-report", "made": "first"}')
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out), moment], check=False)
    assert killed.returncode == 9
    assert any(name.endswith(".partial") for name in files(tmp_path)), "it left something behind"
    with pytest.raises(RuntimeError, match="later"), replaced_folder(out):
        raise RuntimeError("later")
    assert files(tmp_path) == ["report"]
    assert (summary_of(out) or {})["made"] == "first"


def test_what_is_not_a_report_is_left_alone(copied: AnalyzeConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(Misuse, match="is not a report"):
        analyze(AnalyzeConfig(run=copied.run, out=tmp_path / "thesis", overwrite=True))
    assert files(tmp_path / "thesis") == ["chapter.tex"]


def test_another_store_is_refused_and_a_moved_one_can_be_named(copied: AnalyzeConfig, tmp_path: Path) -> None:
    make_store(tmp_path / "other.zarr", seed=7)
    fresh = tmp_path / "fresh"
    with pytest.raises(Mismatch, match="fingerprint"):
        analyze(AnalyzeConfig(run=copied.run, out=fresh, store=tmp_path / "other.zarr"))
    (tmp_path / "store.zarr").rename(tmp_path / "moved.zarr")
    with pytest.raises(Missing, match="--store"):
        analyze(AnalyzeConfig(run=copied.run, out=fresh))
    analyze(AnalyzeConfig(run=copied.run, out=fresh, store=tmp_path / "moved.zarr"))
    with pytest.raises(Missing, match="train-sae"):
        analyze(AnalyzeConfig(run=tmp_path / "nothing", out=fresh))


@pytest.mark.parametrize("options", [{"units": 0}, {"seed": -1}, {"scheduler": "foo"}])
def test_senseless_options_are_refused_with_their_value(options: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match=str(next(iter(options.values())))):
        AnalyzeConfig(run=Path("run"), out=Path("report"), **options)


def test_importing_the_analysis_loads_nothing_heavy() -> None:
    code = "import sys, actpipe.analysis; print([m for m in ('torch', 'numpy', 'zarr', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_top_logits_equal_a_full_sort_of_the_logits(saved_models: dict[str, Path]) -> None:
    from actpipe.analysis.directions import logits
    from actpipe.harvest.unembedding import logit_directions

    model = str(saved_models["llama"])
    directions = torch.nn.functional.normalize(torch.randn(300, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    scores = logit_directions(model, HOOK, directions)
    found = logits(model, HOOK, directions)
    assert scores is not None
    assert found is not None
    ordered = scores.numpy().copy()
    ordered.sort(axis=1)
    np.testing.assert_allclose(found.top, ordered[:, ::-1][:, :10], atol=1e-5)
    np.testing.assert_allclose(found.bottom, ordered[:, :10], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores.numpy(), found.top_tokens, axis=1), found.top, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores.numpy(), found.bottom_tokens, axis=1), found.bottom, atol=1e-5)
    assert logits(model, "blocks.0.attn.hook_q", directions) is None


def test_neighbours_have_the_largest_cosine() -> None:
    from actpipe.analysis.directions import neighbours

    directions = torch.nn.functional.normalize(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    cosines = (directions @ directions.T).fill_diagonal_(-2)
    units = np.array([3, 299])
    nearest = neighbours(directions, units)
    assert nearest is not None
    np.testing.assert_array_equal(nearest[0], cosines[units].argmax(dim=1).numpy())
    np.testing.assert_allclose(nearest[1], cosines[units].max(dim=1).values.numpy(), rtol=1e-5)
    assert neighbours(directions[:1], np.array([0])) is None


def test_a_refusal_leaves_nothing_behind(copied: AnalyzeConfig, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="There is no score 'rulez'"):
        analyze(AnalyzeConfig(run=copied.run, out=tmp_path / "refused", scores="rulez"))
    assert files(tmp_path) == ["report", "run", "store.zarr"]
