"""Speed of a harvest as ratios to the bare model and to TransformerLens' bridge, on this machine, now.

    python -m tests.bench.harvest --context 128 512 --rounds 5

Every contestant reads the same tokens up to the same layer; each round runs all of them in random order, and a ratio is
the median over rounds of (tokens/s of ours) / (tokens/s of the other) of the same round.

    bare      the native model's own forward pass, ended after the last layer that is needed; nothing is kept
    harvest   the same with hooks, copied into slabs, written, fsynced and committed
    bridge    TransformerBridge.run_with_cache(names_filter=…, stop_at_layer=…); nothing is written
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from actpipe.harvest.capture import capture, measure_sites
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.embedded import converted_folder
from actpipe.harvest.model import load_model
from actpipe.harvest.sites import Site, known_hooks, match_hooks
from actpipe.harvest.stage import _fill
from actpipe.progress import silent
from actpipe.store import create_store

LAYER = 9
ONE = (f"blocks.{LAYER}.hook_resid_post",)
EIGHT = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(LAYER - 7, LAYER + 1))


class Contest:
    def __init__(self, context: int, tokens: int, dtype: str) -> None:
        self.context, self.sequences = context, tokens // context
        self.batch_size = max(1024 // context, 1)
        self.dtype = dtype
        self.model = load_model("smollm2", dtype=dtype, device="cpu")  # type: ignore[arg-type]
        self.known = known_hooks(self.model.config, self.model.tokenizer)
        self.ids = torch.randint(1000, 40_000, (self.sequences, context), generator=torch.Generator().manual_seed(0))
        self.bridge = self._bridge()

    def _bridge(self) -> object:
        """As its users make it: by name."""
        from transformer_lens.model_bridge import TransformerBridge

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = str(converted_folder())
            return TransformerBridge.boot_transformers(folder, device="cpu", dtype=getattr(torch, self.dtype))

    def sites(self, hooks: tuple[str, ...]) -> tuple[Site, ...]:
        return measure_sites(match_hooks(hooks, self.known), self.model.module)

    def bare(self) -> None:
        with capture(self.model.module, self.sites(ONE)) as run:
            for begin in range(0, self.sequences, self.batch_size):
                run(self.ids[begin : begin + self.batch_size])

    def harvest(self, hooks: tuple[str, ...]) -> None:
        sites = self.sites(hooks)
        with tempfile.TemporaryDirectory() as folder:
            tokens = self.ids.numpy().astype(np.int32)
            store = create_store(
                Path(folder) / "store.zarr",
                tokens=tokens,
                doc=np.zeros_like(tokens),
                mask=np.ones(tokens.shape, bool),
                hooks={site.hook: site.width for site in sites},
                max_slab_bytes=64 << 20,
            )
            _fill(store, self.model, sites, HarvestConfig(context=self.context, batch_size=self.batch_size), silent)

    def through_bridge(self, hooks: tuple[str, ...]) -> None:
        with torch.inference_mode():
            for begin in range(0, self.sequences, self.batch_size):
                _, cache = self.bridge.run_with_cache(  # type: ignore[attr-defined]
                    self.ids[begin : begin + self.batch_size], names_filter=list(hooks), stop_at_layer=LAYER + 1
                )
                assert hooks[0] in cache


def rounds(contest: Contest, count: int) -> dict[str, list[float]]:
    contestants: dict[str, Callable[[], None]] = {
        "bare": contest.bare,
        "harvest, 1 hook": lambda: contest.harvest(ONE),
        "harvest, 8 hooks": lambda: contest.harvest(EIGHT),
        "bridge, 1 hook": lambda: contest.through_bridge(ONE),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count + 1):
        for name in random.sample(list(contestants), len(contestants)):
            began = time.perf_counter()
            contestants[name]()
            if number:  # the first round warms up
                speeds[name].append(contest.ids.numel() / (time.perf_counter() - began))
    return speeds


def ratio(speeds: dict[str, list[float]], ours: str, other: str) -> str:
    each = [a / b for a, b in zip(speeds[ours], speeds[other], strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f}–{max(each):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    asked = parser.parse_args()
    print("| model dtype, context | harvest, tokens/s | ÷ bare, 1 hook | ÷ bare, 8 hooks | ÷ bridge, 1 hook |")
    print("|---|---|---|---|---|")
    for dtype in asked.dtype:
        for context in asked.context:
            speeds = rounds(Contest(context, asked.tokens, dtype), asked.rounds)
            cells = [ratio(speeds, "harvest, 1 hook", "bare"), ratio(speeds, "harvest, 8 hooks", "bare")]
            cells.append(ratio(speeds, "harvest, 1 hook", "bridge, 1 hook"))
            speed = statistics.median(speeds["harvest, 1 hook"])
            print(f"| {dtype}, {context} | {speed:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
