"""One float32 product x Wᵀ + b by MKL, as torch takes it, and by oneDNN, as `sae.linear` takes it where that is faster.

    python -m tests.bench.linear

In turns, one thread, memory kept (actpipe.memory). Printed: GFLOP/s of both, medians, and the ratio with its range.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from actpipe.memory import keep_freed_memory

SHAPES = [(910, 576, 2304), (4096, 576, 2304), (910, 768, 16384), (8192, 576, 256), (64, 576, 2304)]
ROUNDS = 15


def seconds(product: Callable[[], Tensor]) -> float:
    start = time.thread_time()
    product()
    return time.thread_time() - start


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    print("| rows, d, n | MKL, GFLOP/s | oneDNN, GFLOP/s | ratio (range) |\n|---|---|---|---|")
    for rows, d, n in SHAPES:
        x, weight, bias = torch.randn(rows, d), torch.randn(n, d), torch.randn(n)
        products: list[Callable[[], Tensor]] = [
            lambda x=x, weight=weight, bias=bias: x @ weight.mT + bias,  # type: ignore[misc]
            lambda x=x, weight=weight, bias=bias: torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""),  # type: ignore[misc]
        ]
        with torch.inference_mode():
            x.relu()  # gives this thread its number of threads
            times = [[seconds(product) for product in products] for _ in range(ROUNDS + 1)][1:]
        work = 2e-9 * rows * d * n
        one, other = (statistics.median(work / pair[i] for pair in times) for i in range(2))
        ratios = sorted(pair[0] / pair[1] for pair in times)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
        print(f"| {rows}, {d}, {n} | {one:.0f} | {other:.0f} | {spread} |")


if __name__ == "__main__":
    main()
