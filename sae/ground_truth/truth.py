"""The contract of synthetic rows: known directions, known codes, and rows that are made of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


def truth_generator(seed: int) -> torch.Generator:
    """Of its own, so that a dictionary of the same seed does not begin as the truth."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(f"truth {seed}".encode()).digest()[:7]))


class Draw(NamedTuple):
    rows: Tensor  # [N, d]
    codes: Tensor  # [N, G]: rows = codes @ directions + noise


@dataclass(frozen=True, kw_only=True)
class GroundTruth(ABC):
    """G features in d dimensions. The same seed gives the same truth, the same generator the same rows."""

    directions: Tensor  # [G, d], rows of length 1

    @abstractmethod
    def codes(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """[n_rows, G], from zero up."""

    def noise(self, n_rows: int, generator: torch.Generator) -> Tensor | float:
        """What is added to the rows, [n_rows, d]."""
        return 0.0

    def draw(self, n_rows: int, generator: torch.Generator) -> Draw:
        codes = self.codes(n_rows, generator)
        return Draw(codes @ self.directions + self.noise(n_rows, generator), codes)

    def rows(self, n_rows: int, generator: torch.Generator) -> Tensor:
        """[n_rows, d]"""
        return self.draw(n_rows, generator).rows
