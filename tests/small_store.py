"""A store of a few hundred rows with several slabs and chunks, and the values that are in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from actpipe.store import Store, create_store

CONTEXT, SEQUENCES = 8, 21
HOOKS = {"blocks.0.hook_resid_post": 6, "blocks.1.mlp.hook_post": 10}
HOOK = next(iter(HOOKS))


def texts() -> dict[str, np.ndarray]:
    """Documents of 20 tokens; the first token of each sequence does not count."""
    positions = np.arange(SEQUENCES * CONTEXT).reshape(SEQUENCES, CONTEXT)
    return {"tokens": positions * 7 % 50, "doc": positions // 20, "mask": positions % CONTEXT != 0}


def values(hook: str) -> torch.Tensor:
    """[rows, width]: quarters between −4 and 4, exact in every data type."""
    rows = torch.arange(SEQUENCES * CONTEXT)[:, None]
    return ((rows * 5 + torch.arange(HOOKS[hook]) * 3 + rows // 9) % 32 - 16) / 4


def empty_store(path: Path, **options: Any) -> Store:
    """Slabs of 4 sequences (the last has 1), chunks of 1 or 2 sequences."""
    options = {"max_slab_bytes": 4 * CONTEXT * 16 * 2, "min_chunk_bytes": 150, "dtype": "bfloat16", **options}
    return create_store(path, **texts(), hooks=HOOKS, config={"model": "planted", "seed": 0}, **options)


def slab_of(store: Store, slab: int) -> dict[str, torch.Tensor]:
    start, stop = (sequence * store.context for sequence in store.slab_range(slab))
    return {hook: values(hook)[start:stop] for hook in store.hooks}


def filled_store(path: Path, **options: Any) -> Store:
    store = empty_store(path, **options)
    for slab in store.pending:
        store.write_slab(slab, slab_of(store, slab))
    return store


def data_files(path: Path) -> dict[str, bytes]:
    """All files of a store but the commit records, which know times."""
    files = (file for file in sorted(path.rglob("*")) if file.is_file())
    names = {str(file.relative_to(path)): file for file in files}
    return {name: file.read_bytes() for name, file in names.items() if not name.startswith("commit/c/")}
