"""Members on several processes: each trains its part on the same batches, and parts join into the whole at the end.

Nothing is exchanged while training: members share rows and nothing else. A part is an ensemble like any other; it is
saved, loaded and continued by itself, and parts of one checkpoint may be cut for any number of processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .adam import StackedAdam
from .architecture import Params, Size
from .ensemble import Ensemble
from .stacks import padded


def placed(costs: Sequence[float], n_ranks: int) -> list[list[int]]:
    """The positions of what each rank takes, in order: the costliest first, each to the rank with least so far.

    A pure function, so every rank computes the same. With fewer members than ranks some take none.
    """
    if n_ranks < 1:
        raise ValueError(f"there must be at least one process, not {n_ranks}")
    taken: list[list[int]] = [[] for _ in range(n_ranks)]
    load = [0.0] * n_ranks
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        rank = load.index(min(load))
        taken[rank].append(i)
        load[rank] += costs[i]
    return [sorted(members) for members in taken]


def part(ensemble: Ensemble, members: Sequence[int]) -> Ensemble:
    """Some members as an ensemble of their own, with their whole state; a copy."""
    if not members:
        raise ValueError("a part of an ensemble needs at least one member")
    size = dataclasses.replace(ensemble.size, n=max(ensemble.members[m].width for m in members))
    return _assembled([(ensemble, m) for m in members], size)


def joined(parts: Sequence[Ensemble], members: Sequence[Sequence[int]]) -> Ensemble:
    """The whole again: `members[i]` are the positions in it of the members of `parts[i]`."""
    at = {position: (one, i) for one, of in zip(parts, members, strict=True) for i, position in enumerate(of)}
    if sorted(at) != list(range(sum(len(one) for one in parts))):
        raise ValueError(
            f"the parts hold members {sorted(at)} of {sum(len(one) for one in parts)}; each must come once"
        )
    first = parts[0]
    for other in parts[1:]:
        differing = [name for name in _SHARED if getattr(other, name) != getattr(first, name)]
        if differing or (other.d, other.out) != (first.d, first.out):
            raise ValueError(f"the parts are not of one training: they differ in {', '.join(differing) or 'd or out'}")
    size = dataclasses.replace(first.size, n=max(one.width for one in parts))
    return _assembled([at[position] for position in sorted(at)], size)


# What every part of one training has in common.
_SHARED = ("architecture", "schedule", "dead_after", "resampling", "coder", "precision", "compiled", "steps", "rows")


def _assembled(found: Sequence[tuple[Ensemble, int]], size: Size) -> Ensemble:
    """An ensemble of members that are each found in some ensemble of one training, at some position."""
    first = found[0][0]
    shapes = first.architecture.shapes(size)

    def stack(tensors: Iterable[Tensor], shape: tuple[int, ...]) -> Tensor:
        # What lies outside the shape is padding: no member is wider than `size`.
        return torch.stack([padded(t[tuple(map(slice, shape))], shape) for t in tensors])

    def stacks(of: list[Params]) -> Params:
        return {name: stack((p[name][i] for p, (_, i) in zip(of, found, strict=True)), shapes[name]) for name in of[0]}

    adam = StackedAdam(
        stacks([one.adam.mean for one, _ in found]),
        stacks([one.adam.square for one, _ in found]),
        torch.stack([one.adam.steps[i] for one, i in found]),
        betas=first.adam.betas,
        eps=first.adam.eps,
    )
    return dataclasses.replace(
        first,
        members=tuple(one.members[i] for one, i in found),
        size=size,
        params=stacks([one.params for one, _ in found]),
        adam=adam,
        idle=stack((one.idle[i] for one, i in found), (size.n,)),
        frozen=torch.stack([one.frozen[i] for one, i in found]),
        density=[one.density[i] for one, i in found],
    )
