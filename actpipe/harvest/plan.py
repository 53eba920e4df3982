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
from actpipe.store.health_record import record_width
from actpipe.store.layout import CHECKSUM_BYTES, INDEX_ENTRY_BYTES, SMALLEST_CHUNK_BYTES, HookLayout, row_bytes

DISK_MARGIN = 1.05  # metadata, rounding to whole chunks and blocks of the disk
# A slab is the unit of loss when a harvest is stopped: small runs get at least this many, of at least this size.
SLABS_PER_RUN = 16
SMALLEST_SLAB_BYTES, LARGEST_SLAB_BYTES = 64 << 20, 512 << 20
TEXT_BYTES = 9  # a token, its document and its mask


@dataclass(frozen=True)
class HarvestPlan:
    out: str
    tokens: int
    hooks: dict[str, int]  # name → bytes of its activations, compressed as asked
    bytes: int  # of all of them
    other_bytes: int  # tokens, statistics, checksums, at most
    there_bytes: int  # of the store that this harvest continues
    free_bytes: int | None  # on the disk of `out`; None behind a URL
    seconds: float | None  # expected, from the probe
    batch_size: int
    model_dtype: str  # of the forward pass
    rounding: dict[str, float]  # name → share of the variance that the data type loses (FVU), on the sample

    def lines(self) -> list[str]:
        free = "" if self.free_bytes is None else f" ({readable_bytes(self.free_bytes)} free)"
        time = "" if self.seconds is None else f", about {readable_seconds(self.seconds)}"
        total = (
            f"{readable_count(self.tokens)} tokens, {readable_bytes(self.bytes + self.other_bytes)}{free}{time}; "
            f"{self.batch_size} sequences at once, computed in {self.model_dtype}"
        )
        return [total, *(f"  {hook}  {readable_bytes(size)}{self._lost(hook)}" for hook, size in self.hooks.items())]

    def _lost(self, hook: str) -> str:
        lost = self.rounding[hook]
        return f", rounding loses {lost:.1g} of the variance" if lost else ""

    def require_room(self, max_disk: int | None) -> None:
        """Raise unless it fits on the disk and under `max_disk`."""
        needed = self.bytes + self.other_bytes
        if max_disk is not None and self.there_bytes + needed > max_disk:
            raise Misuse(
                f"The store needs {readable_bytes(self.there_bytes + needed)} and --max-disk allows "
                f"{readable_bytes(max_disk)}. {_REMEDY}"
            )
        if self.free_bytes is not None and needed * DISK_MARGIN > self.free_bytes:
            raise Failure(
                f"The store needs {readable_bytes(needed)} more and the disk of {self.out} has "
                f"{readable_bytes(self.free_bytes)} free. {_REMEDY}"
            )


_REMEDY = (
    "Harvest fewer --tokens or hooks, give --out another place, choose --dtype int8 or a --codec, or write the "
    "--text-only and train with `actpipe train-sae --from-model`."
)


def make_plan(
    config: HarvestConfig, tokens: int, probed: Probe, *, there_bytes: int = 0, freed_bytes: int = 0
) -> HarvestPlan:
    """For `tokens` that are still to be harvested.

    A store of `there_bytes` is there already, with its text, or one of `freed_bytes` will be removed before.
    """
    hooks = {hook: round(tokens * _row_bytes(rows, config)) for hook, rows in probed.sample.items()}
    return HarvestPlan(
        out=str(config.out),
        tokens=tokens,
        hooks=hooks,
        bytes=sum(hooks.values()),
        other_bytes=_summary_bytes(config, tokens, probed) + (0 if there_bytes else tokens * TEXT_BYTES),
        there_bytes=there_bytes,
        free_bytes=_free_bytes(config.out, freed_bytes),
        seconds=tokens / probed.tokens_per_second if probed.tokens_per_second else None,
        batch_size=probed.batch_size,
        model_dtype=probed.model_dtype,
        rounding={hook: error_of(rows, config.dtype) for hook, rows in probed.sample.items()},
    )


def slab_bytes(bytes_of_rows: int) -> int:
    """The most that a slab may have, in a store of so many bytes."""
    return min(max(bytes_of_rows // SLABS_PER_RUN, SMALLEST_SLAB_BYTES), LARGEST_SLAB_BYTES)


def _summary_bytes(config: HarvestConfig, tokens: int, probed: Probe) -> int:
    """Of checksums, moments and health records."""
    widths = {hook: rows.shape[1] for hook, rows in probed.sample.items()}
    rows_bytes = tokens * sum(row_bytes(width, config.dtype) for width in widths.values())
    slabs = -(-rows_bytes // slab_bytes(rows_bytes)) + 1
    per_slab = sum(16 * (width + record_width(config.context)) for width in widths.values())
    return slabs * per_slab + rows_bytes // SMALLEST_CHUNK_BYTES * (CHECKSUM_BYTES + INDEX_ENTRY_BYTES)


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


def _free_bytes(place: Place, freed: int) -> int | None:
    if not isinstance(place, Path):
        return None
    return shutil.disk_usage(existing(place)).free + freed


def existing(place: Path) -> Path:
    """The folder at `place`, or the nearest above it that is there."""
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())
