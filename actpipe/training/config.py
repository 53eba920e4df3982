"""What a training run is asked to do; one flag of `actpipe train-sae` for each field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from actpipe.errors import Misuse
from actpipe.places import RUN, STORE, Place

HELD_OUT_SHARE = 0.05  # of the documents; never trained on


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    store: Place = STORE
    hook: Annotated[tuple[str, ...], "Hook or wildcard of the store; repeat for several. Default: its first."] = ()
    architecture: Annotated[str, "Kind of dictionary (relu)."] = "relu"
    l1: tuple[float, ...] | None = None  # None: derived from the store
    expansion: Annotated[tuple[int, ...], "Features as a multiple of the width of a row; a list such as 2,4."] = (2,)
    seeds: Annotated[int, "Members of each setting, differing in their random start."] = 1
    tokens: Annotated[int | None, "Rows each member is trained on. Default: the store once, at least 300k."] = None
    batch_size: Annotated[int, "Rows a step."] = 1024
    lr: Annotated[float, "Learning rate of Adam, after warm-up."] = 2e-3
    seed: Annotated[int, "Decides starts and the order of rows."] = 0
    device: Annotated[str | None, "Where to train, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    from_model: Annotated[bool, "Compute rows when they are needed; the store needs its text only."] = False
    evaluate_loss: Annotated[bool, "Measure the cross-entropy with the reconstruction in the model."] = True
    out: Annotated[Path, "Where the run goes."] = RUN
    overwrite: Annotated[bool, "Remove the run at --out first."] = False

    def __post_init__(self) -> None:
        for name, value in (("seeds", self.seeds), ("batch-size", self.batch_size), ("tokens", self.tokens)):
            if value is not None and value < 1:
                raise Misuse(f"--{name} must be at least 1, not {value}.")
        if not self.expansion or min(self.expansion) < 1 or len(set(self.expansion)) < len(self.expansion):
            raise Misuse(f"--expansion needs different whole numbers from 1 up, not {self.expansion}.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise Misuse(f"--lr must be positive and finite, not {self.lr}.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed must be from 0 to 2147483647, not {self.seed}.")
