"""Latents of a dictionary: of an autoencoder, a transcoder, or a baseline such as PCA."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import sae

from .unit_set import UnitSet

KINDS = {"transcoder": "transcoder_latent", "skip_transcoder": "transcoder_latent"}  # others by name, else sae_latent
_BASELINES = ("pca", "ica", "nmf", "kmeans", "random", "identity", "identity_relu")


@dataclass(frozen=True, kw_only=True)
class DictionaryUnits(UnitSet):
    name: str
    hook: str
    writes: str
    dictionary: sae.Dictionary
    chosen: NDArray[np.int64]  # features, increasing
    signed: bool = False  # codes may be negative: each feature is two units

    @property
    def kind(self) -> str:  # type: ignore[override]
        name = self.dictionary.architecture.name
        return KINDS.get(name, name if name in _BASELINES else "sae_latent")

    @property
    def feature(self) -> NDArray[np.int64]:  # type: ignore[override]
        return np.concatenate([self.chosen, self.chosen]) if self.signed else self.chosen

    @property
    def sign(self) -> NDArray[np.int8]:  # type: ignore[override]
        return np.repeat(np.array([1, -1] if self.signed else [1], np.int8), len(self.chosen))

    @property
    def directions(self) -> Tensor:
        written = self._of(self.dictionary.directions.float(), 0)
        return torch.cat([written, -written]) if self.signed else written

    @property
    def source(self) -> Tensor:
        return self.dictionary.directions.float()

    @property
    def reads(self) -> Tensor | None:
        rows = self.dictionary.params.get("W_enc")
        if rows is None or rows.shape != (self.dictionary.n, self.dictionary.d):
            return None
        read = self._of(rows.float(), 0)
        return torch.cat([read, -read]) if self.signed else read

    def codes(self, x: Tensor) -> Tensor:
        codes = self._of(self.dictionary.encode(x), 1)
        return torch.cat([codes.relu(), (-codes).relu()], dim=1) if self.signed else codes

    def _of(self, values: Tensor, axis: int) -> Tensor:
        if len(self.chosen) == self.dictionary.n:
            return values
        return values.index_select(axis, torch.from_numpy(self.chosen).to(values.device))


def gives_negative_codes(dictionary: sae.Dictionary, rows: Tensor) -> bool:
    """Whether any code of a sample of rows is below zero: the source is signed."""
    with torch.inference_mode():
        return bool((dictionary.encode(rows.to(dictionary.device)) < 0).any())
