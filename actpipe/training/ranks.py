"""Several processes that torchrun started: which one this is, and which members it trains.

Every process reads the same rows and trains its share of the members; none waits for another before its share is done.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sae.placement import placed

from .group import Group

LONGEST_WAIT = timedelta(days=30)  # for the slowest process


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Ranks:
        """As torchrun says it in the environment; without torchrun one process does all."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def part(self) -> str:
        """Of file names; nothing for one process."""
        return f"{self.rank}of{self.count}" if self.count > 1 else ""

    @property
    def device(self) -> str | None:
        """The GPU of this process, where there are several processes and GPUs."""
        import torch

        if self.count == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"

    def mine(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        """The groups with the members that this process trains; groups without any are left out."""
        if self.count == 1:
            return tuple(groups)
        flat = [(g, m) for g, group in enumerate(groups) for m in range(len(group.members))]
        costs = [float(groups[g].members[m].settings["width"] * groups[g].d) for g, m in flat]
        chosen = {flat[i] for i in placed(costs, self.count)[self.rank]}
        shares = (
            replace(group, members=tuple(member for m, member in enumerate(group.members) if (g, m) in chosen))
            for g, group in enumerate(groups)
        )
        return tuple(group for group in shares if group.members)

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        if self.count == 1:
            return
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=LONGEST_WAIT)
        dist.barrier()
