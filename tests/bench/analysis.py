"""How long a default analysis takes: a sweep of 8 dictionaries on a million tokens of the residual stream, all scores.

    actpipe demo
    actpipe train-sae --hook blocks.9.hook_resid_post --expansion 4 --l1-sweep 1:8:8 --out sweep
    python -m tests.bench.analysis --store actpipe-out/store.zarr --run sweep

The demo harvests a fifth of that, so its rows and texts are repeated until there are a million; dictionaries, rows and
texts are real. The numbers of the report mean nothing, the seconds do. Printed: seconds of the clock and of the
processor by stage, as they end, and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.files import write_json
from actpipe.progress import Bar
from actpipe.store import Store, create_store


class Clock:
    """A progress that prints what each stage took when the next one begins."""

    def __init__(self) -> None:
        self.title = "Opening"
        self.begin = time.perf_counter(), time.process_time()
        print("| stage | seconds | of the processor |\n|---|---|---|")

    def next(self, title: str) -> None:
        now = time.perf_counter(), time.process_time()
        print(f"| {self.title} | {now[0] - self.begin[0]:.1f} | {now[1] - self.begin[1]:.1f} |", flush=True)
        self.title, self.begin = title, now

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
        self.next(title)
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        pass


def larger(small: Store, place: Path, hook: str, rows: int) -> Store:
    """The store of one hook over and over, documents numbered anew."""
    times = -(-rows // small.rows)
    last = int(small.doc.max()) + 1
    text = {
        "tokens": np.concatenate([small.tokens] * times),
        "doc": np.concatenate([np.where(small.doc < 0, -1, small.doc + i * last) for i in range(times)]),
        "mask": np.concatenate([small.mask] * times),
    }
    config = {key: small.config[key] for key in ("model", "dataset")}
    store = create_store(place, **text, hooks={hook: small.hooks[hook]}, dtype="bfloat16", config=config)
    for slab in store.pending:
        first, stop = (sequence * small.context for sequence in store.slab_range(slab))
        store.write_slab(slab, {hook: small.read_rows(hook, np.arange(first, stop) % small.rows)})
    return store


def run_on(store: Store, run: Path, place: Path) -> Path:
    """A copy of the run that says it is of this store."""
    shutil.copytree(run, place)
    written = json.loads((place / "run.json").read_text())
    recorded = {"path": str(store.place), "relative": "../store.zarr", "fingerprint": store.fingerprint}
    write_json(place / "run.json", {**written, "store": recorded})
    return place


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path, default=Path("actpipe-out/store.zarr"))
    parser.add_argument("--run", type=Path, default=Path("sweep"))
    parser.add_argument("--hook", default="blocks.9.hook_resid_post")
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.run.parent))
    try:
        store = larger(Store.open(asked.store), folder / "store.zarr", asked.hook, asked.rows)
        run = run_on(store, asked.run, folder / "run")
        began, clock = (time.perf_counter(), time.process_time()), Clock()
        found = analyze(AnalyzeConfig(run=run, out=folder / "report"), clock)
        clock.next("")
        total, used = time.perf_counter() - began[0], time.process_time() - began[1]
    finally:
        shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| all | **{total:.0f}** | {used:.0f} |\n")
    print(
        f"{found['units']:,} units, {found['summary']['tokens']:,} tokens, {torch.get_num_threads()} threads, ", end=""
    )
    print(f"peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
