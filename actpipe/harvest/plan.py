"""What a harvest will cost, before it is paid: bytes from the shapes, seconds from a probe."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from actpipe.corpora.packing import Packed
from actpipe.errors import Failure, Misuse
from actpipe.harvest.capture import capture
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.places import Place
from actpipe.quantities import readable_bytes, readable_count, readable_seconds
from actpipe.store.dtypes import TORCH

# Metadata, tokens, checksums and rounding to whole sequences, with room to spare.
DISK_MARGIN = 1.05
PROBE_BATCHES = 3  # timed, after one that warms up


@dataclass(frozen=True)
class HarvestPlan:
    out: str
    tokens: int
    hooks: dict[str, int]  # name → bytes of its activations
    bytes: int  # of all of them
    free_bytes: int  # on the disk of `out`
    seconds: float  # expected, from the probe

    def lines(self) -> list[str]:
        total = (
            f"{readable_count(self.tokens)} tokens, {readable_bytes(self.bytes)} "
            f"({readable_bytes(self.free_bytes)} free), about {readable_seconds(self.seconds)}"
        )
        return [total, *(f"  {hook}  {readable_bytes(size)}" for hook, size in self.hooks.items())]

    def require_room(self, max_disk: int | None) -> None:
        """Raise unless it fits on the disk and under `max_disk`."""
        if max_disk is not None and self.bytes > max_disk:
            raise Misuse(
                f"The store needs {readable_bytes(self.bytes)} and --max-disk allows {readable_bytes(max_disk)}. "
                "Harvest fewer --tokens or hooks."
            )
        if self.bytes * DISK_MARGIN > self.free_bytes:
            raise Failure(
                f"The store needs {readable_bytes(self.bytes)} and the disk of {self.out} has "
                f"{readable_bytes(self.free_bytes)} free. Harvest fewer --tokens or hooks, or give --out another disk."
            )


def make_plan(config: HarvestConfig, model: LanguageModel, sites: tuple[Site, ...], packed: Packed) -> HarvestPlan:
    itemsize = TORCH[config.dtype].itemsize
    hooks = {site.hook: packed.tokens.size * site.width * itemsize for site in sites}
    return HarvestPlan(
        out=str(config.out),
        tokens=packed.tokens.size,
        hooks=hooks,
        bytes=sum(hooks.values()),
        free_bytes=_free_bytes(config.out),
        seconds=packed.tokens.size / _tokens_per_second(config, model, sites, packed),
    )


def _free_bytes(place: Place) -> int:
    folder = next(parent for parent in Path(place).absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free


def _tokens_per_second(config: HarvestConfig, model: LanguageModel, sites: tuple[Site, ...], packed: Packed) -> float:
    """Of the forward pass on the first sequences of the text."""
    ids = torch.as_tensor(packed.tokens[: config.batch_size], dtype=torch.long, device=model.device)
    with capture(model.module, sites) as run:
        for batch in range(PROBE_BATCHES + 1):
            if batch == 1:
                began = time.perf_counter()
            last = next(iter(run(ids).values()))
        last.sum().item()  # a GPU works ahead: wait for it
    return PROBE_BATCHES * ids.numel() / (time.perf_counter() - began)
