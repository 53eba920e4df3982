"""Speed of a step of an ensemble as a ratio to separate autoencoders under torch.optim.Adam, on this machine, now.

    python -m tests.bench.training --rounds 7

Each round steps all contestants once in random order on the same batch. The separate autoencoders are plain autograd on
the same loss with `torch.optim.Adam(fused=True)`, the fastest way to train one dictionary after another in stock
PyTorch. `gemm` is five bare matrix products of the step's shape a member: what a dense step cannot do without.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

import sae

L1 = (1.0, 1.52, 2.3, 3.48, 5.28, 8.0)


def separate(batch: torch.Tensor, width: int) -> Callable[[], None]:
    d = batch.shape[1]
    members = []
    for seed, l1 in enumerate(L1):
        torch.manual_seed(seed)
        weights = [torch.randn(width, d) / d**0.5, torch.zeros(width), torch.randn(width, d) / d**0.5, torch.zeros(d)]
        for weight in weights:
            weight.requires_grad_()
        members.append((l1, weights, torch.optim.Adam(weights, lr=1e-4, fused=True)))

    def step() -> None:
        for l1, (w_enc, b_enc, w_dec, b_dec), adam in members:
            codes = torch.relu((batch - b_dec) @ w_enc.T + b_enc)
            error = (codes @ w_dec + b_dec - batch).square().sum(1).mean()
            loss = error + l1 * (codes * w_dec.norm(dim=1)).sum(1).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()

    return step


def ensemble(batch: torch.Tensor, width: int) -> Callable[[], None]:
    members = [{"l1": l1, "lr": 1e-4, "seed": seed} for seed, l1 in enumerate(L1)]
    stacked = sae.Ensemble.create(sae.ReLU(), members, d=batch.shape[1], width=width, sample=batch)
    return lambda: stacked.step(batch) and None


def gemm(batch: torch.Tensor, width: int) -> Callable[[], None]:
    weight, codes = torch.randn(width, batch.shape[1]), torch.randn(len(batch), width)

    def step() -> None:
        for _ in L1:
            batch @ weight.T, codes @ weight, batch @ weight.T, codes.T @ batch, codes.T @ batch

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", type=int, nargs=3, default=[1024, 576, 1152], metavar=("B", "D", "N"))
    asked = parser.parse_args()
    rows, d, width = asked.shape
    batch = torch.randn(rows, d, generator=torch.Generator().manual_seed(0))
    contestants = {f.__name__: f(batch, width) for f in (separate, ensemble, gemm)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(asked.rounds + 2):
        for name in random.sample(list(contestants), len(contestants)):
            began = time.perf_counter()
            contestants[name]()
            if number > 1:  # two rounds warm up
                seconds[name].append(time.perf_counter() - began)
    print("| B, d, n, members | ensemble, ms a step | separate ÷ ensemble | ensemble ÷ gemm |")
    print("|---|---|---|---|")
    ours = seconds["ensemble"]
    apart = statistics.median(a / b for a, b in zip(seconds["separate"], ours, strict=True))
    floor = statistics.median(b / a for a, b in zip(seconds["gemm"], ours, strict=True))
    print(f"| {rows}, {d}, {width}, {len(L1)} | {1000 * statistics.median(ours):.0f} | {apart:.2f} | {floor:.2f} |")


if __name__ == "__main__":
    main()
