"""Matryoshka BatchTopK: nested dictionaries in one (Bussmann et al. 2025, arXiv 2503.17547)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling

from .affine import Affine, affine_shapes, affine_start, fold_affine, pre_activations, training_bias
from .auxk import ALPHA, auxk
from .batch_topk import above, check_mean_k, running


@register("matryoshka")
@dataclass(frozen=True, kw_only=True)
class Matryoshka(Affine):
    """u = W_enc (x − b_dec) + b_enc, gated as in `batch_topk`; the first m features are a dictionary of their own:

    x̂ₘ = Σ_{i ≤ m} fᵢ W_decᵢ + b_dec, loss = mean over prefixes m of the mean over rows of ‖x − x̂ₘ‖² + auxk · AuxK.
    The paper sums over prefixes; the mean keeps the loss in the size of a single reconstruction. AuxK is of the whole.
    """

    swept: ClassVar[tuple[str, ...]] = ("k", "auxk")
    buffers: ClassVar[tuple[str, ...]] = ("threshold",)
    unit_rows: ClassVar[tuple[str, ...]] = ("W_dec",)

    k: Annotated[float, "Mean number of features kept in a row, of the whole dictionary."] = 32.0
    auxk: Annotated[float, "Weight of the loss that revives dead features."] = ALPHA
    groups: Annotated[tuple[float, ...], "Shares of the features that each prefix adds to the one before."] = (
        1 / 32,
        1 / 16,
        1 / 8,
        1 / 4,
        17 / 32,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))  # JSON gives a list
        if not (all(share > 0 for share in self.groups) and math.isclose(sum(self.groups), 1, rel_tol=1e-6)):
            raise ValueError(f"groups must be positive shares that add up to 1, not {list(self.groups)}")

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return {**affine_shapes(size), "threshold": (size.n,)}

    def check(self, size: Size, hyper: Mapping[str, float]) -> None:
        super().check(size, hyper)
        check_mean_k(size, hyper["k"])
        if size.n < len(self.groups):
            raise ValueError(f"{size.n} features cannot be parted into {len(self.groups)} groups; give fewer groups")

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        return {**affine_start(size, generator), "threshold": torch.zeros(size.n)}

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return above(params["threshold"], pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        W_dec = params["W_dec"]
        gate = gates.BatchTopK(hyper["k"])
        groups = group_sizes(self.groups, len(W_dec))
        coded = step.coder(step.x, params["W_enc"], training_bias(params), W_dec, gate, groups=groups)
        answers = coded.output.cumsum(-2) + params["b_dec"]  # [B, prefixes, d]
        errors = (answers - step.target[:, None]).square().sum((0, 2)) / len(step.x)
        auxiliary = auxk(params, step, answers[:, -1])
        return errors.mean() + hyper["auxk"] * auxiliary, {
            "firings": coded.firings,
            "buffers": {"threshold": running(params["threshold"], coded.least)},
            "reconstruction": errors[-1],
            "prefixes": errors.mean(),
            "auxiliary": auxiliary,
        }

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)


def group_sizes(shares: tuple[float, ...], n: int) -> tuple[int, ...]:
    """Whole numbers near shares · n, each at least 1, that add up to n."""
    ends = [0]
    for i, share in enumerate(itertools.accumulate(shares[:-1]), start=1):
        room = n - (len(shares) - i)  # one feature for each group that is still to come
        ends.append(min(max(ends[-1] + 1, round(share * n)), room))
    return tuple(b - a for a, b in itertools.pairwise([*ends, n]))
