"""What every score costs on synthetic codes: seconds of one core and peak memory, by units and by tokens.

    python -m tests.bench.analysis_scale                                  the whole table, about half an hour
    python -m tests.bench.analysis_scale --units 2304 --tokens 131072 262144 --scores samples positions

50 units fire a token, with densities that fall as 1/rank, on Zipf tokens in documents of 20 to 600 of them. Every score
goes through the passes as an analysis does it, by parts of 32 Ki rows that are merged. Each is measured in a process of
its own; to order firings by unit, which is done once for all of them, is a row of its own (`order`).

    text     what is done once for all dictionaries on the same text (labels, embeddings of windows), in seconds
    seconds  of one dictionary after that; of these `finish` does not grow with tokens
    peak     memory that the pass takes beside the firings, MB
    state    what the accumulator of the first pass keeps, MB
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.analysis.activity import Activity
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import Firings
from actpipe.analysis.histogram import Histogram, edges
from actpipe.analysis.scores import SCORES, Subject
from actpipe.analysis.token_sketch import TokenSketch
from actpipe.analysis.token_sums import TokenSums
from actpipe.analysis.units.native import NativeUnits
from actpipe.harvest.model import load_model
from actpipe.store import create_store

MODEL = "actpipe:factor-gpt-0"  # its embedding table is what texts are compared by
CONTEXT, VOCABULARY, L0 = 128, 2000, 50
PLAN = {2304: (1 << 17, 1 << 18, 1 << 19, 1 << 20), 16_384: (1 << 17, 1 << 19), 100_000: (1 << 17, 1 << 19)}


@dataclass
class Cost:
    text: float
    seconds: float
    finish: float
    peak: float
    state: float


def subject_of(folder: Path, tokens: int, units: int) -> Subject:
    rng = np.random.default_rng(0)
    shape = (tokens // CONTEXT, CONTEXT)
    lengths = rng.integers(20, 600, tokens // 300 + 10)
    doc = np.repeat(np.arange(len(lengths)), lengths)
    doc = np.resize(doc, tokens) if len(doc) < tokens else doc[:tokens]
    model = load_model(MODEL, dtype="float32", device="cpu")
    text = (rng.zipf(1.2, tokens) % VOCABULARY).astype(np.int32)
    store = create_store(
        folder / f"{tokens}",
        tokens=text.reshape(shape),
        doc=np.sort(doc).astype(np.int32).reshape(shape),
        mask=np.ones(shape, bool),
        hooks={"h": 1},
        dtype="float32",
        config={
            "dataset": {"name": "synthetic"},
            "model": {"name": MODEL, "dtype": "float32", "fingerprint": model.fingerprint()},
        },
    )
    for slab in store.pending:
        first, stop = store.slab_range(slab)
        store.write_slab(slab, {"h": torch.zeros((stop - first) * CONTEXT, 1)})
    texts = tuple(f" word{i}" for i in range(VOCABULARY + 1))
    written = torch.randn(units, 64, generator=torch.Generator().manual_seed(0))
    unit_set = NativeUnits(name="synthetic", kind="neuron", hook="h", writes="h", written=written)
    return Subject(units=unit_set, n=units, corpus=Corpus(store, store.committed, 0, texts), seed=0)


def parts_of(subject: Subject) -> list[Firings]:
    """Densities add up to 50; none is above one half."""
    rng, n = np.random.default_rng(1), subject.n
    share = np.cumsum(np.minimum(1 / np.arange(1, n + 1) * L0 / np.sum(1 / np.arange(1, n + 1)), 0.5))
    share /= share[-1]
    parts = []
    for part in subject.corpus.parts():
        rows = subject.corpus.whole(part)
        unit = np.minimum(np.searchsorted(share, rng.random(len(rows.tokens) * L0)), n - 1)
        row, unit = np.divmod(np.unique(np.repeat(np.arange(len(rows.tokens)), L0) * n + unit), n)
        value = np.exp(rng.normal(0, 0.6, len(unit))).astype(np.float32)
        parts.append(Firings(rows=rows, n_units=n, unit=unit, row=row, value=value))
    return parts


class Order:
    """What all accumulators share."""

    def update(self, batch: Firings) -> None:
        ordered(replace(batch, _made={}))

    def merge(self, other: Any) -> None:
        pass

    def state(self) -> dict[str, NDArray[Any]]:
        return {}


def ordered(batch: Firings) -> Firings:
    assert len(batch.starts) + len(batch.by_unit.starts)
    return batch


class OfTokens:
    """Token sums as an accumulator of firings."""

    def __init__(self, sums: TokenSums | TokenSketch) -> None:
        self.sums = sums

    def update(self, batch: Firings) -> None:
        self.sums.update(batch, batch.rows.tokens)

    def merge(self, other: Any) -> None:
        self.sums.merge(other.sums)

    def state(self) -> dict[str, NDArray[Any]]:
        self.sums.pairs()
        return self.sums.state()


def accumulators(n: int) -> dict[str, Any]:
    return {
        "order": Order(),
        "activity": Activity(n),
        "histogram": Histogram(n, edges(1.0)),
        "token_sums": OfTokens(TokenSums(VOCABULARY + 1)),
        "token_sketch": OfTokens(TokenSketch(n, VOCABULARY + 1)),
    }


def passed(empty: Any, parts: list[Firings]) -> Any:
    """What all parts come to. Firings forget what they remember for other scores but their order; rows do not."""
    whole = deepcopy(empty)
    for batch in parts:
        found = deepcopy(empty)
        found.update(replace(batch, _made={name: batch._made[name] for name in ("starts", "by unit")}))
        whole.merge(found)
    return whole


def cost(name: str, subject: Subject, parts: list[Firings]) -> Cost:
    before, kind = _memory("VmRSS"), SCORES.get(name)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    seconds, finish = [], 0.0
    for _ in range(2):  # the second time everything that is done once is there
        start = time.process_time()
        if kind is None:
            gathered = passed(accumulators(subject.n)[name], parts)
            seconds.append(time.process_time() - start)
            continue
        score = kind()
        gathered = passed(score.gather(subject), parts)
        empty = score.check(subject, gathered)
        checked = None if empty is None else passed(empty, parts)
        finish = time.process_time()
        score.finish(subject, gathered, checked, {})
        finish = time.process_time() - finish
        seconds.append(time.process_time() - start)
    peak = _memory("VmHWM") - before
    state = sum(each.nbytes for each in gathered.state().values()) / 1e6
    return Cost(max(seconds[0] - seconds[1], 0), seconds[1], finish, peak, state)


def _memory(name: str) -> float:
    """MB of this process."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1e3


def _alone(names: list[str], *work: Any) -> Iterator[tuple[str, Cost | str]]:
    """Each in a process of its own, which has the firings from this one."""
    fork = multiprocessing.get_context("fork")
    for name in names:
        here, there = fork.Pipe()

        def measure(name: str = name, there: Connection = there) -> None:
            try:
                there.send(cost(name, *work))
            except Exception as error:  # a score that cannot do it is a row of the table
                there.send(f"{type(error).__name__}: {error}")

        process = fork.Process(target=measure)
        process.start()
        there.close()
        try:
            yield name, here.recv()
        except EOFError:
            yield name, "ended without a word: out of memory?"
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="*", default=list(PLAN))
    parser.add_argument("--tokens", type=int, nargs="*")
    parser.add_argument("--scores", nargs="*", default=[*accumulators(1), *SCORES])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| score | units | tokens | firings | text s | seconds | finish s | µs/token | ns/firing | peak MB | state MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for units in asked.units:
        for tokens in asked.tokens or PLAN.get(units, (1 << 17, 1 << 19)):
            with tempfile.TemporaryDirectory() as folder:
                subject = subject_of(Path(folder), tokens, units)
                parts = [ordered(batch) for batch in parts_of(subject)]
                firings = sum(len(batch.unit) for batch in parts)
                for name, found in _alone(asked.scores, subject, parts):
                    cells = _cells(found, tokens, firings)
                    print(f"| {name} | {units} | {tokens} | {firings:.3g} | {cells} |", flush=True)


def _cells(found: Cost | str, tokens: int, firings: int) -> str:
    if isinstance(found, str):
        return found
    per = f"{(found.seconds - found.finish) / tokens * 1e6:.2f} | {(found.seconds - found.finish) / firings * 1e9:.0f}"
    return f"{found.text:.1f} | {found.seconds:.2f} | {found.finish:.2f} | {per} | {found.peak:.0f} | {found.state:.0f}"


if __name__ == "__main__":
    main()
