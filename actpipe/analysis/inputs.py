"""What an analysis starts from: a run and its store, a dictionary and a store, or a store; names of model and text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actpipe.errors import Damaged, Mismatch, Missing, Misuse
from actpipe.harvest.live import LiveStore
from actpipe.places import Place
from actpipe.store import Store
from actpipe.training.run_folder import RunFolder
from sae.dictionary import FORMAT

from .config import NEURONS, AnalyzeConfig

# Part of the digest of the inputs: raise it when the same inputs give other tables.
REVISION = 8


Kind = Literal["dictionary", "native", "baseline"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One set of units: a dictionary of the run, the coordinates of a hook, or a baseline that is fitted here."""

    name: str
    path: Path | None  # of a dictionary
    result: dict[str, Any]  # of a dictionary of a run its entry in results.json
    kind: Kind = "dictionary"

    @property
    def hook(self) -> str:
        """Whose rows it reads."""
        return str(self.result["hook"])

    @property
    def is_of_model(self) -> bool:
        """Whether it is the coordinates of the hook, whose directions the model knows."""
        return self.kind == "native" or self.result["architecture"] == NEURONS

    @property
    def writes(self) -> str:
        """The hook its directions belong to: another one for a transcoder."""
        return str(self.result.get("target_hook") or self.hook)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    run: RunFolder | None  # None: the store's own units are analysed, or one dictionary
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
    if is_store(config.run):
        if config.store is not None:
            raise Misuse(f"{config.run} is a store already, so --store {config.store} has no meaning; leave it out.")
        store = Store.open(config.run)
        natives = tuple(_native(hook, list(store.hooks)) for hook in store.hooks)
        return _inputs(None, store, (*natives, *_baselines(config, list(store.hooks))), ())
    if is_dictionary(config.run):
        return _of_dictionary(config)
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
    members, left_out = _members(run, store)
    hooks = list(dict.fromkeys(member.hook for member in members))
    natives = tuple(_native(hook, hooks) for hook in hooks if config.native)
    return _inputs(run, store, (*members, *natives, *_baselines(config, hooks)), left_out)


def is_store(place: Place) -> bool:
    return isinstance(place, Path) and (place / "zarr.json").exists()


def is_dictionary(place: Path) -> bool:
    try:
        described = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("format") == FORMAT


def dictionary_member(folder: Path, result: Mapping[str, Any] | None = None) -> Member:
    """The dictionary in `folder`; `result`: what its run says of it."""
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"The dictionary {folder} cannot be read ({error}); make it anew.") from error
    if not described.get("hook"):
        raise Missing(
            f"The dictionary {folder} does not say which hook it is of, so there are no rows for it. "
            'Write "hook" into its config.json.'
        )
    if len(described.get("hooks") or []) > 1:
        raise Misuse(f"The dictionary {folder} reads several hooks at once, which cannot be analysed yet.")
    said = {name: described.get(name) for name in ("hook", "target_hook", "architecture", "model")}
    hyper, training = described.get("hyper") or {}, described.get("training") or {}
    said |= {"path": folder.name, "width": described["n"], "seed": training.get("seed", 0)}
    said |= {name: hyper.get(name) for name in ("l1", "k")}
    return Member(name=folder.name, path=folder, result={**said, **(result or {})})


def _of_dictionary(config: AnalyzeConfig) -> Inputs:
    """One by itself, such as an imported one, on the store that is named."""
    member = dictionary_member(config.run)
    if config.store is None:
        raise Misuse(f"{config.run} is one dictionary; name the store on whose rows it is scored with --store.")
    if config.model_controls:
        raise Misuse(
            "--model-controls trains dictionaries once more as their run says, and "
            f"{config.run} is one dictionary; leave it out, or give a run."
        )
    store = Store.open(config.store)
    if missing := [hook for hook in (member.hook, member.writes) if hook not in store.hooks]:
        raise Mismatch(f"{config.run} is for hook {missing[0]!r}, and {store.place} has {', '.join(store.hooks)}.")
    natives = (_native(member.hook, [member.hook]),) if config.native else ()
    return _inputs(None, store, (member, *natives, *_baselines(config, [member.hook])), ())


def _inputs(run: RunFolder | None, store: Store, members: tuple[Member, ...], left_out: tuple[str, ...]) -> Inputs:
    slabs = tuple(store.committed)
    if not slabs or not store.mask.any():
        raise Missing(f"The store {store.place} has no rows to analyse yet; run `actpipe harvest` to its end.")
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


def _native(hook: str, hooks: Sequence[str]) -> Member:
    result = {"path": "", "hook": hook, "architecture": "native", "width": 0}
    return Member(name=_of_hook("native", hook, hooks), path=None, result=result, kind="native")


def _baselines(config: AnalyzeConfig, hooks: Sequence[str]) -> tuple[Member, ...]:
    found = []
    for name in config.baseline_names:
        for hook in hooks:
            result = {"path": "", "hook": hook, "architecture": name, "width": 0, "seed": config.seed}
            found.append(Member(name=_of_hook(name, hook, hooks), path=None, result=result, kind="baseline"))
    return tuple(found)


def _of_hook(name: str, hook: str, hooks: Sequence[str]) -> str:
    return name if len(hooks) == 1 else f"{name}-{hook}"


def _name(recorded: Any) -> str | None:
    """Stores record models and datasets as objects with a name; a bare string is its own name."""
    if isinstance(recorded, dict):
        recorded = recorded.get("name")
    return None if recorded is None else str(recorded)


def digest(inputs: Inputs, config: AnalyzeConfig) -> str:
    """Of everything the tables are computed from. Folders and files are read whole; the store answers by its
    fingerprint, and an encoder or texts that come with a package by their name."""
    sha = hashlib.sha256()
    asked = {
        name: getattr(config, name)
        for name in ("scores", "encoder", "baselines", "model_controls", "draws", "effects", "probe", "units", "seed")
    }
    asked["revision"] = REVISION
    store = {"fingerprint": inputs.store.fingerprint, "slabs": list(inputs.slabs)}
    results = [member.result for member in inputs.members]
    run = None if inputs.run is None else inputs.run.description()
    sha.update(json.dumps([asked, store, run, results], sort_keys=True).encode())
    folders = [member.path for member in inputs.members if member.path is not None]
    if config.encoder is not None:
        folders.append(Path(config.encoder))
    files = [file for folder in folders for file in sorted(folder.rglob("*"))]
    if config.probe is not None:
        files.append(Path(config.probe))
    for file in files:
        if file.is_file():
            with open(file, "rb") as opened:
                sha.update(hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()
