"""A group: the members that share a hook and a width, stacked in one ensemble."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Group:
    hook: str
    d: int
    expansion: int
    l1: tuple[float, ...]
    seeds: tuple[int, ...]
    lr: float

    @property
    def name(self) -> str:
        return f"{self.hook}-x{self.expansion}"

    @property
    def width(self) -> int:
        return self.d * self.expansion

    @property
    def members(self) -> list[dict[str, float]]:
        return [{"l1": l1, "seed": seed, "lr": self.lr} for l1 in self.l1 for seed in self.seeds]

    @property
    def member_names(self) -> list[str]:
        return [f"{self.name}-l1_{m['l1']:.6g}-s{int(m['seed'])}" for m in self.members]
