"""How well dictionaries describe rows they have not seen: one pass, sums in float64, any number of rows.

L0    mean number of features that fire on a row
FVU   Σ ‖x − x̂‖² / Σ ‖x − x̄‖², both over all rows; always answering the mean row x̄ scores exactly 1
dead  share of features that fire on no row
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .dead import firings
from .dictionary import Dictionary


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    rows: int
    l0: float
    fvu: float
    dead: float
    cosine: float  # mean over rows of the cosine between x and x̂, in model units
    density: Tensor  # [n] float64, share of rows on which each feature fires


def evaluate(dictionaries: Sequence[Dictionary], batches: Iterable[Tensor]) -> list[Evaluation]:
    """One result per dictionary; each batch of rows [B, d], in model units, is read once for all of them."""
    spread = _Spread()
    sums = [_Sums(dictionary) for dictionary in dictionaries]
    for x in batches:  # outside inference mode: the source of the batches may reuse its tensors
        with torch.inference_mode():
            rows = x.double()
            spread.add(rows)
            for one in sums:
                one.add(x, rows)
    if spread.rows < 2 or not spread.squares > 0:
        raise ValueError(
            f"{spread.rows} rows with a spread of {spread.squares} leave the fraction of variance unexplained "
            "undefined; evaluate on at least two different rows"
        )
    return [one.result(spread) for one in sums]


class _Spread:
    """Σ ‖x − x̄‖² of all rows = Σ ‖x − k‖² − ‖Σ (x − k)‖² / N, with the first row for k.

    Without k a mean far from zero would cancel the digits; with it rows of small whole numbers add up exactly.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._first: Tensor | None = None
        self._squares = 0.0
        self._sum: Tensor | float = 0.0

    def add(self, rows: Tensor) -> None:
        if len(rows) == 0:
            return
        if self._first is None:
            self._first = rows[0].clone()
        apart = rows - self._first
        self.rows += len(rows)
        self._squares += float(apart.square().sum())
        self._sum = self._sum + apart.sum(0)

    @property
    def squares(self) -> float:
        return self._squares - float(torch.as_tensor(self._sum).square().sum()) / max(1, self.rows)


class _Sums:
    """What one dictionary needs to add up."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.fired = torch.zeros(dictionary.n, dtype=torch.int64, device=dictionary.center.device)
        self.error = 0.0
        self.cosine = 0.0

    def add(self, x: Tensor, rows: Tensor) -> None:
        codes = self.dictionary.encode(x)
        answer = self.dictionary.decode(codes).double()
        self.fired += firings(codes)
        self.error += float((rows - answer).square().sum())
        self.cosine += float(torch.cosine_similarity(rows, answer, dim=1).sum())

    def result(self, spread: _Spread) -> Evaluation:
        return Evaluation(
            rows=spread.rows,
            l0=float(self.fired.sum()) / spread.rows,
            fvu=self.error / spread.squares,
            dead=float((self.fired == 0).double().mean()),
            cosine=self.cosine / spread.rows,
            density=self.fired.double() / spread.rows,
        )
