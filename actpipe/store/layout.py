"""Where every row lies: pure arithmetic over the sizes in the root attribute (store-format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .codecs import get_codec

KIB, MIB = 2**10, 2**20
SMALLEST_CHUNK_BYTES, LARGEST_CHUNK_BYTES = 256 * KIB, MIB
LARGEST_SLAB_BYTES = 512 * MIB
CHECKSUM_BYTES = 4
INDEX_ENTRY_BYTES = 16
ITEMSIZE = {"bfloat16": 2, "float16": 2, "float32": 4, "int8": 1}
ROW_SCALE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class HookLayout:
    """The rows of one hook."""

    width: int
    dtype: str
    chunk_rows: int
    codec: str = "none"
    channel_scales: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    """[width]; of int8 rows, once the store is there"""

    @property
    def row_bytes(self) -> int:
        """Of a row in its stored form in memory, with the scale of an int8 row."""
        return row_bytes(self.width, self.dtype)

    @property
    def chunk_bytes(self) -> int:
        """Of the rows of one inner chunk in their stored form in memory."""
        return self.chunk_rows * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class ShardedArray:
    """An array with one shard a slab: the values of a hook, or the scales of its rows."""

    path: str
    of: str
    """What error messages call its chunks: nothing for values, " of row scales" for those"""
    width: int
    itemsize: int
    chunk_rows: int
    codec: str

    @property
    def chunk_bytes(self) -> int:
        """One inner chunk, neither compressed nor with its checksum."""
        return self.chunk_rows * self.width * self.itemsize

    def shard_key(self, slab: int) -> str:
        return f"{self.path}/c/{slab}/0"


@dataclass(frozen=True, kw_only=True)
class StoreLayout:
    """Sizes of a store; every position and file name follows from them."""

    context: int
    sequences: int
    slab_sequences: int
    hooks: Mapping[str, HookLayout]
    version: int = 2

    @property
    def rows(self) -> int:
        return self.sequences * self.context

    @property
    def slab_rows(self) -> int:
        """Rows of every slab but the last."""
        return self.slab_sequences * self.context

    @property
    def n_slabs(self) -> int:
        return -(-self.sequences // self.slab_sequences)

    @property
    def dtype(self) -> str:
        return next(iter(self.hooks.values())).dtype

    @property
    def has_health(self) -> bool:
        return self.version >= 2

    def slab_range(self, slab: int) -> tuple[int, int]:
        """First sequence of the slab, and the one after its last."""
        if not 0 <= slab < self.n_slabs:
            raise Misuse(f"There is no slab {slab}; the store has slabs 0 to {self.n_slabs - 1}.")
        start = slab * self.slab_sequences
        return start, min(start + self.slab_sequences, self.sequences)

    def rows_of_slab(self, slab: int) -> int:
        start, stop = self.slab_range(slab)
        return (stop - start) * self.context

    def chunks_per_shard(self, hook: str) -> int:
        """Inner chunks that the index of every shard lists, present or not."""
        return self.slab_rows // self.hooks[hook].chunk_rows

    def chunks_present(self, hook: str, slab: int) -> int:
        return -(-self.rows_of_slab(slab) // self.hooks[hook].chunk_rows)

    def arrays(self, hook: str) -> tuple[ShardedArray, ...]:
        """What the shards of a hook belong to, in the order of writing."""
        each = self.hooks[hook]
        values = ShardedArray(
            path=f"acts/{hook}",
            of="",
            width=each.width,
            itemsize=ITEMSIZE[each.dtype],
            chunk_rows=each.chunk_rows,
            codec=each.codec,
        )
        if each.dtype != "int8":
            return (values,)
        return values, replace(values, path=f"scales/{hook}", of=" of row scales", width=1, itemsize=4, codec="none")

    def most_shard_bytes(self, hook: str, slab: int) -> int:
        """All shards of a hook in one slab; where chunks are stored as they are, exactly this."""
        return sum(self._most_bytes(array, hook, slab) for array in self.arrays(hook))

    def shard_bytes(self, array: ShardedArray, hook: str, slab: int) -> int | None:
        """One shard file; None where it depends on how well the values compress."""
        return self._most_bytes(array, hook, slab) if get_codec(array.codec).is_identity else None

    def _most_bytes(self, array: ShardedArray, hook: str, slab: int) -> int:
        index = self.chunks_per_shard(hook) * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
        chunk = array.chunk_bytes + get_codec(array.codec).growth_bytes + CHECKSUM_BYTES
        return self.chunks_present(hook, slab) * chunk + index

    @property
    def most_bytes(self) -> int:
        """All shards, as if no codec saved anything; the rest of a store is below 1 % of it."""
        return sum(self.most_shard_bytes(hook, slab) for hook in self.hooks for slab in range(self.n_slabs))

    def statistics_key(self, hook: str, slab: int) -> str:
        return f"statistics/{hook}/c/{slab}/0/0"

    def commit_key(self, slab: int) -> str:
        return f"commit/c/{slab}/0"


def plan_layout(
    *,
    context: int,
    sequences: int,
    hooks: Mapping[str, int],
    dtype: str,
    codec: str = "none",
    max_slab_bytes: int = LARGEST_SLAB_BYTES,
    min_chunk_bytes: int = SMALLEST_CHUNK_BYTES,
) -> StoreLayout:
    """Choose slab and chunk sizes for hooks of the given widths."""
    _check(context, sequences, hooks, dtype)
    get_codec(codec)
    sequence_bytes = context * sum(row_bytes(width, dtype) for width in hooks.values())
    slab_sequences = 1
    while 2 * slab_sequences * sequence_bytes <= max_slab_bytes and slab_sequences < sequences:
        slab_sequences *= 2
    slab_rows = slab_sequences * context
    layouts = {
        hook: HookLayout(
            width=width,
            dtype=dtype,
            chunk_rows=_chunk_rows(context, row_bytes(width, dtype), slab_rows, min_chunk_bytes),
            codec=codec,
        )
        for hook, width in hooks.items()
    }
    return StoreLayout(context=context, sequences=sequences, slab_sequences=slab_sequences, hooks=layouts)


def row_bytes(width: int, dtype: str) -> int:
    return width * ITEMSIZE[dtype] + (ROW_SCALE_BYTES if dtype == "int8" else 0)


def _chunk_rows(context: int, bytes_per_row: int, slab_rows: int, min_chunk_bytes: int) -> int:
    rows = context
    while rows * bytes_per_row < min_chunk_bytes and rows < slab_rows:
        rows *= 2
    while rows * bytes_per_row > max(LARGEST_CHUNK_BYTES, min_chunk_bytes) and rows % 2 == 0:
        rows //= 2
    return rows


def _check(context: int, sequences: int, hooks: Mapping[str, int], dtype: str) -> None:
    if context < 1 or sequences < 1:
        raise Misuse(f"A store needs at least one sequence of one token, not {sequences} of {context}.")
    if not hooks:
        raise Misuse("A store needs at least one hook; name one with --hook.")
    if dtype not in ITEMSIZE:
        raise Misuse(f"The data type {dtype!r} cannot be stored; choose one of {', '.join(ITEMSIZE)}.")
    for hook, width in hooks.items():
        if width < 1:
            raise Misuse(f"The hook {hook!r} has width {width}; a hook needs at least one number a token.")
        if not hook.strip(".") or "/" in hook or "\\" in hook or "\0" in hook or hook.startswith("__"):
            raise Misuse(f"The hook name {hook!r} cannot name a Zarr array; avoid slashes, leading '__' and bare dots.")
