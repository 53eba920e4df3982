"""What is trained together: a group is the members that share their rows, an architecture and its fixed fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sae


@dataclass(frozen=True)
class Reads:
    """Where the rows of a dictionary come from."""

    hooks: tuple[str, ...]  # one, or several whose rows lie side by side (crosscoders)
    target: str | None = None  # the hook that is predicted (transcoders)

    @property
    def name(self) -> str:
        more = f"+{len(self.hooks) - 1}" if len(self.hooks) > 1 else ""
        return self.hooks[0] + more + (f"-to-{self.target}" if self.target else "")

    @property
    def all_hooks(self) -> tuple[str, ...]:
        return (*self.hooks, *([self.target] if self.target else []))

    def sizes(self, widths: Mapping[str, int]) -> tuple[int, int]:
        """Width of the rows that are read, and of those that are answered."""
        d = sum(widths[hook] for hook in self.hooks)
        return d, d if self.target is None else widths[self.target]


@dataclass(frozen=True)
class PlannedMember:
    name: str
    expansion: float
    settings: Mapping[str, float]  # "seed", "lr", "clip", "width" and swept fields


@dataclass(frozen=True, kw_only=True)
class Group:
    name: str  # also of its checkpoint
    reads: Reads
    d: int
    out: int
    architecture: sae.Architecture  # with its fixed fields
    members: tuple[PlannedMember, ...]

    @property
    def is_fitted(self) -> bool:
        """A baseline, fitted at once to a sample of rows and not trained step by step."""
        return isinstance(self.architecture, sae.Fitted)

    def size(self, member: PlannedMember) -> sae.Size:
        return sae.Size(self.d, int(member.settings["width"]), self.out)

    def hyper(self, member: PlannedMember) -> dict[str, float]:
        swept = self.architecture.swept
        return self.architecture.hyper({key: value for key, value in member.settings.items() if key in swept})

    def described(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "name": self.name,
            "hooks": list(self.reads.hooks),
            "target": self.reads.target,
            "architecture": self.architecture.name,
            "fixed": self.architecture.fixed(),
            "members": {member.name: dict(member.settings) for member in self.members},
        }
