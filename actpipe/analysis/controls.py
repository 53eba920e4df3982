"""Controls that have units of their own: each makes, for every member of a hook, the units that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .corpus import Corpus
from .inputs import Member
from .member_pass import CONTROL_UNITS, MemberPass
from .unit_sets import UnitSets
from .units import UnitSet
from .units.random_directions import RandomDirections, sample_rows


class Control(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """Of the pass over its rows."""
        ...

    @property
    def corpus(self) -> Corpus:
        """Whose rows its units read."""
        ...

    @property
    def hook(self) -> str: ...

    def units(self, passes: Sequence[MemberPass], first: int) -> list[UnitSet]:
        """For members `first` … of the hook, of which `passes` say what was found."""
        ...


@dataclass(frozen=True, kw_only=True)
class RandomUnits:
    """Directions drawn anew for each member, so that members are independent draws of the control."""

    name: str
    title: str
    corpus: Corpus
    hook: str
    seed: int
    device: torch.device

    def units(self, passes: Sequence[MemberPass], first: int) -> list[UnitSet]:
        return [self._units(found, number) for number, found in enumerate(passes, first)]

    def _units(self, found: MemberPass, number: int) -> UnitSet:
        density = found.activity.density
        return RandomDirections.matching(
            density[density > 0],
            self._sample,
            self._mean,
            n=CONTROL_UNITS,
            seed=self.seed + 1 + number,
            name=found.units.name,
            hook=self.hook,
        )

    @cached_property
    def _sample(self) -> Tensor:
        return sample_rows(self.corpus.rows, self.hook, self.corpus).to(self.device)

    @cached_property
    def _mean(self) -> Tensor:
        return torch.from_numpy(self.corpus.rows.statistics(self.hook).mean).float().to(self.device)


@dataclass(frozen=True, kw_only=True)
class UntrainedUnits:
    """The members' counterparts in the same model before training: `members` in the order of the hook's."""

    name: str
    title: str
    corpus: Corpus
    hook: str
    sets: UnitSets
    members: Sequence[Member]

    def units(self, passes: Sequence[MemberPass], first: int) -> list[UnitSet]:
        return self._all[first : first + len(passes)]

    @cached_property
    def _all(self) -> list[UnitSet]:
        return self.sets.of(self.members)
