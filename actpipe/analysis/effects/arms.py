"""Directions along which rows are edited, and where each row stands on them: units, and what they are held against.

    units      codes and directions of a set of units
    pca        principal components of rows of the text; the codes are signed
    basis      the coordinates themselves: of an MLP's inner rows, its neurons
    random     an orthonormal basis drawn at random
    factors    of labels y that are known: rows move along Cov(x, y) until the best linear prediction of y is another

Every arm but the units is signed, and the bases are complete, which only helps them: to patch all of a basis is to
replace the row. A basis of d directions reaches far with d / 4 of them whatever they are; compare at few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from actpipe.analysis.units import UnitSet

from .sampled import coded

_RIDGE = 1e-6  # of the mean variance
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    name: str
    directions: Tensor  # [n, d_out], CPU float32; a code adds itself times its row at the hook that is written to
    # Rows at the hook that is read and at the one that is written to → [B, n]
    codes: Callable[[Tensor, Tensor], Tensor]
    rest: Tensor  # [n], the code that says nothing: 0 of units, the mean of a linear direction

    @property
    def n(self) -> int:
        return len(self.directions)


def of_units(units: UnitSet) -> Arm:
    directions = units.directions.detach().float().cpu()
    return Arm(
        name="units",
        directions=directions,
        codes=lambda reads, _: torch.cat(coded(units, reads)),
        rest=torch.zeros(len(directions)),
    )


def of_directions(name: str, directions: Tensor, mean: Tensor) -> Arm:
    """Codes are ⟨x, w⟩ / ‖w‖ along unit directions; `mean` [d_out] of the rows."""
    unit = torch.nn.functional.normalize(directions.detach().float().cpu(), dim=1)
    return Arm(name=name, directions=unit, codes=lambda _, writes: _along(unit, writes), rest=unit @ mean.float().cpu())


def of_factors(rows: Tensor, labels: Tensor) -> Arm:
    """`rows` [N, d_out], `labels` [N, factors] bool, each true somewhere and false somewhere.

    With σ = Cov(x, y) and β = Cov(x)⁻¹ σ the code is βᵀx / (βᵀσ) and the direction σ: moved to another code, a row
    keeps everything that is uncorrelated with y (the edit of LEACE, Belrose et al. 2306.03819, to any value).
    """
    x, y = rows.double().cpu(), labels.double().cpu()
    mean, y = x.mean(0), y - y.mean(0)
    covariance, towards = _covariance(x - mean), y.T @ (x - mean) / len(x)
    read = torch.linalg.solve(covariance, towards.T).T
    read = read / (read * towards).sum(1, keepdim=True).clamp(min=_TINY)
    return Arm(
        name="factors",
        directions=towards.float(),
        codes=lambda _, writes: writes.float() @ read.float().T.to(writes.device),
        rest=(read @ mean).float(),
    )


def baselines(rows: Tensor, *, seed: int) -> list[Arm]:
    """`rows` [N, d_out] of the text at the hook that is written to, of documents that nothing is measured on."""
    x = rows.double().cpu()
    mean, width = x.mean(0), x.shape[1]
    _, components = torch.linalg.eigh(_covariance(x - mean))
    drawn = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return [
        of_directions("pca", components.T.flip(0), mean),
        of_directions("basis", torch.eye(width), mean),
        of_directions("random", torch.linalg.qr(drawn)[0], mean),
    ]


def _covariance(centred: Tensor) -> Tensor:
    """With a ridge of a millionth of the mean variance, for rows that do not fill the space."""
    found = centred.T @ centred / len(centred)
    return found + _RIDGE * found.trace() / len(found) * torch.eye(len(found), dtype=found.dtype)


def _along(unit: Tensor, x: Tensor) -> Tensor:
    return x.float() @ unit.T.to(x.device)
