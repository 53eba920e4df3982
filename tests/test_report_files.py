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

import numpy as np
import pyarrow.parquet as pq
import pytest

from actpipe.analysis.scores.rule_json import Rule, RuleList
from actpipe.errors import Damaged, Failure, Mismatch, Missing, Misuse
from actpipe.report import write_report
from actpipe.report.density_matched import above_controls
from actpipe.report.distributions import edges, occupied, shares
from actpipe.report.naming import name_members
from actpipe.report.payload import Vocabulary, number, visible
from actpipe.report.predicted import Predictor
from actpipe.report.rules_interval import rules_interval, standard_f1
from actpipe.report.single_file import write_single_file

from .report_scores import MISTAKEN, write_scores
from .report_tables import write_tables
from .report_text import HOSTILE

SCRIPT_LINES, LINE = 400, 120  # of the page of a report, without comments and empty lines; characters
SOURCE = Path(__file__).parent.parent / "actpipe" / "report"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_scores(folder, write_tables(folder, features=70))
    write_report(folder)
    return folder


def received(path: Path) -> tuple[str, Any]:
    """(key, value) of a data script."""
    text = path.read_text(encoding="ascii")
    key, packed = json.loads("[" + text.removeprefix("receive(").removesuffix(");\n") + "]")
    return key, json.loads(gzip.decompress(base64.b64decode(packed)))


def test_page_shards_and_libraries_are_written(out: Path) -> None:
    names = ["report.js", "theme.js", "units", "units.js", "vocabulary.js"]
    assert sorted(path.name for path in (out / "data").iterdir()) == names
    shards = sorted((out / "data" / "units").iterdir(), key=lambda path: int(path.stem))
    assert [path.name for path in shards] == [f"{i}.js" for i in range(6)]  # 5 · 70 units, 64 a file
    contents = [received(path) for path in shards]
    assert [key for key, _ in contents] == [f"units/{i}" for i in range(6)]
    assert [len(shard) for _, shard in contents] == [64] * 5 + [30]
    page = (out / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="(assets/[^"]+)"', page):
        assert (out / name).is_file()
    assert "http://" not in re.sub(r"xmlns='[^']*'", "", page)
    assert "https://" not in page


def test_writing_again_gives_the_same_bytes_and_leaves_nothing_of_before(out: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    before = contents()
    (out / "data" / "units" / "9.js").write_text("stale")
    assert write_report(out) == out / "index.html"
    assert contents() == before


def test_token_text_cannot_leave_its_script(out: Path) -> None:
    for path in (out / "data").rglob("*.js"):
        assert not set("<>&") & set(path.read_text(encoding="ascii"))
    _, vocabulary = received(out / "data" / "vocabulary.js")
    assert set(map(visible, HOSTILE)) <= set(vocabulary["texts"])


def test_what_cannot_be_seen_is_named() -> None:
    assert visible("a b é 漢 <!--") == "a b é 漢 <!--"
    assert visible("\u202eright\u2028\x00\ud83d") == "⟨U+202E⟩right⟨U+2028⟩⟨U+0000⟩⟨U+D83D⟩"
    assert visible(" a\n\tb\r") == " a↵⇥b␍"
    assert Vocabulary([" the", "`"]).quoted(0) == "` the`"
    assert Vocabulary([" the", "`"]).quoted(1) == "`⟨U+0060⟩`"
    assert Vocabulary([" the"]).text(7) == "⟨token 7⟩"


def test_names_are_escaped_in_the_shell(tmp_path: Path) -> None:
    write_tables(tmp_path, features=8, name="{:03d}</option><b>{}")
    summary = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"model": "<script>alert(1)</script>"}))
    page = write_report(tmp_path).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def blocks(out: Path, place: int) -> list[list[Any]]:
    """The panel of the unit at `place` among all."""
    found: list[list[Any]] = received(out / "data" / "units" / f"{place // 64}.js")[1][place % 64]
    return found


def test_windows_keep_their_tokens_and_activations(out: Path) -> None:
    rows = [r for r in pq.read_table(out / "parquet" / "examples.parquet").to_pylist() if r["member"].startswith("001")]
    for feature in range(16):
        top = sorted((row for row in rows if row["feature"] == feature), key=lambda row: int(row["rank"]))[:12]
        shown = [content["windows"] for kind, content in blocks(out, 70 + feature) if kind == "windows"]
        if not top:
            assert shown == []
            continue
        largest = max(row["activations"][row["peak"]] for row in top)
        for row, (document, peak, tokens, levels, _) in zip(top, shown[0], strict=True):
            assert (document, peak, tokens) == (row["document"], row["peak"], row["tokens"])
            for share, activation in zip(levels, row["activations"], strict=True):
                assert activation * 1000 / largest <= share < activation * 1000 / largest + 1.001
                assert (share == 0) == (activation == 0)


def test_windows_in_which_the_rules_are_wrong_are_shown_as_false_alarms(out: Path) -> None:
    titles = {
        feature: [content["title"] for kind, content in blocks(out, feature) if kind == "windows"]
        for feature in (0, MISTAKEN)
    }
    assert titles[0] == ["Strongest", "Over its range", "Silent", "Near misses"]
    assert titles[MISTAKEN] == ["Strongest", "Over its range", "False alarms", "Silent", "Near misses"]
    shown = [content for kind, content in blocks(out, MISTAKEN) if kind == "windows"]
    alarms = next(content for content in shown if content["title"] == "False alarms")
    assert [(window[3], window[4]) for window in alarms["windows"]] == [([], [1])]  # silent, predicted at the middle


def test_predictions_are_those_of_the_rules_that_are_published() -> None:
    generator = np.random.default_rng(0)
    patterns = [(3,), (1, 2), (2, None), (0, 1, None), (4, 4, 4), (1, 3), (5, 0, 2, 1)]
    for _ in range(200):
        chosen = generator.permutation(len(patterns))[:5]
        rules = tuple(Rule(match=(patterns[i],), weight=float(generator.random())) for i in chosen)
        fires_from = None if generator.random() < 0.1 else 0.4
        published = RuleList(rules=rules, otherwise=0.1, fires_from=fires_from)
        tokens = generator.integers(0, 6, size=32).tolist()
        expected = np.flatnonzero(published.predict(tokens).fires).tolist()
        assert Predictor(published.to_json()).fires(tokens) == expected


def test_undefined_scores_are_null_and_not_numbers(out: Path) -> None:
    _, table = received(out / "data" / "units.js")
    dead = table["count"].index(0)
    assert [table[name][dead] for name in ("max", "entropy", "purity", "r2", "strongest", "rules", "above")] == [
        None
    ] * 7
    assert table["density"][dead] == 0
    assert blocks(out, dead) == [["text", [blocks(out, dead)[0][1][0]]]]
    assert blocks(out, dead)[0][1][0].startswith("Never fires on")
    assert number(float("nan")) is None
    assert number(123456.0) == 123500


def test_the_table_holds_judgements_effects_seeds_and_intervals(out: Path) -> None:
    _, table = received(out / "data" / "units.js")
    _, report = received(out / "data" / "report.js")
    alive = next(i for i, count in enumerate(table["count"]) if count)
    held = {name: table[name][alive] for name in ("detection", "discrimination", "kl", "concept")}
    assert held == {"detection": 0.8, "discrimination": 0.6, "kl": 0.0123, "concept": "form/plural"}
    assert table["seeds"][:2] == [0, 1]
    for low, f1, high in zip(table["rules_low"], table["rules"], table["rules_high"], strict=True):
        assert f1 is None or low <= f1 <= high
    shown = [column["field"] for column in report["columns"]]
    assert shown[:5] == ["feature", "arm", "hook", "mark", "strongest"]
    assert "collides" not in shown  # no judge said so of any unit


def test_an_interval_contains_the_truth_as_often_as_it_says() -> None:
    generator, tpr, fpr = np.random.default_rng(1), 0.6, 0.004
    n = np.full(2000, 50.0)
    seen_tpr = generator.binomial(50, tpr, size=2000) / 50
    seen_fpr = generator.binomial(20_000, fpr, size=2000) / 20_000
    low, high = rules_interval(tpr=seen_tpr, fpr=seen_fpr, hits=n, others=np.full(2000, 20_000.0))
    truth = standard_f1(np.array([tpr]), np.array([fpr]))[0]
    assert 0.93 < ((low <= truth) & (truth <= high)).mean() < 0.97


def test_a_unit_is_held_against_the_hardest_control_at_its_density() -> None:
    density = np.geomspace(1e-4, 1e-1, 100)
    easy, hard = (density, np.zeros(100)), (density, np.log10(density) + 4)  # 0 at 1e-4, 3 at 1e-1
    above = above_controls(np.array([1.0, 5.0, 1.0]), np.array([1e-4, 1e-1, 0.0]), {"easy": easy, "hard": hard})
    # The mean of the 25 nearest: at the ends of those up to a quarter of the way, 12 · 3/99 from the end.
    assert above[:2] == pytest.approx([1 - 36 / 99, 5 - (3 - 36 / 99)])
    assert np.isnan(above[2])
    assert np.isnan(above_controls(np.array([1.0]), np.array([0.1]), {})).all()


def test_the_verdict_says_which_scores_are_not_better_than_control(out: Path) -> None:
    page = (out / "index.html").read_text()
    assert "Rules tell when features fire: better than their hardest control (random directions) in 4 of 5" in page
    assert "not better than control in any of 5 dictionaries" in page
    assert "Exploratory: One seed a configuration" in page
    assert "The mean is 1.03 times as long as the spread" in page
    assert re.search(r"rules:executed <small>certified, exam 1\.00", page)


def test_one_file_holds_what_its_header_says(out: Path, tmp_path: Path) -> None:
    whole = write_single_file(out, tmp_path / "whole.html")
    assert (whole.units, whole.details) == (350, 350)
    page = whole.path.read_text()
    assert "have a panel" not in page
    assert not re.search(r'<script[^>]* src|<link rel="stylesheet"', page)
    assert "unsafe-inline" not in page
    limit = (whole.n_bytes - 60_000) / 1e6
    part = write_single_file(out, tmp_path / "part.html", max_mb=limit, wanted=["001-relu-l1-1.0/9"])
    assert 0 < part.details < 350
    assert part.n_bytes <= limit * 1e6
    page = part.path.read_text()
    assert f"{part.details:,} of 350 units have a panel" in page
    packed = dict(re.findall(r'<script type="text/plain" id="data/(units/\d+)">([^<]+)</script>', page))
    shards = {key: json.loads(gzip.decompress(base64.b64decode(text))) for key, text in packed.items()}
    assert sum(panel is not None for shard in shards.values() for panel in shard) == part.details
    assert shards["units/1"][79 - 64] is not None
    with pytest.raises(Misuse, match="no unit 'x/1'"):
        write_single_file(out, tmp_path / "no.html", wanted=["x/1"])
    with pytest.raises(Failure, match=r"above --max-mb 1"):
        write_single_file(out, tmp_path / "no.html", max_mb=1.0)
    assert not (tmp_path / "no.html").exists()


def test_scripts_written_by_hand_stay_few() -> None:
    scripts = [SOURCE / name for name in ("shell.js", "charts.js", "tokens.js", "table.js", "panel.js", "page.js")]
    lines = [line.strip() for path in scripts for line in path.read_text().splitlines()]
    assert max(len(line) for path in scripts for line in path.read_text().splitlines()) <= LINE
    assert len([line for line in lines if line and not line.startswith(("//", "/**", "*"))]) <= SCRIPT_LINES


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
