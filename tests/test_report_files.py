"""What `write_report` writes, read without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actpipe.errors import Damaged, Mismatch, Missing
from actpipe.report import write_report
from actpipe.report.distributions import edges, occupied, shares
from actpipe.report.naming import name_members
from actpipe.report.payload import number

from .report_tables import write_tables
from .report_text import HOSTILE

SOURCE = Path(__file__).parent.parent / "actpipe" / "report"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_tables(folder, features=70)
    write_report(folder)
    return folder


def received(path: Path) -> tuple[str, Any]:
    """(key, value) of a data script."""
    text = path.read_text(encoding="ascii")
    key, packed = json.loads("[" + text.removeprefix("receive(").removesuffix(");\n") + "]")
    return key, json.loads(gzip.decompress(base64.b64decode(packed)))


def test_page_shards_and_libraries_are_written(out: Path) -> None:
    assert sorted(path.name for path in (out / "data").iterdir()) == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "report.js",
        "vocabulary.js",
    ]
    assert sorted(path.name for path in (out / "data" / "3").iterdir()) == ["0.js", "1.js", "table.js"]
    key, shard = received(out / "data" / "3" / "1.js")
    assert key == "3/1"
    assert list(shard) == [str(feature) for feature in range(64, 70)]
    page = (out / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="(assets/[^"]+)"', page):
        assert (out / name).is_file()
    assert "http://" not in re.sub(r"xmlns='[^']*'", "", page)
    assert "https://" not in page


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_of_before(out: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    before = contents()
    (out / "data" / "9").mkdir()
    (out / "data" / "9" / "table.js").write_text("stale")
    assert write_report(out) == out / "index.html"
    assert contents() == before


def test_token_text_cannot_leave_its_script(out: Path) -> None:
    for path in (out / "data").rglob("*.js"):
        assert not set("<>&") & set(path.read_text(encoding="ascii"))
    _, vocabulary = received(out / "data" / "vocabulary.js")
    assert set(HOSTILE) <= set(vocabulary["texts"])


def test_names_are_escaped_in_the_shell(tmp_path: Path) -> None:
    write_tables(tmp_path, features=8, name="{:03d}</option><b>{}")
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"model": "<script>alert(1)</script>"}))
    page = write_report(tmp_path).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_contexts_keep_their_activations(out: Path) -> None:
    import pyarrow.parquet as pq

    rows = [r for r in pq.read_table(out / "parquet" / "examples.parquet").to_pylist() if r["member"].startswith("001")]
    _, shard = received(out / "data" / "1" / "0.js")
    for row in rows[:40]:
        document, sequence, position, peak, tokens, active = shard[str(row["feature"])]["examples"][row["rank"]]
        assert (document, sequence, position, peak) == tuple(
            row[k] for k in ("document", "sequence", "position", "peak")
        )
        assert tokens == row["tokens"]
        assert active == {str(i): number(a) for i, a in enumerate(row["activations"]) if a > 0}


def test_undefined_scores_are_null_and_not_numbers(out: Path) -> None:
    _, table = received(out / "data" / "0" / "table.js")
    dead = table["count"].index(0)
    assert [table[name][dead] for name in ("max", "entropy", "purity", "r2", "snippet")] == [None] * 5
    assert table["density"][dead] == 0
    assert number(float("nan")) is None
    assert number(123456.0) == 123500


def test_integers_are_exact_and_measurements_are_rounded() -> None:
    assert [number(12288), number(123456), number(10_000_001)] == [12288, 123456, 10_000_001]
    assert [number(123456.0), number(0.123456), number(0)] == [123500, 0.1235, 0]


def test_a_report_without_names_of_model_and_dataset_says_so(tmp_path: Path) -> None:
    write_tables(tmp_path, features=8)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"model": None, "dataset": None}))
    page = write_report(tmp_path).read_text()
    assert "<title>A model that the store does not name · features</title>" in page
    assert "<h1>A model that the store does not name</h1>" in page
    assert "documents of a dataset that the store does not name." in page
    assert "None" not in page


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, features=8)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"version": 2}))
    with pytest.raises(Mismatch, match=r"version 2.*reads 'actpipe-report' version 1"):
        write_report(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(Damaged, match="not readable JSON"):
        write_report(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"has no summary\.json.*actpipe analyze"):
        write_report(tmp_path)
    write_tables(tmp_path, features=8)
    (tmp_path / "parquet" / "controls.parquet").unlink()
    with pytest.raises(Missing, match=r"parquet/controls\.parquet"):
        write_report(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_distributions_count_every_defined_value_once() -> None:
    records = shares(
        [-3.0, 0.0, 0.01, 0.99, 1.0, None, float("nan")], edges("token_r2", rows=100, distinct_tokens=9), "g"
    )
    # 24 bins of 0.05 from -0.2: -3 is counted in the first, 0.99 and 1.0 in the last, 0 and 0.01 in the fifth.
    assert len(records) == 24
    assert {i: record["n"] for i, record in enumerate(records) if record["n"]} == {0: 1, 4: 2, 23: 2}
    assert records[4] == {"group": "g", "low": 0.0, "high": 0.05, "share": 0.4, "n": 2}


def test_empty_bins_are_dropped_at_both_ends_only() -> None:
    assert [record["n"] for record in occupied([{"n": 0}, {"n": 2}, {"n": 0}, {"n": 1}, {"n": 0}])] == [2, 0, 1]
    assert occupied([{"n": 0}]) == []


def test_edges_cover_what_can_occur() -> None:
    density = edges("density", rows=5000, distinct_tokens=9)  # the least is 1/5000, four decades down
    assert (density[0], density[-1], len(density)) == (1e-4, 1.0, 41)
    entropy = edges("token_entropy", rows=5000, distinct_tokens=9)  # log2 9 = 3.17 bits, rounded up to half a bit
    assert (entropy[0], entropy[-1], len(entropy)) == (0.0, 3.5, 8)


def test_members_are_named_by_what_differs() -> None:
    base = {"member": "a", "hook": "h", "architecture": "relu", "width": 64, "l1": 0.5, "k": None, "seed": 0}
    names = name_members([base, base | {"member": "b", "l1": 2.0}])
    assert [(name.label, name.series, name.tag) for name in names] == [
        ("relu · l1=0.5", "", "l1=0.5"),
        ("relu · l1=2", "", "l1=2"),
    ]
    names = name_members([base, base | {"member": "b", "hook": "g"}])
    assert [name.label for name in names] == ["h · l1=0.5", "g · l1=0.5"]
    names = name_members([base, base | {"member": "b"}])  # nothing differs but the name
    assert [name.label for name in names] == ["relu · l1=0.5 · a", "relu · l1=0.5 · b"]


def test_vendored_files_are_the_ones_their_readme_names() -> None:
    folder = SOURCE / "vendored"
    listed = dict(re.findall(r"^\| `([^`]+)` .* `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.M))
    assert set(listed) == {path.name for path in folder.iterdir() if path.suffix in (".js", ".css")}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    for licence in re.findall(r"`([a-z0-9-]+\.LICENSE)`", (folder / "README.md").read_text()):
        assert (folder / licence).is_file()


def test_importing_the_report_loads_no_heavy_library() -> None:
    code = (
        "import sys, actpipe.report; print([m for m in ('pyarrow', 'altair', 'jinja2', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
