"""Do two dictionaries, each computed by the formula of its own format, say the same about the same rows?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from actpipe.errors import Failure

from .format import Answer, Reference

N_ROWS = 1024
BATCH = 64  # rows at a time: codes are wide, and float64
# float32 rounds to 6e-8; sums over d and differences of large numbers leave less.
TOLERANCE = 1e-4
# A code at its threshold, or two of the same size around the k-th, may fall on either side by rounding alone.
OTHERWISE = 0.01
# Standard deviations of the random rows: from where only biases speak to where they do not matter.
SPREADS = (-2.0, 3.0)  # powers of 10


@dataclass(frozen=True, kw_only=True)
class Compared:
    rows: int
    l0: float  # mean number of active features
    codes: float  # the largest |difference| of a row over its largest code (of a row with small ones, over usual ones)
    reconstructions: float  # the largest ‖difference‖ of a row over ‖x̂‖
    otherwise: int  # rows on which other features are active; left out of the two numbers above

    @property
    def agrees(self) -> bool:
        return max(self.codes, self.reconstructions) <= TOLERANCE and self.otherwise <= OTHERWISE * self.rows

    def sentence(self, what: str) -> str:
        flipped = f"; on {self.otherwise} other features are active" if self.otherwise else ""
        return (
            f"{self.rows} {what}, {self.l0:.1f} features active: codes differ by at most {self.codes:.1e}, "
            f"reconstructions by {self.reconstructions:.1e}{flipped}"
        )


def random_rows(d: int, center: Tensor, *, seed: int = 0) -> Tensor:
    """[N_ROWS, d] around zero and around `center` [d], of lengths over five powers of ten."""
    generator = torch.Generator().manual_seed(seed)
    low, high = SPREADS
    powers = low + (high - low) * torch.rand(N_ROWS, 1, generator=generator, dtype=torch.float64)
    rows = 10**powers * torch.randn(N_ROWS, d, generator=generator, dtype=torch.float64)
    rows[::2] += center.double()
    return rows


def compare(source: Reference, target: Reference, rows: Tensor) -> Compared:
    """Codes as the lengths of what they contribute, so that the units of the formats do not matter."""
    found = [_differences(source(x), target(x)) for x in torch.split(rows.double(), BATCH)]
    active, far, largest, off, length, same = (torch.cat(part) for part in zip(*found, strict=True))
    tiny = torch.finfo(torch.float64).tiny
    # A row whose only code has just come above zero has a code as small as the rounding of large numbers.
    usual = largest[largest > 0].median() if (largest > 0).any() else torch.tensor(tiny)
    codes = far / largest.clamp(min=float(0.1 * usual))
    reconstructions = off / length.clamp(min=tiny)
    return Compared(
        rows=len(rows),
        l0=float(active.double().mean()),
        codes=float(codes[same].max()) if same.any() else math.inf,
        reconstructions=float(reconstructions[same].max()) if same.any() else math.inf,
        otherwise=int((~same).sum()),
    )


def _differences(one: Answer, other: Answer) -> tuple[Tensor, ...]:
    """Of each row: active features, largest difference of a code and largest code, ‖x̂ − x̂'‖ and ‖x̂‖, same features."""
    expected, found = one.codes * one.lengths, other.codes * other.lengths
    if not bool(torch.isfinite(found.sum() + expected.sum() + one.rows.sum() + other.rows.sum())):
        raise Failure("A code or a reconstruction is not a finite number, so nothing is verified and nothing written.")
    return (
        (expected != 0).sum(-1),
        (expected - found).abs().amax(-1),
        expected.abs().amax(-1),
        (one.rows - other.rows).norm(dim=-1),
        one.rows.norm(dim=-1),
        ((expected != 0) == (found != 0)).all(-1),
    )


def check(compared: Compared, what: str) -> None:
    """Raise Failure with the numbers unless source and target agree, on something."""
    if compared.l0 == 0:
        raise Failure(
            f"No feature is active on {compared.rows} {what}, so nothing could be verified. Nothing is written."
        )
    if not compared.agrees:
        raise Failure(f"Source and target disagree ({compared.sentence(what)}). Nothing is written; please report it.")
