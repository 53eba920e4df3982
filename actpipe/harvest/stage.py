"""tokens → activations → store: the stage behind `actpipe harvest`.

The plan comes first: the text is tokenised and written, and from then on which row lies in which slab is settled. Each
slab is computed, written and committed on its own, so a harvest that was stopped anywhere continues with the first slab
that has no commit, and the bytes are those of a run that was never stopped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from actpipe.corpora import Corpus, open_corpus
from actpipe.corpora.packing import Packed, PackingPolicy, pack, policy_for
from actpipe.errors import Damaged, Misuse
from actpipe.harvest.capture import capture
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.model import LanguageModel, load_config, load_model, load_tokenizer
from actpipe.harvest.plan import HarvestPlan, make_plan
from actpipe.harvest.provenance import describe
from actpipe.harvest.sites import Site, default_hooks, find_sites
from actpipe.progress import Progress, silent
from actpipe.quantities import readable_count
from actpipe.store import Store, create_store
from actpipe.store.dtypes import TORCH

# A slab is the unit of loss when a harvest is stopped: small runs get at least this many, of at least this size.
SLABS_PER_RUN = 16
SMALLEST_SLAB_BYTES, LARGEST_SLAB_BYTES = 16 << 20, 512 << 20


@dataclass(frozen=True)
class HarvestResult:
    out: str
    rows: int
    hooks: dict[str, int]
    bytes: int
    tokens_per_second: float | None  # None where nothing was left to do
    complete: bool


@dataclass(frozen=True)
class _Parts:
    """What a harvest is made from, loaded and checked."""

    corpus: Corpus
    model: LanguageModel
    sites: tuple[Site, ...]
    policy: PackingPolicy
    asked: dict[str, Any]  # the configuration as a store records it


def harvest(config: HarvestConfig, progress: Progress = silent) -> HarvestResult:
    """Fill the store at `config.out`, continuing one that the same configuration began."""
    parts = _parts(config, progress)
    store = None if config.overwrite else _continued(Path(config.out), parts.asked)
    store = store or _begun(config, parts, progress)
    speed = _fill(store, parts.model, parts.sites, config, progress)
    return HarvestResult(
        out=str(store.path),
        rows=store.rows,
        hooks=dict(store.hooks),
        bytes=store.bytes,
        tokens_per_second=speed,
        complete=store.is_complete,
    )


def plan(config: HarvestConfig, progress: Progress = silent) -> HarvestPlan:
    """What `harvest` would do and cost; writes nothing."""
    parts = _parts(config, progress)
    return make_plan(config, parts.model, parts.sites, _packed(config, parts, progress))


def _parts(config: HarvestConfig, progress: Progress) -> _Parts:
    corpus = open_corpus(config.dataset, text_field=config.text_field, split=config.split, revision=config.revision)
    sites = _sites(config, progress)  # before any weight is loaded
    model = load_model(config.model, dtype=config.model_dtype, device=config.device, progress=progress)
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and config.context > longest:
        raise Misuse(f"The model {config.model} reads {longest} tokens at most; give a --context up to that.")
    policy = policy_for(model.tokenizer, config.context)
    return _Parts(corpus, model, sites, policy, describe(config, model, corpus, policy, sites))


def _sites(config: HarvestConfig, progress: Progress) -> tuple[Site, ...]:
    described = load_config(config.model, progress)
    return find_sites(config.hook or default_hooks(described), described, load_tokenizer(config.model))


def _opened(path: Path) -> Store:
    if not (path / "zarr.json").exists():
        raise Misuse(f"{path} exists and is not a store, so it is left alone. Give --out another place.")
    return Store.open(path)


def _remove(path: Path) -> None:
    if path.exists():
        try:
            _opened(path)  # refuses what is not a store, so that --overwrite cannot remove anything else
        except Damaged:
            if not ((path / "acts").is_dir() and (path / "commit").is_dir()):
                raise
        shutil.rmtree(path)


def _continued(path: Path, asked: dict[str, Any]) -> Store | None:
    """The store that this configuration began, if there is one."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    if not path.exists():
        return None
    store = _opened(path)
    store.require_config(asked)
    return store


def _begun(config: HarvestConfig, parts: _Parts, progress: Progress) -> Store:
    """A new store with its text in place and no activations yet."""
    packed = _packed(config, parts, progress)
    made = make_plan(config, parts.model, parts.sites, packed)
    for line in made.lines():
        progress.say(line)
    made.require_room(config.max_disk)
    if config.overwrite:  # only now: nothing that can be refused is left
        _remove(Path(config.out))
    return create_store(
        config.out,
        tokens=packed.tokens,
        doc=packed.doc,
        mask=packed.mask,
        hooks={site.hook: site.width for site in parts.sites},
        dtype=config.dtype,
        config=parts.asked,
        max_slab_bytes=min(max(made.bytes // SLABS_PER_RUN, SMALLEST_SLAB_BYTES), LARGEST_SLAB_BYTES),
    )


def _packed(config: HarvestConfig, parts: _Parts, progress: Progress) -> Packed:
    blocks = []
    documents = parts.corpus.documents()
    with progress.bar("Tokenising", config.sequences * config.context, "tokens") as bar:
        for block in pack(documents, parts.model.tokenizer, parts.policy, sequences=config.sequences):
            blocks.append(block)
            bar.advance(block.tokens.size)
    if not blocks:
        raise Misuse(
            f"The dataset {parts.corpus.name} does not fill one sequence of {config.context} tokens. "
            "Give more text or a smaller --context."
        )
    packed = Packed(*(np.concatenate([getattr(block, name) for block in blocks]) for name in ("tokens", "doc", "mask")))
    if len(packed.tokens) < config.sequences:
        progress.say(
            f"The dataset ends after {readable_count(packed.tokens.size)} of {readable_count(config.tokens)} tokens."
        )
    return packed


def _fill(
    store: Store, model: LanguageModel, sites: tuple[Site, ...], config: HarvestConfig, progress: Progress
) -> float | None:
    """Compute and commit every slab that is missing; return tokens per second."""
    left = store.recover()
    if not left:
        progress.say(f"{store.place} is complete already.")
        return None
    finished = sum(_sequences(store, slab) for slab in store.committed) * store.context
    start, rows = time.perf_counter(), 0
    with (
        progress.bar("Harvesting", store.rows, "tokens", done=finished) as bar,
        capture(model, sites) as run,
    ):
        for slab in left:
            store.write_slab(slab, _slab(store, slab, run, model.device, config, bar.advance))
            rows += _sequences(store, slab) * store.context
    return rows / (time.perf_counter() - start)


def _sequences(store: Store, slab: int) -> int:
    first, stop = store.slab_range(slab)
    return stop - first


def _slab(
    store: Store,
    slab: int,
    run: Callable[[Tensor], dict[str, Tensor]],
    device: torch.device,
    config: HarvestConfig,
    advance: Callable[[float], None],
) -> dict[str, Tensor]:
    """All hooks of one slab, {hook: [rows, width]}, in the store's dtype."""
    first, stop = store.slab_range(slab)
    rows = (stop - first) * store.context
    dtype = TORCH[config.dtype]
    buffers = {hook: torch.empty(rows, width, dtype=dtype) for hook, width in store.hooks.items()}
    # Batches start at the slab's first sequence, so a slab's bytes do not depend on who computes it or after what.
    for begin in range(first, stop, config.batch_size):
        end = min(begin + config.batch_size, stop)
        ids = torch.as_tensor(store.tokens[begin:end], dtype=torch.long, device=device)
        at = slice((begin - first) * store.context, (end - first) * store.context)
        for hook, value in run(ids).items():
            buffers[hook][at] = rearrange(value, "batch position width -> (batch position) width").to(dtype)
        advance(ids.numel())
    return buffers
