"""How well dictionaries describe rows they have not seen: one pass, sums in float64, any number of rows.

For rows x, their mean x̄ and answers x̂, all in model units (for a transcoder x is the row it predicts):

L0             mean number of features that fire on a row (codes other than zero: some dictionaries have signed codes)
L1             mean of Σ|codes|
FVU            Σ ‖x − x̂‖² / Σ ‖x − x̄‖²; always answering x̄ scores 1
cosine         mean of cos(x, x̂), where a row or answer of zeros counts as 0
norm_ratio     mean of ‖x̂‖ / ‖x‖ over rows other than zero; below 1 where a penalty shrinks codes
best_scale     Σ (x − x̄)·(x̂ − x̄) / Σ ‖x̂ − x̄‖²: the factor on x̂ − x̄ that would leave the least error
relative_bias  Σ ‖x̂‖² / Σ x·x̂: 1 if no factor on x̂ lowers the error (Rajamanoharan et al. 2024, 2404.16014, eq. 10)
dead, dense    share of features that fire on no row, and on more than a tenth of them
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .architecture import Architecture
from .dictionary import Dictionary
from .moments import Moments, MomentSums

DENSE = 0.1  # a feature that fires on more than this share of rows is dense

# Rows [B, d], or those and the rows [B, out] that transcoders predict from them.
Batch: TypeAlias = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    rows: int
    l0: float
    l1: float
    fvu: float
    fvu_blocks: tuple[float, ...]  # of each hook of a crosscoder; nothing for other dictionaries
    cosine: float
    norm_ratio: float
    best_scale: float
    relative_bias: float
    dead: float
    dense: float
    density: Tensor  # [n] float64, share of rows on which each feature fires
    moments: Moments | None  # of every feature's codes, where asked for


@dataclass(frozen=True, kw_only=True)
class SplitFVU:
    """What some features explain alone, and what all the others do."""

    chosen: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class DensityHistogram:
    edges: Tensor  # [bins + 1], log10 of the density
    counts: Tensor  # [bins] int64; what is below the first edge is in the first bin
    dead: int  # features that never fire, which have no logarithm


def evaluate(
    dictionaries: Sequence[Dictionary], batches: Iterable[Batch], *, moments: bool = False
) -> list[Evaluation]:
    """One result per dictionary; each batch, in model units, is read once for all of them."""
    spreads = _Spreads()
    sums = [_Sums(dictionary, moments) for dictionary in dictionaries]
    for batch in batches:  # outside inference mode: the source of the batches may reuse its tensors
        with torch.inference_mode():
            truths = spreads.add(batch, dictionaries)
            for one, truth in zip(sums, truths, strict=True):
                one.add(_read(batch), truth, spreads.of(one.dictionary).first)
    return [one.result(spreads.of(one.dictionary)) for one in sums]


def split_fvu(
    dictionaries: Sequence[Dictionary], batches: Iterable[Batch], *, chosen: Sequence[Tensor]
) -> list[SplitFVU]:
    """FVU of the answers with the contributions of only the `chosen` features (indices, one tensor a dictionary), and
    of only the others.

    For the features of highest mean: `evaluate(..., moments=True)`, then `moments.mean.topk(n_top).indices`.
    """
    spreads = _Spreads()
    errors = torch.zeros(len(dictionaries), 2, dtype=torch.float64)
    for batch in batches:
        with torch.inference_mode():
            truths = spreads.add(batch, dictionaries)
            for i, (dictionary, some, truth) in enumerate(zip(dictionaries, chosen, truths, strict=True)):
                for j, answer in enumerate(_split_answers(dictionary, _read(batch), some)):
                    errors[i, j] += (truth - answer.double()).square().sum().cpu()
    scores = [errors[i] / spreads.of(dictionary).total for i, dictionary in enumerate(dictionaries)]
    return [SplitFVU(chosen=float(a), rest=float(b)) for a, b in scores]


def density_histogram(density: Tensor, *, per_decade: int = 4, decades: int = 7) -> DensityHistogram:
    """log10 of the densities [n] in equal bins from −`decades` to 0."""
    fires = density[density > 0].double().cpu().log10()
    bins = per_decade * decades
    counts = torch.histc(fires.clamp(min=-decades, max=0), bins=bins, min=-decades, max=0)
    return DensityHistogram(
        edges=torch.linspace(-decades, 0, bins + 1, dtype=torch.float64),
        counts=counts.to(torch.int64),
        dead=int((density == 0).sum()),
    )


def _read(batch: Batch) -> Tensor:
    return batch if isinstance(batch, Tensor) else batch[0]


def _predicts(dictionary: Dictionary) -> bool:
    """Whether it answers the second of a pair of rows."""
    return dictionary.architecture.reads == "pair"


def _answer(dictionary: Dictionary, x: Tensor, codes: Tensor) -> Tensor:
    # Only `reconstruct` knows what an architecture answers beyond its codes; elsewhere x need not be encoded twice.
    if type(dictionary.architecture).reconstruct is Architecture.reconstruct:
        return dictionary.decode(codes)
    return dictionary.reconstruct(x)


def _split_answers(dictionary: Dictionary, x: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    codes = dictionary.encode(x)
    some = torch.zeros_like(codes)
    some[:, chosen] = codes[:, chosen]
    nothing, part, whole = (dictionary.decode(each) for each in (torch.zeros_like(codes), some, codes))
    answer = _answer(dictionary, x, codes)
    return answer - (whole - part), answer - (part - nothing)


class _Spread:
    """Σ (x − x̄)² of all rows, by coordinate = Σ (x − k)² − (Σ (x − k))² / N, with the first row for k.

    Without k a mean far from zero would cancel the digits; with it rows of small whole numbers add up exactly.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.rows = 0
        self.first = torch.zeros(width, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self.first)
        self._sum = torch.zeros_like(self.first)

    def add(self, rows: Tensor) -> None:
        if self.rows == 0 and len(rows):
            self.first.copy_(rows[0])
        apart = rows - self.first
        self.rows += len(rows)
        self._squares += apart.square().sum(0)
        self._sum += apart.sum(0)

    @property
    def mean_apart(self) -> Tensor:
        """x̄ − k, [d]"""
        return self._sum / self.rows

    @property
    def squares(self) -> Tensor:
        return self._squares - self._sum.square() / max(1, self.rows)

    @property
    def total(self) -> float:
        total = float(self.squares.sum())
        if not math.isfinite(total):
            raise ValueError("rows with NaN or infinity cannot be evaluated on; look for damaged or overflowing ones")
        if self.rows < 2 or not total > 0:
            raise ValueError(
                f"{self.rows} rows with a spread of {total:g} leave the fraction of variance unexplained undefined; "
                "evaluate on at least two different rows"
            )
        return total


class _Spreads:
    """Of the rows that are read, and of those that transcoders predict; only what some dictionary answers."""

    def __init__(self) -> None:
        self._each: dict[bool, _Spread] = {}

    def add(self, batch: Batch, dictionaries: Sequence[Dictionary]) -> list[Tensor]:
        """Count the batch; for each dictionary the rows it is to answer, in float64."""
        wide: dict[bool, Tensor] = {}
        for dictionary in dictionaries:
            key = _predicts(dictionary)
            if key in wide:
                continue
            if key and isinstance(batch, Tensor):
                name = dictionary.architecture.name
                raise ValueError(f"a {name} predicts the rows of another hook; evaluate it on pairs (rows, targets)")
            wide[key] = batch[1].double() if key else _read(batch).double()
            if key not in self._each:
                self._each[key] = _Spread(wide[key].shape[1], wide[key].device)
            self._each[key].add(wide[key])
        return [wide[_predicts(dictionary)] for dictionary in dictionaries]

    def of(self, dictionary: Dictionary) -> _Spread:
        if not self._each:
            raise ValueError("there are no rows to evaluate on; give at least two different rows")
        return self._each[_predicts(dictionary)]


class _Sums:
    """What one dictionary needs to add up. a = x − k and b = x̂ − k, with the k of the spread."""

    def __init__(self, dictionary: Dictionary, moments: bool) -> None:
        self.dictionary = dictionary
        where = dictionary.directions.device
        self.fired = torch.zeros(dictionary.n, dtype=torch.int64, device=where)
        self.moments = MomentSums(dictionary.n, where) if moments else None
        self.errors = torch.zeros(dictionary.out, dtype=torch.float64, device=where)  # Σ (x − x̂)², by coordinate
        self.answers = torch.zeros(dictionary.out, dtype=torch.float64, device=where)  # Σ b
        # Σ|codes|, Σ cos, Σ ‖x̂‖/‖x‖, rows other than zero, Σ a·b, Σ ‖b‖², Σ x·x̂, Σ ‖x̂‖²
        self.scalars = torch.zeros(8, dtype=torch.float64, device=where)

    def add(self, x: Tensor, rows: Tensor, first: Tensor) -> None:
        codes = self.dictionary.encode(x)
        answer = _answer(self.dictionary, x, codes).double()
        self.fired += (codes != 0).sum(0)
        if self.moments is not None:
            self.moments.add(codes)
        self.errors += (rows - answer).square().sum(0)
        a, b = rows - first, answer - first
        self.answers += b.sum(0)
        length, of_answer, inner = rows.norm(dim=1), answer.norm(dim=1), (rows * answer).sum(1)
        some, both = length > 0, (length > 0) & (of_answer > 0)
        self.scalars += torch.stack(
            [
                codes.abs().sum(dtype=torch.float64),
                (inner[both] / (length[both] * of_answer[both])).sum(),
                (of_answer[some] / length[some]).sum(),
                some.sum().double(),
                (a * b).sum(),
                b.square().sum(),
                inner.sum(),
                of_answer.square().sum(),
            ]
        )

    def result(self, spread: _Spread) -> Evaluation:
        total = spread.total  # refuses rows of which nothing can be said
        l1, cosine, ratio, some, ab, bb, inner, of_answer = self.scalars.tolist()
        mean, rows = spread.mean_apart, spread.rows
        # Σ (a − m)·(b − m) and Σ ‖b − m‖² with m = x̄ − k, because Σ a = N m.
        shared = ab - float(mean @ self.answers)
        answered = bb - 2 * float(mean @ self.answers) + rows * float(mean @ mean)
        density = self.fired.double() / rows
        return Evaluation(
            rows=rows,
            l0=float(self.fired.sum()) / rows,
            l1=l1 / rows,
            fvu=float(self.errors.sum()) / total,
            fvu_blocks=self._blocks(spread),
            cosine=cosine / rows,
            norm_ratio=_ratio(ratio, some),
            best_scale=_ratio(shared, answered),
            relative_bias=_ratio(of_answer, inner),
            dead=float((self.fired == 0).double().mean()),
            dense=float((density > DENSE).double().mean()),
            density=density,
            moments=None if self.moments is None else self.moments.result(),
        )

    def _blocks(self, spread: _Spread) -> tuple[float, ...]:
        if self.dictionary.architecture.reads != "blocks":
            return ()
        widths = list(self.dictionary.architecture.fixed()["blocks"])
        parts = zip(torch.split(self.errors, widths), torch.split(spread.squares, widths), strict=True)
        return tuple(_ratio(float(errors.sum()), float(squares.sum())) for errors, squares in parts)


def _ratio(above: float, below: float) -> float:
    """NaN where there is nothing to divide by."""
    return above / below if below else math.nan
