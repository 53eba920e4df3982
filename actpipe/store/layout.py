"""Where every row lies: pure arithmetic over the sizes in the root attribute (store-format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actpipe.errors import Misuse

KIB, MIB = 2**10, 2**20
SMALLEST_CHUNK_BYTES, LARGEST_CHUNK_BYTES = 256 * KIB, MIB
LARGEST_SLAB_BYTES = 512 * MIB
CHECKSUM_BYTES = 4
INDEX_ENTRY_BYTES = 16
ITEMSIZE = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True, kw_only=True)
class HookLayout:
    """The shards of one hook."""

    width: int
    dtype: str
    chunk_rows: int

    @property
    def row_bytes(self) -> int:
        return self.width * ITEMSIZE[self.dtype]

    @property
    def chunk_bytes(self) -> int:
        """Values of one inner chunk, without its checksum."""
        return self.chunk_rows * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class StoreLayout:
    """Sizes of a store; every position and file name follows from them."""

    context: int
    sequences: int
    slab_sequences: int
    hooks: Mapping[str, HookLayout]

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

    def chunk_offset(self, hook: str, chunk: int) -> int:
        """Byte where inner chunk `chunk` of a shard starts."""
        return chunk * (self.hooks[hook].chunk_bytes + CHECKSUM_BYTES)

    def shard_bytes(self, hook: str, slab: int) -> int:
        index = self.chunks_per_shard(hook) * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
        return self.chunk_offset(hook, self.chunks_present(hook, slab)) + index

    @property
    def bytes(self) -> int:
        """All shards together; the rest of a store is below 1 % of it."""
        return sum(self.shard_bytes(hook, slab) for hook in self.hooks for slab in range(self.n_slabs))

    def shard_key(self, hook: str, slab: int) -> str:
        return f"acts/{hook}/c/{slab}/0"

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
    max_slab_bytes: int = LARGEST_SLAB_BYTES,
    min_chunk_bytes: int = SMALLEST_CHUNK_BYTES,
) -> StoreLayout:
    """Choose slab and chunk sizes for hooks of the given widths."""
    _check(context, sequences, hooks, dtype)
    sequence_bytes = context * sum(hooks.values()) * ITEMSIZE[dtype]
    slab_sequences = 1
    while 2 * slab_sequences * sequence_bytes <= max_slab_bytes and slab_sequences < sequences:
        slab_sequences *= 2
    slab_rows = slab_sequences * context
    layouts = {
        hook: HookLayout(
            width=width,
            dtype=dtype,
            chunk_rows=_chunk_rows(context, width * ITEMSIZE[dtype], slab_rows, min_chunk_bytes),
        )
        for hook, width in hooks.items()
    }
    return StoreLayout(context=context, sequences=sequences, slab_sequences=slab_sequences, hooks=layouts)


def _chunk_rows(context: int, row_bytes: int, slab_rows: int, min_chunk_bytes: int) -> int:
    rows = context
    while rows * row_bytes < min_chunk_bytes and rows < slab_rows:
        rows *= 2
    while rows * row_bytes > max(LARGEST_CHUNK_BYTES, min_chunk_bytes) and rows % 2 == 0:
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
