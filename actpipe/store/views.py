"""A store as other libraries like to see one: an array of dask, a data set of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from .batches import Batch

if TYPE_CHECKING:
    from .store import Store


def dask_array(store: Store, hook: str) -> Any:
    """float32 [rows, width], a chunk a slab, which is read and checked when it is computed."""
    import dask.array

    ranges = (store.slab_range(slab) for slab in range(store.n_slabs))
    rows = tuple((stop - start) * store.context for start, stop in ranges)

    def read(block_info: Mapping[None, Any]) -> NDArray[np.float32]:
        (start, stop), _ = block_info[None]["array-location"]
        values: NDArray[np.float32] = store.read(hook, start, stop).float().numpy()
        return values

    return dask.array.map_blocks(
        read, chunks=(rows, (store.hooks[hook],)), dtype=np.float32, meta=np.zeros((0, 0), np.float32)
    )


class BatchDataset(torch.utils.data.IterableDataset[Batch]):
    """The batches of a store; the workers of a DataLoader share the rows out among themselves."""

    def __init__(self, store: Store, hook: str, options: Mapping[str, Any]) -> None:
        self._store, self._hook, self._options = store, hook, dict(options)

    def __iter__(self) -> Iterator[Batch]:
        part, parts = self._options.get("part", (0, 1))
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            part, parts = part * worker.num_workers + worker.id, parts * worker.num_workers
        return self._store.batches(self._hook, **self._options | {"part": (part, parts)})
