"""`actpipe info`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from actpipe.errors import Damaged, Missing
from actpipe.places import STORE, Place
from actpipe.progress import Progress

from .listings import LISTINGS
from .options import StorePlace, shared

if TYPE_CHECKING:
    from actpipe.store import Store

WINDOW = 20  # tokens on each side of a traced row

EXAMPLES = """
\b
Examples:
  actpipe info                                   the store of the last harvest
  actpipe info actpipe-out/sae                   a training run
  actpipe info actpipe-out/store.zarr --row 5000 where a row comes from
  actpipe info smollm2                           the hooks of a model
  actpipe info --codecs
  actpipe info EleutherAI/pythia-70m-deduped --json
"""


@click.command("info", epilog=EXAMPLES)
@click.argument("subject", default=str(STORE))
@click.option("--row", type=int, help="Trace one row of a store to its document, position, token and text.")
@click.option("--models", "listing", flag_value="models", help="List what can be a model.")
@click.option(
    "--architectures", "listing", flag_value="architectures", help="List the kinds of dictionary that train-sae trains."
)
@click.option("--language-models", "listing", flag_value="language_models", help="List what train-lm trains.")
@click.option("--presets", "listing", flag_value="presets", help="List the grids of published studies.")
@click.option("--scores", "listing", flag_value="scores", help="List what analyze computes of every unit.")
@click.option("--codecs", "listing", flag_value="codecs", help="List the ways to compress a store.")
@click.option("--plugins", "listing", flag_value="plugins", help="List what installed packages add to these lists.")
@shared
def command(subject: str, row: int | None, listing: str | None, as_json: bool, quiet: bool) -> None:
    """Describe SUBJECT: a store, a training run, a dictionary, or a model and its hooks."""
    from .progress import progress_for

    if listing is not None:
        described: dict[str, Any] = LISTINGS[listing]()
    elif row is not None:
        described = _row(StorePlace().convert(subject, None, None), row)
    else:
        described = _describe(subject, progress_for(quiet=quiet))
    if as_json:
        click.echo(json.dumps(described))
        return
    for line in _shown(described):
        click.echo(line)


def _shown(described: dict[str, Any]) -> list[str]:
    if "health" in described:
        from .store_lines import store_lines

        return store_lines(described)
    return _model_lines(described) if "default_hooks" in described else _lines(described)


def _describe(subject: str, progress: Progress) -> dict[str, Any]:
    path = Path(subject)
    if "://" in subject:
        return _store(subject)
    if (path / "zarr.json").exists():
        return _store(path)
    if (path / "run.json").exists():
        return _run(path)
    if (path / "dictionary.safetensors").exists():
        return _dictionary(path)
    if path == STORE:
        raise Missing(f"There is no store at {STORE}; run `actpipe harvest` first, or name what to describe.")
    return _model(subject, progress)


def _store(place: Place) -> dict[str, Any]:
    from actpipe.store import Store
    from actpipe.store.advice import advice
    from actpipe.store.health import examine

    store = Store.open(place)
    counted, documents = _counted(store)
    found = {hook: examine(store, hook) for hook in store.hooks}
    return {
        "store": str(place),
        "rows": store.rows,
        "counted_rows": counted,
        "documents": documents,
        "context": store.context,
        "hooks": store.hooks,
        "dtype": store.dtype,
        "bytes": store.bytes,
        "slabs": f"{len(store.committed)} of {store.n_slabs}",
        "complete": store.is_complete,
        "fingerprint": store.fingerprint,
        "config": store.config,
        "health": {hook: _named(asdict(health), _token_names(store.config)) for hook, health in found.items()},
        "advice": {hook: advice(health) for hook, health in found.items()},
    }


def _counted(store: Store) -> tuple[int, int]:
    """Rows that count, and documents that have any."""
    import numpy as np

    rows, documents = 0, np.zeros(0, np.int32)
    for slab in range(store.n_slabs):
        doc, mask = (store.text(name, *store.slab_range(slab)) for name in ("doc", "mask"))
        rows += int(mask.sum())
        documents = np.union1d(documents, doc[mask])
    return rows, len(documents)


def _row(place: Place, row: int) -> dict[str, Any]:
    """Where a row comes from, and the text before and after it in its sequence."""
    from actpipe.store import Store

    store = Store.open(place)
    traced = store.trace(row)
    names = _token_names(store.config)
    if names is None:
        return dict(traced)
    tokens = [names(int(token)) for token in store.text("tokens", traced["sequence"], traced["sequence"] + 1)[0]]
    at = traced["position"]
    before, after = tokens[max(at - WINDOW, 0) : at], tokens[at + 1 : at + 1 + WINDOW]
    return {**traced, "text": tokens[at], "before": "".join(before), "after": "".join(after)}


def _token_names(config: dict[str, Any]) -> Callable[[int], str] | None:
    from actpipe.harvest.token_names import token_names

    model = config.get("model")
    return token_names(model["name"]) if isinstance(model, dict) and "name" in model else None


def _named(health: dict[str, Any], names: Callable[[int], str] | None) -> dict[str, Any]:
    """With the text of the tokens, where the tokenizer is at hand."""
    longest = health["sinks"]["longest"] if health["sinks"] is not None else ()
    if names is not None:
        for each in (*health["largest"], *longest):
            each["place"]["text"] = names(each["place"]["token"])
    return health


def _run(path: Path) -> dict[str, Any]:
    from actpipe.training.run_folder import RunFolder

    run = RunFolder(path)
    described = run.description()
    members = run.results() if run.is_complete else []
    return {
        "run": str(path),
        "complete": run.is_complete,
        "store": described["store"],
        "config": described["config"],
        "members": members,
    }


def _dictionary(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError

    import sae

    try:
        return {"dictionary": str(path), **sae.load(path).config}
    except (ValueError, SafetensorError) as error:
        raise Damaged(f"The dictionary {path} cannot be read ({error}). Train it again with --overwrite.") from None


def _model(name: str, progress: Progress) -> dict[str, Any]:
    from actpipe.harvest.model import kind_of, load_config, load_tokenizer
    from actpipe.harvest.sites import all_sites, default_hooks

    config = load_config(name, progress)  # says so when it converts the embedded model
    sites = all_sites(config, load_tokenizer(name))
    return {
        "model": name,
        "type": config.model_type,
        "kind": kind_of(config),
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "vocabulary": config.vocab_size,
        "default_hooks": list(default_hooks(config)),
        "hooks": {hook: {"width": site.width, **site.record()} for hook, site in sites.items()},
    }


def _model_lines(described: dict[str, Any]) -> list[str]:
    """One line for each kind of hook and tensor; a tensor's other names are in --json."""
    from actpipe.harvest.sites import Site, by_kind, each_once

    sites = each_once(Site.recorded(hook, entry, entry["width"]) for hook, entry in described["hooks"].items())
    lines = _lines({key: value for key, value in described.items() if key != "hooks"})
    for heading, through in (
        ("hooks and their widths", "native"),
        ("hooks that only TransformerLens' bridge has, in a second and slower pass", "bridge"),
    ):
        kinds = by_kind(site for site in sites if site.through == through)
        lines += [heading, *(f"  {hook}  {width}" for hook, width in kinds.items())] if kinds else []
    return lines


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{indent}{key}", *_lines(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            for entry in item:
                lines += [f"{indent}{key}", *_lines(entry, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {item}")
    return lines
