"""What `actpipe compare` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from actpipe.errors import Misuse


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    arms: tuple[str, ...]  # report folders, each with :NAME behind it or not
    out: Annotated[Path, "Folder of the comparison."]
    seed: Annotated[int, "Draws the replicates of the bootstrap."] = 0

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise Misuse("A comparison needs two arms or more; name the folders of two reports.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed {self.seed} is out of range; give a whole number from 0 to 2147483647, not negative.")
