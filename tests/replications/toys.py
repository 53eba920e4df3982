"""How much of known features sparse dictionaries, PCA, ICA, random directions and coordinates find: RUNS/toys.csv.

    python -m tests.replications.toys RUNS

Rows are made of 128 known features in 64 dimensions; a minute of one core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import sae
from sae.baselines import ICA, PCA, Identity, Random
from sae.ground_truth import GroundTruth

from .few_seeds import Interval, mean_of

COLUMNS = ["toy", "method", "l1", "measure", *Interval._fields]


@dataclass(frozen=True)
class Toy:
    """A published recipe at a quarter of its size; the decay is that of four features, so frequencies fall as far."""

    name: str
    truth: Callable[[int], GroundTruth]
    n_features: int = 128
    l1: tuple[float, ...] = (0.5, 2, 8)
    seeds: int = 3
    steps: int = 500
    batch_size: int = 512
    lr: float = 3e-3


TOYS = (
    Toy("independent features", lambda seed: sae.Mixture.create(seed=seed, d=64, n_features=128, decay=0.99**4)),
    Toy(
        "correlated features",
        lambda seed: sae.SparseMix.create(seed=seed, d=64, n_features=128, n_active=5.0, decay=0.99**4),
    ),
)
BASELINES: dict[str, sae.Fitted] = {
    "PCA": PCA(),
    "ICA": ICA(),
    "random directions": Random(),
    "coordinates": Identity(),
}


def on_toy(toy: Toy) -> Iterator[list[Any]]:
    """How much of the truth each method finds, over truths that differ in their seed."""
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for seed in range(toy.seeds):
        truth = toy.truth(seed)
        for key, dictionary in dictionaries(toy, truth, seed):
            scores = sae.recovery(dictionary, truth, generator=_generator(seed, 2), n_rows=4096)
            found.setdefault(key, []).append((scores.mmcs_features, scores.recovered))
    for (method, l1), scores_of_seeds in found.items():
        for measure, values in zip(("mmcs", "recovered"), zip(*scores_of_seeds, strict=True), strict=True):
            yield [toy.name, method, l1, measure, *mean_of(values)]


def dictionaries(toy: Toy, truth: GroundTruth, seed: int) -> Iterator[tuple[tuple[str, float], sae.Dictionary]]:
    """(method, l1) → dictionary as wide as the truth; there are as many components and coordinates as dimensions."""
    d, generator = truth.directions.shape[1], _generator(seed, 1)
    sample = truth.rows(16_384, generator)
    scaling = sae.Scaling.from_rows(sample)
    for name, method in BASELINES.items():
        n = toy.n_features if name == "random directions" else d
        hyper = method.hyper({})
        params = method.fit(sae.Size(d, n, d), hyper, _generator(seed, 3), scaling.apply(sample))
        dictionary = sae.Dictionary.trained(method, params, hyper=hyper, scaling=scaling, config={})
        yield (name, math.nan), dictionary
    members = [{"l1": l1, "lr": toy.lr, "seed": seed} for l1 in toy.l1]
    tied = sae.get_architecture("tied")()
    assert isinstance(tied, sae.Trained)
    ensemble = sae.Ensemble.create(
        tied,
        members,
        d=d,
        width=toy.n_features,
        sample=scaling.apply(sample[:4096]),
        schedule=sae.Schedule.over(toy.steps),
    )
    batches = (scaling.apply(truth.rows(toy.batch_size, generator)) for _ in range(toy.steps))
    for _ in sae.fit(ensemble, batches, steps=toy.steps):
        pass
    for index, l1 in enumerate(toy.l1):
        yield ("dictionary", l1), ensemble.dictionary(index, scaling=scaling)


def _generator(seed: int, what: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 * what + seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    rows = [row for toy in TOYS for row in on_toy(toy)]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(parser.parse_args().runs / "toys.csv", index=False)


if __name__ == "__main__":
    main()
