"""How long a default analysis takes: 8 dictionaries of 2,304 features on a million tokens of the residual stream.

    python -m tests.bench.analysis --out actpipe-out        # of `actpipe demo`

The demo harvests a fifth of that, so its rows and texts are repeated until there are a million; and trains narrower
dictionaries, which are joined in pairs, so that codes are as dense as those of a sweep of L0 30 to 200. The numbers of
the report mean nothing, the seconds do: rows, codes and texts are real ones. Printed: seconds by stage, and the peak
of memory.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import sae
from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.files import write_json
from actpipe.progress import Bar
from actpipe.store import Store, create_store


class Clock:
    """A progress that notes when each stage begins."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []

    @contextmanager
    def bar(self, title: str, total: float | None, unit: str, done: float = 0) -> Iterator[Bar]:
        self.stages.append((title, time.perf_counter()))
        print(f"  {title} …", flush=True)
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def seconds(self) -> list[tuple[str, float]]:
        ends = [begin for _, begin in self.stages[1:]] + [time.perf_counter()]
        return [(title, end - begin) for (title, begin), end in zip(self.stages, ends, strict=True)]


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


def joined(one: sae.Dictionary, other: sae.Dictionary) -> sae.Dictionary:
    params = {
        name: torch.cat([one.params[name], other.params[name]]) if name != "b_dec" else one.params[name]
        for name in one.params
    }
    scaling = sae.Scaling(torch.zeros(one.d), 1.0)
    return sae.Dictionary.trained(one.architecture, params, hyper={"l1": 1.0}, scaling=scaling, config={})


def run_of(small: Path, place: Path, store: Store, hook: str, members: int) -> Path:
    folders = sorted(path for path in (small / "members").iterdir() if hook in path.name)
    dictionaries = [sae.load(path) for path in folders]
    n, results = len(dictionaries), []
    for i in range(members):
        name = f"joined-{i}"
        joined(dictionaries[i % n], dictionaries[(i + 1 + i // n) % n]).save(place / "members" / name)
        width = dictionaries[0].n * 2
        results.append({"path": f"members/{name}", "hook": hook, "architecture": "relu", "width": width, "seed": 0})
    recorded = {"path": str(store.place), "relative": "../store.zarr", "fingerprint": store.fingerprint}
    write_json(place / "run.json", {"format": "actpipe-run", "version": 1, "store": recorded, "config": {}})
    write_json(place / "results.json", {"format": "actpipe-results", "version": 1, "members": results})
    return place


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("actpipe-out"))
    parser.add_argument("--hook", default="blocks.9.hook_resid_post")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=8)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.out))
    try:
        store = larger(Store.open(asked.out / "store.zarr"), folder / "store.zarr", asked.hook, asked.rows)
        run = run_of(asked.out / "sae", folder / "run", store, asked.hook, asked.members)
        clock, begin = Clock(), time.perf_counter()
        processor = time.process_time()
        found = analyze(AnalyzeConfig(run=run, out=folder / "report"), clock)
        total, used = time.perf_counter() - begin, time.process_time() - processor
    finally:
        shutil.rmtree(folder)
    print(f"\n{found['units']:,} units, {found['summary']['tokens']:,} tokens, {torch.get_num_threads()} threads\n")
    print("| stage | seconds |\n|---|---|")
    for title, seconds in clock.seconds():
        print(f"| {title} | {seconds:.0f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| all | **{total:.0f}** |\n\n{used:.0f} s of the processor, peak memory {peak:.1f} GiB")


if __name__ == "__main__":
    main()
