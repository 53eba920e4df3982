"""What is checked and fixed before a run begins: every refusal that needs no training, and what decides the result."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import sae
from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import resolve_device
from actpipe.places import Place
from actpipe.quantities import readable_bytes
from actpipe.store import Store
from sae.resampling import check_resampling

from .config import HELD_OUT_SHARE, TrainConfig
from .group import Group, PlannedMember

LONGEST_WARMUP = 1000  # steps, where no share was asked for
LEAST_ROWS = 300_000  # a small store is read more than once until each member has seen this many rows


def whole_store(place: Place) -> Store:
    store = Store.open(place)
    if not store.is_complete:
        raise Missing(
            f"The harvest at {store.place} is not finished ({len(store.committed)} of {store.n_slabs} slabs). "
            "Run the same `actpipe harvest` again to finish it, or compute rows as they are needed with --from-model."
        )
    return store


def rows_to_train(config: TrainConfig, store: Store, select: NDArray[np.bool_], held_out: NDArray[np.bool_]) -> int:
    """How many each member sees."""
    available = int(select.sum())
    if int(held_out.sum()) < 2:
        raise Misuse(f"The held-out documents of {store.place} have fewer than two tokens. Harvest more text.")
    if available < config.batch_size:
        raise Misuse(
            f"A batch of {config.batch_size} rows is more than {store.place} has to train on ({available}). "
            "Harvest more text, or give a smaller --batch-size."
        )
    return config.tokens or max(available, LEAST_ROWS)


def check_training(config: TrainConfig, groups: Sequence[Group], rows: int) -> None:
    """Raise Misuse for what an ensemble would refuse, before anything is overwritten."""
    device = resolve_device(config.device)
    if config.coder == "triton" and device.type != "cuda":
        raise Misuse(f"--coder triton needs a GPU, and training would be on {device}; give --coder auto.")
    resampling = resampling_for(config, steps_for(config, rows))
    for group in groups:
        if not isinstance(group.architecture, sae.Trained):
            continue
        try:
            members = [
                sae.Member.of(group.architecture, m.settings, width=int(m.settings["width"])) for m in group.members
            ]
            if resampling is not None:
                check_resampling(group.architecture, sae.Size(group.d, members[0].width, group.out))
        except ValueError as error:
            raise Misuse(f"{group.name} cannot be trained: {error}.") from None


def check_memory(groups: Sequence[Group], device: torch.device) -> None:
    """Raise Misuse where parameters and Adam's two moments alone are more than the device has.

    The groups are those of this process; those that read the same rows are trained together.
    """
    have = _memory_of(device)
    for reads, together in groupby(groups, key=lambda group: group.reads):
        need = sum(_bytes(group) for group in together)
        if have is not None and need > have:
            raise Misuse(
                f"The dictionaries of {reads.name} need {readable_bytes(need)} or more to be trained, and {device} has "
                f"{readable_bytes(have)}. Ask for a smaller --expansion or for fewer members."
            )


def _bytes(group: Group) -> int:
    """At least, in float32; members of a trained group are as wide as the widest."""
    if isinstance(group.architecture, sae.Trained):
        widest = max(group.members, key=lambda member: member.settings["width"])
        return 3 * 4 * len(group.members) * _numbers(group, widest)
    return max(4 * _numbers(group, member) for member in group.members)


def _numbers(group: Group, member: PlannedMember) -> int:
    return sum(math.prod(shape) for shape in group.architecture.shapes(group.size(member)).values())


def _memory_of(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def steps_for(config: TrainConfig, rows: int) -> int:
    return math.ceil(rows / config.batch_size)


def schedule_for(config: TrainConfig, steps: int) -> sae.Schedule:
    def share(asked: float | None, otherwise: int) -> int:
        return otherwise if asked is None else round(asked * steps)

    lr_warmup = share(config.lr_warmup, min(LONGEST_WARMUP, steps // 20))
    return sae.Schedule(
        steps=steps,
        lr_warmup=lr_warmup,
        lr_decay=int(config.lr_decay * steps),
        sparsity_warmup=share(config.sparsity_warmup, lr_warmup),
    )


def resampling_for(config: TrainConfig, steps: int) -> sae.Resampling | None:
    if config.resample_every is None:
        return None
    every = max(1, config.resample_every // config.batch_size)
    last = steps - schedule_for(config, steps).lr_decay  # revived features need the full rate to learn
    if every > last:
        raise Misuse(
            f"--resample-every {config.resample_every} rows never comes: resampling ends when the learning rate begins "
            f"to fall, after {last * config.batch_size} rows."
        )
    return sae.Resampling(every=every, until=last)


def settled(config: TrainConfig, groups: Sequence[Group], rows: int) -> dict[str, Any]:
    """Everything that decides the result, for run.json."""
    decided = {
        "hooks": list(dict.fromkeys(hook for group in groups for hook in group.reads.hooks)),
        "target_hooks": list(dict.fromkeys(group.reads.target for group in groups if group.reads.target)),
        "architecture": config.architecture,
        "l1": _grid(config.l1),
        "l1_units": config.l1_units,
        "k": _grid(config.k),
        "l0": _grid(config.l0),
        "sweep": list(config.sweep),
        "set": list(config.set),
        "expansion": list(config.expansion),
        "seeds": config.seeds,
        "lr": list(config.lr),
        "lr_warmup": config.lr_warmup,
        "lr_decay": config.lr_decay,
        "sparsity_warmup": config.sparsity_warmup,
        "center": config.center,
        "resample_every": config.resample_every,
        "precision": config.precision,
        "coder": config.coder,
        "batch_size": config.batch_size,
        "rows": rows,
        "held_out_share": HELD_OUT_SHARE,
        "from_model": config.from_model,
        "evaluate_loss": config.evaluate_loss,
        "seed": config.seed,
        "groups": {group.name: group.described() for group in groups},
    }
    plain: dict[str, Any] = json.loads(json.dumps(decided))  # as it will be read again: lists for tuples
    return plain


def _grid(values: tuple[float, ...] | None) -> Any:
    """As asked for; "derived" where the values follow from the store."""
    return None if values is None else list(values) or "derived"
