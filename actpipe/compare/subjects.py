"""A source that is not a report yet → which model is read at which hooks, and which systems stand there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from actpipe.analysis.inputs import Member, dictionary_member
from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import LanguageModel, load_config
from actpipe.harvest.sites import block_of
from actpipe.sparsity.subjects import MLP_HOOKS, SCORE
from actpipe.store import Store
from actpipe.training.run_folder import RunFolder

from .asked import Source

NATIVE = "native"


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    model: str  # its name
    hooks: tuple[str, ...]  # to harvest; may hold wildcards
    members: tuple[Member, ...]  # dictionaries; none: the model's own units at the hooks
    folder: Path | None = None  # of dictionaries: that of their run, or of the one dictionary


def subject_of(source: Source, hooks: tuple[str, ...]) -> Subject:
    if source.kind == "model":
        return Subject(model=source.place, hooks=hooks or _own_hooks(source.place), members=())
    if source.kind == "store":
        store = Store.open(Path(source.place))
        recorded = store.config.get("model")
        if recorded is None:
            raise Missing(f"The store {source.place} does not say which model its rows are from; name the model.")
        return Subject(model=recorded["name"], hooks=tuple(store.hooks), members=())
    members = _of_run(source) if source.kind == "run" else (_dictionary(Path(source.place)),)
    models = {member.result["model"]["name"] for member in members}
    if len(models) > 1:
        raise Misuse(f"The dictionaries of {source.text} stand on several models; give those of each by themselves.")
    read = dict.fromkeys(hook for member in members for hook in (member.hook, member.writes))
    return Subject(model=models.pop(), hooks=tuple(read), members=members, folder=_of_all(Path(source.place)))


def layer_of(hook: str) -> str:
    """By what places of different kinds are held against each other: the number of the block."""
    block = block_of(hook)
    return hook if block is None else f"layer {block[1]}"


def level_of(configuration: str) -> str:
    """Dictionaries of several hooks and seeds that were asked for alike: their configuration without the hook."""
    try:
        kept = json.loads(configuration)
    except ValueError:
        return NATIVE if configuration.startswith(NATIVE) else configuration
    return json.dumps({name: value for name, value in kept.items() if name != "hook"}, sort_keys=True)


def architecture_of(name: str) -> Mapping[str, Any] | None:
    """Where the model is one of ours."""
    described = getattr(load_config(name), "fields", None)
    return dict(described) if described else None


def parameters_of(model: LanguageModel) -> dict[str, int]:
    """Weights beside the tables of tokens and positions, and those. Of gates that inference drops neither."""
    counted = getattr(getattr(model.module, "network", None), "n_parameters", None)
    if counted is not None:
        counts = counted()
        return {"other": counts["other"], "embedding": counts["embedding"]}
    tables = [model.module.get_input_embeddings(), model.module.get_output_embeddings()]  # type: ignore[operator]
    held = {id(w): w.numel() for table in tables if table is not None for w in table.parameters()}
    whole = {id(w): w.numel() for w in model.module.parameters()}
    return {"other": sum(whole.values()) - sum(held.values()), "embedding": sum(held.values())}


def _own_hooks(name: str) -> tuple[str, ...]:
    """The units that the model is deployed with: of a stream with masks those that pass, else those behind MLPs."""
    built = getattr(load_config(name), "built", None)
    if built is None:
        return (MLP_HOOKS,)
    units = [each for each in built().network().units() if each.kind != SCORE]
    kept = [each.hook for each in units if each.path == "ablated"]
    return tuple(kept or [each.hook for each in units])


def _of_all(folder: Path) -> Path:
    """The folder of the run that a dictionary's folder belongs to, or that folder."""
    place = folder.absolute()
    return place.parent.parent if place.parent.name == "members" else place


def _of_run(source: Source) -> tuple[Member, ...]:
    run = RunFolder.open(Path(source.place))
    results = {Path(result["path"]).name: result for result in run.results() if len(result.get("hooks", [])) < 2}
    chosen = source.chosen or "*"
    fitting = [name for name in results if fnmatchcase(name, chosen)] if "*" in chosen else [chosen]
    if not fitting or not set(fitting) <= set(results):
        raise Misuse(f"The run {source.place} has no dictionary {chosen!r}; it has {', '.join(results)}.")
    return tuple(_dictionary(run.path / results[name]["path"], results[name]) for name in fitting)


def _dictionary(folder: Path, result: Mapping[str, Any] | None = None) -> Member:
    member = dictionary_member(folder, result)
    if not member.result.get("model"):
        raise Missing(
            f"The dictionary {folder} does not say which model it is of, so it cannot be read on a text. "
            'Write "model": {"name": …} into its config.json.'
        )
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    level = {name: described.get(name) for name in ("architecture", "fixed", "hyper", "n")}
    return replace(member, result=member.result | {"level": level_of(json.dumps(level, sort_keys=True))})


def grouped(members: Sequence[Member]) -> dict[tuple[str, str], list[Member]]:
    """(level, dictionary seed) → one dictionary a layer."""
    found: dict[tuple[str, str], list[Member]] = {}
    for member in members:
        found.setdefault((member.result["level"], str(member.result.get("seed") or 0)), []).append(member)
    return found
