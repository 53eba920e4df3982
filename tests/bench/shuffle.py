"""How well an order of rows is shuffled, and what it costs: ours, an exact shuffle, none, and SAELens' half buffer.

    python -m tests.bench.shuffle                                  # the first table
    python -m tests.bench.shuffle --store actpipe-out/store.zarr   # and the second

The first table is about documents: lognormal lengths (mean 697 tokens), rows in token order, batches of 4,096.

    mates       other rows of its batch that come from the same document, per row
    documents   different documents in a batch
    effective   independent rows that say as much as the batch, B / (1 + mates · ICC), for intraclass correlations .05
                and .11, which were measured on residual streams in the middle and at the end of SmolLM2-135M

The second is about consequences, on real rows: a ReLU autoencoder is trained on the same rows in each order, from the
same start, and its unexplained share of the variance (FVU) on held-out documents is divided by that of an exact shuffle
(another exact shuffle shows the noise). Pools are a fifth and a twentieth of the rows, as a million is of five or
twenty. The rate is that of delivering float32 batches from the same store, in memory, by this process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae
from actpipe import open_store
from actpipe.store import Store, create_store
from tests.bench.contest import markdown

Rows: TypeAlias = NDArray[np.int64]
Batches: TypeAlias = Iterator[Tensor]

MEAN_DOCUMENT, SPREAD = 697, 1.0  # tokens; standard deviation of the logarithm
BATCH, SMALL_BATCH = 4096, 1024
ICC = (0.05, 0.11)
SAELENS_SLICE, SAELENS_BUFFER = 32 * 128, 20 * 32 * 128  # its defaults, in rows
POOLS = (2**16, 2**18, 2**20)


class Quality(NamedTuple):
    mates: float
    documents: float

    def effective(self, batch: int, icc: float) -> float:
        return batch / (1 + self.mates * icc)


def quality(doc: NDArray[np.int32], batch: int) -> Quality:
    """Over the whole batches of rows delivered in this order; `doc` is the document of each."""
    mates, documents = [], []
    for part in doc[: len(doc) // batch * batch].reshape(-1, batch):
        counts = np.unique(part, return_counts=True)[1]
        mates.append(float((counts.astype(np.float64) ** 2).sum() / batch - 1))
        documents.append(len(counts))
    return Quality(statistics.mean(mates), statistics.mean(documents))


def document_of_rows(rows: int, seed: int) -> NDArray[np.int32]:
    chance = np.random.default_rng(seed)
    lengths = chance.lognormal(np.log(MEAN_DOCUMENT) - SPREAD**2 / 2, SPREAD, 2 * rows // MEAN_DOCUMENT + 64)
    whole: Rows = np.maximum(lengths, 1).astype(np.int64)
    return np.repeat(np.arange(len(whole), dtype=np.int32), whole)[:rows]


def half_buffer(pieces: Iterable[Tensor], *, buffer: int, batch: int, seed: int) -> Batches:
    """What SAELens 6.54 does (`mixing_buffer`, mix_fraction 1/2): fill, permute, serve all but half a buffer, again."""
    generator, held = torch.Generator().manual_seed(seed), None
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece])
        if len(held) >= buffer:
            held = held[torch.randperm(len(held), generator=generator)]
            cut = max(1, (len(held) - buffer // 2) // batch) * batch
            for start in range(0, cut, batch):
                yield held[start : start + batch]
            held = held[cut:]
    if held is not None:
        for start in range(0, len(held) // batch * batch, batch):
            yield held[start : start + batch]


def _pieces(rows: Tensor, size: int) -> Iterator[Tensor]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def exact_order(rows: Rows, seed: int) -> Rows:
    return np.random.default_rng(seed).permutation(rows)


def half_buffer_order(rows: Rows, buffer: int, batch: int, seed: int) -> Rows:
    """As many rows as given. At the end of the text SAELens begins it again, with the buffer as it is."""
    pieces = _pieces(torch.from_numpy(np.tile(rows, 2)), SAELENS_SLICE)
    stream = half_buffer(pieces, buffer=buffer, batch=batch, seed=seed)
    return torch.cat(list(islice(stream, len(rows) // batch))).numpy()


def our_order(store: Store, hook: str, select: NDArray[np.bool_], pool: int, seed: int, epochs: int = 1) -> Rows:
    stream = store.batches(hook, batch_size=2**16, seed=seed, select=select, pool_rows=pool, epochs=epochs)
    return torch.cat([batch.rows for batch in stream]).numpy()


# Documents


def narrow_store(path: Path, rows: int, run_rows: int) -> Store:
    """A store with rows of one number: the order depends on their number and on that of rows in an inner chunk only."""
    text = np.zeros((rows // run_rows, run_rows), np.int32)
    store = create_store(
        path,
        tokens=text,
        doc=text,
        mask=np.ones(text.shape, bool),
        hooks={"a": 1},
        max_slab_bytes=2**17,
        min_chunk_bytes=2 * run_rows,
    )
    assert store.layout.hooks["a"].chunk_rows == run_rows
    for slab in range(store.n_slabs):
        store.write_slab(slab, {"a": torch.zeros(store.layout.rows_of_slab(slab), 1, dtype=torch.bfloat16)})
    return store


def document_orders(store: Store, seed: int) -> Iterator[tuple[str, Rows]]:
    rows = np.arange(store.rows)
    yield "exact", exact_order(rows, seed)
    yield "none", rows
    for pool in POOLS:
        yield f"actpipe, pool of {pool:,}", our_order(store, "a", store.mask, pool, seed)
    for size in (SAELENS_BUFFER, 2**18):
        yield f"SAELens, buffer of {size:,}", half_buffer_order(rows, size, BATCH, seed)


def document_table(folder: Path, tokens: int, run_rows: int, seed: int) -> str:
    store = narrow_store(folder / "narrow.zarr", tokens, run_rows)
    doc = document_of_rows(store.rows, seed)
    lines = []
    for name, order in document_orders(store, seed):
        found = quality(doc[order], BATCH)
        effective = [f"{found.effective(BATCH, icc):.0f}" for icc in ICC]
        lines.append([name, f"{found.mates:.2f}", f"{found.documents:.0f}", *effective])
    return markdown(["order", "mates", "documents", *(f"effective, ICC {icc}" for icc in ICC)], lines)


# Training


class Contestant(NamedTuple):
    name: str
    order: Callable[[int], Rows]
    """Seed → rows of all epochs."""
    stream: Callable[[], Batches]
    """What is timed: batches of float32 rows."""


class Bench:
    """Rows of a real store in memory, in training units; the held-out ones beside them."""

    def __init__(self, store: Store, hook: str, rows: int, width: int, epochs: int) -> None:
        self.store, self.hook, self.width, self.epochs = store, hook, width, epochs
        held_out = store.held_out()
        self.select = _first(store.mask & ~held_out, rows)
        self.rows: Rows = np.flatnonzero(self.select)
        self.scaling = sae.Scaling.from_rows(self.read(self.rows))
        self.x = self.scaling.apply(self.read(self.rows))
        self.held_out = self.read(np.flatnonzero(_first(held_out, max(rows // 10, 1))))
        self.doc = store.doc.reshape(-1)

    def read(self, rows: Rows) -> Tensor:
        return self.store.read_rows(self.hook, rows).float()

    def fvu(self, order: Rows, seed: int) -> float:
        """Held out, of an autoencoder trained on the rows in this order."""
        places = torch.from_numpy(np.searchsorted(self.rows, order))
        steps = len(places) // SMALL_BATCH
        sample = self.x[torch.randperm(len(self.x), generator=torch.Generator().manual_seed(seed))[:8192]]
        ensemble = sae.Ensemble.create(
            sae.ReLU(),
            [{"seed": seed, "l1": 5.0, "lr": 1e-3}],
            d=self.x.shape[1],
            width=self.width,
            sample=sample,
            schedule=sae.Schedule.over(steps),
        )
        for _ in sae.fit(ensemble, (self.x[part] for part in _pieces(places, SMALL_BATCH)), steps=steps):
            pass
        return sae.evaluate([ensemble.dictionary(0, scaling=self.scaling)], _pieces(self.held_out, 4096))[0].fvu

    def contestants(self) -> Iterator[Contestant]:
        yield Contestant("exact", self._exact, self.gathered)
        yield Contestant("exact, again", lambda seed: self._exact(seed + 99), self.gathered)
        yield Contestant("none", lambda seed: np.tile(self.rows, self.epochs), self.in_sequence)
        for size in (len(self.rows) // 5, len(self.rows) // 20):
            yield Contestant(f"actpipe, pool of {size:,}", partial(self._ours, size), partial(self.pooled, size))
            yield Contestant(f"SAELens, buffer of {size:,}", partial(self._half, size), partial(self.mixed, size))

    def _exact(self, seed: int) -> Rows:
        return np.concatenate([exact_order(self.rows, seed * self.epochs + epoch) for epoch in range(self.epochs)])

    def _ours(self, pool: int, seed: int) -> Rows:
        return our_order(self.store, self.hook, self.select, pool, seed, self.epochs)

    def _half(self, buffer: int, seed: int) -> Rows:
        return half_buffer_order(np.tile(self.rows, self.epochs), buffer, SMALL_BATCH, seed)

    def gathered(self) -> Batches:
        """A few batches only: every row is read with its inner chunk."""
        order = exact_order(self.rows, 0)
        for start in range(0, min(4 * SMALL_BATCH, len(order)), SMALL_BATCH):
            yield self.read(order[start : start + SMALL_BATCH])

    def in_sequence(self) -> Batches:
        stop = int(self.rows[-1]) + 1
        for start in range(0, stop, SAELENS_SLICE):
            end = min(start + SAELENS_SLICE, stop)
            wanted = torch.from_numpy(self.select.reshape(-1)[start:end])
            yield self.store.read(self.hook, start, end)[wanted].float()

    def mixed(self, buffer: int) -> Batches:
        return half_buffer(self.in_sequence(), buffer=buffer, batch=SMALL_BATCH, seed=0)

    def pooled(self, pool: int) -> Batches:
        stream = self.store.batches(
            self.hook, batch_size=SMALL_BATCH, seed=0, select=self.select, pool_rows=pool, epochs=1
        )
        return (batch.x for batch in stream)


def _first(mask: NDArray[np.bool_], rows: int) -> NDArray[np.bool_]:
    """The first true places."""
    flat = mask.reshape(-1)
    return (flat & (np.cumsum(flat) <= rows)).reshape(mask.shape)


def rate(batches: Batches) -> float:
    """Rows a second."""
    began = time.perf_counter()
    rows = sum(len(batch) for batch in batches)
    return rows / (time.perf_counter() - began)


def training_table(bench: Bench, seeds: int) -> str:
    lines: list[list[str]] = []
    exact: list[float] = []
    for name, order, stream in bench.contestants():
        orders = [order(seed) for seed in range(seeds)]
        fvu = [bench.fvu(each, seed) for seed, each in enumerate(orders)]
        exact = exact or fvu
        against = [a / b for a, b in zip(fvu, exact, strict=True)]
        found = quality(bench.doc[orders[0]], SMALL_BATCH)
        cells = [
            f"{statistics.mean(fvu):.4f}",
            f"{statistics.mean(against):.4f} ({min(against):.4f}–{max(against):.4f})",
            f"{found.mates:.2f}",
            f"{found.effective(SMALL_BATCH, ICC[0]):.0f}",
            f"{statistics.median(rate(stream()) for _ in range(3)) / 1000:.0f}",
        ]
        lines.append([name, *cells])
    return markdown(["order", "FVU", "÷ exact", "mates", f"effective, ICC {ICC[0]}", "krows/s"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8_400_000, help="rows of the first table")
    parser.add_argument("--run-rows", type=int, default=256, help="rows of an inner chunk, which are read together")
    parser.add_argument("--store", type=Path, default=None, help="a harvested store; adds the second table")
    parser.add_argument("--hook", default=None, help="of that store (default: its first)")
    parser.add_argument("--rows", type=int, default=88_000, help="to train on")
    parser.add_argument("--width", type=int, default=1152, help="features of the autoencoder")
    parser.add_argument("--epochs", type=int, default=2, help="of training")
    parser.add_argument("--seeds", type=int, default=3, help="starts, each with its own order")
    parser.add_argument("--seed", type=int, default=0, help="of the documents and orders of the first table")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"{asked.tokens} rows, runs of {asked.run_rows}, batches of {BATCH}\n")
        print(document_table(Path(folder), asked.tokens, asked.run_rows, asked.seed), flush=True)
    if asked.store is not None:
        store = open_store(asked.store)
        hook = asked.hook or next(islice(store.hooks, 1))
        bench = Bench(store, hook, asked.rows, asked.width, asked.epochs)
        print(
            f"\n{hook}: {len(bench.rows)} rows of {bench.x.shape[1]} numbers, {asked.epochs} epochs in batches of "
            f"{SMALL_BATCH}, ReLU of {asked.width} features, l1 5, {asked.seeds} seeds, {len(bench.held_out)} rows "
            f"held out, {torch.get_num_threads()} threads\n"
        )
        print(training_table(bench, asked.seeds))


if __name__ == "__main__":
    main()
