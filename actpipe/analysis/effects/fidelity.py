"""How sparsely units describe rows, and how well: per row, on documents of SCORE, with intervals over documents.

With c_u = |a_u| ‖w_u‖, the contribution of each of n units to a row x, and x̂ the dictionary's answer:

    l0                       units that fire
    l0_eff_95, l0_eff_99     fewest units whose contributions reach that share of Σ c
    participation_ratio      (Σ c)² / Σ c²
    hoyer                    (√n − Σ c / √(Σ c²)) / (√n − 1): 0 for equal contributions, 1 for a single one
    fvu, explained_variance  Σ ‖x − x̂‖² / Σ ‖x − x̄‖², and 1 − that: always answering x̄ explains exactly 0
    mse                      ‖x − x̂‖², a mean over rows
    norm, answer_norm        ‖x‖ and ‖x̂‖, means over rows
    cosine                   cos(x, x̂), 0 for a row or an answer of zeros
    shrinkage                ‖x̂‖ / ‖x‖ over rows other than zero
    relative_bias            Σ ‖x̂‖² / Σ x·x̂ (Rajamanoharan et al. 2024, 2404.16014, eq. 10)

A row on which no unit contributes has l0 = l0_eff = 0 and no participation ratio or Hoyer number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.units import UnitSet

from .bootstrap import Estimate, Floats, ratio
from .sampled import coded
from .text import Text, text_of

SHARES = {"l0_eff_95": 0.95, "l0_eff_99": 0.99}
_SLACK = 1e-6  # of float32 sums: units that together give all must reach every share

Answer: TypeAlias = Callable[[Tensor], Tensor]  # rows [N, d] → what a dictionary says of them [N, d_out]


def fidelity_text(corpus: Corpus, order: NDArray[np.int64], rows: int) -> Text:
    """Sequences of `order` until they hold `rows` rows of SCORE, at least one."""
    held = np.cumsum([int(text_of(corpus, order[i : i + 1]).changed.sum()) for i in range(len(order))])
    return text_of(corpus, order[: 1 + int(np.searchsorted(held, rows))])


def sparsity(x: Tensor, documents: NDArray[np.int64], units: UnitSet, weights: Floats) -> dict[str, Estimate]:
    """Of rows [N, d]; `documents` [N] numbers the columns of `weights` [draws, documents]."""
    lengths = units.directions.detach().float().norm(dim=1)
    found = torch.cat([_per_row(codes.abs() * lengths.to(codes.device)) for codes in coded(units, x)])
    return {name: _mean(found[:, i].double().cpu().numpy(), documents, weights) for i, name in enumerate(_PER_ROW)}


_PER_ROW = ("l0", *SHARES, "participation_ratio", "hoyer")


def _per_row(c: Tensor) -> Tensor:
    """[b, n] contributions → [b, numbers of _PER_ROW]; NaN where undefined."""
    most = max(1, int((c > 0).sum(1).max()) if len(c) else 1)
    descending = c.topk(most, dim=1).values.double()  # the others are zero
    total, squares = descending.sum(1), descending.square().sum(1)
    reached = descending.cumsum(1)
    nothing = total == 0
    columns = [(descending > 0).sum(1).double()]
    for share in SHARES.values():
        fewest = 1 + (reached < (share - _SLACK) * total[:, None]).sum(1).double()
        columns.append(fewest.masked_fill(nothing, 0))
    columns.append(total.square() / squares)
    root = c.shape[1] ** 0.5
    columns.append((root - total / squares.sqrt()) / (root - 1) if c.shape[1] > 1 else torch.full_like(total, np.nan))
    return torch.stack(columns, 1)


def reconstruction(x: Tensor, answers: Tensor, documents: NDArray[np.int64], weights: Floats) -> dict[str, Estimate]:
    """Of rows and what a dictionary says of them, [N, d] each. x̄ is the mean of these rows."""
    x, answers = x.double().cpu(), answers.double().cpu()
    inner = (x * answers).sum(1)
    length, of_answer = x.norm(dim=1), answers.norm(dim=1)
    both = (length > 0) & (of_answer > 0)
    cosine = torch.where(both, inner / (length * of_answer), 0.0)
    shrinkage = torch.where(length > 0, of_answer / length, torch.nan)
    sums = {
        "fvu": ((x - answers).square().sum(1), (x - x.mean(0)).square().sum(1)),
        "relative_bias": (of_answer.square(), inner),
    }
    found = {}
    for name, (top, bottom) in sums.items():
        above, below = (_by_document(each.numpy(), documents, weights) for each in (top, bottom))
        found[name] = ratio(above, below, weights)
    fvu = found["fvu"]
    found["explained_variance"] = Estimate(1 - fvu.value, 1 - fvu.high, 1 - fvu.low, fvu.n)
    per_row = {"cosine": cosine, "shrinkage": shrinkage, "norm": length, "answer_norm": of_answer}
    per_row["mse"] = (x - answers).square().sum(1)
    for name, values in per_row.items():
        found[name] = _mean(values.numpy(), documents, weights)
    return found


def _mean(values: Floats, documents: NDArray[np.int64], weights: Floats) -> Estimate:
    """Over rows where it is defined."""
    defined = np.isfinite(values)
    top = _by_document(np.where(defined, values, 0), documents, weights)
    return ratio(top, _by_document(defined.astype(np.float64), documents, weights), weights)


def _by_document(values: Floats, documents: NDArray[np.int64], weights: Floats) -> Floats:
    found: Floats = np.bincount(documents, weights=values, minlength=weights.shape[1]).astype(np.float64)
    return found
