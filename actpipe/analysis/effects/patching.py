"""How few units carry the difference between a prompt and its counterfactual (Cunningham et al. 2309.08600, figure 3).

    x_t → x_t + Σ_{u ∈ F} (c̃_u(t) − c_u(t)) w_u          c̃: codes of the counterfactual; at every row of the prompt

F grows greedily: units in the order of the first-order estimate of what they take off the KL, renewed at every count of
COUNTS; where one unit is added, the best few by that estimate are tried and the best by the KL itself is taken. Units
are chosen on the first half of the pairs and the curve is that of the second.

    y      KL(p_counterfactual ‖ p_patched) / KL(p_counterfactual ‖ p) at the last row: 1 before, 0 if all is carried
    x      units patched, or ‖Σ‖ / ‖x̃ − x‖ over the rows of a prompt: how much was edited
    area   mean height of the curve over units up to the most, and over edits from 0 to 1 (held where the curve ends)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.progress import Bar

from .arms import Arm
from .bootstrap import Floats
from .intervention import intervene
from .pairs import Pairs
from .place import Place

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
TRIED = 4  # candidates whose KL is computed, where one unit is added


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    counts: tuple[int, ...]  # 0 first
    kl: Floats  # [counts, pairs], nats
    edit: Floats  # [counts, pairs], relative
    units: tuple[int, ...]  # in the order in which they were taken
    all_kl: Floats  # [pairs], with every unit patched
    all_edit: Floats


def patch(place: Place, arm: Arm, pairs: Pairs, bar: Bar, *, most: int) -> Curve:
    """`bar` advances by one for each count."""
    half = len(pairs) // 2
    chosen_on, measured_on = (
        _Patched(place, arm, pairs.part(slice(0, half))),
        _Patched(place, arm, pairs.part(slice(half, None))),
    )
    counts = tuple(count for count in COUNTS if count <= min(most, arm.n))
    taken: list[int] = []
    found = [measured_on.measure(taken)]
    for count in counts:
        taken += chosen_on.next(taken, count - len(taken))
        found.append(measured_on.measure(taken))
        bar.advance(1)
    every = measured_on.measure(None)
    return Curve(
        counts=(0, *counts),
        kl=np.stack([kl for kl, _ in found]),
        edit=np.stack([edit for _, edit in found]),
        units=tuple(taken),
        all_kl=every[0],
        all_edit=every[1],
    )


class _Patched:
    """Some pairs, read once as they are, and again with units patched."""

    def __init__(self, place: Place, arm: Arm, pairs: Pairs) -> None:
        self.place, self.arm, self.pairs = place, arm, pairs
        self.used = pairs.used
        (reads, writes, _), (other_reads, other_writes, target) = (
            self._read(tokens) for tokens in (pairs.tokens, pairs.counterfactual)
        )
        self.target = target  # [P, V] log-probabilities
        # [used rows, n]: nearly all zero, because the rows before the first difference are equal.
        self.change = arm.codes(other_reads, other_writes).cpu() - arm.codes(reads, writes).cpu()
        self.whole = self._lengths((other_writes - writes).cpu())

    def measure(self, units: list[int] | None) -> tuple[Floats, Floats]:
        """KL and relative length of the edit of each pair; None: of all units."""
        added = self._edit(units)
        with torch.inference_mode():
            kl = self._kl(self._spread(added)).double().cpu().numpy()
        length = self._lengths(added)
        return kl, np.divide(length, self.whole, out=np.zeros_like(length), where=self.whole > 0)

    def next(self, taken: list[int], n: int) -> list[int]:
        """The `n` units to be added to `taken`."""
        with torch.enable_grad():
            x = self._spread(self._edit(taken)).requires_grad_()
            (gradient,) = torch.autograd.grad(self._kl(x).mean(), x)
        saved = ((gradient.cpu()[self.used] @ self.arm.directions.T) * self.change).sum(0)
        saved[taken] = torch.inf
        best: list[int] = saved.argsort()[: max(n, TRIED)].tolist()
        if n > 1:
            return best[:n]
        costs = [float(self.measure([*taken, unit])[0].mean()) for unit in best]
        return [best[int(np.argmin(costs))]]

    def _edit(self, units: list[int] | None) -> Tensor:
        """[used rows, d_out]"""
        if units is None:
            return self.change @ self.arm.directions
        return self.change[:, units] @ self.arm.directions[units]

    def _spread(self, added: Tensor) -> Tensor:
        """Onto [P, T, d_out]."""
        found = torch.zeros(*self.used.shape, added.shape[1])
        found[self.used] = added
        return found

    def _kl(self, added: Tensor) -> Tensor:
        """[P]"""
        changes = [(self.place.writes, lambda x: x + added.to(x.device, x.dtype))]
        with intervene(self.place.model, changes) as logits:
            q = self._at_last(logits(self.pairs.tokens, None))
        return (self.target.exp() * (self.target - q)).sum(-1)

    def _read(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen: dict[str, Tensor] = {}
        rows = self.used.to(self.place.model.device)

        def note(name: str, x: Tensor) -> None:
            seen[name] = x[rows].float()

        changes = [(self.place.reads, lambda x: note("reads", x)), (self.place.writes, lambda x: note("writes", x))]
        with torch.no_grad(), intervene(self.place.model, changes) as logits:
            p = self._at_last(logits(tokens, None))
        return seen["reads"], seen["writes"], p

    def _at_last(self, logits: Tensor) -> Tensor:
        each = torch.arange(len(logits), device=logits.device)
        return logits[each, self.pairs.last.to(logits.device)].float().log_softmax(-1)

    def _lengths(self, rows: Tensor) -> Floats:
        """[P]: of the rows of each pair taken together."""
        pair = torch.arange(len(self.used))[:, None].expand_as(self.used)[self.used]
        squares = torch.zeros(len(self.used), dtype=torch.float64)
        squares.index_add_(0, pair, rows.double().square().sum(1))
        found: Floats = squares.sqrt().numpy()
        return found


def remaining(curve: Curve, weights: Floats) -> tuple[Floats, Floats]:
    """Share of the KL that is left, [counts], and of each draw of pairs [draws, counts]."""
    return curve.kl.mean(axis=1) / curve.kl[0].mean(), (weights @ curve.kl.T) / (weights @ curve.kl[0])[:, None]


def area_over_units(counts: tuple[int, ...], left: Floats) -> Floats:
    """`left` [..., counts]"""
    return np.asarray(np.trapezoid(left, np.array(counts, dtype=np.float64), axis=-1) / counts[-1])


def area_over_edit(edit: Floats, left: Floats) -> float:
    """Of one curve from edit 0 to 1: points in the order of their edit, the last height held to the end."""
    order = np.argsort(edit, kind="stable")
    x, y = np.clip(edit[order], 0, 1), left[order]
    x, y = np.append(x, 1.0), np.append(y, y[-1])
    return float(np.trapezoid(y, x))


def first_count(counts: tuple[int, ...], left: Floats, share: float) -> float:
    """Fewest units of the counts tried with at most `share` of the KL left; NaN if none has."""
    below: NDArray[np.bool_] = left <= share
    return float(counts[int(np.argmax(below))]) if below.any() else float("nan")
