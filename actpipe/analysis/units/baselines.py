"""Directions that anybody could have had: fitted to a sample of rows, and as sparse as the dictionaries they are held
against.

    pca ica nmf     the components of a classical method (sae/baselines), split by sign where they have one
    random          directions drawn on the sphere
    basis           the coordinates of the rows

Of each row the k largest contributions are kept, k being the median L0 of the hook's dictionaries: otherwise half of
all components would fire on every row, and any difference might be one of density.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import sae
from sae.baselines import ICA, NMF, PCA, Identity, Random

from .dictionary import DictionaryUnits

_ARCHITECTURES: dict[str, Callable[[], sae.Fitted]] = {
    "pca": lambda: PCA(split=True),
    "ica": lambda: ICA(split=True),
    "nmf": NMF,
    "random": Random,
    "basis": lambda: Identity(split=True),
}
_SIGNED_HALVES = ("pca", "ica", "basis")


def fit_baseline(kind: str, rows: Tensor, *, name: str, hook: str, k: int, width: int, seed: int) -> DictionaryUnits:
    """`rows` [N, d] float32 of the profile split; `width`: of the dictionaries, which random directions match."""
    architecture, d = _ARCHITECTURES[kind](), rows.shape[1]
    n = width if kind == "random" else 2 * d if kind in _SIGNED_HALVES else d
    size = sae.Size(d, n, d)
    hyper = architecture.hyper({"k": float(min(k, n))} if "k" in type(architecture).swept else {})
    scaling = sae.Scaling(torch.zeros(d), 1.0)
    params = architecture.fit(size, hyper, torch.Generator().manual_seed(seed), rows.cpu())
    dictionary = sae.Dictionary.trained(architecture, params, hyper=hyper, scaling=scaling, config={"hook": hook})
    return DictionaryUnits(
        name=name,
        hook=hook,
        writes=hook,
        dictionary=dictionary.to(rows.device),
        chosen=np.arange(n),
    )
