"""Dictionaries → what they are worth on documents that training never saw: one entry of results.json each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import sae
from actpipe.progress import Bar, Progress
from sae.capacity import capacities
from sae.evaluate import density_histogram
from sae.files import write_tensors

from .config import HELD_OUT_SHARE, TrainConfig
from .cross_entropy import Recovery, block_recoveries, choose_probe, model_of, recoveries
from .fields import effective_fields
from .group import Group, PlannedMember
from .reading import Batch, Reading
from .run_folder import RunFolder, finite

LARGEST_EVALUATION_ROWS = 100_000
EVALUATION_BATCH = 4096
FEATURES_FILE = "features.safetensors"
NO_LOSS = {"delta_ce": None, "loss_recovered": None}


@dataclass(frozen=True)
class Finished:
    """A dictionary that is trained or fitted, and saved."""

    group: Group
    member: PlannedMember
    dictionary: sae.Dictionary
    training: dict[str, Any]  # rows, seconds, …


def evaluated(
    config: TrainConfig, reading: Reading, run: RunFolder, finished: Sequence[Finished], progress: Progress
) -> dict[str, dict[str, Any]]:
    """`reading` selects the held-out rows. Entries by the name of the member."""
    dictionaries = [one.dictionary for one in finished]
    evaluations = _held_out(reading, dictionaries, progress)
    losses = _losses(config, reading, dictionaries, progress)
    entries = {}
    for one, evaluation, loss in zip(finished, evaluations, losses, strict=True):
        capacity = capacities(one.dictionary.directions)
        _save_features(run, one, evaluation, capacity)
        entries[one.member.name] = {
            **_identity(run, one),
            **_numbers(evaluation),
            "capacity": float(capacity.mean()),
            **{key: value if isinstance(value, list) else finite(value) for key, value in loss.items()},
            **one.training,
        }
    return entries


def _identity(run: RunFolder, one: Finished) -> dict[str, Any]:
    group, member = one.group, one.member
    hyper = {
        field: value for field, value in group.hyper(member).items() if field in effective_fields(group.architecture)
    }
    return {
        "path": str(run.member(member.name).relative_to(run.path)),
        "hook": group.reads.hooks[0] if len(group.reads.hooks) == 1 else group.reads.name,
        "hooks": list(group.reads.hooks),
        "target_hook": group.reads.target,
        "architecture": group.architecture.name,
        "width": one.dictionary.n,
        "d": group.d,
        "out": group.out,
        "expansion": member.expansion,
        "l1": hyper.get("l1"),
        "k": hyper.get("k") or None,  # 0: a baseline that keeps all
        "target_l0": hyper.get("target_l0"),
        "hyper": hyper,
        "fixed": group.architecture.fixed(),
        "seed": member.settings["seed"],
        "lr": member.settings.get("lr"),
    }


def _numbers(found: sae.Evaluation) -> dict[str, Any]:
    histogram = density_histogram(found.density)
    return {
        "l0": found.l0,
        "fvu": finite(found.fvu),
        "fvu_blocks": [finite(value) for value in found.fvu_blocks],
        "dead": found.dead,
        "dense": found.dense,
        "cosine": finite(found.cosine),
        "norm_ratio": finite(found.norm_ratio),
        "best_scale": finite(found.best_scale),
        "relative_bias": finite(found.relative_bias),
        "code_l1": finite(found.l1),
        "density_histogram": {"edges": histogram.edges.tolist(), "counts": histogram.counts.tolist()},
        "held_out_rows": found.rows,
    }


def _save_features(run: RunFolder, one: Finished, found: sae.Evaluation, capacity: torch.Tensor) -> None:
    """What is known of every feature [n], float32."""
    features = {"density": found.density, "capacity": capacity}
    if found.moments is not None:
        kept = ("mean", "variance", "skew", "kurtosis")
        features |= {name: getattr(found.moments, name) for name in kept}
    narrow = {name: values.float().cpu() for name, values in features.items()}
    write_tensors(run.member(one.member.name) / FEATURES_FILE, narrow)


def _held_out(reading: Reading, dictionaries: list[sae.Dictionary], progress: Progress) -> list[sae.Evaluation]:
    total = min(reading.n_rows, LARGEST_EVALUATION_ROWS)

    def rows(bar: Bar) -> Iterator[Batch]:
        seen = 0
        for batch, numbers in reading.batches(batch_size=EVALUATION_BATCH, seed=0, epochs=1):
            count = min(len(numbers), total - seen)
            if count <= 0:
                return
            yield batch[:count] if isinstance(batch, torch.Tensor) else (batch[0][:count], batch[1][:count])
            seen += count
            bar.advance(count)

    with progress.bar("Evaluating on held-out text", total, "rows") as bar:
        return sae.evaluate(dictionaries, rows(bar), moments=True)


def _losses(
    config: TrainConfig, reading: Reading, dictionaries: list[sae.Dictionary], progress: Progress
) -> list[dict[str, Any]]:
    nothing = [dict(NO_LOSS) for _ in dictionaries]
    if not config.evaluate_loss:
        return nothing
    reads, store = reading.reads, reading.store
    model = model_of(store, config.device)
    if not model.predicts_tokens:
        progress.say(f"The model {model.name} predicts no next token, so the loss of splicing is left out.")
        return nothing
    probe = choose_probe(store, HELD_OUT_SHARE)
    readings = len(reads.hooks) * (3 + len(dictionaries))
    with progress.bar("Splicing into the model", readings, "readings") as bar:
        if len(reads.hooks) == 1:
            return [
                asdict(one)
                for one in recoveries(model, store, reads.hooks[0], dictionaries, probe, bar, target=reads.target)
            ]
        return [_over_hooks(one) for one in block_recoveries(model, store, reads.hooks, dictionaries, probe, bar)]


def _over_hooks(found: dict[str, Recovery]) -> dict[str, Any]:
    """Means over the hooks of a crosscoder, and the numbers of each, in order."""
    each = [asdict(one) for one in found.values()]
    means = {key: sum(one[key] for one in each) / len(each) for key in each[0]}
    return {**means, "ce_tokens": each[0]["ce_tokens"], "delta_ce_blocks": [one["delta_ce"] for one in each]}
