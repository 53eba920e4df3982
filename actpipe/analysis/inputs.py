"""What an analysis starts from: a complete run, the store it was trained on, the names of the model and the text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actpipe.errors import Mismatch, Missing
from actpipe.harvest.live import LiveStore
from actpipe.places import Place
from actpipe.store import Store
from actpipe.training.run_folder import RunFolder

from .config import AnalyzeConfig

# Part of the digest of the inputs: raise it when the same inputs give other tables.
REVISION = 2


@dataclass(frozen=True, kw_only=True)
class Member:
    name: str
    path: Path
    result: dict[str, Any]  # its entry in results.json

    @property
    def hook(self) -> str:
        """Whose rows it reads."""
        return str(self.result["hook"])

    @property
    def writes(self) -> str:
        """The hook its directions belong to: another one for a transcoder."""
        return str(self.result.get("target_hook") or self.hook)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    run: RunFolder
    store: Store
    slabs: tuple[int, ...]  # committed when the analysis began; later ones are left out
    members: tuple[Member, ...]
    left_out: tuple[str, ...]  # names of members that read several hooks at once
    model: str | None
    dataset: str | None

    @property
    def hooks(self) -> list[str]:
        return list(dict.fromkeys(member.hook for member in self.members))


def open_inputs(config: AnalyzeConfig) -> Inputs:
    run = RunFolder.open(config.run)
    described = run.description()
    store = Store.open(_store_place(config, described["store"]))
    if described["config"].get("from_model") and not store.is_complete:
        store = LiveStore.over(store.place, device=None)
    if store.fingerprint != described["store"]["fingerprint"]:
        raise Mismatch(
            f"The run at {run.path} was trained on the store {described['store']['path']} with fingerprint "
            f"{described['store']['fingerprint'][:12]}, and {store.place} has {store.fingerprint[:12]}. "
            "Name the right one with --store, or train again."
        )
    slabs = tuple(store.committed)
    if not slabs or not store.mask.any():
        raise Missing(f"The store {store.place} has no rows to analyse yet; run `actpipe harvest` to its end.")
    members, left_out = _members(run, store)
    return Inputs(
        run=run,
        store=store,
        slabs=slabs,
        members=members,
        left_out=left_out,
        model=_name(store.config.get("model")),
        dataset=_name(store.config.get("dataset")),
    )


def _store_place(config: AnalyzeConfig, recorded: dict[str, Any]) -> Place:
    """The one asked for, or the recorded one: where it lies relative to the run, else where it lay then."""
    if config.store is not None:
        return config.store
    if "://" in recorded["path"]:
        return str(recorded["path"])
    beside, absolute = (config.run / recorded.get("relative", "")).resolve(), Path(recorded["path"])
    for place in (beside, absolute):
        if (place / "zarr.json").exists():
            return place
    raise Missing(f"The store of the run {config.run} is neither at {beside} nor at {absolute}; name it with --store.")


def _members(run: RunFolder, store: Store) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    """Those that can be analysed, and the names of the others."""
    members, left_out = [], []
    for result in run.results():
        path = run.path / result["path"]
        if len(result.get("hooks", [])) > 1:
            left_out.append(path.name)
            continue
        if result["hook"] not in store.hooks:
            raise Mismatch(f"{path} is for hook {result['hook']!r}, and {store.place} has {', '.join(store.hooks)}.")
        if not path.is_dir():
            raise Missing(f"The dictionary {path} that results.json names is gone; train again with --overwrite.")
        members.append(Member(name=path.name, path=path, result=result))
    if not members and left_out:
        raise Missing(f"The run at {run.path} has only dictionaries of several hooks, which cannot be analysed yet.")
    if not members:
        raise Missing(f"The run at {run.path} has no members to analyse; train again with --overwrite.")
    return tuple(members), tuple(left_out)


def _name(recorded: Any) -> str | None:
    """Stores record models and datasets as objects with a name; a bare string is its own name."""
    if isinstance(recorded, dict):
        recorded = recorded.get("name")
    return None if recorded is None else str(recorded)


def digest(inputs: Inputs, config: AnalyzeConfig) -> str:
    """Of everything the tables are computed from. Dictionaries are read whole; the store answers by its fingerprint."""
    sha = hashlib.sha256()
    asked = {"revision": REVISION, "scores": config.scores, "units": config.units, "seed": config.seed}
    store = {"fingerprint": inputs.store.fingerprint, "slabs": list(inputs.slabs)}
    results = [member.result for member in inputs.members]
    sha.update(json.dumps([asked, store, inputs.run.description(), results], sort_keys=True).encode())
    for member in inputs.members:
        for file in sorted(path for path in member.path.rglob("*") if path.is_file()):
            with open(file, "rb") as opened:
                sha.update(hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()
