"""Speed of the store as ratios to plain files of the same size, on this machine, now.

    python -m tests.bench.store --gib 2 --rounds 4 --folder /big/disk

Each round runs every contestant in random order; a ratio is the median over rounds of (rate of ours) / (rate of the raw
file) of the same round. Before each write a file of the same size is written and deleted, so that nobody pays for
pages the machine has not touched before; before each cold read the pages are dropped (POSIX_FADV_DONTNEED).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from actpipe.store import Store, create_store

CONTEXT, BATCH_ROWS = 256, 4096
RAW_BLOCK_BYTES = 64 * 2**20
OUR_BLOCK_BYTES = 8 * 2**20
GOALS = {"durable write": 0.8, "cold read": 0.85, "warm read": 1.3, "shuffled, cold": 0.6, "shuffled, warm": None}


class Bench:
    """A raw file and a store with the same values."""

    def __init__(self, folder: Path, gib: float, width: int, pool_rows: int) -> None:
        self.folder, self.width, self.pool_rows = folder, width, pool_rows
        self.raw, self.path = folder / "raw", folder / "store.zarr"
        sequences = int(gib * 2**30 / (CONTEXT * width * 2))
        self.texts = {name: np.zeros((sequences, CONTEXT), np.int32) for name in ("tokens", "doc")}
        self.store = self.new_store()
        self.n_rows = self.store.rows
        self.rows = torch.randn(self.store.layout.slab_rows, width).bfloat16()
        self.bytes = self.n_rows * width * 2

    def new_store(self) -> Store:
        shutil.rmtree(self.path, ignore_errors=True)
        mask = np.ones(self.texts["doc"].shape, bool)
        return create_store(self.path, **self.texts, mask=mask, hooks={"a": self.width})

    def slabs(self) -> Iterator[tuple[int, torch.Tensor]]:
        for slab in range(self.store.n_slabs):
            yield slab, self.rows[: self.store.layout.rows_of_slab(slab)]

    def recycle(self) -> None:
        scratch = self.folder / "scratch"
        with open(scratch, "wb") as file:
            for _, rows in self.slabs():
                file.write(rows.view(torch.uint8).numpy())
        scratch.unlink()

    def prepare_write(self) -> None:
        self.raw.unlink(missing_ok=True)
        for slab in self.store.committed:
            self.store.withdraw(slab)
        for shard in self.path.glob("acts/a/c/*/0"):
            shard.unlink()
        os.sync()
        self.recycle()

    def write_raw(self) -> None:
        with open(self.raw, "wb", buffering=0) as file:
            for _, rows in self.slabs():
                file.write(rows.view(torch.uint8).numpy())
                os.fsync(file.fileno())

    def write_store(self) -> None:
        for slab, rows in self.slabs():
            self.store.write_slab(slab, {"a": rows})

    def refill(self) -> None:
        self.prepare_write()
        self.write_raw()
        self.write_store()

    def drop(self) -> None:
        os.sync()
        for path in (self.raw, *self.path.glob("acts/a/c/*/0")):
            with open(path, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def warm(self) -> None:
        self.read_raw()
        self.read_store()

    def read_raw(self, block_bytes: int = RAW_BLOCK_BYTES) -> None:
        buffer = bytearray(block_bytes)
        with open(self.raw, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def read_raw_batches(self) -> None:
        self.read_raw(BATCH_ROWS * self.width * 2)

    def read_store(self) -> None:
        chunk_rows = self.store.layout.hooks["a"].chunk_rows
        block = max(OUR_BLOCK_BYTES // (chunk_rows * self.width * 2), 1) * chunk_rows
        out = torch.empty(block, self.width, dtype=torch.bfloat16)
        for start in range(0, self.n_rows, block):
            stop = min(start + block, self.n_rows)
            self.store.read("a", start, stop, out=out[: stop - start])

    def shuffle(self) -> None:
        for _ in self.store.batches("a", batch_size=BATCH_ROWS, seed=0, epochs=1, pool_rows=self.pool_rows):
            pass


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(bench: Bench, rounds: int, seed: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of (raw, ours) for each round of each contest."""
    contests: dict[str, tuple[Callable[[], None], Callable[[], None], Callable[[], None]]] = {
        "durable write": (bench.prepare_write, bench.write_raw, bench.write_store),
        "cold read": (bench.drop, bench.read_raw, bench.read_store),
        "warm read": (bench.warm, bench.read_raw, bench.read_store),
        "shuffled, cold": (bench.drop, bench.read_raw_batches, bench.shuffle),
        "shuffled, warm": (bench.warm, bench.read_raw_batches, bench.shuffle),
    }
    chance = random.Random(seed)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contests}
    for _ in range(rounds):
        for name, (prepare, raw, ours) in contests.items():
            found = {}
            for work in chance.sample([raw, ours], 2):
                prepare()
                found[work] = timed(work)
            seconds[name].append((found[raw], found[ours]))
            if name == "durable write":
                bench.refill()
    return seconds


def table(bench: Bench, seconds: dict[str, list[tuple[float, float]]]) -> str:
    lines = [
        "| contest | raw GiB/s | store GiB/s | store krows/s | ratio | range | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    gib = bench.bytes / 2**30
    for name, pairs in seconds.items():
        raw, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        goal = f"≥ {GOALS[name]}" if GOALS[name] else ""
        lines.append(
            f"| {name} | {gib / raw:.2f} | {gib / ours:.2f} | {bench.n_rows / ours / 1000:.0f} "
            f"| **{statistics.median(ratios):.2f}** | {min(ratios):.2f}–{max(ratios):.2f} | {goal} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--pool-rows", type=int, default=2**18)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder), options.gib, options.width, options.pool_rows)
        seconds = measure(bench, options.rounds, options.seed)
        layout = bench.store.layout
        print(
            f"{options.gib:g} GiB of bfloat16, width {options.width}, slabs of {layout.slab_rows} rows, "
            f"chunks of {layout.hooks['a'].chunk_rows} rows, pool of {options.pool_rows} rows, "
            f"{options.rounds} rounds, {torch.get_num_threads()} threads\n\n{table(bench, seconds)}"
        )


if __name__ == "__main__":
    main()
