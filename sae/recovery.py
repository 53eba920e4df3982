"""Scores of a dictionary against the features that its rows were made of.

Each latent of the dictionary is held against the true feature whose direction has the largest |cos| with its own.
On fresh rows, with TP the rows on which both fire:

precision  TP / rows on which the latent fires       recall  TP / rows on which the feature fires
F1         2 TP / (rows of the latent + rows of the feature)       all three 0 where there is nothing to divide by

so a dead latent scores 0. Fires means: a code other than zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .dictionary import Dictionary
from .ground_truth import GroundTruth
from .matching import best_cosines, match

RECOVERED = 0.9  # |cos| from which a feature counts as found
DECILES = 10


@dataclass(frozen=True, kw_only=True)
class Recovery:
    mcc: float  # mean |cos| of the best one-to-one pairs of latents and features, min(n, G) of them
    uniqueness: float  # different features that are the best of some latent / latents
    mmcs_features: float  # mean over features of the largest |cos| with a latent (representedness)
    mmcs_latents: float  # mean over latents of the largest |cos| with a feature
    recovered: float  # share of features with a latent of |cos| ≥ 0.9
    coverage: Tensor  # [10] float64, that share by tenths of the features, the rarest first; NaN for an empty tenth
    best: Tensor  # [n] int64, the feature of each latent
    precision: Tensor  # [n] float64, as are the next two
    recall: Tensor
    f1: Tensor


def recovery(
    dictionary: Dictionary,
    truth: GroundTruth,
    *,
    generator: torch.Generator,
    n_rows: int = 100_000,
    batch_size: int = 4096,
) -> Recovery:
    """Scores on `n_rows` fresh rows in the units of `truth`."""
    directions, features = dictionary.directions.double().cpu(), truth.directions.double()
    of_latent, best = best_cosines(directions, features, absolute=True)
    of_feature, _ = best_cosines(features, directions, absolute=True)
    found = of_feature >= RECOVERED
    counts = _Counts(best, len(features))
    with torch.inference_mode():
        for begin in range(0, n_rows, batch_size):
            rows, codes = truth.draw(min(batch_size, n_rows - begin), generator)
            latent = dictionary.encode(rows.to(dictionary.device)) != 0
            counts.add(latent.cpu(), codes != 0)
    return Recovery(
        mcc=match(directions, features, absolute=True).mean,
        uniqueness=len(set(best.tolist())) / len(best),
        mmcs_features=float(of_feature.mean()),
        mmcs_latents=float(of_latent.mean()),
        recovered=float(found.double().mean()),
        coverage=_by_frequency(found, counts.feature),
        best=best,
        precision=_share(counts.both, counts.latent),
        recall=_share(counts.both, counts.feature[best]),
        f1=_share(2 * counts.both, counts.latent + counts.feature[best]),
    )


class _Counts:
    """Rows on which each latent fires, each feature fires, and each latent fires together with its feature."""

    def __init__(self, best: Tensor, n_features: int) -> None:
        self.best = best
        self.latent = torch.zeros(len(best), dtype=torch.int64)
        self.both = torch.zeros_like(self.latent)
        self.feature = torch.zeros(n_features, dtype=torch.int64)

    def add(self, latent: Tensor, feature: Tensor) -> None:
        self.latent += latent.sum(0)
        self.feature += feature.sum(0)
        self.both += (latent & feature[:, self.best]).sum(0)


def _by_frequency(found: Tensor, times: Tensor) -> Tensor:
    tenths = found[times.argsort(stable=True)].double().tensor_split(DECILES)
    return torch.stack([tenth.mean() for tenth in tenths])


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole.clamp(min=1)
