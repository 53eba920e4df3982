"""What a harvest will cost, before it is paid: bytes from a compressed sample, seconds from a probe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from actpipe.errors import Failure, Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.probe import Probe
from actpipe.places import Place
from actpipe.quantities import readable_bytes, readable_count, readable_seconds
from actpipe.store.codecs import get_codec
from actpipe.store.encoding import channel_scales, columns, encode_rows, error_of
from actpipe.store.layout import SMALLEST_CHUNK_BYTES, HookLayout

# Metadata, tokens, statistics and rounding to whole chunks, with room to spare.
DISK_MARGIN = 1.05


@dataclass(frozen=True)
class HarvestPlan:
    out: str
    tokens: int
    hooks: dict[str, int]  # name → bytes of its activations, compressed as asked
    bytes: int  # of all of them
    free_bytes: int | None  # on the disk of `out`; None behind a URL
    seconds: float | None  # expected, from the probe
    batch_size: int
    rounding: dict[str, float]  # name → share of the variance that the data type loses (FVU), on the sample

    def lines(self) -> list[str]:
        free = "" if self.free_bytes is None else f" ({readable_bytes(self.free_bytes)} free)"
        time = "" if self.seconds is None else f", about {readable_seconds(self.seconds)}"
        total = (
            f"{readable_count(self.tokens)} tokens, {readable_bytes(self.bytes)}{free}{time}, "
            f"{self.batch_size} sequences at once"
        )
        return [total, *(f"  {hook}  {readable_bytes(size)}{self._lost(hook)}" for hook, size in self.hooks.items())]

    def _lost(self, hook: str) -> str:
        lost = self.rounding[hook]
        return f", rounding loses {lost:.1g} of the variance" if lost else ""

    def require_room(self, max_disk: int | None) -> None:
        """Raise unless it fits on the disk and under `max_disk`."""
        if max_disk is not None and self.bytes > max_disk:
            raise Misuse(
                f"The store needs {readable_bytes(self.bytes)} and --max-disk allows {readable_bytes(max_disk)}. "
                f"{_REMEDY}"
            )
        if self.free_bytes is not None and self.bytes * DISK_MARGIN > self.free_bytes:
            raise Failure(
                f"The store needs {readable_bytes(self.bytes)} and the disk of {self.out} has "
                f"{readable_bytes(self.free_bytes)} free. {_REMEDY}"
            )


_REMEDY = (
    "Harvest fewer --tokens or hooks, give --out another place, choose --dtype int8 or a --codec, or train without a "
    "store: `actpipe train-sae --from-model`."
)


def make_plan(config: HarvestConfig, tokens: int, probed: Probe) -> HarvestPlan:
    hooks = {hook: round(tokens * _row_bytes(rows, config)) for hook, rows in probed.sample.items()}
    return HarvestPlan(
        out=str(config.out),
        tokens=tokens,
        hooks=hooks,
        bytes=sum(hooks.values()),
        free_bytes=_free_bytes(config.out),
        seconds=tokens / probed.tokens_per_second if probed.tokens_per_second else None,
        batch_size=probed.batch_size,
        rounding={hook: error_of(rows, config.dtype) for hook, rows in probed.sample.items()},
    )


def _row_bytes(rows: Tensor, config: HarvestConfig) -> float:
    """Bytes a row on disk, as the codec makes them of the sample."""
    bare = HookLayout(width=rows.shape[1], dtype=config.dtype, chunk_rows=1, codec=config.codec)
    codec = get_codec(config.codec)
    if codec.is_identity:
        return bare.row_bytes
    scales = channel_scales(rows) if config.dtype == "int8" else None
    chunk_rows = max(SMALLEST_CHUNK_BYTES // bare.row_bytes, 1)
    each = replace(bare, chunk_rows=chunk_rows, channel_scales=scales)
    stored = columns(encode_rows(rows, each), each)
    total = sum(
        memoryview(codec.encode(np.ascontiguousarray(part[start : start + chunk_rows]))).nbytes
        for part in stored
        for start in range(0, len(part), chunk_rows)
    )
    return total / max(len(rows), 1)


def _free_bytes(place: Place) -> int | None:
    if not isinstance(place, Path):
        return None
    folder = next(parent for parent in place.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
