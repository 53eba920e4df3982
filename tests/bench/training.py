"""Speed of training as ratios to other libraries' trainers, to dense vmap and to bare matrix products, now, here.

    make peers
    python -m tests.bench.training --store actpipe-out/store.zarr

Each round steps every contestant on batches of the same rows in random order; a ratio is the median (and range) over
rounds of the times of one member-step in one round.

    actpipe       `Ensemble.step` of `--members` members: all that a step does, Adam, norms and dead features too;
                  float32, or with matrix products in bfloat16
    dense vmap    `vmap(grad(loss))` over the same members with plain autograd, without optimizer: the usual ensemble
    encoder       one float32 product [B, d] · [d, n], which no autoencoder does without
    SAELens       6.54, `SAETrainer`'s step: float32, under its bfloat16 autocast, and what else makes it faster
    dictionary_learning, sparsify    their own steps, float32

ReLU autoencoders are first trained until their L0 is what it stays at; the others do the same work whatever it is.
Rows come from a store (`--store`), centred and scaled, or from a made-up mixture when only a width is given (`--d`).
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.func import grad, vmap

import actpipe
import sae
from actpipe.memory import keep_freed_memory
from sae.architecture import Step
from sae.coder import Dense
from tests.bench.contest import Seconds, faster, markdown, play
from tests.bench.peer import peer

PEERS = {
    "relu": (
        "SAELens standard",
        "SAELens standard, compiled",
        "SAELens standard, autocast",
        "SAELens standard, autocast, compiled",
        "dictionary_learning standard",
    ),
    "topk": (
        "SAELens topk",
        "SAELens topk, autocast",
        "dictionary_learning topk",
        "sparsify topk",
    ),
}
# Which of ours is held against which of theirs, and the aim.
AIMS = {
    ("relu", "SAELens standard"): 4.0,
    ("relu", "SAELens standard, compiled"): 4.0,
    ("relu bfloat16", "SAELens standard, autocast"): 4.5,
    ("relu bfloat16", "SAELens standard, autocast, compiled"): 4.5,
    ("relu", "dense vmap"): 3.0,
    ("relu", "dictionary_learning standard"): None,
    ("topk", "SAELens topk"): 4.0,
    ("topk bfloat16", "SAELens topk, autocast"): 4.5,
    ("topk", "dictionary_learning topk"): None,
    ("topk", "sparsify topk"): None,
}
MOST_OF_THE_ENCODER = 1.6  # times of the encoder's product that a step may take


class Shape(NamedTuple):
    rows: int  # of a batch
    d: int
    width: int
    members: int
    l1: float
    k: int


def stored_rows(place: Path, hook: str | None, count: int) -> torch.Tensor:
    """Shuffled rows of a store in training units."""
    store = actpipe.open_store(place)
    hook = hook or next(iter(store.hooks))
    found = store.statistics(hook)
    scaling = sae.Scaling.from_moments(torch.from_numpy(found.mean), torch.from_numpy(found.variance))
    batch = next(store.batches(hook, batch_size=min(count, int(store.mask.sum())), seed=0))
    return scaling.apply(batch.x)


def mixed_rows(d: int, count: int) -> torch.Tensor:
    """Rows of four times as many features as numbers, some 20 of them active, in training units."""
    generator = torch.Generator().manual_seed(0)
    truth = sae.Mixture.create(d=d, n_features=4 * d, n_active=20 * 1.4, seed=0, decay=0.9997)
    rows = torch.cat([truth.rows(2048, generator) for _ in range(-(-count // 2048))])
    return sae.Scaling.from_rows(rows).apply(rows)


class Ours:
    def __init__(self, rows: torch.Tensor, shape: Shape, architecture: sae.Architecture, **how: str) -> None:
        members = [{"seed": seed, "lr": 1e-3} for seed in range(shape.members)]
        self.rows, self.shape = rows, shape
        self.ensemble = sae.Ensemble.create(
            architecture, members, d=shape.d, width=shape.width, sample=rows[:8192], **how
        )
        self.l0 = 0.0

    def step(self) -> None:
        start = self.ensemble.steps * self.shape.rows % (len(self.rows) - self.shape.rows + 1)
        self.l0 = float(self.ensemble.step(self.rows[start : start + self.shape.rows]).l0.mean())

    def __call__(self) -> None:
        self.step()


def dense_vmap(ours: Ours) -> Callable[[], None]:
    """The gradients of the same members and loss, plain autograd under vmap."""
    ensemble, x = ours.ensemble, ours.rows[: ours.shape.rows]
    params = {name: p.clone() for name, p in ensemble.params.items()}
    hyper = {name: torch.full((len(ensemble),), value) for name, value in ensemble.members[0].hyper.items()}
    dead = torch.zeros(len(ensemble), ensemble.width, dtype=torch.bool)

    def loss(params: dict[str, torch.Tensor], dead: torch.Tensor, hyper: dict[str, torch.Tensor]) -> torch.Tensor:
        step = Step(x=x, target=x, dead=dead, progress=torch.tensor(0.5), coder=Dense())
        return ensemble.architecture.loss(params, step, hyper)[0]

    def step() -> None:
        vmap(grad(loss))(params, dead, hyper)

    return step


@contextmanager
def contestants(
    rows: torch.Tensor, shape: Shape, kinds: list[str], warm: int, peers: bool, only: str | None, keep: bool
) -> Iterator[Mapping[str, Callable[[], float | None]]]:
    field: dict[str, Callable[[], float | None]] = {}
    with ExitStack() as stack:
        architectures = {
            "relu": sae.get_architecture("relu")(l1=shape.l1),
            "topk": sae.get_architecture("topk")(k=shape.k),
        }
        for kind in kinds:
            for name, precision in ((kind, "float32"), (f"{kind} bfloat16", "bfloat16")):
                ours = Ours(rows, shape, architectures[kind], precision=precision)
                for _ in range(warm):
                    ours.step()
                field[name] = ours
            if kind == "relu":
                field["dense vmap"] = dense_vmap(ours)
        x, weight = rows[: shape.rows], torch.randn(shape.width, shape.d)
        field["encoder"] = partial(_product, x, weight)
        if peers:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            np.save(Path(folder) / "rows.npy", rows.numpy())
            settings = ["--rows", Path(folder) / "rows.npy", "--batch-size", shape.rows, "--width", shape.width]
            ask = stack.enter_context(
                peer("training.py", *settings, "--l1", shape.l1, "--k", shape.k, keep_memory=keep)
            )
            for kind in kinds:
                for variant in PEERS[kind]:
                    if only is None or only in variant:
                        ask(variant=variant, steps=2)  # built, compiled and warm
                        field[variant] = partial(_asked, ask, variant)
        yield field


def _product(x: torch.Tensor, weight: torch.Tensor) -> None:
    torch.nn.functional.linear(x, weight)


def _asked(ask: Callable[..., dict[str, float]], variant: str) -> float:
    return ask(variant=variant, steps=1)["seconds"]


def lines(shape: Shape, field: Mapping[str, object], seconds: Seconds) -> Iterator[list[str]]:
    """One for each pairing that ran; all times are those of one member."""
    times = {
        name: [each / shape.members for each in spent] if name in field and _is_ensemble(name) else spent
        for name, spent in seconds.items()
    }
    place = f"{shape.rows}, {shape.d}, {shape.width}"
    for (ours, other), aim in AIMS.items():
        if ours in times and other in times:
            ratio = faster(times, ours, other)
            yield [place, _named(ours, field), _ms(times[ours]), other, _ms(times[other]), ratio.against(aim)]
    for ours in (name for name in times if _is_ensemble(name) and name != "dense vmap"):
        ratio = faster(times, "encoder", ours)  # how many of the encoder's times a step takes
        met = "met" if ratio.median <= MOST_OF_THE_ENCODER else "missed"
        takes = f"takes **{ratio}**, aim ≤ {MOST_OF_THE_ENCODER}: {met}"
        yield [place, _named(ours, field), _ms(times[ours]), "encoder", _ms(times["encoder"]), takes]


def _is_ensemble(name: str) -> bool:
    return name.split()[0] in ("relu", "topk") or name == "dense vmap"


def _named(name: str, field: Mapping[str, object]) -> str:
    ours = field[name]
    return f"{name}, L0 {ours.l0:.0f}" if isinstance(ours, Ours) else name


def _ms(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="rows of its first hook, or of --hook")
    parser.add_argument("--hook")
    parser.add_argument("--d", type=int, default=576, help="width of made-up rows, without --store")
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--width", type=int, default=2304)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--l1", type=float, default=5.0)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--kinds", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--warm", type=int, default=40, help="steps before the clock starts")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", choices=["all", "none"], default="all")
    parser.add_argument("--memory", choices=["kept", "theirs"], default="kept", help="of the peers, see actpipe.memory")
    parser.add_argument("--only", help="only peers whose name contains this")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the contestants")
    asked = parser.parse_args()
    keep_freed_memory()  # as `actpipe train-sae` does
    count = 20 * asked.batch_size
    rows = stored_rows(asked.store, asked.hook, count) if asked.store else mixed_rows(asked.d, count)
    shape = Shape(asked.batch_size, rows.shape[1], asked.width, asked.members, asked.l1, asked.k)
    with contestants(
        rows, shape, asked.kinds, asked.warm, asked.peers == "all", asked.only, asked.memory == "kept"
    ) as field:
        seconds = play(field, rounds=asked.rounds, chance=random.Random(asked.seed), warm_up=1)
        table = list(lines(shape, field, seconds))
    source = asked.store or f"a made-up mixture of width {asked.d}"
    threads = torch.get_num_threads()
    shown = f"{threads} threads, {asked.rounds} rounds, memory {asked.memory}"
    print(f"rows of {source}, {shape.members} members, {shown}\n")
    print(markdown(["B, d, n", "ours", "ms", "other", "ms", "ratio (range)"], table))


if __name__ == "__main__":
    main()
