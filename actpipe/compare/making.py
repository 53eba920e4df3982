"""A source that is not a report yet → its folder: the same text harvested, its units analysed, its systems measured.

    NAME/report/              what `actpipe analyze` writes
    NAME/system.json          written last: a folder without it is not finished
    NAME/documents.parquet    the sums of systems.py

Nothing is made twice: system.json holds a digest of all that it was made from. The activations go when it is written.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import sae
from actpipe.analysis import analyze
from actpipe.analysis.config import AnalyzeConfig
from actpipe.analysis.corpus import Corpus
from actpipe.analysis.folder import is_whole
from actpipe.analysis.inputs import REVISION, Inputs, Member
from actpipe.analysis.unit_sets import UnitSets
from actpipe.analysis.units.dictionary import DictionaryUnits
from actpipe.corpora import open_corpus
from actpipe.files import write_json
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import LanguageModel, load_model, resolve_device
from actpipe.harvest.stage import harvest
from actpipe.memory import keep_freed_memory
from actpipe.progress import Progress
from actpipe.store import Store

from .compute import flops_of_dictionary, flops_of_model, training_of
from .config import CompareConfig
from .subjects import NATIVE, Subject, architecture_of, grouped, layer_of, parameters_of
from .systems import ALL, Described, Found, Sums, measured_systems, shared_text

FORMAT, VERSION = "actpipe-compared-system", 2
HEADLINE_SCORES = "rules,mono_semanticity,vendi,concepts"
SYSTEM, DOCUMENTS, REPORT = "system.json", "documents.parquet", "report"
_COLUMNS = pa.schema(
    [
        ("level", pa.string()),
        ("dictionary", pa.string()),
        ("place", pa.string()),
        ("quantity", pa.string()),
        ("document", pa.int32()),
        ("total", pa.float64()),
        ("count", pa.float64()),
    ]
)


def made_all(subjects: Sequence[Subject], config: CompareConfig, folder: Path, progress: Progress) -> list[Path]:
    """One after the other, or by several processes."""
    if config.workers is None or not subjects:
        return [made(subject, config, folder, progress) for subject in subjects]
    from .workers import made_by_workers

    with progress.bar("Making arms", len(subjects), "models and runs") as bar:
        return made_by_workers(subjects, config, folder, config.workers, bar)


def made(subject: Subject, config: CompareConfig, folder: Path, progress: Progress) -> Path:
    """The folder of this subject under `folder`, made unless it is there."""
    keep_freed_memory()
    model = load_model(subject.model, device=None, progress=progress)
    key = _digest(subject, model, config)
    place = folder / f"{slug(subject)}-{key[:8]}"
    if (place / SYSTEM).is_file() and is_whole(place / REPORT):
        progress.say(f"{subject.model} is up to date in {place}.")
        return place
    progress.say(f"{slug(subject)}: reading {config.dataset} and analysing its units.")
    store = _harvested(subject, config, place / "store.zarr", progress)
    corpus = Corpus(store, store.committed, config.seed)
    members = subject.members or tuple(_native(hook, store) for hook in store.hooks)
    systems = _systems(members)
    described = _described(members, store, corpus, model, config, progress)
    layers = [{layer_of(each.hook): described[each.name] for each in system} for system in systems.values()]
    with progress.bar("Measuring losses", len(layers), "systems") as bar:
        found = measured_systems(model, corpus, shared_text(corpus, config.seed), layers, bar)
    _analysed(members, systems, found, store, config, place / REPORT, progress)
    _write(place, key, subject, model, store, systems, found)
    shutil.rmtree(place / "store.zarr")
    return place


def read_sums(folder: Path) -> dict[tuple[str, str], Found]:
    """(level, dictionary seed) → sums."""
    rows: dict[tuple[str, str], dict[tuple[str, str], list[tuple[float, float]]]] = {}
    for row in pq.read_table(folder / DOCUMENTS).to_pylist():  # in the order of documents
        places = rows.setdefault((row["level"], row["dictionary"]), {})
        places.setdefault((row["place"], row["quantity"]), []).append((row["total"], row["count"]))
    return {
        system: {key: Sums(*np.array(values, np.float64).T) for key, values in places.items()}
        for system, places in rows.items()
    }


def _harvested(subject: Subject, config: CompareConfig, place: Path, progress: Progress) -> Store:
    asked = HarvestConfig(
        model=subject.model,
        dataset=config.dataset,
        text_field=config.text_field,
        hook=subject.hooks,
        tokens=config.tokens,
        context=config.context,
        out=place,
    )
    harvest(asked, progress)
    return Store.open(place)


def _native(hook: str, store: Store) -> Member:
    result = {"path": "", "hook": hook, "architecture": NATIVE, "width": store.hooks[hook], "level": NATIVE}
    return Member(name=f"{NATIVE}-{hook}", path=None, result=result, kind="native")


def _systems(members: Sequence[Member]) -> dict[tuple[str, str], list[Member]]:
    return grouped(members) if members[0].kind == "dictionary" else {(NATIVE, "0"): list(members)}


def _described(
    members: Sequence[Member],
    store: Store,
    corpus: Corpus,
    model: LanguageModel,
    config: CompareConfig,
    progress: Progress,
) -> dict[str, Described]:
    device = resolve_device(None)
    found = {}
    for hook in dict.fromkeys(member.hook for member in members):
        here = [member for member in members if member.hook == hook]
        sets = UnitSets(
            store, hook, corpus, units=None, seed=config.seed, device=device, language_model=model, progress=progress
        )
        for member, units in zip(here, sets.of(here), strict=True):
            answer = units.dictionary.reconstruct if isinstance(units, DictionaryUnits) else None
            found[member.name] = Described(units, answer)
    return found


def _analysed(
    members: Sequence[Member],
    systems: Mapping[tuple[str, str], Sequence[Member]],
    found: Sequence[Found],
    store: Store,
    config: CompareConfig,
    out: Path,
    progress: Progress,
) -> None:
    """With what splices cost and leave unexplained on this text, not on that of the training."""
    measured = {}
    for system, sums in zip(systems.values(), found, strict=True):
        for member in system:
            measured[member.name] = _on_this_text(sums, layer_of(member.hook))
    asked = AnalyzeConfig(
        run=out.parent / "store.zarr",
        out=out,
        scores=HEADLINE_SCORES if config.scores == "headline" else config.scores,
        seed=config.seed,
    )
    recorded = store.config
    inputs = Inputs(
        run=None,
        store=store,
        slabs=tuple(store.committed),
        members=tuple(replace(each, result=each.result | measured[each.name]) for each in members),
        left_out=(),
        model=recorded["model"]["name"],
        dataset=recorded["dataset"]["name"],
    )
    analyze(asked, progress, inputs=inputs)


def _on_this_text(sums: Found, layer: str) -> dict[str, float | None]:
    if (layer, "residual") not in sums:
        return {"fvu": None, "delta_ce": None, "loss_recovered": None}
    residual, variance = sums[layer, "residual"].total.sum(), sums[layer, "variance"].total.sum()
    return {"fvu": float(residual / variance), "delta_ce": None, "loss_recovered": None}


def _write(
    place: Path,
    key: str,
    subject: Subject,
    model: LanguageModel,
    store: Store,
    systems: Mapping[tuple[str, str], Sequence[Member]],
    found: Sequence[Found],
) -> None:
    rows = [
        {"level": level, "dictionary": seed, "place": at, "quantity": quantity, "document": document,
         "total": total, "count": count}
        for (level, seed), sums in zip(systems, found, strict=True)
        for (at, quantity), values in sums.items()
        for document, (total, count) in enumerate(zip(*(each.tolist() for each in values), strict=True))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), place / DOCUMENTS, compression="zstd")
    training = training_of(subject.model)
    described: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "key": key,
        "model": {
            "name": subject.model,
            "fingerprint": model.fingerprint(),
            "architecture": architecture_of(subject.model),
            "parameters": parameters_of(model),
            "trained_tokens": None if training is None else training.tokens,
            "training_flops": flops_of_model(model),
        },
        "tokenizer": store.config["tokenizer"],
        "systems": [
            {
                "level": level,
                "dictionary": seed,
                "members": {layer_of(each.hook): each.name for each in members},
                "dictionary_flops": _trained_by(members),
            }
            for (level, seed), members in systems.items()
        ],
        "places": [*dict.fromkeys(layer_of(each.hook) for members in systems.values() for each in members), ALL],
    }
    write_json(place / SYSTEM, described)


def _trained_by(members: Sequence[Member]) -> int | None:
    """FLOPs of all dictionaries of a system; 0 where it has none, None where those of one are not known."""
    found = [flops_of_dictionary(sae.load(member.path)) for member in members if member.path is not None]
    known = [each for each in found if each is not None]
    return sum(known) if len(known) == len(found) else None


def _digest(subject: Subject, model: LanguageModel, config: CompareConfig) -> str:
    """Of everything that is made here. Dictionaries are read whole."""
    corpus = open_corpus(config.dataset, text_field=config.text_field)
    asked = {name: getattr(config, name) for name in ("tokens", "context", "scores", "seed")}
    sha = hashlib.sha256(
        json.dumps(
            [
                VERSION,
                REVISION,
                model.fingerprint(),
                str(model.dtype),
                corpus.fingerprint(),
                list(subject.hooks),
                asked,
            ],
            sort_keys=True,
        ).encode()
    )
    for member in subject.members:
        for file in sorted(member.path.rglob("*")) if member.path is not None else []:
            if file.is_file():
                sha.update(file.read_bytes())
    return sha.hexdigest()


def slug(subject: Subject) -> str:
    """What its folder's name begins with: the model's name, and that of the dictionaries' run."""
    parts = [Path(subject.model).name if Path(subject.model).exists() else subject.model]
    if subject.folder is not None:
        parts.append(subject.folder.name)
    return re.sub(r"[^\w@.=-]+", "-", "-".join(parts)).removeprefix("actpipe-")
