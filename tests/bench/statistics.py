"""What the summary of a slab costs: nanoseconds a value on one thread, and its error against float64.

    python -m tests.bench.statistics

Rows are bfloat16 noise with one massive channel and a first position 100 times as long, masked out.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from actpipe.store.layout import plan_layout
from actpipe.store.slab_summary import slab_summary

CONTEXT, VALUES = 128, 2**26
WIDTHS = (576, 1536, 4096)


def planted(rows: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    out = torch.empty(rows, width, dtype=torch.bfloat16)
    for part in out.split(4096):
        part.copy_(torch.randn(part.shape, generator=generator))
    out[:, width // 2] = (out[:, width // 2].float() * 70 + 250).bfloat16()
    out[::CONTEXT] = torch.randn(width, generator=generator).bfloat16() * 100
    out[::CONTEXT, width // 2] = 25_000
    return out


def main() -> None:
    torch.set_num_threads(1)
    print("| width | rows | ns a value | error of mean / σ | relative error of variance |\n|---|---|---|---|---|")
    for width in WIDTHS:
        rows = VALUES // width // CONTEXT * CONTEXT
        x = planted(rows, width)
        layout = plan_layout(
            context=CONTEXT, sequences=rows // CONTEXT, hooks={"h": width}, dtype="bfloat16", max_slab_bytes=2**40
        )
        mask = np.arange(rows) % CONTEXT > 0
        seconds = []
        for _ in range(5):
            start = time.process_time()
            summary = slab_summary(layout, "h", 0, x, mask)
            seconds.append(time.process_time() - start)
        mean, variance = exact(x, mask)
        error = np.abs(summary.moments[0] - mean) / np.sqrt(variance)
        relative = np.abs(summary.moments[1] / mask.sum() / variance - 1)
        print(f"| {width} | {rows} | {min(seconds) / x.numel() * 1e9:.2f} | {error.max():.1e} | {relative.max():.1e} |")


def exact(x: torch.Tensor, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance in float64, in two passes over the counted rows."""
    counted = x[torch.from_numpy(mask)].split(4096)
    mean = sum(part.double().sum(0) for part in counted) / mask.sum()
    variance = sum(((part.double() - mean) ** 2).sum(0) for part in counted) / mask.sum()
    return mean.numpy(), variance.numpy()


if __name__ == "__main__":
    main()
