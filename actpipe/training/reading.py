"""The rows that a group reads, from the store into training units; the same for whoever reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae
from actpipe.errors import Misuse
from actpipe.store import Store
from actpipe.store.aligned import aligned_batches

from .group import Reads

# Rows [B, d], or those and the rows [B, out] that a transcoder predicts; `sae.fit` and `sae.evaluate` take the same.
Batch = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Reading:
    store: Store
    reads: Reads
    select: NDArray[np.bool_] = field(repr=False)  # [sequences, context]: rows to train on
    scaling: sae.Scaling
    target: sae.Scaling | None  # of the rows that a transcoder predicts

    @classmethod
    def of(cls, store: Store, reads: Reads, select: NDArray[np.bool_], *, center: bool) -> Reading:
        scalings = {hook: _scaling(store, hook, center=center) for hook in reads.all_hooks}
        own = [scalings[hook] for hook in reads.hooks]
        return cls(
            store=store,
            reads=reads,
            select=select,
            scaling=own[0] if len(own) == 1 else sae.Scaling.beside(own),
            target=None if reads.target is None else scalings[reads.target],
        )

    @property
    def raw_unit(self) -> float:
        """The l1 here that is an l1 of 1 beside the mean squared error of rows in model units.

        With z = s x, ‖x − x̂‖² / d + a Σ c = (‖z − ẑ‖² + a d s Σ c_z) / (d s²).
        """
        return self.scaling.center.numel() * float(torch.as_tensor(self.scaling.scale).mean())

    @property
    def n_rows(self) -> int:
        return int(self.select.sum())

    def batches(
        self, *, batch_size: int, seed: int, start: int = 0, epochs: int | None = None
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Rows in model units, on the CPU, and their numbers. Rows that are not finite are refused."""
        for parts, rows in self._parts(batch_size=batch_size, seed=seed, start=start, epochs=epochs):
            for hook, part in zip(self.reads.all_hooks, parts, strict=True):
                _require_finite(hook, part, rows, self.store)
            if self.reads.target is not None:
                yield (parts[0], parts[1]), rows
            else:
                yield parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), rows

    def scaled(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """In training units, and the target or None."""
        if isinstance(batch, Tensor):
            return self.scaling.to(device).apply(batch.to(device)), None
        assert self.target is not None
        x, target = batch
        return self.scaling.to(device).apply(x.to(device)), self.target.to(device).apply(target.to(device))

    def sample(self, rows: int, *, seed: int) -> Tensor:
        """Up to so many rows in training units, on the CPU."""
        size = min(rows, self.n_rows)
        batch, _ = next(self.batches(batch_size=size, seed=seed))
        return self.scaled(batch, torch.device("cpu"))[0]

    def _parts(
        self, *, batch_size: int, seed: int, start: int, epochs: int | None
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """The rows of each hook, in order, and their numbers."""
        hooks = self.reads.all_hooks
        if len(hooks) == 1:  # without the runs that aligning needs
            for one in self.store.batches(
                hooks[0], batch_size=batch_size, seed=seed, select=self.select, start=start, epochs=epochs
            ):
                yield (one.x,), one.rows
        else:
            yield from aligned_batches(
                self.store, hooks, batch_size=batch_size, seed=seed, select=self.select, start=start, epochs=epochs
            )


def _scaling(store: Store, hook: str, *, center: bool) -> sae.Scaling:
    statistics = store.statistics(hook)
    mean, variance = torch.from_numpy(statistics.mean), torch.from_numpy(statistics.variance)
    if not bool(mean.isfinite().all() & variance.isfinite().all()):
        raise Misuse(f"The statistics of {hook} in {store.place} are not finite. Harvest it again.")
    if not float(variance.sum()) > 0:
        raise Misuse(f"The rows of {hook} are all the same: there is nothing to learn. Choose another --hook.")
    if center:
        return sae.Scaling.from_moments(mean, variance)
    return sae.Scaling.from_moments(torch.zeros_like(mean), variance + mean.square())


def _require_finite(hook: str, x: Tensor, rows: Tensor, store: Store) -> None:
    # One pass; NaN and infinity survive a sum. What overflows without either is looked at again.
    if bool(x.sum().isfinite()):
        return
    bad = (~x.isfinite()).any(dim=1)
    if bool(bad.any()):
        row = int(rows[bad][0])
        raise Misuse(
            f"Row {row} of {hook} in {store.place} holds numbers that are not finite; nothing can be trained on it. "
            "Harvest the store again."
        )
