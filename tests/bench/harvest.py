"""Speed of a harvest beside the bare model, TransformerLens' bridge and SAELens, on this machine, now.

    make peers
    python -m tests.bench.harvest --context 128 512 --rounds 5

Every contestant reads the same tokens of the embedded text with the same weights, number of threads and batch; each
round runs all of them in random order, and a ratio is the median (and range) over rounds of the speeds in one round.

    actpipe   the stage behind `actpipe harvest`, all hooks in one pass: forward pass, copy, statistics, write, fsync,
              commit, by its own clock; loading, tokenising and planning are not counted
    bare      the native model's forward pass, ended after the last layer that is needed; nothing is kept
    bridge    TransformerBridge.run_with_cache(names_filter=…, stop_at_layer=…), all hooks in one pass; nothing written
    SAELens   CacheActivationsRunner in float16, which takes one hook a run, so eight hooks are eight runs, each ended
              after its own layer; written without fsync; loading is not counted

The eight hooks are residual stream and MLP output of four layers.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from actpipe import open_store
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.embedded import converted_folder
from actpipe.harvest.stage import harvest
from tests.bench.contest import Ratio, Seconds, faster, markdown, play
from tests.bench.peer import Ask, peer

LAYERS = (6, 7, 8, 9)
LAST = LAYERS[-1]
ONE = (f"blocks.{LAST}.hook_resid_post",)
EIGHT = tuple(f"blocks.{layer}.{site}" for layer in LAYERS for site in ("hook_mlp_out", "hook_resid_post"))


class Shape(NamedTuple):
    dtype: str
    context: int
    tokens: int
    batch_tokens: int

    @property
    def batch_size(self) -> int:
        return max(self.batch_tokens // self.context, 1)


def _batches(shape: Shape, tokens: torch.Tensor) -> list[torch.Tensor]:
    return [tokens[begin : begin + shape.batch_size] for begin in range(0, len(tokens), shape.batch_size)]


class _Enough(Exception):
    """Ends a forward pass."""


class Ours:
    """The stage itself, into a store that is written anew each time."""

    def __init__(self, shape: Shape, out: Path) -> None:
        self.shape, self.out = shape, out

    def __call__(self, hooks: tuple[str, ...]) -> float:
        config = HarvestConfig(
            model="smollm2",
            dataset="reviews",
            hook=hooks,
            tokens=self.shape.tokens,
            context=self.shape.context,
            batch_size=self.shape.batch_size,
            model_dtype=self.shape.dtype,  # type: ignore[arg-type]
            device="cpu",
            out=self.out,
            overwrite=True,
        )
        result = harvest(config)
        assert result.tokens_per_second is not None
        assert set(result.hooks) == set(hooks)
        return result.rows / result.tokens_per_second

    def tokens(self) -> torch.Tensor:
        """[sequences, context], as the last harvest packed them."""
        return torch.from_numpy(open_store(self.out).tokens.astype(np.int64))


class Native:
    """The model as transformers loads it."""

    def __init__(self, shape: Shape, tokens: torch.Tensor) -> None:
        from transformers import AutoModelForCausalLM

        self.batches = _batches(shape, tokens)
        folder = converted_folder()
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, shape.dtype))
        self.width: int = self.model.config.hidden_size
        self.model.model.layers[LAST].register_forward_hook(self._stop)

    def _stop(self, *_: Any) -> None:
        raise _Enough

    def __call__(self) -> None:
        with torch.inference_mode():
            for ids in self.batches:
                try:
                    self.model(ids, use_cache=False)
                except _Enough:
                    continue


class Bridge:
    """As its users make it, from the same folder."""

    def __init__(self, shape: Shape, tokens: torch.Tensor) -> None:
        from transformer_lens.model_bridge import TransformerBridge

        self.batches = _batches(shape, tokens)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.bridge: Any = TransformerBridge.boot_transformers(
                str(converted_folder()), device="cpu", dtype=getattr(torch, shape.dtype)
            )

    def __call__(self, hooks: tuple[str, ...]) -> None:
        with torch.inference_mode():
            for ids in self.batches:
                _, cache = self.bridge.run_with_cache(ids, names_filter=list(hooks), stop_at_layer=LAST + 1)
                assert all(hook in cache for hook in hooks)


def native_path(hook: str) -> str:
    """`blocks.9.hook_mlp_out` as SAELens names it in a model of transformers."""
    _, layer, site = hook.split(".")
    return f"model.layers.{layer}{'.mlp' if site == 'hook_mlp_out' else ''}"


def sae_lens(ask: Ask, width: int, hooks: tuple[str, ...], quick: bool) -> float:
    """Seconds of a run for each hook. Quick: of the first and the last hook, half of all each.

    The time of a run is linear in its layer and the layers are evenly spaced, so the mean of the ends is the mean.
    """
    measured = (hooks[0], hooks[-1]) if quick and len(hooks) > 2 else hooks
    seconds: list[float] = [ask(hook=native_path(hook), d_in=width) for hook in measured]
    return statistics.mean(seconds) * len(hooks)


@contextmanager
def contestants(
    shape: Shape, folder: Path, peers: bool, quick: bool
) -> Iterator[Mapping[str, Callable[[], float | None]]]:
    ours = Ours(shape, folder / "store.zarr")
    ours(ONE)  # the others read the tokens that it packed
    tokens = ours.tokens()
    bare, bridge = Native(shape, tokens), Bridge(shape, tokens)
    field: dict[str, Callable[[], float | None]] = {
        "actpipe 1": partial(ours, ONE),
        "actpipe 8": partial(ours, EIGHT),
        "bare 1": bare,
        "bridge 1": partial(bridge, ONE),
        "bridge 8": partial(bridge, EIGHT),
    }
    if not peers:
        yield field
        return
    np.save(folder / "tokens.npy", tokens.numpy())
    arguments = ["--tokens", folder / "tokens.npy", "--folder", folder, "--batch-size", shape.batch_size]
    with peer("saelens_harvest.py", "--model", converted_folder(), *arguments, "--dtype", shape.dtype) as ask:
        field["SAELens 1"] = partial(sae_lens, ask, bare.width, ONE, quick)
        field["SAELens 8"] = partial(sae_lens, ask, bare.width, EIGHT, quick)
        yield field


def rows(shape: Shape, seconds: Seconds) -> Iterator[list[str]]:
    goals = {
        ("actpipe 1", "bare 1"): 0.97,
        ("actpipe 8", "bare 1"): 0.92,
        ("actpipe 1", "bridge 1"): 1.3 if shape.context == 512 else 1.0,
        ("actpipe 8", "bridge 8"): None,
        ("actpipe 1", "SAELens 1"): None,
        ("actpipe 8", "SAELens 8"): 6.0,
    }
    for (ours, other), goal in goals.items():
        if other in seconds:
            ratio: Ratio = faster(seconds, ours, other)
            yield [
                f"{shape.dtype}, {shape.context}",
                f"{ours} ÷ {other}",
                f"{_rate(shape, seconds, ours):.0f}",
                f"{_rate(shape, seconds, other):.0f}",
                ratio.against(goal),
            ]


def _rate(shape: Shape, seconds: Seconds, name: str) -> float:
    """Tokens a second times hooks."""
    return shape.tokens * int(name.split()[1]) / statistics.median(seconds[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, nargs="+", default=[128, 512], help="tokens a sequence")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], help="of the model's weights")
    parser.add_argument("--tokens", type=int, default=16_384, help="of one run; a multiple of every context")
    parser.add_argument("--batch-tokens", type=int, default=1024, help="of one forward pass, for every contestant")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds; one more goes before them")
    parser.add_argument("--peers", choices=["all", "none"], default="all", help="none: without SAELens")
    parser.add_argument("--quick", action="store_true", help="SAELens' eight runs are two runs, times four")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the contestants")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    table: list[list[str]] = []
    for dtype in asked.dtype:
        for context in asked.context:
            shape = Shape(dtype, context, asked.tokens // context * context, asked.batch_tokens)
            with (
                tempfile.TemporaryDirectory(dir=asked.folder) as folder,
                contestants(shape, Path(folder), asked.peers == "all", asked.quick) as field,
            ):
                table += rows(shape, play(field, rounds=asked.rounds, chance=chance, warm_up=1))
    print(
        f"{asked.tokens} tokens a run in batches of {asked.batch_tokens}, SmolLM2-135M to layer {LAST} of 30, rows of "
        f"576 numbers stored in 16 bits, {torch.get_num_threads()} threads, {asked.rounds} rounds"
        f"{', SAELens 8 from two runs' if asked.quick and asked.peers == 'all' else ''}\n"
    )
    header = ["model dtype, context", "contestants, hooks", "ours, tokens/s · hooks", "theirs", "ratio (range)"]
    print(markdown(header, table))


if __name__ == "__main__":
    main()
