"""A store whose rows are computed when they are asked for: training without the disk that a harvest would need.

The store holds the text, and from it follows the order of rows as for any other store. In place of reading the chunks
that come next, the model computes them. What is kept of them is the reader's pool, a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.harvest.activations import activations
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.sites import Site
from actpipe.places import Place
from actpipe.progress import Progress, silent
from actpipe.store import Statistics, Store
from actpipe.store.encoding import decode_rows, empty_rows, encode_rows
from actpipe.store.metadata import read_root
from actpipe.store.objects import Objects

SAMPLE_ROWS = 65_536  # for means and variances


class LiveStore(Store):
    """Every slab counts as there. Readers of several hooks share the model and take turns."""

    def __init__(self, objects: Objects, attribute: Mapping[str, Any], model: LanguageModel) -> None:
        super().__init__(objects, attribute)
        self._model = model
        self.turn = Lock()  # whoever runs the model has hooked it
        self._samples: dict[str, Statistics] = {}

    @classmethod
    def over(cls, place: Place, device: str | None, progress: Progress = silent) -> LiveStore:
        """`place` holds a store, with activations or without."""
        store = Store.open(place)
        return cls(store.objects, read_root(store.objects), recorded_model(store, device, progress=progress))

    @property
    def committed(self) -> list[int]:
        return list(range(self.n_slabs))

    def statistics(self, hook: str) -> Statistics:
        """Of about `SAMPLE_ROWS` rows, from sequences spread evenly over the store."""
        if hook not in self._samples:
            count = min(max(SAMPLE_ROWS // self.context, 1), self.sequences)
            chosen = np.unique(np.linspace(0, self.sequences - 1, count).astype(np.int64))
            stored, each = self._chunks().sequences(hook, chosen), self.layout.hooks[hook]
            rows = decode_rows(stored, each, torch.empty(len(stored), each.width)).double()
            rows = rows[torch.from_numpy(self.mask[chosen].reshape(-1))]
            mean, variance = rows.mean(dim=0), rows.var(dim=0, correction=0)
            self._samples[hook] = Statistics(len(rows), mean.numpy(), variance.numpy())
        return self._samples[hook]

    def _read(self, hook: str, start: int, out: Tensor) -> None:
        chosen = np.arange(start // self.context, -(-(start + len(out)) // self.context))
        rows = self._chunks().sequences(hook, chosen)
        skipped = start % self.context
        out.copy_(rows[skipped : skipped + len(out)])

    def _chunks(self) -> Computed:
        return Computed(self, self._model)


class Computed:
    """Chunks from the model (the contract `actpipe.store.shards.Chunks`)."""

    callers = 1
    bytes_per_call = 16 * 2**20  # many sequences, so that the model runs in full batches

    def __init__(self, store: LiveStore, model: LanguageModel) -> None:
        self._store, self._model = store, model

    def read_runs(self, hook: str, runs: Sequence[int], out: Tensor, following: Sequence[int] = ()) -> None:
        chunk_rows, context = self._store.layout.hooks[hook].chunk_rows, self._store.context
        numbers = (np.asarray(runs, np.int64)[:, None] * chunk_rows + np.arange(chunk_rows)).reshape(-1)
        numbers = np.minimum(numbers, self._store.rows - 1)  # the last chunk may end after the store
        chosen, place = np.unique(numbers // context, return_inverse=True)
        rows = self.sequences(hook, chosen)
        torch.index_select(rows, 0, torch.from_numpy(place * context + numbers % context), out=out)

    def sequences(self, hook: str, chosen: NDArray[np.int64]) -> Tensor:
        """All rows of the sequences of these numbers, in the form that they would have on the disk."""
        store, each = self._store, self._store.layout.hooks[hook]
        site = Site.recorded(hook, store.config["sites"][hook], each.width)
        tokens, doc = store.tokens[chosen], store.doc[chosen]
        floats = each.dtype == "int8"
        rows = torch.empty(tokens.size, each.width) if floats else empty_rows(tokens.size, each)
        with store.turn, activations(self._model, [site], store.config["batch_size"]) as computed:
            computed.fill(tokens, doc, {hook: rows}, lambda amount: None)
        return encode_rows(rows, each)
