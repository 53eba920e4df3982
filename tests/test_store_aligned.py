"""Batches of several hooks hold the same rows, whatever the widths and so the chunk sizes of the hooks."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from actpipe.errors import Missing, Misuse
from actpipe.store.aligned import aligned_batches

from .small_store import HOOKS, filled_store, values


@pytest.mark.parametrize(
    "options",
    [
        {},  # chunks of 2 and 1 sequences
        {"min_chunk_bytes": 64},
        {"dtype": "float32", "min_chunk_bytes": 600},
    ],
)
def test_every_batch_is_the_same_rows_of_all_hooks(tmp_path: Path, options: dict[str, Any]) -> None:
    store = filled_store(tmp_path / "store.zarr", **options)
    hooks = tuple(reversed(HOOKS))
    found = list(aligned_batches(store, hooks, batch_size=10, seed=3, epochs=2))
    rows = torch.cat([batch.rows for batch in found])
    counted = torch.from_numpy(store.mask.reshape(-1)).nonzero().flatten()
    assert torch.equal(rows[: len(counted)].sort().values, counted)
    assert not torch.equal(rows[: len(counted)], rows[len(counted) :])
    for batch in found:
        for hook, x in zip(hooks, batch.x, strict=True):
            assert torch.equal(x, values(hook)[batch.rows])


def test_the_chunks_of_the_two_hooks_differ_in_size(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    layout = filled_store(tmp_path / "store.zarr").layout
    assert len({each.chunk_rows for each in layout.hooks.values()}) == 2


def test_a_later_start_gives_the_later_batches(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store.zarr")
    select = store.mask & (store.tokens % 3 != 0)
    whole = list(islice(aligned_batches(store, tuple(HOOKS), batch_size=7, seed=1, select=select), 40))
    later = list(islice(aligned_batches(store, tuple(HOOKS), batch_size=7, seed=1, select=select, start=23), 17))
    for one, other in zip(whole[23:], later, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert all(torch.equal(a, b) for a, b in zip(one.x, other.x, strict=True))


def test_what_cannot_be_aligned_is_a_sentence(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store.zarr")
    hook = next(iter(HOOKS))
    with pytest.raises(Misuse, match="named twice"):
        next(aligned_batches(store, (hook, hook), batch_size=4, seed=0))
    with pytest.raises(Missing, match="has no hook 'nowhere'"):
        next(aligned_batches(store, (hook, "nowhere"), batch_size=4, seed=0))
