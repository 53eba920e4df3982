"""How fast the page of a report opens, opens a unit and sorts, with 2,304, 16,384 and 100,000 units in one dictionary.

    python -m tests.bench.report --units 2304,16384,100000 --repeats 5

Tables are drawn, not measured, and written with the schemas of `actpipe analyze`; all units have every score and the
words of their rules. Panels are on the disk in shards of 64 and each is loaded alone, so only the first PANELS units
get all their windows: what a shard costs does not depend on how many others there are.

Wall times are the reader's. `cpu` is the time of the renderer's process, which says what a quiet machine would need.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actpipe.analysis.config import AnalyzeConfig
from actpipe.analysis.schemas import schema
from actpipe.analysis.stage import chosen_scores
from actpipe.analysis.table_writers import schemas
from actpipe.report.member_units import METRICS
from actpipe.report.page import write_page
from tests.chromium import start, until

PANELS = 1280  # units with all windows; the others have their strongest one
MEMBER, HOOK = "blocks.9.hook_resid_post-relu-x2-l1_1-s0", "blocks.9.hook_resid_post"
VOCABULARY, TOKENS, WINDOW = 20_000, 10_000_000, 32
CONTROL_UNITS = 256
MB = 1_000_000


def write_tables(out: Path, n: int) -> None:
    """A report of one dictionary of `n` units, without its page."""
    draw = np.random.default_rng(0)
    config = AnalyzeConfig(run=out, out=out)
    known = schemas(chosen_scores(config), config)
    folder = out / "parquet"
    folder.mkdir(parents=True)
    density = np.clip(10.0 ** draw.normal(-3, 0.8, n), 2e-6, 0.5)
    largest = draw.lognormal(1, 0.5, n)

    def write(name: str, columns: dict[str, Any], rows: int) -> None:
        filled = {"member": [MEMBER] * rows, "sign": np.ones(rows, np.int8)} | columns
        arrays = [_array(filled, field, rows) for field in known[name]]
        pq.write_table(pa.table(arrays, schema=known[name]), folder / f"{name}.parquet", compression="zstd")

    def score(low: float = 0.0, high: float = 1.0) -> Any:
        return draw.uniform(low, high, n)

    feature, some = np.arange(n, dtype=np.int32), min(n, PANELS)
    tokens = draw.integers(0, VOCABULARY, (n, 10), dtype=np.int32)
    write(
        "units",
        {
            "feature": feature,
            "alive": np.ones(n, bool),
            "count": (density * TOKENS).astype(np.int64),
            "density": density,
            "max": largest,
            "distinct_tokens": np.full(n, 50, np.int32),
            **{name: score() for name in ("token_entropy", "purity", "specificity", "token_r2", "std_active")},
            "top_tokens": list(tokens),
            "top_token_share": list(draw.random((n, 10)).astype(np.float32)),
            "top_logit_tokens": list(tokens),
            "top_logits": list(draw.random((n, 10)).astype(np.float32)),
        },
        n,
    )
    write("scores", _scores(draw, n, METRICS), n * len(METRICS) + 2 * CONTROL_UNITS * len(METRICS))
    drawn = draw.integers(0, VOCABULARY, (n, 4)).tolist()
    texts = [f"fires on ` word{a}`|` word{b}` (any case)|` word{c}` ({d % 100} %)" for a, b, c, d in drawn]
    rules = [_rule(row) for row in drawn]
    write("explanations", {"feature": feature, "source": ["rules"] * n, "text": texts, "rule": rules}, n)
    concept = {
        "feature": feature,
        "rank": np.zeros(n, np.int32),
        "concept": [f"lexicon/list {i % 400}" for i in range(n)],
    }
    write("concepts", concept | {"f1_std": score()}, n)
    write("histograms", {"feature": feature, "bins": list(draw.integers(0, 500, (n, 64)))}, n)
    controls = {"control": ["random_directions"] * CONTROL_UNITS, "unit": np.arange(CONTROL_UNITS)}
    measured = {"density": density[:CONTROL_UNITS], "token_r2": score()[:CONTROL_UNITS]}
    write("controls", controls | measured, CONTROL_UNITS)
    strongest = np.concatenate([np.repeat(feature[:some], 16), feature[some:]])
    write("examples", _windows(draw, strongest, largest), len(strongest))
    strata = [f"decile_{i // 2}" for i in range(20)] + ["near_miss"] * 6 + ["uniform"] * 24
    sampled = np.repeat(feature[:some], len(strata))
    windows = _windows(draw, sampled, largest) | {"stratum": strata * some}
    write("samples", windows, len(sampled))
    _write_members(folder, n, density)
    (out / "summary.json").write_text(json.dumps(_summary(n)))
    (out / "vocabulary.json").write_text(json.dumps([f" word{i}" for i in range(VOCABULARY)]))


def _array(filled: dict[str, Any], field: pa.Field, rows: int) -> pa.Array:
    return pa.array(filled[field.name], field.type) if field.name in filled else pa.nulls(rows, field.type)


def _rule(tokens: list[int]) -> str:
    rules = [{"match": [[token]], "weight": 1.0} for token in tokens]
    return json.dumps({"otherwise": 0.0, "fires_from": 0.5, "rules": rules})


def _scores(draw: np.random.Generator, n: int, metrics: tuple[str, ...]) -> dict[str, Any]:
    own, control = n * len(metrics), CONTROL_UNITS * len(metrics)
    feature = np.concatenate([np.tile(np.arange(n), len(metrics)), np.tile(np.arange(CONTROL_UNITS), 2 * len(metrics))])
    names = np.concatenate([np.repeat(metrics, n), *[np.repeat(metrics, CONTROL_UNITS)] * 2])
    controls = [None] * own + ["shuffled"] * control + ["random_directions"] * control
    return {"feature": feature, "control": controls, "metric": names, "value": draw.random(len(feature))}


def _windows(draw: np.random.Generator, feature: Any, largest: Any) -> dict[str, Any]:
    rows = len(feature)
    activations = (draw.random((rows, WINDOW)) * (draw.random((rows, WINDOW)) < 0.1)).astype(np.float32)
    activations[:, 23] = 1.0
    activations *= largest[feature][:, None].astype(np.float32)
    return {
        "feature": feature,
        "rank": np.zeros(rows, np.int32),
        "document": np.zeros(rows, np.int32),
        "tokens": list(draw.integers(0, VOCABULARY, (rows, WINDOW), dtype=np.int32)),
        "activations": list(activations),
        "peak": np.full(rows, 23, np.int32),
    }


def _write_members(folder: Path, n: int, density: Any) -> None:
    known = schema("members")
    member = dict.fromkeys(known.names) | {"member": MEMBER, "path": MEMBER, "hook": HOOK, "architecture": "relu"}
    member |= {"width": n, "units": n, "l1": 1.0, "seed": 0, "l0": float(density.sum()), "fvu": 0.2, "delta_ce": 0.3}
    member |= {"alive_units": n, "dead_units": 0, "dense_units": int((density > 0.1).sum()), "token_units": n // 5}
    pq.write_table(pa.Table.from_pylist([member], schema=known), folder / "members.parquet")


def _summary(n: int) -> dict[str, Any]:
    return {
        "format": "actpipe-report",
        "version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"actpipe": "0"},
        "model": "drawn",
        "dataset": "drawn",
        "hooks": [HOOK],
        "run": {"architecture": ["relu"]},
        "inputs": "0" * 64,
        "store": {"fingerprint": "0" * 20, "context": 128, "sequences": TOKENS // 128, "dtype": "bfloat16"},
        "tokens": TOKENS,
        "documents": 40_000,
        "distinct_tokens": VOCABULARY,
        "notes": [],
        "counts": {"units": n, "alive": n},
        "histogram_edges": {HOOK: (2.0 ** (np.arange(65) / 4 - 10)).tolist()},
        "vocabulary": "vocabulary.json",
    }


class Tab:
    """A fresh browser."""

    def __init__(self) -> None:
        self._profile = tempfile.mkdtemp()
        self.driver = start(Path(self._profile))
        self.driver.set_script_timeout(300)

    def close(self) -> None:
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)

    def timed(self, script: str) -> tuple[float, float]:
        """Milliseconds of wall and of the renderer's processor that the promise of `script` takes."""
        before = self.cpu()
        timed = f"const from = performance.now(); ({script}).then(() => arguments[0](performance.now() - from));"
        wall = float(self.driver.execute_async_script(timed))
        return wall, self.cpu() - before

    def cpu(self) -> float:
        ticks = sum(sum(map(int, _stat(process)[11:13])) for process in self._renderers())
        return 1000 * ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MB that the renderer alone holds: what the browser's own task manager calls its footprint."""
        return max(_private(process) for process in self._renderers()) / MB

    def _renderers(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                line = (path / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "--type=renderer" in line and self._profile in line:
                found.append(int(path.name))
        return found


def _private(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_READY = "document.documentElement.dataset.ready"
_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def measure(page: Path, unit: int) -> dict[str, tuple[float, float]]:
    """Name → (wall, cpu); of paint and memory the first alone."""
    tab = Tab()
    try:
        tab.driver.get(page.as_uri())
        until(lambda: tab.driver.execute_script("return typeof table !== 'undefined' && table?.getDataCount() > 0"))
        rows_there = tab.driver.execute_script("return performance.now()")
        until(lambda: tab.driver.execute_script(f"return {_READY}"))
        found = {
            "first paint": (float(tab.driver.execute_script(f"return {_PAINT}")), 0.0),
            "table there": (float(rows_there), 0.0),
            "all drawn": (float(tab.driver.execute_script("return performance.now()")), tab.cpu()),
            "sort": tab.timed(f"Promise.resolve(table.setSort('rules', 'desc')).then(() => {_FRAME})"),
            "filter": tab.timed(f"Promise.resolve(table.setHeaderFilterValue('says', 'word77')).then(() => {_FRAME})"),
            "open a unit": tab.timed(f"openUnit(rows[{unit}]).then(() => {_FRAME})"),
        }
        found["open another of its shard"] = tab.timed(f"openUnit(rows[{unit + 1}]).then(() => {_FRAME})")
        found["memory, MB"] = (tab.memory(), 0.0)
        return found
    finally:
        tab.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", default="2304,16384,100000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-report")
    asked = parser.parse_args()
    sizes = [int(n) for n in asked.units.split(",")]
    for n in sizes:
        out = asked.folder / str(n)
        if not (out / "index.html").exists():
            shutil.rmtree(out, ignore_errors=True)
            write_tables(out, n)
            began = time.process_time()
            write_page(out)
            print(f"{n:,} units: the page was written in {time.process_time() - began:.1f} s of processor", flush=True)
    found: dict[int, list[dict[str, tuple[float, float]]]] = {n: [] for n in sizes}
    for repeat in range(asked.repeats):  # interleaved, so that all meet the same noise
        for n in sizes:
            found[n].append(measure(asked.folder / str(n) / "index.html", unit=70 + 2 * repeat))
    print("| units | " + " | ".join(found[sizes[0]][0]) + " |")
    for n in sizes:
        cells = [_cell([run[name] for run in found[n]]) for name in found[n][0]]
        print(f"| {n:,} | " + " | ".join(cells) + " |")


def _cell(values: list[tuple[float, float]]) -> str:
    wall, cpu = (statistics.median(value[i] for value in values) for i in (0, 1))
    return f"{wall:,.0f}" + (f" ({cpu:,.0f} cpu)" if cpu else "")


if __name__ == "__main__":
    main()
