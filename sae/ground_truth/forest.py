"""SynthSAEBench (Chanin et al. 2026, 2602.14687) at laptop size: rare and frequent features, families, correlations.

Features are numbered by frequency. The first of them are the roots of a forest; a child fires only where its parent
does, and of the children of one parent at most one fires. Features beyond the forest are free. Which ones fire
together is decided by a gaussian copula of low rank, before parents and siblings have their say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from sae.start import random_directions

from .truth import GroundTruth, truth_generator

LEAST_OWN_VARIANCE = 0.01  # of a feature's gaussian, what it shares with no other


class Generation(NamedTuple):
    """All features at one depth of the forest."""

    parents: Tensor  # [P]
    children: Tensor  # [P, branching]


@dataclass(frozen=True, kw_only=True)
class Forest(GroundTruth):
    """Feature i fires where fᵢ · e + gᵢ ηᵢ is above its threshold (e ~ N(0, I) of the row, η ~ N(0, 1)), if its family
    lets it, and is then as strong as max(0, μᵢ + σᵢ N(0, 1))."""

    threshold: Tensor  # [G]
    shared: Tensor  # [G, rank], f
    own: Tensor  # [G], g = √(1 − ‖f‖²)
    strength: Tensor  # [G], μ
    spread: Tensor  # [G], σ
    generations: tuple[Generation, ...]

    @classmethod
    def create(
        cls,
        *,
        seed: int,
        d: int = 64,
        n_features: int = 256,
        n_roots: int = 8,
        branching: int = 4,
        depth: int = 2,
        highest: float = 0.4,
        lowest: float = 5e-4,
        exponent: float = 0.5,
        rank: int = 25,
        correlation: float = 0.1,
    ) -> Forest:
        """The benchmark itself has 16,384 features, d 768, 128 roots and depth 3; two thirds of its features, and of
        these, are in the forest. Here about 5 features fire on a row, there 34."""
        generator = truth_generator(seed)
        generations = planted(n_roots, branching, depth)
        if (planted_features := n_roots + sum(g.children.numel() for g in generations)) > n_features:
            raise ValueError(f"a forest of {planted_features} features does not fit into {n_features}")
        shared = correlation * torch.randn(n_features, rank, generator=generator)
        length = shared.norm(dim=1, keepdim=True)
        shared = shared * (math.sqrt(1 - LEAST_OWN_VARIANCE) / length).clamp(max=1)
        probability = compensated(zipf(n_features, exponent, highest, lowest), generations)
        return cls(
            directions=spread_out(random_directions(n_features, d, generator)),
            threshold=-torch.special.ndtri(probability),
            shared=shared,
            own=(1 - shared.square().sum(1)).sqrt(),
            strength=torch.linspace(5.0, 4.0, n_features),
            spread=(0.5 + 0.5 * torch.randn(n_features, generator=generator)).abs(),
            generations=generations,
        )

    def codes(self, n_rows: int, generator: torch.Generator) -> Tensor:
        shape = n_rows, len(self.threshold)
        common = torch.randn(n_rows, self.shared.shape[1], generator=generator) @ self.shared.T
        wants = common + self.own * torch.randn(shape, generator=generator) > self.threshold
        strengths = torch.relu(self.strength + self.spread * torch.randn(shape, generator=generator))
        fires = wants & (strengths > 0)
        for generation in self.generations:
            fires[:, generation.children.flatten()] = _allowed(fires, generation, generator).flatten(1)
        return fires * strengths


def _allowed(fires: Tensor, generation: Generation, generator: torch.Generator) -> Tensor:
    """[N, P, branching] bool: of the children that fire under a parent that does, one at random."""
    willing = fires[:, generation.children] & fires[:, generation.parents, None]
    ticket = torch.where(willing, torch.rand(willing.shape, generator=generator), -1.0)
    return willing & one_hot(ticket.argmax(-1), willing.shape[-1]).bool()


def planted(n_roots: int, branching: int, depth: int) -> tuple[Generation, ...]:
    """The forest, numbered generation by generation from 0."""
    generations, parents = [], torch.arange(n_roots)
    for _ in range(depth):
        first = int(parents[-1]) + 1
        children = torch.arange(first, first + len(parents) * branching).view(len(parents), branching)
        generations.append(Generation(parents, children))
        parents = children.flatten()
    return tuple(generations)


def zipf(n: int, exponent: float, highest: float, lowest: float) -> Tensor:
    """rank^−exponent, moved and stretched to run from `highest` to `lowest`; [n]."""
    power = torch.arange(1, n + 1, dtype=torch.float32) ** -exponent
    return lowest + (highest - lowest) * (power - power[-1]) / (power[0] - power[-1])


def compensated(probability: Tensor, generations: tuple[Generation, ...]) -> Tensor:
    """With what probability each feature must want to fire to end up near `probability` in its family.

    p / P · (1 + Σ siblings' p / P) under a parent of probability P, as the benchmark has it: exact for two that seldom
    meet. A family that asks for more than its parent has is capped, so the realised frequencies are lower there.
    """
    asked = probability.clone()
    for parents, children in generations:
        share = probability[children] / probability[parents, None]
        asked[children] = share * (1 + share.sum(1, keepdim=True) - share)
    return asked.clamp(max=1)


def spread_out(directions: Tensor, *, steps: int = 20) -> Tensor:
    """Unit rows moved down the gradient of Σ_{i≠j} (dᵢ · dⱼ)², which lowers the overlaps of random ones."""
    n, d = directions.shape
    rate = d / (2 * n)  # half of the inverse of what Σ dⱼ dⱼᵀ multiplies a row by where overlaps are least
    for _ in range(steps):
        overlap = directions @ (directions.T @ directions) - directions
        directions = normalize(directions - rate * overlap, dim=1)
    return directions
