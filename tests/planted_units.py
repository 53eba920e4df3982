"""Units whose activations are given: a score's test plants what it must find, and compares with brute force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.firings import firings
from actpipe.analysis.scores import Accumulator, Score, Scored, Subject
from actpipe.analysis.units.native import NativeUnits
from actpipe.store import Store, create_store

HOOK = "blocks.0.mlp.hook_post"


def text_store(path: Path, tokens: np.ndarray, doc: np.ndarray, mask: np.ndarray | None = None) -> Store:
    """A complete store of `[sequences, context]` texts; its one hook holds a column of zeros."""
    mask = np.ones(tokens.shape, bool) if mask is None else mask
    store = create_store(
        path,
        tokens=tokens,
        doc=doc,
        mask=mask,
        hooks={HOOK: 1},
        dtype="float32",
        config={"dataset": {"name": "planted"}},
    )
    for slab in store.pending:
        start, stop = store.slab_range(slab)
        store.write_slab(slab, {HOOK: torch.zeros((stop - start) * store.context, 1)})
    return store


def subject_of(store: Store, n: int, *, seed: int = 0, control: str | None = None) -> Subject:
    units = NativeUnits(name="planted", kind="neuron", hook=HOOK, writes=HOOK, written=torch.eye(n))
    return Subject(units=units, n=n, corpus=Corpus(store, store.committed, seed), seed=seed, control=control)


def gathered(accumulators: list[Accumulator], subject: Subject, codes: np.ndarray, sequences: int = 4) -> Accumulator:
    """One pass over `codes` [rows, n], the blocks dealt in turn to the accumulators, which are then merged."""
    corpus = subject.corpus
    for i, rows in enumerate(corpus.blocks(sequences * corpus.store.context)):
        piece = codes[rows.first : rows.first + len(rows.tokens)].astype(np.float32)
        accumulators[i % len(accumulators)].update(firings(rows, piece))
    first, *others = accumulators
    for other in others:
        first.merge(other)
    return first


def scored(
    score: Score,
    subject: Subject,
    codes: np.ndarray,
    *,
    parts: int = 1,
    found: Mapping[str, Scored] | None = None,
    **how: Any,
) -> Scored:
    """What the score says of the units, through as many passes as it asks for."""
    first = gathered([score.gather(subject) for _ in range(parts)], subject, codes, **how)
    seconds = [score.check(subject, first) for _ in range(parts)]
    checks = [second for second in seconds if second is not None]
    second = gathered(checks, subject, codes, **how) if checks else None
    return score.finish(subject, first, second, found or {})
