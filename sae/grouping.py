"""Which members are stepped together, and by which coder: what is fastest for their shapes and measured density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch

from .coder import Coder, Dense
from .member import Member
from .sparse import Sparse, choose

CoderName = Literal["auto", "dense", "sparse", "triton"]
Precision = Literal["float32", "bfloat16"]

# Above this many codes a member (B · n) a CPU is faster one member at a time, because a member's codes stay in its
# caches and matrix products need no batching; below it, one vmap saves the overhead of M calls. Measured on two cores.
CODES_AT_ONCE_ON_CPU = 2**19
# Codes of all members of one vmap on any other device: some ten arrays of 2 GiB in float32. By arithmetic.
CODES_AT_ONCE = 2**29


class Group(NamedTuple):
    members: range  # neighbours of one width
    coder: Coder


def grouped(
    members: Sequence[Member],
    density: Sequence[float],
    *,
    n_rows: int,
    d: int,
    device: torch.device,
    coder: CoderName,
    precision: Precision,
) -> list[Group]:
    """All members, in order. `density` is the share of codes that were active when each was last measured."""
    groups: list[Group] = []
    for i, (member, share) in enumerate(zip(members, density, strict=True)):
        its_coder = coder_for(coder, n_rows, d, member.width, density=share, device=device, precision=precision)
        before = groups[-1] if groups else None
        if (
            before is not None
            and before.coder == its_coder
            and members[i - 1].width == member.width
            and len(before.members) < most_at_once(its_coder, n_rows * member.width, device)
        ):
            groups[-1] = Group(range(before.members[0], i + 1), its_coder)
        else:
            groups.append(Group(range(i, i + 1), its_coder))
    return groups


def most_at_once(coder: Coder, n_codes: int, device: torch.device) -> int:
    """How many members with `n_codes` codes (B · n) are stepped by one vmap."""
    together = max(1, CODES_AT_ONCE // n_codes)
    if device.type != "cpu":
        return together
    return together if isinstance(coder, Dense) and n_codes <= CODES_AT_ONCE_ON_CPU else 1


def coder_for(
    name: CoderName, n_rows: int, d: int, n: int, *, density: float, device: torch.device, precision: Precision
) -> Coder:
    products = torch.bfloat16 if precision == "bfloat16" else None
    if name == "dense":
        return Dense(products)
    if name == "sparse":
        return Sparse(products)
    if name == "triton":
        from .sparse.triton_coder import Triton

        return Triton(products)
    return choose(n_rows, d, n, density=density, device=device, precision=products)


def check_choices(coder: str, precision: str, dtype: torch.dtype = torch.float32) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"parameters are float32 or float64, not {dtype}; precision='bfloat16' is for the products")
    for what, value, known in (
        ("coder", coder, get_args(CoderName)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in known:
            raise ValueError(f"{what} {value!r} is unknown; there is {', '.join(map(repr, known))}")


def measured(density: Sequence[float], l0: Sequence[float], members: Sequence[Member]) -> list[float]:
    """The share of active codes of each member; what is not a number is not news."""
    return [
        before if math.isnan(now) else now / member.width
        for before, now, member in zip(density, l0, members, strict=True)
    ]
