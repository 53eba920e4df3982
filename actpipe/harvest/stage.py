"""tokens → activations → store: the stage behind `actpipe harvest`.

The plan comes first: the text is tokenised and written, and from then on which row lies in which slab is settled. Each
slab is computed, written and committed on its own, so a harvest that was stopped anywhere continues with the first slab
that has no commit, and the bytes are those of a run that was never stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe.corpora import Corpus, open_corpus
from actpipe.corpora.packing import PackingPolicy, pack, policy_for
from actpipe.corpora.spool import Spool
from actpipe.errors import Damaged, Mismatch, Misuse
from actpipe.harvest.activations import activations
from actpipe.harvest.config import HarvestConfig
from actpipe.harvest.fill import fill
from actpipe.harvest.model import (
    LanguageModel,
    kind_of,
    load_config,
    load_model,
    load_tokenizer,
    longest_context,
    opening_token_of,
    resolve_device,
)
from actpipe.harvest.plan import HarvestPlan, existing, make_plan, slab_bytes
from actpipe.harvest.probe import LARGEST_BATCH_TOKENS, Probe, probe
from actpipe.harvest.provenance import describe
from actpipe.harvest.sites import Site, default_hooks, find_sites
from actpipe.harvest.vocabulary import require_embeddings
from actpipe.harvest.workers import Job, fill_with_workers, threads_each
from actpipe.progress import Progress, silent
from actpipe.quantities import readable_count
from actpipe.store import Store, create_store
from actpipe.store.codecs import get_codec
from actpipe.store.encoding import channel_scales
from actpipe.store.layout import SMALLEST_CHUNK_BYTES
from actpipe.store.objects import Objects, objects_at
from actpipe.store.repair import repair
from actpipe.store.verification import damage_beside_slabs

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

DRY_RUN_TOKENS = 4_000_000  # a dry run reads no more text than this


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


def harvest(config: HarvestConfig, progress: Progress = silent, *, text_only: bool = False) -> HarvestResult:
    """Fill the store at `config.out`, continuing one that the same configuration began.

    `text_only` stops before the first activation: the same harvest can fill the store later, and training can do
    without (`actpipe.harvest.live`).
    """
    _require_place(config)
    parts = _parts(config, progress)
    store = None if config.overwrite else _continued(config, parts)
    continues = store is not None
    store = store or _begun(config, parts, progress, text_only=text_only)
    with store.objects.claim():
        store = _mended(store, config, parts, progress)
        left = [] if text_only else store.recover()
        if continues and left:
            _plan_rest(store, left, config, parts, progress)
        speed = None if text_only else _fill(store, left, config, parts, progress)
    return HarvestResult(
        out=str(store.place),
        rows=store.rows,
        hooks=dict(store.hooks),
        bytes=store.bytes,
        tokens_per_second=speed,
        complete=store.is_complete,
    )


def plan(config: HarvestConfig, progress: Progress = silent) -> HarvestPlan:
    """What a new `harvest` would do and cost; writes nothing.

    Of a text longer than `DRY_RUN_TOKENS` only the beginning is read, and the rest is taken to be there.
    """
    parts = _parts(config, progress)
    enough = min(config.sequences, max(DRY_RUN_TOKENS // config.context, 1))
    with Spool(config.context) as spool:
        _spool(spool, enough, config, parts, progress)
        sequences = spool.sequences if spool.sequences < enough else config.sequences
        return make_plan(config, sequences * config.context, _probe(spool, config, parts, progress))


def _require_place(config: HarvestConfig) -> None:
    """Raise Misuse where no store can be, before anything is loaded."""
    objects = objects_at(config.out)
    if objects.exists():
        return
    place = objects.place
    if isinstance(place, Path):
        above = next(folder for folder in place.absolute().parents if folder.exists())
        if not above.is_dir():
            raise Misuse(f"{above} is a file, so there can be no store below it. Give --out another place.")
    _require_free(objects)


def _plan_rest(store: Store, left: list[int], config: HarvestConfig, parts: _Parts, progress: Progress) -> None:
    """Say what the slabs that are left will cost; raises where they have no room."""
    start, stop = store.slab_range(left[0])
    stop = min(stop, start + max(LARGEST_BATCH_TOKENS // config.context, 1))
    text, doc, mask = (store.text(name, start, stop) for name in ("tokens", "doc", "mask"))
    tokens = sum(store.layout.rows_of_slab(slab) for slab in left)
    probed = probe(
        parts.model,
        parts.sites,
        text,
        doc,
        mask,
        store.config["batch_size"],
        progress,
        planned=tokens // config.context,
    )
    made = make_plan(config, tokens, probed, there_bytes=store.bytes)
    for line in made.lines():
        progress.say(line)
    made.require_room(config.max_disk)


def _parts(config: HarvestConfig, progress: Progress) -> _Parts:
    get_codec(config.codec)  # refuses an unknown one, as the next line does
    resolve_device(config.device)
    corpus = open_corpus(
        config.dataset,
        text_field=config.text_field,
        split=config.split,
        revision=config.revision,
        configuration=config.dataset_config,
        streaming=config.streaming,
    )
    # All that can be refused is refused before any weight is loaded.
    described, tokenizer = load_config(config.model, progress), load_tokenizer(config.model)
    longest = longest_context(described)
    if longest is not None and config.context > longest:
        raise Misuse(f"The model {config.model} reads {longest} tokens at most; give a --context up to that.")
    policy = _policy(config, described, tokenizer)
    sites = find_sites(config.hook or default_hooks(described), described, tokenizer)
    model = load_model(config.model, dtype=config.model_dtype, device=config.device, progress=progress)
    return _Parts(corpus, model, sites, policy)


def _policy(config: HarvestConfig, described: PretrainedConfig, tokenizer: PreTrainedTokenizerFast) -> PackingPolicy:
    style = config.packing
    if style == "auto":
        style = "documents" if kind_of(described) == "encoder" else "stream"
    opening = opening_token_of(described)
    policy = policy_for(
        tokenizer,
        config.context,
        style=style,
        first=config.first,
        separator=config.separator,
        sink_positions=config.sink_positions,
        opening=opening,
    )
    if opening is not None and policy.first != opening:
        raise Misuse(
            f"The decoder of {config.model} begins with a token of its own (number {opening}); leave --first auto."
        )
    return policy


def _continued(config: HarvestConfig, parts: _Parts) -> Store | None:
    """The store that this configuration began, if there is one."""
    objects = objects_at(config.out)
    if not objects.exists():
        _require_free(objects)
        return None
    store = Store.open(config.out)
    # Found by trial when the store was begun; on another machine the trial might end differently.
    batch_size = config.batch_size or store.config.get("batch_size")
    store.require_config(_asked(config, parts, batch_size))
    codec = next(iter(store.layout.hooks.values())).codec
    if codec != config.codec:  # no part of the configuration, because it changes no value
        raise Mismatch(f"{store.place} is compressed by {codec!r}; give --codec {codec}, or --out another place.")
    return store


def _require_free(objects: Objects) -> None:
    """An empty folder is a place for a store; one with anything in it is left alone."""
    place = objects.place
    if isinstance(place, Path) and place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise Misuse(f"{place} exists and is not a store, so it is left alone. Give --out another place.")


def _mended(store: Store, config: HarvestConfig, parts: _Parts, progress: Progress) -> Store:
    """The store with its texts and metadata whole; slabs are looked after by `Store.recover`."""
    damage = list(damage_beside_slabs(store))
    if not damage:
        return store
    for finding in damage:
        progress.say(finding["problem"])
    with Spool(config.context, folder=_beside(config)) as spool:
        _spool(spool, store.sequences, config, parts, progress)
        written = repair(store, tokens=spool.tokens, doc=spool.doc, mask=spool.mask)
    progress.say(f"Written again: {', '.join(written)}.")
    return Store.open(store.place)


def _beside(config: HarvestConfig) -> Path | None:
    """A folder on the disk of the store; the system's temporary folder may be memory."""
    return existing(config.out.parent) if isinstance(config.out, Path) else None


def _asked(config: HarvestConfig, parts: _Parts, batch_size: int | None) -> dict[str, Any]:
    """The configuration as a store records it."""
    return describe(config, parts.model, parts.corpus, parts.policy, parts.sites, batch_size)


def _begun(config: HarvestConfig, parts: _Parts, progress: Progress, *, text_only: bool) -> Store:
    """A new store with its text in place and no activations yet."""
    with Spool(config.context, folder=_beside(config)) as spool:
        _spool(spool, config.sequences, config, parts, progress)
        if spool.sequences < config.sequences:
            there = spool.sequences * config.context
            progress.say(f"The dataset ends after {readable_count(there)} of {readable_count(config.tokens)} tokens.")
        probed = _probe(spool, config, parts, progress)
        freed = sum(objects_at(config.out).sizes().values()) if config.overwrite else 0
        made = make_plan(config, spool.sequences * config.context, probed, freed_bytes=freed)
        for line in made.lines():
            progress.say(line)
        if not text_only:
            made.require_room(config.max_disk)
        if config.overwrite:  # only now: nothing that can be refused is left
            _remove(objects_at(config.out))
        widest = max(site.width for site in parts.sites)
        return create_store(
            config.out,
            tokens=spool.tokens,
            doc=spool.doc,
            mask=spool.mask,
            hooks={site.hook: site.width for site in parts.sites},
            dtype=config.dtype,
            codec=config.codec,
            channel_scales=_scales(config, probed),
            config=_asked(config, parts, probed.batch_size),
            max_slab_bytes=slab_bytes(made.bytes),
            # A model computes whole sequences: cut ones would be computed once for each piece.
            min_chunk_bytes=config.context * widest * 4 if text_only else SMALLEST_CHUNK_BYTES,
        )


def _scales(config: HarvestConfig, probed: Probe) -> dict[str, Any] | None:
    """For int8, from the sample."""
    if config.dtype != "int8":
        return None
    return {hook: channel_scales(rows) for hook, rows in probed.sample.items()}


def _spool(spool: Spool, sequences: int, config: HarvestConfig, parts: _Parts, progress: Progress) -> None:
    with progress.bar("Tokenising", sequences * config.context, "tokens") as bar:
        for block in pack(parts.corpus.documents(), parts.model.tokenizer, parts.policy, sequences=sequences):
            require_embeddings(parts.model, block.tokens)
            spool.append(block)
            bar.advance(block.tokens.size)
    if not spool.sequences:
        raise Misuse(
            f"The dataset {parts.corpus.name} does not fill one sequence of {config.context} tokens. "
            "Give more text or a smaller --context."
        )


def _probe(spool: Spool, config: HarvestConfig, parts: _Parts, progress: Progress) -> Probe:
    first = slice(0, max(LARGEST_BATCH_TOKENS // config.context, 1))
    texts = (spool.tokens[first], spool.doc[first], spool.mask[first])
    return probe(parts.model, parts.sites, *texts, config.batch_size, progress, planned=config.sequences)


def _remove(objects: Objects) -> None:
    if not objects.exists():
        _require_free(objects)
        return
    try:
        Store.open(objects.place)  # refuses what is not a store, so that --overwrite cannot remove anything else
    except Damaged:
        if not {"acts", "commit"} <= set(objects.names("")):
            raise
    objects.remove()


def _fill(store: Store, left: list[int], config: HarvestConfig, parts: _Parts, progress: Progress) -> float | None:
    """Compute and commit the slabs that are missing; return tokens per second."""
    if not left:
        progress.say(f"{store.place} is complete already.")
        return None
    rows = sum(store.layout.rows_of_slab(slab) for slab in left)
    began = time.perf_counter()
    with progress.bar("Harvesting", store.rows, "tokens", done=store.rows - rows) as bar:
        if config.workers is None and config.scheduler is None:
            with activations(parts.model, parts.sites, store.config["batch_size"], progress) as computed:
                fill(store, computed, left, bar.advance)
        else:
            threads = None if config.workers is None else threads_each(config.workers)
            job = Job.of(store, parts.model, parts.sites, threads)
            fill_with_workers(job, left, bar.advance, scheduler=config.scheduler, workers=config.workers)
    return rows / (time.perf_counter() - began)
