"""store → batches → dictionaries: the stage behind `actpipe train-sae`.

Every batch is read once for all groups of a hook. A checkpoint holds the exact state of a group, and the order of rows
is a function of the seed and the step, so a run that was stopped anywhere ends with the bits of one that was not.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import sae
from actpipe.errors import Missing, Misuse
from actpipe.harvest.live import LiveStore
from actpipe.harvest.model import resolve_device
from actpipe.progress import Progress, silent
from actpipe.store import Store
from actpipe.training.config import HELD_OUT_SHARE, TrainConfig
from actpipe.training.cross_entropy import model_of
from actpipe.training.evaluation import evaluated
from actpipe.training.group import Group
from actpipe.training.hook_training import HookTraining
from actpipe.training.l1_grid import derived_grid
from actpipe.training.run_folder import RunFolder

LEAST_ROWS = 300_000  # a small store is read more than once until each member has seen this many rows


@dataclass(frozen=True)
class TrainResult:
    out: str
    members: list[dict[str, Any]]


def train(config: TrainConfig, progress: Progress = silent) -> TrainResult:
    """Train every member of the grid, continuing what the same configuration began, and evaluate all of them."""
    store = LiveStore.over(config.store, config.device, progress) if config.from_model else _whole_store(config)
    hooks = _chosen_hooks(store, config.hook)
    grids = {hook: config.l1 if config.l1 is not None else derived_grid(store.hooks[hook]) for hook in hooks}
    held_out = store.held_out(HELD_OUT_SHARE)
    if int(held_out.sum()) < 2:
        raise Misuse(f"The held-out documents of {store.place} have fewer than two tokens. Harvest more text.")
    train_rows = store.mask & ~held_out
    rows = config.tokens or max(int(train_rows.sum()), LEAST_ROWS)
    settled = _settled(config, hooks, grids, rows)
    resolve_device(config.device)
    if config.evaluate_loss and (config.overwrite or not RunFolder(config.out).is_complete):
        model_of(store, "cpu")  # a model that is gone or has changed is found now, not after hours of training
    run = RunFolder.begin(config.out, store, settled, overwrite=config.overwrite)
    if run.is_complete:
        progress.say(f"{run.path} is complete already.")
        return TrainResult(str(run.path), run.results())
    members: list[dict[str, Any]] = []
    for hook in hooks:
        here = [_group(config, store, hook, grids[hook], expansion) for expansion in config.expansion]
        training = HookTraining(config, store, run, here, rows, train_rows)
        ensembles, seconds = training.fit(progress)
        members += evaluated(config, store, run, here, ensembles, training.scaling, seconds, progress)
    run.write_results(members)
    return TrainResult(str(run.path), members)


def _whole_store(config: TrainConfig) -> Store:
    store = Store.open(config.store)
    if not store.is_complete:
        raise Missing(
            f"The harvest at {store.place} is not finished ({len(store.committed)} of {store.n_slabs} slabs). "
            "Run the same `actpipe harvest` again to finish it, or compute rows as they are needed with --from-model."
        )
    return store


def _chosen_hooks(store: Store, patterns: tuple[str, ...]) -> list[str]:
    if not patterns:
        return list(store.hooks)[:1]
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matched = [hook for hook in store.hooks if fnmatchcase(hook, pattern)]
        if not matched:
            raise Missing(f"The store {store.place} has no hook {pattern!r}; it has {', '.join(store.hooks)}.")
        chosen |= dict.fromkeys(matched)
    return list(chosen)


def _settled(config: TrainConfig, hooks: list[str], grids: dict[str, tuple[float, ...]], rows: int) -> dict[str, Any]:
    """Everything that decides the result, for run.json."""
    if config.architecture not in sae.architecture_names():
        raise Misuse(
            f"There is no architecture {config.architecture!r}; there is {', '.join(sae.architecture_names())}."
        )
    return {
        "hooks": hooks,
        "architecture": config.architecture,
        "expansions": list(config.expansion),
        "l1": {hook: list(grid) for hook, grid in grids.items()},
        "seeds": config.seeds,
        "lr": config.lr,
        "batch_size": config.batch_size,
        "rows": rows,
        "held_out_share": HELD_OUT_SHARE,
        "from_model": config.from_model,
        "evaluate_loss": config.evaluate_loss,
        "seed": config.seed,
    }


def _group(config: TrainConfig, store: Store, hook: str, l1: tuple[float, ...], expansion: int) -> Group:
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    return Group(hook=hook, d=store.hooks[hook], expansion=expansion, l1=l1, seeds=seeds, lr=config.lr)
