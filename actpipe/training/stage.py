"""store → batches → dictionaries: the stage behind `actpipe train-sae`.

Every batch is read once for all groups of a hook. A checkpoint holds the exact state of a group, and the order of rows
is a function of the seed and the step, so a run that was stopped anywhere ends with the bits of one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

import sae
from actpipe.errors import Diverged, Missing, Misuse
from actpipe.harvest.model import default_device
from actpipe.progress import Bar, Progress, silent
from actpipe.store import Store
from actpipe.training.config import TrainConfig
from actpipe.training.cross_entropy import choose_probe, model_of, recoveries
from actpipe.training.group import Group
from actpipe.training.l1_grid import derived_grid
from actpipe.training.run_folder import RunFolder

HELD_OUT_SHARE = 0.05
LEAST_ROWS = 300_000  # a small store is read more than once until each member has seen this many rows
SAMPLE_ROWS = 8192  # for the biases at the start
CHECKPOINT_EVERY_S = 30.0
LOG_EVERY_STEPS = 10
LARGEST_EVALUATION_ROWS = 100_000


@dataclass(frozen=True)
class TrainResult:
    out: str
    members: list[dict[str, Any]]


def train(config: TrainConfig, progress: Progress = silent) -> TrainResult:
    """Train every member of the grid, continuing what the same configuration began, and evaluate all of them."""
    store = _whole_store(config)
    hooks = _chosen_hooks(store, config.hook)
    grids = {hook: config.l1 if config.l1 is not None else derived_grid(store.hooks[hook]) for hook in hooks}
    train_rows = store.mask & ~store.held_out(HELD_OUT_SHARE)
    rows = config.tokens or max(int(train_rows.sum()), LEAST_ROWS)
    settled = _settled(config, hooks, grids, rows)
    run = RunFolder.begin(config.out, store, settled, overwrite=config.overwrite)
    if run.is_complete:
        progress.say(f"{run.path} is complete already.")
        return TrainResult(str(run.path), run.results())
    members: list[dict[str, Any]] = []
    for hook in hooks:
        here = [_group(config, store, hook, grids[hook], expansion) for expansion in config.expansion]
        training = HookTraining(config, store, run, here, rows, train_rows)
        ensembles, seconds = training.fit(progress)
        members += _evaluated(config, store, run, here, ensembles, training.scaling, seconds, progress)
    run.write_results(members)
    return TrainResult(str(run.path), members)


def _whole_store(config: TrainConfig) -> Store:
    store = Store.open(config.store)
    if not store.is_complete:
        raise Missing(
            f"The harvest at {store.path} is not finished ({len(store.committed)} of {store.n_slabs} slabs). "
            "Run the same `actpipe harvest` again to finish it."
        )
    return store


def _chosen_hooks(store: Store, patterns: tuple[str, ...]) -> list[str]:
    if not patterns:
        return list(store.hooks)[:1]
    chosen: dict[str, None] = {}
    for pattern in patterns:
        matched = [hook for hook in store.hooks if fnmatchcase(hook, pattern)]
        if not matched:
            raise Missing(f"The store {store.path} has no hook {pattern!r}; it has {', '.join(store.hooks)}.")
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
        "evaluate_loss": config.evaluate_loss,
        "seed": config.seed,
    }


def _group(config: TrainConfig, store: Store, hook: str, l1: tuple[float, ...], expansion: int) -> Group:
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    return Group(hook=hook, d=store.hooks[hook], expansion=expansion, l1=l1, seeds=seeds, lr=config.lr)


class HookTraining:
    """All groups of one hook, trained on the same batches."""

    def __init__(
        self,
        config: TrainConfig,
        store: Store,
        run: RunFolder,
        groups: list[Group],
        rows: int,
        select: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> None:
        self.config, self.store, self.run, self.groups = config, store, run, groups
        self.hook = groups[0].hook
        self.select = select
        self.steps = math.ceil(rows / config.batch_size)
        self.device = config.device or default_device()
        statistics = store.statistics(self.hook)
        self.scaling = sae.Scaling.from_moments(
            torch.from_numpy(statistics.mean), torch.from_numpy(statistics.variance)
        )
        self.dead_after = min(int(select.sum()), rows)
        self.metrics = run.metrics()

    def fit(self, progress: Progress) -> tuple[list[sae.Ensemble], float]:
        """The trained ensembles and the seconds it took, over all sessions."""
        ensembles, seconds = self._started()
        start = min(ensemble.steps for ensemble in ensembles)
        self._forget_metrics_after(start)
        names = [name for group in self.groups for name in group.member_names]
        known_bad: set[str] = set()
        last_save, began = time.monotonic(), time.perf_counter() - seconds
        with progress.bar(
            f"Training {len(names)} dictionaries",
            self.steps * self.config.batch_size,
            "rows",
            done=start * self.config.batch_size,
        ) as bar:
            try:
                for reports in self._steps(ensembles, start):
                    bar.advance(self.config.batch_size, _note(reports))
                    self._log(ensembles, reports)
                    self._announce_frozen(reports, names, known_bad, progress)
                    if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
                        self._save(ensembles, time.perf_counter() - began)
                        last_save = time.monotonic()
            finally:  # also on Ctrl-C: the next run continues here
                seconds = time.perf_counter() - began
                self._save(ensembles, seconds)
        if len(known_bad) == len(names):
            raise Diverged(f"Every member on {self.hook} met numbers that are not finite. Try a smaller --lr.")
        return ensembles, seconds

    def _started(self) -> tuple[list[sae.Ensemble], float]:
        """Ensembles from their checkpoints, or fresh ones."""
        sample: Tensor | None = None
        ensembles, seconds = [], 0.0
        for group in self.groups:
            checkpoint = self.run.checkpoint(group.name)
            if checkpoint.exists():
                ensemble, extra = sae.load_checkpoint(checkpoint, device=self.device)
                seconds = max(seconds, extra["seconds"])
            else:
                sample = self._sample() if sample is None else sample
                ensemble = sae.Ensemble.create(
                    sae.get_architecture(self.config.architecture)(),
                    group.members,
                    d=group.d,
                    width=group.width,
                    sample=sample,
                    schedule=sae.Schedule.over(self.steps),
                    dead_after=self.dead_after,
                    device=self.device,
                )
            ensembles.append(ensemble)
        return ensembles, seconds

    def _sample(self) -> Tensor:
        """Rows for the biases at the start, in training units; drawn with another seed than training."""
        batch = next(
            self.store.batches(self.hook, batch_size=SAMPLE_ROWS, seed=self.config.seed + 1, select=self.select)
        )
        return self.scaling.apply(batch.x)

    def _steps(self, ensembles: list[sae.Ensemble], start: int) -> Iterator[list[sae.StepReport]]:
        stream = self.store.batches(
            self.hook,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            select=self.select,
            start=start,
        )
        scaling = self.scaling.to(self.device)
        for step, batch in enumerate(islice(stream, self.steps - start), start=start):
            x = scaling.apply(batch.x.to(self.device))
            # A group whose checkpoint is newer than another's waits until the other has caught up.
            yield [ensemble.step(x) for ensemble in ensembles if ensemble.steps == step]

    def _save(self, ensembles: list[sae.Ensemble], seconds: float) -> None:
        # Metrics first: when the run continues, lines beyond the checkpoint are cut off; missing ones would stay so.
        self.run.write_metrics(self.metrics)
        for group, ensemble in zip(self.groups, ensembles, strict=True):
            self.run.checkpoint(group.name).parent.mkdir(parents=True, exist_ok=True)
            sae.save_checkpoint(self.run.checkpoint(group.name), ensemble, extra={"seconds": seconds})

    def _forget_metrics_after(self, step: int) -> None:
        self.metrics = [line for line in self.metrics if line["hook"] != self.hook or line["step"] <= step]

    def _log(self, ensembles: list[sae.Ensemble], reports: list[sae.StepReport]) -> None:
        if len(reports) != len(ensembles):
            return
        for group, report in zip(self.groups, reports, strict=True):
            if report.step % LOG_EVERY_STEPS and report.step != self.steps:
                continue
            members = [
                {"name": name} | {key: _finite(value) for key, value in report.member(i).items()}
                for i, name in enumerate(group.member_names)
            ]
            self.metrics.append(
                {
                    "hook": self.hook,
                    "width": group.width,
                    "step": report.step,
                    "rows": report.rows,
                    "lr_factor": report.lr_factor,
                    "sparsity_factor": report.sparsity_factor,
                    "members": members,
                }
            )

    def _announce_frozen(
        self, reports: list[sae.StepReport], names: list[str], known: set[str], progress: Progress
    ) -> None:
        if len(reports) != len(self.groups):
            return
        frozen = torch.cat([report.frozen for report in reports]).tolist()
        for name, stopped in zip(names, frozen, strict=True):
            if stopped and name not in known:
                known.add(name)
                progress.say(f"{name} met a number that is not finite and is frozen; the others go on.")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _note(reports: list[sae.StepReport]) -> str:
    l0 = torch.cat([report.l0 for report in reports])
    return f"L0 {float(l0.min()):.0f} to {float(l0.max()):.0f}"


def _evaluated(
    config: TrainConfig,
    store: Store,
    run: RunFolder,
    groups: list[Group],
    ensembles: list[sae.Ensemble],
    scaling: sae.Scaling,
    seconds: float,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Save every member as a dictionary and measure it on documents that training never saw."""
    dictionaries, entries = [], []
    for group, ensemble in zip(groups, ensembles, strict=True):
        idle = (ensemble.idle >= ensemble.dead_after).float().mean(dim=1).tolist()
        for i, name in enumerate(group.member_names):
            dictionary = ensemble.dictionary(i, scaling=scaling, config=_provenance(store, group, name)).to("cpu")
            dictionary.save(run.member(name))
            dictionaries.append(dictionary)
            entries.append(_identity(run, group, ensemble, i, name) | {"dead_in_training": idle[i]})
    evaluations = _held_out(store, groups[0].hook, dictionaries, progress)
    losses = _losses(config, store, groups[0].hook, dictionaries, progress)
    speed = {"seconds": seconds}
    for entry, evaluation, loss in zip(entries, evaluations, losses, strict=True):
        entry |= {
            "l0": evaluation.l0,
            "fvu": _finite(evaluation.fvu),
            "dead": evaluation.dead,
            "cosine": _finite(evaluation.cosine),
            "held_out_rows": evaluation.rows,
            **loss,
            **speed,
            "rows_per_second": entry["rows"] / seconds,
        }
    return entries


def _provenance(store: Store, group: Group, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "hook": group.hook,
        "model": store.config.get("model"),
        "store": store.fingerprint,
    }


def _identity(run: RunFolder, group: Group, ensemble: sae.Ensemble, i: int, name: str) -> dict[str, Any]:
    member = ensemble.members[i]
    return {
        "path": str(run.member(name).relative_to(run.path)),
        "hook": group.hook,
        "architecture": ensemble.architecture.name,
        "width": group.width,
        "l1": member.hyper.get("l1"),
        "k": member.hyper.get("k"),
        "seed": member.seed,
        "lr": member.lr,
        "rows": ensemble.rows,
        "dead_after": ensemble.dead_after,
        "diverged": bool(ensemble.frozen[i]),
    }


def _held_out(store: Store, hook: str, dictionaries: list[sae.Dictionary], progress: Progress) -> list[sae.Evaluation]:
    select = store.held_out(HELD_OUT_SHARE)
    total = min(int(select.sum()), LARGEST_EVALUATION_ROWS)

    def rows(bar: Bar) -> Iterator[Tensor]:
        seen = 0
        for batch in store.batches(hook, batch_size=4096, seed=0, select=select, epochs=1):
            if seen >= total:
                return
            x = batch.x[: total - seen]
            seen += len(x)
            yield x
            bar.advance(len(x))

    with progress.bar("Evaluating on held-out text", total, "rows") as bar:
        return sae.evaluate(dictionaries, rows(bar))


def _losses(
    config: TrainConfig, store: Store, hook: str, dictionaries: list[sae.Dictionary], progress: Progress
) -> list[dict[str, Any]]:
    if not config.evaluate_loss:
        return [{"delta_ce": None, "loss_recovered": None} for _ in dictionaries]
    model = model_of(store, config.device)
    probe = choose_probe(store, HELD_OUT_SHARE)
    with progress.bar("Splicing into the model", 3 + len(dictionaries), "readings") as bar:
        found = recoveries(model, store, hook, dictionaries, probe, bar)
    return [{key: _null_if_not_finite(value) for key, value in asdict(one).items()} for one in found]


def _null_if_not_finite(value: float | int) -> float | int | None:
    return value if isinstance(value, int) else _finite(value)
