"""How many things n texts are about: the Vendi score (Friedman and Dieng 2210.02410).

K = diag(√π) E Eᵀ diag(√π),  Σπ = 1, rows of E of length 1, so the eigenvalues λ of K sum to 1
Vendi = exp(−Σ λ ln λ)        1 where all texts are the same, n where they have nothing in common
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Column = NDArray[np.float64]
_SIZES = (2, 4, 8, 16, 32, 64)
_DRAWS = 32  # of each size; the mean of the logarithm is then known to about 1 %
_ROUNDING = 1e-9  # n texts of equal weights may come to a little more than n


def gram(vectors: Tensor, weight: Tensor) -> Tensor:
    """K [units, n, n] of `vectors` [units, n, dims] and `weight` [units, n]; a weight of 0 is no text."""
    weighted = vectors * _share(weight).sqrt()[:, :, None]
    return weighted @ weighted.transpose(1, 2)


def vendi(gram: Tensor) -> Tensor:
    """[units]"""
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    entropy: Tensor = torch.special.entr(eigenvalues.clamp(min=0)).sum(dim=1)
    return entropy.exp()


def similarity_across(gram: Tensor, weight: Tensor) -> Tensor:
    """[units]: the mean cosine of all pairs of different texts, Σ_{i≠j} π_i π_j ⟨e_i, e_j⟩ / Σ_{i≠j} π_i π_j."""
    share = _share(weight)
    root = share.sqrt()
    total = torch.einsum("ui,uij,uj->u", root, gram, root)
    itself = (share * gram.diagonal(dim1=1, dim2=2)).sum(dim=1)
    return (total - itself) / (1 - share.square().sum(dim=1))


def effective_number(weight: Tensor) -> Tensor:
    """[units]: exp(−Σ π ln π), the Vendi score of texts without anything in common: the largest for these weights."""
    entropy: Tensor = torch.special.entr(_share(weight)).sum(dim=1)
    return entropy.exp()


def _share(weight: Tensor) -> Tensor:
    """π; all zero for a unit without texts, as there are no eigenvalues of what is not a number."""
    total = weight.sum(dim=1, keepdim=True)
    return weight / torch.where(total > 0, total, 1)


class Reference:
    """The Vendi score of n texts at random from the corpus: what "nothing in common" comes to, for every n ≤ 64."""

    def __init__(self, vectors: Tensor, seed: int) -> None:
        """`vectors` [m, dims] of texts at random, one a document."""
        random = np.random.default_rng(seed)
        sizes = np.unique(np.minimum(_SIZES, len(vectors)))  # the last: all there are, where they are few
        self.sizes = sizes[sizes >= _SIZES[0]]
        self.logs = np.array([self._mean_log(vectors, size, random) for size in self.sizes.tolist()])

    @staticmethod
    def _mean_log(vectors: Tensor, size: int, random: np.random.Generator) -> float:
        draws = np.stack([random.permutation(len(vectors))[:size] for _ in range(_DRAWS)])
        weight = torch.ones(draws.shape, dtype=vectors.dtype)
        return float(vendi(gram(vectors[torch.from_numpy(draws)], weight)).log().mean())

    def at(self, number: Column) -> Column:
        """Between the sizes linear in the logarithms; NaN above the largest, as there are no such texts."""
        if not len(self.sizes):
            return np.full(len(number), np.nan)
        found = np.exp(np.interp(np.log(number), np.log(self.sizes), self.logs))
        return np.where(number <= (1 + _ROUNDING) * self.sizes[-1], found, np.nan)
