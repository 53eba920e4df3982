"""What a training run is asked to do; one flag of `actpipe train-sae` for each field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from actpipe.errors import Misuse
from actpipe.places import RUN, STORE, Place

HELD_OUT_SHARE = 0.05  # of the documents; never trained on

Values = tuple[float, ...]
DERIVED: Values = ()  # a grid to be derived from the store

Coder = Literal["auto", "dense", "sparse", "triton"]
Precision = Literal["float32", "bfloat16"]
Units = Literal["training", "raw"]
Log = Literal["tensorboard", "wandb"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    store: Place = STORE
    hook: Annotated[tuple[str, ...], "Hook or wildcard of the store; repeat for several. Default: its first."] = ()
    target_hook: Annotated[tuple[str, ...], "For transcoders: the hook to predict; one for each --hook."] = ()
    architecture: Annotated[str, "Kinds of dictionary, such as relu,topk,pca (`actpipe info --architectures`)."] = (
        "relu"
    )
    # Grids of the fields that architectures are mostly swept over. None: not asked for.
    l1: Values | None = None
    k: Values | None = None
    l0: Values | None = None
    sweep: Annotated[
        tuple[str, ...], "Grid of any other field of the architecture; repeat for several.", "FIELD=GRID"
    ] = ()
    set: Annotated[tuple[str, ...], "One value of any field of the architecture.", "FIELD=VALUE"] = ()
    l1_units: Annotated[Units, "raw: l1 weighs codes against the mean squared error in the model's units."] = "training"
    expansion: Annotated[
        Values, "Features as a multiple of the width of a row, such as 2,4,8. Default: 2; baselines 1."
    ] = ()
    seeds: Annotated[int, "Members of each setting, differing in their random start."] = 1
    tokens: Annotated[int | None, "Rows each member is trained on. Default: the store once, at least 300k."] = None
    batch_size: Annotated[int, "Rows a step."] = 1024
    lr: Annotated[Values, "Learning rate of Adam, after warm-up; a list sweeps it."] = (2e-3,)
    lr_warmup: Annotated[
        float | None, "Share of the steps in which the rate rises. Default: 0.05, 1000 steps at most."
    ] = None
    lr_decay: Annotated[float, "Share of the steps, the last ones, in which the rate falls to zero."] = 0.2
    sparsity_warmup: Annotated[float | None, "Share of the steps in which penalties rise. Default: as --lr-warmup."] = (
        None
    )
    center: Annotated[bool, "Subtract the mean of the rows before training."] = True
    resample_every: Annotated[int | None, "Start dead features anew after so many rows. Default: never."] = None
    precision: Annotated[Precision, "Of matrix products; weights are float32."] = "float32"
    coder: Annotated[Coder, "How codes are computed; auto follows their density."] = "auto"
    seed: Annotated[int, "Decides starts and the order of rows."] = 0
    device: Annotated[str | None, "Where to train, such as cpu or cuda:1. Default: a GPU if there is one."] = None
    from_model: Annotated[bool, "Compute rows when they are needed; the store needs its text only."] = False
    evaluate_loss: Annotated[bool, "Measure the cross-entropy with the reconstruction in the model."] = True
    log: Annotated[Log | None, "Write the curves there too."] = None
    out: Annotated[Path, "Where the run goes."] = RUN
    overwrite: Annotated[bool, "Remove the run at --out first."] = False

    def __post_init__(self) -> None:
        for name in ("seeds", "batch_size", "tokens", "resample_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise Misuse(f"--{name.replace('_', '-')} must be at least 1, not {value}.")
        for name in ("expansion", "lr"):
            values = getattr(self, name)
            if any(not (value > 0 and math.isfinite(value)) for value in values):
                raise Misuse(f"--{name} must be positive and finite, not {', '.join(f'{v:g}' for v in values)}.")
            if len({f"{value:.6g}" for value in values}) < len(values):  # to the digits that names show
                raise Misuse(f"--{name} {','.join(f'{v:g}' for v in values)} names the same value twice.")
        for name in ("lr_warmup", "lr_decay", "sparsity_warmup"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise Misuse(f"--{name.replace('_', '-')} is a share of the steps, from 0 to 1, not {value:g}.")
        if not 0 <= self.seed < 2**31:
            raise Misuse(f"--seed must be from 0 to 2147483647, not {self.seed}.")
