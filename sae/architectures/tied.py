"""The tied autoencoder of Cunningham et al. 2023 (arXiv 2309.08600): one normalised matrix reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sae import gates
from sae.architecture import Aux, Hyper, Params, Size, Step, Trained
from sae.registry import register
from sae.scaling import Scaling
from sae.start import random_directions, sparse_bias

# Shortest row that is normalised; the guard of the authors' code.
LEAST_NORM = 1e-8
# Least variance of a coordinate that is whitened; the guard of the authors' code.
LEAST_VARIANCE = 1e-6


@register("tied")
@dataclass(frozen=True, kw_only=True)
class Tied(Trained):
    """Dᵢ = W_encᵢ / ‖W_encᵢ‖, z = x − center, f = relu(D z + b_enc), x̂ = f D + center.

    Loss = mean over rows of ‖z − f D‖² + l1 Σᵢ fᵢ + bias_decay ‖b_enc‖. The authors average the first term over
    coordinates too: their l1_alpha is l1 / d, and likewise their bias decay.
    With `whiten`, z = A (x − center), where A makes the sample's covariance the identity, x̂ = f D A⁻ᵀ + center, and the
    loss is measured in z. `center` is 0 in training units: rows are centred already.
    """

    swept: ClassVar[tuple[str, ...]] = ("l1", "bias_decay")
    penalties: ClassVar[tuple[str, ...]] = ("l1",)
    # `length` [n]: how long the contribution of a code of 1 is before folding; only whitening makes lengths differ.
    buffers: ClassVar[tuple[str, ...]] = ("center", "whitening", "unwhitening", "length")

    l1: Annotated[float, "Weight of the sparsity penalty."] = 5.0
    bias_decay: Annotated[float, "Weight of the length of the encoder bias."] = 0.0
    whiten: Annotated[bool, "Learn in coordinates in which the rows of the sample are white."] = False

    def shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        plain: dict[str, tuple[int, ...]] = {"W_enc": (size.n, size.d), "b_enc": (size.n,), "center": (size.d,)}
        if not self.whiten:
            return plain
        square = (size.d, size.d)
        return {**plain, "whitening": square, "unwhitening": square, "length": (size.n,)}

    def init(
        self,
        size: Size,
        hyper: Mapping[str, float],
        generator: torch.Generator,
        *,
        sample: Tensor | None = None,
        share: float = 0.02,
    ) -> Params:
        W_enc = random_directions(size.n, size.d, generator)
        params = {"W_enc": W_enc, "b_enc": torch.zeros(size.n), "center": torch.zeros(size.d)}
        if self.whiten:
            if sample is None:
                raise ValueError("whitening needs a sample of rows; give one, or train without `whiten`")
            params["whitening"], params["unwhitening"] = whitening(sample)
            params["length"] = torch.ones(size.n)
        if sample is not None:
            params["b_enc"] = sparse_bias(self._seen(params, sample.to(W_enc)), W_enc, share)
        return params

    def encode(self, params: Params, x: Tensor, hyper: Hyper) -> Tensor:
        codes = torch.relu(self._seen(params, x - params["center"]) @ atoms(params).mT + params["b_enc"])
        return params["length"] * codes if self.whiten else codes

    def decode(self, params: Params, codes: Tensor, hyper: Hyper) -> Tensor:
        return codes @ self.directions(params) + params["center"]

    def directions(self, params: Params) -> Tensor:
        if self.whiten:
            return atoms(params) @ params["unwhitening"].mT / params["length"][:, None]
        return atoms(params)

    def loss(self, params: Params, step: Step, hyper: Hyper) -> tuple[Tensor, Aux]:
        D = atoms(params)
        z = self._seen(params, step.x)
        z_center = self._seen(params, params["center"])
        coded = step.coder(z, D, params["b_enc"] - D @ z_center, D, gates.ReLU())
        n_rows = len(z)
        reconstruction = (coded.output + z_center - z).square().sum() / n_rows
        sparsity = coded.sums.sum() / n_rows
        loss = reconstruction + hyper["l1"] * sparsity + hyper["bias_decay"] * params["b_enc"].norm()
        parts = {"firings": coded.firings, "reconstruction": reconstruction, "sparsity": sparsity}
        if self.whiten:
            missed = (coded.output + z_center - z).detach() @ params["unwhitening"].mT
            parts["error"] = missed.square().sum() / n_rows
        return loss, parts

    def fold(self, params: Params, scaling: Scaling, target: Scaling) -> Params:
        """One scale s: b_enc ← b_enc / s and the rest stays. Whitened: A ← A s, and `length` makes directions unit."""
        centred = {**params, "W_enc": atoms(params), "center": scaling.undo(params["center"])}
        if self.whiten:
            unwhitening = (params["unwhitening"].mT / target.scale).mT
            length = (centred["W_enc"] @ unwhitening.mT).norm(dim=1)
            whitening = params["whitening"] * scaling.scale
            return {**centred, "whitening": whitening, "unwhitening": unwhitening, "length": length}
        if isinstance(scaling.scale, Tensor):
            raise ValueError("a tied dictionary cannot take one scale for each coordinate; scale all alike, or whiten")
        return {**centred, "b_enc": params["b_enc"] / scaling.scale}

    def _seen(self, params: Params, x: Tensor) -> Tensor:
        """Rows [..., d] in the coordinates that the dictionary reads."""
        return x @ params["whitening"].mT if self.whiten else x


def atoms(params: Params) -> Tensor:
    """D [n, d], rows of length 1."""
    return normalize(params["W_enc"], dim=1, eps=LEAST_NORM)


def whitening(sample: Tensor) -> tuple[Tensor, Tensor]:
    """A and A⁻¹ [d, d]: A = Λ^(−½) Vᵀ makes rows white whose covariance is that of `sample` [N, d], V Λ Vᵀ."""
    rows = sample.double()
    rows = rows - rows.mean(0)
    variances, axes = torch.linalg.eigh(rows.T @ rows / len(rows))
    deviations = variances.clamp(min=LEAST_VARIANCE).sqrt()
    forth, back = axes.T / deviations[:, None], axes * deviations
    return forth.float().contiguous(), back.float().contiguous()
