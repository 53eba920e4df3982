"""What a harvest will cost, before it is paid: bytes from a compressed sample, seconds from a probe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from actpipe.errors import Failure, Misuse
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.probe import Probe
from actpipe.places import Place
from actpipe.quantities import readable_bytes, readable_count, readable_seconds
from actpipe.store.dtypes import TORCH

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

    def lines(self) -> list[str]:
        free = "" if self.free_bytes is None else f" ({readable_bytes(self.free_bytes)} free)"
        time = "" if self.seconds is None else f", about {readable_seconds(self.seconds)}"
        total = (
            f"{readable_count(self.tokens)} tokens, {readable_bytes(self.bytes)}{free}{time}, "
            f"{self.batch_size} sequences at once"
        )
        return [total, *(f"  {hook}  {readable_bytes(size)}" for hook, size in self.hooks.items())]

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
    itemsize = TORCH[config.dtype].itemsize
    hooks = {hook: tokens * rows.shape[1] * itemsize for hook, rows in probed.sample.items()}
    return HarvestPlan(
        out=str(config.out),
        tokens=tokens,
        hooks=hooks,
        bytes=sum(hooks.values()),
        free_bytes=_free_bytes(config.out),
        seconds=tokens / probed.tokens_per_second if probed.tokens_per_second else None,
        batch_size=probed.batch_size,
    )


def _free_bytes(place: Place) -> int | None:
    if not isinstance(place, Path):
        return None
    folder = next(parent for parent in place.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free
