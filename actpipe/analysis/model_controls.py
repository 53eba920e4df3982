"""Controls for which the model runs, on the text of the store:

    untrained         the same model at its initialisation. Of a hook's coordinates and of baselines their counterparts
                      there; of a dictionary the one that the same training makes of the untrained model's rows
    random_neurons    random directions of what enters the nonlinearity whose output the hook is

Their rows are read several times, so they are written to stores that last as long as the analysis.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actpipe.errors import Failure, Missing, Misuse
from actpipe.harvest.activations import activations
from actpipe.harvest.fill import fill
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.naming import Named
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.sites import Site, find_sites
from actpipe.progress import Progress
from actpipe.quantities import readable_bytes
from actpipe.store import Store, create_store
from actpipe.training.config import TrainConfig
from actpipe.training.stage import train

from .inputs import Inputs

UNTRAINED, RANDOM_NEURONS = "untrained", "random_neurons"
_BEHIND = re.compile(r"(.*\bmlp\.)hook_post")


@dataclass(frozen=True, kw_only=True)
class Untrained:
    store: Store
    model: LanguageModel
    dictionaries: dict[str, Path]  # by the name of the member whose counterpart it is


@dataclass(frozen=True, kw_only=True)
class Before:
    """What enters the nonlinearity whose output a hook is."""

    store: Store
    hook: str


@dataclass(frozen=True, kw_only=True)
class ModelControls:
    untrained: Untrained | None = None
    before: dict[str, Before] = field(default_factory=dict)  # by hook
    notes: tuple[str, ...] = ()


def no_model_controls(inputs: Inputs) -> ModelControls:
    """With a note where a reader would miss them."""
    behind = [each.hook for each in inputs.members if each.kind == "native" and _BEHIND.fullmatch(each.hook)]
    return ModelControls(
        notes=tuple(
            f"Behind a nonlinearity, as at {hook}, coordinates stand above random directions before any training; "
            "--model-controls adds the controls that do not."
            for hook in behind
        )
    )


def model_controls(inputs: Inputs, folder: Path, progress: Progress) -> ModelControls:
    """`folder`: for their stores and dictionaries; what a killed analysis left there is gone on with."""
    model = recorded_model(inputs.store, None, progress=progress)
    before, notes = {}, []
    for number, hook in enumerate(inputs.hooks):
        if not (behind := _BEHIND.fullmatch(hook)):
            continue
        name = f"{behind[1]}hook_pre"
        try:
            sites = find_sites((name,), model.config, model.tokenizer)
        except (Missing, Misuse):
            notes.append(f"{hook} has no control {RANDOM_NEURONS}: this model has no {name}.")
            continue
        before[hook] = Before(
            store=_computed(folder / f"before-{number:03d}.zarr", inputs.store, model, sites, progress), hook=name
        )
    return ModelControls(untrained=_untrained(inputs, folder, progress), before=before, notes=tuple(notes))


def _untrained(inputs: Inputs, folder: Path, progress: Progress) -> Untrained:
    recorded = inputs.store.config["model"]
    named = Named.of(recorded["name"])
    # Of a model that is untrained itself: other first weights.
    other = str(Named(named.trained, 0 if named.seed is None else named.seed + 1))
    model = load_model(other, dtype=recorded["dtype"], progress=progress)
    asked = {} if inputs.run is None else inputs.run.description()["config"]
    hooks = list(dict.fromkeys([*inputs.hooks, *asked.get("hooks", []), *asked.get("target_hooks", [])]))
    sites = [Site.recorded(hook, inputs.store.config["sites"][hook], inputs.store.hooks[hook]) for hook in hooks]
    store = _computed(folder / "untrained.zarr", inputs.store, model, sites, progress)
    return Untrained(store=store, model=model, dictionaries=_retrained(inputs, store, folder / "untrained", progress))


def _computed(place: Path, text: Store, model: LanguageModel, sites: Sequence[Site], progress: Progress) -> Store:
    """A store of the same text with the rows of `model` at `sites`."""
    dtype = "bfloat16" if text.dtype == "int8" else text.dtype  # int8 would need scales of its own
    recorded = {
        "name": model.name,
        "fingerprint": model.fingerprint(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
    }
    if not (place / "zarr.json").exists():
        _require_room(place, text.rows * sum(site.width for site in sites) * (4 if dtype == "float32" else 2))
        create_store(
            place,
            tokens=text.tokens,
            doc=text.doc,
            mask=text.mask,
            hooks={site.hook: site.width for site in sites},
            dtype=dtype,
            config={**text.config, "model": recorded, "sites": {site.hook: site.record() for site in sites}},
        )
    store = Store.open(place)
    left = store.recover()
    if left:
        rows = sum(store.layout.rows_of_slab(slab) for slab in left)
        title = f"Running {model.name}"
        with (
            progress.bar(title, store.rows, "tokens", done=store.rows - rows) as bar,
            activations(model, sites, text.config["batch_size"], progress) as computed,
        ):
            fill(store, computed, left, bar.advance)
    return store


def _require_room(place: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(place.parent).free
    if n_bytes > free:
        raise Failure(
            f"--model-controls writes {readable_bytes(n_bytes)} for the time of the analysis, and {place.parent} has "
            f"{readable_bytes(free)} free. Leave it out, or give --out a place with more room."
        )


def _retrained(inputs: Inputs, store: Store, out: Path, progress: Progress) -> dict[str, Path]:
    """Of each dictionary of the run the one that the same training makes of `store`."""
    if inputs.run is None:
        return {}
    asked = inputs.run.description()["config"]
    train(_same_training(asked, store, out), progress)
    theirs, ours = inputs.run.results(), type(inputs.run)(out).results()  # in the same order: that of the grid
    return {Path(a["path"]).name: out / b["path"] for a, b in zip(theirs, ours, strict=True)}


def _same_training(asked: dict[str, Any], store: Store, out: Path) -> TrainConfig:
    """From what run.json records."""
    same: tuple[str, ...] = ("architecture", "l1_units", "seeds", "lr_warmup", "lr_decay", "sparsity_warmup", "center")
    same += ("resample_every", "precision", "coder", "batch_size", "seed")
    fields: dict[str, Any] = {name: asked[name] for name in same}
    fields |= {name: tuple(asked[name]) for name in ("sweep", "set", "expansion", "lr")}
    fields |= {name: None if asked[name] is None else _grid(asked[name]) for name in ("l1", "k", "l0")}
    return TrainConfig(
        store=store.path,
        hook=tuple(asked["hooks"]),
        target_hook=tuple(asked["target_hooks"]),
        tokens=asked["rows"],
        evaluate_loss=False,
        out=out,
        **fields,
    )


def _grid(recorded: str | list[float]) -> tuple[float, ...]:
    return () if isinstance(recorded, str) else tuple(recorded)  # "derived" is asked for by an empty grid
