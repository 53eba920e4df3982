"""What `actpipe compare` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from actpipe.errors import Misuse

ARMS = "arms"  # below `out`: what is made for the comparison


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    arms: tuple[str, ...]  # as `asked.py` reads them
    out: Annotated[Path, "Folder of the comparison, and of what it makes for it."]
    dataset: Annotated[str, "Text on which models and dictionaries are read; reports keep theirs."] = "reviews"
    text_field: Annotated[str, "Field that holds the text, in tables, JSON Lines and Hugging Face datasets."] = "text"
    tokens: Annotated[int, "Tokens of that text (250k, 1M)."] = 250_000
    context: Annotated[int, "Tokens a sequence."] = 128
    hook: Annotated[
        tuple[str, ...], "Of models: a name or wildcard; repeat it. Default: their sparse units, else every MLP's."
    ] = ()
    scores: Annotated[str, "Scores of what is analysed here: all, headline, or a list such as rules,concepts."] = (
        "headline"
    )
    twin: Annotated[
        tuple[str, ...],
        "What ARM is without training, given like an arm; of models it is made, of dictionaries looked for.",
        "ARM=SOURCE",
    ] = ()
    twins: Annotated[bool, "Run the untrained twin of every model beside it."] = True
    workers: Annotated[
        int | None, "Make so many models and runs at once, each by a process of Dask. Default: in this one."
    ] = None
    seed: Annotated[int, "Draws the replicates of the bootstrap, the splits of the text, and the twins."] = 0

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise Misuse("A comparison needs two arms or more; name two models, dictionaries or reports.")
        for name in ("tokens", "context"):
            if getattr(self, name) < 1:
                raise Misuse(f"--{name} must be at least 1, not {getattr(self, name)}.")
        if self.workers is not None and self.workers < 1:
            raise Misuse(f"--workers {self.workers} can do nothing; give at least 1, or leave it out.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed {self.seed} is out of range; give a whole number from 0 to 2147483647, not negative.")
