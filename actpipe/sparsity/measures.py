"""One token's activations at one hook → how sparse they are, in several senses.

    a     activations of the n units of a hook at one token
    c_i = |a_i| ‖w_i‖       contribution of unit i: how long the vector is that it writes (w_i, a row of the MLP's last
                            matrix); the only size that can be compared across units and kinds of models. Where a hook
                            writes through no matrix, ‖w_i‖ = 1.

Counts look at a, shapes look at c. Signed activations count by their size: of the two halves max(a, 0) and max(−a, 0)
at most one is there at a token, so every number but Hoyer's n is that of the halves.

Shapes: b batch of tokens, n units, k measures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

L0_SHARES = (0.95, 0.99)  # p of L0_eff(p)
TOP_SHARES = (0.01, 0.1)  # of the units, whose share of the mass is told
BLOCK_TOKENS = 128  # measured at once: what is computed of them stays in the processor's cache


@dataclass(frozen=True)
class Measure:
    """`unit` says what it counts: a share of all units or of their mass, a number of units, or an index from 0 to 1."""

    name: str
    title: str
    meaning: str
    unit: Literal["share", "units", "index"] = "share"


def measures(eps: tuple[float, ...]) -> tuple[Measure, ...]:
    """In the order of the columns of `measure`."""
    return (
        Measure("nonzero", "nonzero", "share of the units that are not exactly 0"),
        *(
            Measure(f"above_{e:g}", f"above {e:g} RMS", f"share of the units with |a| > {e:g} · the token's RMS of a")
            for e in eps
        ),
        *(
            Measure(
                f"l0_eff_{p:.0%}".rstrip("%"),
                f"L0_eff({p:g})",
                f"least number of units that hold {p:.0%} of the token's contributions c",
                unit="units",
            )
            for p in L0_SHARES
        ),
        Measure("effective_number", "effective number", "(‖c‖₁ / ‖c‖₂)²", unit="units"),
        Measure("hoyer", "Hoyer", "(√n − ‖c‖₁/‖c‖₂) / (√n − 1): 0 all alike, 1 a single unit", unit="index"),
        Measure("gini", "Gini", "inequality of c: 0 all alike, 1 − 1/n a single unit", unit="index"),
        *(
            Measure(
                f"top_{share:.0%}".rstrip("%") + "pct",
                f"mass in top {100 * share:g} %",
                f"share of the contributions c that the largest {share:.0%} of the units hold",
            )
            for share in TOP_SHARES
        ),
    )


def measure(a: Tensor, norms: Tensor | None, eps: tuple[float, ...]) -> Tensor:
    """[b, n] float32 → [b, k] float64. Shapes of a token whose units are all 0 are not defined: NaN."""
    return torch.cat([_measure(block, norms, eps) for block in torch.split(a, BLOCK_TOKENS)])


def above(a: Tensor, eps: float) -> Tensor:
    """[b, n], true where |a| > eps · RMS, the root mean square over the units of the token."""
    return a.abs() > eps * root_mean_square(a)[:, None]


def root_mean_square(a: Tensor) -> Tensor:
    rms: Tensor = torch.linalg.vector_norm(a, dim=1) / math.sqrt(a.shape[1])
    return rms


def _measure(a: Tensor, norms: Tensor | None, eps: tuple[float, ...]) -> Tensor:
    size, rms = a.abs(), root_mean_square(a)
    counts = [_share(a != 0), *(_share(size > e * rms[:, None]) for e in eps)]
    return torch.stack(counts + _shapes(size if norms is None else size * norms), dim=1)


def _share(true: Tensor) -> Tensor:
    # As bytes: torch adds them twenty times faster than it adds booleans.
    return true.view(torch.uint8).sum(dim=1, dtype=torch.int32).double() / true.shape[1]


def _shapes(c: Tensor) -> list[Tensor]:
    n = c.shape[1]
    running = _running(c)
    total = running[:, -1:].contiguous()
    one, two = total[:, 0].double(), torch.linalg.vector_norm(c, dim=1).double()
    spread = one / two  # ‖c‖₁/‖c‖₂; 0/0 is NaN
    needed = [torch.searchsorted(running, p * total)[:, 0].double() + (one > 0) for p in L0_SHARES]
    hoyer = (math.sqrt(n) - spread) / (math.sqrt(n) - 1) if n > 1 else torch.full_like(spread, torch.nan)
    # G = Σ_i (n + 1 − 2i) c_(i) / (n Σ c), i = 1 the largest; and Σ_j running_j = Σ_i (n + 1 − i) c_(i).
    gini = (2 * running.sum(dim=1, dtype=torch.float64) / one - n - 1) / n
    top = [running[:, max(math.ceil(share * n), 1) - 1].double() / one for share in TOP_SHARES]
    return [*needed, spread.square(), hoyer, gini, *top]


def _running(c: Tensor) -> Tensor:
    """[b, n]: what the largest 1, 2, … n units hold."""
    if c.device.type != "cpu":
        return c.sort(dim=1, descending=True).values.cumsum(dim=1)
    # numpy sorts with the processor's vectors: 8 µs a row of 1,536 where torch takes 150.
    return torch.from_numpy(np.cumsum(np.sort(c.numpy(), axis=1)[:, ::-1], axis=1))
