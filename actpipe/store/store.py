"""A store as its users see it: rows by number, shuffled batches, statistics, and slabs to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Mismatch, Missing, Misuse
from actpipe.places import Place

from . import batches as _batches
from .checksums import read_checked
from .commit import committed_slabs, withdraw_commit
from .dtypes import dtype_name, value_dtype
from .encoding import decode_rows, empty_rows
from .layout import StoreLayout
from .metadata import differences, layout_of, read_channel_scales, read_root, read_text
from .objects import Objects, objects_at
from .order import Order, Selection, deliveries
from .quality import ShuffleQuality, shuffle_quality
from .reading import read_rows
from .shards import Chunks, Shards, damage
from .slab_files import has_its_files, write_slab_files
from .splits import Documents, Text, documents, held_out_documents, opening
from .statistics import Statistics, merge

if TYPE_CHECKING:
    from .views import BatchDataset


class Store:
    """One store. Pickles as its place, so that it can be sent to other processes."""

    def __init__(self, objects: Objects, attribute: Mapping[str, Any]) -> None:
        self.objects = objects
        self.layout: StoreLayout = read_channel_scales(objects, layout_of(attribute))
        self.config: dict[str, Any] = dict(attribute["config"])
        self.fingerprint: str = attribute["fingerprint"]
        self._committed: frozenset[int] = frozenset()
        self._shards = Shards(objects, self.layout)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.place,)

    @classmethod
    def open(cls, place: Place) -> Store:
        """For reading, and for writing slabs; a stage that continues a harvest calls `recover` first."""
        objects = objects_at(place)
        return cls(objects, read_root(objects))

    def __repr__(self) -> str:
        done = f"{len(self.committed)} of {self.n_slabs} slabs"
        return f"Store({str(self.place)!r}, {self.rows} rows, hooks {self.hooks}, {self.dtype}, {done})"

    @property
    def place(self) -> Place:
        """The folder or the URL."""
        return self.objects.place

    @property
    def path(self) -> Path:
        """The folder of a store that has one."""
        if not isinstance(self.place, Path):
            raise Misuse(f"The store {self.place} is not in a folder of this machine; copy it to one first.")
        return self.place

    @property
    def hooks(self) -> dict[str, int]:
        """Name → width, in harvest order."""
        return {hook: each.width for hook, each in self.layout.hooks.items()}

    @property
    def rows(self) -> int:
        """Planned rows, masked ones included."""
        return self.layout.rows

    @property
    def context(self) -> int:
        return self.layout.context

    @property
    def sequences(self) -> int:
        return self.layout.sequences

    @property
    def dtype(self) -> str:
        return self.layout.dtype

    @property
    def n_slabs(self) -> int:
        return self.layout.n_slabs

    @cached_property
    def tokens(self) -> NDArray[np.int32]:
        """[sequences, context]"""
        return read_text(self.objects, "tokens")

    @cached_property
    def doc(self) -> NDArray[np.int32]:
        """[sequences, context]: number of the token's document, −1 at padding"""
        return read_text(self.objects, "doc")

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """[sequences, context]: true where the row counts"""
        return read_text(self.objects, "mask")

    def text(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Sequences start … stop − 1 of `tokens`, `doc` or `mask`, without holding the whole array."""
        whole = self.__dict__.get(name)
        return read_text(self.objects, name, start, stop) if whole is None else whole[start:stop]

    @property
    def committed(self) -> list[int]:
        """Slabs that readers may use, looked up anew each time."""
        self._committed = committed_slabs(self.objects, self.layout, self._committed)
        return sorted(self._committed)

    @property
    def pending(self) -> list[int]:
        """Slabs that are still to be written."""
        return sorted(set(range(self.n_slabs)) - set(self.committed))

    @property
    def is_complete(self) -> bool:
        return not self.pending

    @property
    def bytes(self) -> int:
        """On disk now, all files."""
        return sum(self.objects.sizes().values())

    def slab_range(self, slab: int) -> tuple[int, int]:
        """First sequence of the slab, and the one after its last."""
        return self.layout.slab_range(slab)

    def require_config(self, asked: Mapping[str, Any]) -> None:
        """Raise Mismatch, naming what differs, unless the store was made for this configuration."""
        found = differences(self.config, asked)
        if found:
            raise Mismatch(
                f"{self.place} was made for another configuration: {'; '.join(found)}. "
                "Name another place with --out, or start anew with --overwrite."
            )

    # Writing

    def recover(self) -> list[int]:
        """Clear what a crash left; returns the slabs to write. Call once, before any worker starts.

        Removes unfinished files, and withdraws slabs whose files are missing or of the wrong size.
        """
        self.objects.clear_litter()
        sizes = self.objects.sizes()
        for slab in self.committed:
            if not has_its_files(self.objects, self.layout, slab, sizes):
                self.withdraw(slab)
        return self.pending

    def withdraw(self, slab: int) -> None:
        """Take a slab away from readers, so that the next harvest writes it again."""
        withdraw_commit(self.objects, self.layout, slab)
        self._committed -= {slab}
        self._shards.forget()

    def write_slab(self, slab: int, rows: Mapping[str, torch.Tensor], *, worker: int = 0) -> None:
        """Store the rows [n, width] of every hook for one slab, durably, and commit it.

        Doing it again writes the same bytes. Values that are not finite, before or after conversion to the stored data
        type, are refused and nothing is committed.
        """
        start, stop = self.slab_range(slab)
        mask, doc = (self.text(name, start, stop).reshape(-1) for name in ("mask", "doc"))
        write_slab_files(self.objects, self.layout, slab, rows, mask=mask, doc=doc, worker=worker)
        self._shards.forget()

    # Reading

    def read(self, hook: str, start: int, stop: int, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """Rows start … stop − 1 [stop − start, width], checked against their checksums.

        In the stored data type, or float32 where that is int8. `out`, a contiguous tensor of that shape and type, saves
        allocating one in a loop.
        """
        self._require(hook)
        if not 0 <= start <= stop <= self.rows:
            raise Misuse(f"Rows {start} to {stop} are outside the store; it has rows 0 to {self.rows}.")
        self._require_committed(start, stop)
        shape, dtype, each = (stop - start, self.hooks[hook]), value_dtype(self.dtype), self.layout.hooks[hook]
        if out is None:
            out = torch.empty(shape, dtype=dtype)
        elif out.shape != shape or out.dtype != dtype or not out.is_contiguous():
            name = str(dtype).removeprefix("torch.")
            raise Misuse(f"`out` must be a contiguous {name} tensor of shape {shape}.")
        if self.dtype != "int8":
            self._read(hook, start, out)
            return out
        stored = empty_rows(len(out), each)
        self._read(hook, start, stored)
        return decode_rows(stored, each, out)

    def read_rows(self, hook: str, rows: Any) -> torch.Tensor:
        """The given rows [len(rows), width] in that order; each inner chunk that holds any is read once."""
        self._require(hook)
        numbers = np.asarray(rows, np.int64).reshape(-1)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.rows):
            raise Misuse(
                f"Rows {numbers.min()} to {numbers.max()} are outside the store; it has rows 0 to {self.rows}."
            )
        out = torch.empty((len(numbers), self.hooks[hook]), dtype=value_dtype(self.dtype))
        chunk_rows = self.layout.hooks[hook].chunk_rows
        order = np.argsort(numbers, kind="stable")
        chunks = numbers[order] // chunk_rows
        for part in np.split(order, np.flatnonzero(np.diff(chunks)) + 1):
            if len(part):
                first = int(numbers[part[0]] // chunk_rows * chunk_rows)
                values = self.read(hook, first, min(first + chunk_rows, self.rows))
                out[torch.from_numpy(part)] = values[torch.from_numpy(numbers[part] - first)]
        return out

    def trace(self, row: int) -> dict[str, int]:
        """Where a row comes from: its sequence, position, document (−1 at padding) and token."""
        if not 0 <= row < self.rows:
            raise Misuse(f"There is no row {row}; the store has rows 0 to {self.rows - 1}.")
        sequence, position = divmod(int(row), self.context)
        doc, token = (int(self.text(name, sequence, sequence + 1)[0, position]) for name in ("doc", "tokens"))
        return {"row": int(row), "sequence": sequence, "position": position, "doc": doc, "token": token}

    def batches(
        self,
        hook: str,
        *,
        batch_size: int,
        seed: int,
        select: NDArray[np.bool_] | None = None,
        pool_rows: int | None = None,
        start: int = 0,
        epochs: int | None = None,
        dtype: torch.dtype = torch.float32,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[_batches.Batch]:
        """Shuffled batches of the selected rows (default: the mask), each row once an epoch, from batch `start` on.

        The order is a function of seed, selection, pool size and the slabs committed now. The last batch of an epoch is
        filled up from the next one; with `epochs` the stream ends, with a short batch if need be. `dtype` bfloat16 or
        float16 halves what goes to a GPU. `part` (i, n) is for reader i of n, which together deliver each row once.
        """
        self._require(hook)
        if dtype_name(dtype) == "int8":
            raise Misuse("Batches have no scales: ask for them in float32, bfloat16 or float16, not int8.")
        if batch_size < 1 or (pool_rows is not None and pool_rows < 1) or start < 0:
            raise Misuse(
                f"batch_size {batch_size} and pool_rows {pool_rows} must be at least 1, start {start} at least 0."
            )
        order = self._order(hook, seed=seed, select=select, pool_rows=pool_rows).part(*part)
        return _batches.batches(
            self._chunks(), self.layout, hook, order, batch_size=batch_size, start=start, epochs=epochs, dtype=dtype
        )

    def torch_dataset(
        self, hook: str, *, batch_size: int, seed: int, epochs: int | None = 1, **options: Any
    ) -> BatchDataset:
        """An iterable data set of `batches`, for torch's `DataLoader(…, batch_size=None)` with any number of workers.

        Each worker delivers its part of the rows, so each may end an epoch with a short batch, and the order depends on
        their number. `options` are further ones of `batches`.
        """
        from .views import BatchDataset

        return BatchDataset(self, hook, {"batch_size": batch_size, "seed": seed, "epochs": epochs, **options})

    def dask_array(self, hook: str) -> Any:
        """float32 [rows, width] as a dask array, a chunk a slab; Missing where a slab is not there yet."""
        from .views import dask_array

        self._require(hook)
        self._require_committed(0, self.rows)
        return dask_array(self, hook)

    def shuffle_quality(
        self,
        hook: str,
        *,
        batch_size: int,
        seed: int = 0,
        select: NDArray[np.bool_] | None = None,
        pool_rows: int | None = None,
    ) -> ShuffleQuality:
        """How well `batches` with these options are shuffled; reads no activation."""
        self._require(hook)
        order = self._order(hook, seed=seed, select=select, pool_rows=pool_rows)
        return shuffle_quality(deliveries(order, epoch=0), self.doc.reshape(-1), batch_size)

    def statistics(self, hook: str) -> Statistics:
        """Over the masked rows of the committed slabs."""
        self._require(hook)
        return merge(((self._count(slab), self._moments(hook, slab)) for slab in self.committed), self.hooks[hook])

    def held_out(self, share: float = 0.05) -> NDArray[np.bool_]:
        """[sequences, context]: rows that count, of held-out documents. Train on `store.mask & ~store.held_out()`.

        A function of the documents' texts: those with the same text are on the same side.
        """
        chosen = held_out_documents(self.documents, share)
        return np.concatenate([np.isin(text.doc, chosen) & text.mask for text in self._texts()])

    @cached_property
    def documents(self) -> Documents:
        """The numbers of those with rows that count, and a hash of the text of each."""
        return documents(self._texts(), opened=opening(self._texts()))

    def _texts(self) -> Iterator[Text]:
        for slab in range(self.n_slabs):
            yield Text(*(self.text(name, *self.slab_range(slab)) for name in Text._fields))

    def _read(self, hook: str, start: int, out: torch.Tensor) -> None:
        """Rows from `start` on, in their stored form."""
        read_rows(self._shards, self.layout, hook, start, out)

    def _chunks(self) -> Chunks:
        """What one stream of batches reads from."""
        return Shards(self.objects, self.layout)

    def _order(self, hook: str, *, seed: int, select: NDArray[np.bool_] | None, pool_rows: int | None) -> Order:
        each = self.layout.hooks[hook]
        order = Order(
            selected=Selection.of(self._selected(select), each.chunk_rows),
            pool_rows=pool_rows or _batches.default_pool_rows(each.row_bytes),
            seed=seed,
        )
        if order.n_rows == 0:
            remedy = "select others" if self.is_complete else "run `actpipe harvest` to its end"
            raise Misuse(f"No row of {self.place} is selected and committed; {remedy}.")
        return order

    def _count(self, slab: int) -> int:
        start, stop = self.slab_range(slab)
        return int(self.text("mask", start, stop).sum())

    def _moments(self, hook: str, slab: int) -> NDArray[Any]:
        try:
            return read_checked(self.objects, self.layout.statistics_key(hook, slab), "<f8", (2, self.hooks[hook]))
        except (FileNotFoundError, RuntimeError):
            raise damage(self.layout, hook, slab, "its statistics cannot be read") from None

    def _selected(self, select: NDArray[np.bool_] | None) -> Iterator[NDArray[np.bool_]]:
        """For each slab its rows that are wanted and committed."""
        if select is not None and select.shape != (self.sequences, self.context):
            raise Misuse(f"`select` has shape {select.shape} instead of {(self.sequences, self.context)}.")
        committed = set(self.committed)
        for slab in range(self.n_slabs):
            start, stop = self.slab_range(slab)
            wanted = self.text("mask", start, stop) if select is None else select[start:stop]
            yield np.asarray(wanted, np.bool_).reshape(-1) & (slab in committed)

    def _require(self, hook: str) -> None:
        if hook not in self.hooks:
            raise Missing(f"The store {self.place} has no hook {hook!r}; it has {', '.join(self.hooks)}.")

    def _require_committed(self, start: int, stop: int) -> None:
        slabs = set(range(start // self.layout.slab_rows, -(-stop // self.layout.slab_rows))) if stop > start else set()
        if not slabs <= self._committed and not slabs <= set(self.committed):
            missing = sorted(slabs - self._committed)
            raise Missing(
                f"Rows {start} to {stop} of {self.place} are not all there yet (slabs {missing} are missing); "
                "run the same harvest again to finish it."
            )
