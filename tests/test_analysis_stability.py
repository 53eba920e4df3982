"""Neighbours, and what two trainings have in common: by hand, by brute force and against chance."""

from __future__ import annotations

import numpy as np
import torch

from actpipe.analysis import neighbours
from sae.start import random_directions


def directions(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return random_directions(n, d, torch.Generator().manual_seed(seed))


def test_nearest_directions_are_those_of_all_cosines(monkeypatch) -> None:
    rows = directions(40, 6) * torch.linspace(0.1, 3, 40)[:, None]
    whole = neighbours.nearest_directions(rows, keep=5)
    unit = torch.nn.functional.normalize(rows, dim=1).numpy()
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    expected = np.argsort(-cosines, axis=1)[:, :5]
    np.testing.assert_array_equal(whole.unit, expected)
    np.testing.assert_allclose(whole.cosine, np.take_along_axis(cosines, expected, 1), atol=1e-6)
    monkeypatch.setattr(neighbours, "_ENTRIES", 40 * 7)  # blocks of seven
    np.testing.assert_array_equal(neighbours.nearest_directions(rows, keep=5).unit, expected)
    assert neighbours.nearest_directions(rows[:3]).unit.shape == (3, 2)  # no more others than there are
