"""The crosscoder: one set of features for the rows of several hooks (Anthropic, "Sparse Crosscoders", October 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step
from sae.registry import register
from sae.scaling import Scaling
from sae.start import sparse_bias

from .affine import Affine, affine_shapes, affine_start, fold_affine, pre_activations, training_bias
from .normalised import squared_error
from .relu import START_NORM


@register("crosscoder")
@dataclass(frozen=True, kw_only=True)
class Crosscoder(Affine):
    """x = the rows of H hooks side by side, f = relu(W_enc (x − b_dec) + b_enc), x̂ = f W_dec + b_dec.

    Loss = mean over rows of ‖x − x̂‖² + l1 Σᵢ fᵢ Σ_h ‖W_decᵢʰ‖, where W_decᵢʰ is the part of the row for hook h: the sum
    of lengths lets a feature leave a hook out, the length of the whole row would not. With one block it is `relu`.
    A Scaling with one scale for each coordinate makes E‖xʰ‖² the width of each block (Scaling.beside).
    """

    reads: ClassVar[Literal["row", "pair", "blocks"]] = "blocks"
    swept: ClassVar[tuple[str, ...]] = ("l1",)
    penalties: ClassVar[tuple[str, ...]] = ("l1",)

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    blocks: Annotated[tuple[int, ...], "Widths of the hooks' rows, in order; without any, the row is one block."] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))  # JSON knows no tuples
        if any(width < 1 for width in self.blocks):
            raise ValueError(f"the blocks of a crosscoder must have a width of at least 1, not {list(self.blocks)}")

    def check_use(self, size: Size, hyper: Mapping[str, float]) -> None:
        if self.blocks and sum(self.blocks) != size.d:
            raise ValueError(
                f"the blocks {list(self.blocks)} of a crosscoder add up to {sum(self.blocks)}, "
                f"but its rows have width {size.d}; give the width of each hook"
            )

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        return affine_shapes(size)

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        params = affine_start(size, generator, length=START_NORM)
        if sample is not None:
            params["b_enc"] = sparse_bias(sample, params["W_enc"], share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        return torch.relu(pre_activations(params, x))

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        coded = step.coder(step.x, params["W_enc"], training_bias(params), params["W_dec"], gates.ReLU())
        reconstruction = squared_error(coded.output + params["b_dec"], step.target)
        sparsity = (coded.sums @ self.block_norms(params).sum(1)) / len(step.x)
        loss = reconstruction + hyper["l1"] * sparsity
        return loss, {"firings": coded.firings, "reconstruction": reconstruction, "sparsity": sparsity}

    def block_norms(self, params: Params) -> Tensor:
        """[n, H]: how long the part of each decoder row is that answers each hook."""
        W_dec = params["W_dec"]
        parts = torch.split(W_dec, list(self.blocks) or W_dec.shape[-1], dim=-1)
        return torch.stack([part.norm(dim=-1) for part in parts], dim=-1)

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        return fold_affine(params, scaling, target)
