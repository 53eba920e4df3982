"""Speed of the store beside plain files, zarr-python, SAELens and dictionary_learning, on this machine, now.

    make peers
    python -m tests.bench.store --gib 2 --rounds 4 --folder /big/disk

Every contestant handles the same number of rows of the same width, in 16 bits. Each round runs all of a contest in
random order; a ratio is the median (and range) over rounds of the rates in one round.

    raw                  one file, 64 MiB a read, fsync after every slab
    zarr-python          the array of a store like ours through `zarr.open_array`: a slab a write, fsync after each;
                         as many rows a read as ours
    SAELens              CacheActivationsRunner in float16 with a model that costs nothing, then fsync; read through its
                         ActivationsStore and mixing_buffer, with its default buffer (20 batches of 32 prompts of 128
                         tokens; 6.54 passes on a 32nd of that and refuses to run) and with one as large as our pool
    dictionary_learning  the indexing of its ActivationBuffer, as large as our pool, fed from the raw file

Before each write a file of the same size is written and deleted, so that nobody pays for pages that the machine has not
touched before; before each cold read the pages are dropped (POSIX_FADV_DONTNEED). The disk needs six times --gib.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import torch
import zarr

from actpipe.store import Store, create_store
from tests.bench.contest import Seconds, faster, markdown, play
from tests.bench.peer import Ask, peer

CONTEXT, BATCH_ROWS = 256, 4096
RAW_BLOCK_BYTES = 64 * 2**20
BLOCK_BYTES = 8 * 2**20  # of one read of ours; zarr-python is slower with larger ones too
SAELENS_ROWS = 20 * 32 * 128
PEER_ROWS = 65_536  # that SAELens writes again and again

Works = Mapping[str, Callable[[], float | None]]


class Comparison(NamedTuple):
    contest: str
    other: str
    goal: float | None


COMPARISONS = (
    Comparison("durable write", "raw", 0.8),
    Comparison("durable write", "zarr-python", 2),
    Comparison("durable write", "SAELens", 5),
    Comparison("cold read", "raw", 0.85),
    Comparison("cold read", "zarr-python", 2),
    Comparison("warm read", "raw", 1.3),
    Comparison("warm read", "zarr-python", 6),
    Comparison("shuffled, cold", "raw, in sequence", 0.6),
    Comparison("shuffled, cold", "SAELens, its buffer", 3),
    Comparison("shuffled, cold", "SAELens, our buffer", 9),
    Comparison("shuffled, cold", "dictionary_learning", None),
    Comparison("shuffled, warm", "raw, in sequence", None),
)


class Bench:
    """The same rows as a raw file, as a store, as an array for zarr-python, and as SAELens' cache."""

    def __init__(self, folder: Path, gib: float, width: int, pool_rows: int) -> None:
        self.folder, self.width, self.pool_rows = folder, width, pool_rows
        self.raw, self.ours, self.zarr, self.cache = (
            folder / name for name in ("raw", "ours.zarr", "zarr.zarr", "cache")
        )
        sequences = int(gib * 2**30 / (CONTEXT * width * 2))
        self.text = np.zeros((sequences, CONTEXT), np.int32)
        self.store = self.new_store(self.ours)
        self.n_rows = self.store.rows
        self.rows = torch.randn(min(self.store.layout.slab_rows, self.n_rows), width).bfloat16()

    def new_store(self, path: Path) -> Store:
        shutil.rmtree(path, ignore_errors=True)
        mask = np.ones(self.text.shape, bool)
        return create_store(path, tokens=self.text, doc=self.text, mask=mask, hooks={"a": self.width})

    def slabs(self) -> Iterator[tuple[int, torch.Tensor]]:
        for slab in range(self.store.n_slabs):
            yield slab, self.rows[: self.store.layout.rows_of_slab(slab)]

    def array(self, path: Path, mode: str) -> Any:
        return zarr.open_array(path / "acts" / "a", mode=mode)

    # What goes before a contestant, off the clock

    def before_write(self, name: str) -> None:
        if name == "raw":
            self.raw.unlink(missing_ok=True)
        elif name == "actpipe":
            self.store = self.new_store(self.ours)
        elif name == "zarr-python":
            self.new_store(self.zarr)
        else:
            shutil.rmtree(self.cache, ignore_errors=True)
        os.sync()
        self._recycle()

    def _recycle(self) -> None:
        scratch = self.folder / "scratch"
        with open(scratch, "wb") as file:
            for _, rows in self.slabs():
                file.write(_bytes(rows))
        scratch.unlink()

    def before_cold(self, name: str) -> None:
        os.sync()
        for path in self.folder.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def before_warm(self, name: str) -> None:
        if name.startswith("raw"):
            self.read_raw()
        else:
            self.read_ours()

    # Writing

    def write_raw(self) -> None:
        with open(self.raw, "wb", buffering=0) as file:
            for _, rows in self.slabs():
                file.write(_bytes(rows))
                os.fsync(file.fileno())

    def write_ours(self) -> None:
        for slab, rows in self.slabs():
            self.store.write_slab(slab, {"a": rows})

    def write_zarr(self) -> None:
        array, slab_rows = self.array(self.zarr, "r+"), self.store.layout.slab_rows
        for slab, rows in self.slabs():
            array[slab * slab_rows : slab * slab_rows + len(rows)] = (
                rows.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
            )
            with open(self.zarr / "acts" / "a" / "c" / str(slab) / "0", "rb") as file:
                os.fsync(file.fileno())

    # Reading

    def read_raw(self, block_bytes: int = RAW_BLOCK_BYTES) -> None:
        buffer = bytearray(block_bytes)
        with open(self.raw, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def read_ours(self) -> None:
        block = self._block()
        out = torch.empty(block, self.width, dtype=torch.bfloat16)
        for start in range(0, self.n_rows, block):
            stop = min(start + block, self.n_rows)
            self.store.read("a", start, stop, out=out[: stop - start])

    def read_zarr(self) -> None:
        array, block = self.array(self.ours, "r"), self._block()
        for start in range(0, self.n_rows, block):
            array[start : start + block]

    def _block(self) -> int:
        """Rows of one read, in whole inner chunks."""
        chunk_rows = self.store.layout.hooks["a"].chunk_rows
        return max(BLOCK_BYTES // (chunk_rows * self.width * 2), 1) * chunk_rows

    def shuffle(self) -> None:
        for _ in self.store.batches("a", batch_size=BATCH_ROWS, seed=0, epochs=1, pool_rows=self.pool_rows):
            pass

    # Peers

    def peer_arguments(self) -> list[object]:
        few = self.rows[:PEER_ROWS].float()
        np.save(self.folder / "rows.npy", few.numpy())
        found: dict[str, object] = {"rows": self.folder / "rows.npy", "raw": self.raw, "folder": self.folder}
        found |= {"sequences": self.store.sequences, "context": CONTEXT}
        return [part for name, value in found.items() for part in (f"--{name}", value)]

    def ask(self, ask: Ask, **order: Any) -> float:
        """A peer may leave out the end of the rows, so it answers seconds a row."""
        return float(ask(**order)) * self.n_rows


def _bytes(rows: torch.Tensor) -> Any:
    return rows.view(torch.uint8).numpy()


def measure(bench: Bench, ask: Ask | None, rounds: int, chance: random.Random) -> dict[str, Seconds]:
    """Seconds by contest. Writing comes first: what it leaves is read."""
    raw_batches = partial(bench.read_raw, BATCH_ROWS * bench.width * 2)
    write: Works = {"raw": bench.write_raw, "actpipe": bench.write_ours, "zarr-python": bench.write_zarr}
    read: Works = {"raw": bench.read_raw, "actpipe": bench.read_ours, "zarr-python": bench.read_zarr}
    warm: Works = {"raw, in sequence": raw_batches, "actpipe": bench.shuffle}
    cold = warm
    if ask is not None:
        write = {**write, "SAELens": partial(bench.ask, ask, what="write")}
        cold = {
            **warm,
            "SAELens, its buffer": partial(bench.ask, ask, what="mix", buffer_rows=SAELENS_ROWS),
            "SAELens, our buffer": partial(bench.ask, ask, what="mix", buffer_rows=bench.pool_rows),
            "dictionary_learning": partial(bench.ask, ask, what="index", buffer_rows=bench.pool_rows),
        }
    contests = {
        "durable write": (write, bench.before_write),
        "cold read": (read, bench.before_cold),
        "warm read": (read, bench.before_warm),
        "shuffled, cold": (cold, bench.before_cold),
        "shuffled, warm": (warm, bench.before_warm),
    }
    return {
        name: play(field, rounds=rounds, chance=chance, before=before) for name, (field, before) in contests.items()
    }


def table(seconds: Mapping[str, Seconds], n_rows: int) -> str:
    rows = []
    for contest, other, goal in COMPARISONS:
        if other in seconds[contest]:
            krows = [n_rows / 1000 / statistics.median(seconds[contest][name]) for name in ("actpipe", other)]
            ratio = faster(seconds[contest], "actpipe", other).against(goal)
            rows.append([contest, f"{krows[0]:.0f}", other, f"{krows[1]:.0f}", ratio])
    return markdown(["contest", "ours, krows/s", "other", "krows/s", "ratio (range)"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2, help="size of the rows")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--width", type=int, default=576, help="numbers a row")
    parser.add_argument(
        "--pool-rows", type=int, default=2**18, help="of our pool, and of the peers' buffers made equal"
    )
    parser.add_argument("--peers", choices=["all", "none"], default="all", help="none: zarr-python and raw files only")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the contestants")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, ExitStack() as stack:
        bench = Bench(Path(folder), options.gib, options.width, options.pool_rows)
        ask = None
        if options.peers == "all":
            ask = stack.enter_context(peer("saelens_store.py", *bench.peer_arguments()))
        seconds = measure(bench, ask, options.rounds, random.Random(options.seed))
        layout = bench.store.layout
        print(
            f"{bench.n_rows} rows of {options.width} numbers in 16 bits ({options.gib:g} GiB), slabs of "
            f"{layout.slab_rows} rows, chunks of {layout.hooks['a'].chunk_rows}, batches of {BATCH_ROWS}, pool of "
            f"{options.pool_rows} rows, {options.rounds} rounds, {torch.get_num_threads()} threads\n\n"
            f"{table(seconds, bench.n_rows)}"
        )


if __name__ == "__main__":
    main()
