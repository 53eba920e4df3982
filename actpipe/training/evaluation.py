"""Trained ensembles → saved dictionaries and their held-out numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from torch import Tensor

import sae
from actpipe.progress import Bar, Progress
from actpipe.store import Store
from actpipe.training.config import HELD_OUT_SHARE, TrainConfig
from actpipe.training.cross_entropy import choose_probe, model_of, recoveries
from actpipe.training.group import Group
from actpipe.training.run_folder import RunFolder, finite

LARGEST_EVALUATION_ROWS = 100_000


def evaluated(
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
            "fvu": finite(evaluation.fvu),
            "dead": evaluation.dead,
            "cosine": finite(evaluation.cosine),
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
    if not model.predicts_tokens:
        progress.say(f"The model {model.name} predicts no next token, so the loss of splicing is left out.")
        return [{"delta_ce": None, "loss_recovered": None} for _ in dictionaries]
    probe = choose_probe(store, HELD_OUT_SHARE)
    with progress.bar("Splicing into the model", 3 + len(dictionaries), "readings") as bar:
        found = recoveries(model, store, hook, dictionaries, probe, bar)
    return [{key: finite(value) for key, value in asdict(one).items()} for one in found]
